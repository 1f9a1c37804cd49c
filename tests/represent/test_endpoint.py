"""Embeddings over HTTP, from a real server process that fails as it is told."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("httpx", reason="needs the extra 'text'")

from sartor.errors import AccessDenied, BadValue, ConfigError, EndpointFailed, RateLimited
from sartor.represent.endpoint import KEY, Endpoint
from sartor.represent.hashed_ngrams import HashedNgrams
from sartor.represent.text import text_encoder

TEXTS = ["quiet thriller", "a pan", "", "strange games", "quiet thriller", "soap", "  "]


class Server:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.url = f"http://127.0.0.1:{int(process.stdout.readline())}/v1"

    def encoder(self, **settings: object) -> Endpoint:
        return Endpoint(self.url, "words", **{"backoff": 0.01, "timeout": 10.0, "retries": 2, **settings})  # type: ignore[arg-type]

    def asked(self) -> list[dict[str, object]]:
        """Every request so far; ends the server."""
        self.process.terminate()
        return [json.loads(line) for line in self.process.communicate()[0].splitlines()]


@contextmanager
def serving(*failures: str, key: str = "-") -> Iterator[Server]:
    command = [sys.executable, str(Path(__file__).with_name("embedding_server.py")), key, *failures]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def test_vectors_come_in_order_in_batches_and_empty_texts_stay_here() -> None:
    with serving() as server:
        encoder = server.encoder(batch_size=2)
        np.testing.assert_allclose(encoder.encode(TEXTS), HashedNgrams(32).encode(TEXTS), atol=1e-6)
        assert encoder.dim == 32
        assert encoder.encode([]).shape == (0, 32)
        assert [one["texts"] for one in server.asked()] == [2, 2, 1]
    with serving() as server:
        assert server.encoder(dim=16).encode(["a"]).shape == (1, 16)
        assert server.encoder().encode(["", " "]).shape == (2, 32)


def test_passing_failures_are_waited_out() -> None:
    with serving("503", "close", "429", "hang") as server:
        encoder = server.encoder(retries=4, timeout=2.0)
        np.testing.assert_allclose(encoder.encode(["soap"]), HashedNgrams(32).encode(["soap"]), atol=1e-6)
        assert len(server.asked()) == 5


@pytest.mark.parametrize(
    ("failures", "error", "told", "requests"),
    [
        (["500"] * 3, EndpointFailed, "500 after 3 tries: failure 500", 3),
        (["429"] * 3, RateLimited, "3 tries", 3),
        (["close"] * 3, EndpointFailed, "cannot be reached", 3),
        (["404"], EndpointFailed, "404", 1),
        (["422"], BadValue, "failure 422", 1),
        (["words"], EndpointFailed, "one vector for each", 1),
        (["fewer"], EndpointFailed, "one vector for each", 1),
        (["nan"], EndpointFailed, "not finite", 1),
    ],
)
def test_lasting_failures_have_names(failures: list[str], error: type[Exception], told: str, requests: int) -> None:
    with serving(*failures) as server:
        with pytest.raises(error, match=told):
            server.encoder().encode(["soap"])
        assert len(server.asked()) == requests


def test_another_width_than_before_is_refused() -> None:
    with serving("", "wide") as server:
        encoder = server.encoder()
        encoder.encode(["soap"])
        with pytest.raises(EndpointFailed, match="33 dimensions instead of 32"):
            encoder.encode(["pan"])


def test_the_key_comes_from_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    secret = "sk-very-secret"
    with serving("echo", key=secret) as server, caplog.at_level(logging.DEBUG):
        with pytest.raises(AccessDenied, match=f"missing.*{KEY}"):
            server.encoder().encode(["soap"])
        monkeypatch.setenv(KEY, "sk-wrong")
        with pytest.raises(AccessDenied, match="refused"):
            server.encoder().encode(["soap"])
        monkeypatch.setenv(KEY, secret)
        encoder = server.encoder()
        with pytest.raises(BadValue, match=r"no such model for \*\*\*"):
            encoder.encode(["soap"])
        assert encoder.encode(["soap"]).shape == (1, 32)
        assert secret not in caplog.text
        assert secret not in str(vars(encoder))
    with pytest.raises(ConfigError, match="https"):
        Endpoint("http://example.org/v1", "words").encode(["soap"])


def test_addresses_and_settings_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    for url in ("example.org/v1", "ftp://example.org", "http://", "http://[::1"):
        with pytest.raises(ConfigError, match="address"):
            Endpoint(url, "words")
    with pytest.raises(ConfigError) as caught:
        Endpoint("https://me:word@example.org/v1", "words")
    assert "word@" not in str(caught.value)
    with pytest.raises(ConfigError, match="model"):
        text_encoder("endpoint:https://example.org/v1")
    with pytest.raises(ConfigError, match="retries"):
        Endpoint("https://example.org/v1", "words", retries=-1)
    # Nobody listens there.
    with pytest.raises(EndpointFailed, match="ConnectError"):
        Endpoint("http://127.0.0.1:1/v1", "words", retries=1, backoff=0.01).encode(["soap"])


def test_the_cache_asks_the_server_once_per_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path))
    with serving() as server:
        first = text_encoder(f"endpoint:{server.url}#words")
        wanted = first.encode(TEXTS)
        again = text_encoder(f"endpoint:{server.url}#words")
        np.testing.assert_array_equal(again.encode(TEXTS), wanted)
        assert again.fingerprint == first.fingerprint != text_encoder(f"endpoint:{server.url}#other").fingerprint
        assert again.dim == 32
        assert [one["texts"] for one in server.asked()] == [4]
