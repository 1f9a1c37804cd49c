"""What all requests of one process share: the engine, checked keys, limits, numbers, the log."""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import Scope

from sartor.serve.auth import SCOPES, Caller, Keys
from sartor.serve.batching import Batcher
from sartor.serve.imports import Importer
from sartor.serve.jobs import Runner
from sartor.serve.logs import Log
from sartor.serve.metrics import Metrics
from sartor.serve.rate import Rate
from sartor.serve.tracing import Tracing, no_span, wanted
from sartor.serve.upstream import upstream
from sartor.serve.upstream_watch import Watched

if TYPE_CHECKING:
    from sartor.engine import Engine
    from sartor.engine.answers import Answer
    from sartor.serve.opening import Opening
    from sartor.serve.settings import Settings

log = logging.getLogger(__name__)

_MOST_TENANTS = 10_000


@dataclass(frozen=True)
class Ask:
    """What recommendations of one batch have in common; tenants never share a batch."""

    tenant: str
    k: int
    personal: bool
    exclude: str
    where: str | None
    diversity: float


class Server:
    """One process of the server, around one engine."""

    def __init__(self, engine: Engine, settings: Settings, *, dev: bool, opening: Opening | None = None) -> None:
        self.engine, self.settings, self.dev = engine, settings, dev
        self.started = time.time()
        owner = Caller(engine.tenant, "dev", "dev", frozenset(SCOPES)) if dev else None
        self.keys = Keys(engine.store, seconds=settings.key_seconds, dev=owner)
        self.rate = Rate(None if dev else settings.rate, opening.rates if opening is not None else None)
        self.metrics = Metrics()
        engine.store.on_load.append(self.metrics.loaded)
        self.log = Log(engine.store.keyring.subject, size=settings.ring, out=sys.stderr if settings.log_requests else None)
        self.batcher: Batcher[str, Answer] = Batcher(self._recommend, most=settings.batch)
        self.tracing = Tracing() if wanted() else None
        self.span = self.tracing.span if self.tracing else no_span
        self.streams: Counter[str] = Counter()
        self.stopping = False
        self.warm = False
        """Whether the first request would be as quick as the next one."""
        self.runner = Runner(engine, opening) if settings.jobs else None
        self.importer = Importer()
        found = upstream(settings)
        self.upstream = None if found is None else Watched(found, self.metrics, self.span)
        self._engines: dict[str, Engine] = {engine.tenant: engine}

    def engine_of(self, tenant: str) -> Engine:
        """The engine of one tenant; all tenants share the store and the caches, which are keyed by tenant."""
        found = self._engines.get(tenant)
        if found is None:
            if len(self._engines) > _MOST_TENANTS:
                self._engines = {self.engine.tenant: self.engine}
            found = self._engines[tenant] = self.engine.for_tenant(tenant)
        return found

    def _recommend(self, ask: object, people: Sequence[str]) -> Sequence[Answer]:
        assert isinstance(ask, Ask)
        self.metrics.batch.observe(len(people))
        exclude = None if ask.exclude == "none" else "seen"
        engine = self.engine_of(ask.tenant)
        return engine.recommend_many(people, ask.k, exclude=exclude, where=ask.where, diversity=ask.diversity, personal=ask.personal)

    def alias(self, tenant: str, person: str) -> str:
        """What stands for a person before an upstream: always the same, and not what stands for her in the log."""
        return hashlib.sha256(b"upstream" + self.engine.store.keyring.subject(tenant, person)).hexdigest()[:32]

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count and write down a finished request."""
        seen = self.log.add(scope, status, seconds)
        self.metrics.request(seen.verb, seen.method, status, seconds)

    def fallback(self, reason: str | None) -> None:
        """Count an answer that is not from a person's own state."""
        if reason is not None:
            self.metrics.fallbacks.labels(reason).inc()

    def fallbacks(self) -> dict[str, int]:
        """How many answers of this process were not from a person's own state, by reason."""
        samples = [sample for metric in self.metrics.fallbacks.collect() for sample in metric.samples]
        return {sample.labels["reason"]: int(sample.value) for sample in samples if sample.name.endswith("_total")}

    def scrape(self) -> bytes:
        """All metrics, with what the store knows added to what was counted."""
        waiting = self.engine.store.stale()
        self.metrics.queue.set(waiting.people)
        self.metrics.waiting.set(waiting.oldest_seconds)
        adapting = self.engine._adapter.status
        self.metrics.adapted.set(adapting.adapted)
        self.metrics.adapting.set(adapting.busy_seconds)
        card = self.engine.store.active_model(self.engine.tenant, "recommend")
        for name, gauge in (("gain", self.metrics.gain), ("swap_gap", self.metrics.swap_gap)):
            measured = card and card.report.get(name)
            if measured:
                gauge.set(measured["mean"])
        return self.metrics.text()

    def wake_jobs(self) -> None:
        """There is a new job."""
        if self.runner:
            self.runner.wake()

    def start(self) -> None:
        """Begin the background work, and get warm."""
        if self.runner:
            self.runner.start()
        threading.Thread(target=self._warm_up, name="sartor-warm-up", daemon=True).start()

    def _warm_up(self) -> None:
        from sartor.engine.warming import warm

        try:
            warm(self.engine)
        except Exception as problem:  # a damaged model or a store that is away is told by requests, which this must not keep waiting
            log.warning("the server could not warm up: %s", type(problem).__name__)
        self.warm = True

    def close(self) -> None:
        """Finish what is running; the engine belongs to whoever made it."""
        self.stopping = True
        with suppress(ValueError):
            self.engine.store.on_load.remove(self.metrics.loaded)
        if self.runner:
            self.runner.close()
        self.importer.close()
        self.batcher.close()
        self.rate.close()
        if self.tracing:
            self.tracing.close()
