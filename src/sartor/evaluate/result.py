"""What an evaluation found: sartor's three scales, every metric with its interval, slices, and each person's own numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

Interval = tuple[float, float]
NO_INTERVAL: Interval = (float("nan"), float("nan"))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A method measured on held-out events of people it adapted to. Intervals are 95% bootstrap over people."""

    method: str
    split: str
    on: str
    """"test" or "validation"."""
    headline: str
    """The metric that gain and swap gap are differences of."""
    ks: tuple[int, ...]
    seed: int
    metrics: Mapping[str, float]
    """`name@k` -> mean over people, with their own states."""
    intervals: Mapping[str, Interval]
    population_metrics: Mapping[str, float]
    """The same with no state: what everybody would get from this method."""
    popularity_metrics: Mapping[str, float]
    """The same of the items that most people have in training, the person's own left out: one yardstick for all methods."""
    swapped_metrics: Mapping[str, float]
    """The same with another person's state."""
    gain: float
    """headline(own state) - headline(no state): does personalising help?"""
    gain_interval: Interval
    gain_over_popularity: float
    """headline(own state) - headline(popularity): comparable between methods, whose own answers without a state differ in strength."""
    gain_over_popularity_interval: Interval
    swap_gap: float
    """headline(own state) - headline(another's state): is it really this person's?"""
    swap_gap_interval: Interval
    cost: Mapping[str, float | None]
    """`state_bytes` (mean), `adapt_seconds` (median of one `adapt`), `request_seconds` (per person in a batch)."""
    counts: Mapping[str, int]
    """People and items measured, skipped, left out."""
    tie_share: float
    """Share of shown places whose score equals a neighbour's, so that the seeded lottery decided."""
    slices: Mapping[str, Mapping[str, Any]]
    per_person: pl.DataFrame
    """person, events, relevant, own metrics; the headline of the other arms as `population ...`, `popularity ...` and `swapped ...`."""
    notes: tuple[str, ...] = ()
    seconds: float = field(default=0.0)

    @property
    def value(self) -> float:
        """The headline metric's mean."""
        return self.metrics[self.headline]

    def __repr__(self) -> str:
        gain, swap = _signed(self.gain, self.gain_interval), _signed(self.swap_gap, self.swap_gap_interval)
        popular = _signed(self.gain_over_popularity, self.gain_over_popularity_interval)
        return (
            f"Evaluation({self.method} on {self.split}/{self.on}, {self.counts['people']} people: {self.headline} {self.value:.4f}, gain {gain}, "
            f"gain over popularity {popular}, swap gap {swap})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single people, as plain data for JSON; what is not a number becomes None."""
        from sartor.evaluate.claim import plain

        found: dict[str, Any] = plain({f.name: getattr(self, f.name) for f in fields(self) if f.name != "per_person"})
        return found

    def table(self) -> pl.DataFrame:
        """One row per metric: metric, k, value, low, high, population, popularity, swapped, n, notes."""
        rows = [
            {
                "metric": (parts := name.partition("@"))[0], "k": _k(parts[2]), "value": value,
                "low": self.intervals.get(name, NO_INTERVAL)[0], "high": self.intervals.get(name, NO_INTERVAL)[1],
                "population": self.population_metrics.get(name), "popularity": self.popularity_metrics.get(name),
                "swapped": self.swapped_metrics.get(name),
                "n": self.counts["people"], "notes": parts[2].partition(" ")[2],
            }
            for name, value in self.metrics.items()
        ]  # fmt: skip
        numbers = dict.fromkeys(("value", "low", "high", "population", "popularity", "swapped"), pl.Float64)
        return pl.DataFrame(rows, schema={"metric": pl.String, "k": pl.Int64, **numbers, "n": pl.Int64, "notes": pl.String})

    def slice_table(self) -> pl.DataFrame:
        """One row per slice: slice, n, metric, value, low, high, gain, gain_over_popularity, swap_gap."""
        columns = {"slice": pl.String, "n": pl.Int64, "metric": pl.String}
        numbers = dict.fromkeys(("value", "low", "high", "gain", "gain_over_popularity", "swap_gap"), pl.Float64)
        rows = [
            {
                "slice": name, "n": one["n"], "metric": one["metric"], "value": one["value"], "low": one["interval"][0], "high": one["interval"][1],
                "gain": one["gain"], "gain_over_popularity": one["gain_over_popularity"], "swap_gap": one["swap_gap"],
            }
            for name, one in self.slices.items()
        ]  # fmt: skip
        return pl.DataFrame(rows, schema={**columns, **numbers})

    def plot(self, path: str | Path) -> Path:
        """Three pictures in one file (PNG, SVG or PDF by suffix): the arms, the metrics with intervals, each person's gain."""
        from sartor.evaluate.plots import evaluation_figure

        return evaluation_figure(self, Path(path))


def _k(text: str) -> int:
    return int(text.partition(" ")[0])


def _signed(value: float, interval: Interval) -> str:
    return "not measured" if np.isnan(value) else f"{value:+.4f} [{interval[0]:+.4f}, {interval[1]:+.4f}]"
