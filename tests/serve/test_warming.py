"""A server says that it is ready when its first request would be as quick as the next."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from serve_shop import Shop, opened

from sartor.engine import Engine, warming


def until(shop: Shop, status: int) -> bool:
    end = time.monotonic() + 60
    while shop.get("/readyz").status_code != status:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_ready_only_when_warm_and_alive_at_once(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    go, real = threading.Event(), warming.warm
    monkeypatch.setattr(warming, "warm", lambda engine: go.wait(120) and real(engine))
    with opened(tmp_path, model) as shop:
        cold = shop.get("/readyz")
        assert (cold.status_code, cold.json()["type"]) == (503, "urn:sartor:problem:warming-up")
        assert shop.get("/healthz").status_code == 200
        assert shop.get("/v1/people/ana/recommendations").status_code == 200, "who asks all the same is answered"
        go.set()
        assert until(shop, 200)


def test_a_server_that_cannot_warm_up_goes_on(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fails(engine: Engine) -> bool:
        raise OSError("the words of a secret")

    monkeypatch.setattr(warming, "warm", fails)
    with opened(tmp_path, model) as shop:
        assert until(shop, 200)
    assert "OSError" in caplog.text
    assert "secret" not in caplog.text


def test_a_warm_process_has_read_what_the_first_request_needs(tmp_path: Path, model: Any) -> None:
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False) as first:
        assert not warming.warm(first), "without a model there is nothing to read"
        first.install(model)
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False) as engine:
        read: list[str] = []
        reads = engine._serving.shelves._read
        engine._serving.shelves._read = lambda *given: read.append("shelf") or reads(*given)  # type: ignore[method-assign,func-returns-value]
        assert warming.warm(engine)
        assert read == ["shelf"]
        engine.recommend("ana")
        assert read == ["shelf"]
        assert engine.store.people("default") == []


def test_a_server_that_is_asked_for_nothing_loads_nothing_that_compiles(tmp_path: Path) -> None:
    """What these take is most of the time and the memory of an idle server."""
    code = (
        "import sys; from sartor.engine import Engine; from sartor.serve import create_app\n"
        f"with Engine('sqlite:///{tmp_path}/people.db') as engine: create_app(engine)\n"
        "print(sorted({'numba', 'scipy', 'torch', 'sklearn', 'transformers', 'mcp'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
