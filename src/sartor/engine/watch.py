"""Long work that somebody follows, and may stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from sartor.errors import SartorError
from sartor.progress import reporting


class Cancelled(SartorError):
    """Somebody asked this work to stop; nothing was switched."""


class Watch(Protocol):
    """Whoever wants to know how far a fit is, and may stop it."""

    def report(self, share: float, message: str) -> None:
        """Told now and then; raises `Cancelled` to end the work."""


@contextmanager
def stage(watch: Watch | None, first: float, last: float, name: str) -> Iterator[None]:
    """Bars that are drawn inside are reported as a part of the whole."""
    if watch is None:
        yield
        return

    def told(description: str, done: float, total: float | None, note: str) -> None:
        share = min(1.0, done / total) if total else 0.0
        watch.report(first + (last - first) * share, f"{name}: {description}{f' ({note})' if note else ''}")

    watch.report(first, name)
    with reporting(told):
        yield
    watch.report(last, name)
