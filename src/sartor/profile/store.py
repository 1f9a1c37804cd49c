"""The store of evidence and personal states: SQLite or PostgreSQL, one interface."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from sartor.data.schema import FrameName
from sartor.errors import StoreProblem, UnknownId
from sartor.method import State
from sartor.profile.append import Appender
from sartor.profile.blobs import Blobs
from sartor.profile.consent import Consents
from sartor.profile.database import EVERY_TENANT, Database
from sartor.profile.evidence import EvidenceReader
from sartor.profile.frames import frame_of
from sartor.profile.keyring import Keyring
from sartor.profile.of_tenant import OfTenant
from sartor.profile.opening import opened
from sartor.profile.queue import Queue
from sartor.profile.records import (
    Claim,
    Consent,
    PersonCard,
    Receipt,
    Record,
    StaleCount,
    StateCard,
    StoredState,
)  # fmt: skip
from sartor.profile.schema import keyring
from sartor.profile.standing import Made, Serving, Standing, Standings
from sartor.profile.states import States

if TYPE_CHECKING:
    import polars as pl

    from sartor.profile.forget import Erasure
    from sartor.profile.imports import Imported
    from sartor.profile.withdrawn import Moment


class ProfileStore(OfTenant):
    """Everything that is kept of people, under their own keys. Safe to share between threads; several processes may open the same database.

    Open with `ProfileStore.open`. Every method takes the tenant first and never sees another tenant's rows. People are named by text of 1 to 500
    characters; a whole number is the same person as its digits. Any method may raise `StoreProblem` when the database cannot be reached or is full.
    """

    def __init__(self, db: Database, keys: Keyring, blobs: Blobs) -> None:
        super().__init__(db, keys)
        self.blobs = blobs
        self.on_forget: list[Callable[[str, str], None]] = []
        """Called with tenant and person after somebody was forgotten, so that caches drop her."""
        self._consents = Consents(db, keys, self._audit)
        self._appender = Appender(db, keys)
        self._evidence = EvidenceReader(db, keys, self._consents, self._audit)
        self._states = States(db, keys, self._audit, blobs, self._consents)
        self._standings = Standings(db, keys, blobs)
        self.on_load = self._standings.told
        """Called after the states of a batch were read, with the seconds and each state's bytes: for metrics."""
        self._queue = Queue(db, keys)

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
        return cls(*opened(url, master_key, create))

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
        claims: Collection[Claim] | None = None, clear: bool = True, newest: Mapping[str, int] | None = None, agreed: str | None = None,
        note: Record | None = None,
    ) -> dict[str, StoredState]:  # fmt: skip
        """The same for many people in one transaction; those that were written.

        Parameters
        ----------
        claims: write only whose stale mark is still the one that was claimed, so that nobody's state comes back after she was forgotten.
        clear: False leaves the marks, when more states are to follow for the same claims.
        newest: write only whose newest version is still this one (0: none), so that of two who add to one state neither undoes the other.
        agreed: write only who have said yes to this purpose themselves, at the moment of writing.
        note: evidence that is kept in the same transaction, and only if a state is.
        """
        positions = dict.fromkeys(states, position) if isinstance(position, int) else position
        return self._states.put(
            tenant, verb, states, model=model, positions=positions, claims=claims, clear_mark=clear, newest=newest, agreed=agreed,
            beside=None if note is None else lambda write: self._appender.append_if(tenant, [note], write),
        )  # fmt: skip

    def state(self, tenant: str, person: str, verb: str, *, version: int | None = None, model: str | None = None) -> StoredState | None:
        """The held state, else the newest, or None; of one model, or one version, when asked. Raises `Unreadable` for a damaged one."""
        return self._states.get(tenant, person, verb, version=version, model=model)

    def states(self, tenant: str, people: Sequence[str], verb: str, *, model: str | None = None) -> dict[str, StoredState]:
        """The same for many people: those who have one that can be read."""
        return self._states.get_many(tenant, people, verb, model)

    def standing(self, tenant: str, people: Sequence[str], *, purpose: str, verb: str, model: str) -> dict[str, Standing]:
        """What an answer needs to know of people, in one statement: consent, the state of a model that answers, and whether it lags behind."""
        return self._standings.of(tenant, people, purpose=purpose, verb=verb, model=model)

    def serving(self, tenant: str, *, purpose: str, verb: str, model: str, seen: Mapping[bytes, Made], since: Moment | None = None) -> Serving:
        """Which state answers of everybody who has one of a model and allows the purpose, beside what was `seen`; with `since`, the moment of which
        that is, only of those of whom something may have changed."""
        return self._standings.serving(tenant, purpose=purpose, verb=verb, model=model, seen=seen, since=since)

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

    def drop_verb(self, tenant: str, person: str, verb: str) -> int:
        """Delete every state of a person for one verb, whatever model it is of; how many versions there were."""
        return self._states.drop_verb(tenant, person, verb)

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

    def extend(self, claims: Iterable[Claim], lease: float) -> None:
        """These take longer: nobody else takes them over for so many seconds (at most an hour) from now."""
        self._queue.extend(claims, lease)

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
