"""One person's data key: a new one, and everything of hers encrypted with it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sartor.errors import UnknownId
from sartor.profile.audit import Audit
from sartor.profile.files import empty_log
from sartor.profile.keyring import PersonKey
from sartor.profile.names import check_name, check_tenant
from sartor.profile.schema import consents, evidence, people, states
from sartor.profile.tenancy import next_position

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore


@dataclass(frozen=True)
class Rotation:
    """What a change of keys did."""

    keys: int
    """Data keys that were wrapped anew."""
    records: int
    """Rows that were encrypted anew."""
    seconds: float
    resumed: bool = False
    """Some of it was left from a call that had been interrupted."""


def rotate_person(store: ProfileStore, tenant: str, person: str) -> Rotation:
    """Give one person a new data key and encrypt everything of hers with it; all or nothing. Raises `UnknownId` for somebody unknown."""
    start = time.perf_counter()
    tenant, person = check_tenant(tenant), check_name(person, "person")
    subject = store.keyring.subject(tenant, person)
    fresh, files = store.keyring.new(tenant, subject), list[str]()
    written: list[str] = []
    try:
        with store.db.write(tenant) as connection:
            next_position(store.db, connection, tenant)
            store.db.bump_epoch(connection, tenant)
            hers = sa.select(people.c.wrapped).where(people.c.tenant == tenant, people.c.subject == subject)
            row = connection.execute(hers.with_for_update()).first()
            if row is None:
                raise UnknownId("nothing is known of this person", fix="there is no key to change")
            held = PersonKey(tenant, subject, store.keyring.unwrap(tenant, subject, bytes(row.wrapped)), bytes(row.wrapped))
            count = _evidence(connection, tenant, held, fresh) + _consents(connection, tenant, held, fresh)
            count += _states(store, connection, tenant, held, fresh, files, written)
            name = fresh.seal("people", person.encode())
            mine = people.update().where(people.c.tenant == tenant, people.c.subject == subject)
            connection.execute(mine.values(wrapped=fresh.wrapped, wrapped_next=None, name=name))
            Audit(store.db, store.keyring).write(connection, tenant, "data key changed", subject, {"rows": count})
    except BaseException:
        for file in written:
            with suppress(OSError):
                store.blobs.delete(file)
        raise
    store.keyring.drop(tenant, subject)
    for file in files:
        store.blobs.delete(file)
    empty_log(store)
    return Rotation(1, count, time.perf_counter() - start)


def _mine(table: sa.Table, tenant: str, key: PersonKey) -> tuple[Any, ...]:
    return table.c.tenant == tenant, table.c.subject == key.subject


def _evidence(connection: sa.Connection, tenant: str, old: PersonKey, new: PersonKey) -> int:
    update = (
        evidence.update()
        .where(evidence.c.tenant == tenant, evidence.c.position == sa.bindparam("p"))
        .values(data=sa.bindparam("d"), rid=sa.bindparam("r"))
    )
    opened = old.opener("evidence")
    rows = []
    for position, data in connection.execute(sa.select(evidence.c.position, evidence.c.data).where(*_mine(evidence, tenant, old))):
        plain = opened(data)
        rows.append({"p": position, "d": new.seal("evidence", plain), "r": new.record_id(json.loads(plain)["id"])})
    if rows:
        connection.execute(update, rows)
    return len(rows)


def _consents(connection: sa.Connection, tenant: str, old: PersonKey, new: PersonKey) -> int:
    update = consents.update().where(*_mine(consents, tenant, old), consents.c.purpose == sa.bindparam("u"), consents.c.position == sa.bindparam("p"))
    query = sa.select(consents.c.purpose, consents.c.position, consents.c.data).where(*_mine(consents, tenant, old))
    rows = [
        {"u": purpose, "p": position, "d": new.seal("consents", old.open("consents", data))} for purpose, position, data in connection.execute(query)
    ]
    if rows:
        connection.execute(update.values(data=sa.bindparam("d")), rows)
    return len(rows)


def _states(store: ProfileStore, connection: sa.Connection, tenant: str, old: PersonKey, new: PersonKey, files: list[str], written: list[str]) -> int:
    """Files of the old key are noted in `files`, those that were written in `written`."""
    query = sa.select(states.c.verb, states.c.version, states.c.data, states.c.file).where(*_mine(states, tenant, old))
    rows = []
    for verb, version, data, file in connection.execute(query).all():
        sealed = new.seal("states", old.open("states", store.blobs.get(file) if file else data))
        name = None
        if file:
            name = store.blobs.put(sealed)
            files.append(file)
            written.append(name)
        rows.append({"v": verb, "n": version, "d": None if name else sealed, "f": name})
    update = states.update().where(*_mine(states, tenant, old), states.c.verb == sa.bindparam("v"), states.c.version == sa.bindparam("n"))
    if rows:
        connection.execute(update.values(data=sa.bindparam("d"), file=sa.bindparam("f")), rows)
    return len(rows)
