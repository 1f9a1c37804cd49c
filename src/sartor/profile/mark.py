"""Whether what was read of a person is still what the store holds: for caches of her records, which must not outlive a change or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sartor.profile.evidence import check_purpose
from sartor.profile.names import check_name
from sartor.profile.schema import evidence, people, tenants

if TYPE_CHECKING:
    from sartor.profile.records import Receipt, Record
    from sartor.profile.store import ProfileStore


@dataclass(frozen=True, slots=True)
class Mark:
    """The state of a person's records; two equal ones mean that nothing came, went or was replaced."""

    tenant_position: int
    """Moves with whatever is written for anybody of the tenant."""
    records: int
    newest: int
    born: int
    """Since which position she is known: another one after she was forgotten. -1: nothing is known of her."""


def mark_of(store: ProfileStore, tenant: str, person: str, *, purpose: str | None, seen: Mark | None = None) -> tuple[Mark, bool]:
    """Where a person's records are, and whether she allows the purpose now (None: she asks herself).

    `seen` is what was found last: it is given back without counting when nothing at all was written for this tenant since.
    """
    check_purpose(purpose)
    subject = store.keyring.subject(tenant, check_name(person, "person"))
    with store.db.read(tenant, snapshot=True) as connection:
        allowed = purpose is None or store._consents.granted(connection, tenant, subject, purpose)
        position = connection.execute(sa.select(tenants.c.position).where(tenants.c.tenant == tenant)).scalar() or 0
        if seen is not None and seen.tenant_position == position:
            return seen, allowed
        return _mark(connection, tenant, subject, position), allowed


def append_unchanged(store: ProfileStore, tenant: str, person: str, records: Sequence[Record], *, mark: Mark, purpose: str | None) -> Receipt | None:
    """Keep what was made of a person's records only if these are still the same and she still allows the purpose (None: she asks herself).

    None, and nothing is kept, if not. So nothing that was deleted or refused meanwhile, by whatever process, comes back with what was made of it.
    """
    check_purpose(purpose)
    subject = store.keyring.subject(tenant, check_name(person, "person"))

    def holds(connection: sa.Connection) -> bool:
        now = _mark(connection, tenant, subject, 0)
        same = (now.records, now.newest, now.born) == (mark.records, mark.newest, mark.born)
        return same and (purpose is None or store._consents.granted(connection, tenant, subject, purpose))

    return store._appender.append_if(tenant, records, holds)


def _mark(connection: sa.Connection, tenant: str, subject: bytes, position: int) -> Mark:
    born = connection.execute(sa.select(people.c.born).where(people.c.tenant == tenant, people.c.subject == subject)).scalar()
    query = sa.select(sa.func.count(), sa.func.max(evidence.c.position)).where(evidence.c.tenant == tenant, evidence.c.subject == subject)
    records, newest = connection.execute(query).one()
    return Mark(position, records, newest or 0, -1 if born is None else born)
