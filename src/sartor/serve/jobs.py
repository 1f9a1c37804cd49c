"""Runs queued jobs (fits, switches) beside the server.

A server that was started with `sartor serve` gives every job a process of its own: fitting then costs requests no more than the processor
it shares, its memory goes back when it ends, and what kills it kills nothing else. An app made around somebody's engine runs jobs in a
thread of that engine. A job whose runner dies is taken over when its lease ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from typing import TYPE_CHECKING

from sartor.errors import SartorError
from sartor.serve import imports

if TYPE_CHECKING:
    from sartor.engine import Engine
    from sartor.profile.records import Job
    from sartor.serve.opening import Opening

# The first two as `sartor.engine.jobs` has them; importing that, and with it everything that fits and measures, is left to the job's own process.
KINDS = ("fit", "switch", imports.KIND)
EVERY = 2.0
"""Seconds between looks for jobs that another process queued."""
LEASE = 60.0

log = logging.getLogger(__name__)


class Runner:
    """Claims jobs one at a time and has them run.

    Parameters
    ----------
    opening: how a process of its own opens the engine; None: jobs run in this process.
    """

    def __init__(self, engine: Engine, opening: Opening | None) -> None:
        self.engine, self.opening = engine, opening
        self.name = f"serve-{os.getpid()}-{os.urandom(4).hex()}"
        self._wake, self._stop = threading.Event(), threading.Event()
        self._child: multiprocessing.process.BaseProcess | None = None
        self._thread = threading.Thread(target=self._run, name="sartor-jobs", daemon=True)

    def start(self) -> None:
        """Begin to look for jobs."""
        self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                job = self.engine.store.claim_job(worker=self.name, kinds=KINDS, lease=LEASE)
                if job is not None:
                    self._do(job)
                    continue
            except SartorError as error:
                # The database may be away for a while; jobs wait for it as everything else does.
                log.warning("jobs wait: %s", type(error).__name__)
            self._wake.wait(EVERY)
            self._wake.clear()

    def _do(self, job: Job) -> None:
        if job.kind == imports.KIND:
            # These are never queued: it was running in a process that has died, and its file with it.
            self.engine.store.finish_job(job.tenant, job.id, worker=self.name, status="failed", error=imports.ENDED)
            return
        if self.opening is not None:
            self._in_process(job)
            return
        from sartor.engine.jobs import run_job

        run_job(self.engine.for_tenant(job.tenant), job, worker=self.name)

    def _in_process(self, job: Job) -> None:
        child = multiprocessing.get_context("spawn").Process(
            target=_child, args=(self.opening, job, self.name), name=f"sartor-job-{job.id}", daemon=True
        )
        child.start()
        self._child = child
        child.join()
        self._child = None
        if child.exitcode:
            ended = self.engine.store.job(job.tenant, job.id)
            if ended.status == "running" and ended.claimed_by == self.name and not self._stop.is_set():
                error = f"the process of this job ended with code {child.exitcode}: was there enough memory?"
                self.engine.store.finish_job(job.tenant, job.id, worker=self.name, status="failed", error=error)

    def close(self) -> None:
        """Stop looking; a running job ends without switching anything, and its next runner takes it over."""
        self._stop.set()
        self._wake.set()
        if self._child is not None:
            self._child.terminate()
        if self._thread.is_alive():
            self._thread.join(timeout=5)


def _child(opening: Opening, job: Job, worker: str) -> None:
    from sartor.engine.jobs import run_job

    with opening.engine(background=False) as engine:
        run_job(engine.for_tenant(job.tenant), job, worker=worker)
