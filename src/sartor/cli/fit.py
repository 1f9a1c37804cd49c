"""`sartor fit`: learn what everyone shares, and keep it in a folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _population, _settings
from sartor.errors import ConfigError, CorruptFile, FileProblem

if TYPE_CHECKING:
    from sartor.data.population import Population

FACTS, ITEMS = "fit.json", "items.parquet"
"""Beside the saved model: where its data came from, and the catalogue (titles, genres, prices, ...) for filters and display."""


def fit(
    data: _population.Data,
    method: Annotated[str, typer.Option("--method", "-m", help="See `sartor systems`.")] = "ease",
    settings: _settings.Set = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the fitted model.")] = Path("model"),
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Folder for resumable progress; the same command goes on from it. Default: OUT.checkpoint")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Fit on this split's training part only, and stop early by its validation part. Default: fit on everything."),
    ] = None,
    format: _population.Format = None,
    columns: _population.Columns = None,
    options: _population.Options = None,
    at_least: _population.AtLeast = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    as_json: _face.Json = False,
) -> None:
    """Learn what everyone shares from DATA, and save the model.

    Press Ctrl-C at any time: the same command goes on where it stopped.

        sartor fit ratings.csv --method als --set factors=64 --out model
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "config.json").is_file())):
        # Said before the work, not after it.
        raise FileProblem("this holds something other than a sartor model", fix="choose another --out", file=out)
    population = _population.read(data, format, columns, options, at_least)
    model = _settings.build(method, settings, seed=seed)
    folder = checkpoint or out.with_name(f"{out.name}.checkpoint")
    source = {
        "data": str(Path(data).resolve()) if Path(data).exists() else data,
        **dict(zip(_population.HOW, (format, columns, options, at_least), strict=True)),
    }
    resumed = _claim_checkpoint(folder, {**source, "method": method, "settings": settings or [], "seed": seed, "split": split})
    if resumed:
        _face.say(f"going on from {folder}")
    _face.session().resume = lambda: _how_to_go_on(folder, method)
    start = time.perf_counter()
    try:
        _learn(model, population, split, seed, folder)
    except BaseException:
        if not _progress(folder):
            _drop(folder)
        raise
    seconds = time.perf_counter() - start
    model.save(out)
    facts = {**source, "method": method, "settings": settings or [], "split": split, "seed": seed, "fit_seconds": seconds}
    _keep(out, population, facts)
    _drop(folder)
    bytes_ = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    result = {"model": str(out), "method": method, "fingerprint": model.fingerprint_, "resumed": resumed, "fit_seconds": seconds, "bytes": bytes_}
    if hasattr(model, "items_"):
        result["items"] = len(model.items_)
    if as_json:
        _face.emit(result)
    else:
        _face.stdout().print(f"{method} is fitted in {_face.duration(seconds)} and saved in {out} ({_face.size(bytes_)})", highlight=False)


def _claim_checkpoint(folder: Path, facts: dict[str, Any]) -> bool:
    """Whether there is progress to go on from; raises when it was left by another command."""
    from sartor._storage import write_atomically

    note = folder / FACTS
    if note.is_file():
        try:
            left = dict(json.loads(note.read_bytes()))
        except (ValueError, TypeError) as cause:
            raise CorruptFile("the checkpoint's note cannot be read", fix="remove the folder to start again", file=note) from cause
        if left != facts:
            differs = ", ".join(f"{name} {left.get(name)!r}" for name in facts if left.get(name) != facts[name])
            raise ConfigError(f"this checkpoint was left by another fit (with {differs})", fix="use another folder, or remove this one", file=folder)
    else:
        write_atomically(note, json.dumps(facts).encode())
    return _progress(folder)


def _learn(model: Any, population: Population, split: str | None, seed: int, checkpoint: Path) -> None:
    if split is None:
        model.fit(population, checkpoint=checkpoint)
        return
    from sartor.data import splits

    parts = splits.make(split, population, seed=seed)
    with parts.guard():
        model.fit(parts.train, validation=parts.validation, checkpoint=checkpoint)


def _progress(folder: Path) -> bool:
    return folder.is_dir() and any(path.name != FACTS for path in folder.iterdir())


def _how_to_go_on(folder: Path, method: str) -> str:
    if _progress(folder):
        return f"the same command goes on from {folder}; remove that folder to start again"
    return f"{method} had not come to a first checkpoint, so the same command starts again"


def _drop(folder: Path) -> None:
    """The checkpoint's own note, and the folder if nothing else is in it."""
    (folder / FACTS).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _keep(out: Path, population: Population, facts: dict[str, Any]) -> None:
    from sartor._storage import write_atomically

    write_atomically(out / FACTS, json.dumps(facts, indent=1).encode())
    if "items" in population:
        population.items.collect().write_parquet(out / ITEMS)
