"""One person's memories, decrypted and ready to be searched, kept between requests and dropped when they change.

A memory is a record of the frame `texts` and the kind `memory`, under the person's key like all evidence; every change of it is one more
record, so that nothing is ever half-written. Its vector is made when it is written and lies in the record, so it is gone with it; one that was
written with another encoder is read anew, a few at each request.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.data.schema import FrameName
from sartor.errors import Unreadable
from sartor.profile.mark import Mark, mark_of
from sartor.profile.records import Record
from sartor.write.memory.recall import MemoryIndex
from sartor.write.memory.records import Memory
from sartor.write.memory.updates import NEAR, about_the_same, since, subject_key
from sartor.write.memory.words import plain

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore
    from sartor.represent.text import TextEncoder

FRAME: FrameName = "texts"
KIND, PURPOSE = "memory", "write"
CACHE = 512 * 2**20
"""Bytes of vectors and texts that one process keeps of all people together."""
AT_ONCE = 64
"""Texts whose vectors are of another encoder that one request encodes: those that the question's words speak for, then the newest."""
_FIELDS = ("kind", "polarity", "subject", "value", "valid_from", "valid_to", "confirmed", "change")


def record_of(person: str, memory: Memory, vector: np.ndarray, space: str) -> Record:
    """A version of a memory as evidence. Its id is the memory's with the version: two who change the same version cannot both win."""
    own = {name: getattr(memory, name) for name in _FIELDS}
    own |= {"id": memory.id, "version": memory.version, "recalled_from": list(memory.recalled_from), "made_from": list(memory.made_from)}
    packed = base64.b64encode(vector.astype("<f2").tobytes()).decode()
    content = {"text": memory.text, "memory": own, "vector": packed, "space": space}
    return Record(
        person, FRAME, record_id(memory.id, memory.version), time=memory.time, kind=KIND, content=content, purposes=frozenset({PURPOSE}),
        source=memory.source,
    )  # fmt: skip


def record_id(memory: str, version: int) -> str:
    """Of one version."""
    return f"memory:{memory}:{version}"


def memory_of(record: Record) -> Memory:
    """The reverse of `record_of`; raises `Unreadable`."""
    try:
        own: dict[str, Any] = dict(record.content["memory"])
        own |= {name: tuple(own.get(name, ())) for name in ("recalled_from", "made_from")}
        return Memory(text=record.content["text"], time=record.time or 0.0, source=record.source, **own)
    except (KeyError, TypeError, ValueError) as cause:
        raise Unreadable("a memory is not what was written", fix="restore the database from a backup") from cause


def vector_of(record: Record, space: str, dim: int) -> np.ndarray | None:
    """The stored vector; None when it is of another encoder."""
    if record.content.get("space") != space:
        return None
    found = np.frombuffer(base64.b64decode(record.content.get("vector", "")), "<f2").astype(np.float32)
    return found if found.size == dim else None


@dataclass
class Shelf:
    """A person's memories: every version of each, and the current ones in an index."""

    index: MemoryIndex
    versions: dict[str, list[Memory]]
    """By id, oldest first."""
    rows: dict[str, int]
    """Where a memory stands in the index."""
    by_text: dict[str, set[str]]
    by_subject: dict[str, set[str]]
    mark: Mark
    """The records that it was made from."""
    unread: dict[str, None] = field(default_factory=dict)
    """Ids of memories without a vector in the encoder's space, in the order in which they came."""

    @classmethod
    def empty(cls, dim: int, mark: Mark) -> Shelf:
        """Of somebody of whom nothing is remembered."""
        return cls(MemoryIndex([], np.empty((0, dim), np.float32)), {}, {}, {}, {}, mark)

    @property
    def nbytes(self) -> int:
        """About what it takes."""
        return self.index.nbytes + 2_000 * len(self.index) + 1_000

    def current(self) -> list[Memory]:
        """The newest version of each, in the order in which they came."""
        return [self.index.memories[row] for row in self.rows.values()]

    def get(self, memory: str) -> Memory | None:
        """The newest version of one."""
        row = self.rows.get(memory)
        return None if row is None else self.index.memories[row]

    def put(self, versions: Sequence[tuple[Memory, np.ndarray | None]]) -> None:
        """Take versions in, in any order; the highest of each is the current one. Those without a vector are `unread`."""
        fresh: dict[str, np.ndarray | None] = {}
        for memory, vector in versions:
            own = self.versions.setdefault(memory.id, [])
            if all(one.version != memory.version for one in own):
                own.append(memory)
                own.sort(key=lambda one: one.version)
                if own[-1] is memory:
                    fresh[memory.id] = vector
        added: list[Memory] = []
        for ident, known in fresh.items():
            memory, row = self.versions[ident][-1], self.rows.get(ident)
            if row is not None and self.index.memories[row].text == memory.text:
                self._unlist(self.index.memories[row])
                self.index.replace(row, memory)
                if ident in self.unread and known is not None:
                    self.read([ident], known[None])
            else:
                self.unread.pop(ident, None)
                if known is None:
                    self.unread[ident] = None
                if row is not None:
                    self._unlist(self.index.memories[row])
                    self.index.drop(row)
                self.rows[ident] = len(self.index) + len(added)
                added.append(memory)
            self._list(memory)
        if added:
            none = np.zeros(self.index.vectors.shape[1], np.float32)
            self.index.add(added, np.stack([none if (vector := fresh[one.id]) is None else vector for one in added]))
        self._resolve([self.versions[ident][-1] for ident in fresh])

    def read(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        """The vectors of unread memories, float [ids, dim]."""
        self.index.vectors[[self.rows[one] for one in ids]] = vectors
        for one in ids:
            del self.unread[one]

    def rivals(self, new: Memory, vector: np.ndarray) -> tuple[list[Memory], np.ndarray]:
        """Those that a new memory may repeat or contradict, with their vectors."""
        ids = set(self.by_text.get(plain(new.text), ())) | set(self.by_subject.get(subject_key(new) or "", ()))
        rows = {self.rows[one] for one in ids}
        if len(self.index):
            rows |= set(np.flatnonzero(self.index.vectors @ vector >= NEAR).tolist()) & set(self.rows.values())
        chosen = sorted(rows)
        return [self.index.memories[row] for row in chosen], self.index.vectors[chosen]

    def _list(self, memory: Memory) -> None:
        self.by_text.setdefault(plain(memory.text), set()).add(memory.id)
        if key := subject_key(memory):
            self.by_subject.setdefault(key, set()).add(memory.id)

    def _unlist(self, memory: Memory) -> None:
        self.by_text.get(plain(memory.text), set()).discard(memory.id)
        self.by_subject.get(subject_key(memory) or "", set()).discard(memory.id)

    def _resolve(self, changed: Iterable[Memory]) -> None:
        """Two processes may each have kept one of two statements about the same thing: the one said later holds here, too."""
        for one in changed:
            for ident in self.by_subject.get(subject_key(one) or "", ()):
                other, mine = self.index.memories[self.rows[ident]], self.index.memories[self.rows[one.id]]
                if other.id == mine.id or other.valid_to is not None or mine.valid_to is not None or not (other.confirmed and mine.confirmed):
                    continue
                if about_the_same(mine, other):
                    old, new = sorted((mine, other), key=lambda each: (since(each), each.id))
                    self.index.replace(self.rows[old.id], replace(old, valid_to=since(new)))


class Shelves:
    """Shelves of people, the most recently used ones, bounded in bytes."""

    def __init__(self, store: ProfileStore, encoder: Callable[[], TextEncoder], *, room: int = CACHE) -> None:
        self.store, self.encoder, self.room = store, encoder, room
        self._guard = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[Shelf, int]] = OrderedDict()
        self._bytes = self._drops = 0
        self._doors = [threading.RLock() for _ in range(64)]
        store.on_forget.append(self.drop)

    def door(self, tenant: str, person: str) -> threading.RLock:
        """Held by whoever reads or changes a person's shelf, so that two changes of this process follow each other."""
        return self._doors[hash((tenant, person)) % len(self._doors)]

    def drop(self, tenant: str, person: str) -> None:
        """Keep nothing of a person any longer, nor what is being read of her now."""
        with self._guard:
            self._drops += 1
            self._bytes -= self._kept.pop((tenant, person), (None, 0))[1]

    def close(self) -> None:
        """Keep nothing of anybody; closing twice does no harm."""
        with suppress(ValueError):
            self.store.on_forget.remove(self.drop)
        with self._guard:
            self._kept.clear()
            self._bytes = 0

    def of(self, tenant: str, person: str, *, purpose: str | None) -> tuple[Shelf, bool]:
        """A person's shelf as the store has it now, and whether she allows the purpose; the caller holds her door.

        Without her consent to "write" what is read for that purpose is an empty shelf.
        """
        with self._guard:
            kept, drops = self._kept.get((tenant, person), (None, 0))[0], self._drops
        mark, allowed = mark_of(self.store, tenant, person, purpose=purpose, seen=None if kept is None else kept.mark)
        encoder = self.encoder()
        if not allowed:
            return Shelf.empty(encoder.dim, mark), False
        if kept is not None and kept.mark == mark:
            shelf = kept
        else:
            shelf = self._fresh(tenant, person, kept, mark, encoder)
        self._keep(tenant, person, shelf, drops)
        return shelf, True

    def read_some(self, shelf: Shelf, query: str = "") -> None:
        """Encode some of what is unread; the caller holds the door."""
        if shelf.unread:
            words = shelf.index.words(query)
            rows = {one: shelf.rows[one] for one in shelf.unread}
            self.read(shelf, sorted(shelf.unread, key=lambda one: (-words[rows[one]], -rows[one]))[:AT_ONCE])

    def read(self, shelf: Shelf, ids: Sequence[str]) -> None:
        """Encode those of these memories that are unread; the caller holds the door."""
        if wanted := [one for one in ids if one in shelf.unread]:
            shelf.read(wanted, self.encoder().encode([shelf.versions[one][-1].text for one in wanted]))

    def _fresh(self, tenant: str, person: str, kept: Shelf | None, mark: Mark, encoder: TextEncoder) -> Shelf:
        if kept is not None and kept.mark.born == mark.born and (kept.mark.records, kept.mark.newest) == (mark.records, mark.newest):
            kept.mark = mark  # somebody else of the tenant changed something
            return kept
        if kept is not None and kept.mark.born == mark.born and kept.mark.newest < mark.newest:
            # Only what came since is read, if nothing went meanwhile.
            came = [one for one in self.store.evidence(tenant, person, after=kept.mark.newest) if one.position <= mark.newest]
            if kept.mark.records + len(came) == mark.records:
                kept.put(self._opened(came, encoder))
                kept.mark = mark
                return kept
        shelf = Shelf.empty(encoder.dim, mark)
        if mark.records:
            records = self.store.evidence(tenant, person, frames=[FRAME])
            shelf.put(self._opened([one for one in records if one.position <= mark.newest], encoder))
        return shelf

    def _opened(self, records: Sequence[Record], encoder: TextEncoder) -> list[tuple[Memory, np.ndarray | None]]:
        mine = [one for one in records if one.kind == KIND]
        return [(memory_of(one), vector_of(one, encoder.fingerprint, encoder.dim)) for one in mine]

    def _keep(self, tenant: str, person: str, shelf: Shelf, drops: int) -> None:
        size = shelf.nbytes
        with self._guard:
            if drops != self._drops:
                return  # somebody was forgotten while this was read; maybe she
            self._bytes += size - self._kept.pop((tenant, person), (None, 0))[1]
            self._kept[tenant, person] = shelf, size
            while self._bytes > self.room and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]
