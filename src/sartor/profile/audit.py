"""What was done, to whom, when: never content. Bounded."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from sartor.profile.database import Database
from sartor.profile.keyring import Keyring
from sartor.profile.names import check_name, check_tenant
from sartor.profile.records import AuditLine
from sartor.profile.schema import audit, people, tenants
from sartor.profile.tenancy import add_tenant, next_position

KEPT = 100_000
"""Lines per tenant; older ones go, but those of forgetting: `tombstones` are read from them."""
FORGET, BATCH = "forget", "batch"
TOGETHER = 60.0
"""Seconds for which one line counts what is done many times."""
_SWEEP = 500
"""Lines between two sweeps."""


class Audit:
    """Writes and reads audit lines."""

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self.db, self.keyring = db, keyring

    def write(self, connection: sa.Connection, tenant: str, action: str, subject: bytes | None, detail: Mapping[str, Any]) -> None:
        """Add a line to the caller's transaction, so that nothing is done without it."""
        move = tenants.update().where(tenants.c.tenant == tenant).values(audited=tenants.c.audited + 1).returning(tenants.c.audited)
        number = connection.execute(move).scalar()
        if number is None:
            add_tenant(self.db, connection, tenant)
            number = connection.execute(move).scalar_one()
        line = {"tenant": tenant, "number": number, "time": time.time(), "action": action, "subject": subject}
        connection.execute(audit.insert(), [{**line, "detail": json.dumps(dict(detail), default=str)}])
        if number % _SWEEP == 0:
            old = (audit.c.tenant == tenant, audit.c.number <= number - KEPT, audit.c.action != FORGET)
            connection.execute(audit.delete().where(*old))

    def count(self, connection: sa.Connection, tenant: str, action: str, number: int) -> None:
        """A line that says how many; the newest line says more where it is of the same kind: a feed of edits must not push all else out."""
        if not number:
            return
        newest = sa.select(tenants.c.audited).where(tenants.c.tenant == tenant).scalar_subquery()
        last = connection.execute(
            sa.select(audit.c.number, audit.c.time, audit.c.action, audit.c.detail).where(audit.c.tenant == tenant, audit.c.number == newest)
        )
        row = last.first()
        if row is None or row.action != action or not 0 <= time.time() - row.time < TOGETHER:
            self.write(connection, tenant, action, None, {"items": number})
            return
        detail = json.dumps({"items": json.loads(row.detail)["items"] + number})
        connection.execute(audit.update().where(audit.c.tenant == tenant, audit.c.number == row.number).values(detail=detail))

    def add(self, tenant: str, action: str, person: str | None, detail: Mapping[str, Any]) -> None:
        """A line of its own; of somebody who is not known, or not any more, it keeps what was done and not to whom."""
        tenant = check_tenant(tenant)
        subject = None if person is None else self.keyring.subject(tenant, check_name(person, "person"))
        with self.db.write(tenant) as connection:
            # With the tenant's row held nobody is forgotten: work on her that ends after a forget leaves no trace of her.
            next_position(self.db, connection, tenant, 0)
            known = sa.select(people.c.subject).where(people.c.tenant == tenant, people.c.subject == subject)
            if subject is not None and connection.execute(known).first() is None:
                subject = None
            self.write(connection, tenant, action, subject, detail)

    def lines(self, tenant: str, person: str | None, limit: int) -> list[AuditLine]:
        """Newest first."""
        query = sa.select(audit).where(audit.c.tenant == tenant).order_by(audit.c.number.desc()).limit(limit)
        if person is not None:
            query = query.where(audit.c.subject == self.keyring.subject(tenant, check_name(person, "person")))
        with self.db.read(tenant) as connection:
            return [
                AuditLine(row.time, row.action, row.subject is not None or row.tombstone is not None, json.loads(row.detail))
                for row in connection.execute(query)
            ]
