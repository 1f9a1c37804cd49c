"""What people agree to, per purpose. Nothing is overwritten: the newest word counts, the older ones stay as proof."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from sartor.errors import ConfigError
from sartor.profile.append import mark
from sartor.profile.audit import Audit
from sartor.profile.database import Database
from sartor.profile.keyring import Keyring
from sartor.profile.names import check_name, check_tenant
from sartor.profile.records import GRANTED, PURPOSES, Consent
from sartor.profile.schema import consents, tenants
from sartor.profile.tenancy import People, add_tenant, chunks, next_position

OWN_WORD = frozenset({"recognize"})
"""Verbs whose people are compared from memory: of every change of who takes part, and with which state, there is evidence or a line in the log."""


class Consents:
    """Writes and reads consent."""

    def __init__(self, db: Database, keyring: Keyring, audit: Audit) -> None:
        self.db, self.keyring, self.people, self.audit = db, keyring, People(db, keyring), audit

    def put(self, tenant: str, person: str, purpose: str, granted: bool, *, text: str, version: str, source: str) -> None:
        """See `ProfileStore.consent`."""
        self.put_all(tenant, person, [Consent(purpose, granted, time.time(), text, version, source)])

    def put_all(self, tenant: str, person: str, said: Sequence[Consent]) -> None:
        """Several answers in their order, all or none."""
        for one in said:
            _check(one.purpose)
        tenant, person, now = check_tenant(tenant), check_name(person, "person"), time.time()
        if not said:
            return
        with self.db.write(tenant) as connection:
            first, _ = next_position(self.db, connection, tenant, len(said))
            key = self.people.known_or_new(connection, tenant, person)
            for position, one in enumerate(said, first):
                data = key.seal("consents", json.dumps({"text": one.text, "version": one.version, "source": one.source}).encode())
                row = {"tenant": tenant, "subject": key.subject, "purpose": one.purpose, "position": position, "granted": bool(one.granted)}
                connection.execute(consents.insert(), [{**row, "time": now if one.time is None else one.time, "data": data}])
                detail = {"purpose": one.purpose, "granted": bool(one.granted), "version": one.version}
                self.audit.write(connection, tenant, "consent", key.subject, detail)
            # What may be read has changed, so her states are to be made again.
            mark(self.db, connection, tenant, {key.subject: position}, now)

    def of_person(self, tenant: str, person: str) -> dict[str, Consent]:
        """For every purpose what holds now."""
        subject = self.keyring.subject(tenant, check_name(person, "person"))
        with self.db.read(tenant, snapshot=True) as connection:
            return self.of(connection, tenant, subject)

    def of(self, connection: sa.Connection, tenant: str, subject: bytes) -> dict[str, Consent]:
        """The same inside somebody's transaction."""
        defaults = self.defaults(connection, tenant)
        found = {purpose: Consent(purpose, purpose in defaults, default=True) for purpose in PURPOSES}
        for one in self.history(connection, tenant, subject):
            found[one.purpose] = one
        return found

    def history(self, connection: sa.Connection, tenant: str, subject: bytes) -> list[Consent]:
        """All a person ever said, oldest first."""
        query = sa.select(consents).where(consents.c.tenant == tenant, consents.c.subject == subject).order_by(consents.c.position)
        rows = connection.execute(query).all()
        key = self.people.key(connection, tenant, subject) if rows else None
        if key is None:
            return []
        words: Any = (json.loads(key.open("consents", row.data)) for row in rows)
        return [
            Consent(row.purpose, bool(row.granted), row.time, said["text"], said["version"], said["source"])
            for row, said in zip(rows, words, strict=True)
        ]

    def allowed(self, tenant: str, person: str, purpose: str) -> bool:
        """Whether a purpose is allowed now."""
        _check(purpose)
        subject = self.keyring.subject(tenant, check_name(person, "person"))
        with self.db.read(tenant) as connection:
            return self.granted(connection, tenant, subject, purpose)

    def granted(self, connection: sa.Connection, tenant: str, subject: bytes, purpose: str) -> bool:
        """The same inside somebody's transaction."""
        said = connection.execute(
            sa.select(consents.c.granted)
            .where(consents.c.tenant == tenant, consents.c.subject == subject, consents.c.purpose == purpose)
            .order_by(consents.c.position.desc())
            .limit(1)
        ).scalar()
        return purpose in self.defaults(connection, tenant) if said is None else bool(said)

    def who(self, connection: sa.Connection, tenant: str, subjects: Iterable[bytes], purpose: str) -> list[bytes]:
        """Those of many who allow a purpose, in the order given."""
        subjects = list(subjects)
        default, said = purpose in self.defaults(connection, tenant), self.said(connection, tenant, subjects, purpose)
        return [subject for subject in subjects if said.get(subject, default)]

    def said(self, connection: sa.Connection, tenant: str, subjects: Iterable[bytes], purpose: str) -> dict[bytes, bool]:
        """What they said of a purpose themselves, last; without those who said nothing."""
        found: dict[bytes, bool] = {}
        for part in chunks(subjects):
            query = sa.select(consents.c.subject, consents.c.granted).where(
                consents.c.tenant == tenant, consents.c.subject.in_(part), consents.c.purpose == purpose
            )
            for subject, granted in connection.execute(query.order_by(consents.c.position)):
                found[subject] = bool(granted)
        return found

    def all_of(self, connection: sa.Connection, tenant: str, subjects: Iterable[bytes]) -> dict[bytes, dict[str, bool]]:
        """For each of many people whether each purpose is allowed now."""
        assumed = self.defaults(connection, tenant)
        found = {subject: {purpose: purpose in assumed for purpose in PURPOSES} for subject in subjects}
        for part in chunks(found):
            said = sa.select(consents.c.subject, consents.c.purpose, consents.c.granted).where(
                consents.c.tenant == tenant, consents.c.subject.in_(part)
            )
            for subject, purpose, granted in connection.execute(said.order_by(consents.c.position)):
                found[subject][purpose] = bool(granted)
        return found

    def defaults(self, connection: sa.Connection, tenant: str) -> frozenset[str]:
        """What a tenant's people are taken to agree to."""
        text = connection.execute(sa.select(tenants.c.consents).where(tenants.c.tenant == tenant)).scalar()
        return GRANTED if text is None else frozenset(json.loads(text))

    def set_defaults(self, tenant: str, purposes: Collection[str]) -> None:
        """See `ProfileStore.set_default_consent`."""
        for purpose in purposes:
            _check(purpose)
        tenant = check_tenant(tenant)
        with self.db.write(tenant) as connection:
            add_tenant(self.db, connection, tenant)
            connection.execute(tenants.update().where(tenants.c.tenant == tenant).values(consents=json.dumps(sorted(purposes))))
            self.audit.write(connection, tenant, "default consent", None, {"purposes": sorted(purposes)})


def _check(purpose: str) -> None:
    if purpose not in PURPOSES:
        raise ConfigError("this purpose is unknown", fix=f"purposes are {', '.join(PURPOSES)}")
