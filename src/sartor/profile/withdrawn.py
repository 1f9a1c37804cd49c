"""Whose word, records or states changed since a moment: for whoever keeps something made of them, such as files of lists or vectors in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sartor.profile.names import check_tenant
from sartor.profile.schema import audit, evidence, people, tenants
from sartor.profile.tenancy import People

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore

_HERS = ("consent", "evidence removed")
_EVERYBODYS = ("default consent", "purge")
STATES_PUT = "states put"
"""Of several people where the line names nobody."""


@dataclass(frozen=True)
class Moment:
    """A point in a tenant's history."""

    audited: int
    """Newest number of a line in the log."""
    position: int
    """Newest position of evidence and consents."""


def moment(store: ProfileStore, tenant: str) -> Moment:
    """Now."""
    with store.db.read(check_tenant(tenant)) as connection:
        row = connection.execute(sa.select(tenants.c.audited, tenants.c.position).where(tenants.c.tenant == tenant)).first()
    return Moment(0, 0) if row is None else Moment(row.audited, row.position)


def since(store: ProfileStore, tenant: str, then: Moment) -> frozenset[str] | None:
    """People who said something about a purpose, whose records were removed, or who became known after that moment (maybe again, after they were
    forgotten). None: it may be anybody, since a default changed, retention purged, or the log does not reach back so far.

    Who was forgotten and is not known again has no name here: look who is still there.
    """
    with store.db.read(check_tenant(tenant), snapshot=True) as connection:
        if _anybody(connection, tenant, then, _EVERYBODYS):
            return None
        said = sa.select(audit.c.subject).where(*_later(tenant, then), audit.c.action.in_(_HERS), audit.c.subject.is_not(None))
        new = sa.select(people.c.subject).where(people.c.tenant == tenant, people.c.born > then.position)
        subjects = {subject for query in (said, new) for subject in connection.execute(query).scalars()}
        return frozenset(People(store.db, store.keyring).names(connection, tenant, subjects).values())


def touched(connection: sa.Connection, tenant: str, then: Moment) -> tuple[set[bytes], set[bytes]] | None:
    """Subjects whom the log names or who have evidence after that moment, and tombstones of those who were forgotten: nobody else's word or state is
    another one now. None: it may be anybody's."""
    if _anybody(connection, tenant, then, (*_EVERYBODYS, STATES_PUT)):
        return None
    named, new = sa.select(audit.c.subject, audit.c.tombstone).where(*_later(tenant, then)).distinct(), sa.select(evidence.c.subject).distinct()
    lines = connection.execute(named).all()
    subjects = set(connection.execute(new.where(evidence.c.tenant == tenant, evidence.c.position > then.position)).scalars())
    return subjects | {row.subject for row in lines if row.subject is not None}, {row.tombstone for row in lines if row.tombstone is not None}


def _later(tenant: str, then: Moment) -> tuple[sa.ColumnElement[bool], ...]:
    return audit.c.tenant == tenant, audit.c.number > then.audited


def _anybody(connection: sa.Connection, tenant: str, then: Moment, shared: Sequence[str]) -> bool:
    """Whether a line after that moment is about everybody, or lines are missing: they are swept in time, and a backup has fewer."""
    newest = connection.execute(sa.select(tenants.c.audited).where(tenants.c.tenant == tenant)).scalar() or 0
    everybodys = sa.func.coalesce(sa.func.sum(sa.case((audit.c.action.in_(shared) & audit.c.subject.is_(None), 1), else_=0)), 0)
    lines, about_all = connection.execute(sa.select(sa.func.count(), everybodys).where(*_later(tenant, then))).one()
    return bool(lines != newest - then.audited or about_all)
