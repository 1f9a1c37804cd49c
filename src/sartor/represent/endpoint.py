"""Vectors from a server with the embeddings API of OpenAI: the company itself, vLLM, TEI, Ollama, llama.cpp, LiteLLM and many more."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from sartor.errors import AccessDenied, BadValue, ConfigError, EndpointFailed, MissingExtra, RateLimited
from sartor.parts.unit import unit
from sartor.progress import bar
from sartor.represent.encoder import digest

if TYPE_CHECKING:
    import httpx

KEY = "SARTOR_EMBEDDINGS_KEY"
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 30.0


class Endpoint:
    """An embedding model behind HTTP: POST {url}/embeddings.

    Parameters
    ----------
    url: up to the version, such as https://api.openai.com/v1. Over plain http a key is sent to this machine only.
    model: as the server names it. Two servers that give one name to different models cannot be told apart: the address is part of
        the fingerprint, what stands behind it is not.
    dim: asks the server for so many dimensions, where its models can be shortened; 0 takes what it gives.
    key: name of the environment variable that holds the key; without it requests carry none.
    batch_size: texts per request.
    timeout: seconds for connecting, and for each answer.
    retries: how often a request is sent again when the network or the server fails, or is asked too much; waits double from
        `backoff` seconds, and are at least what the server asks for.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        dim: int = 0,
        key: str = KEY,
        batch_size: int = 64,
        timeout: float = 30.0,
        retries: int = 4,
        backoff: float = 0.5,
    ) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:  # such as half of an IPv6 address
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"'{_shown(url)}' is not the address of a server", fix="give one like https://api.openai.com/v1")
        if parts.username or parts.password:
            raise ConfigError("the address holds a user or password", fix=f"put the key into the environment variable {key}")
        if not model:
            raise ConfigError("no model is named", fix="write for example endpoint:https://api.openai.com/v1#text-embedding-3-small")
        if dim < 0 or batch_size < 1 or timeout <= 0 or retries < 0 or backoff <= 0:
            what = f"dim {dim}, batch_size {batch_size}, timeout {timeout}, retries {retries}, backoff {backoff}"
            raise ConfigError(what, fix="use dim and retries >= 0, batch_size >= 1, timeout and backoff > 0")
        self.url, self.model, self.batch_size, self.retries, self.backoff = url.rstrip("/"), model, batch_size, retries, backoff
        self._asked_dim, self._dim, self._key, self._timeout = dim, dim, key, timeout
        self.fingerprint = digest(f"endpoint-1:{self.url}:{model}:{dim}")
        self._client: httpx.Client | None = None

    @property
    def dim(self) -> int:
        """Of the vectors; the server is asked when nothing has been encoded yet."""
        if not self._dim:
            self.encode(["dimension"])
        return self._dim

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim]; texts without content are not sent and get zeros.

        Raises `AccessDenied` (the key is missing or refused), `RateLimited` and `EndpointFailed` (after all retries, or when the answer
        is not one vector per text), `BadValue` (the server refuses a text).
        """
        rows = [row for row, text in enumerate(texts) if text.strip()]
        batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        made: list[np.ndarray] = []
        with bar(f"encoding with {self.model}", len(batches), enabled=progress, unit="request") as shown:
            for batch in batches:
                made.append(self._ask([texts[row] for row in batch]))
                shown.advance()
        if not rows and texts:
            made.append(np.empty((0, self.dim), np.float32))
        out = np.zeros((len(texts), self._dim if texts else self.dim), np.float32)
        if rows:
            out[rows] = np.concatenate(made)
        return unit(out)

    def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(self, texts: list[str]) -> np.ndarray:
        import httpx

        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": "float"}
        if self._asked_dim:
            body["dimensions"] = self._asked_dim
        client = self._opened()
        for tried in range(self.retries + 1):
            wait = min(_LONGEST_WAIT, self.backoff * 2**tried) * random.uniform(0.75, 1.25)
            try:
                answer = client.post("/embeddings", json=body)
            except httpx.TransportError as error:
                if tried == self.retries:
                    # Not chained: the request inside carries the key.
                    raise EndpointFailed(
                        f"{self.url} cannot be reached: {type(error).__name__} in each of {tried + 1} tries",
                        fix="is the server running, and fast enough?",
                    ) from None
            else:
                if answer.status_code not in _AGAIN or tried == self.retries:
                    return self._read(answer, len(texts), tried + 1)
                told = answer.headers.get("Retry-After", "")
                wait = min(_LONGEST_WAIT, max(wait, float(told))) if told.replace(".", "", 1).isdecimal() else wait
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _opened(self) -> httpx.Client:
        if self._client is None:
            try:
                import httpx
            except ImportError as missing:
                raise MissingExtra("httpx", "text") from missing
            key = os.environ.get(self._key, "").strip()
            if key and self.url.startswith("http://") and urlsplit(self.url).hostname not in ("localhost", "127.0.0.1", "::1"):
                raise ConfigError(f"the key would be sent to {self.url} in the open", fix="use https")
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            self._client = httpx.Client(base_url=self.url, headers=headers, timeout=self._timeout)
        return self._client

    def _read(self, answer: httpx.Response, count: int, tries: int) -> np.ndarray:
        status = answer.status_code
        if status in (401, 403):
            there = "refused" if "Authorization" in answer.request.headers else "missing"
            raise AccessDenied(f"{self.url} answers {status}: the key is {there}", fix=f"put a key that is valid there into {self._key}")
        if status == 429:
            raise RateLimited(f"{self.url} is asked too much, in each of {tries} tries", fix="wait, or use a smaller batch_size")
        if status in (400, 413, 422):
            raise BadValue(f"{self.url} refuses this ({status}): {self._reason(answer)}", fix="is the model's name right, and no text too long?")
        if status != 200:
            fix = "is the address right, up to the version?" if status == 404 else "try later"
            raise EndpointFailed(f"{self.url} answers {status} after {tries} tries: {self._reason(answer)}", fix=fix)
        try:
            data = answer.json()["data"]
            by_index = {int(one["index"]): one["embedding"] for one in data}
            vectors = np.array([by_index[at] for at in range(count)], np.float32)
            if vectors.ndim != 2 or len(data) != count or not vectors.shape[1]:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise EndpointFailed(f"{self.url} does not answer with one vector for each of {count} texts", fix="is this an embeddings API?") from None
        if not np.isfinite(vectors).all():
            raise EndpointFailed(f"{self.url} gives numbers that are not finite", fix="check the model there")
        if self._dim and vectors.shape[1] != self._dim:
            raise EndpointFailed(f"{self.url} gives {vectors.shape[1]} dimensions instead of {self._dim}", fix="check which model is there")
        self._dim = vectors.shape[1]
        return vectors

    def _reason(self, answer: httpx.Response) -> str:
        """The server's own words, short, without the key should it repeat it."""
        try:
            told = answer.json()
            told = told.get("error", told)
            text = str(told.get("message", told) if isinstance(told, dict) else told)
        except (ValueError, AttributeError):
            text = answer.text
        key = answer.request.headers.get("Authorization", "").removeprefix("Bearer ")
        return (text.replace(key, "***") if key else text)[:200]


def _shown(url: str) -> str:
    """An address as it may be written down: without user and password."""
    return url.rpartition("@")[2]
