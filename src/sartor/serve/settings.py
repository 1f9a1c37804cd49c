"""What a server can be told."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

from sartor.errors import ConfigError

PREFIX = "SARTOR_SERVE_"
_POSITIVE = (
    "body_bytes", "bulk_bytes", "import_bytes", "bulk_rows", "batch", "open_requests", "streams", "ring", "upstream_requests", "chat_bytes",
    "memories", "memory_tokens",
)  # fmt: skip
_TEXTS = ("rate", "upstream", "embeddings")
"""Settings that may be nothing: "none"."""
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits and habits of one server; every default is safe on a public address."""

    rate: str | None = "12000/minute"
    """Requests of one key, over all workers of this server. Costly routes count more than once. None: no limit."""
    body_bytes: int = 1_000_000
    """Largest body of a request."""
    bulk_bytes: int = 32_000_000
    """Largest body of `POST /v1/events`, `PUT /v1/items` and of an import of memories."""
    import_bytes: int = 500_000_000
    """Largest file of `POST /v1/imports`."""
    bulk_rows: int = 50_000
    """Most events, items or people in one request."""
    body_seconds: float = 60.0
    """How long a body may take to arrive."""
    key_seconds: float = 2.0
    """How long a checked key is believed: a key revoked through one worker may live this long in another."""
    batch: int = 64
    """Most recommendation requests answered by one multiplication."""
    open_requests: int = 1_000
    """Most requests of the API that are open at once in this process; more are told to come again, rather than all waiting longer and longer."""
    streams: int = 32
    """Most open event streams in this process, at most half of them of one tenant."""
    ring: int = 500
    """How many requests `GET /v1/requests` remembers."""
    origins: tuple[str, ...] = ()
    """Web origins allowed to call from a browser (CORS); none by default."""
    open_metrics: bool = False
    """`GET /metrics` without a key. It tells how busy the whole process is, but nothing of anybody."""
    log_requests: bool = True
    """One JSON line per request on the standard error stream."""
    jobs: bool = True
    """Run queued jobs (fits) from this server."""
    upstream: str | None = None
    """Who answers chats: "endpoint:URL#MODEL" (its key in SARTOR_UPSTREAM_KEY), "transformers:FOLDER" or "tiny:FOLDER". None: there is no chat."""
    upstream_seconds: float = 60.0
    """How long the upstream may take to begin, and between two parts of an answer."""
    upstream_retries: int = 2
    """How often it is asked again when it fails before it has begun to answer."""
    upstream_requests: int = 128
    """Most chats on their way at once in this process; more are told to come again."""
    chat_bytes: int = 20_000_000
    """Largest body of a chat: pictures travel in it."""
    memories: int = 8
    """Most memories of a person in one chat, and"""
    memory_tokens: int = 600
    """tokens that they may have."""
    remember: bool = False
    """Keep what people say of themselves in chats, where the request does not say; only ever with their consent to "write"."""
    confirm: str = "inferred"
    """Which of what chats say waits for the person's word before it is used: "never", "inferred" (what she does not say plainly), "always"."""
    embeddings: str | None = None
    """Text encoder of `POST /v1/embeddings` where the upstream is a model in this process: hashed, minilm, a folder."""

    @classmethod
    def from_environment(cls) -> Settings:
        """What SARTOR_SERVE_<NAME> variables say; raises `ConfigError` for a value that cannot be."""
        given: dict[str, Any] = {}
        for field in fields(cls):
            text = os.environ.get(f"{PREFIX}{field.name.upper()}")
            if text is not None:
                given[field.name] = _read(field.name, field.default, text)
        return cls(**given)

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", fix="use a whole number, at least 1")
        for name in ("body_seconds", "upstream_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", fix="use a number of seconds above 0")
        if self.confirm not in ("never", "inferred", "always"):
            raise ConfigError(f"confirm is '{self.confirm}'", fix="use never, inferred or always")
        if self.upstream_retries < 0:
            raise ConfigError(f"upstream_retries is {self.upstream_retries}", fix="use 0 or more")
        if "*" in self.origins:
            raise ConfigError("origins holds '*'", fix="name the origins that may call, for example https://shop.example")


def _read(name: str, default: Any, text: str) -> Any:
    """A variable's text as the kind of its setting."""
    try:
        if name in _TEXTS:
            return None if text.lower() == "none" else text
        if isinstance(default, bool):
            return _WORDS[text.lower()]
        if isinstance(default, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return type(default)(text)
    except (ValueError, KeyError):
        raise ConfigError(f"{PREFIX}{name.upper()} is '{text}'", fix=f"write it like {default}") from None
