"""What an evaluation of a writer found: gain and swap gap of every tier of habits, cost, and each person's own numbers; tables of several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sartor.parts.statistics import bootstrap

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class WritingEvaluation:
    """A writer measured on people that it adapted to."""

    method: str
    people: int
    requests: int
    """Per person."""
    tiers: Mapping[str, Mapping[str, Any]]
    """Tier -> own, none, swapped (mean shares of its habits that are shown), gain, gain_interval, swap_gap, swap_gap_interval, n (people)."""
    traits: Mapping[str, Mapping[str, Any]]
    """The same for every single habit."""
    score: Mapping[str, Any]
    """The same for the person's hidden score: half for the right answer, half for her habits."""
    cost: Mapping[str, float]
    """`state_bytes` (mean), `adapt_seconds` and `adapt_cpu_seconds` (medians of one `adapt`), `request_seconds` (in a batch), `prompt_tokens` and
    `prompt_tokens_without_state` (mean per request; NaN where the method does not tell), `words_written` (mean, marks included)."""
    per_person: pl.DataFrame
    """person, then tier, habit and score in every arm: `own tier:always`, `swapped score`, ..."""
    seed: int
    seconds: float

    @classmethod
    def of(
        cls, *, method: str, names: Sequence[str], people: np.ndarray, arms: Mapping[str, np.ndarray], requests: int, cost: Mapping[str, float],
        tiers: Mapping[str, Sequence[str]], resamples: int, seed: int, seconds: float,
    ) -> WritingEvaluation:  # fmt: skip
        """From per-person means: `arms` are float64 [people, names], NaN where nothing was asked for. All intervals share their resamples."""
        own = arms["own"]
        scales = {"gain": own - arms["none"], "swap_gap": own - arms["swapped"]}
        ends = {scale: bootstrap(values, resamples=resamples, seed=seed) for scale, values in scales.items()}

        def figures(column: int) -> dict[str, Any]:
            found: dict[str, Any] = {arm: _mean(values[:, column]) for arm, values in arms.items()}
            for scale, values in scales.items():
                found |= {scale: _mean(values[:, column]), f"{scale}_interval": tuple(ends[scale][column].tolist())}
            return found | {"n": int((~np.isnan(own[:, column])).sum())}

        every = {name: figures(column) for column, name in enumerate(names)}
        table = pl.DataFrame({"person": people} | {f"{arm} {name}": values[:, at] for arm, values in arms.items() for at, name in enumerate(names)})
        return cls(
            method, int(people.size), requests, {tier: every[f"tier:{tier}"] for tier in tiers},
            {name.removeprefix("trait:"): one for name, one in every.items() if name.startswith("trait:")}, every["score"], dict(cost), table, seed,
            seconds,
        )  # fmt: skip

    def table(self) -> pl.DataFrame:
        """One row per tier and one for the score: method, tier, own, none, swapped, gain, gain_low, gain_high, swap_gap, ..., n."""
        return pl.DataFrame([_row(self.method, tier, one) for tier, one in [*self.tiers.items(), ("score", self.score)]])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single people, as plain data for JSON."""
        from sartor.evaluate.claim import plain

        found: dict[str, Any] = plain({f.name: getattr(self, f.name) for f in fields(self) if f.name != "per_person"})
        return found

    def to_json(self, path: str | Path | None = None) -> str:
        """The same as text; with `path`, also written there."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def __repr__(self) -> str:
        told = ", ".join(f"{tier} {one['own']:.2f} (gain {one['gain']:+.2f}, swap gap {one['swap_gap']:+.2f})" for tier, one in self.tiers.items())
        return f"WritingEvaluation({self.method}, {self.people} people: {told})"


def compare(evaluations: Sequence[WritingEvaluation]) -> pl.DataFrame:
    """One row per method: for each tier own, gain and swap gap (`always`, `always gain`, `always swap gap`), then the score and the costs."""
    rows = []
    for one in evaluations:
        row: dict[str, Any] = {"method": one.method, "people": one.people}
        for name, found in [*one.tiers.items(), ("score", one.score)]:
            row |= {name: found["own"], f"{name} gain": found["gain"], f"{name} swap gap": found["swap_gap"]}
        rows.append(row | dict(one.cost))
    return pl.DataFrame(rows)


def _row(method: str, tier: str, one: Mapping[str, Any]) -> dict[str, Any]:
    row = {"method": method, "tier": tier} | {arm: one[arm] for arm in ("own", "none", "swapped")}
    for scale in ("gain", "swap_gap"):
        low, high = one[f"{scale}_interval"]
        row |= {scale: one[scale], f"{scale}_low": low, f"{scale}_high": high}
    return row | {"n": one["n"]}


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
