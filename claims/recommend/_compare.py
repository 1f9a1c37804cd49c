"""What the checks of nbpo, pld, graphhash and alpharec share: dense cores, one-line judging, AUC per person, the three scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from sartor.data import Population
from sartor.data.splits import Split
from sartor.evaluate import evaluate
from sartor.evaluate.result import Evaluation


def core(population: Population, at_least: int) -> Population:
    """People and items with at least so many distinct partners each, repeatedly until nothing changes; each pair once, without values."""
    events = population.events.collect().unique(["person", "item"], keep="first", maintain_order=True)
    height = -1
    while events.height != height:
        height = events.height
        events = events.filter(pl.len().over("person") >= at_least).filter(pl.len().over("item") >= at_least)
    kept = [name for name in ("person", "item", "time") if name in events.columns]
    return Population.from_frames(name=f"{population.name}, {at_least}-core", events=events.select(kept))


def judge(method: Any, split: Split, metrics: Sequence[str], *, on: str = "test", **options: Any) -> dict[str, float]:
    """Some metrics of a fitted method, without the arms for gain and swap gap."""
    ks = sorted({int(name.split("@")[1].split()[0]) for name in metrics})
    shown = evaluate(method, split, on=on, ks=ks, population_baseline=False, swap=None, resamples=1, **options)  # type: ignore[arg-type]
    found = {name.partition(" (")[0]: value for name, value in shown.metrics.items()}
    return {name: round(float(found[name]), 5) for name in metrics} | {"tie_share": round(float(shown.tie_share), 4)}


def scales(shown: Evaluation) -> dict[str, Any]:
    """gain, swap gap and cost as an Outcome takes them."""
    return {
        "gain": shown.gain,
        "gain_interval": list(shown.gain_interval),
        "swap_gap": shown.swap_gap,
        "swap_gap_interval": list(shown.swap_gap_interval),
        "state_bytes": shown.cost["state_bytes"],
        "adapt_seconds": shown.cost["adapt_seconds"],
    }


def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Key by key."""
    return {key: round(float(np.mean([row[key] for row in rows])), 5) for key in rows[0]}


def person_auc(people: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean over people of the probability that a labelled row scores above an unlabelled one of the same person; ties count half."""
    frame = pl.DataFrame({"person": people, "label": labels.astype(bool), "score": scores})
    ranked = frame.with_columns(rank=pl.col("score").rank("average").over("person"))
    sums = ranked.group_by("person").agg(positive=pl.col("label").sum(), count=pl.len(), ranks=pl.col("rank").filter(pl.col("label")).sum())
    sums = sums.filter((pl.col("positive") > 0) & (pl.col("positive") < pl.col("count")))
    p, n, ranks = (sums[name].to_numpy().astype(float) for name in ("positive", "count", "ranks"))
    return float(np.mean((ranks - p * (p + 1) / 2) / (p * (n - p))))
