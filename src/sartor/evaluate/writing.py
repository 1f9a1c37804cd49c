"""The three scales of any writer in one call: gain and swap gap for each tier of habits, cost; on people of the persona storey."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.data.world.persona.grading import words_of
from sartor.errors import ConfigError, EmptyData
from sartor.evaluate.writing_result import WritingEvaluation
from sartor.progress import bar

if TYPE_CHECKING:
    from sartor.data.world.persona import Personas, Requests
    from sartor.method import State, Writer

ARMS = ("own", "none", "swapped")
TIMED_ADAPTS = 10
"""People whose single `adapt` is timed, after one that is not counted."""


def evaluate_writer(
    method: Writer,
    personas: Personas,
    *,
    people: int | Sequence[int] | np.ndarray | None = None,
    requests: int = 8,
    examples: int | None = None,
    seed: int = 0,
    chunk: int = 64,
    resamples: int = 1000,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> WritingEvaluation:
    """Measure a fitted writer on people it has never seen.

    Everybody is adapted from her own history and answers requests that are not in it, three times: with her own state, with none, and with
    another person's. All three are graded by her own habits. Scores are means over a person's requests; intervals are 95% bootstrap over
    people, of paired differences.

    Parameters
    ----------
    method: fitted, best on `personas.population(personas.fit_people)`.
    people: how many of the never-seen people, or which persons; default all never-seen ones.
    requests: per person.
    examples: how many of her newest replies each person is adapted from, and nothing else; default everything that she has written.
    chunk: people at once, about; partners for the swap come from the same chunk, whose people are drawn at random.
    checkpoint: a folder; what was written is kept there, and the next run of the same model on the same people goes on from it.

    Raises `NotFitted`, `EmptyData` with fewer than two people, `ConfigError`.
    """
    started = time.perf_counter()
    method.check_fitted()
    for name, value, least in (("requests", requests, 1), ("chunk", chunk, 2), ("examples", examples if examples is not None else 1, 1)):
        if value < least:
            raise ConfigError(f"{name} is {value}", fix=f"give at least {least}")
    who = _people(personas, people, seed)
    facts = {
        "model": method.fingerprint_, "people": who.tolist(), "requests": requests, "examples": examples, "chunk": chunk,
        "personas": [repr(personas.world), *(f"{name}={value}" for name, value in vars(personas).items() if isinstance(value, int | float))],
    }  # fmt: skip
    store = _Store.open(checkpoint, facts)
    parts = np.array_split(who, max(1, who.size // chunk))
    frames, costs = [], []
    with bar("writing", who.size, enabled=progress, unit="people") as shown:
        for number, part in enumerate(parts):
            written = store.get(number)
            if written is None:
                written = _chunk(method, personas, part, requests, examples, timed=number == 0)
                store.put(number, *written)
            frames.append(_graded(personas, written[0], personas.requests(part, requests)))
            costs.append(written[1])
            shown.advance(part.size)
    return _summary(method, personas, pl.concat(frames), costs, requests, resamples, seed, time.perf_counter() - started)


def _people(personas: Personas, people: int | Sequence[int] | np.ndarray | None, seed: int) -> np.ndarray:
    """In random order."""
    rng = np.random.default_rng([seed, personas.world.seed])
    if people is None or isinstance(people, int | np.integer):
        who = rng.permutation(personas.new_people)
        if people is not None and not 1 <= people <= who.size:
            raise ConfigError(f"people is {people}", fix=f"there are {who.size} never-seen people")
        who = who[:people]
    else:
        who = rng.permutation(np.unique(np.asarray(people)))
    if who.size < 2:
        raise EmptyData(f"{who.size} people: nobody to swap with", fix="give at least 2 people; personas.new_people are the never-seen ones")
    return who


def _chunk(
    method: Writer, personas: Personas, people: np.ndarray, requests: int, examples: int | None, *, timed: bool
) -> tuple[pl.DataFrame, dict[str, float]]:
    """What is written in the three arms (arm, text, one row per request, person by person), and what it costs."""
    population = personas.population(people)
    if examples is not None:
        own = population.texts.filter((pl.col("kind") == "reply") & (pl.int_range(pl.len()).reverse().over("person", "kind") < examples))
        population = population.replace(texts=own, preferences=None)
    cost: dict[str, float] = {}
    if timed:
        cost |= _adapt_seconds(method, population.only(people[: TIMED_ADAPTS + 1].tolist()).each())
    states = method.adapt_all(population)
    cost |= {"state_bytes": float(sum(state.nbytes for state in states.values())), "people": float(people.size)}
    asked = personas.requests(people, requests).texts()
    conversations = [[{"role": "user", "content": text}] for text in asked]
    own_states: list[State | None] = [states[person] for person in np.repeat(people, requests).tolist()]
    nobody: list[State | None] = [None] * len(own_states)
    arms = {"own": own_states, "none": nobody, "swapped": own_states[requests:] + own_states[:requests]}
    frames = []
    for arm, given in arms.items():
        start = time.perf_counter()
        texts = _written(method, conversations, given)
        cost[f"{arm}_seconds"] = time.perf_counter() - start
        cost[f"{arm}_prompt_tokens"] = _prompt_tokens(method, conversations, given)
        frames.append(pl.DataFrame({"arm": [arm] * len(texts), "text": pl.Series(texts, dtype=pl.String)}))
    return pl.concat(frames), cost


def _written(method: Writer, conversations: list[list[dict[str, str]]], states: Sequence[State | None]) -> list[str]:
    together = getattr(method, "write_all", None)
    if together is not None:
        texts: list[str] = list(together(conversations, states))
    else:
        texts = [method.write(messages, state) for messages, state in zip(conversations, states, strict=True)]
    return texts


def _prompt_tokens(method: Writer, conversations: list[list[dict[str, str]]], states: Sequence[State | None]) -> float:
    """All together; NaN where the method does not tell."""
    count = getattr(method, "prompt_tokens", None)
    return float(np.sum(count(conversations, states))) if count is not None else float("nan")


def _adapt_seconds(method: Writer, everybody: Iterator[Any]) -> dict[str, float]:
    """Medians of single adapts, the first not counted: by the clock, and of the processor."""
    spent = []
    for evidence in everybody:
        start = time.perf_counter(), time.process_time()
        method.adapt(evidence)
        spent.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    clock, processor = np.median(spent[1:] or spent, axis=0)
    return {"adapt_seconds": float(clock), "adapt_cpu_seconds": float(processor)}


def _graded(personas: Personas, written: pl.DataFrame, asked: Requests) -> pl.DataFrame:
    """Per person and arm the mean grade of every habit and tier, the hidden score, and the words written."""
    frames = []
    for (arm,), rows in written.partition_by("arm", as_dict=True, maintain_order=True).items():
        grades = personas.grade(rows["text"], asked)
        words = [len(words_of(text or "")) for text in rows["text"]]
        tiers = personas.tier_scores(grades).select(pl.all().name.prefix("tier:"))
        alone = grades.select(pl.all().cast(pl.Float64).name.prefix("trait:"))
        more = [pl.Series("score", personas.score(grades)), pl.Series("words", words, dtype=pl.Float64)]
        per_text = pl.concat([tiers, alone], how="horizontal").with_columns(pl.Series("person", asked.person), *more)
        frames.append(per_text.group_by("person", maintain_order=True).mean().with_columns(pl.lit(arm).alias("arm")))
    return pl.concat(frames)


def _summary(
    method: Writer, personas: Personas, graded: pl.DataFrame, costs: Sequence[Mapping[str, float]], requests: int, resamples: int, seed: int,
    seconds: float,
) -> WritingEvaluation:  # fmt: skip
    by_arm = {arm: graded.filter(pl.col("arm") == arm) for arm in ARMS}
    people = by_arm["own"]["person"].to_numpy()
    names = [name for name in graded.columns if name.startswith(("tier:", "trait:"))] + ["score"]
    arms = {arm: frame.select(names).to_numpy() for arm, frame in by_arm.items()}
    n = people.size * requests

    def total(name: str) -> float:
        return float(sum(cost.get(name, np.nan) for cost in costs))

    cost = {
        "state_bytes": total("state_bytes") / people.size, "adapt_seconds": costs[0]["adapt_seconds"],
        "adapt_cpu_seconds": costs[0].get("adapt_cpu_seconds", float("nan")), "request_seconds": total("own_seconds") / n,
        "prompt_tokens": total("own_prompt_tokens") / n, "prompt_tokens_without_state": total("none_prompt_tokens") / n,
        "words_written": float(by_arm["own"]["words"].to_numpy().mean()),
    }  # fmt: skip
    return WritingEvaluation.of(
        method=getattr(method, "name", type(method).__name__), names=names, people=people, arms=arms, requests=requests, cost=cost,
        tiers=personas.tiers, resamples=resamples, seed=seed, seconds=seconds,
    )  # fmt: skip


@dataclass(frozen=True)
class _Store:
    """What was written by one model for one list of people, chunk by chunk; without a folder it keeps nothing."""

    folder: Path | None

    @classmethod
    def open(cls, folder: str | Path | None, facts: Mapping[str, Any]) -> _Store:
        if folder is None:
            return cls(None)
        key = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
        own = Path(folder) / key
        own.mkdir(parents=True, exist_ok=True)
        return cls(own)

    def get(self, number: int) -> tuple[pl.DataFrame, dict[str, float]] | None:
        if self.folder is None or not (costs := self.folder / f"{number:05d}.json").is_file():
            return None
        # The costs are written last: where they are, the texts are whole.
        facts: dict[str, float] = {name: float("nan") if value is None else value for name, value in json.loads(costs.read_text()).items()}
        return pl.read_parquet(costs.with_suffix(".parquet")), facts

    def put(self, number: int, texts: pl.DataFrame, costs: Mapping[str, float]) -> None:
        if self.folder is None:
            return
        target = self.folder / f"{number:05d}.parquet"
        texts.write_parquet(target.with_suffix(".new"))
        os.replace(target.with_suffix(".new"), target)
        half = target.with_suffix(".half")
        half.write_text(json.dumps({name: None if value != value else value for name, value in costs.items()}))
        os.replace(half, target.with_suffix(".json"))
