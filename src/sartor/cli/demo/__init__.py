"""`sartor demo`: the whole story on a generated population or on yours, and a report to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _population, _settings
from sartor.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from sartor.cli.demo.people import Person
    from sartor.cli.demo.story import Judged, Story
    from sartor.data.population import Population

METHODS = ("ease", "als", "bpr", "item-knn", "popularity", "sasrec")
"""Shown when nothing else is asked for; the first serves the three people."""
MOST_EVENTS = {"sasrec": 200_000, "bpr": 2_000_000}
"""Above so many events a method would take many minutes on two cores; it runs only when asked for."""
LARGE_CATALOGUE = 10_000
"""Above this many items EASE takes minutes and gigabytes; it runs only when asked for."""


def demo(
    data: Annotated[str | None, typer.Option("--data", help="A file, folder, zip or known data set. Default: a generated population.")] = None,
    methods: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="Methods to compare; repeat. The first serves the three people.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="METHOD.NAME=VALUE", help="A setting of one method: --set als.factors=32", show_default=False)
    ] = None,
    people: Annotated[int, typer.Option("--people", min=20, help="Size of the generated population.")] = 1000,
    items: Annotated[int, typer.Option("--items", min=50, help="Size of the generated catalogue.")] = 2000,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for report.html and demo.json.")] = Path("demo-out"),
    seed: Annotated[int, typer.Option("--seed")] = 0,
    format: _population.Format = None,
    columns: _population.Columns = None,
    options: _population.Options = None,
    at_least: _population.AtLeast = None,
    as_json: _face.Json = False,
) -> None:
    """Fit, adapt and measure on a generated population or on yours, and save a report.

    For three people the model has never seen: their history, what anybody would get, what they get, and why. Then by how much each
    method helps (gain), whether it is really this person's (swap gap), and what it costs.

        sartor demo --data ml-1m
    """  # fmt: skip
    from sartor.cli.demo.generated import Generated
    from sartor.cli.demo.page import page
    from sartor.cli.demo.shelf import shelve
    from sartor.cli.demo.story import tell
    from sartor.evaluate.claim import plain

    truth: Generated | None = None
    if data is None:
        from sartor.data.world import World

        truth = Generated(World(people=people, items=items, seed=seed))
        population = truth.world.population().replace(name="a generated population")
    else:
        population = _population.read(data, format, columns, options, at_least)
    models, left_out = _models(methods, settings, population, seed)
    story = tell(population, models, seed=seed, say=_face.say, truth=truth)
    story.skipped |= left_out
    result = story.to_dict()
    store, offer = shelve(story, out / "people.db", _face.say)
    report = out / "report.html"
    _face.write(report, page(story, _command(data, methods, settings, people, items, seed, at_least)))
    _face.write(out / "demo.json", json.dumps(plain(result), indent=1, ensure_ascii=False))
    if as_json:
        _face.emit({**result, "report": str(report), "store": None if store is None else str(store)})
        return
    _show(story)
    _face.stdout().print(f"The report, with plots: [bold]{report}[/] ({_face.duration(story.seconds)})", highlight=False)
    _face.stdout().print(offer, highlight=False, soft_wrap=True)


def _models(methods: list[str] | None, settings: list[str] | None, population: Population, seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Unfitted methods by slug, and those of the default list that are left out, with the reason."""
    from sartor.cli.demo.story import describe

    wanted, left_out = list(dict.fromkeys(methods or METHODS)), {}
    by_method: dict[str, list[str]] = {}
    for text in settings or ():
        slug, dot, rest = text.partition(".")
        if not dot or slug not in wanted:
            raise ConfigError(
                f"'{text}' is not METHOD.NAME=VALUE of a method that is shown",
                fix=f"methods are {', '.join(wanted)}; for example --set als.factors=32",
            )
        by_method.setdefault(slug, []).append(rest)
    if not methods:
        facts = describe(population)
        for slug, most in MOST_EVENTS.items():
            if facts["events"] > most:
                wanted.remove(slug)
                left_out[slug] = f"{facts['events']:,} events take it minutes on a small machine; name it with --method to include it"
        if facts["items"] > LARGE_CATALOGUE:
            wanted.remove("ease")
            left_out["ease"] = f"{facts['items']:,} x {facts['items']:,} weights take it minutes and gigabytes; name it with --method to include it"
    models = {}
    for slug in wanted:
        try:
            models[slug] = _settings.build(slug, by_method.get(slug), seed=seed)
        except MissingExtra as problem:
            if methods:
                raise
            left_out[slug] = str(problem)
    return models, left_out


def _command(
    data: str | None, methods: list[str] | None, settings: list[str] | None, people: int, items: int, seed: int, at_least: float | None
) -> str:
    """What makes this report again."""
    import shlex

    words = ["sartor", "demo", *(["--data", data] if data is not None else ["--people", str(people), "--items", str(items)])]
    for option, values in (("--method", methods), ("--set", settings)):
        for value in values or ():
            words += [option, value]
    if at_least is not None:
        words += ["--at-least", f"{at_least:g}"]
    return shlex.join([*words, "--seed", str(seed)])


def _show(story: Story) -> None:
    from rich.columns import Columns
    from rich.markup import escape
    from rich.panel import Panel

    from sartor.cli.demo.page import label, line, who

    out = _face.stdout()
    for person in story.people:
        out.print()
        out.print(f"[bold]{escape(who(person))}[/], never seen by the model", highlight=False)
        out.print(f"[dim]{escape(line(person))}[/]", highlight=False)
        out.print(Columns([Panel(text, title=title, width=width) for title, text, width in _panels(person, out.width)]))
    metric = label(story.chosen.evaluation.headline)
    rows = [
        [
            one.slug, _face.interval(one.evaluation.value, one.evaluation.intervals.get(one.evaluation.headline)),
            _face.interval(one.evaluation.gain, one.evaluation.gain_interval, sign=True),
            _face.interval(one.evaluation.swap_gap, one.evaluation.swap_gap_interval, sign=True),
            _ratio(one),
            _face.size(one.evaluation.cost["state_bytes"] or 0),
            _face.duration(one.evaluation.cost["adapt_seconds"] or 0), _face.duration(one.fit_seconds),
        ]
        for one in story.judged
    ]  # fmt: skip
    out.print()
    out.print(_face.table(None, ["method", metric, "gain", "swap gap", "new people", "state", "adapt", "fit"], rows))
    out.print(
        "[dim]gain: own state against none. swap gap: own state against a stranger's. new people: never seen / fitted on. 95% intervals.[/]",
        highlight=False,
    )


def _ratio(one: Judged) -> str:
    return f"{one.ratio:.2f} [{one.ratio_interval[0]:.2f}, {one.ratio_interval[1]:.2f}]"


def _panels(person: Person, width: int) -> list[tuple[str, str, int]]:
    from rich.markup import escape

    from sartor.cli.demo.page import sentence

    def line(entry: Any, number: int, reasons: bool) -> str:
        text = f"{number:>2} [green]{escape(entry.title)} ✓[/]" if entry.hit else f"{number:>2} {escape(entry.title)}"
        return f"{text}\n   [dim]{escape(sentence(entry, number))}[/]" if reasons and entry.because else text

    wide = max(28, min(width, 150) // 3 - 2)
    history = "\n".join(f"[dim]·[/] {escape(entry.title)}" for entry in person.history[:12])
    return [
        (f"history ({person.events} events)", history, wide - 4),
        ("anybody would get", "\n".join(line(entry, rank, False) for rank, entry in enumerate(person.population, 1)), wide - 4),
        ("they get, and why", "\n".join(line(entry, rank, True) for rank, entry in enumerate(person.own, 1)), wide + 8),
    ]
