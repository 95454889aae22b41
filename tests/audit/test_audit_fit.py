"""The regression behind the audit, on tables made by hand."""

import numpy as np

from tfvae.audit import fit as audit_fit


def table(weights=(1.0, 2.0), noise=0.0, num_points=40):
    """The loss, log p(x|z) and the KL, each with its variance."""
    rng = np.random.default_rng(0)
    log_px_z, kl = -100 - 50 * rng.random(num_points), 20 * rng.random(num_points)
    loss = 7 - weights[0] * log_px_z + weights[1] * kl + noise * rng.normal(size=num_points)
    zeros = np.zeros(num_points)
    return np.stack([loss, zeros + noise**2, log_px_z, zeros, kl, zeros], axis=1)


def test_weights_are_exact_without_noise():
    weights, errors, misfit, degrees, unexplained = audit_fit.fit(table((1 / 784, 64.0)))
    np.testing.assert_allclose(weights, [1 / 784, 64], rtol=1e-6)
    assert np.all(errors < 1e-3) and misfit < 1 and degrees == 37 and unexplained < 1e-12


def test_errors_are_the_spread_of_the_weights():
    fits = []
    for i in range(200):
        noisy = table(noise=0.5)
        noisy[:, 0] = table()[:, 0] + 0.5 * np.random.default_rng(i + 1).normal(size=40)
        fits.append(audit_fit.fit(noisy)[:2])
    weights, errors = (np.array(a) for a in zip(*fits, strict=True))
    np.testing.assert_allclose(np.median(errors, axis=0), weights.std(axis=0), rtol=0.2)
    np.testing.assert_allclose(weights.mean(axis=0), [1, 2], atol=5 * weights.std(axis=0).max() / np.sqrt(200))


def test_the_noise_of_a_measured_term_is_in_the_errors():
    fits = []
    for i in range(200):
        noisy, rng = table(), np.random.default_rng(i)
        noisy[:, 2] += 0.3 * rng.normal(size=40)
        noisy[:, 4] += 0.3 * rng.normal(size=40)
        noisy[:, [3, 5]] = 0.3**2
        fits.append(audit_fit.fit(noisy)[:2])
    weights, errors = (np.array(a) for a in zip(*fits, strict=True))
    np.testing.assert_allclose(np.median(errors, axis=0), weights.std(axis=0), rtol=0.3)


def test_columns_that_move_together_cannot_be_told_apart():
    together = table()
    together[:, 4] = 3 - 0.2 * together[:, 2]
    weights, errors, *_ = audit_fit.fit(together)
    assert np.all(np.isnan(weights)) and np.all(np.isnan(errors))
    still = table()
    still[:, 4] = 12.0
    weights, errors, *_ = audit_fit.fit(still)
    assert np.isnan(weights[1]) and not np.isnan(weights[0])


def test_too_few_points_are_no_fit():
    assert audit_fit.fit(table()[:5]) is None
