"""What a tenant's evidence is made of: how much of which frame and kind, over which time. Counts alone; nothing is decrypted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sartor.profile.names import check_tenant
from sartor.profile.schema import evidence

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore


@dataclass(frozen=True, slots=True)
class KindCount:
    """Records of one frame and kind."""

    frame: str
    kind: str | None
    records: int
    people: int
    first: float | None
    """Seconds since 1970 UTC of the oldest; the time of receipt where the giver did not know."""
    last: float | None
    untimed: int
    """Records without a time of their own."""


def describe(store: ProfileStore, tenant: str) -> list[KindCount]:
    """Every frame and kind with how many records and people it has, the most frequent first. Reads the whole table once."""
    when = sa.func.coalesce(evidence.c.time, evidence.c.received)
    people = sa.func.count(sa.distinct(evidence.c.subject))
    untimed = sa.func.count() - sa.func.count(evidence.c.time)
    query = (
        sa.select(evidence.c.frame, evidence.c.kind, sa.func.count(), people, sa.func.min(when), sa.func.max(when), untimed)
        .where(evidence.c.tenant == check_tenant(tenant))
        .group_by(evidence.c.frame, evidence.c.kind)
    )
    with store.db.read(tenant) as connection:
        found = [KindCount(*row) for row in connection.execute(query)]
    return sorted(found, key=lambda one: (-one.records, one.frame, one.kind or ""))
