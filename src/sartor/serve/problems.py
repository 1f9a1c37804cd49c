"""Every error as RFC 9457 problem details: what is wrong, where, what to do, and the request's id. Never a stack trace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from sartor import errors
from sartor.errors import SartorError
from sartor.serve.slugs import PREFIX, slug

MEDIA_TYPE = "application/problem+json"

# The first class that an error is an instance of decides; everything else is the server's fault.
_STATUS: list[tuple[str, int]] = [
    ("AccessDenied", 401), ("NoConsent", 403), ("UnknownId", 404), ("Conflict", 409), ("ModelRefused", 409), ("NotFitted", 409),
    ("StateMismatch", 409), ("TooLarge", 413), ("RateLimited", 429), ("MissingExtra", 501), ("StoreProblem", 503), ("CorruptFile", 500),
    ("FileProblem", 500), ("DataError", 422), ("ConfigError", 422), ("EndpointFailed", 502),
]  # fmt: skip

_SLUGS = {400: "malformed-request", 403: "forbidden", 404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported-media-type"}
_FIXES = {
    404: "see /docs for the routes there are",
    405: "use one of the methods in the Allow header",
    415: "send Content-Type: application/json",
    500: "try again; when it stays, tell whoever runs this server the request id",
    503: "try again in a moment",
}


CHAT = frozenset({"/v1/chat/completions", "/v1/embeddings", "/v1/images/generations"})
"""Routes of OpenAI's API: clients of theirs look for an `error` in what they get."""
_OPENAI = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refused(HTTPException):
    """A request that the server itself refuses, with all that its problem details need."""

    def __init__(
        self, status: int, slug: str, detail: str, *, fix: str | None = None, headers: Mapping[str, str] | None = None, **where: Any
    ) -> None:
        super().__init__(status, detail, dict(headers) if headers else None)
        self.slug, self.fix, self.where = slug, fix, where


def status_of(error: SartorError) -> int:
    """The HTTP status of a named error."""
    for name, status in _STATUS:
        kind = getattr(errors, name, None)
        if kind is not None and isinstance(error, kind):
            return status
    return 500


def problem(
    status: int,
    kind: str,
    detail: str,
    *,
    fix: str | None = None,
    where: Mapping[str, Any] | None = None,
    request_id: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response itself."""
    body: dict[str, Any] = {"type": PREFIX + kind, "title": kind.replace("-", " ").capitalize(), "status": status, "detail": detail}
    fix = fix or _FIXES.get(status)
    if fix:
        body["fix"] = fix
    if where:
        body["where"] = {name: str(value)[:200] for name, value in where.items()}
    body["request_id"] = request_id
    out = dict(headers or {})
    if status == 401:
        out.setdefault("WWW-Authenticate", 'Bearer realm="sartor"')
    if status in (429, 503):
        out.setdefault("Retry-After", "1")
    # Escaped to ASCII: nothing that a caller sent can turn this error into another one.
    return Response(json.dumps(body), status, out, MEDIA_TYPE)


def for_chat(response: Response, path: str) -> Response:
    """The same problem, with the member that OpenAI's clients read, where it is about their API."""
    if path not in CHAT or response.media_type != MEDIA_TYPE:
        return response
    body = json.loads(bytes(response.body))
    response.body = json.dumps(body | {"error": openai_error(body)}).encode()
    response.headers["Content-Length"] = str(len(response.body))
    return response


def openai_error(body: Mapping[str, Any]) -> dict[str, Any]:
    """Problem details as OpenAI's API writes them."""
    status, where = int(body["status"]), body.get("where") or {}
    kind = _OPENAI.get(status, "server_error" if status >= 500 else "invalid_request_error")
    message = body["detail"] + (f" ({body['fix']})" if body.get("fix") else "")
    return {"message": message, "type": kind, "param": where.get("field"), "code": where.get("code") or str(body["type"]).removeprefix(PREFIX)}


def of_error(error: SartorError, request_id: str) -> Response:
    """Problem details of a named error; what the server is to blame for tells nothing of its insides."""
    status = status_of(error)
    if status == 500:
        return internal(request_id)
    headers = {"Retry-After": str(error.where["retry_after"])} if "retry_after" in error.where else None
    return problem(status, slug(type(error)), error.what, fix=error.fix, where=error.where, request_id=request_id, headers=headers)


def refusal(refused: Refused, request_id: str) -> Response:
    """Problem details of what the server itself refuses."""
    about = {"fix": refused.fix, "where": refused.where, "headers": refused.headers}
    return problem(refused.status_code, refused.slug, refused.detail, request_id=request_id, **about)  # type: ignore[arg-type]


def internal(request_id: str) -> Response:
    """Something unexpected: the log has it under the request's id."""
    return problem(500, "internal-error", "something went wrong in the server", request_id=request_id)


def install(app: FastAPI) -> None:
    """Make the app answer every error this way."""

    async def known(request: Request, error: Exception) -> Response:
        found = of_known(error, request.scope)
        assert found is not None
        return found

    async def unexpected(request: Request, error: Exception) -> Response:
        request.scope["sartor.error"] = error
        return for_chat(internal(request.scope.get("sartor.id", "")), request.scope["path"])

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        request_id = request.scope.get("sartor.id", "")
        if isinstance(error, Refused):
            return for_chat(refusal(error, request_id), request.scope["path"])
        headers = dict(error.headers or {})
        detail = error.detail
        if error.status_code == 404:
            detail = "there is nothing at this address"
        if error.status_code == 405:
            headers["Allow"] = ", ".join(allowed(app, request))
            detail = f"{request.method} is not possible here"
        told = problem(error.status_code, _SLUGS.get(error.status_code, "refused"), detail, request_id=request_id, headers=headers)
        return for_chat(told, request.scope["path"])

    app.add_exception_handler(SartorError, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, known)
    app.add_exception_handler(Exception, unexpected)


def of_known(error: Exception, scope: Scope) -> Response | None:
    """Problem details of a named error, or of a request that is not valid; None for any other."""
    request_id = scope.get("sartor.id", "")
    if isinstance(error, RequestValidationError):
        return for_chat(of_validation(error.errors(), request_id), scope["path"])
    if not isinstance(error, SartorError):
        return None
    if status_of(error) >= 500:
        scope["sartor.error"] = error
    return for_chat(of_error(error, request_id), scope["path"])


def of_validation(found: Sequence[Any], request_id: str) -> Response:
    """What pydantic found wrong; where it is, but never the value, which may be personal."""
    first = found[0] if found else {"loc": (), "msg": "the request is not valid"}
    field = ".".join(str(part) for part in first["loc"])[:200]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    detail = f"{field or 'the request'}: {first['msg']}{more}"
    return problem(422, "invalid-request", detail, fix="see /docs for what this route takes", where={"field": field}, request_id=request_id)


def invalid(part: str, error: ValidationError) -> RequestValidationError:
    """What pydantic found in a part of a request that a route reads by itself."""
    return RequestValidationError([{**one, "loc": (part, *one["loc"])} for one in error.errors(include_url=False, include_input=False)])


def allowed(app: FastAPI, request: Request) -> list[str]:
    """The methods that the address of a request knows."""
    found: set[str] = set()
    for route in app.routes:
        match, _ = route.matches(dict(request.scope))
        if match is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found | ({"HEAD"} if "GET" in found else set()))
