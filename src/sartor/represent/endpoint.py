"""Vectors from a server with the embeddings API of OpenAI: the company itself, vLLM, TEI, Ollama, llama.cpp, LiteLLM and many more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import ConfigError, EndpointFailed
from sartor.parts.remote import Remote
from sartor.parts.unit import unit
from sartor.progress import bar
from sartor.represent.encoder import digest

if TYPE_CHECKING:
    import httpx

KEY = "SARTOR_EMBEDDINGS_KEY"


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
        self._remote = Remote(url=url, key=key, timeout=timeout, retries=retries, backoff=backoff, kind="an embeddings API")
        if not model:
            raise ConfigError("no model is named", fix="write for example endpoint:https://api.openai.com/v1#text-embedding-3-small")
        if dim < 0 or batch_size < 1:
            raise ConfigError(f"dim {dim}, batch_size {batch_size}", fix="use dim >= 0, batch_size >= 1")
        self.url, self.model, self.batch_size = self._remote.url, model, batch_size
        self._asked_dim, self._dim = dim, dim
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
        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": "float"}
        if self._asked_dim:
            body["dimensions"] = self._asked_dim
        if self._client is None:
            self._client = self._remote.client("text")
        client = self._client
        answer, tries = self._remote.ask(lambda: client.post("/embeddings", json=body))
        return self._read(answer, len(texts), tries)

    def _read(self, answer: httpx.Response, count: int, tries: int) -> np.ndarray:
        if answer.status_code != 200:
            raise self._remote.refusal(answer, tries, too_much="wait, or use a smaller batch_size")
        try:
            data = answer.json()["data"]
            by_index = {int(one["index"]): one["embedding"] for one in data}
            vectors = np.array([by_index[at] for at in range(count)], np.float32)
            if vectors.ndim != 2 or len(data) != count or not vectors.shape[1]:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise self._remote.malformed(f"does not answer with one vector for each of {count} texts") from None
        if not np.isfinite(vectors).all():
            raise EndpointFailed(f"{self.url} gives numbers that are not finite", fix="check the model there")
        if self._dim and vectors.shape[1] != self._dim:
            raise EndpointFailed(f"{self.url} gives {vectors.shape[1]} dimensions instead of {self._dim}", fix="check which model is there")
        self._dim = vectors.shape[1]
        return vectors
