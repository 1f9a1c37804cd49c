"""Prometheus metrics. No label ever holds the id of a person, an item, a key or a tenant."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder through which several workers add up their numbers."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BYTES = (256, 512, 1024, 2048, 4096, 8192, 16384, 65536, 262144, 1048576)
_OUTCOMES = {2: "ok", 3: "redirect", 4: "refused", 5: "failed"}


class Metrics:
    """The numbers of one process, or of all workers together when they share a folder."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, mode: Literal["mostrecent", "livesum"] = "mostrecent") -> Gauge:
            return Gauge(name, text, registry=registry, multiprocess_mode=mode)

        self.requests = counter("sartor_requests_total", "Requests.", ("verb", "method", "outcome"))
        self.seconds = Histogram(
            "sartor_request_seconds", "From the first byte in to the last byte out.", ("verb",), buckets=_SECONDS, registry=registry
        )
        self.events = counter("sartor_events_total", "Events accepted.")
        self.fallbacks = counter("sartor_fallback_total", "Answers that are not from a person's own state.", ("reason",))
        self.erased = counter("sartor_erase_total", "People forgotten.")
        self.batch = Histogram("sartor_batch_size", "Recommendation requests answered together.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry)
        self.queue = gauge("sartor_queue_depth", "People whose state has not seen all of their evidence.")
        self.waiting = gauge("sartor_queue_oldest_seconds", "How long the one who waits longest has been waiting.")
        self.gain = gauge("sartor_gain", "Gain of the active model over the population's answer, when it was made.")
        self.swap_gap = gauge("sartor_swap_gap", "Gain of people's own states over other people's, when the model was made.")
        self.load = Histogram(
            "sartor_state_load_seconds", "To read consent and states for a batch of answers.", buckets=_SECONDS[:-3], registry=registry
        )
        self.bytes = Histogram("sartor_state_bytes", "Bytes of a state that was read.", buckets=_BYTES, registry=registry)
        self.adapted = gauge("sartor_adapted_states", "States made in the background since the start.", "livesum")
        self.adapting = gauge("sartor_adapt_seconds", "Seconds spent on making states since the start.", "livesum")
        self.upstream_requests = counter("sartor_upstream_requests_total", "Requests to the upstream.", ("upstream", "operation", "outcome"))
        self.upstream_retries = counter("sartor_upstream_retries_total", "Times that the upstream was asked again.", ("upstream",))
        self.upstream_seconds = Histogram(
            "sartor_upstream_seconds", "Until the upstream begins to answer; of answers in one piece, until they are there.",
            ("upstream", "operation"), buckets=(*_SECONDS, 30.0, 60.0), registry=registry,
        )  # fmt: skip
        self._cached: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def request(self, verb: str, method: str, status: int, seconds: float) -> None:
        """Count a finished request."""
        key = (verb, method, status // 100)
        found = self._cached.get(key)
        if found is None:
            labelled = self.requests.labels(verb, method, _OUTCOMES.get(status // 100, "other"))
            found = self._cached[key] = (labelled, self.seconds.labels(verb))
        found[0].inc()
        found[1].observe(seconds)

    def loaded(self, seconds: float, sizes: list[int]) -> None:
        """Count the states that a batch of answers has read."""
        self.load.observe(seconds)
        for size in sizes:
            self.bytes.observe(size)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)
        return generate_latest(everybody)
