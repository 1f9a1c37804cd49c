"""A method at its best on the validation events: grid search, remembered on disk, so that every comparison can afford tuned baselines."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor import _storage
from sartor.errors import ConfigError
from sartor.evaluate.evaluator import evaluate
from sartor.progress import track
from sartor.systems import make

if TYPE_CHECKING:
    from sartor.data.population import Population
    from sartor.data.splits import Split
    from sartor.method import Recommender

Grid = Mapping[str, Sequence[Any]]


def tuned(
    slug: str,
    split: Split,
    grid: Grid | Sequence[Mapping[str, Any]],
    *,
    seed: int = 0,
    metric: str = "ndcg@10",
    people: int | None = 2000,
    cache: str | Path | None = None,
    progress: bool = False,
) -> tuple[Recommender, dict[str, Any], pl.DataFrame]:
    """Choose settings by the split's validation events and fit with the best.

    Parameters
    ----------
    slug: of the method.
    split: `train` is fitted, `validation` is judged by; `test` is never touched.
    grid: setting -> values to try, in all combinations; or a list of settings.
    metric: what to choose by, `name@k`; on a tie the earlier settings win.
    people: judge by so many random people at most.
    cache: folder that remembers choices by method, grid, data and seed; default `$SARTOR_CACHE` or `~/.cache/sartor`, in `tuning/`.

    Returns
    -------
    the fitted method, its settings, and a table with one row per combination (its settings as JSON, the metric).
    """
    trials = _trials(grid)
    guard = split.guard
    key = _key(slug, split, trials, seed, metric, people)
    file = _folder(cache) / f"{slug}-{key}.json"
    scores: list[float] = []
    if file.is_file():
        try:
            scores = [float(score) for score in json.loads(file.read_text())["scores"]]
        except (ValueError, KeyError, TypeError):
            # A damaged memory is no loss: it is made again.
            scores = []
    best: Recommender | None = None
    if len(scores) != len(trials):
        scores = []
        for settings in track(trials, f"tuning {slug}", enabled=progress):
            with guard():
                method: Recommender = make(slug, seed=seed, **settings).fit(split.train, validation=split.validation, progress=False)
            found = evaluate(
                method, split, on="validation", seed=seed, headline=metric, ks=(), people=people, population_baseline=False, swap=None, resamples=200
            )
            if not scores or found.value > max(scores):
                best = method
            scores.append(found.value)
        _storage.write_atomically(file, json.dumps({"scores": scores, "trials": trials}, default=str).encode())
    chosen = trials[int(np.argmax(scores))]
    if best is None:
        with guard():
            best = make(slug, seed=seed, **chosen).fit(split.train, validation=split.validation, progress=False)
    table = pl.DataFrame({"settings": [json.dumps(one, default=str) for one in trials], metric: scores})
    return best, chosen, table


def _trials(grid: Grid | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(grid, Mapping):
        trials = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    else:
        trials = [dict(one) for one in grid]
    if not trials:
        raise ConfigError("the grid is empty", fix="give at least one value for every setting")
    return trials


def _folder(cache: str | Path | None) -> Path:
    base = Path(cache) if cache is not None else Path(os.environ.get("SARTOR_CACHE") or Path.home() / ".cache" / "sartor")
    return base / "tuning"


def _key(slug: str, split: Split, trials: Sequence[Mapping[str, Any]], seed: int, metric: str, people: int | None) -> str:
    from sartor import __version__

    facts = [__version__, slug, split.name, trials, seed, metric, people, events_hash(split.train), events_hash(split.validation)]
    return hashlib.blake2b(json.dumps(facts, default=str).encode(), digest_size=10).hexdigest()


def events_hash(population: Population) -> str:
    """32 hex digits of who did what when, whatever the order of the rows."""
    data = population.interactions()
    digest = hashlib.blake2b(digest_size=16)
    for array in (*data.people.to_arrays().values(), *data.items.to_arrays().values(), data.indptr, data.indices, data.times, data.values):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
