"""Whose state answers, if anybody's: consent, the newest consistent state of one verb, and why there is none."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.data.population import Evidence
from sartor.engine import evidence as ev
from sartor.errors import StoreProblem

if TYPE_CHECKING:
    from sartor.engine.answers import Fallback
    from sartor.engine.catalogue import Shelves
    from sartor.engine.models import Loaded, Models
    from sartor.method import Recommender, State
    from sartor.profile.records import Record, StoredState
    from sartor.profile.standing import Standing
    from sartor.profile.store import ProfileStore

_REFUSED = {
    "recommend": "this person does not allow recommending: the population's answer, nothing of hers was used",
    "search": "this person does not allow her searches to be personal: the population's order, nothing of hers was used",
    "draw": "this person does not allow drawing from her pictures: the population's answer, nothing of hers was used",
    "decide": "this person does not allow decisions from what is known of her: the population's answer, nothing of hers was used",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Own:
    """What a request may use of one person."""

    state: State | None = None
    method: Recommender | None = None
    """The method whose state it is, where it is not the active model's."""
    stored: StoredState | None = None
    seen: tuple[Any, ...] = ()
    """Items of evidence that the state does not hold."""
    lag: int = 0
    fallback: Fallback | None = None
    note: str = ""

    def facts(self) -> dict[str, Any]:
        """What an answer says of the state it was made from, but for the note (`answers.Answered`)."""
        stored = self.stored
        # Clocks are set back now and then: no state is younger than now.
        made = {} if stored is None else {"state_version": stored.version, "position": stored.position, "age": max(0.0, time.time() - stored.made)}
        return {**made, "lag": self.lag, "fallback": self.fallback}


class Owners:
    """Looks up what a request of one verb may use of people. Holds nothing of them."""

    def __init__(self, store: ProfileStore, models: Models, shelves: Shelves, verb: str) -> None:
        self._store, self._models, self._shelves, self._verb = store, models, shelves, verb

    def of(self, tenant: str, people: Sequence[str], loaded: Loaded) -> list[Own]:
        """One per person, in their order; `loaded` is the model that answers."""
        standing = self._store.standing(tenant, list(dict.fromkeys(people)), purpose=self._verb, verb=self._verb, model=loaded.fingerprint)
        return [self._own(tenant, one, loaded, standing[one]) for one in people]

    def _own(self, tenant: str, person: str, loaded: Loaded, standing: Standing) -> Own:
        if not standing.allowed:
            return Own(fallback="no consent", note=_REFUSED[self._verb])
        if not standing.known:
            return Own(fallback="unknown person", note="nothing is known of this person: the population's answer")
        if standing.unreadable is not None:
            return self._damaged(tenant, person, standing.unreadable)
        stored = standing.stored
        if stored is None:
            return self._without_state(tenant, person, loaded)
        if stored.state.fingerprint != loaded.fingerprint:
            return self._damaged(tenant, person, stored.version)
        newer = self._newer(tenant, person, stored.position) if standing.newer else []
        seen = tuple(record.content.get("item") for record in newer if record.frame == "events")
        facts = stored.state.notes
        seen += tuple(facts.get("passed", ()))
        events, known = int(facts.get("events", stored.state.examples)), int(facts.get("known", stored.state.examples))
        what = "picture" if self._verb == "draw" else "event"
        note = f"{counted(events, what)}, {known} known to the model" + (f"; {len(newer)} newer not in the state yet" if newer else "")
        if stored.held:
            note += f"; version {stored.version} is held"
        if says_something(stored.state, known):
            return Own(stored.state, None, stored, seen, len(newer), None, note)
        cold = self._cold(tenant, person, seen, len(newer))
        return cold or Own(None, None, None, seen, len(newer), "no evidence the model knows", f"{note}: the population's answer")

    def _newer(self, tenant: str, person: str, after: int) -> list[Record]:
        return self._store.evidence(tenant, person, purpose=self._verb, frames=ev.READS[self._verb], after=after, limit=ev.NEWEST, newest_first=True)

    def _without_state(self, tenant: str, person: str, loaded: Loaded) -> Own:
        records = self._newer(tenant, person, 0)
        seen = tuple(record.content.get("item") for record in records if record.frame == "events")
        photos = sum(record.frame == "images" for record in records)
        if photos:
            note = f"{counted(photos, 'picture')}, not learned yet: the population's answer"
            return Own(None, None, None, seen, len(records), "not adapted yet", note)
        if self._shelves.ids(loaded.method).numbers(seen).size:
            note = f"{counted(len(seen), 'event')}, none in a state of this model yet: the population's answer"
            return Own(None, None, None, seen, len(records), "not adapted yet", note)
        if cold := self._cold(tenant, person, seen, len(records)):
            return cold
        note = "nothing of this person may be used or says anything: the population's answer"
        return Own(None, None, None, seen, len(records), "no evidence the model knows", note)

    def _damaged(self, tenant: str, person: str, version: int) -> Own:
        """Somebody's own answer has to wait for another state; nobody gets an error for what happened to stored bytes."""
        note = f"version {version} of the state cannot be read and is made anew: the population's answer"
        records: list[Record] = []
        try:
            self._store.renew_state(tenant, person, self._verb, version)
            records = self._newer(tenant, person, 0)
        except StoreProblem as problem:  # read-only, full, or the evidence is damaged too: the next request tries again
            log.warning("a person with a damaged state could not be marked or read: %s", problem.what)
        seen = tuple(record.content.get("item") for record in records if record.frame == "events")
        return Own(None, None, None, seen, len(records), "state unreadable", note)

    def _cold(self, tenant: str, person: str, seen: tuple[Any, ...], lag: int) -> Own | None:
        """A state made of the person's attributes on the spot, for who has no usable events; None where there is nothing to go by."""
        cold = self._models.active(tenant, "cold") if self._verb == "recommend" else None
        if cold is None:
            return None
        about = ev.attributes(self._store.evidence(tenant, person, purpose=self._verb, frames=["people"]))
        if not about:
            return None
        state = cold.method.adapt(Evidence({"people": ev.people_frame({person: about})}, person=person))
        used = state.notes.get("attributes", ())
        if not used:
            return None
        return Own(state, cold.method, None, seen, lag, "attributes only", f"no usable events; from {', '.join(used)}")


def says_something(state: State, known: int) -> bool:
    """Whether a state holds anything of the person: known items, or attributes that the method reads itself."""
    items = state.arrays.get("items")
    if (items.size if items is not None else known) > 0:
        return True
    return any(
        name.startswith("about.") and np.any(array[np.isfinite(array)] if array.dtype.kind == "f" else array) for name, array in state.arrays.items()
    )


def counted(number: int, word: str) -> str:
    """ "1 event", "2 events"."""
    return f"{number} {word}{'' if number == 1 else 's'}"
