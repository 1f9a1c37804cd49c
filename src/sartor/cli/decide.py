"""`sartor decide`: what each person gets out of a shared budget, beside what the population's answer would have been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sartor.cli import _face, _population
from sartor.cli.adapt import Model
from sartor.cli.recommend import _read
from sartor.errors import BadValue, ConfigError, FileProblem


def decide(
    model: Model,
    budget: Annotated[float | None, typer.Option("--budget", "-b", help="What all may have together. Default: nothing is shared.", min=0.0)] = None,
    person: Annotated[
        list[str] | None, typer.Option("--person", "-p", help="Whom to decide for; again for more. Default: everybody in the data and the requests.")
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option("--requests", help='JSON lines with what is wanted for each: {"person": "ana", "target": 0.7, "efficiency": 2.5}.'),
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Where people's events are. Default: the data the model was fitted on.")] = None,
    log: Annotated[Path | None, typer.Option("--log", help="Append every decision to this file, with state version, price and alternative.")] = None,
    format: _population.Format = None,
    columns: _population.Columns = None,
    options: _population.Options = None,
    as_json: _face.Json = False,
) -> None:
    """What to give each person, from her own feedback, under a budget that all share.

    sartor fit ratings.csv --method wireless-allocation --out model
    sartor decide model --budget 40 --requests wanted.jsonl --log decisions.jsonl
    """
    from sartor import load
    from sartor.method import Decider

    fitted = load(model)
    if not isinstance(fitted, Decider):
        raise ConfigError(
            f"{type(fitted).__name__} does not decide", fix="fit one that does: sartor fit DATA --method wireless-allocation", file=model
        )
    how = None if data is None else dict(zip(_population.HOW, (format, columns, options, None), strict=True))
    population = _read(model, data, how)
    known: dict[Any, Any] = fitted.adapt_all(population if not person else population.only(_population.people_like(population, person)))
    asked = {} if requests is None else _requests(requests, known)
    if person:
        asked = {who: one for who, one in asked.items() if who in known}
    # Whoever is asked for without events gets the population's answer.
    states = {**known, **{one: None for one in asked if one not in known}}
    made: Any = fitted.decide(states, budget=float("inf") if budget is None else budget, requests=asked)
    if log is not None:
        from sartor.decide.log import DecisionLog

        DecisionLog(log).write(made, model=fitted.fingerprint_)
    saved = sum(one.population.cost for one in made.values() if one.population is not None) - made.spent
    result = {
        "model": str(model), "budget": budget, "spent": made.spent, "unit": made.unit, "price": made.price, "gap": made.gap,
        "refused": {str(who): why for who, why in made.refused.items()},
        "population_cost": made.spent + saved, "people": [{"person": who, **_plain(one)} for who, one in made.items()],
    }  # fmt: skip
    if as_json:
        _face.emit(result)
        return
    if made.price:
        _face.say(f"one {made.unit} more would be worth {made.price:.3g}; {made.spent:.4g} of {budget:g} {made.unit} are given")
    rows: list[list[Any]] = [
        [
            who, _said(one.action, one.unit), f"{one.cost:.3g}", f"{one.expected:.2f}", f"{one.interval[0]:.2f} to {one.interval[1]:.2f}",
            "" if one.population is None else f"{_said(one.population.action)} ({one.population.expected:.2f})", ", ".join(one.binding), one.note,
        ]
        for who, one in made.items()
    ]  # fmt: skip
    heads = ["person", "given", f"cost, {made.unit}", "expected", "90 %", "population's answer", "bound by", ""]
    _face.stdout().print(_face.table(f"{len(made)} people, {made.spent:.4g} {made.unit}", heads, rows, left=1))


def _said(action: Any, unit: str = "") -> str:
    """A level, or rates by name."""
    numbers = ", ".join(f"{name} {value:.3g}" for name, value in action.items()) if isinstance(action, dict) else f"{action:.3g}"
    return f"{numbers} {unit}".rstrip()


def _plain(one: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {name: value for name, value in asdict(one).items() if value is not None}


def _requests(path: Path, known: dict[Any, Any]) -> dict[Any, dict[str, Any]]:
    """One request per line, by the person as the data names her."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise FileProblem("the requests cannot be read", fix="give a file of JSON lines", file=path) from cause
    names = {str(one): one for one in known}
    out: dict[Any, dict[str, Any]] = {}
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = dict(json.loads(line))
            who = str(found.pop("person"))
        except (ValueError, TypeError, KeyError) as cause:
            raise BadValue("this line is no request", fix='write {"person": "ana", "target": 0.7}', file=path, row=row) from cause
        if names.get(who, who) in out:
            raise BadValue("this person is there twice", fix="give each once", file=path, row=row, person=who)
        out[names.get(who, who)] = found
    return out
