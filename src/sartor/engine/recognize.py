"""Who is this? People who have said yes are enrolled as one small vector; pictures are compared and never kept; what is forgotten is found by nobody.

A picture that tells people apart is biometric data: nobody is enrolled by default consent, only after saying so for the purpose "recognize".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.engine.answers import Fallback
from sartor.engine.ids import Id, person_id
from sartor.errors import ConfigError, Conflict, NoConsent, Unreadable

if TYPE_CHECKING:
    from sartor.engine.models import Loaded, Models
    from sartor.method import State
    from sartor.profile.store import ProfileStore
    from sartor.retrieve.index import ItemIndex

VERB = "recognize"
KIND = "enrolment"
"""Of the records that say that somebody was enrolled: how many pictures, by which model; nothing of the pictures."""
MOST = 32
"""Pictures of one call."""
LARGEST_COMPARED = 2_000
"""People that a method may have who needs all of them at once, such as one that looks for neighbours."""
TRIES = 5
"""How often an enrolment starts again because another one of the same person was written first."""
WHOLE_AGAIN = 300.0
"""Seconds after which a gallery in memory is read anew, so that nothing stays in one process of who was forgotten by another."""


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """What is enrolled of somebody now."""

    person: str
    model: str
    state_version: int
    pictures: int
    """In all, with those of before."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Who one picture shows."""

    people: list[tuple[str, float]]
    """At most k, best first, with their scores; empty for nobody that is known."""
    threshold: float
    """The score from which somebody is recognized, with as many enrolled as are."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class VerifiedAs:
    """Whether one picture shows one person."""

    person: str
    same: bool
    score: float | None
    """None where nothing may be compared."""
    threshold: float
    fallback: Fallback | None = None
    note: str = ""


@dataclass
class _Gallery:
    """Vectors of one tenant's people for one model, in memory."""

    position: int
    read: float
    indexed: bool = True
    """False for a method that needs everybody's states at once: then only names are kept."""
    index: ItemIndex | None = None
    people: set[str] = field(default_factory=set)

    def put(self, states: dict[str, State]) -> None:
        from sartor.recognize._base import centres
        from sartor.retrieve.index import ItemIndex

        if not states:
            return
        self.people |= states.keys()
        if not self.indexed:
            return
        names, vectors = list(states), centres(list(states.values()))
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


class Recognizing:
    """Enrols, identifies and verifies. Holds vectors of who is enrolled, and looks into the store before every answer whether it still may."""

    def __init__(self, store: ProfileStore, models: Models) -> None:
        self._store, self._models = store, models
        self._galleries: dict[tuple[str, str], _Gallery] = {}
        self._lock = threading.Lock()
        store.on_forget.append(self._forgotten)

    def enrol(self, tenant: str, person: str, images: Sequence[str | Path | bytes], *, sure: bool, source: str) -> Enrolled:
        """See `Engine.enrol`."""
        from sartor.profile.records import Record

        loaded = self._loaded(tenant)
        method: Any = loaded.method
        pictures = _read(images, method)
        stored = None
        for _ in range(TRIES):
            # What is written counts from here: who is forgotten from now on is not there, or was born later, and nothing of hers comes back.
            position = self._store.position(tenant)
            self._ask(tenant, person)
            history = self._store.history(tenant, person, VERB)
            before = self._before(tenant, person, loaded)
            if before is not None and not sure and not any(same for same, _ in method.verify(pictures, before)):
                what = "these pictures do not look like who is enrolled under this name"
                raise Conflict(what, fix="use another name, or say that you are sure", person=person)
            state = method.enrol(pictures, before)
            written = self._store.put_states(
                tenant, VERB, {person: state}, model=loaded.fingerprint, position=position, clear=False,
                newest={person: history[0].version if history else 0},
            )  # fmt: skip
            stored = written.get(person)
            if stored is not None:
                break
        if stored is None:
            raise Conflict("others enrol this person at the same time", fix="try again", person=person)
        # Whoever took back her consent meanwhile is asked for it again, and recognized as nobody until then.
        self._ask(tenant, person)
        about = {"pictures": len(pictures), "model": loaded.fingerprint}
        record = Record(person, "events", "", time=time.time(), kind=KIND, content={"item": KIND, "context": about}, purposes=frozenset(),
                        source=source, model=loaded.fingerprint)  # fmt: skip
        self._store.append(tenant, [record])
        return Enrolled(person=person, model=loaded.fingerprint, state_version=stored.version, pictures=state.examples)

    def identify(self, tenant: str, images: Sequence[str | Path | bytes], k: int) -> list[Found]:
        """See `Engine.identify`."""
        from sartor.recognize._base import shows_nothing

        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= 100:
            raise ConfigError(f"k is {k!r}", fix="ask for 1 to 100 people")
        loaded = self._loaded(tenant)
        method: Any = loaded.method
        pictures = _read(images, method)
        gallery = self._gallery(tenant, loaded)
        enrolled = len(gallery.people)
        least = method.threshold(max(1, enrolled))
        if not enrolled:
            return [Found(people=[], threshold=least, note="nobody is enrolled") for _ in pictures]
        blank = shows_nothing(pictures)
        if method.together:
            return self._compared(tenant, loaded, gallery, pictures, k, blank)
        vectors, depth = method.vectors(pictures), k + 10
        while True:
            likely = self._nearest(gallery, vectors, depth, least)
            found = self._allowed(tenant, loaded, likely)
            # Those who may not be named must not stand before those who may.
            if depth >= enrolled or all(len(good) >= k or len(row) < depth for good, row in zip(found, likely, strict=True)):
                return [_found(row[:k], least, flat) for row, flat in zip(found, blank, strict=True)]
            depth *= 4

    def verify(self, tenant: str, person: str, images: Sequence[str | Path | bytes]) -> list[VerifiedAs]:
        """See `Engine.verify`."""
        loaded = self._loaded(tenant)
        method: Any = loaded.method
        pictures, least = _read(images, method), method.threshold(1)
        standing = self._store.standing(tenant, [person], purpose=VERB, verb=VERB, model=loaded.fingerprint)[person]
        if standing.stored is None or not standing.allowed:
            why: Fallback = "unknown person" if not standing.known else "no consent" if not standing.allowed else "no evidence the model knows"
            note = "nobody is enrolled under this name that may be compared"
            return [VerifiedAs(person=person, same=False, score=None, threshold=least, fallback=why, note=note) for _ in pictures]
        made = method.verify(pictures, standing.stored.state)
        return [VerifiedAs(person=person, same=same, score=score, threshold=least) for same, score in made]

    # --- inside

    def _nearest(self, gallery: _Gallery, vectors: np.ndarray, depth: int, least: float) -> list[list[tuple[str, float]]]:
        """People whose score is at least `least`, best first, of the `depth` nearest."""
        with self._lock:
            if gallery.index is None:
                return [[] for _ in vectors]
            hits = gallery.index.search(vectors, min(depth, gallery.index.size))
            rows = [list(zip(hits[row], hits.scores[row].tolist(), strict=False)) for row in range(len(vectors))]
        return [[(str(who), score) for who, score in row if score >= least] for row in rows]

    def _ask(self, tenant: str, person: str) -> None:
        said = self._store.consents(tenant, person)[VERB]
        if not said.granted or said.default:
            raise NoConsent("this person has not agreed to be recognized", fix='note her consent to "recognize" first', person=person)

    def _loaded(self, tenant: str) -> Loaded:
        loaded = self._models.active(tenant, VERB)
        if loaded is None:
            raise ConfigError("no model recognizes yet", fix='install one with verb="recognize"')
        return loaded

    def _before(self, tenant: str, person: str, loaded: Loaded) -> State | None:
        try:
            stored = self._store.state(tenant, person, VERB, model=loaded.fingerprint)
        except Unreadable:  # enrolled anew
            return None
        return None if stored is None else stored.state

    def _gallery(self, tenant: str, loaded: Loaded) -> _Gallery:
        """Vectors as the store has them now."""
        key, now = (tenant, loaded.fingerprint), time.monotonic()
        with self._lock:
            position = self._store.position(tenant)
            kept = self._galleries.get(key)
            if kept is not None and kept.position == position and now - kept.read < WHOLE_AGAIN:
                return kept
            whole = kept is None or now - kept.read >= WHOLE_AGAIN
            method: Any = loaded.method
            made = _Gallery(position, now, indexed=not method.together) if whole or kept is None else kept
            changed = self._store.changed(tenant, 0 if whole else made.position)
            for at in range(0, len(changed), 1_000):
                some = changed[at : at + 1_000]
                states = {name: one.state for name, one in self._store.states(tenant, some, VERB, model=loaded.fingerprint).items()}
                for name in some:
                    if name not in states:
                        made.drop(name)
                made.put(states)
            made.position = position
            # Of one tenant, the model that serves.
            self._galleries = {one: other for one, other in self._galleries.items() if one[0] != tenant} | {key: made}
            return made

    def _allowed(self, tenant: str, loaded: Loaded, rows: list[list[tuple[str, float]]]) -> list[list[tuple[str, float]]]:
        """Without those who took back their consent, or were forgotten, since the vectors were read."""
        names = sorted({who for row in rows for who, _ in row})
        if not names:
            return rows
        standing = self._store.standing(tenant, names, purpose=VERB, verb=VERB, model=loaded.fingerprint)
        good = {name for name, one in standing.items() if one.allowed and one.stored is not None}
        return [[(who, score) for who, score in row if who in good] for row in rows]

    def _compared(self, tenant: str, loaded: Loaded, gallery: _Gallery, pictures: np.ndarray, k: int, blank: np.ndarray) -> list[Found]:
        if len(gallery.people) > LARGEST_COMPARED:
            what = f"{len(gallery.people):,} people are too many for {type(loaded.method).__name__}, which compares all at once"
            raise ConfigError(what, fix="use nearest-centroid")
        method: Any = loaded.method
        # Only who may be named takes part: neighbours change each other's scores.
        standing = self._store.standing(tenant, sorted(gallery.people), purpose=VERB, verb=VERB, model=loaded.fingerprint)
        known = {name: one.stored.state for name, one in standing.items() if one.allowed and one.stored is not None}
        least = method.threshold(max(1, len(known)))
        rows = method.recognize(pictures, known, k=k)
        likely = [[(str(who), score) for who, score in row if who is not None] for row in rows]
        return [_found(row, least, flat) for row, flat in zip(likely, blank, strict=True)]

    def _forgotten(self, tenant: str, person: str) -> None:
        with self._lock:
            for (owner, _), gallery in self._galleries.items():
                if owner == tenant:
                    gallery.drop(person)


class Recognition:
    """The part of `Engine` that tells who somebody is."""

    tenant: str
    _recognizing: Recognizing

    def enrol(self, person: Id, images: Sequence[str | Path | bytes], *, sure: bool = False, source: str = "python") -> Enrolled:
        """Let a person be recognized from now on; needs a model that was installed with `verb="recognize"`, and her own consent to that purpose.

        Parameters
        ----------
        images: files, or their bytes, of that person alone. Only the mean of their vectors is kept (about 300 bytes), encrypted; no picture is.
            Of somebody who is enrolled already they are further examples.
        sure: also where they do not look like who is enrolled under this name.

        Raises `NoConsent` unless she has agreed herself (a tenant's default is not enough), `Conflict` for somebody else's pictures under her name,
        `BadImage`, `FileProblem`, `ConfigError` where no model recognizes.
        """
        return self._recognizing.enrol(self.tenant, person_id(person), _given(images), sure=sure, source=source)

    def identify(self, images: Sequence[str | Path | bytes], k: int = 1) -> list[Found]:
        """Who is on each picture: at most k of the enrolled people, or nobody. Nothing is kept.

        Raises `BadImage`, `FileProblem`, `ConfigError`. Who takes back her consent is named by nobody from the next request on.
        """
        return self._recognizing.identify(self.tenant, _given(images), k)

    def verify(self, person: Id, images: Sequence[str | Path | bytes]) -> list[VerifiedAs]:
        """Whether each picture shows this person. Somebody who is not enrolled is on none; `fallback` says why. Nothing is kept."""
        return self._recognizing.verify(self.tenant, person_id(person), _given(images))


def _given(images: Any) -> list[str | Path | bytes]:
    if isinstance(images, str | bytes | Path) or not images:
        raise ConfigError("there are no pictures", fix="give a list of files or of their bytes")
    if len(images) > MOST:
        raise ConfigError(f"{len(images)} pictures", fix=f"give at most {MOST} at once")
    return list(images)


def _read(images: Sequence[str | Path | bytes], method: Any) -> np.ndarray:
    from sartor.recognize.parts.pictures import read_pictures

    return read_pictures(list(images), (method.shape_[0], method.shape_[1]))


def _found(people: list[tuple[str, float]], least: float, flat: bool) -> Found:
    if flat:
        return Found(people=[], threshold=least, note="the picture shows nothing")
    return Found(people=people, threshold=least, note="" if people else "nobody that is known")
