"""Starts `_chat_server.py`, for the tests of backends and of the endpoint, and for its benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Upstream:
    """A running server, and what it was asked."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.url = f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        self.seen: list[dict[str, Any]] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        # The last line is half when the server is killed within it.
        for line in (one for one in self.process.stdout if one.endswith("\n")):
            self.seen.append(json.loads(line))

    def asked(self, count: int = 1) -> list[dict[str, Any]]:
        """The requests so far, once there are `count` of them."""
        until = time.monotonic() + 10
        while len(self.seen) < count and time.monotonic() < until:
            time.sleep(0.01)
        return list(self.seen)


@contextmanager
def serving(*failures: str, key: str = "-") -> Iterator[Upstream]:
    command = [sys.executable, str(Path(__file__).with_name("_chat_server.py")), key, *failures]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        upstream = Upstream(process)
        try:
            yield upstream
        finally:
            process.kill()
            upstream.reader.join()
