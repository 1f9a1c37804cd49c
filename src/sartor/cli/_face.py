"""What all commands share: one JSON object or tables, errors as one sentence, exit codes, Ctrl-C.

Exit codes: 0 done; 1 done, but a check failed, or a defect of ours; 2 a mistake in what was asked or in the data; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sartor.errors import SartorError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

# Old versions of typer use the package click, newer ones carry it inside; the classes are the same.
_CommandLineMistake: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on standard output, everything else on standard error.")]


@dataclass
class Session:
    """How this call of the command line was asked to behave."""

    json: bool = False
    debug: bool = False
    resume: Callable[[], str | None] = lambda: None
    """What to tell somebody who has pressed Ctrl-C."""


_session = Session()


def session() -> Session:
    """The call that is running."""
    return _session


class Face(TyperGroup):
    """The root command: turns every named error into one sentence (or one JSON object) and the right exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        global _session
        _session = Session(json="--json" in args, debug="--debug" in args)
        return self._told(lambda: super(Face, self).parse_args(ctx, [word for word in args if word != "--debug"]))

    def invoke(self, ctx: Any) -> Any:
        return self._told(lambda: super(Face, self).invoke(ctx))

    def _told(self, work: Any) -> Any:
        try:
            return work()
        except KeyboardInterrupt:
            _tell({"error": "Interrupted", "what": "stopped by Ctrl-C", "fix": _session.resume(), "where": {}})
            raise typer.Exit(130) from None
        except SartorError as problem:
            if _session.debug:
                raise
            _tell(problem.as_dict(), str(problem))
            raise typer.Exit(2) from None
        except _CommandLineMistake as mistake:
            if not _session.json:
                raise
            _tell({"error": "UsageError", "what": mistake.format_message(), "fix": "see --help", "where": {}})
            raise typer.Exit(2) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except OSError as problem:
            if _session.debug:
                raise
            what = f"{problem.strerror or problem}: {problem.filename}" if problem.filename else str(problem)
            _tell({"error": "FileProblem", "what": what, "fix": "check the path, its permissions and the space left", "where": {}})
            raise typer.Exit(2) from None
        except Exception as defect:
            if _session.debug:
                raise
            what = f"sartor failed: {type(defect).__name__}: {defect}"
            _tell({"error": "InternalError", "what": what, "fix": "run again with --debug for the whole story, and please report it", "where": {}})
            raise typer.Exit(1) from None


def _tell(problem: Mapping[str, Any], sentence: str | None = None) -> None:
    if _session.json:
        emit(problem)
        return
    fix = f" ({problem['fix']})" if problem["fix"] else ""
    stderr().print(f"[bold red]{problem['error']}[/]: ", end="")
    stderr().print(sentence or f"{problem['what']}{fix}", markup=False, highlight=False, soft_wrap=True)


def stdout() -> Console:
    """Where results go; wide enough for a table where there is no terminal to fit into."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 140)


def stderr() -> Console:
    """Where everything else goes."""
    from rich.console import Console

    return Console(file=sys.stderr)


def say(text: str) -> None:
    """One line about what is going on, never on standard output."""
    stderr().print(text, markup=False, highlight=False, style="dim", soft_wrap=True)


def emit(result: Any) -> None:
    """The one JSON object."""
    from sartor.evaluate.claim import plain

    sys.stdout.write(json.dumps(plain(result), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def write(path: Path, text: str) -> None:
    """A result for people to read, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def table(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, left: int = 1) -> Table:
    """A rich table; the first `left` columns are text, the others numbers."""
    from rich.table import Table

    out = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        out.add_column(name, justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        out.add_row(*(short(cell) for cell in row))
    return out


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as Markdown has it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def short(value: Any) -> str:
    """A cell as people read it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def interval(value: float | None, bounds: Sequence[float] | None, *, sign: bool = False) -> str:
    """'0.123 [0.101, 0.145]'."""
    if value is None or not math.isfinite(value):
        return "-"
    shape = "{:+.3f}" if sign else "{:.3f}"
    text = shape.format(value)
    return text if bounds is None or not all(map(math.isfinite, bounds)) else f"{text} [{shape.format(bounds[0])}, {shape.format(bounds[1])}]"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min"
