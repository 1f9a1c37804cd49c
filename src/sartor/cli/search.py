"""`sartor search`: what a query finds, for one person and for everybody."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _population
from sartor.cli.adapt import Items, Model
from sartor.cli.recommend import _read, _states, _titles
from sartor.errors import ConfigError

if TYPE_CHECKING:
    from sartor.method import State

REASONS = 2
"""Named for each result."""


def search(
    model: Model,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    person: Annotated[str | None, typer.Option("--person", "-p", help="Who asks; her events are read from --data.")] = None,
    items: Items = None,
    state: Annotated[Path | None, typer.Option("--state", help="A state that `sartor adapt` wrote.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="How many items.", min=1)] = 10,
    where: Annotated[str | None, typer.Option("--filter", metavar="SQL", help='Only items for which this holds, e.g. "year >= 1990".')] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", help="From 0, everybody's order, to 1, as personal as the model has learned to be. Default: 1.")
    ] = None,
    unseen: Annotated[bool, typer.Option("--unseen/--seen", help="Whether to leave out what the person's history holds.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Everybody's list beside the person's own.")] = False,
    data: Annotated[str | None, typer.Option("--data", help="Where people's events are. Default: the data the model was fitted on.")] = None,
    format: _population.Format = None,
    columns: _population.Columns = None,
    options: _population.Options = None,
    at_least: _population.AtLeast = None,
    as_json: _face.Json = False,
) -> None:
    """What a query finds, in a person's own order. Without --person, --items or --state: in everybody's.

        sartor fit ratings.csv --method personal-search --out model
        sartor search model "quiet thriller" --person ana --filter "year >= 1990" --compare
    """  # fmt: skip
    from sartor import load
    from sartor.method import Searcher

    if sum((person is not None, items is not None, state is not None)) > 1:
        raise ConfigError("this names one person in several ways", fix="give one of --person, --items, --state")
    fitted = load(model)
    if not isinstance(fitted, Searcher):
        raise ConfigError(f"{type(fitted).__name__} does not search", fix="fit one that does: sartor fit DATA --method personal-search", file=model)
    how = None if data is None else dict(zip(_population.HOW, (format, columns, options, at_least), strict=True))
    population = _read(model, data, how) if person is not None or data is not None else None
    start = time.perf_counter()
    who, own = next(iter(_states(fitted, population, None if person is None else [person], items, state).items()))
    adapted = time.perf_counter()
    exclude: Any = "seen" if unseen else None
    found = fitted.search([query], [own], k, where=where, strength=strength, exclude=exclude)
    seconds = {"adapt_seconds": adapted - start, "search_seconds": time.perf_counter() - adapted}
    names = _titles(model, population)
    result: dict[str, Any] = {
        "model": str(model), "query": query, "person": who, "k": k, "strength": strength, **seconds, "note": _said(found, "notes", 0),
        "plan": _said(found, "plan"), "examples": own.examples if own is not None else 0,
        "items": _entries(fitted, own, found, names, strength),
    }  # fmt: skip
    if compare:
        # What the person has seen is left out of both, or of neither.
        left_out: Any = [fitted.items_.array[own["items"]].tolist()] if unseen and own is not None else None  # type: ignore[attr-defined]
        everybody = fitted.search([query], [None], k, where=where, exclude=left_out)
        result["population"] = [{"item": item, "title": names.get(item)} for item in everybody[0]]
    if as_json:
        _face.emit(result)
    else:
        _show(result)


def _said(found: Any, name: str, row: int | None = None) -> Any:
    """What the search says beside its list, where it does."""
    value = getattr(found, name, None)
    return value[row] if value is not None and row is not None else value


def _entries(fitted: Any, own: State | None, found: Any, names: dict[Any, str], strength: float | None) -> list[dict[str, Any]]:
    ids = found[0]
    scores, ranks = found.scores[0].tolist(), _said(found, "population_ranks", 0)
    reasons = fitted.reasons(own, ids, REASONS, strength=strength) if ids and hasattr(fitted, "reasons") else [[] for _ in ids]
    return [
        {
            "item": item, "title": names.get(item), "score": scores[place], "rank": place + 1,
            "population_rank": None if ranks is None else int(ranks[place]),
            "because": [{"item": one.item, "title": names.get(one.item), "contribution": one.contribution} for one in reasons[place]],
        }
        for place, item in enumerate(ids)
    ]  # fmt: skip


def _show(result: dict[str, Any]) -> None:
    if result["note"]:
        _face.say(result["note"])
    who = f"for {result['person']} (from {result['examples']} events)" if result["examples"] else "for everybody"
    title = f"{result['query']!r} {who}"
    if "population" in result:
        pairs = zip(result["population"], result["items"], strict=False)
        rows: list[list[Any]] = [[at, _name(a), _name(b), _moved(b)] for at, (a, b) in enumerate(pairs, 1)]
        _face.stdout().print(_face.table(title, ["", "everybody", "own", "moved"], rows, left=3))
        return
    rows = [
        [one["rank"], one["item"], one["title"] or "", ", ".join(_name(thing) for thing in one["because"]), one["population_rank"], _moved(one)]
        for one in result["items"]
    ]
    _face.stdout().print(_face.table(title, ["", "item", "title", "because of", "everybody's place", "moved"], rows, left=4))


def _name(one: dict[str, Any]) -> str:
    return str(one["title"] or one["item"])


def _moved(one: dict[str, Any]) -> str:
    """Places gained (+) or lost against everybody's order."""
    if not one["population_rank"] or one["population_rank"] == one["rank"]:
        return ""
    return f"{one['population_rank'] - one['rank']:+d}"
