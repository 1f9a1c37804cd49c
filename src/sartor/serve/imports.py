"""Uploaded files into the store: every row is checked before the first one is kept, then they are stored in batches, as a job that can be followed.

The file is in this process alone, without a name on the disk, so nothing of it is left behind however the process ends; then the job is
ended by whoever finds it. Sending the file again does no harm: what is stored already is counted as a duplicate.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from sartor.errors import Conflict, EmptyData, SartorError, StoreProblem, TooLarge
from sartor.profile.jobs import Jobs
from sartor.profile.records import Record
from sartor.serve.rows import Bad, Events, Items, Plan
from sartor.serve.tables import MOST_ROWS, Table

if TYPE_CHECKING:
    from sartor.engine import Engine
    from sartor.profile.records import Job

KIND = "import"
LEASE = 60.0
AT_ONCE = 2
"""Files that one process takes in at the same time."""
SHOWN = 100
"""Bad rows that are told one by one."""
BATCH = 2_000
EVERY = 0.5
"""Seconds between two signs of progress."""
_CHECKING = 0.3
"""Share of the work that is checking."""
ENDED = "the server ended while it imported; send the file again: what is stored already is not stored twice"

log = logging.getLogger(__name__)


class Stopped(Exception):
    """Somebody cancelled the job, or the server ends."""


class Importer:
    """Imports of one process, a few at a time."""

    def __init__(self) -> None:
        self.worker = f"import-{os.getpid()}-{os.urandom(4).hex()}"
        self._places, self._stop = threading.BoundedSemaphore(AT_ONCE), threading.Event()
        self._threads: set[threading.Thread] = set()

    def take(self) -> None:
        """Take a place; raises `Conflict` when there is none."""
        if not self._places.acquire(blocking=False):
            raise Conflict(f"{AT_ONCE} files are being imported", fix="wait until one of those jobs has ended, or cancel one")

    def leave(self) -> None:
        """Let the next one come; only for who has taken a place and starts nothing."""
        self._places.release()

    def start(self, engine: Engine, file: IO[bytes], plan: Plan, *, source: str) -> Job:
        """Begin; whoever calls has taken a place, which is left when the work ends. Raises what is wrong with the columns."""
        table = Table(file, plan.format)
        plan.check([] if plan.format == "jsonl" else table.columns())  # of JSON lines any row may have other ones
        job = Jobs(engine.store.db, engine.store.keyring).put(engine.tenant, KIND, plan.as_dict(), None, worker=self.worker, lease=LEASE)
        work = _Work(engine, job, table, plan, self.worker, source, self._stop)
        thread = threading.Thread(target=self._run, args=(work,), name="sartor-import", daemon=True)
        self._threads = {one for one in self._threads if one.is_alive()} | {thread}
        thread.start()
        return job

    def _run(self, work: _Work) -> None:
        try:
            work.run()
        finally:
            work.table.file.close()
            self.leave()
        # Last of all: who sees the end may start the next one.
        work.finish()

    def close(self) -> None:
        """End the running imports; what they have stored stays."""
        self._stop.set()
        until = time.monotonic() + 5
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))


class _Work:
    """One import."""

    def __init__(self, engine: Engine, job: Job, table: Table, plan: Plan, worker: str, source: str, stop: threading.Event) -> None:
        self.engine, self.job, self.table, self.plan, self.worker, self.source, self.stop = engine, job, table, plan, worker, source, stop
        self.rows = self.stored = self.duplicates = self.bad = 0
        self.problems: list[Bad] = []
        self.status: str = "failed"
        self.error: str | None = None
        self._told = 0.0

    def run(self) -> None:
        """Check and store. Never raises for what is in the file."""
        try:
            self.error = self._do()
            self.status = "failed" if self.error else "done"
        except Stopped:
            self.status, self.error = ("failed", ENDED) if self.stop.is_set() else ("cancelled", None)
        except SartorError as problem:
            self.error = str(problem)
        except Exception as defect:
            # The kind and the place only: what a library says may quote what it was given.
            log.error("import %s failed: %s\n%s", self.job.id, type(defect).__name__, "".join(traceback.format_tb(defect.__traceback__)))
            self.error = f"sartor failed: {type(defect).__name__}"

    def finish(self) -> None:
        """Write into the job, and the audit, what became of it."""
        result = {
            "rows": self.rows, "stored": self.stored, "duplicates": self.duplicates, "bad": self.bad,
            "problems": [one.as_dict() for one in self.problems],
        }  # fmt: skip
        with suppress(SartorError):
            self.engine.store.audit(self.engine.tenant, "import", detail={"into": self.plan.into, "stored": self.stored, "status": self.status})
        with suppress(Conflict, StoreProblem):
            self.engine.store.finish_job(
                self.engine.tenant, self.job.id, worker=self.worker, status=self.status, result=result, error=self.error
            )  # fmt: skip

    def _do(self) -> str | None:
        kind: Events | Items = Events(self.plan) if self.plan.into == "events" else Items(self.plan)
        self._check(kind)
        if not self.rows:
            raise EmptyData("the file has no rows", fix="choose another one")
        if self.bad and (not self.plan.skip or self.bad == self.rows):
            return f"{self.bad:,} of {self.rows:,} rows cannot be taken; nothing was stored"
        self._say(_CHECKING, "checked", f"checked {self.rows:,} rows, {self.bad:,} of them left out")
        self._store(kind)
        return None

    def _check(self, kind: Events | Items) -> None:
        end = max(1, os.fstat(self.table.file.fileno()).st_size)
        total = None if self.table.format != "parquet" else max(1, self.table.rows_said())
        for number, row in self.table.rows():
            self.rows += 1
            if self.rows > MOST_ROWS:
                raise TooLarge(f"more than {MOST_ROWS:,} rows", fix="import the file in parts")
            bad = kind.check(number, row)
            if bad is not None:
                self.bad += 1
                if len(self.problems) < SHOWN:
                    self.problems.append(bad)
            if self._due():
                share = self.rows / total if total else self.table.place() / end
                self._say(_CHECKING * min(1.0, share), f"checking, {self.rows:,} rows so far")
        kind.checked()

    def _store(self, kind: Events | Items) -> None:
        start, done, wanted = time.monotonic(), 0, self.rows - self.bad
        for batch in _batches(kind.ready(self.table.rows())):
            self._put(batch)
            done += len(batch)
            if self._due():
                rate = done / max(1e-3, time.monotonic() - start)
                self._say(_CHECKING + (1 - _CHECKING) * done / wanted, f"stored {done:,} of {wanted:,} rows, {rate:,.0f} a second")
        self._say(1.0, f"stored {done:,} rows", f"{self.stored:,} new, {self.duplicates:,} there already")

    def _put(self, batch: Sequence[Any]) -> None:
        if self.plan.into == "items":
            self.stored += self.engine.store.put_items(self.engine.tenant, batch)
            return
        records = [Record(row.pop("person"), "events", row.pop("id"), source=self.source, **row) for row in batch]
        receipt = self.engine.observe_many(records, source=self.source)
        self.stored, self.duplicates = self.stored + receipt.accepted, self.duplicates + receipt.duplicates

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._told < EVERY:
            return False
        self._told = now
        return True

    def _say(self, share: float, message: str, line: str | None = None) -> None:
        if self.stop.is_set():
            raise Stopped
        goes_on: Callable[..., bool] = self.engine.store.job_progress
        told: Mapping[str, Any] = {"progress": share, "message": message, "lease": LEASE, "log": line}
        if not goes_on(self.engine.tenant, self.job.id, worker=self.worker, **told):
            raise Stopped


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
