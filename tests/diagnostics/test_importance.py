import numpy as np
import pytest
from scipy import stats

from tfvae import diagnostics


@pytest.mark.parametrize("shape", [-0.5, 0.0, 0.3, 0.7, 1.2])
def test_the_tail_of_pareto_weights_is_found(shape):
    w = stats.genpareto.rvs(shape, size=(5000, 100), random_state=1)
    k = diagnostics.evidence_of(np.log(w)).pareto_k
    # The fit is drawn towards 1/2 with the weight of ten of 212 draws.
    assert abs(np.mean(k) - (212 * shape + 5) / 222) < 0.05
    assert np.std(k) < 0.2


def test_normal_weights_have_a_light_tail_and_log_normal_ones_a_heavy_one():
    rng = np.random.default_rng(0)
    assert np.all(diagnostics.evidence_of(rng.normal(10, 0.1, [2000, 20])).pareto_k < 0.5)
    assert np.all(diagnostics.evidence_of(rng.normal(0, 5, [2000, 20])).pareto_k > diagnostics.reliable_k(2000))


@pytest.mark.parametrize("log_w", [np.zeros([100, 2]), np.full([100, 2], -1e4), np.full([100, 2], 1e4)])
def test_equal_weights_all_count(log_w):
    found = diagnostics.evidence_of(log_w)
    np.testing.assert_allclose(found.value, log_w[0], atol=1e-12)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-9)
    np.testing.assert_allclose(found.effective_samples, 100)
    np.testing.assert_array_equal(found.pareto_k, 0)


@pytest.mark.parametrize("num_samples", [25, 50, 100])
def test_a_tail_of_shape_a_half_has_it_however_few_the_weights(num_samples):
    """Towards which the fit is drawn: it then adds no bias."""
    w = stats.genpareto.rvs(0.5, size=(num_samples, 4000), random_state=1)
    assert abs(np.mean(diagnostics.evidence_of(np.log(w)).pareto_k) - 0.5) < 0.1


def test_few_weights_have_no_tail():
    found = diagnostics.evidence_of(np.random.default_rng(0).normal(size=[16, 3]))
    assert np.all(np.isnan(found.pareto_k)) and np.all(found.effective_samples > 1)


def test_a_weight_of_nothing_is_no_nan():
    log_w = np.zeros([100, 1])
    log_w[:50] = -np.inf
    found = diagnostics.evidence_of(log_w)
    np.testing.assert_allclose(found.value, np.log(0.5))
    np.testing.assert_allclose(found.effective_samples, 50)
    assert np.isfinite(found.pareto_k[0])


def test_the_stated_error_is_the_spread_over_replications():
    """From both sides, at weights whose variance is finite."""
    log_w = np.random.default_rng(0).normal(0, 0.7, [500, 400])
    found = diagnostics.evidence_of(log_w)
    np.testing.assert_allclose(found.standard_error.mean(), found.value.std(ddof=1), rtol=0.12)
    np.testing.assert_allclose(found.effective_samples.mean() / 500, np.exp(-(0.7**2)), rtol=0.03)


def test_the_error_of_weights_that_nearly_agree_shrinks_with_their_spread():
    log_w = np.random.default_rng(0).exponential(size=[1000, 20])
    large, small = (diagnostics.evidence_of(spread * log_w).standard_error for spread in (1e-4, 1e-6))
    np.testing.assert_allclose(large, 100 * small, rtol=1e-3)


@pytest.mark.parametrize(
    ("k", "least", "most"), [(0.1, 0.93, 0.97), (0.3, 0.93, 0.97), (0.5, 0.91, 0.96), (0.7, 0.8, 0.9)]
)
def test_errors_cover_the_part_of_a_tail_that_no_draw_shows(k, least, most):
    """Weights of a Pareto distribution, whose mean is 1 / (1 - k). At 0.7 the draws' variance alone covers 0.74."""
    log_w = k * np.random.default_rng(0).exponential(size=[2000, 2000])
    found = diagnostics.evidence_of(log_w)
    within = np.mean(np.abs(found.value + np.log1p(-k)) < 2 * found.standard_error)
    assert least <= within <= most


@pytest.mark.parametrize("log_w", [np.zeros(3), np.zeros([1, 3]), np.zeros([2, 3, 4])])
def test_what_is_no_table_of_weights_is_refused(log_w):
    with pytest.raises(TypeError, match=r"log_w must be an array \[S, N\], S at least 2, got an array"):
        diagnostics.evidence_of(log_w)
    with pytest.raises(TypeError, match=r"errors must be an array \[N\], N at least 1, got an array"):
        diagnostics.error_of_mean(np.zeros([2, 3]))
