"""Personal states: every version is a row, the newest of a model is served, or the one that is held."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from sartor.errors import ConfigError, TooLarge, UnknownId, Unreadable
from sartor.method import State
from sartor.profile.audit import Audit
from sartor.profile.blobs import BIG, Blobs
from sartor.profile.consent import OWN_WORD, Consents
from sartor.profile.database import Database
from sartor.profile.keyring import Keyring, PersonKey
from sartor.profile.names import check_name
from sartor.profile.packing import pack
from sartor.profile.queue import clear
from sartor.profile.records import Claim, StateCard, StoredState
from sartor.profile.schema import holds, models, people, stale, states
from sartor.profile.stored import HEAD, READ, READ_MODEL, READ_VERSION, held_version, opened
from sartor.profile.tenancy import People, chunks, next_position
from sartor.profile.withdrawn import STATES_PUT

KEPT = 10
"""Versions of one person, verb and model; older ones go, except one that is held."""
LARGEST = 2**28


class States:
    """Writes and reads states."""

    def __init__(self, db: Database, keyring: Keyring, audit: Audit, blobs: Blobs, consents: Consents) -> None:
        self.db, self.keyring, self.people, self.audit, self.blobs, self.consents = db, keyring, People(db, keyring), audit, blobs, consents

    def put(
        self,
        tenant: str,
        verb: str,
        given: Mapping[str, State],
        *,
        model: str,
        positions: Mapping[str, int],
        claims: Collection[Claim] | None = None,
        clear_mark: bool = True,
        newest: Mapping[str, int] | None = None,
        agreed: str | None = None,
        beside: Callable[[Callable[[sa.Connection], bool]], object] | None = None,
    ) -> dict[str, StoredState]:
        """See `ProfileStore.put_states`; `beside` gives the transaction, and is told whether anything was written in it."""
        verb = check_verb(verb)
        subjects = self.people.subjects(tenant, list(given))
        encoded = {person: pack(state) for person, state in given.items()}
        if any(len(data) > LARGEST for data in encoded.values()):
            raise TooLarge(f"a state may have {LARGEST} bytes", fix="keep less of each person")
        tokens = None if claims is None else {self.keyring.subject(tenant, one.person): one.token for one in claims}
        names = dict(zip(subjects, given, strict=True))
        now = time.time()
        written: dict[str, StoredState] = {}
        gone: list[str] = []

        told = beside is None and verb in OWN_WORD
        """Whether the log tells other processes of it, since no evidence does."""

        def write(connection: sa.Connection) -> bool:
            if agreed is not None or told:
                next_position(self.db, connection, tenant, 0)  # the tenant's row first: nobody says yes or no meanwhile
            active = connection.execute(
                sa.select(models.c.fingerprint).where(models.c.tenant == tenant, models.c.verb == verb, models.c.status == "active")
            ).scalar()
            keys, born = self._locked(connection, tenant, subjects)
            if tokens is not None:
                claimed = self._claimed(connection, tenant, keys, tokens)
                keys = {subject: key for subject, key in keys.items() if subject in claimed}
            if agreed is not None:
                said = self.consents.said(connection, tenant, keys, agreed)
                keys = {subject: key for subject, key in keys.items() if said.get(subject)}
            before = self._versions(connection, tenant, keys, verb, model)
            rows: list[dict[str, Any]] = []
            for subject, key in keys.items():
                person, (version, seen, count) = names[subject], before.get(subject, (0, -1, 0))
                position = positions[person]
                if newest is not None and newest[person] != version:
                    continue
                if position < seen or position < born[subject]:
                    # Older than what is there, or adapted from what was forgotten before she was known again.
                    continue
                sealed = key.seal("states", encoded[person])
                file = self.blobs.put(sealed) if len(sealed) > BIG else None
                rows.append({
                    "tenant": tenant, "subject": subject, "verb": verb, "version": version + 1, "model": model, "position": position, "made": now,
                    "nbytes": len(encoded[person]), "restored_from": None, "data": None if file else sealed, "file": file,
                })  # fmt: skip
                written[person] = StoredState(verb, model, version + 1, position, now, len(encoded[person]), False, None, given[person])
                if count >= KEPT:
                    gone.extend(self._prune(connection, tenant, subject, verb, model))
            if rows:
                connection.execute(states.insert(), rows)
                if told:
                    self.audit.write(
                        connection, tenant, STATES_PUT, rows[0]["subject"] if len(rows) == 1 else None, {"verb": verb, "people": len(rows)}
                    )
            if clear_mark and active in (None, model):
                clear(connection, tenant, {row["subject"]: row["position"] for row in rows}, now)
            return bool(rows)

        if beside is not None:
            beside(write)
        else:
            with self.db.write(tenant, durable=False) as connection:
                write(connection)
        for file in gone:
            self.blobs.delete(file)
        return written

    def _locked(self, connection: sa.Connection, tenant: str, subjects: Iterable[bytes]) -> tuple[dict[bytes, PersonKey], dict[bytes, int]]:
        """Keys of those who are known, and since which position; until this transaction ends nobody else forgets them or puts a version."""
        keys, born = {}, {}
        for part in chunks(sorted(subjects)):
            query = sa.select(people.c.subject, people.c.wrapped, people.c.born).where(people.c.tenant == tenant, people.c.subject.in_(part))
            for subject, wrapped, since in connection.execute(query.order_by(people.c.subject).with_for_update()):
                keys[subject], born[subject] = self.keyring.person(tenant, subject, wrapped), since
        return keys, born

    def _claimed(self, connection: sa.Connection, tenant: str, subjects: Iterable[bytes], tokens: Mapping[bytes, str]) -> set[bytes]:
        """Those whose mark is still the one that was claimed."""
        found = set()
        for part in chunks(subjects):
            rows = connection.execute(sa.select(stale.c.subject, stale.c.token).where(stale.c.tenant == tenant, stale.c.subject.in_(part)))
            found |= {subject for subject, token in rows if tokens.get(subject) == token}
        return found

    def _versions(
        self, connection: sa.Connection, tenant: str, subjects: Iterable[bytes], verb: str, model: str
    ) -> dict[bytes, tuple[int, int, int]]:
        """Newest version over all models, newest position of this model and how many versions of it, of those who have any."""
        own = states.c.model == model
        found: dict[bytes, tuple[int, int, int]] = {}
        for part in chunks(subjects):
            query = (
                sa.select(
                    states.c.subject, sa.func.max(states.c.version), sa.func.max(sa.case((own, states.c.position), else_=-1)),
                    sa.func.sum(sa.case((own, 1), else_=0)),
                )
                .where(states.c.tenant == tenant, states.c.subject.in_(part), states.c.verb == verb)
                .group_by(states.c.subject)
            )  # fmt: skip
            found |= {subject: (version, seen, int(count)) for subject, version, seen, count in connection.execute(query)}
        return found

    def _prune(self, connection: sa.Connection, tenant: str, subject: bytes, verb: str, model: str) -> list[str]:
        """Delete the oldest versions, so that one more fits; files to delete afterwards."""
        here = (states.c.tenant == tenant, states.c.subject == subject, states.c.verb == verb, states.c.model == model)
        keep = sa.select(states.c.version).where(*here).order_by(states.c.version.desc()).limit(KEPT - 1)
        held = sa.select(holds.c.version).where(holds.c.tenant == tenant, holds.c.subject == subject, holds.c.verb == verb)
        old = (*here, states.c.version.not_in(keep), states.c.version.not_in(held))
        return self._delete(connection, *old)[1]

    def get(self, tenant: str, person: str, verb: str, *, version: int | None, model: str | None) -> StoredState | None:
        """See `ProfileStore.state`."""
        subject = self.keyring.subject(tenant, check_name(person, "person"))
        query = READ_VERSION if version is not None else READ if model is None else READ_MODEL
        values: dict[str, Any] = {"tenant": tenant, "subject": subject, "verb": verb}
        if version is not None:
            values["version"] = version
        elif model is not None:
            values["model"] = model
        (rows,) = self.db.fetch(tenant, (query, values))
        return self._opened(tenant, subject, verb, rows[0]) if rows else None

    def _opened(self, tenant: str, subject: bytes, verb: str, row: Any) -> StoredState:
        return opened(self.keyring.person(tenant, subject, row.wrapped), self.blobs, verb, row)

    def get_many(self, tenant: str, persons: Sequence[str], verb: str, model: str | None) -> dict[str, StoredState]:
        """See `ProfileStore.states`."""
        subjects = self.people.subjects(tenant, persons)
        found = {}
        with self.db.read(tenant, snapshot=True) as connection:
            for part in chunks(subjects):
                here = (states.c.tenant == tenant, states.c.subject.in_(part), states.c.verb == verb)
                newest = sa.select(states.c.subject, sa.func.max(states.c.version).label("version")).where(*here)
                if model is not None:
                    newest = newest.where(states.c.model == model)
                top = newest.group_by(states.c.subject).subquery()
                held = sa.and_(holds.c.tenant == tenant, holds.c.subject == top.c.subject, holds.c.verb == verb)
                if model is not None:
                    made = sa.select(states.c.version).where(states.c.tenant == tenant, states.c.verb == verb, states.c.model == model)
                    held = sa.and_(held, holds.c.version.in_(made.where(states.c.subject == holds.c.subject).correlate(holds)))
                query = (
                    sa.select(states.c.subject, *HEAD, states.c.data, states.c.file, people.c.wrapped, holds.c.version.label("held"))
                    .select_from(top.outerjoin(holds, held))
                    .join(states, sa.and_(states.c.subject == top.c.subject, states.c.version == sa.func.coalesce(holds.c.version, top.c.version)))
                    .join(people, sa.and_(people.c.tenant == tenant, people.c.subject == top.c.subject))
                    .where(states.c.tenant == tenant, states.c.verb == verb)
                )
                for row in connection.execute(query):
                    with suppress(Unreadable):
                        found[subjects[row.subject]] = self._opened(tenant, row.subject, verb, row)
        return found

    def history(self, tenant: str, person: str, verb: str) -> list[StateCard]:
        """Versions, newest first."""
        subject = self.keyring.subject(tenant, check_name(person, "person"))
        query = sa.select(*HEAD).where(states.c.tenant == tenant, states.c.subject == subject, states.c.verb == verb)
        with self.db.read(tenant, snapshot=True) as connection:
            held = connection.execute(held_version(tenant, subject, verb)).scalar()
            return [
                StateCard(verb, row.model, row.version, row.position, row.made, row.nbytes, row.version == held, row.restored_from)
                for row in connection.execute(query.order_by(states.c.version.desc()))
            ]

    def restore(self, tenant: str, person: str, verb: str, version: int, *, hold: bool) -> StoredState:
        """See `ProfileStore.restore`."""
        subject = self.keyring.subject(tenant, check_name(person, "person"))
        here = (states.c.tenant == tenant, states.c.subject == subject, states.c.verb == verb)
        with self.db.write(tenant) as connection:
            next_position(self.db, connection, tenant, 0)  # the tenant's row first, which the line in the audit changes
            keys, _ = self._locked(connection, tenant, [subject])
            old = connection.execute(sa.select(states).where(*here, states.c.version == version)).mappings().first()
            if old is None or not keys:
                raise UnknownId(f"there is no version {version}", fix="see the history")
            newest = connection.execute(sa.select(sa.func.max(states.c.version)).where(*here)).scalar_one()
            data, file = old["data"], old["file"]
            if file is not None:
                # Sealed anew: files of two versions have different names, so each can go alone.
                key = keys[subject]
                file = self.blobs.put(key.seal("states", key.open("states", self.blobs.get(file))))
            row = {**old, "version": newest + 1, "made": time.time(), "restored_from": version, "data": data, "file": file}
            connection.execute(states.insert(), [row])
            if hold:
                values = {"tenant": tenant, "subject": subject, "verb": verb, "version": newest + 1}
                insert = self.db.insert(holds).values(values)
                connection.execute(insert.on_conflict_do_update(index_elements=["tenant", "subject", "verb"], set_={"version": newest + 1}))
            self.audit.write(connection, tenant, "state restored", subject, {"verb": verb, "version": version, "hold": hold})
        found = self.get(tenant, person, verb, version=newest + 1, model=None)
        if found is None:
            raise UnknownId("the person was forgotten meanwhile")
        return found

    def release(self, tenant: str, person: str, verb: str, version: int | None = None) -> None:
        """Serve the newest state again; with `version`, only when that is the one that is held."""
        subject = self.keyring.subject(tenant, check_name(person, "person"))
        where = [holds.c.tenant == tenant, holds.c.subject == subject, holds.c.verb == verb]
        if version is not None:
            where.append(holds.c.version == version)
            with self.db.read(tenant) as connection:
                if connection.execute(sa.select(holds.c.version).where(*where)).first() is None:
                    return
        with self.db.write(tenant) as connection:
            next_position(self.db, connection, tenant, 0)  # the tenant's row first, as everywhere
            if connection.execute(holds.delete().where(*where)).rowcount:
                self.audit.write(connection, tenant, "state released", subject, {"verb": verb})

    def behind(self, tenant: str, verb: str, model: str) -> list[str]:
        """See `ProfileStore.states_behind`."""
        own, other = (sa.func.max(sa.case((which, states.c.position))) for which in (states.c.model == model, states.c.model != model))
        query = sa.select(states.c.subject).where(states.c.tenant == tenant, states.c.verb == verb).group_by(states.c.subject).having(own < other)
        with self.db.read(tenant, snapshot=True) as connection:
            return sorted(self.people.names(connection, tenant, connection.execute(query).scalars()).values())

    def drop(self, tenant: str, model: str) -> int:
        """Delete every state of a model that is served no more; how many."""
        kept = sa.select(states.c.version).where(
            states.c.tenant == holds.c.tenant, states.c.subject == holds.c.subject, states.c.verb == holds.c.verb, states.c.model == model
        )
        with self.db.write(tenant) as connection:
            connection.execute(holds.delete().where(holds.c.tenant == tenant, holds.c.version.in_(kept.correlate(holds))))
            count, files = self._delete(connection, states.c.tenant == tenant, states.c.model == model)
        for file in files:
            self.blobs.delete(file)
        return count

    def drop_verb(self, tenant: str, person: str, verb: str) -> int:
        """See `ProfileStore.drop_verb`."""
        subject = self.keyring.subject(tenant, check_name(person, "person"))
        with self.db.write(tenant) as connection:
            # Versions begin at 1 again: by its position is told who has read what is deleted here, and then not a new first version.
            next_position(self.db, connection, tenant)
            connection.execute(holds.delete().where(holds.c.tenant == tenant, holds.c.subject == subject, holds.c.verb == verb))
            count, files = self._delete(connection, states.c.tenant == tenant, states.c.subject == subject, states.c.verb == verb)
            if count:
                self.audit.write(connection, tenant, "states deleted", subject, {"verb": verb, "versions": count})
        for file in files:
            self.blobs.delete(file)
        return count

    @staticmethod
    def _delete(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> tuple[int, list[str]]:
        """How many rows went, and files to delete afterwards."""
        files = connection.execute(sa.select(states.c.file).where(*which, states.c.file.is_not(None))).scalars().all()
        return connection.execute(states.delete().where(*which)).rowcount, list(files)


def check_verb(verb: str) -> str:
    """Raise `ConfigError` for what is no short word."""
    if not (isinstance(verb, str) and 0 < len(verb) <= 40 and verb.isidentifier()):
        raise ConfigError("this is no verb", fix="use recommend, search, write, ...")
    return verb
