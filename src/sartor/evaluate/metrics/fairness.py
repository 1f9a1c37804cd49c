"""Who gets shown, and who is served: exposure of item groups, gaps between people groups, impression variance.

| name              | definition |
|-------------------|------------|
| exposure          | share of attention a group of items gets, attention being 1 / log2(rank + 1) |
| exposure_ratio    | that share / the group's share of the target (catalogue, training events, or merit) ; 1 is proportional |
| demographic_gap   | best served group's mean - worst served group's; with the ratio worst / best |
| impression_variance | 1/2 sum over groups |share of impressions - share of the eligible|, 0 matches, 1 is disjoint |

Sources: Singh and Joachims, Fairness of Exposure in Rankings, KDD 2018; Timmaraju et al., Variance Reduction System, 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sartor.errors import BadValue, ConfigError
from sartor.parts.statistics import bootstrap_means

ENOUGH_IMPRESSIONS = 300
"""Below so many impressions an impression variance is noise."""


@dataclass(frozen=True, eq=False)
class Exposure:
    """Attention by item group."""

    groups: np.ndarray
    """Names, in order."""
    share: np.ndarray
    """float64 [groups], of all attention."""
    target: np.ndarray
    """float64 [groups], what a proportional system would give."""

    @property
    def ratio(self) -> np.ndarray:
        """share / target; NaN where the target is 0."""
        return np.divide(self.share, self.target, out=np.full(self.share.shape, np.nan), where=self.target > 0)

    @property
    def gap(self) -> float:
        """1/2 sum |share - target|: 0 proportional, 1 disjoint."""
        return float(np.abs(self.share - self.target).sum() / 2)


def exposure(best: np.ndarray, groups: np.ndarray, *, k: int = 10, merit: np.ndarray | None = None) -> Exposure:
    """How attention is spread over item groups.

    Parameters
    ----------
    best: int32 [people, length], item numbers, negative where short.
    groups: [items], the group (provider, genre, head or tail) of each item.
    k: places that are seen.
    merit: float [items] >= 0, what exposure should be proportional to, e.g. training events; default every item the same.
    """
    names, number = np.unique(groups, return_inverse=True)
    top = best[:, :k]
    weights = np.broadcast_to(1 / np.log2(np.arange(2, top.shape[1] + 2)), top.shape)
    shown = top >= 0
    got = np.bincount(number[top[shown]], weights[shown], names.size)
    deserved = np.bincount(number, np.ones(number.size) if merit is None else merit, names.size)
    if not got.sum() or not deserved.sum():
        raise BadValue("nothing was shown, or nothing has merit", fix="give lists with items and a merit above 0")
    return Exposure(names, got / got.sum(), deserved / deserved.sum())


@dataclass(frozen=True)
class Gap:
    """How differently groups of people are served."""

    means: Mapping[str, float]
    """Group -> mean of the metric."""
    counts: Mapping[str, int]
    difference: float
    """Best served - worst served."""
    interval: tuple[float, float]
    """95%, over resampled people."""
    ratio: float
    """Worst served / best served."""


def demographic_gap(values: np.ndarray, groups: np.ndarray, *, at_least: int = 5, seed: int = 0) -> Gap:
    """The gap of a metric between groups of people.

    Parameters
    ----------
    values: float [people], a metric of each person; NaN is left out.
    groups: [people].
    at_least: groups with fewer measured people are left out: their mean is noise.

    The gap is that between the two groups which are best and worst served in the data; being the largest of many, it is above 0 also
    where all groups are served alike. The interval is of the same two groups' difference.
    """
    if len(values) != len(groups):
        raise ConfigError(f"{len(values)} values for {len(groups)} people", fix="give one group per person")
    known = ~np.isnan(values)
    names = [name for name in np.unique(groups) if int(((groups == name) & known).sum()) >= at_least]
    if len(names) < 2:
        raise BadValue(f"{len(names)} groups have {at_least} or more measured people", fix="use coarser groups, or a smaller at_least")
    of = {str(name): values[(groups == name) & known] for name in names}
    means = {name: float(own.mean()) for name, own in of.items()}
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    above, below = bootstrap_means(of[best], seed=seed), bootstrap_means(of[worst], seed=seed + 1)
    resamples = min(above.size, below.size)
    spread = above[:resamples] - below[:resamples]
    low, high = np.quantile(spread, [0.025, 0.975])
    ratio = means[worst] / means[best] if means[best] else float("nan")
    return Gap(means, {name: own.size for name, own in of.items()}, means[best] - means[worst], (float(low), float(high)), ratio)


def impression_variance(impressions: Mapping[str, float], eligible: Mapping[str, float], *, at_least: int = ENOUGH_IMPRESSIONS) -> float:
    """Shuffle distance between who was reached and who could have been: 0 .. 1.

    Raises `BadValue` with fewer impressions than `at_least`, and for a group that is reached but not eligible.
    """
    total, possible = sum(impressions.values()), sum(eligible.values())
    if total < at_least:
        raise BadValue(f"insufficient ({total:g} < {at_least})", fix="wait for more impressions")
    for group, count in impressions.items():
        if count and not eligible.get(group):
            raise BadValue(f"group '{group}' is not in the eligible audience; variance is undefined for it", fix="count who is eligible and active")
    return sum(abs(impressions.get(group, 0) / total - share / possible) for group, share in eligible.items()) / 2
