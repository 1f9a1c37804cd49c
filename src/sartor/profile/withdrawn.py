"""What people have taken back since a moment: for whoever keeps something made of their evidence outside the store, such as files of lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sartor.profile.names import check_tenant
from sartor.profile.schema import audit, people, tenants
from sartor.profile.tenancy import People

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore

_HERS = ("consent", "evidence removed")
_EVERYBODYS = ("default consent", "purge")


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
        here = (audit.c.tenant == tenant, audit.c.number > then.audited)
        newest = connection.execute(sa.select(tenants.c.audited).where(tenants.c.tenant == tenant)).scalar() or 0
        lines = connection.execute(sa.select(sa.func.count()).where(*here)).scalar_one()
        shared = connection.execute(sa.select(audit.c.number).where(*here, audit.c.action.in_(_EVERYBODYS)).limit(1)).first()
        if lines != newest - then.audited or shared is not None:
            return None
        said = sa.select(audit.c.subject).where(*here, audit.c.action.in_(_HERS), audit.c.subject.is_not(None))
        new = sa.select(people.c.subject).where(people.c.tenant == tenant, people.c.born > then.position)
        subjects = {subject for query in (said, new) for subject in connection.execute(query).scalars()}
        return frozenset(People(store.db, store.keyring).names(connection, tenant, subjects).values())
