"""Names of errors on the wire: UnknownId is urn:sartor:problem:unknown-id, on both sides."""

from __future__ import annotations

import re
from typing import Any

from sartor import errors
from sartor.errors import SartorError

PREFIX = "urn:sartor:problem:"


class ServerFailed(SartorError):
    """The server failed, cannot be reached, or answers something that is not of this API."""


# What the server refuses by itself, before the engine is asked.
_BY_SLUG = {
    "forbidden": "AccessDenied", "not-found": "UnknownId", "method-not-allowed": "ConfigError", "invalid-request": "BadValue",
    "malformed-request": "BadValue", "malformed-json": "BadValue", "malformed-arrow": "BadValue", "unsupported-media-type": "BadValue",
    "address-too-long": "BadValue",
}  # fmt: skip


def slug(error: type[BaseException]) -> str:
    """UnknownId -> unknown-id."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", error.__name__).lower()


def error_of(problem: dict[str, Any]) -> SartorError:
    """The named error that problem details tell of."""
    kind = str(problem.get("type", "")).removeprefix(PREFIX)
    name = _BY_SLUG.get(kind, "".join(part.capitalize() for part in kind.split("-")))
    found = getattr(errors, name, None)
    usable = isinstance(found, type) and issubclass(found, SartorError) and found.__init__ is SartorError.__init__
    where = {str(key): value for key, value in (problem.get("where") or {}).items() if key not in ("what", "fix", "self")}
    where["request_id"] = problem.get("request_id")
    made: SartorError = (found if usable and found is not None else ServerFailed)(str(problem.get("detail", "")), fix=problem.get("fix"), **where)
    return made
