"""The quick ones of the gallery: each has its verdict."""

import gallery
import numpy as np
import pytest

QUICK = (
    "BCE averaged over all, BN",
    "sampler 0.1 exp(s)",
    "softplus(s + 0.54) + 1e-5",
    "mean L1 + 1e-6 KL in [-30, 20]",
    "pos_weight 2",
    "l2 of kernels, 1e-4",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_loss_of_the_gallery_has_its_verdict(name):
    (row,) = (row for row in gallery.GALLERY if row.name == name)
    audit = row.run(**gallery.QUICK)
    assert row.outcome(audit) == "right", audit
    weights = audit.log_likelihood_weight, audit.kl_weight
    assert row.says == gallery.WITHHELD or np.all(np.isfinite(weights))


def test_one_half_was_kept_aside():
    assert len(gallery.TUNED) == len(gallery.ASIDE) == 32
    names = {row.name for row in gallery.GALLERY}
    assert len(names) == 64 == len({row.name for row in [*gallery.TUNED, *gallery.ASIDE]})
