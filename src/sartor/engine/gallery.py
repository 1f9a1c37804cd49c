"""Vectors of who is enrolled, in memory: read once, kept as the store has them, and overwritten when she is forgotten or says no: in the process
that does it at once, in others with the next question."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sartor.engine.models import Loaded
    from sartor.profile.standing import Made
    from sartor.profile.store import ProfileStore
    from sartor.profile.withdrawn import Moment
    from sartor.retrieve.exact import ExactIndex

SPARE = 1_000
"""Rows of people who are gone that an index may have beside as many as it has people; then it is built anew."""


@dataclass
class Gallery:
    """Vectors of one tenant's people for one model, in memory: of those who allow it."""

    moment: Moment | None = None
    """Of the store, when it was last looked at."""
    indexed: bool = True
    """False for a method that needs everybody's states at once: then only names are kept."""
    index: ExactIndex | None = None
    people: dict[str, bytes] = field(default_factory=dict)
    """Who can be found, and what stands for her in the store."""
    seen: dict[bytes, Made] = field(default_factory=dict)
    """Of which state the vector is; also of those whose state cannot be read, who are not among the people."""

    def put(self, names: list[str], vectors: np.ndarray) -> None:
        """Whom to find, float32 [names, dim]; who is there already is replaced."""
        from sartor.retrieve.exact import ExactIndex

        if self.index is not None:
            self.index.erase(names)
        if self.index is None or not self.index.size:
            self.index = ExactIndex(metric="ip", screen=True).build(vectors, names)
        else:
            self.index.add(vectors, names)

    def drop(self, person: str) -> None:
        """She is found no more, and her vector is overwritten."""
        if person not in self.people:
            return
        self.seen.pop(self.people.pop(person))
        if self.index is not None:
            self.index.erase([person])
            if not self.index.size:
                self.index = None

    def leave(self, gone: Set[bytes]) -> None:
        """The same of many, by what stands for them."""
        if gone:
            for name in [name for name, subject in self.people.items() if subject in gone]:
                self.drop(name)
            for subject in gone & self.seen.keys():
                del self.seen[subject]

    @property
    def sparse(self) -> bool:
        """Whether most rows are of people who are gone."""
        return self.index is not None and self.index.rows > 2 * self.index.size + SPARE


class Galleries:
    """One of every tenant, for the model that recognizes its people."""

    def __init__(self, store: ProfileStore, verb: str) -> None:
        self._store, self._verb = store, verb
        self._galleries: dict[tuple[str, str], Gallery] = {}
        self._lock = threading.Lock()
        store.on_forget.append(self.drop)

    def now(self, tenant: str, loaded: Loaded) -> Gallery:
        """Vectors as the store has them now. Looked at are those of whom its log or evidence says that something may have changed."""
        from sartor.profile import withdrawn

        key = tenant, loaded.fingerprint
        with self._lock:
            moment = withdrawn.moment(self._store, tenant)
            kept = self._galleries.get(key)
            if kept is not None and kept.sparse:
                kept = None
            if kept is not None and kept.moment == moment:
                return kept
            method: Any = loaded.method
            made = Gallery(indexed=not method.together) if kept is None else kept
            found = self._store.serving(
                tenant, purpose=self._verb, verb=self._verb, model=loaded.fingerprint, seen=made.seen, since=made.moment
            )  # fmt: skip
            made.leave(found.gone)
            self._read(tenant, made, loaded, found.now, found.names)
            made.moment = moment
            # Of one tenant, the model that serves.
            self._galleries = {one: other for one, other in self._galleries.items() if one[0] != tenant} | {key: made}
            return made

    def _read(self, tenant: str, made: Gallery, loaded: Loaded, now: Mapping[bytes, Made], changed: Mapping[bytes, str]) -> None:
        """Read the states of those who changed into a gallery."""
        from sartor.recognize._base import centres

        subjects, people = list(changed), dict[str, bytes]()
        seen: dict[bytes, Made] = {}
        vectors: list[np.ndarray] = []
        for at in range(0, len(subjects), 1_000):
            some = subjects[at : at + 1_000]
            read = self._store.states(tenant, [changed[one] for one in some], self._verb, model=loaded.fingerprint)
            there = {changed[one]: one for one in some if changed[one] in read}
            if there and made.indexed:
                vectors.append(centres([read[name].state for name in there]))
            people |= there
            seen |= {subject: (read[name].version, read[name].position, read[name].made) for name, subject in there.items()}
            for subject in some:
                if changed[subject] not in read:
                    made.drop(changed[subject])
                    seen[subject] = now[subject]
        if vectors:
            made.put(list(people), np.concatenate(vectors))
        made.people |= people
        made.seen |= seen

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
