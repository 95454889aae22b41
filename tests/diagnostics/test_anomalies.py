import numpy as np
import pytest

from tfvae import diagnostics


@pytest.mark.parametrize(("num_held_out", "rate"), [(39, 0.05), (100, 0.05), (144, 0.1), (199, 0.01)])
def test_false_alarms_are_as_frequent_as_is_said(num_held_out, rate):
    """Over 20,000 draws of held-out scores and one more, of a skewed law; never more than was asked for."""
    draws = np.random.default_rng(0).exponential(size=(20_000, num_held_out + 1)) ** 3
    ranges = [diagnostics.usual_range(row[:-1], rate) for row in draws]
    alarms = np.mean([not found.low <= row[-1] <= found.high for found, row in zip(ranges, draws, strict=True)])
    stated = ranges[0].false_alarm_rate
    assert rate - 2 / (num_held_out + 1) < stated <= rate + 1e-12
    assert abs(alarms - stated) < 4 * np.sqrt(stated * (1 - stated) / len(draws))


def test_both_ends_are_left_out():
    found = diagnostics.usual_range(np.arange(100.0)[::-1], 0.1)
    assert (found.low, found.high, found.num_held_out) == (4, 95, 100)


def test_too_few_scores_and_undefined_ones_are_refused():
    assert diagnostics.usual_range(np.arange(39.0), 0.05)[:2] == (0, 38)
    with pytest.raises(ValueError, match=r"scores must be at least 39 for a rate of 0.05, got 38"):
        diagnostics.usual_range(np.arange(38.0))
    with pytest.raises(
        ValueError, match=r"scores must be finite numbers \[N\], got an array of float64, shape \(50,\)"
    ):
        diagnostics.usual_range(np.full(50, np.nan))
    with pytest.raises(ValueError, match=r"scores must be finite numbers \[N\], got an array of float64, shape \(\)"):
        diagnostics.usual_range(0.5)
