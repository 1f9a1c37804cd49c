"""Who answers chats in the end: a server with an API of OpenAI's kind, or a model in this process.

Nothing of a conversation is logged. What has not begun to arrive is asked for again a few times; what has, never.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from sartor.serve.problems import Refused

if TYPE_CHECKING:
    from sartor.serve.settings import Settings

OURS = "sartor"
"""The model's name with which a client leaves the choice to the server."""
DONE = b"data: [DONE]"

Json = dict[str, Any]


class Upstream(Protocol):
    """Takes and gives bodies of OpenAI's API."""

    name: str
    retried: Callable[[], None]
    """Called each time that it is asked again."""

    async def chat(self, body: Json) -> Json:
        """A whole answer."""
        ...

    def stream(self, body: Json) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Lines of server-sent events, once the first is certain to come; leaving the context ends the upstream's work."""
        ...

    async def embeddings(self, body: Json) -> Json:
        """Vectors of texts."""
        ...

    async def models(self) -> list[Json]:
        """Those that may be named."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


def upstream(settings: Settings) -> Upstream | None:
    """What `settings.upstream` names: "endpoint:URL#MODEL", or a writer backend in this process. Raises `ConfigError` and what opening raises."""
    name = settings.upstream
    if name is None:
        return None
    kind, _, rest = name.partition(":")
    if kind == "endpoint" or name.startswith(("http://", "https://")):
        url, _, model = (rest if kind == "endpoint" else name).partition("#")
        from sartor.serve.upstream_remote import RemoteUpstream

        return RemoteUpstream(url, model or None, settings)
    from sartor.serve.upstream_local import LocalUpstream
    from sartor.write.backends import backend

    return LocalUpstream(backend(name), settings)


class Busy:
    """Counts what is on its way; one too many is told to come again, rather than all waiting longer and longer."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0

    def __enter__(self) -> None:
        if self.now >= self.most:
            raise Refused(503, "overloaded", "the model has more requests than it can answer", fix="come again in a moment")
        self.now += 1

    def __exit__(self, *_: object) -> None:
        self.now -= 1
