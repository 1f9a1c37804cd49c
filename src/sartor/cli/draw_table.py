"""`sartor draw table`: methods that learn things from a few pictures, side by side, on subjects that no prior has seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _settings

if TYPE_CHECKING:
    from sartor.draw._base import ConceptMethod
    from sartor.evaluate.drawing_board import DrawingBoard, Measured

SCORES = ("subject", "prompt", "edit", "unmixed", "gain", "swap_gap", "copy")


def table(
    methods: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="Repeat. Default: all that learn things from pictures.", show_default=False)
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", help="Repeat. Each has other subjects, pictures and noise. Default: 0, 1, 2.", show_default=False)
    ] = None,
    subjects: Annotated[int, typer.Option("--subjects", help="Held-out critters at each seed.")] = 2,
    references: Annotated[int, typer.Option("--references", help="Pictures of each.")] = 4,
    prompts: Annotated[int, typer.Option("--prompts", help="Of the 48 that a thing is measured by; half of them edits.")] = 24,
    pairs: Annotated[int, typer.Option("--pairs", help="Prompts with two things in one picture.")] = 8,
    steps: Annotated[int, typer.Option("--steps", help="Of optimisation, the same for every method.")] = 150,
    others: Annotated[int, typer.Option("--others", help="Training things that methods which learn from others see, once.")] = 300,
    once: Annotated[int, typer.Option("--once", help="Steps on those.")] = 600,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="METHOD.NAME=VALUE", help="A setting of one method.", show_default=False)
    ] = None,
    prior: Annotated[str, typer.Option("--prior", help='"shapes", or the folder of a prior of the shapes world.')] = "shapes",
    board: Annotated[Path, typer.Option("--board", "-b", help="Folder of what was measured; a further run goes on from it.")] = Path("drawings"),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for drawings.md and .json, pareto.svg and .png, and contact sheets.")
    ] = None,
    as_json: _face.Json = False,
) -> None:
    """Subject, prompt, editability, two things kept apart, gain, swap gap, and what it costs, of every method that learns a thing from pictures.

    All stand on one prior, learn the same held-out subjects from the same pictures with the same number of steps, and draw the same prompts from the
    same noise; everything is graded exactly. Methods that learn from others do so once, and take no steps for a new thing.
    gain = own state - no state; swap gap = own state - the state of another subject of its class.

        sartor draw table --method perfusion --method dreambooth --out table
    """
    from sartor.cli.draw import check_extra

    check_extra()
    from sartor.draw._base import open_prior
    from sartor.evaluate.drawing_board import CONTROLS, PASTED, POPULATION, DrawingBoard, DrawingTask, pooled

    own = _settings.by_method(settings)
    chosen = methods or _all()
    _check(chosen, own)
    task = DrawingTask(subjects=subjects, references=references, prompts=prompts, pairs=pairs, steps=steps, others=others, once=once)
    _face.session().resume = lambda: f"what was measured is in {board}: the same command goes on"
    kept = DrawingBoard(board, open_prior(prior), task)
    found: list[Measured] = []
    left_out: list[dict[str, Any]] = []
    for seed in seeds or (0, 1, 2):
        for slug in (PASTED, POPULATION, *chosen):
            one = _measured(kept, slug, seed, own.get(slug, []), left_out, strict=bool(methods) or slug in CONTROLS)
            found += [] if one is None else [one]
    rows = pooled(found)
    result = {
        "task": asdict(task), "prior": kept.prior.fingerprint, "seeds": list(seeds or (0, 1, 2)), "methods": rows, "left_out": left_out,
        "measured": [{"method": one.method, "seed": one.seed, "figures": one.figures, "each": one.each, "settings": one.settings} for one in found],
    }  # fmt: skip
    if out is not None:
        _save(out, kept, found, rows, result)
    if as_json:
        from sartor.evaluate.claim import plain

        _face.emit(plain(result))
    else:
        head, body = _sheet(rows)
        _face.stdout().print(_face.table(f"{subjects} subjects at each of {len(seeds or (0, 1, 2))} seeds, {steps} steps each", head, body))


def _measured(board: DrawingBoard, slug: str, seed: int, given: Sequence[str], left_out: list[dict[str, Any]], *, strict: bool) -> Measured | None:
    from sartor.errors import SartorError
    from sartor.evaluate.drawing_board import CONTROLS

    _face.say(f"{slug}, seed {seed}")
    make = partial(_made, "textual-inversion" if slug in CONTROLS else slug, given, seed)
    try:
        return board.run(slug, make, seed, {"own": list(given)})
    except SartorError as problem:
        if strict:
            raise
        # Of all there are, some want more than photos of a thing.
        left_out.append({"method": slug, "seed": seed, "why": str(problem)})
        _face.say(f"left out: {problem}")
        return None


def _made(slug: str, given: Sequence[str], seed: int) -> ConceptMethod:
    made: ConceptMethod = _settings.build(slug, given, seed=seed)
    return made


def _all() -> list[str]:
    """Every method of the room that learns things from pictures, its own or others'."""
    from sartor.draw._base import ConceptMethod
    from sartor.systems import SYSTEMS

    found = []
    for slug, system in SYSTEMS.items():
        if system.room == "draw" and system.kind in ("method", "baseline"):
            kind = system.resolve()
            if isinstance(kind, type) and issubclass(kind, ConceptMethod) and set(kind.population_frames) <= {"images"}:
                found.append(slug)
    return found


def _check(chosen: Sequence[str], own: Mapping[str, Sequence[str]]) -> None:
    """Mistakes are named before minutes are spent."""
    from sartor.errors import ConfigError
    from sartor.systems import find

    every = _all()
    for slug in chosen:
        if find(slug).slug not in every:
            raise ConfigError(f"{slug} does not learn things from pictures", fix=f"use {', '.join(every)}")
        _settings.build(slug, own.get(slug))
    if unused := sorted(set(own) - {*chosen}):
        raise ConfigError(f"settings of {unused[0]}, which is not among the methods", fix=f"they are {', '.join(chosen)}")


def _sheet(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    head = ["method", *(name.replace("_", " ") for name in SCORES), "steps", "learn, CPU", "once, CPU", "state", "a picture, CPU"]
    body = []
    for row in rows:
        scores = ["-" if row[name] is None else f"{row[name]:+.2f}" if name in ("gain", "swap_gap") else f"{row[name]:.2f}" for name in SCORES]
        costs = [row["adapt_seconds"], row["once_seconds"], row["draw_seconds"]]
        first, once, last = ("-" if not one else _face.duration(one) for one in costs)
        body.append([row["method"], *scores, f"{row['steps'] or 0:.0f}", first, once, _face.size(row["bytes"]) if row["bytes"] else "-", last])
    return head, body


def _save(out: Path, board: DrawingBoard, found: Sequence[Measured], rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> None:
    from sartor import _storage
    from sartor.draw.parts.picture_files import png
    from sartor.evaluate.claim import plain
    from sartor.evaluate.drawing_board import CONTROLS, front
    from sartor.evaluate.plots import front_figure

    _face.write(out / "drawings.md", _face.markdown(*_sheet(rows)))
    _face.write(out / "drawings.json", json.dumps(plain(result), indent=1))
    for suffix in ("svg", "png"):
        front_figure(rows, front(rows), out / f"pareto.{suffix}", x="prompt", y="subject", controls=CONTROLS)
    for seed in dict.fromkeys(one.seed for one in found):
        page = board.sheet(found, seed)
        _storage.write_atomically(out / f"sheet-{seed}.png", png(page, {"prompt": "", "prior": board.prior.fingerprint, "seed": seed}))
    _face.say(f"saved drawings.md, drawings.json, pareto.svg, pareto.png and contact sheets in {out}")
