"""States of people, made from scratch out of their records."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from sartor.engine import draw, evidence
from sartor.method import Illustrator

if TYPE_CHECKING:
    from sartor.engine.ids import ItemIds
    from sartor.engine.models import Loaded
    from sartor.method import Recommender, State
    from sartor.profile.records import Record

log = logging.getLogger(__name__)


def made(
    loaded: Loaded,
    by_person: Mapping[str, Sequence[Record]],
    ids: ItemIds,
    *,
    background: bool = False,
    before: Mapping[str, State | None] | None = None,
) -> tuple[dict[str, State], dict[str, str]]:
    """States of several people from their records (oldest first), and why there is none of the others.

    They are made as one batch; when that fails, one by one, so that nobody waits for somebody else's broken evidence. `before`: what a model that
    draws has learned of them already.
    """
    from sartor.parts.threads import limit

    states: dict[str, State] = {}
    failures: dict[str, str] = {}
    # In the background of a server one processor is enough: requests come first.
    with limit(1) if background else nullcontext():
        if isinstance(loaded.method, Illustrator):
            for person, records in by_person.items():
                try:
                    states[person] = draw.learned(loaded.method, records, (before or {}).get(person))
                except Exception as problem:
                    failures[person] = type(problem).__name__
            return states, failures
        try:
            if len(by_person) > 1:
                states = loaded.method.adapt_all(evidence.as_population(by_person, ids, _also(loaded.method)))
        except Exception as problem:
            log.info("a batch of %d people could not be adapted together (%s); one by one", len(by_person), type(problem).__name__)
        for person, records in by_person.items():
            if person not in states:
                try:
                    states[person] = one(loaded.method, records, ids, person)
                except Exception as problem:
                    # The kind only: what a library says about its input may quote it.
                    failures[person] = type(problem).__name__
    return {person: _noted(states[person], by_person[person], ids) for person in by_person if person in states}, failures


def one(method: Recommender, records: Sequence[Record], ids: ItemIds, person: str) -> State:
    """One person's state from scratch, out of records that are oldest first."""
    return method.adapt(evidence.as_evidence(records, ids, person, _also(method)))


def _also(method: Recommender) -> Sequence[str]:
    """Columns of events that a method reads beyond the usual ones."""
    return tuple(getattr(method, "reads", ()))


def _noted(state: State, records: Sequence[Record], ids: ItemIds) -> State:
    events, known = evidence.known(records, ids)
    passed = evidence.passed(records, ids)
    return replace(state, notes={**state.notes, "events": events, "known": known, **({"passed": passed} if passed else {})})
