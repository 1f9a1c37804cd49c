"""States of everybody for a model that does not serve yet, made while another one serves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from sartor.engine.evidence import read
from sartor.engine.states import made
from sartor.progress import bar

if TYPE_CHECKING:
    from sartor.engine.engine import Engine
    from sartor.engine.ids import ItemIds
    from sartor.engine.models import Loaded
    from sartor.method import State
    from sartor.profile.store import ProfileStore

CHUNK = 512
"""People adapted as one batch: enough for the batch to be quick, few enough for memory."""


def everybody(engine: Engine, verb: str, loaded: Loaded) -> tuple[int, int]:
    """Make and keep the states of all people with evidence that this verb may use; how many were made, and how many failed.

    Who has an older state of this model, and nothing left that may be used, gets an empty one: what was removed must not serve again.
    Who changes meanwhile has a newer state or none: callers mark them stale.
    """
    store, tenant = engine.store, engine.tenant
    behind = frozenset(store.states_behind(tenant, verb, loaded.fingerprint))
    people, count, failed = sorted(behind.union(store.changed(tenant, 0))), 0, 0
    with bar("people", len(people), unit="people") as shown:
        for start in range(0, len(people), CHUNK):
            some = people[start : start + CHUNK]
            # Asked for before the evidence is read: what arrives in between is newer than the state says, never lost.
            position = store.position(tenant)
            states, failures = states_of(store, tenant, verb, loaded, engine._serving.shelves.ids(loaded.method), some, behind)
            store.put_states(tenant, verb, states, model=loaded.fingerprint, position=position)
            count += len(states)
            failed += len(failures)
            shown.advance(len(some))
    return count, failed


def states_of(
    store: ProfileStore, tenant: str, verb: str, loaded: Loaded, ids: ItemIds, people: Sequence[str], empty: Collection[str] = ()
) -> tuple[dict[str, State], dict[str, str]]:
    """States of some people, as the background worker makes them, and why there is none of others.

    Who has no usable evidence is in neither, except those in `empty`.
    """
    records = read(store, tenant, people, verb)
    return made(loaded, {person: own for person, own in records.items() if own or person in empty}, ids)
