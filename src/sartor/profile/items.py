"""The catalogue: attributes of items, for filters, rules and titles. Nothing personal, nothing encrypted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sartor.errors import BadValue
from sartor.profile.audit import Audit
from sartor.profile.database import Database
from sartor.profile.names import check_name, check_tenant
from sartor.profile.schema import items, tenants
from sartor.profile.tenancy import add_tenant, chunks

if TYPE_CHECKING:
    import polars as pl


MOST_COLUMNS = 500
"""Attributes that a catalogue is read with, those that most items have: every one is a column as long as the catalogue."""


GONE = "null"
"""Attributes of a deleted item: a model may know it for long, so its id stays, and is never shown until it is put again."""


class Items:
    """Writes and reads items."""

    def __init__(self, db: Database, audit: Audit) -> None:
        self.db, self.audit = db, audit

    def put(self, tenant: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """See `ProfileStore.put_items`."""
        tenant = check_tenant(tenant)
        ready: dict[str, dict[str, Any]] = {}
        for number, row in enumerate(rows):
            if "item" not in row:
                raise BadValue("an item has no id", fix="give 'item'", row=number)
            name, hidden = check_name(row["item"], "item"), row.get("hidden", False)
            if not isinstance(hidden, bool):
                raise BadValue("hidden is neither true nor false", fix="give a boolean", row=number)
            try:
                attributes = json.dumps({k: v for k, v in row.items() if k not in ("item", "hidden")}, ensure_ascii=False, allow_nan=False)
            except (TypeError, ValueError) as cause:
                raise BadValue("the attributes of an item are not JSON", fix="use text, finite numbers and lists", row=number) from cause
            ready[name] = {"tenant": tenant, "item": name, "hidden": hidden, "attributes": attributes}
        if not ready:
            return 0
        insert = self.db.insert(items)
        set_ = {"hidden": insert.excluded.hidden, "attributes": insert.excluded.attributes}
        with self.db.write(tenant) as connection:
            self._changed(connection, tenant)
            connection.execute(insert.on_conflict_do_update(index_elements=["tenant", "item"], set_=set_), list(ready.values()))
            self.audit.count(connection, tenant, "items put", len(ready))
        return len(ready)

    def get(self, tenant: str, ids: Iterable[Any]) -> pl.DataFrame:
        """Some items, those that there are."""
        names = [check_name(one, "item") for one in ids]
        with self.db.read(tenant, snapshot=True) as connection:
            return _frame([row for part in chunks(names) for row in connection.execute(_all(tenant).where(items.c.item.in_(part)))])

    def page(self, tenant: str, *, after: str, limit: int | None, query: str | None) -> pl.DataFrame:
        """See `ProfileStore.items`."""
        wanted = _all(tenant).where(items.c.item > after)
        with self.db.read(tenant, snapshot=True) as connection:
            if not query:
                return _frame(connection.execute(wanted.limit(limit)).all())
            # Looked for here, since databases do not agree on case beyond ASCII.
            found = (row for row in connection.execute(wanted) if _holds(row, query.casefold()))
            return _frame(list(islice(found, limit)))

    def hide(self, tenant: str, ids: Iterable[Any], hidden: bool) -> int:
        """Hide or show items; how many there were."""
        names = [check_name(one, "item") for one in ids]
        with self.db.write(tenant) as connection:
            self._changed(connection, tenant)
            there = items.update().where(items.c.tenant == tenant, items.c.attributes != GONE)
            count = sum(connection.execute(there.where(items.c.item.in_(part)).values(hidden=hidden)).rowcount for part in chunks(names))
            self.audit.count(connection, tenant, "items hidden" if hidden else "items shown", count)
            return count

    def delete(self, tenant: str, ids: Iterable[Any]) -> int:
        """See `ProfileStore.delete_items`."""
        names = [check_name(one, "item") for one in ids]
        with self.db.write(tenant) as connection:
            self._changed(connection, tenant)
            there = items.update().where(items.c.tenant == tenant, items.c.attributes != GONE).values(hidden=True, attributes=GONE)
            count = sum(connection.execute(there.where(items.c.item.in_(part))).rowcount for part in chunks(names))
            self.audit.count(connection, tenant, "items deleted", count)
            return count

    def hidden(self, tenant: str) -> frozenset[str]:
        """See `ProfileStore.hidden_items`."""
        with self.db.read(tenant) as connection:
            return frozenset(connection.execute(sa.select(items.c.item).where(items.c.tenant == tenant, items.c.hidden)).scalars())

    def version(self, tenant: str) -> int:
        """Changes whenever the catalogue does."""
        with self.db.read(tenant) as connection:
            return connection.execute(sa.select(tenants.c.items_version).where(tenants.c.tenant == tenant)).scalar() or 0

    def _changed(self, connection: sa.Connection, tenant: str) -> None:
        add_tenant(self.db, connection, tenant)
        connection.execute(tenants.update().where(tenants.c.tenant == tenant).values(items_version=tenants.c.items_version + 1))


def _all(tenant: str) -> sa.Select[Any]:
    return (
        sa.select(items.c.item, items.c.hidden, items.c.attributes).where(items.c.tenant == tenant, items.c.attributes != GONE).order_by(items.c.item)
    )


def _holds(row: Any, text: str) -> bool:
    return text in row.item.casefold() or text in str(json.loads(row.attributes).get("title", "")).casefold()


def _frame(rows: Sequence[Any]) -> pl.DataFrame:
    import polars as pl

    head = pl.DataFrame(
        {"item": [row.item for row in rows], "hidden": [bool(row.hidden) for row in rows]}, schema={"item": pl.String, "hidden": pl.Boolean}
    )
    attributes = [json.loads(row.attributes) for row in rows]
    names = Counter(name for one in attributes for name in one)
    columns = sorted(name for name, _ in sorted(names.items(), key=lambda one: (-one[1], one[0]))[:MOST_COLUMNS])
    return head.with_columns(_column(name, [one.get(name) for one in attributes]) for name in columns)


def _column(name: str, values: list[Any]) -> pl.Series:
    """One attribute of all items; kinds that do not go together become text."""
    import polars as pl

    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, pl.exceptions.PolarsError):
        if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
            return pl.Series(name, values, dtype=pl.Float64, strict=False)
        return pl.Series(name, [value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values])
