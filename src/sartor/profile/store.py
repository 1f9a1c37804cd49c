"""The store of evidence and personal states: SQLite or PostgreSQL, one interface."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from sartor.data.schema import FrameName
from sartor.errors import StoreProblem, UnknownId
from sartor.method import State
from sartor.profile import migrations
from sartor.profile.access import Access
from sartor.profile.append import Appender
from sartor.profile.audit import Audit
from sartor.profile.blobs import Blobs
from sartor.profile.consent import Consents
from sartor.profile.database import EVERY_TENANT, Database, explained
from sartor.profile.evidence import EvidenceReader
from sartor.profile.frames import frame_of
from sartor.profile.items import GONE, Items
from sartor.profile.jobs import Jobs
from sartor.profile.keyring import Keyring, finish_rotation, new_root, open_root, read_master
from sartor.profile.models import ModelTable
from sartor.profile.queue import Queue
from sartor.profile.records import (
    AuditLine,
    Claim,
    Consent,
    Job,
    KeyCard,
    ModelCard,
    PersonCard,
    Receipt,
    Record,
    StaleCount,
    StateCard,
    StoredState,
)  # fmt: skip
from sartor.profile.schema import evidence, items, keyring, people, states
from sartor.profile.standing import Standing, Standings
from sartor.profile.states import States

if TYPE_CHECKING:
    import polars as pl

    from sartor.profile.forget import Erasure
    from sartor.profile.imports import Imported


class ProfileStore:
    """Everything that is kept of people, under their own keys. Safe to share between threads; several processes may open the same database.

    Open with `ProfileStore.open`. Every method takes the tenant first and never sees another tenant's rows. People are named by text of 1 to 500
    characters; a whole number is the same person as its digits. Any method may raise `StoreProblem` when the database cannot be reached or is full.
    """

    def __init__(self, db: Database, keys: Keyring, blobs: Blobs) -> None:
        self.db, self.keyring, self.blobs = db, keys, blobs
        self.on_forget: list[Callable[[str, str], None]] = []
        """Called with tenant and person after somebody was forgotten, so that caches drop her."""
        self._audit = Audit(db, keys)
        self._consents = Consents(db, keys, self._audit)
        self._appender = Appender(db, keys)
        self._evidence = EvidenceReader(db, keys, self._consents, self._audit)
        self._states = States(db, keys, self._audit, blobs)
        self._standings = Standings(db, keys, blobs)
        self.on_load = self._standings.told
        """Called after the states of a batch were read, with the seconds and each state's bytes: for metrics."""
        self._queue = Queue(db, keys)
        self._models = ModelTable(db, keys, self._audit)
        self._items = Items(db)
        self._access = Access(db, keys, self._audit)
        self._jobs = Jobs(db, keys)

    @classmethod
    def open(cls, url: str = "sqlite:///people.db", *, master_key: bytes | str | Path | None = None, create: bool = True) -> Self:
        """Open a store, and make or migrate its tables.

        Parameters
        ----------
        url: `sqlite:///people.db`, `sqlite:////absolute/people.db` or `postgresql://user:password@host/database`.
        master_key: 32 bytes, their base64 text, or a file that holds either. None: the environment variable SARTOR_MASTER_KEY, then the file
            `<database>.key` beside an SQLite file, made on first use, readable by its owner only: keep a copy of it somewhere else.
        create: False raises `StoreProblem` when there is no store yet.

        Raises `StoreProblem` before anything is written: wrong or missing master key, unreachable or damaged database, newer tables than ours.
        """
        db = Database(url)
        try:
            sealed = _sealed_root(db, create)
            master = read_master(master_key, beside=db.path, exists=sealed is not None)
            root = None
            if sealed is not None:
                if master_key is None:
                    master = finish_rotation(db.path, master, sealed)
                root = open_root(master, sealed)
            _migrate(db)
            if root is None or sealed is None:
                with db.write(EVERY_TENANT) as connection:
                    # Whoever comes first decides; the others read it.
                    row = {"id": 1, "wrapped": new_root(master), "made": time.time()}
                    connection.execute(db.insert(keyring).values(row).on_conflict_do_nothing())
                    sealed = connection.execute(sa.select(keyring.c.wrapped)).scalar_one()
                root = open_root(master, sealed)
            folder = _blob_folder(db)
        except BaseException:
            db.close()
            raise
        return cls(db, Keyring(master, root, sealed_root=sealed), Blobs(folder))

    def close(self) -> None:
        """Close every connection of this process."""
        self.db.close()

    def check(self) -> None:
        """Raise `StoreProblem` when the database does not answer, or has another master key by now."""
        with self.db.read(EVERY_TENANT) as connection:
            if connection.execute(sa.select(keyring.c.wrapped)).scalar() != self.keyring.sealed_root:
                raise StoreProblem("the master key of this store was changed", fix="start this process again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ProfileStore({self.url})"

    @property
    def url(self) -> str:
        """Where it is, without a password."""
        return self.db.url

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.db.dialect

    def append(self, tenant: str, records: Sequence[Record]) -> Receipt:
        """Keep evidence: all of it or none, on the disk when this returns, and its people marked stale.

        A record whose id the person has already is a duplicate and changes nothing. Raises `BadValue` or `TooLarge` with the record's number.
        """
        return self._appender.append(tenant, records)

    def evidence(
        self, tenant: str, person: str, *, purpose: str | None = None, frames: Collection[FrameName] | None = None,
        after: int = 0, before: int | None = None, limit: int | None = None, newest_first: bool = False,
    ) -> list[Record]:  # fmt: skip
        """One person's evidence in the order of arrival, or the reverse.

        Parameters
        ----------
        purpose: what it is read for: nothing comes without the person's consent to that, nor records that are meant for other purposes. None reads
            all, for the person herself.
        after, before: only what came after, and before, these positions.
        """
        span = (after, before)
        return self._evidence.of_person(tenant, person, purpose=purpose, frames=frames, span=span, limit=limit, newest_first=newest_first)

    def evidence_of(
        self, tenant: str, people: Sequence[str], *, purpose: str | None, frames: Collection[FrameName] | None = None, limit: int | None = None
    ) -> dict[str, list[Record]]:
        """The newest `limit` records of each of many people, oldest first; an empty list for who is unknown or does not allow it."""
        return self._evidence.of_people(tenant, people, purpose=purpose, frames=frames, limit=limit)

    def count(self, tenant: str, person: str) -> int:
        """How many records of a person are kept."""
        return self._evidence.count(tenant, person)

    def remove(self, tenant: str, person: str, ids: Sequence[str]) -> int:
        """Delete records for good; how many there were. Marks the person stale."""
        return self._evidence.remove(tenant, person, ids)

    def people(self, tenant: str, *, after: str = "", limit: int = 100, query: str | None = None) -> list[PersonCard]:
        """A page of people in a fixed order of no meaning, after the given one; `query` is looked for in their ids (opens every id: 10 us each)."""
        return self._evidence.cards(tenant, after=after, limit=limit, query=query)

    def scan(
        self, tenant: str, *, purpose: str, frames: Sequence[FrameName] = ("events",), batch: int = 50_000, after: int = 0, until: int | None = None
    ) -> Iterator[pl.DataFrame]:
        """Everybody's evidence of those who allow the purpose, about `batch` records at a time; all rows of one person stand in one frame, in order.

        Parameters
        ----------
        after, until: only positions in (after, until]; None is the newest at the beginning.

        Columns: person (text), position, time (when it happened, or else arrived; whole seconds), kind, and what the content holds. A column of
        ids is Int64 when all are whole numbers, text otherwise; `frame` is added when several are asked for.
        """
        for frame in frames:
            for group in self._evidence.each(tenant, purpose=purpose, frame=frame, after=after, until=until, batch=batch):
                yield frame_of(group, frame if len(frames) > 1 else None)

    def changed(self, tenant: str, after: int) -> list[str]:
        """People with evidence newer than a position."""
        return self._evidence.changed(tenant, after)

    def position(self, tenant: str) -> int:
        """The newest position given out."""
        return self._queue.position(tenant)

    def counts(self, tenant: str) -> dict[str, int]:
        """How many people, records, items and states there are, and their bytes as stored."""
        count = sa.select(sa.func.count())
        size = sa.func.coalesce(sa.func.sum(sa.func.length(evidence.c.data)), 0)
        kept = sa.func.coalesce(sa.func.sum(states.c.nbytes), 0)
        with self.db.read(tenant, snapshot=True) as connection:
            found = {table.name: connection.execute(count.where(table.c.tenant == tenant)).scalar_one() for table in (people, items)}
            gone = connection.execute(count.where(items.c.tenant == tenant, items.c.attributes == GONE)).scalar_one()
            records, written = connection.execute(sa.select(sa.func.count(), size).where(evidence.c.tenant == tenant)).one()
            versions, made = connection.execute(sa.select(sa.func.count(), kept).where(states.c.tenant == tenant)).one()
        return {**found, "items": found["items"] - gone, "records": records, "states": versions, "bytes": int(written + made)}

    def put_state(self, tenant: str, person: str, verb: str, state: State, *, model: str, position: int) -> StoredState:
        """Keep a person's state made by `model` from all evidence up to `position`, and take the stale mark away if that is current.

        The mark stays when another model is the active one of this verb. Returns the newest of that model: the one that is there when it has seen
        more. Raises `UnknownId` when nothing is known of the person (any more).
        """
        written = self._states.put(tenant, verb, {person: state}, model=model, positions={person: position})
        found = written.get(person) or self._states.get(tenant, person, verb, version=None, model=model)
        if found is None:
            raise UnknownId("nothing is known of this person", fix="give evidence first")
        return found

    def put_states(
        self, tenant: str, verb: str, states: Mapping[str, State], *, model: str, position: Mapping[str, int] | int,
        claims: Collection[Claim] | None = None, clear: bool = True,
    ) -> dict[str, StoredState]:  # fmt: skip
        """The same for many people in one transaction; those that were written.

        Parameters
        ----------
        claims: write only whose stale mark is still the one that was claimed, so that nobody's state comes back after she was forgotten.
        clear: False leaves the marks, when more states are to follow for the same claims.
        """
        positions = dict.fromkeys(states, position) if isinstance(position, int) else position
        return self._states.put(tenant, verb, states, model=model, positions=positions, claims=claims, clear_mark=clear)

    def state(self, tenant: str, person: str, verb: str, *, version: int | None = None, model: str | None = None) -> StoredState | None:
        """The held state, else the newest, or None; of one model, or one version, when asked. Raises `Unreadable` for a damaged one."""
        return self._states.get(tenant, person, verb, version=version, model=model)

    def states(self, tenant: str, people: Sequence[str], verb: str, *, model: str | None = None) -> dict[str, StoredState]:
        """The same for many people: those who have one that can be read."""
        return self._states.get_many(tenant, people, verb, model)

    def standing(self, tenant: str, people: Sequence[str], *, purpose: str, verb: str, model: str) -> dict[str, Standing]:
        """What an answer needs to know of people, in one statement: consent, the state of a model that answers, and whether it lags behind."""
        return self._standings.of(tenant, people, purpose=purpose, verb=verb, model=model)

    def history(self, tenant: str, person: str, verb: str) -> list[StateCard]:
        """Versions that are kept (10 of each model), newest first."""
        return self._states.history(tenant, person, verb)

    def restore(self, tenant: str, person: str, verb: str, version: int, *, hold: bool = True) -> StoredState:
        """Copy an old version to a new one; with `hold` it is served, however many newer ones come, until `release`."""
        return self._states.restore(tenant, person, verb, version, hold=hold)

    def release(self, tenant: str, person: str, verb: str) -> None:
        """Serve the newest state again."""
        self._states.release(tenant, person, verb)

    def renew_state(self, tenant: str, person: str, verb: str, version: int) -> None:
        """A version turned out to be unreadable: hold it no longer, and mark the person stale unless she is."""
        self._states.release(tenant, person, verb, version)
        if not self._queue.is_stale(tenant, person):
            self._queue.mark(tenant, [person])

    def states_behind(self, tenant: str, verb: str, model: str) -> list[str]:
        """People whose states of a model have seen less than those of another: what was removed since is still in them."""
        return self._states.behind(tenant, verb, model)

    def drop_states(self, tenant: str, model: str) -> int:
        """Delete every state of a model; how many."""
        return self._states.drop(tenant, model)

    def stale(self, tenant: str | None = None) -> StaleCount:
        """How many people wait to be adapted; None: of all tenants."""
        return self._queue.count(tenant)

    def is_stale(self, tenant: str, person: str) -> bool:
        """Whether a person waits to be adapted."""
        return self._queue.is_stale(tenant, person)

    def claim(self, *, worker: str, limit: int = 64, lease: float = 30.0) -> list[Claim]:
        """Take those who wait longest, of all tenants, for `lease` seconds; then others may have them. Cheap when nobody waits."""
        return self._queue.claim(worker=worker, limit=limit, lease=lease)

    def done(self, claims: Iterable[Claim]) -> None:
        """There is nothing (more) to do for these: take their marks away, unless newer evidence has come."""
        self._queue.done(claims)

    def failed(self, claim: Claim, reason: str, retry_in: float) -> None:
        """Try again in so many seconds (at most an hour); `reason` holds nothing personal."""
        self._queue.failed(claim, reason, retry_in)

    def mark_stale(self, tenant: str, people: Sequence[str] | None) -> int:
        """Mark people as to be adapted again, None: everybody; how many. Unknown ones are left out."""
        return self._queue.mark(tenant, people)

    def consent(self, tenant: str, person: str, purpose: str, granted: bool, *, text: str = "", version: str = "", source: str = "") -> None:
        """Keep what a person says about a purpose: the words she saw, their version, where she said it. Marks her stale."""
        self._consents.put(tenant, person, purpose, granted, text=text, version=version, source=source)

    def consents(self, tenant: str, person: str) -> dict[str, Consent]:
        """For every purpose what holds now: her own newest word, or the tenant's default."""
        return self._consents.of_person(tenant, person)

    def consent_history(self, tenant: str, person: str) -> list[Consent]:
        """All a person ever said, oldest first."""
        with self.db.read(tenant, snapshot=True) as connection:
            return self._consents.history(connection, tenant, self.keyring.subject(tenant, str(person)))

    def allowed(self, tenant: str, person: str, purpose: str) -> bool:
        """Whether a purpose is allowed now."""
        return self._consents.allowed(tenant, person, purpose)

    def default_consent(self, tenant: str) -> frozenset[str]:
        """What people are taken to agree to until they say otherwise."""
        with self.db.read(tenant) as connection:
            return self._consents.defaults(connection, tenant)

    def set_default_consent(self, tenant: str, purposes: Collection[str]) -> None:
        """What people are taken to agree to until they say otherwise; all purposes but `train` and `share` at first. Marks everybody stale."""
        self._consents.set_defaults(tenant, purposes)
        self._queue.mark(tenant, None)

    def put_model(self, tenant: str, verb: str, model: ModelCard) -> None:
        """Add or replace a model's card; an active one retires the one before."""
        self._models.put(tenant, verb, model)

    def models(self, tenant: str, verb: str | None = None) -> list[ModelCard]:
        """Newest first."""
        return self._models.cards(tenant, verb)

    def active_model(self, tenant: str, verb: str) -> ModelCard | None:
        """The one that serves."""
        return self._models.active(tenant, verb)

    def activate(self, tenant: str, verb: str, fingerprint: str) -> ModelCard:
        """Let this model serve and retire the one before. Raises `UnknownId`."""
        return self._models.activate(tenant, verb, fingerprint)

    def models_version(self, tenant: str) -> int:
        """Changes whenever a model's card does."""
        return self._models.version(tenant)

    def note_members(self, tenant: str, model: str, people: Iterable[str]) -> int:
        """Keep whose evidence a model was fitted on; those who were forgotten meanwhile are left out. How many were kept."""
        return self._models.note_members(tenant, model, people)

    def members(self, tenant: str, model: str) -> list[str]:
        """Those whose evidence a model was fitted on."""
        return self._models.members(tenant, model)

    def models_of(self, tenant: str, person: str) -> list[str]:
        """Models that were fitted on a person's evidence."""
        return self._models.seen_by(tenant, self.keyring.subject(tenant, str(person)))

    def model_references(self) -> set[str]:
        """Fingerprints that any tenant's states refer to, and of models that are preparing, candidates or active."""
        return self._models.references()

    def drop_model(self, fingerprint: str) -> None:
        """Delete a model's cards, and whom it was fitted on, of all tenants: for a model whose files go, since nothing refers to it."""
        self._models.drop(fingerprint)

    def put_items(self, tenant: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add or replace items: `item` (the id), `hidden`, and any attributes as JSON; how many."""
        return self._items.put(tenant, rows)

    def items(
        self, tenant: str, ids: Iterable[Any] | None = None, *, after: str = "", limit: int | None = None, query: str | None = None
    ) -> pl.DataFrame:
        """The catalogue in the order of the ids: `item` String, `hidden` Boolean, and a column per attribute.

        Parameters
        ----------
        ids: only these, those of them that there are.
        after, limit: a page: the first so many whose id comes after this one.
        query: only items whose id or title holds this text, in whatever case.
        """
        return self._items.get(tenant, ids) if ids is not None else self._items.page(tenant, after=after, limit=limit, query=query)

    def hide_items(self, tenant: str, ids: Iterable[Any], hidden: bool = True) -> int:
        """Hide or show items at once; how many there were."""
        return self._items.hide(tenant, ids, hidden)

    def hidden_items(self, tenant: str) -> frozenset[str]:
        """Ids of the items that are hidden or deleted: much quicker than the whole catalogue."""
        return self._items.hidden(tenant)

    def delete_items(self, tenant: str, ids: Iterable[Any]) -> int:
        """Delete items; how many there were. No model shows one again, however it was fitted, until the item is put again."""
        return self._items.delete(tenant, ids)

    def items_version(self, tenant: str) -> int:
        """Changes whenever the catalogue does."""
        return self._items.version(tenant)

    def create_key(
        self, tenant: str, *, label: str, scopes: Collection[str], person: str | None = None, expires: float | None = None
    ) -> tuple[KeyCard, str]:
        """A new API key and its secret, which is shown only here. With `person` it opens only that person's data."""
        return self._access.create(tenant, label=label, scopes=scopes, person=person, expires=expires)

    def check_key(self, secret: str) -> KeyCard:
        """Whose key this is. Raises `AccessDenied`."""
        return self._access.check(secret)

    def keys(self, tenant: str) -> list[KeyCard]:
        """Oldest first, revoked ones too."""
        return self._access.cards(tenant)

    def revoke_key(self, tenant: str, key: str) -> None:
        """From now on it opens nothing. Raises `UnknownId`."""
        self._access.revoke(tenant, key)

    def put_job(self, tenant: str, kind: str, args: Mapping[str, Any], *, person: str | None = None) -> Job:
        """Queue long work. `args` is JSON without personal content; `person` says whom it is about."""
        return self._jobs.put(tenant, kind, args, person)

    def job(self, tenant: str, job: str) -> Job:
        """One job. Raises `UnknownId`."""
        return self._jobs.get(tenant, job)

    def jobs(self, tenant: str, *, status: str | None = None, limit: int = 100) -> list[Job]:
        """Newest first."""
        return self._jobs.cards(tenant, status, limit)

    def claim_job(self, *, worker: str, kinds: Collection[str] | None = None, lease: float = 60.0, tenant: str | None = None) -> Job | None:
        """Take the oldest queued job, or one whose worker has died, for `lease` seconds; None when there is none."""
        return self._jobs.claim(worker=worker, kinds=kinds, lease=lease, tenant=tenant)

    def job_progress(
        self, tenant: str, job: str, *, worker: str, progress: float | None = None, message: str | None = None, lease: float = 60.0,
        log: str | None = None,
    ) -> bool:  # fmt: skip
        """Say how far it is (0 to 1) and keep the lease; False when somebody cancelled it. Raises `Conflict` when another worker has it."""
        return self._jobs.progress(tenant, job, worker=worker, progress=progress, message=message, lease=lease, log=log)

    def finish_job(
        self, tenant: str, job: str, *, worker: str, status: str = "done", result: Mapping[str, Any] | None = None, error: str | None = None
    ) -> Job:
        """End a job as `done`, `failed` or `cancelled`. Raises `Conflict` when another worker has it."""
        return self._jobs.finish(tenant, job, worker=worker, status=status, result=result, error=error)

    def cancel_job(self, tenant: str, job: str) -> Job:
        """A queued job ends at once, a running one at its next sign of progress."""
        return self._jobs.cancel(tenant, job)

    def audit(self, tenant: str, action: str, *, person: str | None = None, detail: Mapping[str, Any] | None = None) -> None:
        """Note what was done, never content. The newest 100,000 lines of a tenant are kept."""
        self._audit.add(tenant, action, person, detail or {})

    def audits(self, tenant: str, person: str | None = None, limit: int = 100) -> list[AuditLine]:
        """Newest first."""
        return self._audit.lines(tenant, person, limit)

    def export(self, tenant: str, person: str, path: str | Path | None = None) -> bytes:
        """Everything that is kept of a person as one zip file; with `path` also written there. See `sartor.profile.export`."""
        from sartor.profile.export import export

        return export(self, tenant, person, path)

    def import_(self, tenant: str, source: str | Path | bytes, *, person: str | None = None) -> Imported:
        """Take such a file in, also as another person. See `sartor.profile.imports`."""
        from sartor.profile.imports import import_

        return import_(self, tenant, source, person=person)

    def forget(self, tenant: str, person: str, *, scan_files: bool | None = None) -> Erasure:
        """Remove everything that is kept of a person, and say what that was. See `sartor.profile.forget`."""
        from sartor.profile.forget import forget

        return forget(self, tenant, person, scan_files=scan_files)


def _sealed_root(db: Database, create: bool) -> bytes | None:
    """The wrapped root key of a store that is there, None when it is still to be made."""
    if db.path is not None and not db.path.exists():
        if not create:
            raise StoreProblem("there is no store", fix="check the path, or let it be made", file=db.path)
        try:
            db.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(db.path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as cause:
            raise StoreProblem(f"the database cannot be made: {cause.strerror}", fix="choose another place", file=db.path) from cause
    with explained(db.path), db.engine.connect() as connection:
        found = migrations.revision(connection)
        if found is None:
            if not create:
                raise StoreProblem("there is no store in this database", fix="check the URL, or let it be made", file=db.path)
            return None
        return connection.execute(sa.select(keyring.c.wrapped)).scalar()


def _migrate(db: Database) -> None:
    with explained(db.path), db.engine.connect() as connection:
        if migrations.revision(connection) == migrations.HEAD:
            return
    with db.write(EVERY_TENANT) as connection:
        if db.dialect == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7221)")  # one process at a time
        if migrations.revision(connection) != migrations.HEAD:
            migrations.upgrade(connection)
    db.engine.dispose()  # SQLite plans by figures that a connection reads when it opens


def _blob_folder(db: Database) -> Path:
    """`<database>.blobs` beside an SQLite file; for PostgreSQL where SARTOR_BLOBS says, or `sartor.blobs` here."""
    if db.path is not None:
        return db.path.with_name(db.path.name + ".blobs")
    return Path(os.environ.get("SARTOR_BLOBS", "sartor.blobs")).absolute()
