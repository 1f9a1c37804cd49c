"""Who is to be adapted: one row per person, claimed for the length of a lease; a claim that dies is taken over when its lease ends."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from sartor.profile.append import mark
from sartor.profile.database import EVERY_TENANT, Database
from sartor.profile.keyring import Keyring
from sartor.profile.names import check_name
from sartor.profile.records import Claim, StaleCount
from sartor.profile.schema import people, stale, tenants
from sartor.profile.tenancy import People, chunks, next_position

LONGEST = 3600.0
"""Seconds of the longest lease or wait. A row due later than that was written by a clock that ran ahead, and is due now."""


class Queue:
    """Marks, claims, clears."""

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self.db, self.keyring, self.people = db, keyring, People(db, keyring)

    def count(self, tenant: str | None) -> StaleCount:
        """See `ProfileStore.stale`."""
        query = sa.select(sa.func.count(), sa.func.min(stale.c.since), sa.func.coalesce(sa.func.sum(sa.cast(stale.c.failed, sa.Integer)), 0))
        if tenant is not None:
            query = query.where(stale.c.tenant == tenant)
        with self.db.read(EVERY_TENANT if tenant is None else tenant) as connection:
            waiting, oldest, failing = connection.execute(query).one()
        return StaleCount(waiting, max(0.0, time.time() - oldest) if waiting else 0.0, int(failing))

    def claim(self, *, worker: str, limit: int, lease: float) -> list[Claim]:
        """See `ProfileStore.claim`."""
        now = time.time()
        due = sa.or_(stale.c.due <= now, stale.c.due > now + LONGEST)
        with self.db.read(EVERY_TENANT) as connection:
            if connection.execute(sa.select(stale.c.tenant).where(due).limit(1)).first() is None:
                return []
        with self.db.write(EVERY_TENANT, durable=False) as connection:
            query = sa.select(stale).where(due).order_by(stale.c.due).limit(limit).with_for_update(skip_locked=True)
            rows = connection.execute(query).all()
            if rows:
                connection.execute(
                    stale.update()
                    .where(stale.c.tenant == sa.bindparam("t"), stale.c.subject == sa.bindparam("s"))
                    .values(due=now + min(lease, LONGEST), attempts=stale.c.attempts + 1, worker=worker),
                    [{"t": row.tenant, "s": row.subject} for row in rows],
                )
        claims = []
        for tenant in dict.fromkeys(row.tenant for row in rows):
            own = [row for row in rows if row.tenant == tenant]
            with self.db.read(tenant) as connection:
                names = self.people.names(connection, tenant, [row.subject for row in own])
            claims += [Claim(tenant, names[row.subject], row.position, row.attempts + 1, row.since, row.token) for row in own if row.subject in names]
        return claims

    def done(self, claims: Iterable[Claim]) -> None:
        """See `ProfileStore.done`."""
        now = time.time()
        by_tenant: dict[str, list[Claim]] = {}
        for one in claims:
            by_tenant.setdefault(one.tenant, []).append(one)
        for tenant, own in by_tenant.items():
            with self.db.write(tenant, durable=False) as connection:
                tokens = {self.keyring.subject(tenant, one.person): one for one in own}
                clear(
                    connection, tenant, {subject: one.position for subject, one in tokens.items()}, now, {s: one.token for s, one in tokens.items()}
                )

    def extend(self, claims: Iterable[Claim], lease: float) -> None:
        """See `ProfileStore.extend`."""
        due = time.time() + min(lease, LONGEST)
        by_tenant: dict[str, list[Claim]] = {}
        for one in claims:
            by_tenant.setdefault(one.tenant, []).append(one)
        for tenant, own in by_tenant.items():
            with self.db.write(tenant, durable=False) as connection:
                for one in own:
                    here = (stale.c.tenant == tenant, stale.c.subject == self.keyring.subject(tenant, one.person), stale.c.token == one.token)
                    connection.execute(stale.update().where(*here).values(due=due))

    def failed(self, claim: Claim, reason: str, retry_in: float) -> None:
        """See `ProfileStore.failed`."""
        subject = self.keyring.subject(claim.tenant, claim.person)
        with self.db.write(claim.tenant, durable=False) as connection:
            connection.execute(
                stale.update()
                .where(stale.c.tenant == claim.tenant, stale.c.subject == subject, stale.c.token == claim.token)
                .values(due=time.time() + min(retry_in, LONGEST), failed=True, worker=None, reason=reason[:200])
            )

    def mark(self, tenant: str, persons: Sequence[str] | None) -> int:
        """See `ProfileStore.mark_stale`."""
        with self.db.write(tenant) as connection:
            position, _ = next_position(self.db, connection, tenant)
            wanted = None if persons is None else list(self.people.subjects(tenant, persons))
            return self.mark_subjects(connection, tenant, wanted, position)

    def mark_subjects(self, connection: sa.Connection, tenant: str, subjects: Sequence[bytes] | None, position: int) -> int:
        """Mark those of these who are known, None: everybody; how many."""
        here = people.c.tenant == tenant
        queries = [sa.select(people.c.subject).where(here)] if subjects is None else [
            sa.select(people.c.subject).where(here, people.c.subject.in_(part)) for part in chunks(subjects)
        ]  # fmt: skip
        known = [subject for query in queries for subject in connection.execute(query).scalars()]
        mark(self.db, connection, tenant, dict.fromkeys(known, position), time.time())
        return len(known)

    def is_stale(self, tenant: str, person: str) -> bool:
        """Whether somebody waits to be adapted."""
        subject = self.keyring.subject(tenant, check_name(person, "person"))
        with self.db.read(tenant) as connection:
            return connection.execute(sa.select(stale.c.token).where(stale.c.tenant == tenant, stale.c.subject == subject)).first() is not None

    def position(self, tenant: str) -> int:
        """The newest position given out."""
        with self.db.read(tenant) as connection:
            return connection.execute(sa.select(tenants.c.position).where(tenants.c.tenant == tenant)).scalar() or 0


def clear(connection: sa.Connection, tenant: str, positions: Mapping[bytes, int], now: float, tokens: Mapping[bytes, str] | None = None) -> None:
    """Take away the marks up to these positions; who was marked again since is due at once."""
    if not positions:
        return
    here = sa.and_(stale.c.tenant == sa.bindparam("t"), stale.c.subject == sa.bindparam("s"))
    rows: list[dict[str, Any]] = [{"t": tenant, "s": subject, "p": position} for subject, position in sorted(positions.items())]
    if tokens is not None:
        here = sa.and_(here, stale.c.token == sa.bindparam("k"))
        rows = [{**row, "k": tokens[row["s"]]} for row in rows]
    removed = connection.execute(stale.delete().where(here, stale.c.position <= sa.bindparam("p")), rows).rowcount
    if removed < len(rows):
        again = stale.update().where(here, stale.c.position > sa.bindparam("p"))
        connection.execute(again.values(due=now, since=stale.c.newest, attempts=0, failed=False, worker=None, reason=None), rows)
