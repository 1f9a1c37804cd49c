"""What people like: topics, and every person's sharp interests in a few of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sartor.data.world.draws import Draws, address, pick, running_sums
from sartor.data.world.vocabulary import DEPARTMENTS, KINDS, MEDIA, MOODS

TRIES = 8
"""How often an interest that a person already has is drawn again, first near the main interest, then anywhere."""
KINDS_EACH = len(KINDS) // len(DEPARTMENTS)


@dataclass(frozen=True, eq=False)
class Topics:
    """What there is to like: topic t is mood `mood[t]` of kind `kind[t]`. The topics of one mood form a circle."""

    names: tuple[str, ...]
    kind: np.ndarray
    """int16 [topics], numbers in `KINDS`."""
    mood: np.ndarray
    """int16 [topics], numbers in `MOODS`."""
    share: np.ndarray
    """float64 [topics], how popular each is; sums to 1."""

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def make(cls, count: int, draws: Draws) -> Topics:
        """`count` topics: at least two moods of every kind in use, all departments in turn, all circles about equally large."""
        rng = draws.generator("topics")
        moods_each = max(2, -(-count // len(KINDS)))
        # Kinds in turn from every department, so that few topics still cover them all.
        within = np.argsort(rng.random((len(DEPARTMENTS), KINDS_EACH)), axis=1)
        order = (within + KINDS_EACH * np.arange(len(DEPARTMENTS))[:, None]).T[:, rng.permutation(len(DEPARTMENTS))].ravel()
        number = np.arange(count)
        kind = order[number // moods_each].astype(np.int16)
        mood = rng.permutation(len(MOODS))[number % len(MOODS)].astype(np.int16)
        share = np.exp(0.5 * rng.standard_normal(count))
        return cls(tuple(topic_name(k, m) for k, m in zip(kind, mood, strict=True)), kind, mood, share / share.sum())

    def frame(self) -> pl.DataFrame:
        """One row per topic: topic, name, department, kind, mood, share."""
        return pl.DataFrame(
            {
                "topic": np.arange(len(self), dtype=np.int16),
                "name": self.names,
                "department": [KINDS[k].department for k in self.kind],
                "kind": [KINDS[k].plural for k in self.kind],
                "mood": [MOODS[m].name for m in self.mood],
                "share": self.share,
            }
        )


def topic_name(kind: int, mood: int) -> str:
    """As people say it: "quiet thrillers", "rustic teapots"."""
    what, how = KINDS[kind], MOODS[mood]
    return f"{(how.media if what.department in MEDIA else how.goods)[0]} {what.plural}"


@dataclass(frozen=True, eq=False)
class Tastes:
    """What some people like, exactly: the truth that all rooms share."""

    people: np.ndarray
    """int64 [n], person numbers."""
    interests: np.ndarray
    """int16 [n, most interests], topics at the start of the world's time; -1 fills up."""
    weights: np.ndarray
    """float32 [n, most interests], sum to 1; 0 where there is no interest."""
    later_interests: np.ndarray
    """int16 [n, most interests], where drift leads to."""
    later_weights: np.ndarray
    """float32 [n, most interests]."""
    group: np.ndarray
    """int8 [n]."""
    drift: float
    """How much of the taste has moved to the later interests at the end."""
    topics: Topics

    def __len__(self) -> int:
        return int(self.people.size)

    def at(self, time: float = 1.0) -> np.ndarray:
        """Float32 [n, topics], weight of every topic at a time between 0 (start) and 1 (end); rows sum to 1."""
        out = np.zeros((len(self), len(self.topics)), np.float32)
        moved = self.drift * time
        for part, interests, weights in ((1 - moved, self.interests, self.weights), (moved, self.later_interests, self.later_weights)):
            rows, slots = np.nonzero(interests >= 0)
            np.add.at(out, (rows, interests[rows, slots]), np.float32(part) * weights[rows, slots])
        return out

    def describe(self, row: int, at: float = 1.0) -> list[tuple[str, float]]:
        """One person's interests in words with their weights, strongest first."""
        weights = self.at(at)[row]
        return [(self.topics.names[t], float(weights[t])) for t in np.argsort(-weights, kind="stable") if weights[t] > 0]

    def frame(self) -> pl.DataFrame:
        """One row per person: person, group, interests, weights, later_interests, later_weights (lists)."""
        columns: dict[str, pl.Series] = {"person": pl.Series(self.people), "group": pl.Series(self.group)}
        for name, values, used in (
            ("interests", self.interests, self.interests), ("weights", self.weights, self.interests),
            ("later_interests", self.later_interests, self.later_interests), ("later_weights", self.later_weights, self.later_interests),
        ):  # fmt: skip
            flat = pl.DataFrame({"row": np.nonzero(used >= 0)[0], name: values[used >= 0]})
            columns[name] = flat.group_by("row", maintain_order=True).agg(name)[name]
        return pl.DataFrame(columns)


@dataclass(frozen=True, eq=False)
class TasteMaker:
    """Draws people's tastes. The same settings give person n the same taste, whoever else is drawn."""

    draws: Draws
    topics: Topics
    interests: tuple[int, int]
    correlation: float
    drift: float
    groups: tuple[float, ...]
    lean: float

    def make(self, people: np.ndarray) -> Tastes:
        """Tastes of the given person numbers."""
        group = pick(running_sums(np.array([self.groups])), 0, self.draws.uniform("group", address(people)))
        low, high = self.interests
        count = low + (self.draws.uniform("interests", address(people)) * (high - low + 1)).astype(np.int64)
        early, weights = self._draw("early", people, group, count, None)
        if self.drift:
            later, later_weights = self._draw("late", people, group, count, early[:, 0])
        else:
            later, later_weights = early, weights
        return Tastes(people, early, weights, later, later_weights, group.astype(np.int8), self.drift, self.topics)

    def _draw(self, when: str, people: np.ndarray, group: np.ndarray, count: np.ndarray, main: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Topics and weights. Later interests correlate with the main interest of before, as further ones do with the first."""
        everywhere, near = self._distributions()
        width = self.interests[1]
        found = np.full((people.size, width), -1, np.int16)
        for slot in range(width):
            rows = np.flatnonzero(slot < count)
            close = np.zeros(rows.size, bool)
            anchor = found[rows, 0] if main is None else main[rows]
            if slot or main is not None:
                close = self.draws.uniform(f"{when}:near", address(people[rows], slot)) < self.correlation
            for attempt in range(2 * TRIES):
                uniform = self.draws.uniform(f"{when}:topic", address(people[rows], slot * 2 * TRIES + attempt))
                topic = pick(everywhere, group[rows], uniform)
                if close.any() and attempt < TRIES:
                    circle = group[rows[close]] * len(MOODS) + self.topics.mood[anchor[close]]
                    topic[close] = pick(near, circle, uniform[close])
                found[rows, slot] = topic
                clash = (found[rows, :slot] == topic[:, None]).any(axis=1)
                rows, close, anchor = rows[clash], close[clash], anchor[clash]
                if not rows.size:
                    break
            # Nearly all topics taken already: the first free one.
            for row in rows:
                found[row, slot] = np.setdiff1d(np.arange(len(self.topics)), found[row, :slot])[0]
        where = address(people[:, None], np.arange(width)[None, :])
        weights = self.draws.exponential(f"{when}:weight-a", where) + self.draws.exponential(f"{when}:weight-b", where)
        weights = np.where(found >= 0, weights, 0.0)
        return found, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    def _distributions(self) -> tuple[np.ndarray, np.ndarray]:
        """Running sums over topics: per group, and per group and circle."""
        groups = len(self.groups)
        home = self.draws.generator("homes").permutation(len(self.topics)) % groups
        own = (home[None, :] == np.arange(groups)[:, None]) * self.topics.share
        lean = self.lean if groups > 1 else 0.0
        per_group = (1 - lean) * self.topics.share + lean * own / np.maximum(own.sum(axis=1, keepdims=True), 1e-12)
        circles = (self.topics.mood[None, :] == np.arange(len(MOODS))[:, None]) * per_group[:, None, :]
        # A mood without topics is never asked for; the small number keeps its row a distribution.
        return running_sums(per_group), running_sums((circles + 1e-300).reshape(groups * len(MOODS), -1))
