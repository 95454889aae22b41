"""A weights file of any format brings back every variable of every piece, or is refused."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import small_vae
from test_combinations import EVERY_PIECE, KINDS, fields

TINY = {"small": {"hidden_sizes": (4,), "filters": (2, 2), "flow_hidden_sizes": (4,), "num_pseudo_inputs": 2}}
ROWS = {str(row): fields(*row[:-1], "mlp") for row in EVERY_PIECE}
ROWS |= {str(latents): fields(("binomial", None), *latents, "mlp") for latents in KINDS}
ROWS |= {"conditional": {"conditional": True, "network": "conv", "posterior": "iaf", "prior": "flow", "flow_steps": 2}}
ROWS |= {"factor_elbo": {"objective": "factor_elbo", "discriminator_sizes": (4,), "prior": "flow", "flow_steps": 2}}


def weights(vae):
    return [*vae.encoder.variables, *vae.decoder.variables, *vae.prior.variables]


@pytest.mark.parametrize("name", ROWS)
def test_every_variable_comes_back(name, digits, binary_digits, tmp_path):
    images = binary_digits if ROWS[name].get("likelihood") == "bernoulli" else digits
    first, second = (small_vae(images, **ROWS[name] | TINY) for _ in range(2))
    for file in ("a.weights.h5", "a.h5", "a"):
        for i, variable in enumerate(weights(first)):
            variable.assign(variable + 0.01 * tf.random.stateless_uniform(variable.shape, [len(file), i]))
        try:
            first.save_weights(tmp_path / file)
        except ValueError as error:
            assert file == "a.h5" and "filepath must end in .weights.h5, as variables share names, got" in str(error)
            continue
        second.load_weights(tmp_path / file)
        for expected, found in zip(weights(first), weights(second), strict=True):
            np.testing.assert_array_equal(expected, found)


def test_a_refused_file_leaves_the_old_one(digits, tmp_path):
    (tmp_path / "a.h5").write_text("kept")
    with pytest.raises(ValueError, match=r"filepath must end in .weights.h5, .*a.h5"):
        small_vae(digits, prior="flow", **TINY).save_weights(tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_text() == "kept"


def test_a_file_that_lost_variables_is_refused(digits, tmp_path):
    """As files were written whose model had its flow in no Keras layer."""
    whole, lossy = small_vae(digits, prior="flow", **TINY), small_vae(digits, **TINY)
    lossy.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match="expected 16 variables, but received 0"):
        whole.load_weights(tmp_path / "a.weights.h5")
