"""The rules behind `splits.make`: which part each event belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl

from sartor.data.ids import IdMap
from sartor.data.population import Population
from sartor.errors import BadValue, ConfigError, EmptyData, MissingColumn

TRAIN, VALIDATION, TEST, EVIDENCE, VALIDATION_EVIDENCE = range(5)

Settings = Mapping[str, Any]
Part = np.ndarray | pl.Expr
"""uint8 [events], one code per event in the order of the frame; or an expression that gives the code of a row."""


@dataclass(frozen=True)
class Rule:
    """One way to split."""

    part: Callable[[Population, np.random.Generator, Settings], Part]
    options: Mapping[str, Any]
    """Names and defaults."""


def _people(population: Population) -> tuple[np.ndarray, np.ndarray]:
    """int32 [events] person numbers, and int64 [people] events of each."""
    people = population.events.select("person").collect()["person"]
    if people.is_empty():
        raise EmptyData(f"population '{population.name}' has no events")
    rows = IdMap.of(people).numbers(people)
    return rows, np.bincount(rows)


def _times(population: Population, events: int) -> np.ndarray:
    """int64 [events]; the number of the row where there are no times."""
    if "time" not in population.events.collect_schema():
        return np.arange(events)
    return population.events.select("time").collect()["time"].fill_null(0).to_numpy()


def _positions(rows: np.ndarray, lengths: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """int64 [events]: the place of each event among its person's own, in ascending order of the keys; equal keys keep their order."""
    order = np.lexsort((keys, rows))
    places = np.arange(rows.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    out = np.empty(rows.size, np.int64)
    out[order] = places
    return out


def _shares(lengths: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """int64 [people]: how many events of each person go to test and to validation; one stays in train."""
    test = np.clip(np.round(lengths * settings["test"]), 1, None).astype(np.int64)
    test = np.minimum(test, lengths - 1)
    validation = np.round(lengths * settings["validation"]).astype(np.int64)
    if settings["validation"] > 0:
        validation = np.maximum(validation, 1)
    return test, np.minimum(validation, lengths - 1 - test)


def _from_end(positions: np.ndarray, rows: np.ndarray, lengths: np.ndarray, test: np.ndarray, validation: np.ndarray) -> np.ndarray:
    left = lengths[rows] - positions
    part = np.full(rows.size, TRAIN, np.uint8)
    part[left <= (test + validation)[rows]] = VALIDATION
    part[left <= test[rows]] = TEST
    return part


def leave_last(population: Population, rng: np.random.Generator, settings: Settings) -> Part:
    rows, lengths = _people(population)
    positions = _positions(rows, lengths, _times(population, rows.size))
    test = np.minimum(settings["test"], lengths - 1)
    return _from_end(positions, rows, lengths, test, np.minimum(settings["validation"], lengths - 1 - test))


def random(population: Population, rng: np.random.Generator, settings: Settings) -> Part:
    rows, lengths = _people(population)
    return _from_end(_positions(rows, lengths, rng.random(rows.size)), rows, lengths, *_shares(lengths, settings))


def user_time(population: Population, rng: np.random.Generator, settings: Settings) -> Part:
    rows, lengths = _people(population)
    return _from_end(_positions(rows, lengths, _times(population, rows.size)), rows, lengths, *_shares(lengths, settings))


def fold_parts(population: Population, folds: int, rng: np.random.Generator) -> np.ndarray:
    """int64 [events]: the fold of each event; -1 for people with one event."""
    rows, lengths = _people(population)
    # Each person starts at a fold of their own, so that short histories fill all folds alike.
    dealt = (_positions(rows, lengths, rng.random(rows.size)) + rng.integers(folds, size=lengths.size)[rows]) % folds
    return np.where(lengths[rows] > 1, dealt, -1)


def global_time(population: Population, rng: np.random.Generator, settings: Settings) -> Part:
    if "time" not in population.events.collect_schema():
        raise MissingColumn(
            "there is no column 'time'", fix="use leave-last, user-time or random", file=population.name, frame="events", column="time"
        )
    test = _moment("test_from", settings["test_from"])
    validation = _moment("validation_from", settings["validation_from"])
    if test is None:
        test = _time_of_share(population, settings["test"])
    if validation is None:
        validation = test if settings["validation"] == 0 else _time_of_share(population, settings["test"] + settings["validation"], before=test)
    if validation > test:
        raise ConfigError(f"validation_from {validation} is after test_from {test}", fix="validation comes before test")
    time = pl.col("time").fill_null(0)
    return pl.when(time >= test).then(TEST).when(time >= validation).then(VALIDATION).otherwise(TRAIN)


def _moment(name: str, value: Any) -> int | None:
    if value is None or isinstance(value, int):
        return value
    try:
        when = (
            value
            if isinstance(value, datetime)
            else datetime.combine(value, datetime.min.time())
            if isinstance(value, date)
            else datetime.fromisoformat(value)
        )
    except (ValueError, TypeError) as cause:
        raise ConfigError(f"{name} is {value!r}", fix='give seconds since 1970 UTC, or a date such as "2018-03-01"') from cause
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _time_of_share(population: Population, share: float, before: int | None = None) -> int:
    """The moment after which about this share of events lies, from a histogram of times: bounded memory for any number of events."""
    low, high = population.events.select(pl.col("time").min().alias("low"), pl.col("time").max().alias("high")).collect(engine="streaming").row(0)
    if low is None:
        raise EmptyData(f"population '{population.name}' has no times")
    step = max(1, (high - low) // 100_000)
    bins = (
        population.events.select(((pl.col("time").fill_null(low) - low) // step).alias("bin")).group_by("bin").agg(pl.len().alias("events"))
        .collect(engine="streaming").sort("bin")
    )  # fmt: skip
    starts = low + bins["bin"].to_numpy() * step
    at_or_after = bins["events"].to_numpy()[::-1].cumsum()[::-1] / bins["events"].sum()
    allowed = (starts > low) & (starts < before if before is not None else True)
    if not allowed.any():
        if before is not None:
            return before
        raise EmptyData("all events have the same time", fix="use leave-last or random")
    return int(starts[allowed][np.abs(at_or_after[allowed] - share).argmin()])


def _chosen(ids: pl.Series, rng: np.random.Generator, settings: Settings) -> tuple[pl.Series, pl.Series]:
    """Random ids for test and for validation, out of sorted ones."""
    if len(ids) < 2:
        raise EmptyData(f"{len(ids)} are too few to hold some out")
    test = max(1, round(len(ids) * settings["test"]))
    validation = round(len(ids) * settings["validation"])
    if settings["validation"] > 0:
        validation = max(1, validation)
    order = rng.permutation(len(ids))
    return ids.gather(order[:test]), ids.gather(order[test : test + validation])


def cold_item(population: Population, rng: np.random.Generator, settings: Settings) -> Part:
    ids = population.events.select(pl.col("item").unique()).collect(engine="streaming")["item"].sort()
    test, validation = _chosen(ids, rng, settings)
    item = pl.col("item")
    return pl.when(item.is_in(test.implode())).then(TEST).when(item.is_in(validation.implode())).then(VALIDATION).otherwise(TRAIN)


def cold_person(population: Population, rng: np.random.Generator, settings: Settings) -> Part:
    lengths = population.events.group_by("person").agg(pl.len()).collect(engine="streaming").filter(pl.col("len") > 1)["person"].sort()
    test, validation = _chosen(lengths, rng, settings)
    timed = ["time"] if "time" in population.events.collect_schema() else []
    # Among one person's events, by time and then by row: the first share is evidence.
    place = pl.struct(*timed, pl.int_range(pl.len())).rank("ordinal").over("person")
    first = place <= (pl.len().over("person") * settings["evidence"]).floor().clip(1, None)
    person = pl.col("person")
    return (
        pl.when(person.is_in(test.implode())).then(pl.when(first).then(EVIDENCE).otherwise(TEST))
        .when(person.is_in(validation.implode())).then(pl.when(first).then(VALIDATION_EVIDENCE).otherwise(VALIDATION))
        .otherwise(TRAIN)
    )  # fmt: skip


_WORDS = {"train": TRAIN, "valid": VALIDATION, "validation": VALIDATION, "val": VALIDATION, "dev": VALIDATION, "test": TEST}


def published(population: Population, rng: np.random.Generator, settings: Settings) -> Part:
    schema = population.events.collect_schema()
    if "split" not in schema:
        raise MissingColumn(
            "there is no column 'split'", fix="this data set has no published split; use another", file=population.name, column="split"
        )
    words = population.events.select(pl.col("split").cast(pl.String).str.to_lowercase()).collect()["split"]
    strange = set(words.unique().to_list()) - set(_WORDS)
    if strange:
        raise BadValue(f"the split {sorted(map(str, strange))[0]!r} is unknown", fix=f"use {', '.join(_WORDS)}", file=population.name, column="split")
    part = words.replace_strict(_WORDS, return_dtype=pl.UInt8).to_numpy().copy()
    rows, _ = _people(population)
    if not (part == VALIDATION).any() and settings["validation"] > 0:
        _some_for_validation(part, rows, settings["validation"], rng)
    learned = np.bincount(rows[part == TRAIN], minlength=int(rows.max()) + 1) > 0
    for held_out, evidence in ((TEST, EVIDENCE), (VALIDATION, VALIDATION_EVIDENCE)):
        mine = np.flatnonzero(part == held_out)
        if mine.size and not learned[rows[mine]].any():
            own, lengths = _compact(rows[mine])
            positions = _positions(own, lengths, _times(population, rows.size)[mine])
            part[mine[positions < _first(lengths, settings["evidence"])[own]]] = evidence
    return part


def _some_for_validation(part: np.ndarray, rows: np.ndarray, share: float, rng: np.random.Generator) -> None:
    learn = np.flatnonzero(part == TRAIN)
    own, lengths = _compact(rows[learn])
    held_out = np.minimum(np.maximum(np.round(lengths * share), 1), lengths - 1)
    part[learn[_positions(own, lengths, rng.random(own.size)) < held_out[own]]] = VALIDATION


def _compact(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Person numbers without gaps, and the events of each."""
    _, own = np.unique(rows, return_inverse=True)
    return own, np.bincount(own)


def _first(lengths: np.ndarray, share: float) -> np.ndarray:
    """int64 [people]: how many of the first events are evidence; a single event is to be foretold."""
    return np.minimum(np.maximum(np.floor(lengths * share), 1), lengths - 1).astype(np.int64)


RULES: dict[str, Rule] = {
    "leave-last": Rule(leave_last, {"test": 1, "validation": 1}),
    "random": Rule(random, {"test": 0.2, "validation": 0.1}),
    "user-time": Rule(user_time, {"test": 0.2, "validation": 0.1}),
    "global-time": Rule(global_time, {"test": 0.1, "validation": 0.1, "test_from": None, "validation_from": None}),
    "cold-item": Rule(cold_item, {"test": 0.1, "validation": 0.1}),
    "cold-person": Rule(cold_person, {"test": 0.1, "validation": 0.1, "evidence": 0.5}),
    "published": Rule(published, {"validation": 0.1, "evidence": 0.5}),
}
