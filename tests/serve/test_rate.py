"""Rate limits: a window that slides, counted over all workers."""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sartor.errors import ConfigError
from sartor.serve.problems import Refused
from sartor.serve.rate import Rate, table


def allowed(rate: Rate, key: str, tries: int, cost: int = 1) -> int:
    count, waits = 0, [1]
    for _ in range(tries):
        try:
            rate.check(key, cost)
        except Refused as refused:
            waits.append(int(refused.headers["Retry-After"]))  # type: ignore[index]
        else:
            count += 1
    assert min(waits) >= 1
    return count


def test_the_window_slides() -> None:
    now = [1_000_020.0]
    rate = Rate("60/minute", clock=lambda: now[0])
    assert allowed(rate, "a", 100) == 60
    assert allowed(rate, "b", 10) == 10
    now[0] += 60 + 15  # a quarter into the next window: three quarters of the last one still count
    assert allowed(rate, "a", 100) == 15
    now[0] += 120
    assert allowed(rate, "a", 100) == 60
    now[0] += 240
    assert allowed(rate, "a", 3, cost=1_000) == 1, "what costs more than a whole window is possible once in one"
    now[0] -= 600
    assert allowed(rate, "a", 100) == 60, "a clock that is set back locks nobody out"


@pytest.mark.parametrize(
    ("text", "amount", "seconds"), [("100/second", 100, 1), ("10 per 2 minutes", 10, 120), ("5/HOUR", 5, 3600), ("7/3days", 7, 259_200)]
)
def test_rates_are_read(text: str, amount: int, seconds: int) -> None:
    rate = Rate(text)
    assert (rate.amount, rate.seconds) == (amount, seconds)


@pytest.mark.parametrize("text", ["many", "", "0/second", "-1/second", "5/0 minutes", "5/fortnight", "5"])
def test_what_is_no_rate_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="rate is"):
        Rate(text)


def _work(path: Path, results: Any, start: Any) -> None:
    rate = Rate("1000/day", path)
    start.wait()
    results.put((allowed(rate, "shared", 900), rate._own))


def test_processes_share_one_limit_and_take_over_the_row_of_one_that_died(tmp_path: Path) -> None:
    table(tmp_path / "rates", 3)
    assert (tmp_path / "rates").stat().st_blocks * 512 < 100_000, "room is taken by what is counted only"
    context = multiprocessing.get_context("spawn")
    results, start = context.Queue(), context.Barrier(2)
    workers = [context.Process(target=_work, args=(tmp_path / "rates", results, start)) for _ in range(2)]
    for one in workers:
        one.start()
    found = [results.get(timeout=60) for _ in workers]
    for one in workers:
        one.join(30)
    assert 1_000 <= sum(count for count, _ in found) <= 1_002, "but for what two count at the very same moment"
    assert len({row for _, row in found}) == 2
    # Both have ended: a new one has a row, and what they counted still holds.
    late = Rate("1000/day", tmp_path / "rates")
    assert allowed(late, "shared", 10) == 0
    assert allowed(late, "another", 10) == 10
    late.close()


def test_no_thread_is_started_for_a_request() -> None:
    rate, before = Rate("100000/second"), threading.active_count()
    assert allowed(rate, "a", 1_000) == 1_000
    assert threading.active_count() == before


def test_two_workers_of_a_server_let_through_what_one_would(tmp_path: Path) -> None:
    from serve_shop import SCOPES

    from sartor.profile.store import ProfileStore

    url = f"sqlite:///{tmp_path}/people.db"
    with ProfileStore.open(url) as store:
        key = store.create_key("default", label="test", scopes=SCOPES)[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-c", f"from sartor.serve.run import run; run({url!r}, port={port}, workers=2)"],
        env={**os.environ, "SARTOR_SERVE_RATE": "40/hour", "SARTOR_SERVE_LOG_REQUESTS": "false"}, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            _ready(port)
            # A connection for each, so that the system deals them to both workers.
            codes = [_status(port, "/v1/me", key) for _ in range(60)]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert (codes.count(200), codes.count(429)) == (40, 20)


def _status(port: int, path: str, key: str = "") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        return connection.getresponse().status


def _ready(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if _status(port, "/readyz") == 200:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not get ready")
