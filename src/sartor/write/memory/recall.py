"""Which memories matter for what is asked now: meaning, words, recency, and whether it is a statement of the person's own, fused.

    recall = Recall(encoder=text_encoder("minilm"))
    recall.recall("Which restaurant should I book?", memories, k=5)

A score is a sum of parts, each told: `meaning` (cosine of the vectors), `words` (BM25 over stems), `around` (how much what was said right
before or after stands out: an answer stands beside its question), `recency` (halves with every half-life), `statement` (the person says what she is
or wants; chatter does not), and `polarity` (a query that asks for likes or dislikes finds those of that sign).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sartor.errors import ConfigError
from sartor.represent.query_encoder import query_encoder
from sartor.represent.text import TextEncoder, uncached
from sartor.write.memory.polarity import aspects
from sartor.write.memory.records import Memory, checked_text, count_tokens, within
from sartor.write.memory.words import terms

DAY = 86_400.0
STANDS_OUT = 0.4
"""Meaning and words together from which a message says something for those beside it: in a long talk all are a little alike."""


@dataclass(frozen=True)
class Recalled:
    """A memory that was found, and why."""

    memory: Memory
    score: float
    parts: dict[str, float]
    """What each part adds; their sum is the score."""


class MemoryIndex:
    """Memories ready to be searched: their vectors, words, times and signs. Rows keep their numbers."""

    def __init__(self, memories: Sequence[Memory], vectors: np.ndarray) -> None:
        """`vectors` is float32 [memories, dim], of unit length."""
        self.memories: list[Memory] = []
        self.vectors = np.empty((0, vectors.shape[1]), np.float32)
        self.signs, self.stated = np.empty(0, np.float32), np.empty(0, np.float32)
        self.times, self.follows = np.empty(0), np.empty(0, bool)
        self._room = self.vectors
        # Here, because an engine that is never asked to remember needs not load what compiles.
        from sartor.retrieve.bm25 import BM25

        self._words = BM25()
        self.add(memories, vectors)

    def __len__(self) -> int:
        return len(self.memories)

    @property
    def nbytes(self) -> int:
        """About what it takes: vectors, and a kilobyte a memory for its words."""
        return self._room.nbytes + 1_000 * len(self)

    def add(self, memories: Sequence[Memory], vectors: np.ndarray) -> None:
        """More of them, at once findable. Messages of one source that are given one after another are one conversation."""
        if len(memories) != len(vectors):
            raise ConfigError(f"{len(memories)} memories, {len(vectors)} vectors", fix="give one vector for each memory")
        if not memories:
            return
        first, last = len(self.memories), len(self.memories) + len(memories)
        if last > len(self._room):
            room = np.empty((max(last, 2 * len(self._room)), vectors.shape[1]), np.float32)
            room[:first] = self.vectors
            self._room = room
        self._room[first:last] = vectors
        self.vectors = self._room[:last]
        documents = [" ".join(terms(one.text)) for one in memories]
        if first:
            self._words.add(documents, list(range(first, last)))
        else:
            self._words.build(documents, list(range(last)))
        before = [self.memories[-1] if first else None, *memories[:-1]]
        self.memories += memories
        self.signs = np.append(self.signs, [one.polarity for one in memories]).astype(np.float32)
        self.stated = np.append(self.stated, [_stated(one) for one in memories]).astype(np.float32)
        self.times = np.append(self.times, [one.time for one in memories])
        self.follows = np.append(self.follows, [_follows(one, other) for one, other in zip(before, memories, strict=True)])

    def replace(self, row: int, memory: Memory) -> None:
        """Another version of a memory, with the same text."""
        self.memories[row] = memory
        self.signs[row], self.stated[row], self.times[row] = memory.polarity, _stated(memory), memory.time

    def drop(self, row: int) -> None:
        """A memory that is gone; its number stays free."""
        self.memories[row] = replace(self.memories[row], valid_to=-math.inf)
        self.follows[row : row + 2] = False
        self._words.remove([row])

    def words(self, query: str) -> np.ndarray:
        """float32 [memories], BM25 over stems as a share of what a memory could reach that is all about the query. 0 where it has no word."""
        asked = [" ".join(terms(query))]
        if not asked[0]:
            return np.zeros(len(self), np.float32)
        return np.asarray(self._words.scores(asked)[0] / max(float(self._words.ceilings(asked)[0]), 1e-9))

    def around(self, scores: np.ndarray) -> np.ndarray:
        """float32 [memories], the scores of what was said right before and right after in the same conversation."""
        out = np.zeros_like(scores)
        out[1:] += np.where(self.follows[1:], scores[:-1], 0)
        out[:-1] += np.where(self.follows[1:], scores[1:], 0)
        return out


def _stated(one: Memory) -> bool:
    return one.kind != "message" or one.polarity != 0


def _follows(before: Memory | None, one: Memory) -> bool:
    return before is not None and before.valid_to != -math.inf and before.kind == one.kind == "message" and before.source == one.source


@dataclass(kw_only=True)
class Recall:
    """Scores memories for a query.

    Parameters
    ----------
    encoder: any text encoder; nothing that people write is cached on disk.
    meaning, words, around, recency, statement, polarity: weights of the parts. Words and around were set on five of LoCoMo's ten conversations,
        statement on half of PrefEval's topics; recency and polarity only part what is equal otherwise.
    half_life: seconds after which a memory's recency has halved.
    """

    encoder: TextEncoder
    meaning: float = 1.0
    words: float = 0.85
    around: float = 0.5
    recency: float = 0.02
    statement: float = 0.15
    polarity: float = 0.1
    half_life: float = 180 * DAY

    def __post_init__(self) -> None:
        self.encoder = uncached(self.encoder)
        self._asked = query_encoder(self.encoder)
        for name in ("meaning", "words", "around", "recency", "statement", "polarity"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"the weight of {name} is {getattr(self, name)}", fix="give a number of at least 0")
        if not 0 < self.half_life < np.inf:
            raise ConfigError(f"half_life is {self.half_life}", fix="give seconds above 0")

    def query_vector(self, query: str) -> np.ndarray:
        """float32 [dim], to be compared with the encoder's vectors."""
        return self._asked.encode([query])[0]

    def index(self, memories: Sequence[Memory]) -> MemoryIndex:
        """An index to be used for many queries."""
        texts = [one.text for one in memories]
        return MemoryIndex(memories, self.encoder.encode(texts) if texts else np.empty((0, self.encoder.dim), np.float32))

    def recall(
        self, query: str, memories: Sequence[Memory] | MemoryIndex, k: int = 5, *, budget_tokens: int | None = None, now: float | None = None,
        count: Callable[[str], int] = count_tokens, vector: np.ndarray | None = None,
    ) -> list[Recalled]:  # fmt: skip
        """The k memories that matter most, best first. Those that wait for confirmation, and those that no longer hold, are left out.

        Parameters
        ----------
        budget_tokens: at most so many tokens of text in all: of the k, those that do not fit are left out.
        now: seconds since 1970; None is the clock.
        count: how many tokens a text has.
        vector: of the query, where it is known already.

        Raises `BadValue` for an empty query, `TooLarge` for one that is a document, `ConfigError` for a k or a budget below 1.
        """
        query = checked_text(query, "query")
        for name, value in (("k", k), ("budget_tokens", budget_tokens)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1):
                raise ConfigError(f"{name} is {value!r}", fix="give a whole number of at least 1")
        index = memories if isinstance(memories, MemoryIndex) else self.index(memories)
        now = time.time() if now is None else now
        if not len(index):
            return []
        parts = self.parts(query, index, now, vector)
        scores = np.sum(list(parts.values()), axis=0)
        # Best first, and no more of them than are needed: of 10,000 only a few are asked whether they hold.
        for wanted in (min(len(index), 4 * k + 16), len(index)):
            rows = [row for row in _best(scores, wanted) if index.memories[row].holds(now)][:k]
            if len(rows) == k:
                break
        if budget_tokens is not None:
            fit = {id(one) for one in within([index.memories[row] for row in rows], budget_tokens, count)}
            rows = [row for row in rows if id(index.memories[row]) in fit]
        return [Recalled(index.memories[row], float(scores[row]), {name: float(part[row]) for name, part in parts.items()}) for row in rows]

    def parts(self, query: str, index: MemoryIndex, now: float, vector: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """float32 [memories] for each part, weighted."""
        if vector is None:
            vector = self.query_vector(query)
        found = {"meaning": self.meaning * (index.vectors @ vector), "words": self.words * index.words(query)}
        found["around"] = self.around * index.around(np.maximum(found["meaning"] + found["words"] - STANDS_OUT, 0))
        age = np.maximum(now - index.times, 0) / self.half_life
        found["recency"] = (self.recency * np.exp2(-age)).astype(np.float32)
        found["statement"] = self.statement * index.stated
        found["polarity"] = self.polarity * np.maximum(_asked(query) * index.signs, 0)
        return found


def _asked(query: str) -> float:
    """The sign that a question is about: "what do I hate?" -1, "which music do I love?" +1, most others 0."""
    stem = query.strip().rstrip("?!. ")
    signs = [one.polarity for one in aspects(f"{stem} things")] if stem else []
    return float(np.sign(sum(signs)))


def _best(scores: np.ndarray, k: int) -> list[int]:
    """Rows of the k highest, best first; equal ones in their order."""
    if k < len(scores):
        rows = np.argpartition(-scores, k)[:k]
        rows.sort()
    else:
        rows = np.arange(len(scores))
    ordered: list[int] = rows[np.argsort(-scores[rows], kind="stable")].tolist()
    return ordered
