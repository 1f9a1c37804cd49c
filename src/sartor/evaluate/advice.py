"""Which metrics to trust for a goal, and which of them disagree on your data.

The selection table follows the survey's strengths and limits of each metric (Jadon and Patil, 2023); what is said about your data is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from sartor.errors import ConfigError

LOWER_IS_BETTER = (
    "arp", "gini", "top_share", "exposure_gap", "demographic_gap", "served_variance", "tie_share", "mae", "mse", "rmse", "mape", "logloss", "brier",
    "ece", "state_bytes", "adapt_seconds", "request_seconds",
)  # fmt: skip
"""Metrics that are turned round before they are correlated, so that a negative correlation always means disagreement."""


@dataclass(frozen=True)
class Goal:
    """What you want from a recommender, and how to see whether you get it."""

    trust: tuple[str, ...]
    """Metrics in order of weight."""
    watch: tuple[str, ...]
    """Metrics that tell when the first are bought too dearly."""
    why: str


GOALS: Mapping[str, Goal] = {
    "accuracy": Goal(
        ("ndcg", "recall", "map"), ("gain", "swap_gap", "coverage"),
        "NDCG counts every hit and where it stands; recall tells how much is missed. Precision depends on how many items people have, so it does not "
        "compare across data sets. A method can be accurate by being popular: gain and swap gap show whether it is personal.",
    ),
    "first hit": Goal(
        ("mrr", "hit_rate"), ("ndcg",),
        "When people take one thing and leave (search boxes, next video), only the first hit counts; MRR ignores all that follows.",
    ),
    "candidate stage": Goal(
        ("candidate_recall", "coverage"), ("request_seconds",),
        "A later stage orders the candidates, so what counts is that they hold the right items. Rank-aware metrics judge an order nobody will see.",
    ),
    "discovery": Goal(
        ("serendipity", "novelty", "aplt", "coverage"), ("ndcg", "diversity"),
        "Novelty and coverage alone are best for random lists: read them only beside accuracy. Serendipity needs a hit, so chance does not earn it.",
    ),
    "ratings": Goal(
        ("rmse", "mae"), ("r2", "ndcg"),
        "RMSE punishes large errors, MAE does not. Neither says whether the top of the list is right: errors on items nobody is shown count as much.",
    ),
    "click probability": Goal(
        ("logloss", "ece", "group_auc"), ("auc",),
        "Bids and budgets need calibrated probabilities: logloss and ECE see calibration, AUC does not. Group AUC ignores what only parts people.",
    ),
    "revenue": Goal(
        ("revenue_per_person", "conversion"), ("ctr", "top_share", "retention"),
        "Clicks are cheap to win by bait. From logs of another policy use SNIPS or DR and read the effective sample size.",
    ),
    "fairness": Goal(
        ("demographic_gap", "exposure_gap", "served_variance"), ("ndcg", "gini"),
        "Gaps close also by serving everybody worse: read the worst group's own mean, not the gap alone.",
    ),
}  # fmt: skip


def goal(name: str) -> Goal:
    """One row of the selection table."""
    if name not in GOALS:
        raise ConfigError(f"there is no goal '{name}'", fix=f"there are {', '.join(GOALS)}")
    return GOALS[name]


def rank_correlations(values: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Spearman correlation of every two metrics.

    Parameters
    ----------
    values: metric -> float [cases], over the same cases (methods, or people). NaN pairs are left out.

    Returns
    -------
    a, b, rho, n; one row per pair, most opposed first. Metrics that do not vary are left out.
    """
    from scipy.stats import spearmanr

    names = [name for name, one in values.items() if np.unique(one[~np.isnan(one)]).size > 1]
    rows = []
    for at, a in enumerate(names):
        for b in names[at + 1 :]:
            both = ~np.isnan(values[a]) & ~np.isnan(values[b])
            if both.sum() < 3 or np.unique(values[a][both]).size < 2 or np.unique(values[b][both]).size < 2:
                continue
            rows.append({"a": a, "b": b, "rho": float(spearmanr(values[a][both], values[b][both]).statistic), "n": int(both.sum())})
    return pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String, "rho": pl.Float64, "n": pl.Int64}).sort("rho")


def square(correlations: pl.DataFrame) -> tuple[list[str], np.ndarray]:
    """The pairs as a symmetric matrix with ones on its diagonal: names and float64 [names, names]."""
    names = sorted({*correlations["a"], *correlations["b"]})
    at = {name: place for place, name in enumerate(names)}
    out = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(out, 1.0)
    for a, b, rho in correlations.select("a", "b", "rho").iter_rows():
        out[at[a], at[b]] = out[at[b], at[a]] = rho
    return names, out
