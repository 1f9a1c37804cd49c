"""Which kinds of things people like, out of the same tastes that they click by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.data.world.taste import Tastes
from sartor.errors import ConfigError

DISLIKED = 2
"""Kinds that each person says she does not like."""


@dataclass(frozen=True, eq=False)
class Likes:
    """Kinds that some people like (those of their interests at any time), and those that they do not, one row each."""

    people: np.ndarray
    """int64 [n]."""
    kinds: np.ndarray
    """int64 [kinds], those that the world has, ascending."""
    liked: np.ndarray
    """bool [n, kinds]."""
    order: np.ndarray
    """int16 [n, kinds], places in `kinds`: the liked ones first."""
    counts: np.ndarray
    """int64 [n], how many are liked."""

    @classmethod
    def of(cls, tastes: Tastes) -> Likes:
        """From exact tastes."""
        kinds = np.unique(tastes.topics.kind).astype(np.int64)
        liked = np.zeros((len(tastes), kinds.size), bool)
        for interests in (tastes.interests, tastes.later_interests):
            rows, slots = np.nonzero(interests >= 0)
            liked[rows, np.searchsorted(kinds, tastes.topics.kind[interests[rows, slots]])] = True
        counts = liked.sum(axis=1)
        if kinds.size < 3 or (counts > kinds.size - DISLIKED).any():
            what = (
                f"people like up to {int(counts.max(initial=0))} of {kinds.size} kinds of things, and there must be {DISLIKED} that they do not like"
            )
            raise ConfigError(what, fix="make a world with more topics, fewer interests, or no drift")
        return cls(tastes.people, kinds, liked, np.argsort(~liked, axis=1, kind="stable").astype(np.int16), counts)

    def holds(self, rows: np.ndarray, subject: np.ndarray) -> np.ndarray:
        """bool [n]: whether the person of each row likes the subject (number in `SUBJECTS`); not for -1 and what the world does not have."""
        place = np.minimum(np.searchsorted(self.kinds, subject), self.kinds.size - 1)
        return self.liked[rows, place] & (self.kinds[place] == subject)

    def one(self, rows: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """A liked subject for each row and number in [0, 1)."""
        return self.kinds[self.order[rows, (uniform * self.counts[rows]).astype(np.int64)]]

    def other(self, rows: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """A subject that is not liked."""
        liked = self.counts[rows]
        return self.kinds[self.order[rows, liked + (uniform * (self.kinds.size - liked)).astype(np.int64)]]

    def disliked(self, uniform: np.ndarray) -> np.ndarray:
        """int64 [n, DISLIKED]: subjects that each person says she does not like, all different; `uniform` is [n]."""
        liked = self.counts
        rest = self.kinds.size - liked
        first = (uniform * rest).astype(np.int64)
        slots = (first[:, None] + np.arange(DISLIKED)[None, :]) % rest[:, None]
        return self.kinds[self.order[np.arange(len(self.people))[:, None], liked[:, None] + slots]]
