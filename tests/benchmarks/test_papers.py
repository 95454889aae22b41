"""The stored rows of the table are what their weights give."""

import importlib

import numpy as np
import pytest
from conftest import ROOT

from tfvae import data
from tfvae.support import files

BENCHMARKS = ROOT / "benchmarks"
NAMES = ("vae-*", "iwae-*", "2l-*", "iaf*", "vamp*", "linear*")
ROWS = sorted(path.stem for name in NAMES for path in (BENCHMARKS / "results").glob(f"{name}.npz"))


@pytest.fixture(scope="module", autouse=True)
def mnist():
    try:
        return data.load("mnist")
    except OSError as error:
        pytest.skip(f"MNIST is not here: {error}")


@pytest.fixture(scope="module")
def papers():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("papers")


@pytest.mark.parametrize("row", ROWS)
def test_a_stored_row_follows_the_protocol_and_is_small(papers, row):
    result = files.read_json(BENCHMARKS / "results" / f"{row}.json")
    assert set(papers.FIELDS) | {"row", "machine", "recipe"} <= result.keys()
    recipe = papers.Recipe.from_dict(result["recipe"])
    assert recipe == papers.recipe_of(result["row"], result["seed"], result["epochs"]).complete(recipe.load_data())
    assert recipe.validation_size == 0 and result["num_samples"] == 5000 and result["num_images"] == 10000
    assert -result["nll"] > result["elbo"]
    assert (BENCHMARKS / "results" / f"{row}.npz").stat().st_size < 2_000_000


def test_every_seed_is_measured_on_the_same_images(papers):
    x = papers.test_images(papers.recipe_of("vae-1", seed=1))
    np.testing.assert_array_equal(x[: papers.NUM_FIRST], papers.first_test_images("vae-1"))


@pytest.mark.skipif(not ROWS, reason="no row is stored")
def test_the_smallest_row_is_what_its_weights_give(papers):
    row = min(ROWS, key=lambda row: (BENCHMARKS / "results" / f"{row}.npz").stat().st_size)
    vae, result = papers.stored(row)
    expected = result["first_images"]
    again = papers.measured(vae, papers.test_images(vae.recipe)[: expected["count"]])
    np.testing.assert_allclose(again["nll"], expected["nll"], rtol=0, atol=5 * expected["mc_standard_error"])
