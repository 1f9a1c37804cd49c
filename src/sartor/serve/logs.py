"""What the server writes down: one JSON line per request, and a bounded ring of the newest.

Nothing personal: the route's template instead of its address, a keyed hash instead of a person, the kind and place of an error instead of
its words, the label of a key instead of the key.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from starlette.types import Scope

from sartor.serve.answers import iso

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class Seen:
    """One finished request."""

    time: float
    tenant: str | None
    method: str
    route: str
    verb: str
    status: int
    seconds: float
    request_id: str


class Log:
    """The ring, and the lines.

    Parameters
    ----------
    subject: the store's keyed hash of (tenant, person).
    size: of the ring.
    out: where the lines go; None: nowhere.
    """

    def __init__(self, subject: Callable[[str, str], bytes], *, size: int, out: IO[str] | None) -> None:
        self.subject, self.out = subject, out
        self.ring: deque[Seen] = deque(maxlen=size)

    def person(self, tenant: str, person: str) -> str:
        """What stands for a person in the log: the same in every worker, keyed, so that nobody can try names against it."""
        return hashlib.sha256(b"log" + self.subject(tenant, person)).hexdigest()[:16]

    def add(self, scope: Scope, status: int, seconds: float) -> Seen:
        """Write down a finished request."""
        route = scope.get("sartor.route") or scope.get("route")
        caller = scope.get("sartor.caller")
        method = scope["method"] if scope["method"] in METHODS else "other"
        seen = Seen(
            time.time(), caller.tenant if caller else None, method, getattr(route, "path", "none"), getattr(route, "name", "none"), status, seconds,
            scope["sartor.id"],
        )  # fmt: skip
        self.ring.append(seen)
        error = scope.get("sartor.error")
        if self.out is not None or error is not None:
            self._write(seen, scope, caller, error)
        return seen

    def _write(self, seen: Seen, scope: Scope, caller: Any, error: BaseException | None) -> None:
        line: dict[str, Any] = {
            "time": iso(seen.time), "level": "error" if seen.status >= 500 else "info", "request_id": seen.request_id, "method": seen.method,
            "route": seen.route, "status": seen.status, "ms": round(seen.seconds * 1000, 2),
        }  # fmt: skip
        if caller is not None:
            line |= {"tenant": caller.tenant, "key": caller.key}
            person = scope.get("path_params", {}).get("person")
            if person is not None:
                line["person"] = self.person(caller.tenant, person)
        if error is not None:
            line |= {"error": type(error).__name__, "at": _places(error)}
        print(json.dumps(line), file=self.out or sys.stderr, flush=True)


def _places(error: BaseException) -> list[str]:
    """Where an error came from, innermost last: files, lines and functions, without what was in them."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return [f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno} {frame.name}" for frame in frames]


class _Lines(logging.Formatter):
    """JSON lines; of an error its kind only, since its words may be somebody's."""

    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        message = "an error" if kind else record.getMessage()
        line = {"time": self.formatTime(record), "level": record.levelname.lower(), "logger": record.name, "message": message}
        return json.dumps(line | ({"error": kind.__name__} if kind else {}))


def quiet_libraries() -> None:
    """Warnings and errors of the libraries as JSON lines on the standard error stream."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
