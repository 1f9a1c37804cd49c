"""How sure a number is: bootstrap intervals, paired tests, intervals of shares, correction for many tests, calibration,
spread beyond noise, power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from sartor.errors import ConfigError

DRAWS = 40_000_000
"""Rows drawn for one bootstrap at most (a fraction of a second): very many people get fewer resamples."""


def bootstrap(values: np.ndarray, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> np.ndarray:
    """Percentile bootstrap intervals of column means, over rows (people).

    Parameters
    ----------
    values: float [n] or [n, columns]. All columns share their resamples. NaN rows of a column are left out of its means.
    resamples: how many; at least 200 are made when n is very large.

    Returns
    -------
    float64 [2] or [columns, 2]: lower and upper end; NaN where there is nothing.

    For the interval of a difference between two systems give the per-person differences: that is the paired bootstrap.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    means = bootstrap_means(values, resamples=resamples, seed=seed)
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):
        ends = np.quantile(means, [tail, 1 - tail], axis=0) if means.shape[0] else np.full((2, *means.shape[1:]), np.nan)
    return ends.T


def bootstrap_means(values: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Means of resampled rows: float64 [resamples] or [resamples, columns]; see `bootstrap`."""
    table = np.asarray(values, np.float64)
    flat = table.ndim == 1
    table = table[:, None] if flat else table
    n = table.shape[0]
    if n == 0:
        return np.empty((0,) if flat else (0, table.shape[1]))
    resamples = max(200, min(resamples, DRAWS // n))
    known = ~np.isnan(table)
    whole = bool(known.all())
    # With gaps, the numbers of known values are resampled along.
    sums = _resampled_sums(
        np.ascontiguousarray(table if whole else np.concatenate([np.where(known, table, 0.0), known], axis=1)),
        np.random.SeedSequence([seed, n]).generate_state(resamples, np.uint64),
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        out = sums / n if whole else sums[:, : table.shape[1]] / sums[:, table.shape[1] :]
    return out[:, 0] if flat else out


@numba.njit(cache=True, nogil=True)
def _resampled_sums(table, seeds):  # type: ignore[no-untyped-def]
    """Column sums of as many rows as there are, drawn with replacement; one splitmix64 stream per resample."""
    n, columns = table.shape
    out = np.zeros((seeds.size, columns))
    for resample in range(seeds.size):
        state = seeds[resample]
        for _ in range(n):
            state += np.uint64(0x9E3779B97F4A7C15)
            mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
            row = np.int64(((mixed >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))
            for column in range(columns):
                out[resample, column] += table[row, column]
    return out


def wilson(successes: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share, right also near 0 and 1 and for few cases. Source: Wilson, 1927."""
    from scipy.stats import binomtest

    if n == 0:
        return (float("nan"), float("nan"))
    found = binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Paired:
    """Two systems on the same people: difference, its interval, and two p-values (two-sided)."""

    difference: float
    """Mean of a - b."""
    interval: tuple[float, float]
    """Paired bootstrap, 95%."""
    t_test: float
    wilcoxon: float
    """p-values; 1 when all differences are zero."""
    n: int


def paired(a: np.ndarray, b: np.ndarray, *, seed: int = 0, level: float = 0.95) -> Paired:
    """Compare two systems on the same people; people with NaN in either are left out."""
    from scipy import stats

    if np.shape(a) != np.shape(b):
        raise ConfigError(f"{np.size(a)} values against {np.size(b)}", fix="give both systems' values of the same people, in the same order")
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    difference = difference[~np.isnan(difference)]
    if not difference.size:
        nan = float("nan")
        return Paired(nan, (nan, nan), nan, nan, 0)
    low, high = bootstrap(difference, seed=seed, level=level)
    same = bool((difference == 0).all())
    varied = difference.size > 1 and float(np.ptp(difference)) > 0
    t = float(stats.ttest_1samp(difference, 0.0).pvalue) if varied else 1.0 if same else 0.0 if difference.size > 1 else float("nan")
    w = 1.0 if same else float(stats.wilcoxon(difference).pvalue)
    return Paired(float(difference.mean()), (float(low), float(high)), t, w, difference.size)


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Exact two-sided p-value that two systems are right equally often; a and b are bool [cases], right or wrong. Source: McNemar, 1947."""
    from scipy.stats import binomtest

    a, b = np.asarray(a, bool), np.asarray(b, bool)
    if a.shape != b.shape:
        raise ConfigError(f"{a.size} cases against {b.size}", fix="give both systems' outcomes on the same cases")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values corrected for many tests, float64 in the order given. Source: Holm, 1979."""
    p = np.asarray(p_values, np.float64)
    if np.isnan(p).any() or (p < 0).any() or (p > 1).any():
        raise ConfigError("a p-value is not between 0 and 1", fix="leave tests that could not be made out")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1.0)
    return out


@dataclass(frozen=True, eq=False)
class Calibration:
    """Predicted against observed shares, bin by bin."""

    predicted: np.ndarray
    """float64 [bins], mean prediction of each bin; NaN where it is empty."""
    observed: np.ndarray
    """float64 [bins], share of positives."""
    counts: np.ndarray
    """int64 [bins]."""

    @property
    def error(self) -> float:
        """Expected calibration error: mean |predicted - observed|, weighted by cases."""
        gaps = np.abs(self.predicted - self.observed)
        return float(np.nansum(gaps * self.counts) / self.counts.sum()) if self.counts.sum() else float("nan")


def calibration(labels: np.ndarray, probabilities: np.ndarray, *, bins: int = 10) -> Calibration:
    """Reliability in bins of equal width over [0, 1]. Source: Naeini et al., AAAI 2015."""
    probabilities = np.asarray(probabilities, np.float64)
    at = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    counts = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = np.bincount(at, probabilities, bins) / counts
        observed = np.bincount(at, np.asarray(labels, np.float64), bins) / counts
    return Calibration(predicted, observed, counts)


@dataclass(frozen=True, eq=False)
class Isotonic:
    """A rising step function from scores to probabilities."""

    scores: np.ndarray
    """float64 [steps], ascending."""
    probabilities: np.ndarray
    """float64 [steps], not falling."""

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities, linear between steps and constant beyond the ends."""
        return np.interp(np.asarray(scores, np.float64), self.scores, self.probabilities)


def isotonic(scores: np.ndarray, labels: np.ndarray) -> Isotonic:
    """Scores as probabilities: the rising function with the least squared error from the labels. Source: Zadrozny and Elkan, KDD 2002."""
    from scipy.optimize import isotonic_regression

    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if scores.shape != labels.shape or not scores.size:
        raise ConfigError(f"{scores.size} scores and {labels.size} labels", fix="give one label for each score, and at least one")
    values, rows, counts = np.unique(scores, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(rows, labels) / counts, weights=counts).x
    return Isotonic(values, np.clip(fitted, 0.0, 1.0))


@dataclass(frozen=True)
class Spread:
    """How much rows truly differ, apart from the noise of their finite samples."""

    observed: float
    """Variance of the row means: it has the noise in it."""
    corrected: float
    """Less the expected noise; can be negative where there is no difference."""
    interval: tuple[float, float]
    """95%, of the corrected one; exact for normal values."""
    p_value: float
    """Of no difference at all."""


def spread(table: np.ndarray, *, level: float = 0.95) -> Spread:
    """The variance between rows (personas) over the same columns (prompts), corrected for noise.

    `table` is float [rows, columns], NaN where a case is missing. How hard a column is is taken out first, so that easy and hard prompts are not
    counted as noise: the two-way analysis of variance without repetition. With gaps the degrees of freedom are those of the cases there are.
    Source: Searle, Casella and McCulloch, Variance Components, 1992.
    """
    from scipy.stats import f as fisher

    table = np.asarray(table, np.float64)
    known = ~np.isnan(table)
    counts = known.sum(axis=1)
    if table.ndim != 2 or table.shape[0] < 2 or counts.min(initial=2) < 2:
        raise ConfigError(f"a table of {table.shape} with gaps", fix="give at least two rows with two values each")
    level_of_columns = np.nansum(table, axis=0) / np.maximum(1, known.sum(axis=0))
    centred = np.where(known, table - level_of_columns, 0.0)
    means = centred.sum(axis=1) / counts
    residual = np.where(known, centred - means[:, None], 0.0)
    rows, columns = table.shape[0], int(known.any(axis=0).sum())
    between, within = rows - 1, int(counts.sum()) - rows - columns + 1
    noise = float((residual**2).sum() / max(1, within))
    each = rows / float((1 / counts).sum())
    observed = float(means.var(ddof=1))
    if noise == 0:
        return Spread(observed, observed, (observed, observed), 0.0 if observed else 1.0)
    ratio, tail = observed * each / noise, (1 - level) / 2
    ends = [noise * (ratio / fisher.ppf(q, between, within) - 1) / each for q in (1 - tail, tail)]
    return Spread(observed, observed - noise / each, (float(ends[0]), float(ends[1])), float(fisher.sf(ratio, between, within)))


def power_of_shares(p: float, q: float, n: int, *, alpha: float = 0.05) -> float:
    """Chance that a two-sided test at `alpha` tells shares p and q apart with `n` cases each (normal approximation, independent cases).

    Source: Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions, 2003.
    """
    from scipy.stats import norm

    if not (0 <= p <= 1 and 0 <= q <= 1 and n >= 1 and 0 < alpha < 1):
        raise ConfigError(f"p {p}, q {q}, n {n}, alpha {alpha}", fix="shares from 0 to 1, at least one case, alpha between 0 and 1")
    middle, critical = (p + q) / 2, norm.isf(alpha / 2)
    null, actual = np.sqrt(2 * middle * (1 - middle) / n), np.sqrt((p * (1 - p) + q * (1 - q)) / n)
    if actual == 0:
        return float(p != q)
    return float(norm.sf((critical * null - abs(p - q)) / actual) + norm.sf((critical * null + abs(p - q)) / actual))
