"""Tenants, and the people of a tenant with their keys."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from sartor.errors import StoreProblem, UnknownId
from sartor.profile.database import Database
from sartor.profile.keyring import Keyring, PersonKey
from sartor.profile.names import check_name
from sartor.profile.schema import keyring, people, tenants

CHUNK = 400
"""People asked for in one query."""


def add_tenant(db: Database, connection: sa.Connection, tenant: str) -> None:
    """Make a tenant's row when there is none; the first writer does that."""
    row = {"tenant": tenant, "position": 0, "epoch": 0, "items_version": 0, "models_version": 0, "audited": 0, "created": time.time()}
    connection.execute(db.insert(tenants).values(row).on_conflict_do_nothing())


def next_position(db: Database, connection: sa.Connection, tenant: str, count: int = 1) -> tuple[int, int]:
    """Take `count` positions of a tenant: the first of them, and the tenant's epoch of keys.

    The row stays locked until the transaction ends, so that positions become visible in their order: whoever has read up to a position
    never finds a smaller one later.
    """
    move = (
        tenants.update().where(tenants.c.tenant == tenant).values(position=tenants.c.position + count).returning(tenants.c.position, tenants.c.epoch)
    )
    row = connection.execute(move).first()
    if row is None:
        add_tenant(db, connection, tenant)
        row = connection.execute(move).one()
    return row.position - count + 1, row.epoch


def chunks(values: Iterable[Any], size: int = CHUNK) -> Iterator[list[Any]]:
    """Lists of at most `size`."""
    values = list(values)
    return (values[start : start + size] for start in range(0, len(values), size))


class People:
    """Who is known, under which key."""

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self.db, self.keyring = db, keyring

    def keys(self, connection: sa.Connection, tenant: str, subjects: Iterable[bytes]) -> dict[bytes, PersonKey]:
        """Keys of those who are known, read from the database."""
        found = {}
        for part in chunks(subjects):
            rows = connection.execute(sa.select(people.c.subject, people.c.wrapped).where(people.c.tenant == tenant, people.c.subject.in_(part)))
            for subject, wrapped in rows:
                found[subject] = self.keyring.person(tenant, subject, wrapped)
        return found

    def key(self, connection: sa.Connection, tenant: str, subject: bytes) -> PersonKey | None:
        """One person's key, None when she is not known."""
        wrapped = connection.execute(sa.select(people.c.wrapped).where(people.c.tenant == tenant, people.c.subject == subject)).scalar()
        return None if wrapped is None else self.keyring.person(tenant, subject, wrapped)

    def known(self, connection: sa.Connection, tenant: str, person: str) -> PersonKey:
        """The same by id; raises `UnknownId`."""
        key = self.key(connection, tenant, self.keyring.subject(tenant, person))
        if key is None:
            raise UnknownId("nothing is known of this person", fix="give evidence first")
        return key

    def insert(self, connection: sa.Connection, tenant: str, keys: Mapping[str, PersonKey], born: int) -> None:
        """Add new people, by id; the only place that does.

        A process that still runs under an old master key must not: nobody could open what it wraps.
        """
        root = connection.execute(sa.select(keyring.c.wrapped).where(keyring.c.id == 1).with_for_update(read=True)).scalar()
        if root != self.keyring.sealed_root:
            raise StoreProblem("the master key was changed", fix="start this process again with the new key")
        for key in keys.values():
            # Made before this process itself changed the master key: what the old one wraps would be lost with it.
            self.keyring.unwrap(tenant, key.subject, key.wrapped)
        now = time.time()
        rows = [(tenant, key.subject, key.wrapped, key.seal("people", name.encode()), born, now) for name, key in keys.items()]
        self.db.insert_many(connection, people, ("tenant", "subject", "wrapped", "name", "born", "made"), rows)

    def known_or_new(self, connection: sa.Connection, tenant: str, person: str) -> PersonKey:
        """One person's key, made when she is new. The caller's transaction must hold the tenant's row (`next_position`)."""
        subject = self.keyring.subject(tenant, person)
        key = self.key(connection, tenant, subject)
        if key is None:
            key = self.keyring.new(tenant, subject)
            born = connection.execute(sa.select(tenants.c.position).where(tenants.c.tenant == tenant)).scalar_one()
            self.insert(connection, tenant, {person: key}, born)
        return key

    def names(self, connection: sa.Connection, tenant: str, subjects: Iterable[bytes]) -> dict[bytes, str]:
        """Ids of those who are still known."""
        found = {}
        for part in chunks(subjects):
            query = sa.select(people.c.subject, people.c.wrapped, people.c.name).where(people.c.tenant == tenant, people.c.subject.in_(part))
            for subject, wrapped, name in connection.execute(query):
                found[subject] = self.keyring.person(tenant, subject, wrapped).open("people", name).decode()
        return found

    def subjects(self, tenant: str, persons: Sequence[str]) -> dict[bytes, str]:
        """Ids by what stands for them."""
        return {self.keyring.subject(tenant, name): name for name in (check_name(person, "person") for person in persons)}
