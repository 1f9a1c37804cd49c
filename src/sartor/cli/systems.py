"""`sartor systems`: the table of what is here, with each one's last claim check."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from sartor.cli import _face


def systems(
    room: Annotated[str | None, typer.Option("--room", help="Only this room: recommend, evaluate, ...")] = None,
    as_json: _face.Json = False,
) -> None:
    """The methods there are, and what their last claim check showed."""
    from sartor.systems import SYSTEMS

    last = last_results()
    shown = [system for system in SYSTEMS.values() if room in (None, system.room)]
    if as_json:
        _face.emit({"systems": [{**dataclasses.asdict(one), "last": last.get(one.slug)} for one in shown]})
        return
    cells = []
    for one in shown:
        result = last.get(one.slug)
        verdict = "-" if result is None else "passed" if result["passed"] else "failed"
        scales = [_face.interval(result.get(name), result.get(f"{name}_interval"), sign=True) if result else "-" for name in ("gain", "swap_gap")]
        cells.append([one.slug, one.kind, f"{one.authors} {one.year}", verdict if one.has_claim else "baseline", *scales])
    _face.stdout().print(_face.table(None, ["slug", "kind", "source", "claim check", "gain", "swap gap"], cells, left=4))


def last_results() -> dict[str, dict[str, Any]]:
    """The newest claim check of every system; none where there is no checkout of the claims."""
    from sartor.errors import FileProblem
    from sartor.evaluate import claim

    try:
        return claim.last_results()
    except FileProblem:
        return {}
