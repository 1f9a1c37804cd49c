"""`sartor evaluate`: by how much a method helps each person of DATA."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _population, _settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sartor.evaluate import Evaluation

MOST_SLICES = 14
"""Shown in the terminal."""


def evaluate(
    data: _population.Data,
    method: Annotated[str, typer.Option("--method", "-m", help="See `sartor systems`.")] = "ease",
    split: Annotated[
        str, typer.Option("--split", "-s", help="leave-last, random, user-time, global-time, cold-item, cold-person or published.")
    ] = "leave-last",
    settings: _settings.Set = None,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="NAME=A,B,C", help="Choose a setting by the validation events; repeat: all combinations.", show_default=False),
    ] = None,
    on: Annotated[str, typer.Option("--on", help="test or validation: tune on validation, look at test once.")] = "test",
    ks: Annotated[list[int] | None, typer.Option("-k", help="Cut-offs of the metrics; repeat. Default: 5, 10, 20.", show_default=False)] = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    format: _population.Format = None,
    columns: _population.Columns = None,
    options: _population.Options = None,
    at_least: _population.AtLeast = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for evaluation.json and evaluation.svg.")] = None,
    as_json: _face.Json = False,
) -> None:
    """Fit on a split's training part, judge on its held-out part: metrics, gain, swap gap, cost.

    gain = metric(own state) - metric(no state): does personalising help? gain over popularity = the same against the most popular items,
    one yardstick for all methods. swap gap = metric(own state) - metric(another's state): is it really this person's? cost = bytes per
    state, seconds to adapt, seconds per request.

        sartor evaluate ml-100k --method als --split leave-last --json
    """  # fmt: skip
    from sartor.data import splits
    from sartor.evaluate import evaluate as measure

    population = _population.read(data, format, columns, options, at_least)
    parts = splits.make(split, population, seed=seed)
    start = time.perf_counter()
    chosen: dict[str, Any] = {}
    if grid:
        from sartor.evaluate import tuned

        model, chosen, tried = tuned(method, parts, _settings.grid(method, settings, grid), seed=seed, progress=True)
        _face.say("\n".join(f"{line['settings']}: {line['ndcg@10']:.4f} on validation" for line in tried.to_dicts()))
    else:
        model = _settings.build(method, settings, seed=seed)
        with parts.guard():
            model.fit(parts.train, validation=parts.validation)
    seconds = time.perf_counter() - start
    evaluation = measure(model, parts, on=on, ks=ks or (5, 10, 20), seed=seed, progress=True)  # type: ignore[arg-type]  # checked there
    result = {"data": population.name, **evaluation.to_dict(), "method": method, "settings": settings or [], "chosen": chosen, "fit_seconds": seconds}
    if out is not None:
        from sartor.evaluate.claim import plain

        _face.write(out / "evaluation.json", json.dumps(plain(result), indent=1, ensure_ascii=False))
        evaluation.plot(out / "evaluation.svg")
        _face.say(f"saved evaluation.json and evaluation.svg in {out}")
    if as_json:
        _face.emit(result)
    else:
        _show(evaluation, seconds=seconds)


def _show(found: Evaluation, *, seconds: float) -> None:
    out = _face.stdout()
    title = f"{found.method} on split '{found.split}', {found.on}: {found.counts['people']:,} people, {found.counts['items']:,} items ranked"
    middle = found.ks[len(found.ks) // 2]
    names = list(dict.fromkeys(name.partition("@")[0] for name in found.metrics))
    suffix = found.headline.partition("@")[2].lstrip("0123456789")

    def cell(means: Mapping[str, float], name: str, k: int) -> str:
        return _face.short(means.get(f"{name}@{k}{suffix}"))

    rows = [
        [
            name,
            *(cell(found.metrics, name, k) for k in found.ks),
            *(cell(arm, name, middle) for arm in (found.population_metrics, found.popularity_metrics, found.swapped_metrics)),
        ]
        for name in names
    ]
    others = [f"{arm} @{middle}" for arm in ("no state", "popularity", "another's state")]
    out.print(_face.table(title, ["metric", *(f"@{k}{suffix}" for k in found.ks), *others], rows))
    out.print()
    if found.slices:
        slices = [
            [
                name,
                one["n"],
                one["metric"],
                one["value"],
                _face.interval(one["gain"], _known(one["gain_interval"]), sign=True),
                _face.interval(one["swap_gap"], None, sign=True),
            ]
            for name, one in sorted(found.slices.items(), key=lambda pair: "=" in pair[0].replace("<=", ""))[:MOST_SLICES]
        ]
        more = len(found.slices) - len(slices)
        out.print(
            _face.table("slices" + (f" (and {more} more with --json)" if more else ""), ["", "people", "metric", "value", "gain", "swap gap"], slices)
        )
        out.print()
    scales = [
        ["gain", _face.interval(found.gain, found.gain_interval, sign=True), f"{found.headline}: own state - no state"],
        [
            "gain over popularity",
            _face.interval(found.gain_over_popularity, found.gain_over_popularity_interval, sign=True),
            f"{found.headline}: own state - most popular items",
        ],
        ["swap gap", _face.interval(found.swap_gap, found.swap_gap_interval, sign=True), f"{found.headline}: own state - another's state"],
        ["state", _optional(_face.size, found.cost["state_bytes"]), "per person"],
        ["adapt", _optional(_face.duration, found.cost["adapt_seconds"]), "to learn one person"],
        ["request", _optional(_face.duration, found.cost["request_seconds"]), "per person, in a batch"],
        ["fit", _face.duration(seconds), "once"],
    ]
    out.print(_face.table("the three scales", ["", "", ""], scales, left=3))
    for note in found.notes:
        _face.say(note)


def _known(bounds: Sequence[float] | None) -> Sequence[float] | None:
    return None if bounds is None or bounds[0] != bounds[0] else bounds


def _optional(shape: Callable[[float], str], value: float | None) -> str:
    return "-" if value is None else shape(value)
