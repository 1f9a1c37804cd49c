"""Deciding under a shared budget: each person's own state where she allows it, and a log of what was decided from what, at what price."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sartor.engine.answers import Answered
from sartor.engine.catalogue import Shelves
from sartor.engine.own import Own, Owners
from sartor.errors import BadValue, ConfigError, SartorError

if TYPE_CHECKING:
    from sartor.decide.decision import Decision, Decisions
    from sartor.engine.ids import Id
    from sartor.engine.models import Loaded, Models
    from sartor.method import Decider, State
    from sartor.profile.records import Record
    from sartor.profile.store import ProfileStore

VERB = "decide"
log = logging.getLogger(__name__)
MOST = 10_000
"""People of one call."""
KIND = "decision"
"""Of the records that keep decisions: they may be used for nothing, and are exported and forgotten with all else of a person."""


@dataclass(frozen=True, kw_only=True)
class Decided(Answered):
    """What was chosen for one person, and what it was made from."""

    decision: Decision | None
    """None where no model decides yet."""
    id: str | None = None
    """Of the record that keeps it; None where nothing of her may be kept."""


@dataclass(frozen=True, kw_only=True)
class DecisionsAnswer:
    """Everybody's decisions, and how the budget was shared."""

    people: list[Decided]
    budget: float | None
    """As asked."""
    spent: float = 0.0
    unit: str = ""
    price: float = 0.0
    """What one more unit of the budget would be worth in total."""
    gap: float | None = None
    """What the total could be better by at most."""
    refused: Mapping[str, str]
    """Who got nothing, and why."""
    model: str | None
    note: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Logged:
    """One kept decision."""

    id: str
    time: float
    about: Mapping[str, Any]
    """As `sartor.decide.log.entry` has it: action, cost, price, state version, the population's alternative, ..."""


class Deciding:
    """Answers what to choose. Holds nothing of any person."""

    def __init__(self, store: ProfileStore, models: Models, shelves: Shelves) -> None:
        self._store, self._models = store, models
        self.owners = Owners(store, models, shelves, VERB)

    def decide(
        self, tenant: str, people: Sequence[str], budget: float | None, requests: Mapping[str, Mapping[str, Any]], *, personal: bool, log: bool
    ) -> DecisionsAnswer:
        """See `Engine.decide`."""
        start = time.perf_counter()
        if not people or len(people) > MOST:
            raise ConfigError(f"there are {len(people)} people", fix=f"give 1 to {MOST:,}")
        if len(set(people)) < len(people):
            twice = next(one for at, one in enumerate(people) if one in people[:at])
            raise ConfigError("this person is there twice", id=twice, fix="give each once")
        if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 <= budget < math.inf):
            raise ConfigError(f"the budget is {budget!r}", fix="give a number not below 0, or none where nothing is shared")
        loaded = self._models.active(tenant, VERB)
        if loaded is None:
            note = "no model decides yet: install one"
            nothing = [Decided(person=one, model=None, decision=None, fallback="no model", note=note) for one in people]
            return DecisionsAnswer(people=nothing, budget=budget, refused={}, model=None, note=note, seconds=time.perf_counter() - start)
        owns = self.owners.of(tenant, people, loaded) if personal else [Own(note="the population's answer, as asked") for _ in people]
        method: Decider = loaded.method  # type: ignore[assignment]
        states: dict[Any, State | None] = {person: own.state for person, own in zip(people, owns, strict=True)}
        made: Decisions = method.decide(states, budget=math.inf if budget is None else float(budget), requests=requests)  # type: ignore[assignment]
        kept = self._kept(tenant, people, owns, made, loaded) if log and personal else {}
        answers = [
            Decided(person=person, model=loaded.fingerprint, decision=made[person], id=kept.get(person), note=own.note, **own.facts())
            for person, own in zip(people, owns, strict=True)
        ]
        return DecisionsAnswer(
            people=answers, budget=budget, spent=made.spent, unit=made.unit, price=made.price, gap=made.gap, refused=dict(made.refused),
            model=loaded.fingerprint, seconds=time.perf_counter() - start,
        )  # fmt: skip

    def check(self, tenant: str, records: Sequence[Record]) -> None:
        """Raise `BadValue` with row and person for an event that the model which decides could make no state from."""
        try:
            loaded = self._models.active(tenant, VERB)
        except SartorError as problem:  # a model that cannot be read stops no evidence from being kept
            log.warning("events are not checked: %s", type(problem).__name__)
            return
        if loaded is None:
            return
        method: Decider = loaded.method  # type: ignore[assignment]
        for row, record in enumerate(records, 1):
            if record.frame != "events":
                continue
            try:
                method.check_event({"value": record.content.get("value"), "kind": record.kind, **(record.content.get("context") or {})})
            except BadValue as problem:
                raise BadValue(problem.what, fix=problem.fix, row=row, person=record.person, **problem.where) from None

    def _kept(self, tenant: str, people: Sequence[str], owns: Sequence[Own], made: Decisions, loaded: Loaded) -> dict[str, str]:
        """Record the decisions that were made from a state of the person's own; ids by person."""
        from sartor.decide.log import entry
        from sartor.profile.append import sortable_id
        from sartor.profile.records import Record

        now = time.time()
        records = []
        for person, own in zip(people, owns, strict=True):
            if own.state is not None and own.stored is not None:
                # The version as the store counts it: it is what can be looked up and restored.
                about = entry(replace(made[person], state_version=own.stored.version), made, model=loaded.fingerprint)
                records.append(
                    Record(person, "events", sortable_id(now), time=now, kind=KIND, content={"item": KIND, "context": about},
                           purposes=frozenset(), source=f"engine:{VERB}", model=loaded.fingerprint)
                )  # fmt: skip
        if records:
            self._store.append(tenant, records)
        return {record.person: record.id for record in records}

    def log(self, tenant: str, person: str, limit: int) -> list[Logged]:
        """See `Engine.decisions`."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 1_000:
            raise ConfigError(f"limit is {limit!r}", fix="ask for 1 to 1,000 decisions")
        found: list[Logged] = []
        before: int | None = None
        while len(found) < limit:
            page = self._store.evidence(tenant, person, frames=["events"], before=before, limit=1_000, newest_first=True)
            found += [Logged(one.id, one.time or 0.0, one.content["context"]) for one in page if one.kind == KIND and one.source == f"engine:{VERB}"]
            if len(page) < 1_000:
                break
            before = page[-1].position
        return found[:limit]


def ids_of(people: Mapping[Id, Mapping[str, Any]] | Sequence[Id]) -> tuple[list[str], dict[str, Mapping[str, Any]]]:
    """People as the store names them, and their requests."""
    from sartor.engine.ids import person_id

    if isinstance(people, str):
        raise ConfigError("people is a single text", fix="give a list of ids, or a mapping from ids to requests")
    names = [person_id(one) for one in people]
    asked = {}
    if isinstance(people, Mapping):
        for name, request in zip(names, people.values(), strict=True):
            if not isinstance(request, Mapping):
                raise ConfigError(f"the request is a {type(request).__name__}", person=name, fix="give a mapping, such as {'target': 0.8}")
            asked[name] = request
    return names, asked
