"""What an answer needs to know of people before it is made: one statement for a whole batch.

The hot path of serving. The statement is built and compiled once: building it anew for every person costs several times what the database
needs to answer it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from sartor.errors import Unreadable
from sartor.profile.blobs import Blobs
from sartor.profile.database import Database
from sartor.profile.evidence import check_purpose
from sartor.profile.keyring import Keyring
from sartor.profile.records import GRANTED, StoredState
from sartor.profile.schema import consents, evidence, holds, people, states, tenants
from sartor.profile.stored import opened
from sartor.profile.tenancy import People, chunks
from sartor.profile.withdrawn import Moment, touched

log = logging.getLogger(__name__)

Told = Callable[[float, list[int]], None]
"""Told of every batch: its seconds, and the bytes of each state in it."""

Made = tuple[int, int, float]
"""Version, position and time of a state: another one after somebody was forgotten and is known again."""


ONE_BY_ONE = 10_000
"""People who are looked up by name, at most; where more may have changed, everybody is."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Whose states may answer, beside what was known of them."""

    now: Mapping[bytes, Made]
    """By subject, the state that answers; only of those who were looked at."""
    names: Mapping[bytes, str]
    """Those of them of whom it is another one than was known."""
    gone: Set[bytes]
    """Of whom one was known, and none answers any more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One person, at the moment of a request."""

    known: bool
    """Whether the store has anything of this person."""
    allowed: bool
    """Whether she agrees to the purpose."""
    stored: StoredState | None
    """The state that answers: the held one, or the newest of that model; None without consent too, nothing is looked at then."""
    newer: bool
    """Whether there is evidence that this state has not seen."""
    unreadable: int | None = None
    """Version of the state that would answer, but is damaged."""


class Standings:
    """Reads standings."""

    def __init__(self, db: Database, keyring: Keyring, blobs: Blobs) -> None:
        self.db, self.keyring, self.blobs, self.people = db, keyring, blobs, People(db, keyring)
        self.told: list[Told] = []

    def of(self, tenant: str, persons: Sequence[str], *, purpose: str, verb: str, model: str) -> dict[str, Standing]:
        """See `ProfileStore.standing`."""
        check_purpose(purpose)
        started = time.perf_counter()
        subjects = self.people.subjects(tenant, persons)
        about = {"tenant": tenant, "purpose": purpose, "verb": verb, "model": model}
        if len(subjects) == 1:
            told, rows = self.db.fetch(tenant, (_DEFAULT, {"tenant": tenant}), (_STANDING_ONE, about | {"subject": next(iter(subjects))}))
            text = told[0] if told else None
        else:
            text, rows = self._many(tenant, list(subjects), about)
        default = purpose in (GRANTED if text is None or text[0] is None else json.loads(text[0]))
        found = dict.fromkeys(subjects.values(), Standing(False, default, None, False))
        for row in rows:
            found[subjects[row.subject]] = self._standing(tenant, verb, row, default)
        for tell in self.told:
            tell(time.perf_counter() - started, [one.stored.nbytes for one in found.values() if one.stored is not None])
        return found

    def serving(self, tenant: str, *, purpose: str, verb: str, model: str, seen: Mapping[bytes, Made], since: Moment | None) -> Serving:
        """See `ProfileStore.serving`."""
        check_purpose(purpose)
        about: dict[str, Any] = {"tenant": tenant, "purpose": purpose, "verb": verb, "model": model}
        with self.db.read(tenant, snapshot=True) as connection:
            text = connection.execute(_DEFAULT, {"tenant": tenant}).scalar()
            about["default"] = purpose in (GRANTED if text is None else json.loads(text))
            who = None if since is None else self._touched(connection, tenant, seen, since)
            asked = [(_SERVING, about)] if who is None else [(_SERVING_OF, about | {"subjects": part}) for part in chunks(who)]
            rows = (row for query, values in asked for row in connection.execute(query, values))
            now = {subject: (version, position, made) for subject, version, position, made in rows}
            names = self.people.names(connection, tenant, [subject for subject, made in now.items() if seen.get(subject) != made])
            return Serving(now, names, (seen.keys() if who is None else seen.keys() & who) - now.keys())

    def _touched(self, connection: sa.Connection, tenant: str, seen: Collection[bytes], since: Moment) -> set[bytes] | None:
        """Subjects of whom something may have changed; None: of anybody, or of too many to be looked up by name."""
        found = touched(connection, tenant, since)
        if found is None or len(found[0]) > ONE_BY_ONE:
            return None
        who, tombstones = found
        return who | {subject for subject in seen if self.keyring.tombstone(tenant, subject) in tombstones} if tombstones else who

    def _many(self, tenant: str, subjects: Sequence[bytes], about: dict[str, Any]) -> tuple[Any, list[Any]]:
        with self.db.read(tenant, snapshot=True) as connection:
            text = connection.execute(_DEFAULT, {"tenant": tenant}).first()
            return text, [row for part in chunks(subjects) for row in connection.execute(_STANDING, about | {"subjects": part})]

    def _standing(self, tenant: str, verb: str, row: Any, default: bool) -> Standing:
        allowed = default if row.granted is None else bool(row.granted)
        if not allowed or row.version is None:
            return Standing(True, allowed, None, bool(row.newer))
        key = self.keyring.person(tenant, row.subject, row.wrapped)
        try:
            return Standing(True, True, opened(key, self.blobs, verb, row), bool(row.newer))
        except Unreadable as problem:
            log.warning("a stored state cannot be read (version %d, %d bytes): %s", row.version, row.nbytes, problem.what)
            return Standing(True, True, None, True, unreadable=row.version)


def _statement(who: Any) -> sa.Select[Any]:
    tenant: Any = sa.bindparam("tenant")
    verb: Any = sa.bindparam("verb")
    model: Any = sa.bindparam("model")
    state, hold = states.c, holds.c
    other = states.alias()
    own = (other.c.tenant == tenant, other.c.subject == people.c.subject, other.c.verb == verb, other.c.model == model)
    kept = sa.select(other.c.version).where(*own, other.c.version == hold.version).scalar_subquery()
    newest = sa.select(sa.func.max(other.c.version)).where(*own).scalar_subquery()
    said = (
        sa.select(consents.c.granted)
        .where(consents.c.tenant == tenant, consents.c.subject == people.c.subject, consents.c.purpose == sa.bindparam("purpose"))
        .order_by(consents.c.position.desc())
        .limit(1)
        .scalar_subquery()
    )
    after = sa.func.coalesce(state.position, 0)
    newer = sa.exists().where(evidence.c.tenant == tenant, evidence.c.subject == people.c.subject, evidence.c.position > after)
    columns = (
        states.c.model,
        states.c.version,
        states.c.position,
        states.c.made,
        states.c.nbytes,
        states.c.restored_from,
        states.c.data,
        states.c.file,
    )
    held = (hold.tenant == tenant, hold.subject == people.c.subject, hold.verb == verb)
    wanted = (
        states.c.tenant == tenant,
        states.c.subject == people.c.subject,
        states.c.verb == verb,
        states.c.version == sa.func.coalesce(kept, newest),
    )
    return (
        sa.select(people.c.subject, people.c.wrapped, *columns, hold.version.label("held"), said.label("granted"), newer.label("newer"))
        .select_from(people.outerjoin(holds, sa.and_(*held)).outerjoin(states, sa.and_(*wanted)))
        .where(people.c.tenant == tenant, who)
    )


_STANDING = _statement(people.c.subject.in_(sa.bindparam("subjects", expanding=True)))
_STANDING_ONE = _statement(people.c.subject == sa.bindparam("subject"))
_DEFAULT = sa.select(tenants.c.consents).where(tenants.c.tenant == sa.bindparam("tenant"))


def _serving(*, some: bool) -> sa.Select[Any]:
    """Who has a state of a model and allows the purpose, and which one answers; of `some` or of everybody."""
    tenant: Any = sa.bindparam("tenant")
    verb: Any = sa.bindparam("verb")
    model: Any = sa.bindparam("model")
    state, other, hold = states.c, states.alias(), holds.c
    own = [state.tenant == tenant, state.verb == verb, state.model == model]
    if some:
        own.append(state.subject.in_(sa.bindparam("subjects", expanding=True)))
    top = sa.select(state.subject, sa.func.max(state.version).label("version")).where(*own).group_by(state.subject).subquery()
    kept = (
        sa.select(hold.version)
        .where(hold.tenant == tenant, hold.subject == top.c.subject, hold.verb == verb)
        .where(sa.exists().where(other.c.tenant == tenant, other.c.subject == hold.subject, other.c.verb == verb, other.c.version == hold.version,
                                 other.c.model == model))
        .correlate(top)
        .scalar_subquery()
    )  # fmt: skip
    said = (
        sa.select(consents.c.granted)
        .where(consents.c.tenant == tenant, consents.c.subject == top.c.subject, consents.c.purpose == sa.bindparam("purpose"))
        .order_by(consents.c.position.desc())
        .limit(1)
        .correlate(top)
        .scalar_subquery()
    )
    return (
        sa.select(state.subject, state.version, state.position, state.made)
        .join(top, state.subject == top.c.subject)
        .where(state.tenant == tenant, state.verb == verb, state.version == sa.func.coalesce(kept, top.c.version))
        .where(sa.func.coalesce(said, sa.bindparam("default", type_=sa.Boolean)))
    )


_SERVING, _SERVING_OF = _serving(some=False), _serving(some=True)
