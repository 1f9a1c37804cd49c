"""A typed client of the API, blocking and asynchronous.

    with Client("http://localhost:8000", key="sk_sartor_...") as client:
        client.observe([{"person": "ana", "item": "Heat"}])
        client.recommend("ana", k=5).items

What does the same twice as once is sent again when the network or the server fails for a moment; events are given ids first, so that none
counts twice. Problems come back as the errors that the engine itself raises (`sartor.errors`); what is the server's fault is `ServerFailed`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from pydantic import ValidationError

from sartor.errors import ConfigError, MissingExtra
from sartor.serve import asks, memory_asks, overview_asks, recognition_asks
from sartor.serve.asks import Ask
from sartor.serve.overview import JobOut
from sartor.serve.slugs import ServerFailed, error_of

try:
    import httpx
except ImportError:
    raise MissingExtra("httpx", "serve") from None

__all__ = ["AsyncClient", "Client", "ServerFailed"]

P = ParamSpec("P")
T = TypeVar("T")

_AGAIN = (429, 502, 503, 504)
_LONGEST_WAIT = 30.0
_FINISHED = ("done", "failed", "cancelled")


def _blocking(make: Callable[P, Ask[T]]) -> Callable[Concatenate[Client, P], T]:
    @wraps(make)
    def call(client: Client, /, *given: P.args, **named: P.kwargs) -> T:
        return client.send(make(*given, **named))

    return call


def _awaited(make: Callable[P, Ask[T]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    @wraps(make)
    async def call(client: AsyncClient, /, *given: P.args, **named: P.kwargs) -> T:
        return await client.send(make(*given, **named))

    return call


class _Common:
    """What both clients share: how often to try, and how to read what comes back."""

    def __init__(self, url: str, key: str | None, retries: int) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"'{url}' is not the address of a server", fix="give one like http://localhost:8000")
        self.retries = retries
        self.headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def request(self, ask: Ask[Any]) -> dict[str, Any]:
        body: dict[str, Any] = {"json": ask.json} if ask.json is not None else {}
        if ask.content is not None:
            body = {"content": ask.content, "headers": {"Content-Type": ask.kind}}
        return {"method": ask.method, "url": ask.path, "params": ask.params, **body}

    def wait(self, ask: Ask[Any], tried: int, failed: httpx.TransportError | httpx.Response) -> float | None:
        """Seconds before the next try; None when this was the last one."""
        if isinstance(failed, httpx.Response):
            # A refusal for being too many or too early did nothing, so it may be repeated in any case.
            again = failed.status_code in _AGAIN and (ask.repeat or failed.status_code in (429, 503))
        else:
            again = ask.repeat or isinstance(failed, httpx.ConnectError)
        if not again or tried >= self.retries:
            return None
        told = failed.headers.get("Retry-After", "") if isinstance(failed, httpx.Response) else ""
        pause = float(told) if told.isdigit() else 0.2 * 2**tried
        return min(_LONGEST_WAIT, pause) * (1 + random.random() / 4)

    def result(self, ask: Ask[T], response: httpx.Response) -> T:
        if response.is_success:
            try:
                return asks.read(ask, response.content)
            except ValidationError as error:
                raise ServerFailed("the answer is not what this client expects", fix="use client and server of the same version") from error
        try:
            problem = response.json()
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or "type" not in problem:
            raise ServerFailed(f"the server answers {response.status_code}", fix="is this the address of a sartor server?")
        raise error_of(problem)


def _unreachable(error: httpx.TransportError) -> ServerFailed:
    return ServerFailed(f"the server cannot be reached: {type(error).__name__}", fix="check the address, and that the server runs")


class Client(_Common):
    """Blocking. Safe to use from several threads.

    Parameters
    ----------
    url: of the server.
    key: an API key.
    timeout: seconds for one try.
    retries: further tries of what may be repeated.
    transport: of httpx, for tests and proxies.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 30.0, retries: int = 3, transport: httpx.BaseTransport | None = None
    ) -> None:
        super().__init__(url, key, retries)
        self._http = httpx.Client(base_url=url, headers=self.headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, ask: Ask[T]) -> T:
        """Any request of `sartor.serve.asks`."""
        for tried in range(self.retries + 1):
            failed: httpx.TransportError | httpx.Response
            try:
                failed = self._http.request(**self.request(ask))
            except httpx.TransportError as error:
                failed = error
            pause = self.wait(ask, tried, failed)
            if pause is None:
                if isinstance(failed, httpx.Response):
                    return self.result(ask, failed)
                raise _unreachable(failed) from failed
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def follow(self, job: str, *, every: float = 0.5) -> Iterator[JobOut]:
        """A job as it goes on, until it is finished."""
        while True:
            now = self.job(job)
            yield now
            if now.status in _FINISHED:
                return
            time.sleep(every)

    observe = _blocking(asks.observe)
    observe_frame = _blocking(asks.observe_frame)
    put_items = _blocking(asks.put_items)
    items = _blocking(asks.items)
    item = _blocking(asks.item)
    hide_item = _blocking(asks.hide_item)
    delete_item = _blocking(asks.delete_item)
    recommend = _blocking(asks.recommend)
    recommend_many = _blocking(asks.recommend_many)
    similar = _blocking(asks.similar)
    search = _blocking(asks.search)
    decide = _blocking(asks.decide)
    decisions = _blocking(asks.decisions)
    enrol = _blocking(recognition_asks.enrol)
    enrolment = _blocking(recognition_asks.enrolment)
    unenrol = _blocking(recognition_asks.unenrol)
    identify = _blocking(recognition_asks.identify)
    verify = _blocking(recognition_asks.verify)
    rerank = _blocking(asks.rerank)
    explain = _blocking(asks.explain)
    what_if = _blocking(asks.what_if)
    people = _blocking(asks.people)
    profile = _blocking(asks.profile)
    set_attributes = _blocking(asks.set_attributes)
    events = _blocking(asks.events)
    delete_event = _blocking(asks.delete_event)
    states = _blocking(asks.states)
    restore = _blocking(asks.restore)
    release = _blocking(asks.release)
    consents = _blocking(asks.consents)
    set_consents = _blocking(asks.set_consents)
    default_consents = _blocking(asks.default_consents)
    kinds = _blocking(asks.kinds)
    set_kinds = _blocking(asks.set_kinds)
    export = _blocking(asks.export)
    forget = _blocking(asks.forget)
    remember = _blocking(memory_asks.remember)
    memories = _blocking(memory_asks.memories)
    recall = _blocking(memory_asks.recall)
    memory_history = _blocking(memory_asks.memory_history)
    edit_memory = _blocking(memory_asks.edit_memory)
    confirm_memory = _blocking(memory_asks.confirm_memory)
    forget_memory = _blocking(memory_asks.forget_memory)
    summarise = _blocking(memory_asks.summarise)
    import_memories = _blocking(memory_asks.import_memories)
    export_memories = _blocking(memory_asks.export_memories)
    models = _blocking(overview_asks.models)
    fit = _blocking(overview_asks.fit)
    activate = _blocking(overview_asks.activate)
    jobs = _blocking(overview_asks.jobs)
    job = _blocking(overview_asks.job)
    cancel_job = _blocking(overview_asks.cancel_job)
    status = _blocking(overview_asks.status)
    evaluation = _blocking(overview_asks.evaluation)
    me = _blocking(overview_asks.me)
    keys = _blocking(overview_asks.keys)
    create_key = _blocking(overview_asks.create_key)
    revoke_key = _blocking(overview_asks.revoke_key)


class AsyncClient(_Common):
    """The same, to be awaited."""

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 30.0, retries: int = 3, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__(url, key, retries)
        self._http = httpx.AsyncClient(base_url=url, headers=self.headers, timeout=timeout, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, ask: Ask[T]) -> T:
        """Any request of `sartor.serve.asks`."""
        for tried in range(self.retries + 1):
            failed: httpx.TransportError | httpx.Response
            try:
                failed = await self._http.request(**self.request(ask))
            except httpx.TransportError as error:
                failed = error
            pause = self.wait(ask, tried, failed)
            if pause is None:
                if isinstance(failed, httpx.Response):
                    return self.result(ask, failed)
                raise _unreachable(failed) from failed
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    observe = _awaited(asks.observe)
    observe_frame = _awaited(asks.observe_frame)
    put_items = _awaited(asks.put_items)
    items = _awaited(asks.items)
    item = _awaited(asks.item)
    hide_item = _awaited(asks.hide_item)
    delete_item = _awaited(asks.delete_item)
    recommend = _awaited(asks.recommend)
    recommend_many = _awaited(asks.recommend_many)
    similar = _awaited(asks.similar)
    search = _awaited(asks.search)
    decide = _awaited(asks.decide)
    decisions = _awaited(asks.decisions)
    enrol = _awaited(recognition_asks.enrol)
    enrolment = _awaited(recognition_asks.enrolment)
    unenrol = _awaited(recognition_asks.unenrol)
    identify = _awaited(recognition_asks.identify)
    verify = _awaited(recognition_asks.verify)
    rerank = _awaited(asks.rerank)
    explain = _awaited(asks.explain)
    what_if = _awaited(asks.what_if)
    people = _awaited(asks.people)
    profile = _awaited(asks.profile)
    set_attributes = _awaited(asks.set_attributes)
    events = _awaited(asks.events)
    delete_event = _awaited(asks.delete_event)
    states = _awaited(asks.states)
    restore = _awaited(asks.restore)
    release = _awaited(asks.release)
    consents = _awaited(asks.consents)
    set_consents = _awaited(asks.set_consents)
    default_consents = _awaited(asks.default_consents)
    kinds = _awaited(asks.kinds)
    set_kinds = _awaited(asks.set_kinds)
    export = _awaited(asks.export)
    forget = _awaited(asks.forget)
    remember = _awaited(memory_asks.remember)
    memories = _awaited(memory_asks.memories)
    recall = _awaited(memory_asks.recall)
    memory_history = _awaited(memory_asks.memory_history)
    edit_memory = _awaited(memory_asks.edit_memory)
    confirm_memory = _awaited(memory_asks.confirm_memory)
    forget_memory = _awaited(memory_asks.forget_memory)
    summarise = _awaited(memory_asks.summarise)
    import_memories = _awaited(memory_asks.import_memories)
    export_memories = _awaited(memory_asks.export_memories)
    models = _awaited(overview_asks.models)
    fit = _awaited(overview_asks.fit)
    activate = _awaited(overview_asks.activate)
    jobs = _awaited(overview_asks.jobs)
    job = _awaited(overview_asks.job)
    cancel_job = _awaited(overview_asks.cancel_job)
    status = _awaited(overview_asks.status)
    evaluation = _awaited(overview_asks.evaluation)
    me = _awaited(overview_asks.me)
    keys = _awaited(overview_asks.keys)
    create_key = _awaited(overview_asks.create_key)
    revoke_key = _awaited(overview_asks.revoke_key)
