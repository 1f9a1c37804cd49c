"""Evidence out: one person's, many people's, everybody's; consent is looked at when it is read."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from sartor.data.schema import FrameName
from sartor.errors import ConfigError
from sartor.profile.append import mark
from sartor.profile.audit import Audit
from sartor.profile.consent import Consents
from sartor.profile.database import Database
from sartor.profile.keyring import Keyring, PersonKey
from sartor.profile.names import check_name
from sartor.profile.records import PURPOSES, PersonCard, Record
from sartor.profile.schema import evidence, people, states, tenants
from sartor.profile.tenancy import People, chunks, next_position

_READ = (
    evidence.c.subject, evidence.c.position, evidence.c.frame, evidence.c.kind, evidence.c.time, evidence.c.received, evidence.c.expires,
    evidence.c.purposes, evidence.c.data,
)  # fmt: skip

_POSITION = UnaryExpression(evidence.c.position, operator=custom_op("+"), type_=sa.BigInteger())
"""`+position`: the same number, but no reason for SQLite to walk through the whole tenant instead of the index of the person."""


class EvidenceReader:
    """Reads, counts and removes evidence."""

    def __init__(self, db: Database, keyring: Keyring, consents: Consents, audit: Audit) -> None:
        self.db, self.keyring, self.people, self.consents, self.audit = db, keyring, People(db, keyring), consents, audit

    def of_person(
        self, tenant: str, person: str, *, purpose: str | None, frames: Collection[FrameName] | None, span: tuple[int, int | None],
        limit: int | None, newest_first: bool,
    ) -> list[Record]:  # fmt: skip
        """See `ProfileStore.evidence`."""
        check_purpose(purpose)
        person = check_name(person, "person")
        subject = self.keyring.subject(tenant, person)
        with self.db.read(tenant, snapshot=True) as connection:
            key = self.people.key(connection, tenant, subject)
            if key is None or (purpose is not None and not self.consents.granted(connection, tenant, subject, purpose)):
                return []
            own: list[Any] = [evidence.c.subject == subject]
            if span[0]:
                own.append(span[0] < _POSITION)
            if span[1] is not None:
                own.append(span[1] > _POSITION)
            if limit is not None and self.db.dialect == "sqlite":
                # Which positions are hers is in the index: only the rows wanted are fetched.
                own = [evidence.c.position.in_(sa.select(evidence.c.position).where(evidence.c.tenant == tenant, *own))]
            order = evidence.c.position.desc() if newest_first else evidence.c.position.asc()
            rows = connection.execute(_rows(tenant, own, purpose, frames).order_by(order).limit(limit)).all()
        return _opened({subject: (person, key)}, rows)

    def of_people(
        self, tenant: str, persons: Sequence[str], *, purpose: str | None, frames: Collection[FrameName] | None, limit: int | None
    ) -> dict[str, list[Record]]:
        """See `ProfileStore.evidence_of`."""
        check_purpose(purpose)
        subjects = self.people.subjects(tenant, persons)
        found: dict[str, list[Record]] = {person: [] for person in subjects.values()}
        with self.db.read(tenant, snapshot=True) as connection:
            allowed = set(subjects) if purpose is None else self.consents.who(connection, tenant, subjects, purpose)
            keys = self.people.keys(connection, tenant, [subject for subject in subjects if subject in allowed])
            for part in chunks(keys):
                query = _rows(tenant, [evidence.c.subject.in_(part)], purpose, frames)
                if limit is not None:
                    # Places are counted over what may be read, so that `limit` is the same for one person and for many.
                    place = sa.func.row_number().over(partition_by=evidence.c.subject, order_by=evidence.c.position.desc()).label("place")
                    ranked = query.add_columns(place).subquery()
                    query = sa.select(*(ranked.c[column.name] for column in _READ)).where(ranked.c.place <= limit)
                    query = query.order_by(ranked.c.position)
                else:
                    query = query.order_by(evidence.c.position)
                for record in _opened({subject: (subjects[subject], keys[subject]) for subject in part}, connection.execute(query)):
                    found[record.person].append(record)
        return found

    def each(
        self, tenant: str, *, purpose: str, frame: FrameName, after: int, until: int | None, batch: int
    ) -> Iterator[list[tuple[str, list[Record]]]]:
        """Everybody's allowed evidence, about `batch` records at a time, all of one person together and in order."""
        check_purpose(purpose)
        subject: bytes | None = b""
        while subject is not None:
            with self.db.read(tenant, snapshot=True) as connection:
                if until is None:
                    until = connection.execute(sa.select(tenants.c.position).where(tenants.c.tenant == tenant)).scalar() or 0
                group, subject = self._next_people(connection, tenant, subject, batch)
                group = self.consents.who(connection, tenant, group, purpose)
                names = self.people.names(connection, tenant, group)
                keys = self.people.keys(connection, tenant, names)
                found: dict[str, list[Record]] = {}
                for part in chunks(sorted(names)):
                    wanted = [evidence.c.subject.in_(part), _POSITION.between(after + 1, until)]
                    rows = connection.execute(_rows(tenant, wanted, purpose, (frame,)).order_by(evidence.c.position))
                    for record in _opened({one: (names[one], keys[one]) for one in part}, rows):
                        found.setdefault(record.person, []).append(record)
            if found:
                yield list(found.items())

    def _next_people(self, connection: sa.Connection, tenant: str, after: bytes, batch: int) -> tuple[list[bytes], bytes | None]:
        """The next people with about `batch` records in all, and the last of them; None after everybody."""
        counted = connection.execute(
            sa.select(evidence.c.subject, sa.func.count())
            .where(evidence.c.tenant == tenant, evidence.c.subject > after)
            .group_by(evidence.c.subject)
            .order_by(evidence.c.subject)
            .limit(batch)
        )
        group: list[bytes] = []
        records = 0
        for subject, count in counted:
            if group and records + count > batch:
                counted.close()
                return group, group[-1]
            group.append(subject)
            records += count
        return group, (group[-1] if len(group) == batch else None)

    def count(self, tenant: str, person: str) -> int:
        """How many records of a person are kept."""
        subject = self.keyring.subject(tenant, check_name(person, "person"))
        with self.db.read(tenant) as connection:
            query = sa.select(sa.func.count()).where(evidence.c.tenant == tenant, evidence.c.subject == subject)
            return int(connection.execute(query).scalar_one())

    def remove(self, tenant: str, person: str, ids: Sequence[str]) -> int:
        """See `ProfileStore.remove`."""
        subject = self.keyring.subject(tenant, check_name(person, "person"))
        with self.db.write(tenant) as connection:
            key = self.people.key(connection, tenant, subject)
            if key is None:
                return 0
            # The place in the order first: on PostgreSQL it holds off appends, so that the mark below is the newest.
            position, _ = next_position(self.db, connection, tenant)
            rids = [key.record_id(check_name(ident, "record's id")) for ident in ids]
            removed = sum(
                connection.execute(
                    evidence.delete().where(evidence.c.tenant == tenant, evidence.c.subject == subject, evidence.c.rid.in_(part))
                ).rowcount
                for part in chunks(rids)
            )
            if removed:
                mark(self.db, connection, tenant, {subject: position}, time.time())
                self.audit.write(connection, tenant, "evidence removed", subject, {"records": removed})
        return removed

    def changed(self, tenant: str, after: int) -> list[str]:
        """People with evidence newer than a position."""
        with self.db.read(tenant, snapshot=True) as connection:
            query = sa.select(evidence.c.subject).where(evidence.c.tenant == tenant, evidence.c.position > after).distinct()
            return sorted(self.people.names(connection, tenant, connection.execute(query).scalars()).values())

    def cards(self, tenant: str, *, after: str, limit: int, query: str | None) -> list[PersonCard]:
        """See `ProfileStore.people`."""
        start = self.keyring.subject(tenant, check_name(after, "person")) if after else b""
        found: dict[bytes, str] = {}
        with self.db.read(tenant, snapshot=True) as connection:
            while len(found) < limit:
                page = sa.select(people.c.subject).where(people.c.tenant == tenant, people.c.subject > start).order_by(people.c.subject)
                subjects = list(connection.execute(page.limit(1000 if query else limit - len(found))).scalars())
                if not subjects:
                    break
                start = subjects[-1]
                for subject, name in sorted(self.people.names(connection, tenant, subjects).items()):
                    if (not query or query.lower() in name.lower()) and len(found) < limit:
                        found[subject] = name
            return self._cards(connection, tenant, found)

    def _cards(self, connection: sa.Connection, tenant: str, names: dict[bytes, str]) -> list[PersonCard]:
        when = sa.func.coalesce(evidence.c.time, evidence.c.received)
        facts = (sa.func.count(), sa.func.min(when), sa.func.max(when), sa.func.coalesce(sa.func.sum(sa.func.length(evidence.c.data)), 0))
        had: dict[bytes, Any] = {}
        kept: dict[bytes, int] = {}
        for part in chunks(names):
            for table, figures in ((evidence, facts), (states, (sa.func.coalesce(sa.func.sum(states.c.nbytes), 0),))):
                query = sa.select(table.c.subject, *figures).where(table.c.tenant == tenant, table.c.subject.in_(part)).group_by(table.c.subject)
                for subject, *row in connection.execute(query):
                    if table is evidence:
                        had[subject] = row
                    else:
                        kept[subject] = int(row[0])
        allowed = self.consents.all_of(connection, tenant, names)
        cards = []
        for subject, name in names.items():
            records, first, last, size = had.get(subject, (0, None, None, 0))
            cards.append(PersonCard(name, records, first, last, int(size) + kept.get(subject, 0), allowed[subject]))
        return cards


def check_purpose(purpose: str | None) -> None:
    """Raise `ConfigError` for a purpose that is none."""
    if purpose is not None and purpose not in PURPOSES:
        raise ConfigError("this purpose is unknown", fix=f"purposes are {', '.join(PURPOSES)}")


def _rows(tenant: str, wanted: Iterable[Any], purpose: str | None, frames: Collection[str] | None) -> sa.Select[Any]:
    """The wanted rows that may be read."""
    query = sa.select(*_READ).where(evidence.c.tenant == tenant, *wanted, sa.or_(evidence.c.expires.is_(None), evidence.c.expires > time.time()))
    if frames is not None:
        query = query.where(evidence.c.frame.in_(list(frames)))
    if purpose is not None:
        query = query.where(sa.or_(evidence.c.purposes.is_(None), evidence.c.purposes.contains(f",{purpose},", autoescape=True)))
    return query


def _opened(keys: dict[bytes, tuple[str, PersonKey]], rows: Any) -> list[Record]:
    openers = {subject: key.opener("evidence") for subject, (_, key) in keys.items()}
    records = []
    for subject, position, frame, kind, when, received, expires, purposes, data in rows:
        payload = json.loads(openers[subject](data))
        records.append(
            Record(
                keys[subject][0], frame, payload["id"], when, kind, payload["content"],
                None if purposes is None else frozenset(filter(None, purposes.split(","))),
                payload["source"], payload.get("model", ""), expires, position, received,
            )
        )  # fmt: skip
    return records
