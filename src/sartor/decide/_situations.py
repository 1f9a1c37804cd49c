"""From events and requests to numbers: situations as features, feedback as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from sartor.decide.parts.response import Feedback
from sartor.errors import BadValue, ConfigError, MissingColumn, UnknownId

RATING = "rating"
"""The kind of explicit feedback; events without a kind are ratings."""
Facts = dict[str, dict[str, Any]]
"""Of every context column: `mean` and `scale` of numbers, or `values` of texts."""
LARGEST = 1e100
"""No number of a situation, nor a level, gets here: their products would be no numbers any more."""
OWN = ("target", "efficiency", "weight")
"""Words of a request that are no context."""


def learn(events: pl.DataFrame, context: Sequence[str]) -> Facts:
    """What is known of the context columns of a population's events."""
    facts: Facts = {}
    for name in context:
        if name not in events.columns:
            raise MissingColumn(f"there is no column '{name}'", fix=f"context is one of {events.columns}", column=name)
        column = events[name].drop_nulls()
        if column.dtype.is_numeric():
            if (wrong := column.cast(pl.Float64).is_finite().not_()).any():
                _finite(column.filter(wrong)[0], name)
            facts[name] = {"mean": float(column.mean() or 0.0), "scale": max(float(column.std() or 0.0), 1e-9)}  # type: ignore[arg-type]
        else:
            facts[name] = {"values": sorted(column.cast(pl.String).unique().to_list())}
    return facts


def width(facts: Facts) -> int:
    """Features of a situation."""
    return 1 + sum(len(one["values"]) if "values" in one else 1 for one in facts.values())


def features(facts: Facts, columns: Mapping[str, Sequence[Any]], rows: int) -> np.ndarray:
    """float64 [rows, p], the first 1; what is missing or was never seen is as usual."""
    out = [np.ones(rows)]
    for name, one in facts.items():
        given = columns.get(name, [None] * rows)
        if "values" in one:
            out += [np.array([value is not None and str(value) == word for value in given], np.float64) for word in one["values"]]
        else:
            out.append(np.array([0.0 if value is None else (_finite(value, name) - one["mean"]) / one["scale"] for value in given]))
    return np.stack(out, 1)


def _finite(value: Any, name: str) -> float:
    """Raise `BadValue` for what the model knows as a number, and is none here, or so large a one that nothing can be computed with it."""
    found = plain(value)
    if found is None or not abs(found) < LARGEST:
        raise BadValue(f"{name} is {value!r}", column=name, fix="give a finite number, or nothing where it is not known")
    return found


def plain(value: Any) -> float | None:
    """A number, also one that is written as text, as columns are read; None for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def asked(facts: Facts, requests: Sequence[Mapping[str, Any]], people: Sequence[Any]) -> np.ndarray:
    """The same of requests, whose words are checked: raises `ConfigError`, `UnknownId`, `BadValue` with the person."""
    for person, request in zip(people, requests, strict=True):
        if strange := sorted(set(request) - set(facts) - set(OWN)):
            raise ConfigError(f"{strange} is not known of a situation", person=person, fix=f"use {', '.join([*facts, *OWN])}")
        for name, one in facts.items():
            value = request.get(name)
            if value is None:
                continue
            if "values" in one and str(value) not in one["values"]:
                raise UnknownId(f"'{value}' was never seen as {name}", person=person, fix=f"known are {', '.join(one['values'])}")
            if "values" not in one and (isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST):
                raise BadValue(f"{name} is {value!r}", person=person, fix="give a finite number")
    return features(facts, {name: [request.get(name) for request in requests] for name in facts}, len(requests))


def number(request: Mapping[str, Any], name: str, default: float, person: Any) -> float:
    """A number of a request; raises `BadValue` with the person."""
    value = request.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise BadValue(f"{name} is {value!r}", person=person, fix="give a finite number")
    return float(value)


def checked(events: pl.DataFrame, scale: tuple[float, float], where: str) -> pl.DataFrame:
    """Events that say how somebody liked a level, `value` brought to 0 to 1; others are left out.

    Raises `MissingColumn`, and `BadValue` with the row for feedback outside its scale, negative levels and what is not finite.
    """
    for name in ("level", "value"):
        if name not in events.columns:
            raise MissingColumn(f"there is no column '{name}'", fix="events need the level that was given and what was said of it", column=name)
    kept = events.with_row_index("row", offset=1).with_columns(pl.col("level", "value").cast(pl.Float64, strict=False))
    kept = kept.filter(pl.col("level").is_not_null() & pl.col("value").is_not_null())
    low, high = scale
    good = (pl.col("level") < LARGEST) & pl.col("level").is_not_nan() & (pl.col("level") >= 0) & pl.col("value").is_between(low, high)
    for row, level, value in kept.filter(~good).select("row", "level", "value").head(1).iter_rows():
        check(level, value, scale, file=where, row=row)
    return kept.with_columns(value=(pl.col("value") - low) / (high - low)).drop("row")


def check(level: float, value: float, scale: tuple[float, float], **where: Any) -> None:
    """Raise `BadValue` for a level or feedback that cannot be meant."""
    low, high = scale
    if not 0 <= level < LARGEST:
        raise BadValue(f"the level is {level:g}", fix="levels of quality are finite and not below 0", column="level", **where)
    if not low <= value <= high:
        raise BadValue(f"the value is {value:g}", fix=f"feedback is declared to be from {low:g} to {high:g}", column="value", **where)


def feedback(
    events: pl.DataFrame, people: Sequence[Any], facts: Facts, signals: Sequence[str], half_life: float, now: Sequence[float] | None = None
) -> tuple[Feedback, np.ndarray]:
    """Checked events as arrays, one row per person in their order, and the time of each person's newest event (0 where there is none).

    An event counts half for every half-life (seconds) that it lies before the newest one, or before `now` where that is later. Signals that the
    model does not know count nothing.
    """
    rows = events.partition_by("person", as_dict=True, maintain_order=True) if events.height else {}
    parts = [rows.get((person,), events.clear()) for person in people]
    longest = max([part.height for part in parts] + [1])
    shape = (len(parts), longest)
    out = Feedback(np.zeros((*shape, width(facts))), np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64))
    newest = np.zeros(len(parts))
    for row, part in enumerate(parts):
        n = part.height
        if not n:
            continue
        kinds = [RATING if kind is None else str(kind) for kind in part["kind"].to_list()] if "kind" in part.columns else [RATING] * n
        numbers = np.array([signals.index(kind) if kind in signals else -1 for kind in kinds])
        weight = part["weight"].cast(pl.Float64).fill_null(1.0).to_numpy() if "weight" in part.columns else np.ones(n)
        if "time" in part.columns:
            times = part["time"].cast(pl.Float64).fill_null(0.0).to_numpy()
            newest[row] = times.max()
            latest = max(newest[row], now[row] if now is not None else 0.0)
            weight = weight * 0.5 ** ((latest - times) / half_life)
        out.features[row, :n] = features(facts, {name: part[name].to_list() for name in facts if name in part.columns}, n)
        out.level[row, :n], out.value[row, :n] = part["level"].to_numpy(), part["value"].to_numpy()
        out.weight[row, :n], out.signal[row, :n] = np.where(numbers < 0, 0.0, weight), np.maximum(numbers, 0)
    return out, newest
