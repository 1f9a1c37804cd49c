"""Progress bars with rate and time left, on standard error, silent where nobody is watching; and programs that watch instead of people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")


class Bar(Protocol):
    """What long work reports to."""

    def advance(self, steps: float = 1, *, note: str = "") -> None: ...


class _Silent:
    def advance(self, steps: float = 1, *, note: str = "") -> None:
        """Nothing to show."""


class Listener(Protocol):
    """Is told of every step of every bar; what it raises ends the work, which is how long work is cancelled."""

    def __call__(self, description: str, done: float, total: float | None, note: str) -> None: ...


_listener: ContextVar[Listener | None] = ContextVar("sartor_progress", default=None)


@contextmanager
def reporting(listener: Listener) -> Iterator[None]:
    """While inside, bars that this thread opens tell the listener too, also those that nobody sees."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class _Told:
    def __init__(self, shown: Bar, listener: Listener, description: str, total: float | None) -> None:
        self._shown, self._listener, self._description, self._total, self._done = shown, listener, description, total, 0.0

    def advance(self, steps: float = 1, *, note: str = "") -> None:
        self._done += steps
        self._shown.advance(steps, note=note)
        self._listener(self._description, self._done, self._total, note)


@contextmanager
def bar(description: str, total: float | None, *, enabled: bool = True, unit: str = "it") -> Iterator[Bar]:
    """A bar for `total` steps: `with bar("training", 100) as b: b.advance(note="loss 0.31")`."""
    listener = _listener.get()
    with _drawn(description, total, enabled, unit) as shown:
        yield shown if listener is None else _Told(shown, listener, description, total)


@contextmanager
def _drawn(description: str, total: float | None, enabled: bool, unit: str) -> Iterator[Bar]:
    if not enabled or not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}", style="dim"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, rate="", note="")

        class Shown:
            def advance(self, steps: float = 1, *, note: str = "") -> None:
                speed = progress.tasks[0].speed
                progress.update(task, advance=steps, note=note, rate=f"{speed:,.4g} {unit}/s" if speed else "")

        yield Shown()


def track(sequence: Iterable[T], description: str, *, total: float | None = None, enabled: bool = True, unit: str = "it") -> Iterator[T]:
    """Go through a sequence with a bar."""
    if total is None and hasattr(sequence, "__len__"):
        total = len(sequence)  # type: ignore[arg-type]
    with bar(description, total, enabled=enabled, unit=unit) as shown:
        for item in sequence:
            yield item
            shown.advance()
