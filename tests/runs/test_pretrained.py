"""The models that come with the package are those of their exports."""

import pytest
from conftest import ROOT

import tfvae


@pytest.mark.parametrize("name", ["digits", "mnist10k"])
def test_a_pretrained_model_gives_what_its_export_gives(name):
    data = tfvae.data.load(name, **({"binarize": "stochastic"} if name == "mnist10k" else {}))
    differences = tfvae.serving.verify(ROOT / f"saved_models/{name}/1", tfvae.pretrained(name), data.x_test[:5])
    assert len(differences) == 9  # each within 1e-5, or it would have raised


def test_the_names_are_those_of_the_shipped_models():
    with pytest.raises(ValueError, match=r"name must be one of digits, mnist10k, got 'mnist'"):
        tfvae.pretrained("mnist")
