"""Whether a fitted model may serve: measured on people it was not fitted on, beside the model that serves now.

The same people are held out of every fit, chosen by a keyed hash of their ids: so the model that serves now has not seen them either, and
two models are compared on the very same held-out events of the very same people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.errors import EmptyData

if TYPE_CHECKING:
    from sartor.data.population import Population
    from sartor.data.splits import Split
    from sartor.evaluate.result import Evaluation
    from sartor.method import Recommender
    from sartor.parts.statistics import Paired

LEAST_PEOPLE = 10
"""Held-out people below which nothing is measured: the intervals would say nothing."""
WANTED_PEOPLE = 50
"""In a small store a larger share is held out, up to a quarter, to have so many."""
MOST_PEOPLE = 20_000
"""Held-out people that are measured; more would not make the intervals narrower than anybody needs."""
MOST_JUDGES = 2_000
"""People of those fitted on whose newest event is held out for training to stop by."""
FLOOR = 5
"""Groups of fewer people are never shown on their own."""
LARGEST_LOSS = 0.05
"""Share of the active model's value that a new one may lie below it by chance: with few people an interval alone would let anything pass."""


def held_out(people: Sequence[Any], share: float, *, tenant: str) -> np.ndarray:
    """Which people are kept out of fitting: bool [people].

    Those whose hash is lowest, so that a larger share holds out the same people and more. In a small store the share is raised until
    `WANTED_PEOPLE` are held out, to a quarter at most.
    """
    marks = _marks(people, tenant, b"held out")
    count = max(int((marks < np.uint64(share * 2**64)).sum()) if share < 1 else marks.size, min(WANTED_PEOPLE, marks.size // 4))
    out = np.zeros(marks.size, bool)
    out[np.argsort(marks, kind="stable")[:count]] = True
    return out


def _marks(people: Sequence[Any], tenant: str, purpose: bytes) -> np.ndarray:
    digests = (hashlib.blake2b(f"{tenant}\0{person}".encode(), digest_size=8, person=purpose).digest() for person in people)
    return np.array([int.from_bytes(one, "big") for one in digests], np.uint64)


def split(population: Population, share: float, *, tenant: str, evidence: float = 0.5, stops_early: bool = False) -> Split:
    """What is fitted on, and for held-out people the first part of their events to adapt from and the rest to judge by.

    People with one event are never held out. With `stops_early`, the newest event of some people who are fitted on is held out for training to
    stop by. What is fitted on stays lazy; the events of people who are held out, or judged by, are in memory. Raises `EmptyData` when fewer than
    `LEAST_PEOPLE` could be held out.
    """
    from sartor.data import splits

    lengths = population.events.group_by("person").len().collect(engine="streaming").sort("person")
    able = lengths.filter(pl.col("len") > 1)["person"]
    who = able.filter(pl.Series(held_out(able.to_list(), share, tenant=tenant)))
    if who.len() < LEAST_PEOPLE:
        raise EmptyData(
            f"{able.len()} people have 2 or more events that may be used for training; {who.len()} of them could be held out to measure on",
            fix=f"collect events (and consent to 'train') of at least {4 * LEAST_PEOPLE} people, or install a model that was fitted elsewhere",
        )
    whole = splits.with_catalogue(population)
    own = _placed(whole.events, who)
    first = (pl.col("_of") * evidence).floor().clip(1, pl.col("_of") - 1)
    parts = {"test": own.filter(pl.col("_place") >= first), "evidence": own.filter(pl.col("_place") < first)}
    judges = _judges(lengths, who, tenant) if stops_early else who.clear()
    some = _placed(whole.events, judges)
    newest = pl.col("_place") == pl.col("_of") - 1
    parts |= {"validation": some.filter(newest), "validation_evidence": some.filter(~newest)}
    held: dict[str, pl.LazyFrame] = {name: frame.drop("_place", "_of").lazy() for name, frame in parts.items()}
    train = whole.events.filter(~pl.col("person").is_in(pl.concat([who, judges]).implode()))
    held["train"] = pl.concat([train, held["validation_evidence"]]) if judges.len() else train
    return splits.of_parts("held-out-people", whole, held)


def _judges(lengths: pl.DataFrame, held_out: pl.Series, tenant: str) -> pl.Series:
    """Whose newest event training stops by: at most `MOST_JUDGES` of those who keep two, and a fifth of all who are fitted on."""
    left = lengths.filter(~pl.col("person").is_in(held_out.implode()))
    able = left.filter(pl.col("len") > 2)["person"]
    count = min(MOST_JUDGES, left.height // 5, able.len())
    if count < LEAST_PEOPLE:
        return able.clear()
    return able.gather(np.sort(np.argsort(_marks(able.to_list(), tenant, b"judges"), kind="stable")[:count]))


def _placed(events: pl.LazyFrame, people: pl.Series) -> pl.DataFrame:
    """All events of some people, each with its place in its person's time (`_place`, from 0) and how many there are (`_of`); in the order given."""
    own = events.filter(pl.col("person").is_in(people.implode())).collect().with_row_index("_row")
    ordered = own.sort("person", *([pl.col("time").fill_null(0)] if "time" in own.columns else []), maintain_order=True)
    place, of = pl.int_range(pl.len()).over("person"), pl.len().cast(pl.Int64).over("person")
    return ordered.with_columns(_place=place, _of=of).sort("_row").drop("_row")


def measure(method: Recommender, parts: Split, *, headline: str, seed: int, against: bool = False) -> Evaluation:
    """The three scales on held-out people; `against` measures only what a comparison needs."""
    from sartor.evaluate.evaluator import evaluate

    some = MOST_PEOPLE if parts.test.events.select(pl.col("person").n_unique()).collect().item() > MOST_PEOPLE else None
    return evaluate(
        method, parts, headline=headline, ks=(5, 10, 20), seed=seed, population_baseline=not against, swap=None if against else "random",
        people=some, progress=True,
    )  # fmt: skip


def in_kind_of(parts: Split, method: Recommender) -> Split:
    """The same split with item ids of the kind a model knows: numbers as text, or text as numbers (negative ones where it is no number)."""
    from dataclasses import replace

    kind = method.items_.ids.dtype  # type: ignore[attr-defined]
    if not hasattr(method, "items_") or parts.train.events.collect_schema()["item"].is_integer() == kind.is_integer():
        return parts
    item = pl.col("item").cast(kind, strict=False)
    if kind.is_integer():
        ids = pl.concat([part.frames[name].select("item") for part in parts.parts.values() for name in ("events", "items") if name in part])
        words = ids.unique().filter(item.is_null()).collect()["item"].sort()
        item = item.fill_null(pl.col("item").replace_strict(words, -2 - pl.int_range(words.len(), eager=True), default=None))
    changed: dict[str, Any] = {name: _with(part, item) for name, part in parts.parts.items()}
    return replace(parts, **changed)


def _with(part: Population, item: pl.Expr) -> Population:
    frames: dict[str, Any] = {frame: part.frames[frame].with_columns(item) for frame in ("events", "items") if frame in part}
    return part.replace(**frames)


def compare(candidate: Evaluation, active: Evaluation, *, seed: int) -> Paired:
    """Candidate less active model, person by person."""
    from sartor.parts.statistics import paired

    name = candidate.headline
    both = candidate.per_person.select("person", own=pl.col(name)).join(
        active.per_person.select(pl.col("person").cast(candidate.per_person.schema["person"]), other=pl.col(name)),
        on="person", maintain_order="left",
    )  # fmt: skip
    return paired(both["own"].to_numpy(), both["other"].to_numpy(), seed=seed)


@dataclass(frozen=True)
class Verdict:
    """Whether a model may serve, and why, in a sentence with the numbers."""

    accepted: bool
    sentence: str


def judge(
    found: Evaluation, min_gain: float, active: Evaluation | None, difference: Paired | None, *, why: str = "no other model serves yet"
) -> Verdict:
    """Refuse a model that does not personalise, or that is worse than the one that serves; `why` there is no comparison.

    It does not personalise when its gain is not above `min_gain`. It is worse when the interval of the paired difference lies below 0, or
    when the difference is below 0 by more than `LARGEST_LOSS` of the active model's value.
    """
    name, people = found.headline, found.counts["people"]
    gain = f"gain {_signed(found.gain, found.gain_interval)} on {people:,} people it was not fitted on"
    if not found.gain > min_gain:
        return Verdict(False, f"Refused: {gain}, which is not above {min_gain:g}: its answers fit nobody better than one answer for all.")
    if active is None or difference is None:
        return Verdict(True, f"Accepted: {name} {found.value:.4f}, {gain}; {why}.")
    beside = (
        f"{name} {found.value:.4f} against {active.value:.4f} of the active model on the same {difference.n:,} people "
        f"(difference {_signed(difference.difference, difference.interval)})"
    )
    if difference.interval[1] < 0:
        return Verdict(False, f"Refused, worse than the active model: {beside}.")
    if difference.difference < -LARGEST_LOSS * active.value:
        return Verdict(False, f"Refused, more than {LARGEST_LOSS:.0%} below the active model, by chance or not: {beside}.")
    return Verdict(True, f"Accepted, not worse than the active model: {beside}; {gain}.")


def _signed(value: float, interval: tuple[float, float]) -> str:
    return f"{value:+.4f} [{interval[0]:+.4f}, {interval[1]:+.4f}]"


def report(found: Evaluation) -> dict[str, Any]:
    """What the studio shows of a model, as plain data: no number of fewer than `FLOOR` people, nobody's own."""
    from sartor.evaluate.claim import plain

    name, table = found.headline, found.per_person
    own = table[name].to_numpy()
    gain, swap = own - table[f"population {name}"].to_numpy(), own - table[f"swapped {name}"].to_numpy()
    low, high = found.intervals[name]
    facts = {
        "metric": name, "people": found.counts["people"], "value": {"mean": found.value, "low": low, "high": high},
        "population_value": found.population_metrics[name], "popularity_value": found.popularity_metrics[name],
        "swapped_value": found.swapped_metrics[name],
        "gain": _scale(found.gain, found.gain_interval) | {"histogram": histogram(gain)},
        "gain_over_popularity": _scale(found.gain_over_popularity, found.gain_over_popularity_interval),
        "swap_gap": _scale(found.swap_gap, found.swap_gap_interval) | {"histogram": histogram(swap)},
        **hurt(gain),
        "slices": [_slice(key, one) for key, one in found.slices.items() if one["n"] >= FLOOR],
        "state_bytes": found.cost["state_bytes"], "cost": dict(found.cost), "tie_share": found.tie_share, "metrics": dict(found.metrics),
        "notes": list(found.notes), "measure_seconds": found.seconds,
    }  # fmt: skip
    out: dict[str, Any] = plain(facts)
    return out


def _scale(mean: float, interval: tuple[float, float]) -> dict[str, Any]:
    return {"mean": mean, "low": interval[0], "high": interval[1]}


def _slice(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    low, high = one["gain_interval"]
    return {
        "name": name, "people": one["n"], "metric": one["metric"], "own": one["value"], "population": one["value"] - one["gain"],
        "gain": one["gain"], "low": low, "high": high, "swap_gap": one["swap_gap"],
    }  # fmt: skip


def histogram(values: np.ndarray, bins: int = 20) -> dict[str, list[float]] | None:
    """People per range of a value between -1 and 1: `counts` between `edges`. Neighbouring ranges are merged until each that is not
    empty holds `FLOOR` people; None for fewer than `FLOOR` people in all. NaN is nobody's.
    """
    values = values[~np.isnan(values)]
    if values.size < FLOOR:
        return None
    limits = np.round(np.linspace(-1, 1, bins + 1), 10).tolist()
    edges, counts, held = [limits[0]], [], 0
    for high, count in zip(limits[1:], np.histogram(np.clip(values, -1, 1), limits)[0].tolist(), strict=True):
        held += count
        # An empty range tells nothing of anybody, and keeps the shape of the distribution.
        if held >= FLOOR or not held:
            edges.append(high)
            counts.append(held)
            held = 0
    # The few at the upper end join the last range with people in it.
    while held:
        last = counts.pop()
        edges.pop()
        if last:
            edges.append(limits[-1])
            counts.append(last + held)
            held = 0
    return {"edges": edges, "counts": counts}


def hurt(gain: np.ndarray) -> dict[str, Any]:
    """Whom personalising serves worse than one answer for all: the share, its interval and their mean loss; not told of 1 to 4 people."""
    from sartor.parts.statistics import wilson

    gain = gain[~np.isnan(gain)]
    worse = gain[gain < 0]
    if not gain.size or 0 < worse.size < FLOOR:
        return {"hurt": None, "hurt_interval": None, "hurt_loss": None, "hurt_note": f"fewer than {FLOOR} of {gain.size} people"}
    loss = float(-worse.mean()) if worse.size else 0.0
    return {"hurt": worse.size / gain.size, "hurt_interval": wilson(worse.size, gain.size), "hurt_loss": loss, "hurt_note": ""}
