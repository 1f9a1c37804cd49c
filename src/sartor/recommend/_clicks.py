"""Events as labelled pairs, for methods that predict whether a person likes an item."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sartor.data.interactions import Interactions
from sartor.errors import ConfigError
from sartor.parts.samplers import unseen


class Examples(NamedTuple):
    """Who, what, and whether it was liked."""

    people: np.ndarray
    """int64 [n], person numbers."""
    items: np.ndarray
    """int64 [n], item numbers."""
    labels: np.ndarray
    """float32 [n], 1 or 0."""

    def take(self, rows: np.ndarray) -> Examples:
        """Some of them."""
        return Examples(self.people[rows], self.items[rows], self.labels[rows])

    def both(self) -> bool:
        """Whether there are likes and dislikes."""
        return bool(self.labels.size) and 0 < float(self.labels.mean()) < 1


@dataclass(frozen=True)
class Labels:
    """What counts as a like.

    An event with a value is a like from `positive` on and a dislike up to `negative`; values between are left out. An event without a
    value is a like, against `negatives` random items that the person has not.
    """

    positive: float
    negative: float
    negatives: int

    def examples(self, data: Interactions, rng: np.random.Generator, *, seen: Interactions | None = None) -> Examples:
        """Labelled pairs of the events; random items are drawn outside `data` and `seen`."""
        rows, values = data.rows.astype(np.int64), data.values
        bare = np.isnan(values)
        keep = bare | (values >= self.positive) | (values <= self.negative)
        rated = Examples(rows[keep], data.indices[keep].astype(np.int64), (bare | (values >= self.positive))[keep].astype(np.float32))
        if not bare.any():
            return rated
        history = data.matrix() if seen is None else data.matrix() + seen.matrix()
        history.sort_indices()
        # Somebody who has everything gives no negatives.
        likers = rows[bare][np.diff(history.indptr)[rows[bare]] < len(data.items)]
        drawn = unseen(rng, likers, self.negatives, history.indptr, history.indices, len(data.items))
        others = Examples(np.repeat(likers, self.negatives), drawn.ravel().astype(np.int64), np.zeros(drawn.size, np.float32))
        return Examples(*(np.concatenate(pair) for pair in zip(rated, others, strict=True)))

    def each(self, histories: Interactions, newest: int, seed: int) -> Examples:
        """The same for many people, each from the newest events only and with random items that depend on nobody else."""
        parts = []
        for row in range(len(histories.people)):
            own = histories.take(np.array([row]))
            rng = np.random.default_rng([seed, *own.indices.tolist()])
            part = self.examples(_newest(own, newest), rng, seen=own)
            parts.append(part._replace(people=np.full(part.labels.size, row)))
        return Examples(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def check(self, examples: Examples) -> None:
        """Raise `ConfigError` when there is nothing to tell apart."""
        if not examples.both():
            likes = int(examples.labels.sum())
            raise ConfigError(
                f"{likes} likes (values from {self.positive:g}) and {examples.labels.size - likes} dislikes (up to {self.negative:g})",
                fix="set positive and negative to the data's scale",
            )


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of (like, dislike) pairs that the scores put in the right order; ties count half."""
    from scipy.stats import rankdata

    likes = labels > 0.5
    above = rankdata(scores)[likes].sum() - likes.sum() * (likes.sum() + 1) / 2
    return float(above / (likes.sum() * (~likes).sum()))


def _newest(own: Interactions, most: int) -> Interactions:
    """One person's newest events."""
    cut = slice(max(0, len(own) - most), None)
    flat = {name: getattr(own, name)[cut] for name in ("indices", "values", "weights", "times")}
    plain = {f.name: getattr(own, f.name) for f in dataclasses.fields(Interactions)}
    return Interactions(**{**plain, **flat, "indptr": np.array([0, flat["indices"].size], np.int64)})
