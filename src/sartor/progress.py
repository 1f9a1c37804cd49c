"""Progress bars with rate and time left, on standard error, silent where nobody is watching."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Bar(Protocol):
    """What long work reports to."""

    def advance(self, steps: float = 1, *, note: str = "") -> None: ...


class _Silent:
    def advance(self, steps: float = 1, *, note: str = "") -> None:
        """Nothing to show."""


@contextmanager
def bar(description: str, total: float | None, *, enabled: bool = True, unit: str = "it") -> Iterator[Bar]:
    """A bar for `total` steps: `with bar("training", 100) as b: b.advance(note="loss 0.31")`."""
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
