"""`sartor data list | describe | get | convert | split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sartor.cli import _face, _population
from sartor.errors import FileProblem

app = typer.Typer(no_args_is_help=True, help="Find, look at, download, convert and split data sets.")

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")]
Duplicates = Annotated[str, typer.Option("--duplicates", help="Exact duplicate rows of events: keep, drop or error.")]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="NAME=VALUE",
        help="An option of the format or the split, such as -o split=u1 or -o test=0.2; repeat.",
        show_default=False,
    ),
]


@app.command("list")
def list_all(as_json: _face.Json = False) -> None:
    """The public data sets we know, which of them are on this machine, and the formats we read."""
    from sartor.data import datasets
    from sartor.data.loaders import formats

    rows: list[dict[str, Any]] = []
    for one in datasets.KNOWN.values():
        try:
            here: str | None = str(datasets.find(one.name))
        except FileProblem:
            here = None
        rows.append(
            {
                "name": one.name,
                "title": one.title,
                "terms": one.terms,
                "homepage": one.homepage,
                "frames": list(one.frames),
                "urls": list(one.urls),
                "here": here,
            }
        )
    if as_json:
        known = [{"name": one.name, "title": one.title, "options": list(one.options)} for one in formats().values()]
        _face.emit({"datasets": rows, "formats": known, "places": [str(place) for place in datasets.places()]})
        return
    cells = [[row["name"], row["title"], row["terms"], "here" if row["here"] else "get" if row["urls"] else "by hand"] for row in rows]
    _face.stdout().print(_face.table("Data sets", ["name", "what", "terms", "where"], cells, left=4))
    _face.stdout().print(_face.table("Formats", ["format", "files"], [[one.name, one.title] for one in formats().values()], left=2))
    _face.say(f"looked in {', '.join(str(place) for place in datasets.places())}")


@app.command()
def describe(
    data: _population.Data, format: _population.Format = None, columns: _population.Columns = None, option: Options = None,
    duplicates: Duplicates = "keep", as_json: _face.Json = False,
) -> None:  # fmt: skip
    """What is in a data set, and what looks wrong with it."""
    from sartor.data.describe import describe as facts_of

    facts = facts_of(_population.read(data, format, columns, option, duplicates=duplicates))
    if as_json:
        _face.emit(facts)
        return
    out = _face.stdout()
    frames = [
        [name, frame["rows"], ", ".join(f"{column['name']}: {column['type']}" for column in frame["columns"][:12]) + _more(frame["columns"], 12)]
        for name, frame in facts["frames"].items()
    ]
    shown = _face.table(facts["name"], ["frame", "rows", "columns"], frames)
    shown.columns[2].justify = "left"
    out.print(shown)
    if "events" in facts:
        out.print(_face.table("Events", ["", ""], _summary(facts)))
        names = ["min", "p25", "median", "mean", "p75", "p99", "max"]
        rows = [[f"per {who}", *[facts[f"per_{who}"][name] for name in names]] for who in ("person", "item")]
        out.print(_face.table("Events per person and per item", ["", *names], rows))
    for warning in facts["warnings"]:
        out.print(f"[yellow]note:[/] {warning}", highlight=False, soft_wrap=True)


def _more(columns: list[Any], shown: int) -> str:
    return f", ... {len(columns) - shown} more" if len(columns) > shown else ""


def _summary(facts: dict[str, Any]) -> list[list[Any]]:
    rows = [[name, facts[name]] for name in ("events", "people", "items")]
    rows.append(["density", None if facts["density"] is None else f"{facts['density']:.4%}"])
    rows.append(["Gini of items", facts["gini_items"]])
    if "time" in facts:
        rows += [["first", facts["time"]["first"]], ["last", facts["time"]["last"]], ["days", facts["time"]["days"]]]
    if "values" in facts:
        values = facts["values"]
        rows.append(["values", f"{_face.short(values['min'])} to {_face.short(values['max'])}, mean {_face.short(values['mean'])}"])
    for name, title in (("duplicate_rows", "exact duplicate rows"), ("repeated_pairs", "repeats of person and item")):
        if name in facts:
            rows.append([title, facts[name]])
    for name in ("kinds", "splits"):
        if name in facts:
            rows.append([name, ", ".join(f"{key} {count:,}" for key, count in facts[name].items())])
    return rows


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A name from `sartor data list`.")],
    folder: Annotated[Path | None, typer.Option("--to", help="Where to put it; the user's cache by default.")] = None,
    as_json: _face.Json = False,
) -> None:
    """Download a data set from its publisher."""
    from sartor.data import datasets

    entry = datasets.known(name)
    _face.say(f"{entry.title}. Terms: {entry.terms} ({entry.homepage})")
    _face.session().resume = lambda: f"run `sartor data get {name}` again: it goes on where it stopped"
    goal = datasets.get(name, folder, progress=not as_json)
    if as_json:
        _face.emit({"name": name, "folder": str(goal), "terms": entry.terms})
    else:
        _face.stdout().print(str(goal), highlight=False, soft_wrap=True)


@app.command()
def convert(
    data: _population.Data,
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    to: Annotated[str, typer.Option("--to", help="parquet, csv, jsonl or recbole.")] = "parquet",
    format: _population.Format = None, columns: _population.Columns = None, option: Options = None,
    duplicates: Duplicates = "keep", overwrite: Overwrite = False, as_json: _face.Json = False,
) -> None:  # fmt: skip
    """Write a data set in another format, which sartor (and RecBole) reads."""
    from sartor.data.convert import write

    population = _population.read(data, format, columns, option, duplicates=duplicates)
    folder = write(population, out, format=to, overwrite=overwrite)  # type: ignore[arg-type]
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    if as_json:
        _face.emit({"folder": str(folder), "files": files})
        return
    _face.stdout().print(_face.table(str(folder), ["file", "size"], [[name, _face.size(count)] for name, count in files.items()]))


@app.command()
def split(
    data: _population.Data,
    out: Annotated[Path, typer.Argument(help="The folder to write: train, validation, test, evidence, validation_evidence.")],
    by: Annotated[
        str, typer.Option("--split", help="leave-last, random, user-time, global-time, cold-item, cold-person, published or k-fold.")
    ] = "leave-last",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    format: _population.Format = None, columns: _population.Columns = None, at_least: _population.AtLeast = None, option: Options = None,
    duplicates: Duplicates = "keep", overwrite: Overwrite = False, as_json: _face.Json = False,
) -> None:  # fmt: skip
    """Split a data set and write the parts; options of the split as -o test=0.2."""
    from sartor.data import splits
    from sartor.data.convert import write_split

    population = _population.read(data, format, columns, None, at_least, duplicates=duplicates)
    settings = _population.given(option)
    if by == "k-fold":
        made = {one.name: one for one in splits.k_fold(population, seed=seed, **settings)}
        folders = {name: write_split(one, out / name, overwrite=overwrite) for name, one in made.items()}
    else:
        made = {by: splits.make(by, population, seed=seed, **settings)}
        folders = {by: write_split(made[by], out, overwrite=overwrite)}
    if as_json:
        parts = [{"folder": str(folders[name]), "split": name, "seed": seed, "events": one.counts()} for name, one in made.items()]
        _face.emit(parts[0] if by != "k-fold" else {"folds": parts})
        return
    for name, one in made.items():
        _face.stdout().print(_face.table(f"{name} in {folders[name]}", ["part", "events"], [[part, count] for part, count in one.counts().items()]))
