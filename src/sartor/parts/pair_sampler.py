"""Which pairs stand together in a batch of contrastive learning, and where positive pairs come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from sartor.errors import ConfigError, EmptyData
from sartor.parts.samplers import order


@dataclass(kw_only=True)
class PairSampler:
    """Which pairs stand together in a batch, and so which are negatives of each other.

    Parameters
    ----------
    batch_size: at least 2; a last batch of one pair, which has no negative, is left out.
    steps: batches per epoch, going through the pairs again and again; 0 is one pass.
    domains: int [pairs]; with `mixed=False` a batch holds pairs of one domain only, and domains take turns in random order, as often each.
    mixed: batches across domains. Their negatives are easy; `crossing` says how large a share of all negatives crossed domains so far.
    """

    batch_size: int = 64
    steps: int = 0
    domains: np.ndarray | None = None
    mixed: bool = True
    negatives: int = field(default=0, init=False)
    crossed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.steps < 0:
            raise ConfigError(f"batch_size {self.batch_size}, steps {self.steps}", fix="use at least 2 pairs per batch, and 0 or more steps")

    @property
    def crossing(self) -> float:
        """Share of in-batch negatives that were of another domain than their row, so far."""
        return self.crossed / self.negatives if self.negatives else 0.0

    def batches(self, rng: np.random.Generator, pairs: int) -> Iterator[np.ndarray]:
        """One epoch: row numbers int64 [b] of `pairs` pairs."""
        if pairs < 2:
            raise EmptyData(f"{pairs} pairs", fix="give at least 2: the others' partners are the negatives")
        stream = self._once(rng, pairs) if not self.steps else self._again(rng, pairs)
        for at, rows in enumerate(stream):
            if self.steps and at == self.steps:
                return
            if self.domains is not None:
                counts = np.unique(self.domains[rows], return_counts=True)[1]
                self.negatives += rows.size * (rows.size - 1)
                self.crossed += rows.size**2 - int((counts**2).sum())
            yield rows

    def _again(self, rng: np.random.Generator, pairs: int) -> Iterator[np.ndarray]:
        while True:
            before = 0
            for rows in self._once(rng, pairs):
                before += 1
                yield rows
            if not before:
                raise EmptyData("no domain has two pairs", fix="give more, or mix domains")

    def _once(self, rng: np.random.Generator, pairs: int) -> Iterator[np.ndarray]:
        if self.domains is None or self.mixed:
            yield from (rows for rows in order(rng, pairs, self.batch_size) if rows.size > 1)
            return
        members = [np.flatnonzero(self.domains == one) for one in np.unique(self.domains)]
        turns = [[rows[chosen] for chosen in order(rng, rows.size, self.batch_size) if chosen.size > 1] for rows in members]
        for turn in range(max(map(len, turns))):
            for which in rng.permutation(len(turns)):
                if turns[which]:
                    yield turns[which][turn % len(turns[which])]


def co_occurring(groups: np.ndarray, members: np.ndarray, per_group: int, rng: np.random.Generator) -> np.ndarray:
    """Positive pairs out of what stands together: papers cited by one paper, items of one basket, skills of one advertisement.

    groups, members int [n]: member i is in group i. Returns int64 [pairs, 2], at most `per_group` different pairs of different members
    from each group, in random order within a pair; groups of one member give none.
    """
    kept = np.unique(np.stack([groups, members], 1), axis=0)
    found = []
    for own in np.split(kept[:, 1], np.flatnonzero(np.diff(kept[:, 0])) + 1):
        first, second = np.triu_indices(own.size, 1)
        chosen = rng.permutation(first.size)[:per_group]
        pair = np.stack([own[first[chosen]], own[second[chosen]]], 1)
        found.append(rng.permuted(pair, axis=1))
    return np.concatenate(found).astype(np.int64) if found else np.empty((0, 2), np.int64)
