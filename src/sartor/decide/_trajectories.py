"""From events, one per tick, to what was counted and what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sartor.errors import BadValue, ConfigError, MissingColumn

LARGEST = 1e30
"""No count gets here: courses from there are no numbers."""


@dataclass(frozen=True)
class Trajectories:
    """Which columns hold what."""

    seen: tuple[str, ...]
    controls: tuple[str, ...]
    most: float = 1.0
    """What no rate reaches."""

    def of(self, events: pl.DataFrame, where: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """One process's stretches without a gap: counts float64 [ticks, m] and the rates float64 [ticks, q] under which they came to be.

        Raises `MissingColumn`, and `BadValue` with the tick for what is missing, not finite, negative, a rate that is too high, a tick that is there
        twice, and for a count that has died out, by name.
        """
        for name in (*self.seen, *self.controls):
            if name not in events.columns:
                raise MissingColumn(f"there is no column '{name}'", fix=f"events need {', '.join((*self.seen, *self.controls))}", column=name)
        if "time" in events.columns:
            events = events.sort("time", maintain_order=True)
            ticks = events["time"].to_numpy()
        else:
            ticks = np.arange(events.height)
        counts, rates = (
            events.select(pl.col(names).cast(pl.Float64, strict=False)).to_numpy().astype(np.float64) for names in (self.seen, self.controls)
        )
        self.check(counts, rates, ticks, file=where)
        steps = np.diff(ticks)
        if (steps == 0).any():
            raise BadValue("this tick is there twice", file=where, tick=int(ticks[np.flatnonzero(steps == 0)[0]]), fix="give each tick once")
        cuts = np.flatnonzero(steps != 1) + 1
        return list(zip(np.split(counts, cuts), np.split(rates, cuts), strict=True))

    def check(self, counts: np.ndarray, rates: np.ndarray, ticks: np.ndarray | None = None, **where: Any) -> None:
        """Raise `BadValue` with the tick for what cannot be a count or a rate, and for what has died out."""
        impossible = ~(np.isfinite(rates) & (rates >= 0) & (rates < self.most))
        below = "" if np.isinf(self.most) else f" to below {self.most:g}"
        for names, numbers, wrong, what, fix in (
            (self.seen, counts, ~((counts >= 0) & (counts < LARGEST)), "", "give finite counts, or leave the tick out"),
            (self.controls, rates, impossible, "", f"give rates from 0{below}, or leave the tick out"),
            (self.seen, counts, counts == 0, " died out", "give what was measured before"),
        ):
            if wrong.any():
                row, column = (int(one) for one in np.argwhere(wrong)[0])
                said = what or f" is {numbers[row, column]:g}"
                raise BadValue(f"{names[column]}{said}", tick=None if ticks is None else int(ticks[row]), fix=fix, **where)

    def now(self, request: Mapping[str, Any], person: Any) -> list[float]:
        """The counts of a request, in order."""
        if set(request) != set(self.seen):
            raise ConfigError(f"the request holds {sorted(request)}", person=person, fix=f"give the counts now: {', '.join(self.seen)}")
        for name in self.seen:
            value = request[name]
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < LARGEST:
                raise BadValue(f"{name} is {value!r}", person=person, fix="give a finite count, not below 0")
            if value == 0:
                raise BadValue(f"{name} has died out", person=person, fix="nothing steers what is no more")
        return [float(request[name]) for name in self.seen]
