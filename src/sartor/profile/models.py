"""Which fitted models there are, which one serves, and whose evidence they were fitted on."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable
from typing import Any, get_args

import sqlalchemy as sa

from sartor.errors import ConfigError, UnknownId
from sartor.profile.audit import Audit
from sartor.profile.database import EVERY_TENANT, Database
from sartor.profile.keyring import Keyring
from sartor.profile.names import check_tenant
from sartor.profile.records import ModelCard, ModelStatus
from sartor.profile.schema import members, models, people, states, tenants
from sartor.profile.states import check_verb
from sartor.profile.tenancy import People, add_tenant, chunks


class ModelTable:
    """Writes and reads model cards."""

    def __init__(self, db: Database, keyring: Keyring, audit: Audit) -> None:
        self.db, self.people, self.audit = db, People(db, keyring), audit

    def put(self, tenant: str, verb: str, model: ModelCard) -> None:
        """See `ProfileStore.put_model`."""
        tenant, verb = check_tenant(tenant), check_verb(verb)
        if model.status not in get_args(ModelStatus):
            raise ConfigError(f"'{model.status}' is no status of a model", fix=f"use one of {', '.join(get_args(ModelStatus))}")
        row = dataclasses.asdict(model) | {
            "tenant": tenant,
            "verb": verb,
            "report": json.dumps(dict(model.report)),
            "made": model.made or time.time(),
        }
        row = {name: int(value) if name in ("people", "position") else value for name, value in row.items()}
        with self.db.write(tenant) as connection:
            if model.status == "active":
                self._retire(connection, tenant, verb, model.fingerprint)
            insert = self.db.insert(models).values(row)
            changed = {name: value for name, value in row.items() if name not in ("tenant", "verb", "fingerprint")}
            connection.execute(insert.on_conflict_do_update(index_elements=["tenant", "verb", "fingerprint"], set_=changed))
            self._changed(connection, tenant)

    def cards(self, tenant: str, verb: str | None) -> list[ModelCard]:
        """Newest first."""
        query = sa.select(models).where(models.c.tenant == tenant).order_by(models.c.made.desc(), models.c.fingerprint)
        if verb is not None:
            query = query.where(models.c.verb == verb)
        with self.db.read(tenant) as connection:
            return [_card(row) for row in connection.execute(query)]

    def active(self, tenant: str, verb: str) -> ModelCard | None:
        """The one that serves."""
        query = sa.select(models).where(models.c.tenant == tenant, models.c.verb == verb, models.c.status == "active")
        with self.db.read(tenant) as connection:
            row = connection.execute(query).first()
            return None if row is None else _card(row)

    def activate(self, tenant: str, verb: str, fingerprint: str) -> ModelCard:
        """See `ProfileStore.activate`."""
        here = (models.c.tenant == tenant, models.c.verb == verb)
        with self.db.write(tenant) as connection:
            self._retire(connection, tenant, verb, fingerprint)
            moved = models.update().where(*here, models.c.fingerprint == fingerprint).values(status="active", switched=time.time())
            if not connection.execute(moved).rowcount:
                raise UnknownId("there is no such model", fix="see models()", model=fingerprint)
            self._changed(connection, tenant)
            self.audit.write(connection, tenant, "model activated", None, {"verb": verb, "model": fingerprint})
            return _card(connection.execute(sa.select(models).where(*here, models.c.fingerprint == fingerprint)).one())

    def version(self, tenant: str) -> int:
        """Changes whenever a card does."""
        with self.db.read(tenant) as connection:
            return connection.execute(sa.select(tenants.c.models_version).where(tenants.c.tenant == tenant)).scalar() or 0

    def note_members(self, tenant: str, model: str, persons: Iterable[str]) -> int:
        """See `ProfileStore.note_members`."""
        subjects = list(self.people.subjects(tenant, list(persons)))
        insert = self.db.insert(members).on_conflict_do_nothing()
        with self.db.write(tenant) as connection:
            known: list[bytes] = []
            for part in chunks(subjects):
                query = sa.select(people.c.subject).where(people.c.tenant == tenant, people.c.subject.in_(part))
                known += connection.execute(query.order_by(people.c.subject).with_for_update(read=True)).scalars()
            if known:
                connection.execute(insert, [{"tenant": tenant, "model": model, "subject": subject} for subject in known])
        return len(known)

    def members(self, tenant: str, model: str) -> list[str]:
        """Those whose evidence a model was fitted on, as far as they are still known."""
        query = sa.select(members.c.subject).where(members.c.tenant == tenant, members.c.model == model)
        with self.db.read(tenant, snapshot=True) as connection:
            return sorted(self.people.names(connection, tenant, connection.execute(query).scalars()).values())

    def seen_by(self, tenant: str, subject: bytes) -> list[str]:
        """Models that were fitted on a person's evidence."""
        query = sa.select(members.c.model).where(members.c.tenant == tenant, members.c.subject == subject)
        with self.db.read(tenant) as connection:
            return sorted(connection.execute(query).scalars())

    def references(self) -> set[str]:
        """See `ProfileStore.model_references`."""
        serving = models.c.status.in_(("preparing", "candidate", "active"))
        found: set[str] = set()
        with self.db.read(EVERY_TENANT) as connection:
            names = list(connection.execute(sa.select(tenants.c.tenant)).scalars())
            found |= set(connection.execute(sa.select(models.c.fingerprint).where(serving)).scalars())
        for tenant in names:
            with self.db.read(tenant) as connection:
                found |= set(connection.execute(sa.select(states.c.model).where(states.c.tenant == tenant).distinct()).scalars())
        return found

    def drop(self, fingerprint: str) -> None:
        """See `ProfileStore.drop_model`."""
        with self.db.read(EVERY_TENANT) as connection:
            names = list(connection.execute(sa.select(tenants.c.tenant)).scalars())
        for tenant in names:
            with self.db.write(tenant) as connection:
                unused = models.c.status.in_(("retired", "refused"))
                connection.execute(models.delete().where(models.c.tenant == tenant, models.c.fingerprint == fingerprint, unused))
                connection.execute(members.delete().where(members.c.tenant == tenant, members.c.model == fingerprint))
                self._changed(connection, tenant)

    def _retire(self, connection: sa.Connection, tenant: str, verb: str, but: str) -> None:
        others = (models.c.tenant == tenant, models.c.verb == verb, models.c.status == "active", models.c.fingerprint != but)
        connection.execute(models.update().where(*others).values(status="retired"))

    def _changed(self, connection: sa.Connection, tenant: str) -> None:
        add_tenant(self.db, connection, tenant)
        connection.execute(tenants.update().where(tenants.c.tenant == tenant).values(models_version=tenants.c.models_version + 1))


def _card(row: Any) -> ModelCard:
    values = dict(row._mapping)
    return ModelCard(**{**values, "report": json.loads(values["report"])})
