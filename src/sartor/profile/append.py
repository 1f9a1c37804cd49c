"""Evidence in: checked and encrypted outside the transaction, then written by one thread for all that wait (group commit)."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from sartor.data.schema import FRAMES, LATEST_TIME
from sartor.errors import BadValue, Conflict, TooLarge
from sartor.profile.database import Database
from sartor.profile.keyring import Keyring, PersonKey
from sartor.profile.names import check_name, check_tenant
from sartor.profile.records import PURPOSES, Receipt, Record
from sartor.profile.schema import evidence, people, stale, tenants
from sartor.profile.tenancy import People, chunks, next_position

FRAMES_OF_PEOPLE = tuple(frame for frame in FRAMES if frame not in ("items", "edges"))
LARGEST = 2**20
"""Bytes of one record's content as JSON."""
_TRIES = 3
"""The last one reads keys with the tenant's row locked, while nobody can change them."""
_COLUMNS = ("tenant", "position", "subject", "rid", "frame", "kind", "time", "received", "expires", "purposes", "data")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(slots=True)
class _Batch:
    """One call's rows, ready to be written."""

    tenant: str
    epoch: int | None
    new: dict[str, PersonKey]
    """Keys of people the database did not know, by id."""
    rows: list[tuple[Any, ...]]
    """`_COLUMNS` from `subject` on."""
    leads: bool = False
    ready: threading.Event = field(default_factory=threading.Event)
    receipt: Receipt | None = None
    problem: BaseException | None = None


class Appender:
    """Writes evidence."""

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self.db, self.keyring, self.people = db, keyring, People(db, keyring)
        self._epochs: dict[str, int] = {}
        self._waiting: list[_Batch] = []
        self._guard = threading.Lock()
        self._writing = False

    def append(self, tenant: str, records: Sequence[Record]) -> Receipt:
        """Write records, all or none; on the disk when this returns. Raises `BadValue`, `TooLarge`, `StoreProblem`."""
        tenant = check_tenant(tenant)
        now = time.time()
        checked = [self._checked(record, row, now) for row, record in enumerate(records)]
        if not checked:
            with self.db.read(tenant) as connection:
                return Receipt(0, 0, connection.execute(sa.select(tenants.c.position).where(tenants.c.tenant == tenant)).scalar() or 0)
        for left in reversed(range(_TRIES)):
            if left:
                batch, duplicates = self._prepared(tenant, checked, now)
                self._commit(batch)
            else:
                made = self._in_one(tenant, checked, now)
                assert made is not None
                batch, duplicates = made
            if batch.problem is not None:
                raise batch.problem
            if batch.receipt is not None:
                for key in batch.new.values():
                    self.keyring.keep(tenant, key, batch.epoch or 0)
                accepted, position = batch.receipt.accepted, batch.receipt.position
                return Receipt(accepted, batch.receipt.duplicates + duplicates, position)
            # A key was made, changed or deleted by somebody else since we read: read them again.
            self._epochs.pop(tenant, None)
            self.keyring.drop(tenant)
        raise Conflict("the keys of these people keep changing", fix="try again")

    def append_if(self, tenant: str, records: Sequence[Record], holds: Callable[[sa.Connection], bool]) -> Receipt | None:
        """Write records if something still holds in the very transaction that writes them; None, and nothing is written, when it does not."""
        tenant, now = check_tenant(tenant), time.time()
        checked = [self._checked(record, row, now) for row, record in enumerate(records)]
        made = self._in_one(tenant, checked, now, holds)
        if made is None:
            return None
        batch, duplicates = made
        assert batch.receipt is not None
        for key in batch.new.values():
            self.keyring.keep(tenant, key, batch.epoch or 0)
        return Receipt(batch.receipt.accepted, batch.receipt.duplicates + duplicates, batch.receipt.position)

    def _checked(self, record: Record, row: int, now: float) -> tuple[Any, ...]:
        """(person, id, frame, kind, time, expires, purposes, payload) of a record that may be stored."""
        try:
            person = check_name(record.person, "person")
            if record.frame not in FRAMES_OF_PEOPLE:
                raise BadValue(f"evidence cannot be in frame '{record.frame}'", fix=f"use one of {', '.join(FRAMES_OF_PEOPLE)}")
            for name in ("time", "expires"):
                value = getattr(record, name)
                if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= LATEST_TIME):
                    raise BadValue(f"{name} is not a time between 1970 and 2100", fix="give seconds since 1970-01-01 UTC")
            if record.kind is not None and not (isinstance(record.kind, str) and 0 < len(record.kind) <= 100 and record.kind.isprintable()):
                raise BadValue("kind is not a short word", fix="use something like 'click', of at most 100 characters")
            ident = check_name(record.id, "record's id") if record.id != "" else sortable_id(now)
            purposes = None
            if record.purposes is not None:
                if unknown := set(record.purposes) - set(PURPOSES):
                    raise BadValue(f"{len(unknown)} of its purposes are unknown", fix=f"purposes are {', '.join(PURPOSES)}")
                purposes = f",{','.join(sorted(record.purposes))},"
            payload = {"id": ident, "content": record.content, "source": record.source}
            if record.model:
                payload["model"] = record.model
            try:
                data = _encode(payload if type(record.content) is dict else {**payload, "content": dict(record.content)}).encode()
            except (TypeError, ValueError, RecursionError) as cause:
                raise BadValue("the content is not JSON", fix="use text, finite numbers, lists and mappings with text keys") from cause
            if len(data) > LARGEST:
                raise TooLarge(f"the content has {len(data)} bytes, at most {LARGEST} are kept", fix="store a reference to it")
        except (BadValue, TooLarge) as problem:
            raise type(problem)(problem.what, fix=problem.fix, record=row) from problem.__cause__
        return person, ident, record.frame, record.kind, record.time, record.expires, purposes, data

    def _in_one(
        self, tenant: str, checked: Sequence[tuple[Any, ...]], now: float, holds: Callable[[sa.Connection], bool] | None = None
    ) -> tuple[_Batch, int] | None:  # fmt: skip
        """Prepare and write in one transaction, which others wait for: for who was overtaken again and again, and where something must hold."""
        with self.db.write(tenant) as connection:
            # The tenant's row first: it orders all who write, so that what is looked at now stays so until this ends.
            _, epoch = next_position(self.db, connection, tenant, 0)
            if holds is not None and not holds(connection):
                return None
            subjects = self.people.subjects(tenant, sorted({one[0] for one in checked}))
            batch, duplicates = self._rows(tenant, checked, now, subjects, self.people.keys(connection, tenant, subjects), epoch)
            receipts = self._insert(connection, tenant, [batch])
        batch.receipt = receipts[0]
        return batch, duplicates

    def _prepared(self, tenant: str, checked: Sequence[tuple[Any, ...]], now: float) -> tuple[_Batch, int]:
        """Rows under their people's keys, and how many ids came twice in this call."""
        subjects, found, epoch = self._keys(tenant, {one[0] for one in checked})
        return self._rows(tenant, checked, now, subjects, found, epoch)

    def _rows(
        self, tenant: str, checked: Sequence[tuple[Any, ...]], now: float, subjects: Mapping[bytes, str], found: Mapping[bytes, PersonKey],
        epoch: int | None,
    ) -> tuple[_Batch, int]:  # fmt: skip
        """The same with the keys of those who are known."""
        new = {person: self.keyring.new(tenant, subject) for subject, person in subjects.items() if subject not in found}
        keys = {person: new[person] if person in new else found[subject] for subject, person in subjects.items()}
        rows: dict[tuple[bytes, bytes], tuple[Any, ...]] = {}
        for person, ident, frame, kind, when, expires, purposes, data in checked:
            key = keys[person]
            rid = key.record_id(ident)
            if (key.subject, rid) not in rows:
                rows[key.subject, rid] = (key.subject, rid, frame, kind, when, now, expires, purposes, key.seal("evidence", data))
        return _Batch(tenant, epoch, new, list(rows.values())), len(checked) - len(rows)

    def _keys(self, tenant: str, persons: set[str]) -> tuple[dict[bytes, str], dict[bytes, PersonKey], int | None]:
        """Ids by subject, the keys of those who are known, and the epoch in which these held (None: no such tenant yet)."""
        subjects = self.people.subjects(tenant, sorted(persons))
        epoch = self._epochs.get(tenant)
        found = {} if epoch is None else {subject: key for subject in subjects if (key := self.keyring.in_epoch(tenant, subject, epoch)) is not None}
        missing = [subject for subject in subjects if subject not in found]
        if missing:
            with self.db.read(tenant) as connection:
                if epoch is None:
                    # Before the keys: what changes in between shows as another epoch when we write.
                    epoch = connection.execute(sa.select(tenants.c.epoch).where(tenants.c.tenant == tenant)).scalar()
                read = self.people.keys(connection, tenant, missing)
            if epoch is not None:
                self._epochs[tenant] = epoch
                for key in read.values():
                    self.keyring.keep(tenant, key, epoch)
            found |= read
        return subjects, found, epoch

    def _commit(self, batch: _Batch) -> None:
        """Hand the batch in. One thread writes all that wait, in one transaction per tenant, then hands the pen to one that has come meanwhile."""
        with self._guard:
            self._waiting.append(batch)
            batch.leads, self._writing = not self._writing, True
        if not batch.leads:
            try:
                batch.ready.wait()  # until it is written, or leads
            except BaseException:
                self._leave(batch)
                raise
        if not batch.leads:
            return
        with self._guard:
            together, self._waiting = self._waiting, []
        try:
            for tenant in dict.fromkeys(one.tenant for one in together):
                self._write(tenant, [one for one in together if one.tenant == tenant])
        finally:
            with self._guard:
                self._hand_on()
            for one in together:
                if one is not batch:
                    one.leads = False
                    one.ready.set()

    def _hand_on(self) -> None:
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].ready.set()
        else:
            self._writing = False

    def _leave(self, batch: _Batch) -> None:
        """Of a thread that was interrupted while it waited: the pen must not come to it."""
        with self._guard:
            self._waiting = [one for one in self._waiting if one is not batch]
            if batch.leads:
                self._hand_on()

    def _write(self, tenant: str, batches: list[_Batch]) -> None:
        try:
            with self.db.write(tenant) as connection:
                receipts = self._insert(connection, tenant, batches)
            for batch, receipt in zip(batches, receipts, strict=True):
                batch.receipt = receipt
        except BaseException as problem:
            for batch in batches:
                batch.problem = problem

    def _insert(self, connection: sa.Connection, tenant: str, batches: list[_Batch]) -> list[Receipt | None]:
        """One receipt per batch; None where keys have changed: that batch has written nothing and must be made again."""
        first, epoch = next_position(self.db, connection, tenant, sum(len(batch.rows) for batch in batches))
        wanted = {key.subject for batch in batches for key in batch.new.values()}
        known = self._known(connection, tenant, wanted)
        new: dict[str, PersonKey] = {}
        rows: list[tuple[Any, ...]] = []
        spans: list[range | None] = []
        for batch in batches:
            own = {key.subject for key in batch.new.values()}
            if epoch != (batch.epoch or 0) or own & known:
                spans.append(None)
                continue
            known |= own  # two that wait may both have made a key for somebody new: the first one's holds
            new |= batch.new
            start = first + len(rows)
            rows += [(tenant, position, *row) for position, row in enumerate(batch.rows, start)]
            spans.append(range(start, start + len(batch.rows)))
        if not rows:
            return [None] * len(batches)
        if new:
            self.people.insert(connection, tenant, new, first)
        written = self.db.insert_many(connection, evidence, _COLUMNS, rows, "ON CONFLICT (tenant, subject, rid) DO NOTHING")
        kept = {row[1] for row in rows}
        if written < len(rows):
            query = sa.select(evidence.c.position).where(evidence.c.tenant == tenant, evidence.c.position >= first)
            kept = set(connection.execute(query).scalars())
        # What may be used for nothing changes nobody's state.
        mark(self.db, connection, tenant, {row[2]: row[1] for row in rows if row[1] in kept and row[9] != ",,"}, rows[0][7])
        receipts: list[Receipt | None] = []
        for span in spans:
            if span is None:
                receipts.append(None)
            else:
                own_positions = [position for position in span if position in kept]
                newest = own_positions[-1] if own_positions else first + len(rows) - 1
                receipts.append(Receipt(len(own_positions), len(span) - len(own_positions), newest))
        return receipts

    def _known(self, connection: sa.Connection, tenant: str, subjects: set[bytes]) -> set[bytes]:
        """Those of these who have a key by now."""
        query = sa.select(people.c.subject).where(people.c.tenant == tenant)
        return {found for part in chunks(subjects) for found in connection.execute(query.where(people.c.subject.in_(part))).scalars()}


def mark(db: Database, connection: sa.Connection, tenant: str, newest: Mapping[bytes, int], now: float) -> None:
    """Mark people stale up to a position; whoever waits already keeps her place, her lease and her token."""
    if not newest:
        return
    columns = ("tenant", "subject", "position", "since", "newest", "due", "attempts", "failed", "token")
    # In one order everywhere: two who lock the same rows in different orders would wait for each other.
    rows = [(tenant, subject, position, now, now, now, 0, False, os.urandom(8).hex()) for subject, position in sorted(newest.items())]
    again = "ON CONFLICT (tenant, subject) DO UPDATE SET position = excluded.position, newest = excluded.newest"
    db.insert_many(connection, stale, columns, rows, again)


_last = [0, 0]
_counting = threading.Lock()


def sortable_id(now: float) -> str:
    """A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then a counter and random bits, so that ids of one process sort as made."""
    milliseconds = int(now * 1000)
    with _counting:
        # A clock that stands or jumps back goes on from the last one.
        _last[0], _last[1] = (milliseconds, 0) if milliseconds > _last[0] else (_last[0], _last[1] + 1)
        milliseconds, count = _last[0] + _last[1] // 4096, _last[1] % 4096
    tail = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    text = f"{(milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | count << 64 | 0b10 << 62 | tail:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
