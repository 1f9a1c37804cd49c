"""A simulator fitted to one process's own measurements, and a small neural controller that steers this process through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sartor.decide._steered import Steered
from sartor.decide.parts.equations import LotkaVolterra
from sartor.errors import ConfigError


@dataclass(kw_only=True, eq=False)
class TwinControl(Steered):
    """Steers a process that differs from person to person to a wanted state: a medical digital twin, or any other process of counts.

    For processes too rough for calculus (agents, whole numbers, chance) of which a run with a pulse of every control was measured, and whose
    kind is known well enough to write down which variable acts on which. Where people do not differ, the population's controller does as well.
    What it gives is a research estimate, not medical advice.

    Source: Control of medical digital twins with artificial neural networks, 2024: twins as fitted equations, neural controllers trained through
    them, and dynamics-informed training on the process itself (`informed`). Twins are generalised Lotka-Volterra equations, of which the paper's
    predator-prey model is one; `PathwayControl` is its second model. Differs: ridge regression about the population instead of a search.

    Events are one per tick: `time` counts ticks, and there is a column for each of `seen` (counts after it) and of `controls` (rates during it).
    A request holds the counts now, such as {"grass": 24000, "sheep": 4100, "wolves": 1900}.

    State: float32 `parameters` [terms], `roots` (their uncertainty, triangles), `noise` [m], and `controller` [370] with three variables and two
    controls: 1.6 KB.
    """

    seen: Sequence[str] = ("grass", "sheep", "wolves")
    """What is counted."""
    drivers: Sequence[Sequence[str]] = (("grass", "sheep"), ("grass", "wolves"), ("sheep",))
    """For each of them, what acts on its growth (each also grows or dies alone)."""
    controls: Sequence[str] = ("remove_sheep", "remove_wolves")
    """Rates per tick."""
    removes: Sequence[str] = ("sheep", "wolves")
    """For each control, what it removes."""
    target: Sequence[float] = (5_000.0, 900.0)
    """Wanted counts of what controls remove."""
    limit: float = 0.08
    """Highest rate."""

    def _check(self) -> None:
        names = set(self.seen)
        if len(names) < len(self.seen) or len(self.drivers) != len(self.seen) or not set().union(*map(set, self.drivers)) <= names:
            raise ConfigError(f"drivers are {self.drivers}", fix=f"give for each of {list(self.seen)} which of them act on it")
        if (
            len(self.controls) != len(self.removes)
            or len(set(self.removes)) < len(self.removes)
            or not set(self.removes) <= names
            or not self.removes
        ):
            raise ConfigError(f"controls {list(self.controls)} remove {list(self.removes)}", fix=f"let each remove another one of {list(self.seen)}")
        super()._check()

    @property
    def removal(self) -> np.ndarray:
        """float64 [m, q], 1 where a control removes a variable."""
        return np.array([[float(name == removed) for removed in self.removes] for name in self.seen])

    @property
    def _equations(self) -> LotkaVolterra:
        terms = np.array([[True, *(name in drivers for name in self.seen)] for drivers in self.drivers])
        return LotkaVolterra(terms, self.removal, self.reference_)
