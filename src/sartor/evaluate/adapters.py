"""Ways to personalise side by side: what each gains for each person over no state and over another's, and what it costs and keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.errors import ConfigError, UnknownId
from sartor.method import Method, State
from sartor.parts.cost_meter import CostMeter
from sartor.parts.statistics import Paired, paired
from sartor.progress import bar

Score = Callable[[Method, Any, State | None], Mapping[str, float]]
"""From a fitted method, a person and a state to figures by name, of what was held out from adapting; NaN where there is nothing to measure."""


@dataclass(frozen=True, eq=False)
class AdapterComparison:
    """What was measured."""

    scores: pl.DataFrame
    """arm, person, metric, own, none, swapped (NaN where not asked for)."""
    costs: pl.DataFrame
    """arm, person, bytes, cpu_seconds, seconds, and tokens and flops where the method notes them (`CostMeter`), else null."""

    def values(self, arm: str, metric: str, state: str = "own") -> np.ndarray:
        """float64 [people], in the order that they were given."""
        found = self.scores.filter((pl.col("arm") == arm) & (pl.col("metric") == metric))
        if not found.height or state not in ("own", "none", "swapped"):
            raise UnknownId(f"there is no {metric} of {arm} with {state} state", id=arm, fix=f"arms are {self.scores['arm'].unique().to_list()}")
        return found[state].to_numpy()

    def versus(self, a: str, b: str, metric: str) -> Paired:
        """Two arms with own states, person by person: a - b."""
        return paired(self.values(a, metric), self.values(b, metric))

    def table(self) -> pl.DataFrame:
        """One row for each arm: means over people of every figure with own, no and another's state, and of what it costs."""
        long = self.scores.unpivot(["own", "none", "swapped"], index=["arm", "person", "metric"], variable_name="state")
        means = long.with_columns(pl.format("{} {}", "metric", "state").alias("figure")).group_by("arm", "figure", maintain_order=True)
        wide = means.agg(pl.col("value").drop_nans().mean()).pivot("figure", index="arm", values="value", maintain_order=True)
        return wide.join(self.costs.drop("person").group_by("arm", maintain_order=True).mean(), on="arm", how="left", maintain_order="left")


def compare_adapters(
    arms: Mapping[str, Method], given: Population, score: Score, *, swapped: Score | None = None, people: Sequence[Any] | None = None,
    seed: int = 0, progress: bool = False,
) -> AdapterComparison:  # fmt: skip
    """Adapt every arm to every person, and measure.

    Parameters
    ----------
    arms: fitted methods by name, of any room, alike but for how they personalise.
    given: what each may learn from; what `score` looks at must not be in it.
    score: called with own state and with none.
    swapped: called with the state of somebody else, each person's being given to exactly one other; `score` by default.
    people: whom; everybody in `given` by default.

    Raises `ConfigError` for fewer than two people: there is nobody to swap with.
    """
    everybody = [one.person for one in given.each()]
    chosen = list(people) if people is not None else everybody
    if len(chosen) < 2 or not arms:
        raise ConfigError(f"{len(chosen)} people and {len(arms)} arms", fix="give at least two people and one arm")
    if strange := [one for one in chosen if one not in everybody]:
        raise UnknownId("there is nothing given of this person", id=strange[0], fix="name people of `given`")
    order = np.random.default_rng(seed).permutation(len(chosen))
    giver = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
    scores: list[dict[str, Any]] = []
    costs: list[dict[str, Any]] = []
    with bar("comparing", len(arms) * len(chosen), enabled=progress, unit="state") as shown:
        for name, method in arms.items():
            states = []
            for who in chosen:
                # Only its clocks are used: what is multiplied, the method itself knows.
                clock = CostMeter(weights=0, trained=0)
                with clock.running():
                    states.append(method.adapt(given[who]))
                noted = dict(states[-1].notes.get("cost", {}))
                cost = {"bytes": float(states[-1].nbytes), "cpu_seconds": clock.cost.cpu_seconds, "seconds": clock.cost.seconds}
                costs.append({"arm": name, "person": who, **cost, **{key: noted.get(key) for key in ("tokens", "flops")}})
                shown.advance(note=name)
            for row, who in enumerate(chosen):
                own, none = score(method, who, states[row]), score(method, who, None)
                other = (swapped or score)(method, who, states[giver[row]])
                nan = float("nan")
                scores += [
                    {"arm": name, "person": who, "metric": key, "own": own[key], "none": none.get(key, nan), "swapped": other.get(key, nan)}
                    for key in own
                ]
    return AdapterComparison(pl.DataFrame(scores, infer_schema_length=None), pl.DataFrame(costs, infer_schema_length=None))
