"""A place for one short summary of a person for one task: who wrote it from what and when, the version before it, and when it is due again.

A summary is written off the request path. Whoever answers a request uses what is in the slot, due or not; nothing here asks a model.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from sartor.errors import ConfigError, CorruptFile, TooLarge
from sartor.write.parts.pieces import Piece


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One version."""

    text: str
    sources: tuple[str, ...]
    """Ids (`piece_id`) of the pieces it was made from: where one of them is forgotten, the summary has to go with it."""
    generator: str
    """What wrote it, as it was asked for; holds no key."""
    time: float
    """When, in seconds since 1970 UTC."""
    version: int = 1


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """When a summary is due again: after so many new pieces, or when it has become too old and there is any new piece at all."""

    items: int = 16
    seconds: float = 30 * 86_400.0

    def __post_init__(self) -> None:
        if self.items < 1 or not self.seconds > 0 or math.isnan(self.seconds):
            raise ConfigError(f"refresh after {self.items} pieces or {self.seconds} seconds", fix="items >= 1, seconds > 0; infinity is never")

    def due(self, slot: SummarySlot, now: float) -> str:
        """Why the slot should be filled anew; empty when it should not."""
        if slot.current is None:
            return "there is no summary" if slot.fresh else ""
        if slot.fresh >= self.items:
            return f"{slot.fresh} new pieces"
        return "too old" if slot.fresh and now - slot.current.time > self.seconds else ""


@dataclass(frozen=True, kw_only=True)
class SummarySlot:
    """Immutable; every change makes another."""

    task: str
    limit: int = 128
    """Tokens of a summary, at most."""
    current: Summary | None = None
    before: Summary | None = None
    """The version before, kept until there is a newer one."""
    fresh: int = 0
    """Pieces that have come since the current version was made."""

    @property
    def text(self) -> str:
        """Of the current version; empty when there is none."""
        return "" if self.current is None else self.current.text

    def arrived(self, pieces: int) -> Self:
        """So many new pieces have come."""
        return replace(self, fresh=self.fresh + pieces)

    def put(self, text: str, sources: Sequence[str], generator: str, now: float, count: Callable[[str], int]) -> Self:
        """Fill it; the version that was there is kept as the one before. Raises `TooLarge` for a text that is longer than the limit."""
        if (tokens := count(text)) > self.limit:
            what = f"a summary of {tokens} tokens, the slot for '{self.task}' takes {self.limit}"
            raise TooLarge(what, fix="summarise again: refresh(state), or give a shorter text")
        version = 1 if self.current is None else self.current.version + 1
        made = Summary(text=text, sources=tuple(sources), generator=generator, time=now, version=version)
        return replace(self, current=made, before=self.current, fresh=0)

    def to_array(self) -> np.ndarray:
        """uint8 [bytes] of JSON, for a state."""
        return np.frombuffer(json.dumps(asdict(self), ensure_ascii=False).encode("utf-8", "replace"), np.uint8).copy()

    @classmethod
    def of(cls, array: np.ndarray | None) -> Self:
        """The reverse of `to_array`; raises `CorruptFile`."""
        try:
            facts: dict[str, Any] = json.loads(np.asarray(array, np.uint8).tobytes())
            for name in ("current", "before"):
                if facts[name] is not None:
                    facts[name] = Summary(**{**facts[name], "sources": tuple(facts[name]["sources"])})
            return cls(**facts)
        except (ValueError, KeyError, TypeError) as cause:
            raise CorruptFile("the state's summary cannot be read", fix="adapt the person again") from cause


def piece_id(piece: Piece) -> str:
    """16 hex digits that name a piece by its content."""
    return hashlib.blake2b(json.dumps(piece).encode(), digest_size=8).hexdigest()
