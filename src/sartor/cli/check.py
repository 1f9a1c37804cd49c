"""`sartor check`: claim checks, paper beside measurement."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sartor.cli import _face
from sartor.errors import ConfigError, SartorError


def check(
    slugs: Annotated[list[str] | None, typer.Argument(metavar="[SLUG]...", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every check there is.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Only show what there is, and the last results.")] = False,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Other seeds than the check's own; at least three.", show_default=False)] = None,
    as_json: _face.Json = False,
) -> None:
    """Run claim checks: what a paper says, beside what we measure. Every run adds one line to claims/results.jsonl.

    Exit code 1 when a check failed: that is a result, not an accident.
    """
    from sartor.evaluate import claim

    known = list(claim.checks())
    if listing:
        _list(known, as_json)
        return
    if bool(slugs) == everything:
        raise ConfigError("it is not clear what to check", fix=f"name some of {', '.join(known) or 'none'}, or --all, or --list")
    results: list[dict[str, Any]] = []
    problems: dict[str, str] = {}
    for slug in known if everything else slugs or []:
        _face.say(f"checking {slug}")
        try:
            results.append(claim.run(slug, seeds=seeds))
        except SartorError as problem:
            # One check whose data is missing must not keep the others from running.
            if not everything:
                raise
            problems[slug] = str(problem)
            continue
        if not as_json:
            _show(results[-1])
    if as_json:
        _face.emit({"results": results, "not_run": problems})
    elif problems:
        _face.stdout().print(_face.table("not run", ["check", "why"], list(problems.items()), left=2))
    if problems or not all(one["passed"] for one in results):
        raise typer.Exit(1)


def _list(known: list[str], as_json: bool) -> None:
    from sartor.evaluate import claim

    last = claim.last_results()
    if as_json:
        _face.emit({"checks": [{"slug": slug, "last": last.get(slug)} for slug in known]})
        return
    rows = [
        [slug, *((("passed" if one["passed"] else "failed"), one["date"][:10]) if (one := last.get(slug)) else ("never run", ""))] for slug in known
    ]
    _face.stdout().print(_face.table(None, ["check", "last result", "date"], rows, left=3))


def _show(result: dict[str, Any]) -> None:
    out = _face.stdout()
    verdict = "[bold green]passed[/]" if result["passed"] else "[bold red]failed[/]"
    out.print(
        f"[bold]{result['slug']}[/] {verdict} in {_face.duration(result['seconds'])}, seeds {', '.join(map(str, result['seeds']))}", highlight=False
    )
    for label, text in (("claim", result["claim"]), ("passes when", result["passes"]), ("notes", result["notes"])):
        if text:
            out.print(f"  {label}: {text}", markup=False, highlight=False)
    names = list(dict.fromkeys([*result["measured"], *result["baseline"]]))
    rows = [[name, _cell(result["measured"].get(name)), _cell(result["baseline"].get(name))] for name in names]
    out.print(_face.table(None, ["", "measured", "baseline"], rows))
    if result["gain"] is not None:
        gain = _face.interval(result["gain"], result["gain_interval"], sign=True)
        swap = _face.interval(result["swap_gap"], result["swap_gap_interval"], sign=True)
        out.print(f"  gain {gain}, swap gap {swap}", highlight=False)
    if result["why_null"]:
        out.print(f"  no value where a scale does not apply: {result['why_null']}", markup=False, highlight=False)


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(_face.short(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_face.short(one)}" for name, one in value.items())
    return value
