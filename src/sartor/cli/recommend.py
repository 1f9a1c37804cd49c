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
    from sartor.method import Ranking, State


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
    reasons: Annotated[bool, typer.Option("--why", help="Name what in the person's own history moved each item up.")] = False,
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
    from sartor import load

    if sum((bool(person), items is not None, state is not None, everyone)) > 1:
        raise ConfigError("this names several people in different ways", fix="give one of --person, --items, --state, --everyone")
    if everyone and out is None:
        raise ConfigError("everybody's lists need a file", fix="add --out recommendations.parquet")
    fitted = load(model)
    how = None if data is None else dict(zip(_population.HOW, (format, columns, options, at_least), strict=True))
    population = _read(model, data, how) if person or everyone or data is not None else None
    candidates = _filtered(where, model, population, fitted.items_) if where is not None else None
    start = time.perf_counter()
    if everyone and population is not None:
        states: dict[Any, State | None] = fitted.adapt_all(population, progress=True)
    else:
        states = _states(fitted, population, person, items, state)
    adapted = time.perf_counter()
    ranking = fitted.recommend(list(states.values()), k, exclude=None if seen else "seen", candidates=candidates)
    finished = time.perf_counter()
    seconds = {"adapt_seconds": adapted - start, "recommend_seconds": finished - adapted}
    result: dict[str, Any] = {"model": str(model), "k": k, "people": len(states), **seconds}
    if out is not None:
        _write(ranking.to_frame(list(states)), out)
        result["out"] = str(out)
    if not everyone:
        result["recommendations"] = _lists(fitted, states, ranking, _titles(model, population), reasons)
    if as_json:
        _face.emit(result)
    elif everyone:
        _face.stdout().print(f"{len(states):,} people x {k} items in {_face.duration(finished - start)}, written to {out}", highlight=False)
    else:
        _show(result["recommendations"], reasons)


def _read(model: Path, data: str | None, how: dict[str, Any] | None) -> Population:
    """The data that is named, or that the model was fitted on."""
    facts = _facts(model)
    source = data if data is not None else facts.get("data")
    if source is None:
        raise FileProblem("the model does not say where its data is", fix="add --data", file=model)
    return _population.read(source, **(how if how is not None else {name: facts.get(name) for name in _population.HOW}))


def _states(fitted: Any, population: Population | None, person: list[str] | None, items: str | None, state: Path | None) -> dict[Any, State | None]:
    from sartor import Evidence

    if person and population is not None:
        return {one: fitted.adapt(population[one]) for one in _population.people_like(population, person)}
    if items is not None:
        return {"you": fitted.adapt(Evidence.from_items(split_items(items)))}
    return {"you": read_state(state)} if state is not None else {"population": None}


def _lists(fitted: Any, states: dict[Any, State | None], ranking: Ranking, names: dict[Any, str], reasons: bool) -> list[dict[str, Any]]:
    lists = []
    for row, (who, state) in enumerate(states.items()):
        scores = ranking.scores[row].tolist()
        found: list[dict[str, Any]] = [{"item": item, "title": names.get(item), "score": scores[place]} for place, item in enumerate(ranking[row])]
        if reasons and state is not None:
            for entry in found:
                entry["because"] = _because(fitted, state, entry["item"], names)
        notes = dict(state.notes) if state is not None else {}
        lists.append({"person": who, "examples": state.examples if state is not None else 0, "notes": notes, "items": found})
    return lists


def _because(fitted: Any, state: State, item: Any, names: dict[Any, str]) -> list[dict[str, Any]]:
    from sartor.recommend._base import ItemRecommender
    from sartor.recommend.why import why

    if not isinstance(fitted, ItemRecommender):
        raise ConfigError(f"{type(fitted).__name__} cannot say why", fix="leave out --why")
    return [{"item": one.item, "title": names.get(one.item), "contribution": one.contribution} for one in why(fitted, state, item, 2)]


def _show(lists: list[dict[str, Any]], reasons: bool) -> None:
    for one in lists:
        if unknown := one["notes"].get("unknown_items"):
            _face.say(f"{unknown} events of {one['person']} had items the model does not know")
        rows = []
        for rank, entry in enumerate(one["items"], 1):
            because = [", ".join(str(thing["title"] or thing["item"]) for thing in entry.get("because", ()))] if reasons else []
            rows.append([rank, entry["item"], entry["title"] or "", *because, entry["score"]])
        columns = ["", "item", "title", *(["because of"] if reasons else []), "score"]
        _face.stdout().print(_face.table(f"for {one['person']} (from {one['examples']} events)", columns, rows, left=len(columns) - 1))


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
    """Ids of the model's items that the condition keeps."""
    from sartor.retrieve.attributes import Attributes

    frame = _items(model, population)
    if frame is None:
        raise ConfigError("there is nothing to filter by: the data has no items frame", fix="leave out --filter", file=model)
    kept = frame.filter(Attributes(frame).keeps(where))["item"].to_list()
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
