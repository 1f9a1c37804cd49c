"""`sartor adapt`: one person's own state, from that person's own events."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _population
from sartor.errors import ConfigError, FileProblem

if TYPE_CHECKING:
    from sartor.method import State

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a fitted model (`sartor fit`).")]
Items = Annotated[str | None, typer.Option("--items", metavar="A,B,C", help="The person's history, oldest first, as item ids.")]


def adapt(
    model: Model,
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help="Where the person's events are; the model need not have seen them.")] = None,
    person: Annotated[str | None, typer.Option("--person", "-p", help="Whose events.")] = None,
    items: Items = None,
    before: Annotated[Path | None, typer.Option("--state", help="An earlier state of the same person, to be updated with these events.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the state.")] = Path("person.state"),
    format: _population.Format = None,
    columns: _population.Columns = None,
    options: _population.Options = None,
    at_least: _population.AtLeast = None,
    as_json: _face.Json = False,
) -> None:
    """Learn one person's own state, in milliseconds, without fitting again.

    sartor adapt model ratings.csv --person ana --out ana.state
    """
    from sartor import Evidence, load
    from sartor._storage import write_atomically

    fitted = load(model)
    if items is not None and person is None and data is None:
        evidence = Evidence.from_items(split_items(items))
    elif data is not None and person is not None and items is None:
        population = _population.read(data, format, columns, options, at_least)
        evidence = population[_population.people_like(population, [person])[0]]
    else:
        raise ConfigError("it is not clear whose evidence this is", fix="give DATA and --person, or --items alone")
    earlier = read_state(before) if before is not None else None
    start = time.perf_counter()
    state = fitted.adapt(evidence, earlier)
    seconds = time.perf_counter() - start
    write_atomically(out, state.to_bytes())
    result = {"state": str(out), "person": person, **about(state), "adapt_seconds": seconds}
    if as_json:
        _face.emit(result)
        return
    unknown = state.notes.get("unknown_items", 0)
    left_out = f"; {unknown} events had items the model does not know" if unknown else ""
    took = _face.duration(seconds)
    _face.stdout().print(f"{state.examples} events became {_face.size(state.nbytes)} in {took}, saved in {out}{left_out}", highlight=False)


def about(state: State) -> dict[str, Any]:
    """What a state is, as plain data."""
    arrays = {name: f"{array.dtype}{list(array.shape)}" for name, array in state.arrays.items()}
    return {
        "method": state.method,
        "version": state.version,
        "examples": state.examples,
        "bytes": state.nbytes,
        "arrays": arrays,
        "notes": dict(state.notes),
    }


def read_state(path: Path) -> State:
    """A state from its file; raises `FileProblem` or `CorruptFile`."""
    from sartor.method import State

    try:
        return State.from_bytes(path.read_bytes())
    except OSError as cause:
        raise FileProblem("the state cannot be read", fix="give the file that `sartor adapt` wrote", file=path) from cause


def split_items(text: str) -> list[str]:
    """'a, b,c' -> ['a', 'b', 'c']."""
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise ConfigError("there is no item in --items", fix="for example --items 12,50,174")
    return found
