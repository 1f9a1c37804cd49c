"""`sartor writers`: methods that write for one person, side by side, on generated people whom no fit has seen."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _settings

if TYPE_CHECKING:
    import polars as pl

    from sartor.evaluate.writing_board import Measured, WritingBoard
    from sartor.write.population_lm import PopulationLM

LM = "population-lm"
HIDDEN = ("score",)


def writers(
    methods: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="Repeat. Default: all that write over the small language model.", show_default=False)
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", help="Repeat. Each is another world and another fit. Default: 0, 1, 2.", show_default=False)
    ] = None,
    people: Annotated[int, typer.Option("--people", help="Of each world; a quarter is never seen by a fit.")] = 400,
    evaluated: Annotated[int, typer.Option("--evaluated", help="Never-seen people that are judged.")] = 40,
    requests: Annotated[int, typer.Option("--requests", help="That each of them makes.")] = 4,
    examples: Annotated[int, typer.Option("--examples", help="Her newest pieces, from which she is adapted.")] = 8,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="METHOD.NAME=VALUE", help=f"A setting of one method; those of {LM} are everybody's.", show_default=False),
    ] = None,
    board: Annotated[Path, typer.Option("--board", "-b", help="Folder of what was measured; a further run goes on from it.")] = Path("writers"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for writers.md, writers.html and writers.json.")] = None,
    as_json: _face.Json = False,
) -> None:
    """Gain and swap gap for every tier of habits, bytes and processor seconds per person, of every method that writes.

    All methods stand on one small language model per seed, are fitted on the same people, adapt to the same others from the same pieces, and
    answer the same requests; every text is graded exactly. gain = own state - no state; swap gap = own state - another person's state.

        sartor writers --method in-context --method pplug --out table
    """
    from sartor.evaluate.writing_board import WritingBoard, WritingTask, costs, pooled

    own = _settings.by_method(settings)
    chosen = methods or _all()
    _check(chosen, own)
    task = WritingTask(people=people, evaluated=evaluated, requests=requests, examples=examples)
    kept = WritingBoard(board, task)
    measured: list[Measured] = []
    refused: list[dict[str, Any]] = []
    for seed in seeds or (0, 1, 2):
        found, wrong = _measured(kept, chosen, seed, own, strict=bool(methods))
        measured += found
        refused += wrong
    table, spent = pooled(measured), costs(measured)
    result = {"task": asdict(task), "seeds": list(seeds or (0, 1, 2)), "tiers": table.to_dicts(), "costs": spent.to_dicts(), "left_out": refused}
    if out is not None:
        from sartor.evaluate.claim import plain

        head, rows = _sheet(table, spent)
        _face.write(out / "writers.md", _face.markdown(head, rows))
        _face.write(out / "writers.html", _html(head, rows, table))
        _face.write(out / "writers.json", json.dumps(plain(result), indent=1, ensure_ascii=False))
        _face.say(f"saved writers.md, writers.html and writers.json in {out}")
    if as_json:
        _face.emit(result)
    elif measured:
        head, rows = _sheet(table, spent)
        shown = _face.stdout()
        shown.print(_face.table("share of habits shown by people whom no fit has seen: own, gain, swap gap", head, rows))


def _measured(
    board: WritingBoard, slugs: Sequence[str], seed: int, own: dict[str, list[str]], *, strict: bool
) -> tuple[list[Measured], list[dict[str, Any]]]:
    """All methods at one seed, and those that cannot be fitted on these people; `strict` raises for them."""
    from sartor.errors import SartorError
    from sartor.write.population_lm import population_lm

    @cache
    def model() -> PopulationLM:
        """Fitted once for all methods; from the cache where it was fitted before."""
        made = _settings.build(LM, own.get(LM), seed=seed)
        facts = {name: getattr(made, name) for name in (one.partition("=")[0] for one in own.get(LM, []))}
        return population_lm(board.world(seed)[1], progress=True, seed=seed, **facts)

    found, refused = [], []
    for slug in slugs:
        _face.say(f"{slug}, seed {seed}")
        facts = {"own": own.get(slug, []), "lm": own.get(LM, [])}
        try:
            found.append(board.run(slug, partial(_made, slug, own.get(slug), model, seed, board), seed, facts, progress=True))
        except SartorError as problem:
            if strict:
                raise
            # Of all there are, some want other evidence than people who write letters leave.
            refused.append({"method": slug, "seed": seed, "why": str(problem)})
            _face.say(f"left out: {problem}")
    return found, refused


def _all() -> list[str]:
    """Every method over the small language model, or one of its own of that size."""
    from sartor.systems import SYSTEMS
    from sartor.write._base import LMWriter
    from sartor.write.population_lm import PopulationLM
    from sartor.write.unims_rag import UniMSRAG

    found = []
    for slug, system in SYSTEMS.items():
        if system.room == "write" and system.kind in ("method", "baseline"):
            kind = system.resolve()
            if isinstance(kind, type) and issubclass(kind, LMWriter | PopulationLM | UniMSRAG):
                found.append(slug)
    return found


def _check(chosen: Sequence[str], own: Mapping[str, Sequence[str]]) -> None:
    """Mistakes are named before hours are spent."""
    from sartor.errors import ConfigError
    from sartor.systems import find

    writing = _all()
    for slug in chosen:
        if find(slug).slug not in writing:
            raise ConfigError(f"{slug} does not write over the small language model", fix=f"use {', '.join(writing)}")
        _settings.build(slug, own.get(slug))
    if unused := sorted(set(own) - {*chosen, LM}):
        raise ConfigError(f"settings of {unused[0]}, which is not among the methods", fix=f"they are {', '.join(chosen)}")


def _made(slug: str, settings: Sequence[str] | None, model: Any, seed: int, board: WritingBoard) -> Any:
    from sartor.data.world.persona.labels import annotated_replies, labelled
    from sartor.write.miracle import Miracle
    from sartor.write.unims_rag import UniMSRAG

    if slug == LM:
        return model()
    made = _settings.build(slug, settings, seed=seed, **(_RETRIEVED if slug == "unims-rag" else {"lm": model()}))
    # Dials are learned from replies labelled for one habit each, sources from answers that name them; the others learn from texts as they are.
    if isinstance(made, Miracle):
        made.fit(labelled(board.world(seed)[1]), progress=True)
    elif isinstance(made, UniMSRAG):
        made.fit(annotated_replies(board.world(seed)[1]), progress=True)
    return made


_RETRIEVED: dict[str, Any] = {"sources": ("PERSONA",), "depends": {}, "kinds": ("reply",), "max_tokens": 160, "slot": 44, "max_new": 44, "rows": 3}
"""Her own past replies are the one source of what she writes."""


def _sheet(table: pl.DataFrame, spent: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Head and rows: a method, its tiers as own, gain and swap gap, its costs."""
    tiers = [one for one in table["tier"].unique(maintain_order=True) if one not in HIDDEN]
    cells = {(row["method"], row["tier"]): row for row in table.to_dicts()}
    rows = []
    for cost in spent.to_dicts():
        found = [cells[cost["method"], tier] for tier in tiers]
        shown = [f"{one['own']:.2f} {one['gain']:+.2f} {one['swap_gap']:+.2f}" if one["people"] else "-" for one in found]
        rows.append([
            cost["method"], *shown, _face.size(cost["state_bytes"]), _face.duration(cost["adapt_cpu_seconds"]),
            _face.short(cost["prompt_tokens"]),
        ])  # fmt: skip
    return ["method", *tiers, "state", "adapt, CPU", "prompt tokens"], rows


def _html(head: Sequence[str], rows: Sequence[Sequence[str]], table: pl.DataFrame) -> str:
    """A page of its own: each cell is tinted by its gain, and tells its intervals to who points at it."""
    facts = {(row["method"], row["tier"]): row for row in table.to_dicts()}
    body = []
    for row in rows:
        cells = [f"<th>{html.escape(row[0])}</th>"]
        for name, text in zip(head[1:], row[1:], strict=True):
            one = facts.get((row[0], name))
            if one is None or not one["people"]:
                cells.append(f"<td>{html.escape(text)}</td>")
                continue
            told = "; ".join(f"{scale} {one[key]:+.3f} [{one[f'{key}_low']:+.3f}, {one[f'{key}_high']:+.3f}]" for scale, key in _SCALES)
            strength = round(100 * min(1.0, max(0.0, one["gain"])))
            cells.append(f'<td style="background:color-mix(in srgb, #3b8 {strength}%, transparent)" title="{told}">{html.escape(text)}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    first = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return _PAGE.format(head=first, body="\n".join(body))


_SCALES = (("gain", "gain"), ("swap gap", "swap_gap"))
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Writers</title>
<style>body {{ font: 14px system-ui, sans-serif; margin: 2rem; color-scheme: light dark }} table {{ border-collapse: collapse }}
th, td {{ padding: .4rem .6rem; text-align: left; border-bottom: 1px solid #8884 }} td {{ font-variant-numeric: tabular-nums }}</style>
<h1>Writers</h1><p>Share of habits shown by people whom no fit has seen: own, gain, swap gap. The darker, the more the own state helps.</p>
<table><thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table></html>
"""
