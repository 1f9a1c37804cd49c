"""What every command that reads data shares: the DATA argument and how it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.errors import ConfigError, EmptyData, UnknownId

if TYPE_CHECKING:
    from sartor.data.population import Population

Data = Annotated[str, typer.Argument(metavar="DATA", help="A file, folder or zip of any known format, or the name of a known data set.")]
Format = Annotated[str | None, typer.Option("--format", help="The format, where it is not recognised by itself; see `sartor data list`.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="NAME=COLUMN", help="Which column is which, for your own files: --column person=user_id; repeat.", show_default=False
    ),
]
AtLeast = Annotated[
    float | None, typer.Option("--at-least", metavar="VALUE", help="Count only events with at least this value (rating) as positive.")
]


Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the format, such as --option split=u1; repeat.", show_default=False),
]


HOW = ("format", "columns", "options", "at_least")
"""What says how DATA is to be read, beside DATA itself."""


def read(
    data: str, format: str | None = None, columns: list[str] | None = None, options: list[str] | None = None, at_least: float | None = None,
    **more: Any,
) -> Population:  # fmt: skip
    """The population that DATA stands for; `more` are options of the reader."""
    import sartor.data

    population = sartor.data.read(_path(data), format=format, columns=_mapping(columns), **{**more, **given(options)})
    return population if at_least is None else _positives(population, at_least)


def _path(data: str) -> Path:
    """A path, or the folder of a known data set when there is no such path."""
    path = Path(data).expanduser()
    if path.exists() or len(path.parts) != 1 or path.suffix:
        return path
    from sartor.data import datasets

    return datasets.find(data)


def _mapping(columns: list[str] | None) -> dict[str, str] | None:
    out: dict[str, str] = {}
    for text in columns or ():
        name, equals, column = text.partition("=")
        if not equals:
            raise ConfigError(f"'{text}' is not NAME=COLUMN", fix="for example --column person=user_id --column item=movie_id")
        out[name.strip()] = column.strip()
    return out or None


def _positives(population: Population, at_least: float) -> Population:
    if "value" not in population.events.collect_schema():
        raise EmptyData("these events have no value to compare", fix="leave out --at-least", file=population.name)
    return population.positives(at_least)


def given(options: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE texts as keyword arguments; values that are JSON (numbers, lists) are read as such."""
    out: dict[str, Any] = {}
    for text in options or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"'{text}' is not NAME=VALUE", fix="for example --option split=u1")
        try:
            out[name.strip().replace("-", "_")] = json.loads(value)
        except ValueError:
            out[name.strip().replace("-", "_")] = value
    return out


def people_like(population: Population, given: list[str]) -> list[Any]:
    """Person ids from the command line, in the type the data has."""
    from sartor.data.ids import as_ids

    kind = population.events.collect_schema()["person"]
    cast = as_ids(given, kind)
    for text, value in zip(given, cast.to_list(), strict=True):
        if value is None:
            raise UnknownId("this person is not in the population", id=text, fix=f"its people have {'numbers' if kind.is_integer() else 'names'}")
    return cast.to_list()
