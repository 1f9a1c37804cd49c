"""What an event of each kind counts, per tenant: 3 for a purchase, 1 for a view, 0 for a dislike."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sartor.errors import BadValue
from sartor.profile.audit import Audit
from sartor.profile.names import check_tenant
from sartor.profile.schema import tenants
from sartor.profile.tenancy import add_tenant

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore

DEFAULT: Mapping[str, float] = {"dislike": 0.0, "hide": 0.0, "return": 0.0}
"""What names a rejection teaches nothing; every other kind counts 1."""
HEAVIEST = 1_000.0
MOST = 200
"""Kinds of a tenant that may have a weight."""


def weights(store: ProfileStore, tenant: str) -> dict[str, float]:
    """What events of a kind count; those not named count 1. An event's own weight, where it has one, is multiplied by it."""
    return dict(DEFAULT) if (found := own(store, tenant)) is None else found


def own(store: ProfileStore, tenant: str) -> dict[str, float] | None:
    """What the tenant has set, None: nothing."""
    with store.db.read(check_tenant(tenant)) as connection:
        text = connection.execute(_READ, {"tenant": tenant}).scalar()
    return None if text is None else {kind: float(weight) for kind, weight in json.loads(text).items()}


def put(store: ProfileStore, tenant: str, given: Mapping[str, float] | None) -> None:
    """Replace all of a tenant's weights; None goes back to the default. Marks everybody stale when anything changes.

    Raises `BadValue` for weights that are no finite numbers from 0 to `HEAVIEST`, for kinds that no event can have, and for more than `MOST`.
    """
    tenant = check_tenant(tenant)
    if given is not None:
        if len(given) > MOST:
            raise BadValue(f"{len(given)} kinds have weights", fix=f"give at most {MOST}; those not named count 1")
        for kind, weight in given.items():
            if not (isinstance(kind, str) and 0 < len(kind) <= 100 and kind.isprintable()):
                raise BadValue("a kind is not a short word", fix="use the words of your events' `kind`, of at most 100 characters")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or not 0 <= weight <= HEAVIEST:
                raise BadValue(f"a weight is {weight!r}", fix=f"give a number from 0 (teaches nothing) to {HEAVIEST:g}", kind=kind)
    before = weights(store, tenant)
    text = None if given is None else json.dumps({kind: float(given[kind]) for kind in sorted(given)})
    with store.db.write(tenant) as connection:
        add_tenant(store.db, connection, tenant)
        connection.execute(tenants.update().where(tenants.c.tenant == tenant).values(kinds=text))
        Audit(store.db, store.keyring).write(connection, tenant, "kinds", None, {"weights": given})
    if weights(store, tenant) != before:
        store.mark_stale(tenant, None)


_READ = sa.select(tenants.c.kinds).where(tenants.c.tenant == sa.bindparam("tenant"))
