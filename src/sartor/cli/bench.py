"""`sartor bench`: speed and memory beside a peer library, in turn on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from sartor.cli import _face
from sartor.errors import ConfigError, SartorError


def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every benchmark there is.")] = False,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Counted runs of each side.")] = 5,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Allowed to each side.")] = 2,
    as_json: _face.Json = False,
) -> None:
    """Measure sartor beside a peer library. Ratio = how many times better ours is; every run adds lines to benchmarks/results.jsonl."""
    from sartor.evaluate import benchmark

    known = benchmark.names()
    if bool(names) == everything:
        raise ConfigError("it is not clear what to measure", fix=f"name some of {', '.join(known)}, or --all")
    lines, problems = [], {}
    for name in known if everything else names or []:
        try:
            lines += benchmark.run(name, runs=runs, threads=threads)
        except SartorError as problem:
            if not everything:
                raise
            problems[name] = str(problem)
    if as_json:
        _face.emit({"results": lines, "not_run": problems})
    else:
        rows = [
            [one["name"], one["peer_name"], one["ours"], one["peer"], one["unit"], one["ratio"], one["quality_ours"], one["quality_peer"]]
            for one in lines
        ]
        _face.stdout().print(_face.table(None, ["benchmark", "peer", "ours", "peer's", "unit", "ratio", "quality", "peer's"], rows, left=2))
        for name, why in problems.items():
            _face.say(f"{name} did not run: {why}")
    if problems:
        raise typer.Exit(1)
