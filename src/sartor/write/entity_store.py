"""What a person has met, as counts: entities with decay and sessions, pairs that met in one session; no text of hers is kept.

Sizes in a state: 512 entities of 10 bytes, 1,920 pairs of 10 bytes, 256 hashes of past queries of 4 bytes: 25 kB at most.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl

from sartor.errors import CorruptFile, MissingColumn, WrongType

ENTITIES, PAIRS, ASKED = 512, 1_920, 256
SESSION_GAP = 1_800
"""Seconds of silence after which another session begins, where none is named."""
DAY = 86_400
QUERY, PAGE = "query", "page"
_KINDS: dict[str, Any] = {
    "entities": np.int32, "counts": np.float16, "days": np.uint16, "sessions": np.uint16, "pairs": np.int32, "together": np.uint16,
    "asked": np.uint32, "blocked": np.int32,
}  # fmt: skip


class Visit(NamedTuple):
    """Something a person read or asked."""

    time: int
    """Seconds since 1970 UTC."""
    kind: str
    text: str


def sessions(frame: pl.DataFrame) -> tuple[list[list[Visit]], int]:
    """One person's visits, oldest first, by session, and how many came with a time before that of the row above.

    The frame's columns are text, time, kind ("page" or "query"; other kinds are left out) and, where sessions have names, dialogue. Raises
    `MissingColumn`, `WrongType`.
    """
    if missing := [name for name in ("text", "time", "kind") if name not in frame.columns]:
        raise MissingColumn(f"the texts have no column {missing}", fix=f"they have {frame.columns}", frame="texts", column=missing[0])
    if not frame["time"].dtype.is_integer():
        raise WrongType(f"times are of type {frame['time'].dtype}", fix="give seconds since 1970 as whole numbers", frame="texts", column="time")
    frame = frame.filter(pl.col("kind").is_in([QUERY, PAGE]) & pl.col("text").is_not_null() & pl.col("time").is_not_null())
    backwards = int((frame["time"].diff() < 0).sum())
    named = "dialogue" in frame.columns
    out: list[list[Visit]] = []
    before: tuple[int, Any] = (-SESSION_GAP - 1, None)
    for row in frame.sort("time", maintain_order=True).iter_rows(named=True):
        name = row["dialogue"] if named else None
        if not out or (name != before[1] if named else row["time"] - before[0] > SESSION_GAP):
            out.append([])
        out[-1].append(Visit(row["time"], row["kind"], row["text"]))
        before = row["time"], name
    return out, backwards


def query_hash(query: str) -> int:
    """32 bits of a query's words in any case, by which it is known again and not read."""
    return zlib.crc32(" ".join(unicodedata.normalize("NFKC", query).casefold().split()).encode())


class EntityStore:
    """A person's aggregates, to be read, updated and edited; `arrays` go into a state.

    Parameters
    ----------
    decay: days after which a meeting counts 1/e.
    """

    def __init__(self, decay: float = 30.0) -> None:
        self.decay = decay
        self.counts: dict[int, float] = {}
        """Entity -> sum of exp(-age / decay) on the day it was last seen."""
        self.days: dict[int, int] = {}
        """Entity -> day since 1970 when it was last seen."""
        self.sessions: Counter[int] = Counter()
        self.partners: dict[int, dict[int, int]] = {}
        """Entity -> other entity -> sessions that had both; each pair stands at both."""
        self.asked: dict[int, None] = {}
        """Hashes of queries, oldest first."""
        self.blocked: set[int] = set()

    # --- reading

    def count(self, entity: int, day: int) -> float:
        """n_e on a day: what was seen of the entity, decayed."""
        if entity not in self.counts:
            return 0.0
        return self.counts[entity] * math.exp(-max(0, day - self.days[entity]) / self.decay)

    def ties(self, context: Sequence[int]) -> dict[int, float]:
        """Entity -> sum over c of the context of sessions with both / sqrt(sessions with it * sessions with c); only entities with any."""
        out: dict[int, float] = {}
        for one in context:
            for other, both in self.partners.get(one, {}).items():
                out[other] = out.get(other, 0.0) + both / math.sqrt(self.sessions[one] * self.sessions[other])
        return out

    @property
    def last_day(self) -> int:
        return max(self.days.values(), default=0)

    # --- changing

    def add(self, visits: Sequence[Visit], link: Callable[[str], Iterable[int]]) -> None:
        """One session; `link` gives the entities of a text. Blocked ones are not counted."""
        met: set[int] = set()
        for visit in visits:
            day = visit.time // DAY
            for entity in set(link(visit.text)) - self.blocked:
                met.add(entity)
                last = self.days.get(entity, day)
                # What happened earlier than the last time counts as long ago as it was.
                newest = max(day, last)
                self.counts[entity] = self.count(entity, newest) + math.exp((day - newest) / self.decay)
                self.days[entity] = newest
            if visit.kind == QUERY:
                self.asked.pop(mark := query_hash(visit.text), None)
                self.asked[mark] = None
        self.sessions.update(met)
        for one, other in itertools.permutations(met, 2):
            own = self.partners.setdefault(one, {})
            own[other] = own.get(other, 0) + 1

    def forget(self, entities: Iterable[int]) -> None:
        """As if these had never been met. Hashes of queries stay: they say nothing of entities."""
        gone = set(entities)
        for entity in gone:
            self.counts.pop(entity, None)
            self.days.pop(entity, None)
            self.sessions.pop(entity, None)
            for other in self.partners.pop(entity, {}):
                if other in self.partners:
                    self.partners[other].pop(entity, None)

    # --- in a state

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept: the most that was met, as of the last day, and the pairs among it that met most."""
        today = self.last_day
        kept = sorted(sorted(self.counts, key=lambda one: (-self.count(one, today), one))[:ENTITIES])
        known = set(kept)
        both = {(one, other): count for one in kept for other, count in self.partners.get(one, {}).items() if one < other and other in known}
        pairs = sorted(both, key=lambda pair: (-both[pair], pair))[:PAIRS]
        most = np.iinfo(np.uint16).max
        values: dict[str, Any] = {
            "entities": kept, "counts": [self.counts[one] for one in kept], "days": [self.days[one] for one in kept],
            "sessions": [min(self.sessions[one], most) for one in kept], "pairs": pairs, "together": [min(both[pair], most) for pair in pairs],
            "asked": list(self.asked)[-ASKED:], "blocked": sorted(self.blocked),
        }  # fmt: skip
        made = {name: np.array(values[name], kind) for name, kind in _KINDS.items()}
        return made | {"pairs": made["pairs"].reshape(-1, 2)}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], entities: int, decay: float = 30.0) -> Self:
        """The reverse of `arrays`; raises `CorruptFile` for what cannot have come from it."""
        sizes = {name: len(arrays[name]) if name in arrays else -1 for name in _KINDS}
        same = sizes["entities"] == sizes["counts"] == sizes["days"] == sizes["sessions"] and sizes["pairs"] == sizes["together"]
        if min(sizes.values()) < 0 or not same or any(arrays[name].dtype != kind for name, kind in _KINDS.items()):
            raise CorruptFile("the state does not hold an entity store", fix="adapt the person again")
        numbers = np.concatenate([arrays["entities"], arrays["pairs"].reshape(-1), arrays["blocked"]])
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < entities:
            raise CorruptFile("the state names entities that this model does not have", fix="adapt the person again")
        made = cls(decay)
        names = arrays["entities"].tolist()
        made.counts, made.days = dict(zip(names, arrays["counts"].tolist(), strict=True)), dict(zip(names, arrays["days"].tolist(), strict=True))
        made.sessions = Counter(dict(zip(names, arrays["sessions"].tolist(), strict=True)))
        for (one, other), count in zip(arrays["pairs"].tolist(), arrays["together"].tolist(), strict=True):
            made.partners.setdefault(one, {})[other] = made.partners.setdefault(other, {})[one] = count
        made.asked, made.blocked = dict.fromkeys(arrays["asked"].tolist()), set(arrays["blocked"].tolist())
        return made
