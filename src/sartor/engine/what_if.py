"""What a person's list would be with other evidence. Nothing is stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sartor.engine.evidence import NEWEST, by_kind, faded, known, newest, passed
from sartor.engine.explain import half_lives
from sartor.engine.ids import person_id
from sartor.engine.own import says_something
from sartor.engine.records import event_records
from sartor.engine.serving import VERB, Ask
from sartor.engine.states import one
from sartor.errors import EmptyData, NotFitted, UnknownId

if TYPE_CHECKING:
    from sartor.engine.answers import Answer
    from sartor.engine.engine import Engine
    from sartor.engine.ids import Id
    from sartor.engine.models import Loaded
    from sartor.profile.records import Record


@dataclass(frozen=True)
class Move:
    """An item whose place differs; places count from 1, None is outside the list."""

    item: Id
    title: str | None
    before: int | None
    after: int | None


@dataclass(frozen=True)
class WhatIf:
    """The list as it is, the list as it would be, and what moved."""

    person: str
    before: Answer
    after: Answer
    moved: list[Move]


def what_if(engine: Engine, person: Any, add: Any = (), remove: Sequence[str] = (), k: int = 10) -> WhatIf:
    """The list with some events added and some records left out.

    Parameters
    ----------
    add: item ids or dicts, as for `observe`; without a time they happen now.
    remove: ids of records of this person.

    Raises `UnknownId` for a record she does not have, `EmptyData` when nothing is to be changed, `NotFitted` when no model serves.
    """
    from sartor.profile import kinds

    loaded, who = engine._models.active(engine.tenant), person_id(person)
    if loaded is None:
        raise NotFitted("no model serves yet", fix="fit one, or install one")
    now = time.time()
    added = [
        replace(new, received=now, time=now if new.time is None else new.time) for new in event_records(who, add, purposes=None, source="what if")
    ]
    if not added and not remove:
        raise EmptyData("there is nothing to change", fix="give events to add, or ids of records to remove")
    records = newest(engine.store, engine.tenant, [who], VERB)[who]
    if missing := set(remove) - {own.id for own in records}:
        raise UnknownId(f"{len(missing)} of these records are not among the person's newest {NEWEST:,} that may be used", id=repr(sorted(missing)[0]))
    added = by_kind(added, kinds.weights(engine.store, engine.tenant))
    changed = [own for own in records if own.id not in set(remove)] + added
    before, after = (_answer(engine, loaded, who, own, k) for own in (records, changed))
    return WhatIf(who, before, after, _moves(before, after))


def _answer(engine: Engine, loaded: Loaded, person: str, records: Sequence[Record], k: int) -> Answer:
    ids = engine._serving.shelves.ids(loaded.method)
    rules = half_lives(engine.store, engine.tenant)
    records = faded(records, rules) if rules else records
    state = one(loaded.method, records, ids, person)
    events, some = known(records, ids)
    note = f"{events} events, {some} known to the model"
    own = state if says_something(state, some) else None
    return engine._serving.answer(engine.tenant, loaded, own, Ask(k=k), person=person, note=note, seen=passed(records, ids))


def _moves(before: Answer, after: Answer) -> list[Move]:
    """Items whose place differs, in the order of the new list, then what has left it."""
    old = {pick.item: place for place, pick in enumerate(before.items, 1)}
    new = {pick.item: place for place, pick in enumerate(after.items, 1)}
    titles = {pick.item: pick.title for pick in (*before.items, *after.items)}
    return [Move(item, titles[item], old.get(item), new.get(item)) for item in (new | old) if old.get(item) != new.get(item)]
