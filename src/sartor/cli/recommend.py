"""`sartor recommend`: the best items for a person, a history, a saved state, or everybody."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _population
from sartor.cli.adapt import Items, Model, read_state, split_items
from sartor.cli.fit import FACTS, ITEMS
from sartor.errors import ConfigError, FileProblem

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.ids import IdMap
    from sartor.data.population import Population
    from sartor.method import State


def recommend(
    model: Model,
    person: Annotated[
        list[str] | None, typer.Option("--person", "-p", help="Who; repeat for several. Their events are read from --data.", show_default=False)
    ] = None,
    items: Items = None,
    state: Annotated[Path | None, typer.Option("--state", help="A state that `sartor adapt` wrote.")] = None,
    everyone: Annotated[bool, typer.Option("--everyone", help="Everybody in the data; needs --out.")] = False,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1)] = 10,
    where: Annotated[
        str | None, typer.Option("--filter", metavar="SQL", help="Only items for which this holds, e.g. \"year > 1990 AND title LIKE '%Star%'\".")
    ] = None,
    seen: Annotated[bool, typer.Option("--seen/--unseen", help="Whether items of the person's own history may come back.")] = False,
    data: Annotated[str | None, typer.Option("--data", help="Where people's events are. Default: the data the model was fitted on.")] = None,
    format: _population.Format = None,
    columns: _population.Columns = None,
    options: _population.Options = None,
    at_least: _population.AtLeast = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write person, rank, item, score to a .parquet, .csv or .jsonl file.")] = None,
    as_json: _face.Json = False,
) -> None:
    """The best items for a person. Without --person, --items or --state: the population's own answer.

        sartor recommend model --person ana -k 5
        sartor recommend model --items 12,50,174 --filter "array_contains(categories, 'Comedy')"
    """  # fmt: skip
    from sartor import Evidence, load

    if sum((bool(person), items is not None, state is not None, everyone)) > 1:
        raise ConfigError("this names several people in different ways", fix="give one of --person, --items, --state, --everyone")
    if everyone and out is None:
        raise ConfigError("everybody's lists need a file", fix="add --out recommendations.parquet")
    fitted = load(model)
    facts = _facts(model)
    population: Population | None = None
    if person or everyone or data is not None:
        source = data if data is not None else facts.get("data")
        if source is None:
            raise FileProblem("the model does not say where its data is", fix="add --data", file=model)
        how = (
            {name: facts.get(name) for name in _population.HOW}
            if data is None
            else dict(zip(_population.HOW, (format, columns, options, at_least), strict=True))
        )
        population = _population.read(source, **how)
    candidates = _filtered(where, model, population, fitted.items_) if where is not None else None
    start = time.perf_counter()
    states: dict[Any, State | None]
    if everyone and population is not None:
        states = fitted.adapt_all(population, progress=True)
    elif person and population is not None:
        states = {one: fitted.adapt(population[one]) for one in _population.people_like(population, person)}
    elif items is not None:
        states = {"you": fitted.adapt(Evidence.from_items(split_items(items)))}
    else:
        states = {"you" if state is not None else "population": read_state(state) if state is not None else None}
    adapted = time.perf_counter()
    ranking = fitted.recommend(list(states.values()), k, exclude=None if seen else "seen", candidates=candidates)
    finished = time.perf_counter()
    if out is not None:
        _write(ranking.to_frame(list(states)), out)
    result: dict[str, Any] = {
        "model": str(model),
        "k": k,
        "people": len(states),
        "adapt_seconds": adapted - start,
        "recommend_seconds": finished - adapted,
    }
    if everyone:
        if as_json:
            _face.emit({**result, "out": str(out)})
        else:
            _face.stdout().print(f"{len(states):,} people x {k} items in {_face.duration(finished - start)}, written to {out}", highlight=False)
        return
    names = _titles(model, population)
    lists = []
    for row, (who, own_state) in enumerate(states.items()):
        found = [
            {"item": item, "title": names.get(item), "score": float(score)}
            for item, score in zip(ranking[row], ranking.scores[row].tolist(), strict=False)
        ]
        notes = dict(own_state.notes) if own_state is not None else {}
        lists.append({"person": who, "examples": own_state.examples if own_state is not None else 0, "notes": notes, "items": found})
    if as_json:
        _face.emit({**result, "recommendations": lists})
        return
    for one in lists:
        if unknown := one["notes"].get("unknown_items"):
            _face.say(f"{unknown} events of {one['person']} had items the model does not know")
        rows = [[rank, entry["item"], entry["title"] or "", entry["score"]] for rank, entry in enumerate(one["items"], 1)]
        _face.stdout().print(_face.table(f"for {one['person']} (from {one['examples']} events)", ["", "item", "title", "score"], rows, left=3))


def _facts(model: Path) -> dict[str, Any]:
    file = model / FACTS
    return json.loads(file.read_text()) if file.is_file() else {}


def _items(model: Path, population: Population | None) -> pl.DataFrame | None:
    """The catalogue: of the data at hand, else the copy beside the model."""
    import polars as pl

    if population is not None and "items" in population:
        return population.items.collect()
    return pl.read_parquet(model / ITEMS) if (model / ITEMS).is_file() else None


def _titles(model: Path, population: Population | None) -> dict[Any, str]:
    frame = _items(model, population)
    if frame is None or "title" not in frame.columns:
        return {}
    return dict(frame.select("item", "title").drop_nulls().iter_rows())


def _filtered(where: str, model: Path, population: Population | None, known: IdMap) -> list[Any]:
    """Ids of the model's items that the SQL condition keeps."""
    import polars as pl

    frame = _items(model, population)
    if frame is None:
        raise ConfigError("there is nothing to filter by: the data has no items frame", fix="leave out --filter", file=model)
    try:
        kept = frame.filter(pl.sql_expr(where))["item"].to_list()
    except pl.exceptions.PolarsError as cause:
        what = str(cause).splitlines()[0]
        raise ConfigError(f"the filter is not understood: {what}", fix=f"columns are {', '.join(frame.columns)}", filter=where) from cause
    kept = [item for item, number in zip(kept, known.numbers(kept).tolist(), strict=True) if number >= 0] if kept else []
    if not kept:
        raise ConfigError("no item of the model passes the filter", fix=f"columns are {', '.join(frame.columns)}", filter=where)
    return kept


def _write(frame: pl.DataFrame, out: Path) -> None:
    writers: dict[str, Any] = {".parquet": frame.write_parquet, ".csv": frame.write_csv, ".jsonl": frame.write_ndjson}
    if out.suffix not in writers:
        raise ConfigError(f"'{out.suffix}' is not a format to write", fix=f"use {', '.join(writers)}", file=out)
    out.parent.mkdir(parents=True, exist_ok=True)
    writers[out.suffix](out)
