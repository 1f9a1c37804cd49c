"""One table of several writers: each on the same never-seen people of the persona storey, once per seed, gains and swap gaps by tier, and costs.

    board = WritingBoard("writers", WritingTask(people=400))
    for seed in (0, 1, 2):
        measured.append(board.run("in-context", lambda: InContext(seed=seed), seed))
    pooled(measured)

A seed is another world: other people, another language model, another fit. What was measured is kept, one file per method and seed, so that an
interrupted board goes on and a further method joins without the others being run again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile
from sartor.evaluate.claim import plain
from sartor.evaluate.writing import ARMS, evaluate_writer
from sartor.parts.statistics import bootstrap

if TYPE_CHECKING:
    from sartor.data.population import Population
    from sartor.data.world.persona import Personas
    from sartor.method import Writer


@dataclass(frozen=True, kw_only=True)
class WritingTask:
    """Whom writers are judged on.

    Parameters
    ----------
    people: of each world; a quarter of them is never seen by any fit.
    replies_each: pieces of each of them that a fit may see.
    evaluated: how many of the never-seen ones are judged.
    requests: that each of them makes.
    examples: her newest pieces, from which she is adapted, and nothing else.
    """

    people: int = 400
    replies_each: int = 16
    evaluated: int = 40
    requests: int = 4
    examples: int = 8

    def __post_init__(self) -> None:
        if self.people < 8 or not 2 <= self.evaluated <= self.people // 4:
            raise ConfigError(f"{self.evaluated} of {self.people} people", fix="judge at least 2, and at most a quarter of all")
        for name in ("replies_each", "requests", "examples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", fix="give at least 1")

    def personas(self, seed: int) -> Personas:
        """The people of one seed."""
        from sartor.data.world import World

        return World(people=self.people, items=200, seed=seed).personas(replies_each=self.replies_each)


@dataclass(frozen=True)
class Measured:
    """One method at one seed."""

    method: str
    seed: int
    arms: Mapping[str, Mapping[str, list[float]]]
    """Arm -> tier or "score" -> one number per person; NaN where nothing was asked for."""
    cost: Mapping[str, float]
    """As `WritingEvaluation.cost`, and `fit_seconds`, of the processor, without the shared language model."""
    settings: Mapping[str, Any]


class WritingBoard:
    """Measurements of writers in a folder.

    Parameters
    ----------
    folder: made if it is not there.
    task: measurements of another task in the folder are left alone.
    """

    def __init__(self, folder: str | Path, task: WritingTask | None = None) -> None:
        self.folder, self.task = Path(folder), task or WritingTask()
        self._worlds: dict[int, tuple[Personas, Population]] = {}

    def world(self, seed: int) -> tuple[Personas, Population]:
        """The people of a seed, and what fits may see of them."""
        if seed not in self._worlds:
            self._worlds.clear()  # one at a time: they are large
            personas = self.task.personas(seed)
            self._worlds[seed] = personas, personas.population(personas.fit_people)
        return self._worlds[seed]

    def get(self, method: str, seed: int, settings: Mapping[str, Any]) -> Measured | None:
        """What was measured before; None when it was not. Raises `CorruptFile`."""
        path = self._path(method, seed, settings)
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            arms = {arm: {name: [_number(one) for one in values] for name, values in own.items()} for arm, own in found["arms"].items()}
            return Measured(method, seed, arms, {name: _number(one) for name, one in found["cost"].items()}, found["settings"])
        except (ValueError, KeyError, TypeError, AttributeError) as cause:
            raise CorruptFile("this measurement cannot be read", fix="delete it: it is measured again", file=path) from cause

    def run(
        self, method: str, make: Callable[[], Writer], seed: int, settings: Mapping[str, Any] | None = None, *, progress: bool = False
    ) -> Measured:
        """Measure a method at a seed, or give what was measured before with the same settings.

        Parameters
        ----------
        make: gives the writer, not fitted.
        settings: whatever makes this writer another one than its defaults do.
        """
        settings = settings or {}
        if (known := self.get(method, seed, settings)) is not None:
            return known
        personas, fit = self.world(seed)
        start = time.process_time()
        writer = make()
        if not writer.fingerprint_:
            writer.fit(fit, progress=progress)
        fit_seconds = time.process_time() - start
        task, path = self.task, self._path(method, seed, settings)
        # Half a measurement is kept, too.
        half = path.with_suffix(".parts")
        found = evaluate_writer(
            writer, personas, people=task.evaluated, requests=task.requests, examples=task.examples, seed=seed, checkpoint=half, progress=progress
        )
        names = {**{tier: f"tier:{tier}" for tier in found.tiers}, "score": "score"}
        arms = {arm: {name: found.per_person[f"{arm} {column}"].to_list() for name, column in names.items()} for arm in ARMS}
        made = Measured(method, seed, arms, {**found.cost, "fit_seconds": fit_seconds}, dict(settings))
        kept = {**asdict(made), "task": asdict(task)}
        _storage.write_atomically(path, json.dumps(plain(kept), indent=1, ensure_ascii=False).encode())
        shutil.rmtree(half, ignore_errors=True)
        return made

    def _path(self, method: str, seed: int, settings: Mapping[str, Any]) -> Path:
        facts = json.dumps([asdict(self.task), plain(settings)], sort_keys=True, default=repr)
        return self.folder / f"{method}-{seed}-{hashlib.blake2b(facts.encode(), digest_size=6).hexdigest()}.json"


def pooled(measured: Sequence[Measured], *, resamples: int = 1000, seed: int = 0) -> pl.DataFrame:
    """One row per method and tier over all seeds: own, none, swapped, gain, gain_low, gain_high, swap_gap, swap_gap_low, swap_gap_high, people.

    Means are over people; intervals are 95% bootstrap over people of paired differences, all seeds together.
    """
    rows = []
    for method in dict.fromkeys(one.method for one in measured):
        own = [one for one in measured if one.method == method]
        for tier in own[0].arms["own"]:
            arms = {arm: np.concatenate([np.asarray(one.arms[arm][tier], float) for one in own]) for arm in ARMS}
            row: dict[str, Any] = {"method": method, "tier": tier} | {arm: _mean(values) for arm, values in arms.items()}
            for scale, against in (("gain", "none"), ("swap_gap", "swapped")):
                differences = arms["own"] - arms[against]
                low, high = bootstrap(differences, resamples=resamples, seed=seed)
                row |= {scale: _mean(differences), f"{scale}_low": float(low), f"{scale}_high": float(high)}
            rows.append(row | {"people": int((~np.isnan(arms["own"])).sum()), "seeds": len(own)})
    return pl.DataFrame(rows)


def costs(measured: Sequence[Measured]) -> pl.DataFrame:
    """One row per method: state_bytes, adapt_cpu_seconds, request_seconds, prompt_tokens, fit_seconds; means over seeds."""
    names = ("state_bytes", "adapt_cpu_seconds", "request_seconds", "prompt_tokens", "prompt_tokens_without_state", "fit_seconds")
    rows = []
    for method in dict.fromkeys(one.method for one in measured):
        own = [one for one in measured if one.method == method]
        rows.append({"method": method} | {name: _mean(np.array([one.cost.get(name, float("nan")) for one in own], float)) for name in names})
    return pl.DataFrame(rows)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
