"""Isotonic calibration, spread beyond noise, power, and the cumulative logit: against libraries, closed forms and simulation."""

import numpy as np
import pytest

from sartor.errors import ConfigError, Diverged
from sartor.parts.ordinal import cumulative_logit
from sartor.parts.statistics import calibration, isotonic, power_of_shares, spread


def test_isotonic_is_sklearns() -> None:
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(0)
    scores = rng.integers(0, 30, 400) / 30
    labels = rng.random(400) < scores**2
    ours, theirs = isotonic(scores, labels), IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    asked = np.linspace(-0.2, 1.2, 57)
    assert np.allclose(ours(asked), theirs.predict(asked))
    assert calibration(labels, ours(scores)).error < 0.02
    with pytest.raises(ConfigError):
        isotonic(scores, labels[:5])


def test_spread_covers_the_truth_whatever_the_prompts() -> None:
    rng = np.random.default_rng(1)
    personas, prompts, runs = 20, 100, 200
    covered = {0.0: 0, 0.05: 0}
    false_alarms, corrected = 0, []
    for sd in covered:
        for _ in range(runs):
            # Prompts of very different difficulty, which is not noise.
            ease = rng.uniform(0.3, 0.7, prompts)
            chance = ease[None, :] + sd * rng.standard_normal((personas, 1))
            found = spread(rng.random((personas, prompts)) < chance)
            covered[sd] += found.interval[0] <= sd**2 <= found.interval[1]
            if not sd:
                false_alarms += found.p_value < 0.05
                corrected.append(found.corrected)
                assert found.observed > 0
    assert covered[0.0] / runs == pytest.approx(0.95, abs=0.04)
    assert covered[0.05] / runs == pytest.approx(0.95, abs=0.05)
    assert false_alarms / runs == pytest.approx(0.05, abs=0.04)
    assert abs(np.mean(corrected)) < 3 * np.std(corrected) / np.sqrt(runs)


def test_spread_is_the_f_test_and_takes_gaps() -> None:
    from scipy.stats import f_oneway

    rng = np.random.default_rng(2)
    table = rng.standard_normal((4, 30)) + np.arange(4)[:, None] / 5
    column_free = table - table.mean(axis=0)
    # The same F as the one-way test of the column-free table but for the degrees of freedom of the columns.
    one_way = f_oneway(*column_free).statistic
    from scipy.stats import f as fisher

    assert spread(table).p_value == pytest.approx(fisher.sf(one_way * (3 * 29) / (4 * 29), 3, 3 * 29))
    holes = np.where(rng.random(table.shape) < 0.2, np.nan, table)
    assert spread(holes).corrected == pytest.approx(spread(table).corrected, abs=0.05)
    with pytest.raises(ConfigError):
        spread(table[:1])


def test_power_is_what_a_simulation_finds() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(3)
    a, b = rng.binomial(300, 0.2, 20_000) / 300, rng.binomial(300, 0.3, 20_000) / 300
    middle = (a + b) / 2
    z = (a - b) / np.sqrt(2 * middle * (1 - middle) / 300)
    assert power_of_shares(0.2, 0.3, 300) == pytest.approx((np.abs(z) > norm.isf(0.025)).mean(), abs=0.01)
    assert power_of_shares(0.2, 0.2, 300) == pytest.approx(0.05)
    with pytest.raises(ConfigError):
        power_of_shares(0.2, 1.2, 300)


def test_cumulative_logit_with_two_levels_is_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(4)
    x = rng.standard_normal((400, 2)) * [1, 5] + 3
    y = (rng.random(400) < 1 / (1 + np.exp(-(x @ [0.8, -0.2])))).astype(int)
    ours, theirs = cumulative_logit(x, y), LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(x, y)
    assert np.allclose(ours.coefficients, theirs.coef_[0], atol=1e-3)
    assert np.allclose(ours.probabilities(x), theirs.predict_proba(x), atol=1e-3)


def test_cumulative_logit_finds_planted_effects_with_honest_errors() -> None:
    rng = np.random.default_rng(5)
    truth, hits, alarms = np.array([0.6, 0.0]), 0, 0
    for _ in range(100):
        x = rng.standard_normal((300, 2))
        ratings = 1 + np.searchsorted([-1.5, -0.3, 0.5, 1.4], x @ truth + rng.logistic(size=300))
        found = cumulative_logit(x, ratings)
        assert (np.diff(found.thresholds) > 0).all()
        hits += abs(found.coefficients[0] - 0.6) < 1.96 * found.errors[0]
        alarms += found.p_values[1] < 0.05
    assert hits >= 88
    assert alarms <= 12
    with pytest.raises(ConfigError):
        cumulative_logit(x, np.ones(300))
    with pytest.raises(Diverged):
        cumulative_logit(x[:, :1], (x[:, 0] > 0).astype(int))
