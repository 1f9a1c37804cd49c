"""Long work, kept where a restart cannot lose it: queued, claimed by a worker for a lease, followed, cancelled."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from sartor.errors import Conflict, UnknownId
from sartor.profile.append import sortable_id
from sartor.profile.database import EVERY_TENANT, Database
from sartor.profile.keyring import Keyring
from sartor.profile.names import check_name, check_tenant
from sartor.profile.records import Job
from sartor.profile.schema import jobs
from sartor.profile.tenancy import People, next_position

WAITING = 20
"""Unfinished jobs that one tenant may have: fits take minutes, and other tenants wait behind them."""
KEPT = 1_000
"""Finished jobs per tenant; older ones go."""
LINES = 200
"""Of a job's log."""
DEATHS = 3
"""Workers that may die of a job; then it is not tried again: what takes a process down would go on doing so."""
_DIED = "its worker died; another one goes on"
_FINISHED = ("done", "failed", "cancelled")


class Jobs:
    """Writes and reads jobs."""

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self.db, self.keyring, self.people = db, keyring, People(db, keyring)

    def put(self, tenant: str, kind: str, args: Mapping[str, Any], person: str | None, *, worker: str = "", lease: float = 0.0) -> Job:
        """See `ProfileStore.put_job`. With `worker` it is that one's from the start: work that only it can do, since only it has the input."""
        tenant, now = check_tenant(tenant), time.time()
        row: dict[str, Any] = {
            "tenant": tenant, "id": sortable_id(now), "kind": kind, "args": json.dumps(dict(args)), "subject": None, "status": "queued",
            "progress": 0.0, "message": "", "created": now, "log": "[]", "claimed_by": worker, "cancel": False,
        }  # fmt: skip
        if worker:
            row |= {"status": "running", "started": now, "lease": now + lease}
        with self.db.write(tenant) as connection:
            if person is not None:
                next_position(self.db, connection, tenant)
                row["subject"] = self.people.known_or_new(connection, tenant, check_name(person, "person")).subject
            unfinished = jobs.c.tenant == tenant, jobs.c.status.not_in(_FINISHED)
            if connection.execute(sa.select(sa.func.count()).where(*unfinished)).scalar_one() >= WAITING:
                raise Conflict(f"{WAITING} jobs are waiting already", fix="wait until one has finished, or cancel one")
            finished = (jobs.c.tenant == tenant, jobs.c.status.in_(_FINISHED))
            keep = sa.select(jobs.c.id).where(*finished).order_by(jobs.c.id.desc()).limit(KEPT)
            connection.execute(jobs.delete().where(*finished, jobs.c.id.not_in(keep)))
            connection.execute(jobs.insert(), [row])
        return self.get(tenant, row["id"])

    def get(self, tenant: str, job: str) -> Job:
        """One job; raises `UnknownId`."""
        with self.db.read(tenant) as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.tenant == tenant, jobs.c.id == job)).first()
            if row is None:
                raise UnknownId("there is no such job", fix="see jobs()", job=job)
            return self._card(connection, row)

    def cards(self, tenant: str, status: str | None, limit: int) -> list[Job]:
        """Newest first."""
        query = sa.select(jobs).where(jobs.c.tenant == tenant).order_by(jobs.c.id.desc()).limit(limit)
        if status is not None:
            query = query.where(jobs.c.status == status)
        with self.db.read(tenant, snapshot=True) as connection:
            return [self._card(connection, row) for row in connection.execute(query).all()]

    def claim(self, *, worker: str, kinds: Collection[str] | None, lease: float, tenant: str | None) -> Job | None:
        """See `ProfileStore.claim_job`."""
        now, scope = time.time(), EVERY_TENANT if tenant is None else tenant
        free = sa.or_(jobs.c.status == "queued", sa.and_(jobs.c.status == "running", jobs.c.lease < now))
        query = sa.select(jobs.c.tenant, jobs.c.id, jobs.c.status, jobs.c.log).where(free).order_by(jobs.c.id).limit(1)
        if kinds is not None:
            query = query.where(jobs.c.kind.in_(list(kinds)))
        if tenant is not None:
            query = query.where(jobs.c.tenant == tenant)
        with self.db.read(scope) as connection:
            if connection.execute(query).first() is None:
                return None
        with self.db.write(scope) as connection:
            row = connection.execute(query.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            lines = json.loads(row.log)
            if row.status == "running":
                if lines.count(_DIED) + 1 >= DEATHS:
                    end = {"status": "failed", "finished": now, "lease": None, "error": f"its worker died {DEATHS} times"}
                    connection.execute(jobs.update().where(jobs.c.tenant == row.tenant, jobs.c.id == row.id).values(**end))
                    return None
                lines = [*lines, _DIED][-LINES:]
            taken = {"status": "running", "claimed_by": worker, "lease": now + lease, "started": sa.func.coalesce(jobs.c.started, now)}
            connection.execute(jobs.update().where(jobs.c.tenant == row.tenant, jobs.c.id == row.id).values(**taken, log=json.dumps(lines)))
        return self.get(row.tenant, row.id)

    def progress(self, tenant: str, job: str, *, worker: str, progress: float | None, message: str | None, lease: float, log: str | None) -> bool:
        """See `ProfileStore.job_progress`."""
        here = (jobs.c.tenant == tenant, jobs.c.id == job)
        with self.db.write(tenant, durable=False) as connection:
            row = connection.execute(
                sa.select(jobs.c.log, jobs.c.cancel).where(*here, jobs.c.status == "running", jobs.c.claimed_by == worker)
            ).first()
            if row is None:
                raise Conflict("this job is not this worker's any more", fix="stop working on it", job=job)
            values: dict[str, Any] = {"lease": time.time() + lease}
            if progress is not None:
                values["progress"] = min(1.0, max(0.0, progress))
            if message is not None:
                values["message"] = message[:500]
            if log is not None:
                values["log"] = json.dumps([*json.loads(row.log), log[:500]][-LINES:])
            connection.execute(jobs.update().where(*here).values(**values))
            return not row.cancel

    def finish(self, tenant: str, job: str, *, worker: str, status: str, result: Mapping[str, Any] | None, error: str | None) -> Job:
        """See `ProfileStore.finish_job`."""
        here = (jobs.c.tenant == tenant, jobs.c.id == job, jobs.c.status == "running", jobs.c.claimed_by == worker)
        values = {"status": status, "finished": time.time(), "lease": None, "error": None if error is None else error[:2000]}
        if status == "done":
            values["progress"] = 1.0
        with self.db.write(tenant) as connection:
            written = connection.execute(jobs.update().where(*here).values(**values, result=None if result is None else json.dumps(dict(result))))
            if not written.rowcount:
                raise Conflict("this job is not this worker's any more", fix="its result was not kept", job=job)
        return self.get(tenant, job)

    def cancel(self, tenant: str, job: str) -> Job:
        """See `ProfileStore.cancel_job`."""
        here = (jobs.c.tenant == tenant, jobs.c.id == job)
        with self.db.write(tenant) as connection:
            stopped = jobs.update().where(*here, jobs.c.status == "queued")
            if not connection.execute(stopped.values(status="cancelled", cancel=True, finished=time.time())).rowcount:
                connection.execute(jobs.update().where(*here, jobs.c.status == "running").values(cancel=True))
        return self.get(tenant, job)

    def _card(self, connection: sa.Connection, row: Any) -> Job:
        values = dict(row._mapping)
        subject = values.pop("subject")
        person = None if subject is None else self.people.names(connection, row.tenant, [subject]).get(subject)
        read = {"args": json.loads(row.args), "log": tuple(json.loads(row.log)), "result": None if row.result is None else json.loads(row.result)}
        return Job(**{**values, **read, "cancel": bool(row.cancel)}, person=person)
