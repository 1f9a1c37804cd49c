"""Who a person is when she writes: her habits in tiers, and the words of her own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from sartor.data.world.draws import Draws, address
from sartor.data.world.persona.words import ACTS, ALWAYS, GROUPED, GROUPS, JARGON, NOISY

FIT_JARGON = 2 / 3
"""Part of the jargon words that only fit people have; never-seen people have the rest, so that no population model knows theirs."""
OPTIONS: dict[str, tuple[str, ...]] = {**ALWAYS, **GROUPED, **NOISY}


@dataclass(frozen=True, eq=False)
class Traits:
    """Habits of some people, one row each."""

    people: np.ndarray
    """int64 [n]."""
    always: Mapping[str, np.ndarray]
    """Habit -> int64 [n], number in its options; likewise `noisy`."""
    noisy: Mapping[str, np.ndarray]
    grouped: Mapping[str, np.ndarray]
    """Habit -> int64 [n, 2], one for each group of requests; the two always differ."""
    verbs: np.ndarray
    """int64 [n, acts], number in the act's verbs."""
    jargon: np.ndarray
    """int64 [n, words in use, 2], number in `JARGON` for each place and group."""

    def __len__(self) -> int:
        return int(self.people.size)

    @classmethod
    def draw(cls, draws: Draws, people: np.ndarray, jargon: int, new: np.ndarray) -> Traits:
        """The same for a person whoever else is drawn; `new` is bool [n]: never seen by any fit."""
        where = address(people)

        def option(name: str, count: int, slots: np.ndarray | int = 0) -> np.ndarray:
            at = where if isinstance(slots, int) else address(people[:, None], slots[None, :])
            return (draws.uniform(f"persona:{name}", at) * count).astype(np.int64)

        always = {name: option(name, len(words)) for name, words in ALWAYS.items()}
        noisy = {name: option(name, len(words)) for name, words in NOISY.items()}
        grouped = {}
        for name, words in GROUPED.items():
            first = option(name, len(words))
            grouped[name] = np.stack([first, (first + 1 + option(f"{name}:other", len(words) - 1)) % len(words)], axis=1)
        verbs = option("verb", 3, np.arange(len(ACTS)))
        places = np.arange(jargon * len(GROUPS))
        known = int(len(JARGON) * FIT_JARGON)
        low, count = np.where(new, known, 0)[:, None], np.where(new, len(JARGON) - known, known)[:, None]
        uniform = draws.uniform("persona:jargon", address(people[:, None], places[None, :]))
        own = low + (uniform * count).astype(np.int64)
        return cls(people, always, noisy, grouped, verbs, own.reshape(people.size, jargon, len(GROUPS)))

    def frame(self) -> pl.DataFrame:
        """One row per person, in words: person, then a column per habit; `link in practical`, `verb for order`, `word 0 in personal`, ..."""
        columns: dict[str, pl.Series | np.ndarray] = {"person": self.people}
        for name, chosen in {**self.always, **self.noisy}.items():
            columns[name] = pl.Series(OPTIONS[name]).gather(chosen)
        for name, chosen in self.grouped.items():
            for number, group in enumerate(GROUPS):
                columns[f"{name} in {group}"] = pl.Series(OPTIONS[name]).gather(chosen[:, number])
        for number, act in enumerate(ACTS):
            columns[f"verb for {act.name}"] = pl.Series(act.verbs).gather(self.verbs[:, number])
        for place in range(self.jargon.shape[1]):
            for number, group in enumerate(GROUPS):
                columns[f"word {place} in {group}"] = pl.Series(JARGON).gather(self.jargon[:, place, number])
        return pl.DataFrame(columns)


def tiers(jargon: int) -> dict[str, tuple[str, ...]]:
    """Tier -> names of what is graded in it."""
    own = tuple(f"word {place}" for place in range(jargon))
    return {
        "always": tuple(ALWAYS), "grouped": tuple(GROUPED), "act": ("verb",), "noisy": tuple(NOISY), **({"jargon": own} if own else {}),
        "taste": ("taste",), "content": ("subject", "shelf", "name"),
    }  # fmt: skip
