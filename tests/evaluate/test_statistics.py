"""Intervals cover what they should, tests agree with scipy, corrections with hand computation."""

import numpy as np
import pytest
from scipy import stats

from sartor.errors import ConfigError
from sartor.parts.statistics import bootstrap, calibration, holm, mcnemar, paired, wilson


def test_bootstrap_covers_the_mean_of_a_known_population() -> None:
    rng = np.random.default_rng(0)
    population = rng.beta(0.5, 2, 20_000)
    inside = 0
    for draw in range(100):
        low, high = bootstrap(rng.choice(population, 300), seed=draw, resamples=500)
        inside += low <= population.mean() <= high
    assert inside >= 90


def test_bootstrap_of_columns_and_gaps() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal([0, 1, 2], size=(400, 3))
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 2] = 5.0
    ends = bootstrap(values, seed=3)
    np.testing.assert_array_equal(ends, bootstrap(values, seed=3))
    spread = np.nanstd(values[:, 0]) / np.sqrt((~np.isnan(values[:, 0])).sum())
    assert np.diff(ends[0])[0] == pytest.approx(2 * 1.96 * spread, rel=0.15)
    np.testing.assert_allclose(ends[2], 5.0)
    assert np.isnan(bootstrap(np.empty(0))).all()


def test_paired_agrees_with_scipy() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=200)
    b = a - 0.1 + rng.normal(size=200) * 0.3
    found = paired(np.append(a, np.nan), np.append(b, 1.0))
    assert found.n == 200
    assert found.t_test == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.wilcoxon == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert found.interval[0] < found.difference < found.interval[1]
    same = paired(a, a)
    assert (same.difference, same.t_test, same.wilcoxon) == (0, 1, 1)
    with pytest.raises(ConfigError, match="against"):
        paired(a, a[:-1])


def test_wilson_mcnemar_holm() -> None:
    low, high = wilson(8, 10)
    z = stats.norm.ppf(0.975)
    middle, half = (8 + z**2 / 2) / (10 + z**2), z / (10 + z**2) * np.sqrt(8 * 2 / 10 + z**2 / 4)
    assert (low, high) == (pytest.approx(middle - half), pytest.approx(middle + half))
    a, b = np.array([1] * 12 + [0] * 3 + [1] * 5, bool), np.array([0] * 12 + [1] * 3 + [1] * 5, bool)
    assert mcnemar(a, b) == pytest.approx(stats.binomtest(12, 15).pvalue)
    assert mcnemar(a, a) == 1.0
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_calibration_bins() -> None:
    found = calibration(np.array([0, 1, 1, 1]), np.array([0.1, 0.1, 0.9, 1.0]), bins=10)
    assert found.counts.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.observed[1] == 0.5
    assert found.error == pytest.approx((2 * 0.4 + 2 * 0.05) / 4)
