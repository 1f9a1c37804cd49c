"""OpenAI's chat API, personal: what is remembered of `user` goes into the conversation, everything else passes through as it came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar
from urllib.parse import quote

from anyio import CancelScope, to_thread
from fastapi import APIRouter, Request, Response
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sartor.engine.write import Composed, WriteAsk
from sartor.errors import EndpointFailed, SartorError
from sartor.serve import problems
from sartor.serve.auth import check_people, check_scope
from sartor.serve.gate import Call, Guarded, call_of, needs
from sartor.serve.problems import Refused
from sartor.serve.schemas import ChatIn
from sartor.serve.upstream import DONE, Upstream

router = APIRouter(prefix="/v1", tags=["chat"], route_class=Guarded)

T = TypeVar("T")
ALSO_USER = ("safety_identifier", "prompt_cache_key")
"""Newer fields that clients put the person into."""
MOST_HEADER = 4_000
"""Bytes of the header that lists memories."""


@router.post("/chat/completions", response_model=dict[str, Any], **needs("read", cost=5, anybody=True))
async def chat(request: Request, asked: ChatIn) -> Response:
    """A chat as OpenAI's API has it, streaming or not, answered by the upstream with what is remembered of `user`.

    Unknown fields, tools and formats pass through. `X-Sartor-...` headers say whether the answer is personal, which memories were used, and why
    none were; the field `sartor` of an answer also says what made each matter. The field `sartor` of a request: `personal`, `k`, `budget`,
    `remember`, `confirm`, `explain`. The upstream learns a keyed hash in place of `user`.
    """
    call, body = call_of(request), dict(await request.json())
    upstream, options, server = _upstream(call), asked.sartor, call.server
    person = asked.user if asked.user is not None else call.caller.person
    check_people(call.caller, [] if person is None else [person])
    remember = server.settings.remember and "write" in call.caller.scopes if options.remember is None else options.remember
    if remember:
        check_scope(call.caller, "write")
    ask = WriteAsk(
        k=server.settings.memories if options.k is None else options.k,
        budget=server.settings.memory_tokens if options.budget is None else options.budget, personal=options.personal,
    )  # fmt: skip
    with server.span("chat"):
        composed = await to_thread.run_sync(call.engine.compose, person, body["messages"], ask)
    server.fallback(composed.fallback)
    body.pop("sartor", None)
    messages, body["messages"] = body["messages"], composed.messages
    if person is not None:
        hidden = server.alias(call.caller.tenant, person)
        body |= {"user": hidden} | {name: hidden for name in ALSO_USER if body.get(name) == person}
    told, headers = _told(call, composed), _headers(composed)
    after = BackgroundTask(_remember, call, composed, messages, options.confirm or server.settings.confirm) if remember else None
    if asked.stream:
        stack = AsyncExitStack()
        try:
            lines = await until_gone(request, stack.enter_async_context(upstream.stream(body)))
        except BaseException:
            with CancelScope(shield=True):
                await stack.aclose()
            raise
        return Streamed(stack, _events(lines, told if options.explain else None, request), headers, after)
    answer = await until_gone(request, upstream.chat(body))
    return Response(as_json(answer | {"sartor": told}), 200, headers, "application/json", after)


def as_json(answer: dict[str, Any]) -> bytes:
    """An upstream's answer as it came, half characters and all; raises `EndpointFailed` for what is no JSON."""
    try:
        return json.dumps(answer, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise EndpointFailed("the upstream answers with what is no JSON", fix="try again later") from None


class Streamed(StreamingResponse):
    """Server-sent events; whatever happens to the client, the upstream's work ends with it."""

    def __init__(self, stack: AsyncExitStack, events: AsyncIterator[bytes], headers: dict[str, str], after: BackgroundTask | None) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"} | headers, background=after)
        self.stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await self.stack.aclose()


async def until_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives, unless the client goes first: then it is cancelled."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refused(499, "client-gone", "the client has closed the connection")
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _upstream(call: Call) -> Upstream:
    found = call.server.upstream
    if found is None:
        raise Refused(404, "no-upstream", "nobody answers chats on this server", fix="start it with --upstream endpoint:URL#MODEL")
    return found


async def _events(lines: AsyncIterator[bytes], told: dict[str, Any] | None, request: Request) -> AsyncIterator[bytes]:
    """The upstream's events; one that ends too early ends in an error that OpenAI's clients raise."""
    try:
        async for line in lines:
            if told is not None and line != DONE:
                first = json.loads(line[5:])
                line, told = b"data: " + json.dumps(first | {"sartor": told}).encode(), None
            yield line + b"\n\n"
    except SartorError as error:
        problem = json.loads(bytes(problems.of_error(error, request.scope["sartor.id"]).body))
        yield b"data: " + json.dumps({"error": problems.openai_error(problem)}).encode() + b"\n\n"


def _told(call: Call, composed: Composed) -> dict[str, Any]:
    """What was used and why; the words of memories only for keys that may read them."""
    words = "profile" in call.caller.scopes
    used = [
        {"id": one.id, "kind": one.kind, "score": round(one.score, 4), "why": one.why, "cut": one.cut} | ({"text": one.text} if words else {})
        for one in composed.used
    ]
    return {
        "personal": composed.personal, "used": used, "held_back": dict(composed.held_back), "fallback": composed.fallback, "note": composed.note,
        "seconds": round(composed.seconds, 5),
    }  # fmt: skip


def _headers(composed: Composed) -> dict[str, str]:
    used = ",".join(quote(one.id, safe="") for one in composed.used)
    out = {"X-Sartor-Personal": str(composed.personal).lower(), "X-Sartor-Used": used[:MOST_HEADER]}
    return out | ({"X-Sartor-Fallback": composed.fallback} if composed.fallback else {})


def _remember(call: Call, composed: Composed, messages: list[dict[str, Any]], confirm: Any) -> None:
    """After the answer: its words are nobody's wait. What cannot be kept is counted, and said by `POST /v1/.../memories`, not here."""
    try:
        call.engine.remember_message(composed, messages, confirm=confirm, source=f"chat:{call.caller.label}")
    except SartorError as error:
        call.server.fallback(f"not remembered: {type(error).__name__}")
