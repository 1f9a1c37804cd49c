"""What upstreams cost: seconds until they begin to answer, how it ended, how often they were asked again, as metrics and spans."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from urllib.parse import urlsplit

from sartor.errors import BadValue, RateLimited, TooLarge
from sartor.serve.metrics import Metrics
from sartor.serve.problems import Refused
from sartor.serve.tracing import Span
from sartor.serve.upstream import Json, Upstream


class Watched:
    """An upstream whose calls are counted.

    Labels and spans name the host (or the kind of backend in this process), the operation and the outcome: "ok", "refused" (the request was at
    fault), "limited", "busy" (too many were on their way), "gone" (the client went), "failed". Nothing in them is anybody's.
    """

    def __init__(self, inner: Upstream, metrics: Metrics, span: Span) -> None:
        self.inner, self.name, self.metrics, self.span = inner, inner.name, metrics, span
        kind, _, rest = inner.name.partition(":")
        self.label = urlsplit(rest).netloc.rpartition("@")[2] if kind == "endpoint" else kind
        self.retried: Callable[[], None] = partial(metrics.upstream_retries.labels(self.label).inc)
        inner.retried = self.retried

    async def chat(self, body: Json) -> Json:
        with self._opening("chat"):
            answer = await self.inner.chat(body)
        self._ended("chat", "ok")
        return answer

    async def embeddings(self, body: Json) -> Json:
        with self._opening("embeddings"):
            answer = await self.inner.embeddings(body)
        self._ended("embeddings", "ok")
        return answer

    @asynccontextmanager
    async def stream(self, body: Json) -> AsyncIterator[AsyncIterator[bytes]]:
        async with AsyncExitStack() as stack:
            with self._opening("stream"):
                lines = await stack.enter_async_context(self.inner.stream(body))
            outcome = ["gone"]
            try:
                yield self._lines(lines, outcome)
            finally:
                self._ended("stream", outcome[0])

    async def models(self) -> list[Json]:
        return await self.inner.models()

    async def close(self) -> None:
        await self.inner.close()

    @contextmanager
    def _opening(self, operation: str) -> Iterator[None]:
        """Seconds until an answer begins to come (of a whole answer: until it is there); one that never does is counted here."""
        start = time.perf_counter()
        with self.span(f"upstream {operation}"):
            try:
                yield
            except BaseException as error:
                self._ended(operation, _outcome(error))
                raise
        self.metrics.upstream_seconds.labels(self.label, operation).observe(time.perf_counter() - start)

    def _ended(self, operation: str, outcome: str) -> None:
        self.metrics.upstream_requests.labels(self.label, operation, outcome).inc()

    async def _lines(self, lines: AsyncIterator[bytes], outcome: list[str]) -> AsyncIterator[bytes]:
        try:
            async for line in lines:
                yield line
        except Exception as error:
            outcome[0] = _outcome(error)
            raise
        outcome[0] = "ok"


def _outcome(error: BaseException) -> str:
    if isinstance(error, RateLimited):
        return "limited"
    if isinstance(error, Refused):
        return "busy" if error.status_code == 503 else "refused"
    if isinstance(error, BadValue | TooLarge):
        return "refused"
    return "failed" if isinstance(error, Exception) else "gone"
