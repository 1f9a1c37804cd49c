"""Who is this? People who have said yes are enrolled as one small vector; pictures are compared and never kept; what is forgotten is found by nobody.

A picture that tells people apart is biometric data: nobody is enrolled by default consent, only after saying so for the purpose "recognize".
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.engine.answers import Fallback
from sartor.engine.gallery import Galleries, Gallery
from sartor.engine.ids import Id, person_id
from sartor.errors import ConfigError, Conflict, NoConsent, Unreadable

if TYPE_CHECKING:
    from sartor.engine.models import Loaded, Models
    from sartor.method import State
    from sartor.profile.store import ProfileStore

VERB = "recognize"
KIND = "enrolment"
"""Of the records that say that somebody was enrolled: how many pictures, by which model; nothing of the pictures."""
MOST = 32
"""Pictures of one call."""
LARGEST_COMPARED = 2_000
"""People that a method may have who needs all of them at once, such as one that looks for neighbours."""
TRIES = 5
"""How often an enrolment starts again because another one of the same person was written first."""


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """What is enrolled of somebody now."""

    person: str
    model: str
    state_version: int
    pictures: int
    """In all, with those of before."""


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """What is kept of somebody to recognize her by."""

    person: str
    agreed: bool
    """Whether she has said yes to it herself, and not taken it back."""
    model: str
    state_version: int
    """0: she is not enrolled."""
    pictures: int
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """Who one picture shows."""

    people: list[tuple[str, float]]
    """At most k, best first, with their scores; empty for nobody that is known."""
    threshold: float
    """The score from which somebody is recognized, with as many enrolled as are."""
    note: str = ""
    closest: tuple[str, float] | None = None
    """Where it is nobody: who of them is most alike, and how much; None unless asked for."""


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


class Recognizing:
    """Enrols, identifies and verifies. Holds vectors of who is enrolled, and looks into the store before every answer whether it still may."""

    def __init__(self, store: ProfileStore, models: Models) -> None:
        self._store, self._models, self._galleries = store, models, Galleries(store, VERB)

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
            state = method.enrol(pictures, before, sure=sure)
            about = {"pictures": len(pictures), "model": loaded.fingerprint}
            note = Record(person, "events", "", time=time.time(), kind=KIND, content={"item": KIND, "context": about}, purposes=frozenset(),
                          source=source, model=loaded.fingerprint)  # fmt: skip
            # Written only while she still says yes; who has taken it back meanwhile is told so by the next turn. The note comes with the state or
            # not at all: other processes hear of the state by it, and nobody who was forgotten is known again by it.
            written = self._store.put_states(
                tenant, VERB, {person: state}, model=loaded.fingerprint, position=position, clear=False,
                newest={person: history[0].version if history else 0}, agreed=VERB, note=note,
            )  # fmt: skip
            stored = written.get(person)
            if stored is not None:
                break
        if stored is None:
            raise Conflict("others enrol this person at the same time", fix="try again", person=person)
        return Enrolled(person=person, model=loaded.fingerprint, state_version=stored.version, pictures=state.examples)

    def enrolment(self, tenant: str, person: str) -> Enrolment:
        """See `Engine.enrolment`."""
        loaded = self._loaded(tenant)
        agreed, state = self._agreed(tenant, person), None
        with suppress(Unreadable):
            state = self._store.state(tenant, person, VERB, model=loaded.fingerprint)
        if state is None:
            return Enrolment(person=person, agreed=agreed, model=loaded.fingerprint, state_version=0, pictures=0, nbytes=0)
        pictures, version = state.state.examples, state.version
        return Enrolment(person=person, agreed=agreed, model=loaded.fingerprint, state_version=version, pictures=pictures, nbytes=state.nbytes)

    def unenrol(self, tenant: str, person: str) -> int:
        """See `Engine.unenrol`."""
        removed = self._store.drop_verb(tenant, person, VERB)
        self._galleries.drop(tenant, person)
        return removed

    def identify(self, tenant: str, images: Sequence[str | Path | bytes], k: int, closest: bool) -> list[Found]:
        """See `Engine.identify`."""
        from sartor.recognize._base import shows_nothing

        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= 100:
            raise ConfigError(f"k is {k!r}", fix="ask for 1 to 100 people")
        loaded = self._loaded(tenant)
        method: Any = loaded.method
        pictures = _read(images, method)
        gallery = self._galleries.now(tenant, loaded)
        enrolled = len(gallery.people)
        least = method.threshold(max(1, enrolled))
        if not enrolled:
            return [Found(people=[], threshold=least, note="nobody is enrolled") for _ in pictures]
        blank = shows_nothing(pictures)
        if method.together:
            return self._compared(tenant, loaded, gallery, pictures, k, blank, closest)
        vectors, depth = method.vectors(pictures), k + 10
        while True:
            likely = self._galleries.nearest(gallery, vectors, depth, -np.inf if closest else least)
            found = self._allowed(tenant, loaded, likely)
            # Those who may not be named must not stand before those who may.
            if depth >= enrolled or all(len(good) >= k or len(row) < depth for good, row in zip(found, likely, strict=True)):
                return [_found(row, k, least, flat) for row, flat in zip(found, blank, strict=True)]
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

    def _ask(self, tenant: str, person: str) -> None:
        if not self._agreed(tenant, person):
            raise NoConsent("this person has not agreed to be recognized", fix='note her consent to "recognize" first', person=person)

    def _agreed(self, tenant: str, person: str) -> bool:
        said = self._store.consents(tenant, person)[VERB]
        return said.granted and not said.default

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

    def _allowed(self, tenant: str, loaded: Loaded, rows: list[list[tuple[str, float]]]) -> list[list[tuple[str, float]]]:
        """Without those who took back their consent, or were forgotten, since the vectors were read."""
        names = sorted({who for row in rows for who, _ in row})
        if not names:
            return rows
        standing = self._store.standing(tenant, names, purpose=VERB, verb=VERB, model=loaded.fingerprint)
        good = {name for name, one in standing.items() if one.allowed and one.stored is not None}
        return [[(who, score) for who, score in row if who in good] for row in rows]

    def _compared(self, tenant: str, loaded: Loaded, gallery: Gallery, pictures: np.ndarray, k: int, blank: np.ndarray, closest: bool) -> list[Found]:
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
        if closest and known:
            names, scores = list(known), method.compare(pictures, known)
            best = scores.argmax(1)
            likely = [row or [(names[one], float(scores[at, one]))] for at, (row, one) in enumerate(zip(likely, best, strict=True))]
        return [_found(row, k, least, flat) for row, flat in zip(likely, blank, strict=True)]


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

    def enrolment(self, person: Id) -> Enrolment:
        """Whether a person has agreed to be recognized, and what is kept of her for it; raises `ConfigError` where no model recognizes."""
        return self._recognizing.enrolment(self.tenant, person_id(person))

    def unenrol(self, person: Id) -> int:
        """Delete all vectors that a person was recognized by, of every model, and nothing else of hers; how many there were."""
        return self._recognizing.unenrol(self.tenant, person_id(person))

    def identify(self, images: Sequence[str | Path | bytes], k: int = 1, *, closest: bool = False) -> list[Found]:
        """Who is on each picture: at most k of the enrolled people, or nobody; with `closest` also who is most alike where it is nobody.

        Nothing is kept. Who has not agreed is never named, as closest neither.

        Raises `BadImage`, `FileProblem`, `ConfigError`. Who takes back her consent is named by nobody from the next request on.
        """
        return self._recognizing.identify(self.tenant, _given(images), k, closest)

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


def _found(likely: list[tuple[str, float]], k: int, least: float, flat: bool) -> Found:
    """Of people who may be named, best first; those below `least` are there only where the closest is asked for."""
    if flat:
        return Found(people=[], threshold=least, note="the picture shows nothing")
    people = [(who, score) for who, score in likely[:k] if score >= least]
    return Found(people=people, threshold=least, note="" if people else "nobody that is known", closest=likely[0] if likely and not people else None)
