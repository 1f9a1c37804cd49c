"""`sartor recognize`: enrol people from a few pictures, tell who is on others, and measure how well."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sartor.cli import _face, _settings
from sartor.errors import BadValue, ConfigError, CorruptFile, FileProblem, StateMismatch, UnknownId

app = typer.Typer(no_args_is_help=True, help="Whose, or which one, is this?")
Model = Annotated[Path, typer.Argument(help="Folder of a fitted recognizer.", show_default=False)]
Enrolled = Annotated[Path, typer.Option("--people", "-p", help="Folder of who is enrolled: one small file each, no pictures.")]
Pictures = Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", show_default=False)]
Person = Annotated[str, typer.Argument(help="Her name.", show_default=False)]
Settings = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE; repeat for several.", show_default=False)]
SUFFIX = ".state"
ALL_LEARNED = "no identities were held out: the threshold lets more strangers in than asked for; look at it with `sartor recognize evaluate`"


@app.command("fit")
def fit(
    data: Annotated[str, typer.Argument(help="A folder with one folder of pictures per identity; or orl-faces, omniglot, figures.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the model.")] = Path("recognizer"),
    method: Annotated[str, typer.Option("--method", "-m")] = "nearest-centroid",
    settings: Settings = None,
    seed: int = 0,
    as_json: _face.Json = False,
) -> None:
    """Learn from everybody what tells identities apart, and how alike strangers are.

    sartor recognize fit photos/ --out recognizer
    """
    from sartor.recognize import datasets

    shown = datasets.load(data, seed=seed)
    made = _recognizer(method, settings, seed, shown.mirror)
    made.fit_pictures(shown.images, shown.identity, progress=True)
    made.save(out)
    facts = {"model": str(out), "fingerprint": made.fingerprint_, "pictures": len(shown.images), "threshold": made.threshold(1),
             "calibrated_on": made.calibrated_on_, "note": "" if made.calibrated_on_ else ALL_LEARNED}  # fmt: skip
    if as_json:
        _face.emit(facts)
        return
    _face.say(f"saved {out}; the threshold is set by {made.calibrated_on_ or 'the same'} identities, {facts['threshold']:.3f} for one person")
    if facts["note"]:
        _face.say(facts["note"])


@app.command("enrol")
def enrol(
    model: Model, person: Person, pictures: Pictures, people: Enrolled = Path("enrolled"),
    sure: Annotated[bool, typer.Option("--sure", help="Also where they do not look like who is enrolled under this name.")] = False,
    as_json: _face.Json = False,
) -> None:  # fmt: skip
    """Enrol somebody from a few pictures; of somebody who is enrolled, they are further examples. Ask people first: this is biometric data.

    sartor recognize enrol recognizer ana ana/*.jpg
    """
    from sartor._storage import write_atomically

    fitted = _load(model)
    images = _images(fitted, pictures)
    before = _state(fitted, people, person) if _file(people, person).is_file() else None
    state = fitted.enrol(images, before, sure=sure)
    write_atomically(_file(people, person), state.to_bytes())
    facts = {"person": person, "pictures": state.examples, "version": state.version, "bytes": state.nbytes}
    if as_json:
        _face.emit(facts)
    else:
        _face.say(f"{person}: {state.examples} pictures, {state.nbytes} bytes, version {state.version}")


@app.command("identify")
def identify(
    model: Model,
    pictures: Pictures,
    people: Enrolled = Path("enrolled"),
    k: Annotated[int, typer.Option("--k", min=1)] = 1,
    as_json: _face.Json = False,
) -> None:
    """Who is on each picture, of those who are enrolled; or nobody that is known.

    sartor recognize identify recognizer unknown.jpg
    """
    fitted, files = _load(model), _files(pictures)
    if not people.is_dir():
        raise FileProblem("nobody is enrolled here", fix="enrol first: sartor recognize enrol; or name the folder with --people", file=people)
    states = {file.name.removesuffix(SUFFIX): _state(fitted, people, file.name.removesuffix(SUFFIX)) for file in sorted(people.glob(f"*{SUFFIX}"))}
    answers = fitted.recognize(_images(fitted, pictures), states, k=k)
    least = fitted.threshold(max(1, len(states)))
    rows = [(file, [(who, score) for who, score in answer if who is not None]) for file, answer in zip(files, answers, strict=True)]
    if as_json:
        found = [{"picture": str(file), "people": [{"person": who, "score": score} for who, score in row]} for file, row in rows]
        _face.emit({"threshold": least, "enrolled": len(states), "pictures": found})
        return
    table = [[str(file), ", ".join(f"{who} {score:.3f}" for who, score in row) or "nobody that is known"] for file, row in rows]
    _face.stdout().print(_face.table(f"{len(states)} enrolled, from {least:.3f}", ["picture", "who"], table, left=2))


@app.command("verify")
def verify(model: Model, person: Person, pictures: Pictures, people: Enrolled = Path("enrolled"), as_json: _face.Json = False) -> None:
    """Whether each picture shows this person.

    sartor recognize verify recognizer ana unknown.jpg
    """
    fitted, files = _load(model), _files(pictures)
    made = fitted.verify(_images(fitted, pictures), _state(fitted, people, person))
    if as_json:
        found = [{"picture": str(file), "same": same, "score": score} for file, (same, score) in zip(files, made, strict=True)]
        _face.emit({"person": person, "threshold": fitted.threshold(1), "pictures": found})
        return
    rows = [[str(file), "yes" if same else "no", score] for file, (same, score) in zip(files, made, strict=True)]
    _face.stdout().print(_face.table(f"{person}, from {fitted.threshold(1):.3f}", ["picture", "same", "score"], rows, left=2))


@app.command("forget")
def forget(person: Person, people: Enrolled = Path("enrolled"), as_json: _face.Json = False) -> None:
    """Remove all that is kept of somebody, and look that nothing is left.

    sartor recognize forget ana
    """
    _enrolled(people, person).unlink()
    left = [one.name for one in people.iterdir() if one.name == f"{person}{SUFFIX}"]
    facts = {"person": person, "removed": 1, "left": len(left)}
    if as_json:
        _face.emit(facts)
    else:
        _face.say(f"{person} is no longer enrolled; nothing of her is left in {people}")


@app.command("evaluate")
def evaluate(
    data: Annotated[str, typer.Argument(help="orl-faces, omniglot, figures, or a folder with one folder of pictures per identity.")],
    methods: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="Repeat for several. Default: pixels and the small encoder.", show_default=False)
    ] = None,
    settings: Settings = None,
    shots: Annotated[int, typer.Option("--shots", min=1, help="Pictures enrolled of each.")] = 3,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Repeat for several; default 0, 1, 2.", show_default=False)] = None,
    as_json: _face.Json = False,
) -> None:
    """Identify people whom no model has seen, from a few pictures each: gain, swap gap, verification, strangers.

    sartor recognize evaluate orl-faces --shots 3
    """
    from sartor.evaluate.recognition import Protocol, compare
    from sartor.recognize import datasets

    shown = datasets.load(data)
    arms: dict[str, Any] = {}
    for slug in methods or ["pixels", "nearest-centroid"]:
        plain, extra = ("nearest-centroid", ["encoder=pixels", "whiten=false"]) if slug == "pixels" else (slug, [])
        arms[slug] = lambda seed, plain=plain, extra=extra: _recognizer(plain, [*extra, *(settings or [])], seed, shown.mirror)
    found = compare(arms, shown.images, shown.identity, seeds=seeds or (0, 1, 2), protocol=Protocol(shots=shots))
    if as_json:
        _face.emit({"data": shown.name, "shots": shots, "methods": found})
        return
    columns = ["rank-1", "gain", "swap_gap", "EER", "TAR at 1 %", "DIR at 1 %", "named rightly", "strangers accepted", "state_bytes", "adapt_seconds"]
    rows = [[name, *(sum(run.get(column, 0.0) for run in runs) / len(runs) for column in columns)] for name, runs in found.items()]
    people = next(iter(found.values()))[0]["people"]
    title = f"{shown.name}: {people} new people enrolled from {shots} pictures each, mean of {len(seeds or (0, 1, 2))} seeds"
    _face.stdout().print(_face.table(title, ["", *columns], rows))


def _recognizer(slug: str, settings: list[str] | None, seed: int, mirror: bool) -> Any:
    made = _settings.build(slug, settings, seed=seed, flip=mirror)
    if not hasattr(made, "fit_pictures"):
        raise ConfigError(f"'{slug}' does not recognize who is enrolled", fix="use nearest-centroid")
    return made


def _load(model: Path) -> Any:
    from sartor import load
    from sartor.method import Recognizer

    fitted = load(model)
    if not isinstance(fitted, Recognizer):
        raise ConfigError(f"{type(fitted).__name__} does not recognize", fix="fit one that does: sartor recognize fit DATA", file=str(model))
    return fitted


def _file(people: Path, person: str) -> Path:
    if not person or "/" in person or "\\" in person or person.startswith("."):
        raise BadValue(f"'{person}' cannot be the name of a file", fix="use letters and digits")
    return people / f"{person}{SUFFIX}"


def _enrolled(people: Path, person: str) -> Path:
    """Her file; raises `UnknownId`."""
    file = _file(people, person)
    if not file.is_file():
        raise UnknownId("nobody is enrolled under this name", id=person, fix="enrol first: sartor recognize enrol", file=str(people))
    return file


def _state(fitted: Any, people: Path, person: str) -> Any:
    """What is enrolled of her; raises `CorruptFile` and `StateMismatch` with the file."""
    from sartor.method import State

    file = _enrolled(people, person)
    try:
        state = State.from_bytes(file.read_bytes())
        fitted.check_state(state)
    except (CorruptFile, StateMismatch) as problem:
        raise type(problem)(problem.what, fix="enrol her again, or take the file away", file=file) from problem
    return state


def _files(pictures: list[Path]) -> list[Path]:
    from sartor.recognize.datasets import PICTURES

    found: list[Path] = []
    for one in pictures:
        inside = sorted(file for file in one.iterdir() if file.suffix.lower() in PICTURES) if one.is_dir() else [one]
        if not inside:
            raise FileProblem("there are no pictures here", fix="give a folder of PNG or JPEG files", file=one)
        found += inside
    return found


def _images(fitted: Any, pictures: list[Path]) -> Any:
    from sartor.recognize.parts.pictures import read_pictures

    return read_pictures(list(_files(pictures)), (fitted.shape_[0], fitted.shape_[1]))
