"""Forgetting a person: one routine that goes through every place, and says what it found, removed and still sees.

In one transaction: evidence, states of all versions, holds, queue, consents, memberships in models, jobs and API keys that are hers, and
her data key go; lines of the audit that were about her keep what was done and lose whom it was done to. Then files beside the database,
caches of keys, and whatever caches were registered with `store.on_forget`. Last, the database's log is emptied and the files are scanned.

What is not removed: models that were fitted while she was in the population. They are named in the receipt; `docs/privacy.md` says what that
means. Backups: `tombstones` and `forget_again`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sartor.errors import StoreProblem
from sartor.profile import schema
from sartor.profile.archive import iso
from sartor.profile.audit import BATCH, FORGET, Audit
from sartor.profile.files import compact, data_directory, empty_log, places, size
from sartor.profile.names import check_name, check_tenant
from sartor.profile.scan import Scan, scan
from sartor.profile.tenancy import People, next_position

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore

REMOVED = ("evidence", "states", "holds", "stale", "consents", "members", "jobs", "api_keys", "people")
"""Tables whose rows of the person are deleted; her data key is in `people`. Those of `audit` lose her subject."""
SCANNED = 256 * 2**20
"""Bytes of files that are scanned without being asked for: a second's work."""


@dataclass(frozen=True)
class SawHer:
    """A model in whose population the person was."""

    fingerprint: str
    verb: str
    method: str
    status: str
    made: float


@dataclass(frozen=True)
class Erasure:
    """The receipt of a `forget`. It names the person, as the one who asked did; nothing of it is stored."""

    person: str
    known: bool
    """False: nothing was kept of this person, and nothing was done."""
    erased_at: float
    removed: Mapping[str, int]
    """Rows or files by place, zeros too."""
    nbytes: int
    """Of her evidence and states as they were stored."""
    seconds: float
    """Until everything was removed and on the disk; the scan comes after."""
    left: Mapping[str, int]
    """Rows by table that still had her subject when the transaction ended; all zero."""
    log_emptied: bool
    """SQLite: older pages no longer lie in the write-ahead log. False while another process was reading, and on PostgreSQL."""
    compacted: bool
    """SQLite: bytes of hers were left in pages that had been rearranged, so the database was written anew (up to 256 MB; else call `compact`)."""
    scan: Scan | None
    """What a look at the files' bytes found; None when they were too large or out of reach, see `note`."""
    models: tuple[SawHer, ...] = ()
    """Fitted with her in the population, and still there."""
    tombstone: str = ""
    """What stands for her in the audit: a keyed hash that leads back to nobody."""
    note: str = ""
    batches: tuple[str, ...] = ()
    """Folders of `sartor batch` runs begun since she was first known: their files may hold lists of hers, where they still are."""

    @property
    def verified(self) -> bool:
        """No row was left, and a scan of the files was made and found nothing."""
        return not any(self.left.values()) and self.scan is not None and self.scan.clean

    def as_dict(self) -> dict[str, Any]:
        """The receipt as plain data."""
        found = self.scan
        return {
            "person": self.person, "known": self.known, "erased_at": iso(self.erased_at), "removed": dict(self.removed), "bytes": self.nbytes,
            "seconds": self.seconds, "left": dict(self.left), "log_emptied": self.log_emptied, "compacted": self.compacted, "verified": self.verified,
            "scan": None if found is None else found.as_dict(), "models": [asdict(one) for one in self.models], "tombstone": self.tombstone,
            "note": self.note, "batches": list(self.batches),
        }  # fmt: skip


@dataclass
class _Found:
    """What the transaction saw and did."""

    removed: dict[str, int]
    left: dict[str, int] = field(default_factory=dict)
    nbytes: int = 0
    files: list[str] = field(default_factory=list)
    models: tuple[SawHer, ...] = ()
    batches: tuple[str, ...] = ()
    traces: list[bytes] = field(default_factory=list)
    """Bytes that would give her away: wrapped key, beginnings of encrypted rows."""

    @property
    def anything(self) -> bool:
        return any(self.removed.values())


def forget(store: ProfileStore, tenant: str, person: str, *, scan_files: bool | None = None, also: Iterable[str | Path] = ()) -> Erasure:
    """Remove everything that is kept of a person. A second call finds nothing, changes nothing and says so.

    Parameters
    ----------
    scan_files: look through the store's files afterwards; None does so up to 256 MB of them.
    also: more files and folders to scan: exports, caches, copies; the data directory of a PostgreSQL whose settings this user may not read.

    Raises `StoreProblem` when the database cannot be reached or is full; nothing is removed then.
    """
    person, tenant = check_name(person, "person"), check_tenant(tenant)
    return _forget(store, tenant, store.keyring.subject(tenant, person), person, scan_files, also)


def _forget(store: ProfileStore, tenant: str, subject: bytes, person: str, scan_files: bool | None, also: Iterable[str | Path]) -> Erasure:
    start, now = time.perf_counter(), time.time()
    tombstone = store.keyring.tombstone(tenant, subject)
    with store.db.write(tenant) as connection:
        found = _erase(store, connection, tenant, subject, tombstone)
    store.keyring.drop(tenant, subject)
    for drop in list(store.on_forget):
        drop(tenant, person)
    found.removed["files"] = sum(store.blobs.delete(name) for name in found.files)
    emptied = empty_log(store)
    seconds = time.perf_counter() - start
    notes: list[str] = []
    needles: dict[str, list[str | bytes]] = {"person id": [person], "subject": [subject], "data key and rows": list(found.traces)}
    if _is_item(store, tenant, person):
        del needles["person id"]
        notes.append("An item has the same id, which is no trace of the person: the files were not looked through for it.")
    seen, why = _scanned(store, needles, scan_files, also)
    notes += [why] if why else []
    compacted = False
    if found.anything and seen is not None and size(places(store)) <= SCANNED and any(hit.file == str(store.db.path) for hit in seen.hits):
        # SQLite clears what it deletes, but not what it left behind when it moved rows between pages before.
        try:
            compact(store)
            compacted = True
        except StoreProblem as problem:
            notes.append(f"The database could not be compacted: {problem.what}.")
        seen, _ = _scanned(store, needles, scan_files, also)
    if not found.anything:
        notes.insert(0, "Nothing was kept of this person.")
    if found.models:
        notes.append(
            f"{len(found.models)} models were fitted while this person was in the population. They keep no row of her; what they learned from "
            "everybody together stays until the next fit, which will be without her."
        )
    if found.batches:
        notes.append("Files of batch runs may hold lists of this person: run those batches again into the same folders, or delete the files.")
    return Erasure(
        person,
        found.anything,
        now,
        found.removed,
        found.nbytes,
        seconds,
        found.left,
        emptied,
        compacted,
        seen,
        found.models,
        tombstone.hex(),
        " ".join(notes),
        found.batches,
    )


def _is_item(store: ProfileStore, tenant: str, name: str) -> bool:
    with store.db.read(tenant) as connection:
        found = sa.select(schema.items.c.item).where(schema.items.c.tenant == tenant, schema.items.c.item == name)
        return connection.execute(found).first() is not None


def _erase(store: ProfileStore, connection: sa.Connection, tenant: str, subject: bytes, tombstone: bytes) -> _Found:
    found = _Found(dict.fromkeys((*REMOVED, "audit"), 0))
    tables = [schema.metadata.tables[name] for name in REMOVED]
    if not any(_any(connection, table, tenant, subject) for table in (*tables, schema.audit)):
        return found
    next_position(store.db, connection, tenant)
    store.db.bump_epoch(connection, tenant)
    # Before all else that is hers, in the order of those who put her states: else each could wait for what the other has.
    connection.execute(sa.select(schema.people.c.subject).where(*_mine(schema.people, tenant, subject)).with_for_update())
    _remember(connection, tenant, subject, found)
    for table in tables:
        found.removed[table.name] = connection.execute(table.delete().where(table.c.tenant == tenant, table.c.subject == subject)).rowcount
    # The line about this, too, first gets her subject and then loses it with the older ones.
    Audit(store.db, store.keyring).write(connection, tenant, FORGET, subject, {"removed": found.removed, "bytes": found.nbytes})
    mine = (schema.audit.c.tenant == tenant, schema.audit.c.subject == subject)
    found.removed["audit"] = connection.execute(schema.audit.update().where(*mine).values(subject=None, tombstone=tombstone)).rowcount
    for table in (*tables, schema.audit):
        left = sa.select(sa.func.count()).select_from(table).where(table.c.tenant == tenant, table.c.subject == subject)
        found.left[table.name] = connection.execute(left).scalar_one()
    return found


def _mine(table: sa.Table, tenant: str, subject: bytes) -> tuple[Any, ...]:
    return table.c.tenant == tenant, table.c.subject == subject


def _any(connection: sa.Connection, table: sa.Table, tenant: str, subject: bytes) -> bool:
    return (
        connection.execute(sa.select(sa.literal(1)).select_from(table).where(table.c.tenant == tenant, table.c.subject == subject).limit(1)).first()
        is not None
    )


def _remember(connection: sa.Connection, tenant: str, subject: bytes, found: _Found) -> None:
    """Sizes, files, models and traces, before they go."""
    people, evidence, states, members, models = schema.people, schema.evidence, schema.states, schema.members, schema.models

    mine = partial(_mine, tenant=tenant, subject=subject)
    for table in (evidence, states):
        found.nbytes += connection.execute(sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(table.c.data)), 0)).where(*mine(table))).scalar_one()
        some = connection.execute(sa.select(sa.func.substr(table.c.data, 1, 48)).where(*mine(table), table.c.data.is_not(None)).limit(8)).scalars()
        found.traces += [bytes(head) for head in some]
    found.traces += [bytes(wrapped) for wrapped in connection.execute(sa.select(people.c.wrapped).where(*mine(people))).scalars()]
    files = connection.execute(sa.select(states.c.file, states.c.nbytes).where(*mine(states), states.c.file.is_not(None))).all()
    found.files = [name for name, _ in files]
    found.nbytes += sum(nbytes for _, nbytes in files)
    seen = (
        sa.select(members.c.model, models.c.verb, models.c.method, models.c.status, models.c.made)
        .select_from(members.outerjoin(models, (models.c.tenant == members.c.tenant) & (models.c.fingerprint == members.c.model)))
        .where(*mine(members))
    )
    found.batches = _batches(connection, tenant, subject)
    found.models = tuple(
        SawHer(model, verb or "", method or "", status or "removed", made or 0.0) for model, verb, method, status, made in connection.execute(seen)
    )


def _batches(connection: sa.Connection, tenant: str, subject: bytes) -> tuple[str, ...]:
    people, audit = schema.people, schema.audit
    known = sa.select(people.c.made).where(people.c.tenant == tenant, people.c.subject == subject).scalar_subquery()
    runs = sa.select(audit.c.detail).where(audit.c.tenant == tenant, audit.c.action == BATCH, audit.c.time >= known).order_by(audit.c.number)
    return tuple(dict.fromkeys(str(json.loads(detail)["out"]) for detail in connection.execute(runs).scalars()))


def _scanned(
    store: ProfileStore, needles: Mapping[str, Sequence[str | bytes]], wanted: bool | None, also: Iterable[str | Path]
) -> tuple[Scan | None, str]:
    more = [Path(one) for one in also]
    where = [*places(store), *more]
    if wanted is False:
        return None, "The files were not scanned."
    if store.db.path is None and not wanted:
        return None, (
            "PostgreSQL's files were not scanned: what was deleted stays in them, encrypted under a key that is gone, until VACUUM, and in its log "
            "until that is recycled."
        )
    if store.db.path is None and not more and data_directory(store) is None:
        return None, "PostgreSQL's files were not scanned: from here it is not known where they are."
    if wanted is None and (nbytes := size(where)) > SCANNED:
        return None, f"The files were not scanned: they have {nbytes / 1e6:,.0f} MB."
    return scan(where, needles), ""


def tombstones(store: ProfileStore, tenant: str) -> dict[str, float]:
    """Who was forgotten and when, as tombstones: keep them outside the database, and give them to `forget_again` after restoring a backup."""
    audit = schema.audit
    query = (
        sa.select(audit.c.tombstone, sa.func.max(audit.c.time)).where(audit.c.tenant == tenant, audit.c.action == FORGET).group_by(audit.c.tombstone)
    )
    with store.db.read(tenant) as connection:
        return {bytes(stone).hex(): when for stone, when in connection.execute(query)}


def forget_again(store: ProfileStore, tenant: str, stones: Mapping[str, float]) -> int:
    """Forget everybody who had been forgotten before an older backup was restored; returns how many there were.

    Who came back after being forgotten, and is in the backup as the new person she then was, stays.
    """
    people = schema.people
    with store.db.read(tenant) as connection:
        everybody = connection.execute(sa.select(people.c.subject, people.c.made).where(people.c.tenant == tenant)).all()
    again = [bytes(subject) for subject, made in everybody if made < stones.get(store.keyring.tombstone(tenant, bytes(subject)).hex(), float("-inf"))]
    for subject in again:
        with store.db.read(tenant) as connection:
            name = People(store.db, store.keyring).names(connection, tenant, [subject])[subject]
        _forget(store, tenant, subject, name, False, ())
    return len(again)
