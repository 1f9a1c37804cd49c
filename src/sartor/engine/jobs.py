"""Long work of an engine as jobs of the store: claimed, followed, cancelled, taken over when its worker dies."""

from __future__ import annotations

import logging
import threading
import traceback
from typing import TYPE_CHECKING, Any

from sartor.engine import rollout
from sartor.errors import ConfigError, Conflict, SartorError, StoreProblem

if TYPE_CHECKING:
    from sartor.engine.engine import Engine
    from sartor.profile.records import Job

KINDS = ("fit", "switch")
LEASE = 60.0
"""Seconds after which another worker may take the job over."""
BEAT = 15.0
"""Seconds between signs of life while a step reports nothing."""

log = logging.getLogger(__name__)


class JobWatch:
    """Writes progress into the job, and learns there that it was cancelled (`rollout.Watch`)."""

    def __init__(self, engine: Engine, job: Job, worker: str) -> None:
        self.engine, self.job, self.worker = engine, job, worker
        self._share, self._stage = 0.0, ""
        self._lost: SartorError | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="sartor-job", daemon=True)

    def __enter__(self) -> JobWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def report(self, share: float, message: str) -> None:
        """See `rollout.Watch`; writes at most every hundredth of the work and every new stage."""
        if self._lost is not None:
            raise self._lost
        stage = message.partition(":")[0]
        if stage == self._stage and share - self._share < 0.01:
            return
        new = stage != self._stage
        self._share, self._stage = share, stage
        try:
            self._told(share, message, stage if new else None)
        except StoreProblem as problem:
            log.warning("progress of job %s could not be written: %s", self.job.id, problem.what)

    def _told(self, share: float | None, message: str | None, line: str | None) -> None:
        goes_on = self.engine.store.job_progress(
            self.engine.tenant, self.job.id, worker=self.worker, progress=share, message=message, lease=LEASE, log=line
        )
        if not goes_on:
            raise rollout.Cancelled("the job was cancelled", fix="start it again when it is wanted")

    def _beat(self) -> None:
        """Keeps the lease, and notices a cancel, while the work itself has nothing to say."""
        while not self._done.wait(BEAT):
            try:
                self._told(None, None, None)
            except StoreProblem as problem:
                # The store may be away for a while; whether the job is still ours is seen at the next sign of life.
                log.warning("job %s could give no sign of life: %s", self.job.id, problem.what)
            except SartorError as stop:
                self._lost = stop
                return


def run_job(engine: Engine, job: Job, *, worker: str) -> Job | None:
    """Do a claimed job: "fit" (method, settings, holdout, min_gain, seed, activate, verb) or "switch" (fingerprint, force, verb).

    Its end is written into the job: done with what became of it, failed with the sentence of the error, cancelled. None when somebody else
    has taken it over. Never raises for what the work itself meets.
    """
    own = engine.for_tenant(job.tenant)
    status, result, error = "done", None, None
    try:
        with JobWatch(own, job, worker) as watch:
            result = _do(own, job, watch)
    except rollout.Cancelled:
        status = "cancelled"
    except Conflict:
        log.warning("job %s is another worker's by now", job.id)
        return None
    except SartorError as problem:
        status, error = "failed", str(problem)
    except Exception as defect:
        # The kind and the place only: what a library says may quote what it was given.
        log.error("job %s failed: %s\n%s", job.id, type(defect).__name__, "".join(traceback.format_tb(defect.__traceback__)))
        status, error = "failed", f"sartor failed: {type(defect).__name__}"
    try:
        return own.store.finish_job(job.tenant, job.id, worker=worker, status=status, result=result, error=error)
    except Conflict:
        return None


def _do(engine: Engine, job: Job, watch: JobWatch) -> dict[str, Any]:
    args = dict(job.args)
    if job.kind == "fit":
        known = {name: args[name] for name in ("holdout", "min_gain", "seed", "activate", "verb") if args.get(name) is not None}
        made = rollout.fit(engine, args["method"], args.get("settings"), progress=False, watch=watch, **known)
        return {
            "fingerprint": made.fingerprint, "accepted": made.accepted, "activated": made.activated, "reason": made.sentence, "refused": made.refused,
            "gain": made.report.get("gain"), "swap_gap": made.report.get("swap_gap"), "seconds": made.seconds,
        }  # fmt: skip
    if job.kind == "switch":
        card = rollout.switch(engine, args["fingerprint"], bool(args.get("force")), verb=args.get("verb", "recommend"), watch=watch)
        return {"fingerprint": card.fingerprint, "activated": True}
    raise ConfigError(f"there is no job '{job.kind}'", fix=f"jobs are {', '.join(KINDS)}")
