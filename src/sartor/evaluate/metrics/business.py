"""What a shop counts, from its logs; and what another policy would have earned, from the same logs.

| name                 | definition |
|----------------------|------------|
| ctr                  | clicks / impressions |
| conversion           | buys / clicks |
| adoption             | people who bought / people who saw something |
| revenue_per_person   | sum of prices bought / people |
| margin               | sum of margins / sum of prices, over what was bought |
| top_share            | share of buys (clicks where there are none) that go to the top 1% of items |
| sessions_per_person  | visits / people |
| dwell                | mean dwell seconds of clicks |
| retention            | share of the people of the first `retention_days` that come back after them |

Off-policy: `ips`, `snips` and `dr` estimate the mean reward of a new policy from what an old one logged. Sources: Horvitz and Thompson,
1952; Swaminathan and Joachims, NeurIPS 2015 (self-normalised); Dudík et al., ICML 2011 (doubly robust).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sartor.errors import BadValue, ConfigError, EmptyData, MissingColumn
from sartor.parts.statistics import bootstrap_means

DAY = 86_400


def business(
    logs: pl.LazyFrame | pl.DataFrame, items: pl.LazyFrame | pl.DataFrame | None = None, *,
    impression: str = "impression", click: str = "click", buy: str = "buy", catalogue: int | None = None, retention_days: int = 7,
) -> dict[str, float]:  # fmt: skip
    """Business metrics of a log.

    Parameters
    ----------
    logs: person, item, kind; optionally time, session, value (dwell seconds of clicks). Read as a stream.
    items: item, price and, optionally, margin (money per piece).
    impression, click, buy: what these are called in `kind`.
    catalogue: number of items there are, for the top 1%; default those in the log.

    Returns
    -------
    name -> value, NaN where the log cannot tell. Raises `MissingColumn`, `EmptyData`.
    """
    log = logs.lazy()
    columns = log.collect_schema().names()
    for needed in ("person", "item", "kind"):
        if needed not in columns:
            raise MissingColumn(f"logs need the column '{needed}'", fix=f"this has {columns}", column=needed)
    kind = pl.col("kind")
    visit = pl.struct("person", "session").filter(pl.col("session").is_not_null()).n_unique()
    visits = visit if "session" in columns else pl.lit(None, pl.Int64)
    asks: dict[str, pl.Expr] = {
        "rows": pl.len(), "people": pl.col("person").n_unique(), "impressions": (kind == impression).sum(), "clicks": (kind == click).sum(),
        "buys": (kind == buy).sum(), "saw": pl.col("person").filter(kind == impression).n_unique(),
        "bought": pl.col("person").filter(kind == buy).n_unique(),
        "sessions": visits,
        "dwell": pl.col("value").filter(kind == click).mean() if "value" in columns else pl.lit(None, pl.Float64),
        "start": pl.col("time").min() if "time" in columns else pl.lit(None, pl.Int64),
        "end": pl.col("time").max() if "time" in columns else pl.lit(None, pl.Int64),
    }  # fmt: skip
    found = log.select(**asks).collect(engine="streaming").row(0, named=True)
    if not found["rows"]:
        raise EmptyData("the log is empty")
    money: dict[str, Any] = _money(log, items, buy) if items is not None else {"revenue": None, "margin": None}
    return {
        "ctr": _ratio(found["clicks"], found["impressions"]), "conversion": _ratio(found["buys"], found["clicks"]),
        "adoption": _ratio(found["bought"], found["saw"]), "revenue_per_person": _ratio(money["revenue"], found["people"]),
        "margin": _ratio(money["margin"], money["revenue"]),
        "top_share": _top_share(log, buy if found["buys"] else click, catalogue),
        "sessions_per_person": _ratio(found["sessions"], found["people"]),
        "dwell": math.nan if found["dwell"] is None else float(found["dwell"]),
        "retention": _retention(log, found["start"], found["end"], retention_days),
    }  # fmt: skip


def _ratio(a: Any, b: Any) -> float:
    return math.nan if a is None or not b else float(a) / float(b)


def _money(log: pl.LazyFrame, items: pl.LazyFrame | pl.DataFrame, buy: str) -> dict[str, Any]:
    goods = items.lazy()
    columns = goods.collect_schema().names()
    if "price" not in columns:
        return {"revenue": None, "margin": None}
    sold = log.filter(pl.col("kind") == buy).select("item").join(goods.unique("item"), on="item", how="left")
    margin = pl.col("margin").sum() if "margin" in columns else pl.lit(None, pl.Float64)
    revenue, earned, unpriced = sold.select(pl.col("price").sum(), margin.alias("m"), pl.col("price").is_null().sum().alias("n")).collect().row(0)
    if unpriced:
        raise BadValue(f"{unpriced} buys are of items without a price", fix="complete the items frame, or leave these buys out")
    return {"revenue": revenue, "margin": earned}


def _top_share(log: pl.LazyFrame, kind: str, catalogue: int | None) -> float:
    counts = log.filter(pl.col("kind") == kind).group_by("item").len().collect(engine="streaming")["len"].sort(descending=True)
    if not counts.len():
        return math.nan
    size = counts.len() if catalogue is None else catalogue
    return float(counts.head(max(1, math.ceil(size / 100))).sum()) / float(counts.sum())


def _retention(log: pl.LazyFrame, start: int | None, end: int | None, days: int) -> float:
    if start is None or end is None or end - start < days * DAY:
        return math.nan
    edge = start + days * DAY
    first = log.filter(pl.col("time") < edge).select("person").unique()
    back = log.filter(pl.col("time") >= edge).select("person").unique()
    return _ratio(*(first.join(back, on="person", how="semi").select(pl.len()).collect().item(), first.select(pl.len()).collect().item()))


@dataclass(frozen=True)
class OffPolicy:
    """An estimate from another policy's log."""

    value: float
    """Estimated mean reward of the new policy."""
    interval: tuple[float, float]
    """95% bootstrap over logged decisions."""
    effective_size: float
    """(sum w)^2 / sum w^2 of the importance weights: how many logged decisions really speak."""
    clipped: float
    """Share of weights that were cut."""


def _weights(logged: np.ndarray, target: np.ndarray, most: float | None) -> tuple[np.ndarray, float]:
    logged, target = np.asarray(logged, np.float64), np.asarray(target, np.float64)
    if logged.shape != target.shape:
        raise ConfigError(f"{logged.size} logged probabilities, {target.size} of the new policy", fix="give both for every logged decision")
    if not logged.size:
        raise EmptyData("there are no logged decisions")
    if (~(logged > 0)).any() or (logged > 1).any():
        raise BadValue(
            f"{int((~(logged > 0) | (logged > 1)).sum())} logged probabilities are not in (0, 1]", fix="log the probability of what was shown"
        )
    weights = target / logged
    return (weights, 0.0) if most is None else (np.minimum(weights, most), float((weights > most).mean()))


def _estimate(numerator: np.ndarray, denominator: np.ndarray, weights: np.ndarray, clipped: float, seed: int) -> OffPolicy:
    means = bootstrap_means(np.stack([numerator, denominator], axis=1), seed=seed)
    low, high = np.quantile(means[:, 0] / means[:, 1], [0.025, 0.975])
    size = float(weights.sum() ** 2 / (weights**2).sum()) if weights.any() else 0.0
    return OffPolicy(float(numerator.mean() / denominator.mean()), (float(low), float(high)), size, clipped)


def ips(rewards: np.ndarray, logged: np.ndarray, target: np.ndarray, *, most: float | None = None, seed: int = 0) -> OffPolicy:
    """Inverse propensity score: mean of reward x target / logged. Unbiased where the old policy could have shown everything.

    Parameters
    ----------
    rewards, logged, target: float [n], what was earned, and how probable the logged action was under the old and the new policy.
    most: cut importance weights at this value: less variance, some bias.
    """
    weights, clipped = _weights(logged, target, most)
    return _estimate(weights * np.asarray(rewards, np.float64), np.ones(weights.size), weights, clipped, seed)


def snips(rewards: np.ndarray, logged: np.ndarray, target: np.ndarray, *, most: float | None = None, seed: int = 0) -> OffPolicy:
    """Self-normalised IPS: divided by the mean weight. Slightly biased, far less variable, and indifferent to a constant added to rewards."""
    weights, clipped = _weights(logged, target, most)
    if not weights.any():
        raise BadValue("the new policy never does what was logged", fix="log more, or compare policies that overlap")
    return _estimate(weights * np.asarray(rewards, np.float64), weights, weights, clipped, seed)


def dr(
    rewards: np.ndarray, logged: np.ndarray, target: np.ndarray, predicted: np.ndarray, predicted_target: np.ndarray, *,
    most: float | None = None, seed: int = 0,
) -> OffPolicy:  # fmt: skip
    """Doubly robust: a reward model's answer, corrected by IPS of its errors; right when either the model or the propensities are.

    Parameters
    ----------
    predicted: float [n], the model's reward for what was logged.
    predicted_target: float [n], its mean reward under the new policy, in the same contexts.
    """
    weights, clipped = _weights(logged, target, most)
    errors: Any = np.asarray(rewards, np.float64) - np.asarray(predicted, np.float64)
    return _estimate(np.asarray(predicted_target, np.float64) + weights * errors, np.ones(weights.size), weights, clipped, seed)
