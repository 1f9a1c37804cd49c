"""Who is calling: API keys, their scopes, their tenant and the one person they may be bound to.

What is kept per key is immutable and the key's alone. The person a request is about travels with the request, never with the key, so two
people behind one key cannot meet.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from sartor.errors import SartorError
from sartor.serve.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sartor.profile.store import ProfileStore

SCOPES = ("read", "write", "profile", "erase", "models", "admin")
PREFIX = "sk_sartor_"
_MOST_KEYS = 10_000
_LONGEST = 200


@dataclass(frozen=True)
class Caller:
    """Whoever holds a key."""

    tenant: str
    key: str
    """Id of the key, not the key."""
    label: str
    scopes: frozenset[str]
    person: str | None = None
    """The only person this key may ask about; None: everybody of the tenant."""
    expires: float | None = None


class Keys:
    """Checked keys, believed for a short while; only their SHA-256 is held."""

    def __init__(self, store: ProfileStore, *, seconds: float, dev: Caller | None = None) -> None:
        self.store, self.seconds, self.dev = store, seconds, dev
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._changes = 0
        self._lock = threading.Lock()

    async def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """The caller of a request, by its Authorization header; raises `Refused` with status 401."""
        given = [value for name, value in headers if name == b"authorization"]
        if self.dev is not None and not given:
            return self.dev
        if len(given) != 1:
            raise _denied("this needs one Authorization header" if given else "this needs an API key")
        kind, _, secret = given[0].strip().partition(b" ")
        if kind.lower() != b"bearer" or len(secret) > _LONGEST or not secret.startswith(PREFIX.encode()):
            raise _denied("this is not an API key")
        digest = hashlib.sha256(secret).digest()
        now = time.time()
        known = self._known.get(digest)
        if known is None or known[1] <= now:
            known = await to_thread.run_sync(self._check, secret.decode("latin-1"), digest)
        caller = known[0]
        if caller.expires is not None and caller.expires <= now:
            raise _denied("this key has expired")
        return caller

    def _check(self, secret: str, digest: bytes) -> tuple[Caller, float]:
        changes = self._changes
        try:
            card = self.store.check_key(secret)
        except SartorError as error:
            self._known.pop(digest, None)
            if type(error).__name__ == "AccessDenied":
                raise _denied(error.what, error.fix) from None
            raise
        caller = Caller(card.tenant, card.id, card.label, frozenset(card.scopes), card.person, card.expires)
        known = (caller, time.time() + self.seconds)
        with self._lock:
            # A key revoked while it was being checked must not come back.
            if changes == self._changes:
                if len(self._known) >= _MOST_KEYS:
                    self._known.clear()
                self._known[digest] = known
        return known

    def forget(self) -> None:
        """Check every key anew: one was revoked, or a person is gone."""
        with self._lock:
            self._changes += 1
            self._known.clear()


def _denied(what: str, fix: str | None = None) -> Refused:
    return Refused(401, "access-denied", what, fix=fix or f"send 'Authorization: Bearer {PREFIX}...'; 'sartor keys create' makes a key")


def check_scope(caller: Caller, scope: str) -> None:
    """Raise `Refused` with status 403 when the key may not do this."""
    if scope not in caller.scopes:
        raise Refused(403, "forbidden", f"this key has no scope '{scope}'", fix="use a key that has it", scope=scope)


def check_people(caller: Caller, people: Iterable[Any]) -> None:
    """Raise `Refused` with status 403 unless the key may ask about all of these; the same whether they exist or not."""
    if caller.person is not None and any(person != caller.person for person in people):
        raise Refused(403, "forbidden", "this key belongs to one person, and this request is not about that person alone", fix="use another key")
