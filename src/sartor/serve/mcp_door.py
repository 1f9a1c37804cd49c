"""/mcp before anybody has asked for it: the protocol's SDK is read with the first request, since most servers never get one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from anyio import to_thread
from starlette.types import Receive, Scope, Send

from sartor.errors import MissingExtra
from sartor.serve.problems import Refused

if TYPE_CHECKING:
    from sartor.serve.mcp_http import Tools
    from sartor.serve.server import Server


class Door:
    """ASGI app that opens `mcp_http.Tools` when it is first asked."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._tools: Tools | None = None
        self._running: asyncio.Task[None] | None = None
        self._ready, self._over = asyncio.Event(), asyncio.Event()
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            # Without sessions there is nothing to listen to, and nothing to end.
            raise Refused(405, "method-not-allowed", f"{scope['method']} is not possible here", fix="use POST", headers={"Allow": "POST"})
        async with self._lock:
            if self._tools is None:
                # A stranger costs no more than the key that he has not.
                await self.server.keys.caller(scope["headers"])
                try:
                    self._tools = await to_thread.run_sync(self._made)
                except MissingExtra as missing:
                    raise Refused(404, "not-found", "this server has no tools for agents", fix=missing.fix) from None
                self._running = asyncio.create_task(self._run(self._tools))
                await self._ready.wait()
        await self._tools(scope, receive, send)

    def _made(self) -> Tools:
        from sartor.serve.mcp_http import Tools

        return Tools(self.server)

    async def _run(self, tools: Tools) -> None:
        async with tools.running():
            self._ready.set()
            await self._over.wait()

    async def close(self) -> None:
        """End what is running."""
        self._over.set()
        if self._running is not None:
            await self._running
