"""API keys: 256 random bits each, kept only as a keyed hash."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from sartor.errors import AccessDenied, ConfigError, StoreProblem, UnknownId
from sartor.profile.audit import Audit
from sartor.profile.database import Database
from sartor.profile.keyring import Keyring
from sartor.profile.names import check_name, check_tenant
from sartor.profile.records import KeyCard
from sartor.profile.schema import api_keys
from sartor.profile.tenancy import People, next_position

PREFIX = "sk_sartor_"
SCOPES = ("read", "write", "profile", "erase", "models", "admin")
_MINUTE = 60.0


class Access:
    """Makes, checks and revokes keys."""

    def __init__(self, db: Database, keyring: Keyring, audit: Audit) -> None:
        self.db, self.keyring, self.people, self.audit = db, keyring, People(db, keyring), audit

    def create(self, tenant: str, *, label: str, scopes: Collection[str], person: str | None, expires: float | None) -> tuple[KeyCard, str]:
        """See `ProfileStore.create_key`."""
        tenant = check_tenant(tenant)
        if unknown := set(scopes) - set(SCOPES):
            raise ConfigError(f"{sorted(unknown)} are no scopes", fix=f"scopes are {', '.join(SCOPES)}")
        if not scopes:
            raise ConfigError("a key without scopes allows nothing", fix=f"scopes are {', '.join(SCOPES)}")
        secret = PREFIX + base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
        now = time.time()
        subject, ident = None, os.urandom(8).hex()
        row = {"tenant": tenant, "id": ident, "hash": self.keyring.api_hash(secret), "label": label[:200], "scopes": json.dumps(sorted(scopes))}
        with self.db.write(tenant) as connection:
            if person is not None:
                person = check_name(person, "person")
                next_position(self.db, connection, tenant)
                subject = self.people.known_or_new(connection, tenant, person).subject
            connection.execute(api_keys.insert(), [{**row, "subject": subject, "created": now, "expires": expires}])
            self.audit.write(connection, tenant, "key created", subject, {"id": ident, "scopes": sorted(scopes)})
        return KeyCard(ident, tenant, label[:200], frozenset(scopes), person, now, expires), secret

    def check(self, secret: str) -> KeyCard:
        """See `ProfileStore.check_key`."""
        denied = AccessDenied("this key is not known, not valid any more, or revoked", fix="ask for a new one")
        if not isinstance(secret, str) or not secret.startswith(PREFIX) or len(secret) > 100 or not secret.isascii():
            raise denied
        found, now = self.keyring.api_hash(secret), time.time()
        with self.db.find_key(found) as connection:
            # Found by an index on a keyed hash: how long that takes says nothing about the secret.
            row = connection.execute(sa.select(api_keys).where(api_keys.c.hash == found)).first()
        if row is None or row.revoked is not None or (row.expires is not None and row.expires <= now):
            raise denied
        person = None
        if row.subject is not None:
            with self.db.read(row.tenant) as connection:
                person = self.people.names(connection, row.tenant, [row.subject]).get(row.subject)
            if person is None:
                raise denied
        if row.used is None or abs(now - row.used) > _MINUTE:
            # A full disk or a busy database must not lock out who only wants to read.
            with suppress(StoreProblem), self.db.write(row.tenant, durable=False) as connection:
                connection.execute(api_keys.update().where(api_keys.c.tenant == row.tenant, api_keys.c.id == row.id).values(used=now))
        return _card(row, person)

    def cards(self, tenant: str) -> list[KeyCard]:
        """Oldest first, revoked ones too."""
        with self.db.read(tenant, snapshot=True) as connection:
            rows = connection.execute(sa.select(api_keys).where(api_keys.c.tenant == tenant).order_by(api_keys.c.created)).all()
            names = self.people.names(connection, tenant, [row.subject for row in rows if row.subject is not None])
        return [_card(row, names.get(row.subject)) for row in rows]

    def revoke(self, tenant: str, key: str) -> None:
        """From now on it opens nothing."""
        here = (api_keys.c.tenant == tenant, api_keys.c.id == key)
        with self.db.write(tenant) as connection:
            if not connection.execute(api_keys.update().where(*here, api_keys.c.revoked.is_(None)).values(revoked=time.time())).rowcount:
                if connection.execute(sa.select(api_keys.c.id).where(*here)).first() is None:
                    raise UnknownId("there is no such key", fix="see keys()", key=key)
                return
            self.audit.write(connection, tenant, "key revoked", None, {"id": key})


def _card(row: Any, person: str | None) -> KeyCard:
    return KeyCard(row.id, row.tenant, row.label, frozenset(json.loads(row.scopes)), person, row.created, row.expires, row.used, row.revoked)
