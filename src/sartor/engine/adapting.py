"""Keeping states fresh: whoever has new evidence is adapted in the background, soon, whatever crashes.

The queue of stale people is in the store, marked in the same transaction as the evidence; a claim has a lease, so that the people of a
worker that was killed are taken over by another. Every state is made from scratch out of the newest allowed evidence: the same evidence
gives the same state, whenever, by whomever and in whatever company it is made (to the rounding of the method's own batches).
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sartor.engine import draw
from sartor.engine import evidence as ev
from sartor.engine.answers import Adapting
from sartor.engine.states import made
from sartor.errors import SartorError, StoreProblem

if TYPE_CHECKING:
    from sartor.engine.catalogue import Shelves
    from sartor.engine.models import Loaded, Models
    from sartor.method import State
    from sartor.profile.records import Claim, Record
    from sartor.profile.store import ProfileStore

POLL = 0.25
"""Seconds between looks for people whom other processes have marked."""
LEASE = 15.0
"""Seconds after which another worker may take over."""
DRAWING_LEASE = 600.0
"""The same while things are learned from somebody's photos."""
FEWEST, MOST = 16, 512
"""People claimed at once; as many as take about a second."""
FIRST_RETRY, LAST_RETRY = 1.0, 900.0
"""Seconds until a person whose state could not be made is tried again; twice as long after every failure."""
HOUSEKEEPING = 60.0
"""Seconds between looks whether retention is due."""
PURGE, PURGE_BUSY = 5.0, 1.0
"""Seconds of one turn of it; the second while people wait to be adapted."""

log = logging.getLogger(__name__)


class Adapter:
    """Makes states of stale people: in a thread of its own (`start`), or when told (`step`). One per process and store, for all tenants.

    `idle` is called between looks, whenever nobody is stale.
    """

    def __init__(self, store: ProfileStore, models: Models, shelves: Shelves, idle: Callable[[], None] = lambda: None) -> None:
        self._store, self._models, self._shelves = store, models, shelves
        self._idle = idle
        self._worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._condition = threading.Condition()
        self._woken = self._closed = False
        self._thread: threading.Thread | None = None
        self._at_once = 64
        self._adapted = self._failed = 0
        self._busy = 0.0
        self._error: str | None = None
        self._look = time.monotonic() + HOUSEKEEPING

    def start(self) -> None:
        """Work in the background from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sartor-adapter", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """There is new evidence: do not wait for the next look."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def close(self) -> None:
        """End after the people at hand; who is still stale stays marked."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(LEASE)

    @property
    def status(self) -> Adapting:
        """How it is doing."""
        running = self._thread is not None and self._thread.is_alive()
        return Adapting(running, self._adapted, self._failed, self._busy, self._error)

    def catch_up(self, tenant: str, timeout: float) -> bool:
        """Wait until nobody of a tenant is stale but those whose last attempt failed; False when time ran out first.

        Without a background thread, the calling one does the work.
        """
        until, pause = time.monotonic() + timeout, 0.002
        while True:
            if self._thread is None:
                self.step()
            else:
                self.wake()
            stale = self._store.stale(tenant)
            if stale.people <= stale.failing:
                return True
            if time.monotonic() >= until:
                return False
            if self._thread is not None or not stale.people:
                time.sleep(pause)
                pause = min(2 * pause, 0.05)

    def step(self) -> int:
        """Claim some stale people and make their states; returns how many were claimed."""
        claims = self._store.claim(worker=self._worker, limit=self._at_once, lease=LEASE)
        if not claims:
            return 0
        start = time.perf_counter()
        tenants: dict[str, list[Claim]] = {}
        for claim in claims:
            tenants.setdefault(claim.tenant, []).append(claim)
        problems: list[Exception] = []
        for tenant, own in tenants.items():
            try:
                self._adapt(tenant, own)
            except Exception as problem:  # a tenant whose model is damaged must not stop the others
                problems.append(problem)
        took = time.perf_counter() - start
        self._busy += took
        if len(claims) == self._at_once:
            self._at_once = max(FEWEST, min(MOST, self._at_once * 2 if took < 0.5 else self._at_once // 2 if took > 2 else self._at_once))
        if problems:
            raise problems[0]
        return len(claims)

    # --- one tenant's people

    def _adapt(self, tenant: str, claims: Sequence[Claim]) -> None:
        verbs = {verb: models for verb in ev.READS if (models := self._targets(tenant, verb))}
        if not verbs:
            # Whoever installs a model marks everybody.
            self._store.done(claims)
            return
        try:
            people = [claim.person for claim in claims]
            read = {verb: ev.read(self._store, tenant, people, verb) for verb in verbs}
        except StoreProblem as problem:
            # Damaged evidence of one person must stop nobody else; when the store is away, the next call says so.
            if len(claims) == 1:
                self._put_off(claims[0], type(problem).__name__)
            else:
                for claim in claims:
                    self._adapt(tenant, [claim])
            return
        failures: dict[str, str] = {}
        ended: set[str] = set()
        for verb, targets in verbs.items():
            records, last = read[verb], verb == next(reversed(verbs))
            waiting = [claim for claim in claims if self._wants_state(tenant, verb, claim.person, records.get(claim.person, []))]
            own = {claim.person: records.get(claim.person, []) for claim in waiting}
            # The active model last: its states end the mark, once those of all verbs are there. What fails for one that is only prepared
            # is counted there.
            failed: dict[str, str] = {}
            for loaded in targets:
                known = {one.person: draw.before(self._store, tenant, one.person, loaded) for one in waiting} if verb == draw.VERB else {}
                if verb == draw.VERB and loaded is targets[-1]:
                    # Learning from photos takes seconds to minutes: not again for what has nothing to do with them.
                    waiting = [one for one in waiting if not draw.is_current(known[one.person], own[one.person])]
                failed = {}
                for some in [[one] for one in waiting] if verb == draw.VERB else [waiting]:
                    if verb == draw.VERB:
                        self._store.extend(claims, DRAWING_LEASE)
                    mine = {one.person: own[one.person] for one in some}
                    states, lost = made(loaded, mine, self._shelves.ids(loaded.method), background=self._thread is not None, before=known)
                    whole, others = ([one for one in some if (one.person in failures) is lame] for lame in (False, True))
                    failed |= lost | self._put(tenant, verb, loaded, states, whole, clear=last)
                    failed |= self._put(tenant, verb, loaded, states, others, clear=False)
            failures |= failed
            ended = {claim.person for claim in waiting} if last else ended
        if idle := [claim for claim in claims if claim.person not in ended and claim.person not in failures]:
            self._store.done(idle)
        for claim in claims:
            if claim.person in failures:
                self._put_off(claim, failures[claim.person])

    def _targets(self, tenant: str, verb: str) -> list[Loaded]:
        """Models that want states: those being prepared, then the one that serves."""
        active = self._models.active(tenant, verb)
        return [*self._models.preparing(tenant, verb), *([active] if active is not None else [])]

    def _put(
        self, tenant: str, verb: str, loaded: Loaded, states: Mapping[str, State], claims: Sequence[Claim], *, clear: bool
    ) -> dict[str, str]:  # fmt: skip
        """Store states; returns who could not be stored and why. A state that the store refuses (too large) stops nobody else's."""
        own = [claim for claim in claims if claim.person in states]
        if not own:
            return {}
        some = {claim.person: states[claim.person] for claim in own}
        positions = {claim.person: claim.position for claim in own}
        try:
            self._store.put_states(tenant, verb, some, model=loaded.fingerprint, position=positions, claims=own, clear=clear)
            self._adapted += len(some)
            return {}
        except StoreProblem:
            raise
        except SartorError as problem:
            if len(own) == 1:
                return {own[0].person: type(problem).__name__}
            alone = [self._put(tenant, verb, loaded, states, [claim], clear=clear) for claim in own]
            return {person: reason for one in alone for person, reason in one.items()}

    def _wants_state(self, tenant: str, verb: str, person: str, records: Sequence[Record]) -> bool:
        """Whether there is something to make a state of, or an older state that evidence taken away must leave."""
        if records:
            return True
        return self._store.allowed(tenant, person, verb) and bool(self._store.history(tenant, person, verb))

    def _put_off(self, claim: Claim, reason: str) -> None:
        self._failed += 1
        self._error = reason
        wait = min(FIRST_RETRY * 2 ** min(claim.attempts - 1, 30), LAST_RETRY)
        log.warning("a state could not be made (attempt %d, %s); again in %.0f s", claim.attempts, reason, wait)
        self._store.failed(claim, reason, retry_in=wait)

    # --- the thread

    def _run(self) -> None:
        pause = POLL
        while not self._closed:
            try:
                busy = self.step()
                if not busy:
                    self._idle()
                pause = POLL
            except Exception as problem:  # the store may be away for a while: nothing is lost, and the thread must outlive it
                self._error = type(problem).__name__
                log.warning("adapting is interrupted: %s", self._error)
                busy, pause = 0, min(2 * pause, 5.0)
            self._keep_house(busy > 0)
            if busy:
                continue
            with self._condition:
                if not self._woken and not self._closed:
                    self._condition.wait(pause)
                # After an interruption, wait all the same: observing must not make it spin.
                self._woken = False
            if pause > POLL and not self._closed:
                time.sleep(POLL)

    def _keep_house(self, busy: bool) -> None:
        """Retention has its own turn, also while somebody always waits or nobody can be adapted: a tenth of the time, until it is done."""
        if time.monotonic() < self._look:
            return
        self._look = time.monotonic() + HOUSEKEEPING
        from sartor.profile import retention

        start = time.monotonic()
        try:
            if not (retention.due(self._store) and retention.claim(self._store)):
                return
            if not retention.purge(self._store, limit_seconds=PURGE_BUSY if busy else PURGE).finished:
                self._look = time.monotonic() + 9 * (time.monotonic() - start)
        except Exception as problem:  # as above; the next turn goes on
            log.warning("retention is interrupted: %s", type(problem).__name__)
