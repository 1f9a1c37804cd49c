"""Asking a server that somebody else runs: its address, its key, how often to try again, and what its refusals mean."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sartor.errors import AccessDenied, BadValue, ConfigError, EndpointFailed, MissingExtra, RateLimited, SartorError

if TYPE_CHECKING:
    import httpx

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may do better."""
LONGEST_WAIT = 30.0
"""Seconds between two tries, whatever the server asks for."""
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A server with an API of OpenAI's kind, and the manners of asking it.

    Parameters
    ----------
    url: up to the version, such as https://api.openai.com/v1. Over plain http a key is sent to this machine only.
    key: name of the environment variable that holds the key; without it requests carry none.
    timeout: seconds for connecting, and for each answer.
    retries: how often a request is sent again when the network or the server fails, or is asked too much; waits double from
        `backoff` seconds, and are at least what the server asks for.
    kind: what the API is of, for its errors.

    Raises `ConfigError` for an address or a setting that cannot be.
    """

    url: str
    key: str
    timeout: float = 30.0
    retries: int = 4
    backoff: float = 0.5
    kind: str = "an API of OpenAI's kind"

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError:  # such as half of an IPv6 address
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"'{_shown(self.url)}' is not the address of a server", fix="give one like https://api.openai.com/v1")
        if parts.username or parts.password:
            raise ConfigError("the address holds a user or password", fix=f"put the key into the environment variable {self.key}")
        if self.timeout <= 0 or self.retries < 0 or self.backoff <= 0:
            what = f"timeout {self.timeout}, retries {self.retries}, backoff {self.backoff}"
            raise ConfigError(what, fix="use retries >= 0, timeout and backoff > 0")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    def headers(self) -> dict[str, str]:
        """What a request carries; raises `ConfigError` when the key would travel in the open."""
        key = os.environ.get(self.key, "").strip()
        if key and self.url.startswith("http://") and urlsplit(self.url).hostname not in _LOCAL:
            raise ConfigError(f"the key would be sent to {self.url} in the open", fix="use https")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def wait(self, tried: int, answer: httpx.Response | None) -> float | None:
        """Seconds before the next try after `tried` earlier ones; None when there is none to come.

        Parameters
        ----------
        answer: what the server answered; None: it could not be reached.
        """
        if tried >= self.retries or (answer is not None and answer.status_code not in AGAIN):
            return None
        wait = min(LONGEST_WAIT, self.backoff * 2**tried) * random.uniform(0.75, 1.25)
        told = answer.headers.get("Retry-After", "") if answer is not None else ""
        return min(LONGEST_WAIT, max(wait, float(told))) if re.fullmatch(r"\d+(\.\d+)?", told) else wait

    def client(self, extra: str) -> httpx.Client:
        """Connections to the server; raises `MissingExtra`, naming the extra that brings httpx."""
        try:
            import httpx
        except ImportError as missing:
            raise MissingExtra("httpx", extra) from missing
        return httpx.Client(base_url=self.url, headers=self.headers(), timeout=self.timeout)

    def ask(self, send: Callable[[], httpx.Response]) -> tuple[httpx.Response, int]:
        """What the server answers at last, success or not, and in which try. Raises `EndpointFailed` when it is not reached."""
        import httpx

        tried = 0
        while True:
            answer, failed = None, None
            try:
                answer = send()
            except httpx.RequestError as error:
                failed = error
            wait = self.wait(tried, answer)
            tried += 1
            if wait is not None:
                time.sleep(wait)
            elif answer is not None:
                return answer, tried
            else:
                assert failed is not None
                raise self.unreachable(failed, tried) from None

    def unreachable(self, error: Exception, tries: int) -> EndpointFailed:
        """The named error of a server that was not reached. To be raised `from None`: the request inside the cause carries the key."""
        return EndpointFailed(
            f"{self.url} cannot be reached: {type(error).__name__} in each of {tries} tries", fix="is the server running, and fast enough?"
        )

    def refusal(self, answer: httpx.Response, tries: int = 1, *, too_much: str = "wait") -> SartorError:
        """The named error of an answer that is not a success; its body must have been read."""
        status = answer.status_code
        if status in (401, 403):
            there = "refused" if "Authorization" in answer.request.headers else "missing"
            return AccessDenied(f"{self.url} answers {status}: the key is {there}", fix=f"put a key that is valid there into {self.key}")
        if status == 429:
            return RateLimited(f"{self.url} is asked too much, in each of {tries} tries", fix=too_much)
        told = self.reason(answer)
        if status in (400, 413, 422):
            return BadValue(f"{self.url} refuses this ({status}): {told}", fix="is the model's name right, and no text too long?")
        fix = "is the address right, up to the version?" if status == 404 else "try later"
        return EndpointFailed(f"{self.url} answers {status} after {tries} tries: {told}", fix=fix)

    def malformed(self, what: str) -> EndpointFailed:
        """The named error of an answer that is not what was asked for."""
        return EndpointFailed(f"{self.url} {what}", fix=f"is this {self.kind}?")

    def reason(self, answer: httpx.Response) -> str:
        """The server's own words, short, without the key should it repeat it."""
        try:
            told: Any = answer.json()
            told = told.get("error", told)
            text = str(told.get("message", told) if isinstance(told, dict) else told)
        except (ValueError, AttributeError):
            text = answer.text
        key = answer.request.headers.get("Authorization", "").removeprefix("Bearer ")
        return (text.replace(key, "***") if key else text)[:200]


def _shown(url: str) -> str:
    """An address as it may be written down: without user and password."""
    return url.rpartition("@")[2]
