"""Vectors of who is enrolled, in memory: read once, kept as the store has them, and gone with who is forgotten."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sartor.engine.models import Loaded
    from sartor.profile.store import ProfileStore
    from sartor.retrieve.index import ItemIndex

WHOLE_AGAIN = 300.0
"""Seconds that a vector may stay in the memory of one process after its person was forgotten by another; then all are read anew."""


@dataclass
class Gallery:
    """Vectors of one tenant's people for one model, in memory."""

    position: int
    epoch: int
    """Another one means that somebody was forgotten since."""
    read: float
    indexed: bool = True
    """False for a method that needs everybody's states at once: then only names are kept."""
    index: ItemIndex | None = None
    people: set[str] = field(default_factory=set)

    def put(self, names: list[str], vectors: np.ndarray) -> None:
        """Whom to find, float32 [names, dim]; who is there already is replaced."""
        from sartor.retrieve.index import ItemIndex

        if self.index is None or not self.index.size:
            self.index = ItemIndex.make("exact", metric="ip", screen=True).build(vectors, names)
        else:
            self.index.remove(names)
            self.index.add(vectors, names)

    def drop(self, person: str) -> None:
        known = person in self.people
        self.people.discard(person)
        if known and self.index is not None:
            self.index.remove([person])
            if not self.index.size:
                self.index = None


class Galleries:
    """One of every tenant, for the model that recognizes its people."""

    def __init__(self, store: ProfileStore, verb: str) -> None:
        self._store, self._verb = store, verb
        self._galleries: dict[tuple[str, str], Gallery] = {}
        self._lock = threading.Lock()
        store.on_forget.append(self.drop)

    def now(self, tenant: str, loaded: Loaded) -> Gallery:
        """Vectors as the store has them now."""
        from sartor.recognize._base import centres

        key, now = (tenant, loaded.fingerprint), time.monotonic()
        with self._lock:
            position, epoch = self._store.newest(tenant)
            kept = self._galleries.get(key)
            whole = kept is None or (kept.epoch != epoch and now - kept.read >= WHOLE_AGAIN)
            if kept is not None and kept.position == position and not whole:
                return kept
            method: Any = loaded.method
            made = Gallery(position, epoch, now, indexed=not method.together) if whole or kept is None else kept
            changed = self._store.changed(tenant, 0 if whole else made.position)
            names: list[str] = []
            vectors: list[np.ndarray] = []
            for at in range(0, len(changed), 1_000):
                some = changed[at : at + 1_000]
                states = {name: one.state for name, one in self._store.states(tenant, some, self._verb, model=loaded.fingerprint).items()}
                for name in some:
                    if name not in states:
                        made.drop(name)
                made.people |= states.keys()
                if states and made.indexed:
                    names += states
                    vectors.append(centres(list(states.values())))
            if names:
                made.put(names, np.concatenate(vectors))
            made.position = position
            # Of one tenant, the model that serves.
            self._galleries = {one: other for one, other in self._galleries.items() if one[0] != tenant} | {key: made}
            return made

    def nearest(self, gallery: Gallery, vectors: np.ndarray, depth: int, least: float) -> list[list[tuple[str, float]]]:
        """People whose score is at least `least`, best first, of the `depth` nearest."""
        with self._lock:
            if gallery.index is None:
                return [[] for _ in vectors]
            hits = gallery.index.search(vectors, min(depth, gallery.index.size))
            rows = [list(zip(hits[row], hits.scores[row].tolist(), strict=False)) for row in range(len(vectors))]
        return [[(str(who), score) for who, score in row if score >= least] for row in rows]

    def drop(self, tenant: str, person: str) -> None:
        """Nobody is compared with this person from now on."""
        with self._lock:
            for (owner, _), gallery in self._galleries.items():
                if owner == tenant:
                    gallery.drop(person)
