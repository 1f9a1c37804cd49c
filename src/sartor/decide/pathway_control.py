"""Steering a metabolic pathway by what flows into it, through a twin that knows its rate laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sartor.decide._steered import Steered
from sartor.decide.parts.equations import Pathway
from sartor.errors import ConfigError


@dataclass(kw_only=True, eq=False)
class PathwayControl(Steered):
    """`TwinControl` with the study's second model: five metabolites, four enzymes, and an inflow that brings one metabolite to its target.

    Twins are the pathway's 17 rate-law parameters, fitted by least squares about the population's. Of one run only some of them can be told apart:
    those that nothing was learned of stay as the population's, and `predict` draws from what remains open.

    Source: as `TwinControl`. An event is a step of `ticks`, since a pathway is slow; rates are per tick.

    State: float32 `parameters` [17], `roots` [153] (their uncertainty, a triangle), `noise` [5], and `controller` [385]: 2.2 KB.
    """

    seen: Sequence[str] = ("S", "P", "Q", "R", "T")
    """Substrate, the four that are made of it in this order, and the last, which O makes of P."""
    controls: Sequence[str] = ("inflow",)
    steered: str = "T"
    """What is to come to the target."""
    target: Sequence[float] = (500.0,)
    limit: float = 3.0
    """Highest inflow, molecules per tick."""
    horizon: int = 240
    burn_in: int = 80
    ticks: int = 25
    """Of one step."""
    outflow: float = 0.0005
    """Share of what is free that leaves per tick."""

    def _check(self) -> None:
        if len(self.seen) != 5 or len(set(self.seen)) < 5 or self.steered not in self.seen:
            raise ConfigError(f"seen are {list(self.seen)}, steered is {self.steered}", fix="name the five metabolites, and one of them")
        if self.ticks < 1 or not 0 <= self.outflow < 1:
            raise ConfigError(f"ticks {self.ticks}, outflow {self.outflow}", fix="use at least one tick, and a share below 1")
        super()._check()

    @property
    def _most(self) -> float:
        return float("inf")

    @property
    def _equations(self) -> Pathway:
        return Pathway(self.reference_, self.ticks, self.outflow, list(self.seen).index(self.steered))
