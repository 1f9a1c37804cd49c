"""What is kept while an evaluation streams over chunks of people; chunks measured apart merge into exactly what one pass gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sartor.errors import ConfigError

Values = Mapping[str, np.ndarray]
"""Metric -> float64 [people, ks]."""


@dataclass(eq=False)
class Accumulator:
    """Per-person values of each arm (own, population, swapped) and how often each item was shown, at every cut-off.

    Sums are made at the end, in the order of the person numbers, so that neither the size nor the order of the chunks changes a digit.
    """

    ks: tuple[int, ...]
    items: int
    """Size of the catalogue."""
    rows: list[np.ndarray] = field(default_factory=list)
    """Person numbers of each chunk."""
    arms: dict[str, list[Values]] = field(default_factory=dict)
    exposure: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """int64 [ks, items], how often the own arm showed each item."""

    def __post_init__(self) -> None:
        if not self.exposure.size:
            self.exposure = np.zeros((len(self.ks), self.items), np.int64)

    def add(self, rows: np.ndarray, arms: Mapping[str, Values], shown: np.ndarray) -> None:
        """One chunk: person numbers, values per arm, and the own arm's lists (int32 [people, length], -1 where short)."""
        self.rows.append(np.asarray(rows, np.int64))
        for arm, values in arms.items():
            self.arms.setdefault(arm, []).append(values)
        for at, k in enumerate(self.ks):
            top = shown[:, :k]
            self.exposure[at] += np.bincount(top[top >= 0], minlength=self.items)

    def merge(self, other: Accumulator) -> Accumulator:
        """Both together; neither is changed."""
        if (self.ks, self.items) != (other.ks, other.items):
            raise ConfigError("these accumulators measure different cut-offs or catalogues", fix="use the same ks and catalogue everywhere")
        arms = {arm: [*self.arms.get(arm, []), *other.arms.get(arm, [])] for arm in {**self.arms, **other.arms}}
        return Accumulator(self.ks, self.items, [*self.rows, *other.rows], arms, self.exposure + other.exposure)

    def person_numbers(self) -> np.ndarray:
        """int64 [people], ascending; raises `ConfigError` when somebody was measured twice."""
        rows = np.sort(np.concatenate([*self.rows, np.empty(0, np.int64)]))
        if (np.diff(rows) == 0).any():
            raise ConfigError(f"{int((np.diff(rows) == 0).sum())} people were measured twice", fix="give every person to one chunk only")
        return rows

    def values(self, arm: str) -> dict[str, np.ndarray]:
        """Metric -> float64 [people, ks] of all chunks, in the order of the person numbers."""
        chunks = self.arms.get(arm, [])
        if not chunks:
            return {}
        self.person_numbers()
        order = np.argsort(np.concatenate(self.rows), kind="stable")
        return {name: np.concatenate([chunk[name] for chunk in chunks])[order] for name in chunks[0]}


def flat(values: Values, ks: Sequence[int], suffix: str = "") -> dict[str, np.ndarray]:
    """`name@k` -> float64 [people]."""
    return {f"{name}@{k}{suffix}": array[:, at] for name, array in values.items() for at, k in enumerate(ks)}
