"""What is in a population, in numbers, and what looks wrong with it; bounded memory for events of any number."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.data.schema import SCHEMAS

EXACT_ROWS = 20_000_000
"""Exact duplicates are counted up to this many events; that needs all rows in memory."""


def describe(population: Population, *, duplicates: bool | None = None) -> dict[str, Any]:
    """Plain numbers about a population, ready for JSON.

    Keys: `name`; `frames` (rows and columns of each); and with events: `events`, `people`, `items`, `density` (share of person-item
    pairs with an event; None where pairs are not counted),
    `per_person` and `per_item` (min, quartiles, mean, max), `gini_items` (0: all items equally often; 1: one item has everything), `time`
    (first, last, days), `values`, `duplicate_rows`, `repeated_pairs`; `warnings` is a list of sentences.

    duplicates: count exact duplicate rows; by default only up to `EXACT_ROWS` events.
    """
    out: dict[str, Any] = {"name": population.name, "frames": {name: _columns(frame) for name, frame in population.frames.items()}, "warnings": []}
    if "events" in population:
        out |= _events(population, duplicates)
        out["warnings"] = _warnings(population, out)
    return out


def _columns(frame: pl.LazyFrame) -> dict[str, Any]:
    schema = frame.collect_schema()
    counts = frame.select(pl.len().alias("_rows"), pl.all().null_count()).collect(engine="streaming").row(0)
    columns = [{"name": name, "type": str(kind), "empty": int(counts[number])} for number, (name, kind) in enumerate(schema.items(), 1)]
    return {"rows": int(counts[0]), "columns": columns}


def _events(population: Population, duplicates: bool | None) -> dict[str, Any]:
    events = population.events
    schema = events.collect_schema()
    rows = int(events.select(pl.len()).collect(engine="streaming").item())
    people, items = _counts(events, "person", rows), _counts(events, "item", rows)
    cells = len(people) * len(items)
    out: dict[str, Any] = {
        "events": rows, "people": len(people), "items": len(items), "density": None,
        "per_person": _distribution(people), "per_item": _distribution(items), "gini_items": _gini(items),
        "people_with_one_event": int((people == 1).sum()), "items_with_one_event": int((items == 1).sum()),
    }  # fmt: skip
    if "time" in schema:
        low, high = events.select(pl.col("time").min().alias("low"), pl.col("time").max().alias("high")).collect(engine="streaming").row(0)
        if low is not None:
            out["time"] = {"first": _written(low), "last": _written(high), "days": round((high - low) / 86_400, 2)}
    if "value" in schema:
        value = pl.col("value")
        aggregates = [value.min().alias("min"), value.mean().alias("mean"), value.max().alias("max"), value.std().alias("std")]
        out["values"] = events.select(aggregates).collect(engine="streaming").row(0, named=True)
        distinct = events.select(value.n_unique()).collect(engine="streaming").item()
        if distinct <= 20:
            counts = events.group_by("value").agg(pl.len()).collect(engine="streaming").sort("value", nulls_last=True)
            out["values"]["counts"] = {str(key): count for key, count in counts.iter_rows()}
    if duplicates or (duplicates is None and rows <= EXACT_ROWS):
        out["duplicate_rows"] = rows - int(events.unique().select(pl.len()).collect(engine="streaming").item())
        out["repeated_pairs"] = repeated = rows - int(events.select("person", "item").unique().select(pl.len()).collect(engine="streaming").item())
        out["density"] = (rows - repeated) / cells if cells else None
    for name in ("kind", "split"):
        if name in schema:
            counts = events.group_by(name).agg(pl.len()).collect(engine="streaming").sort("len", descending=True).head(20)
            out[f"{name}s"] = {str(key): count for key, count in counts.iter_rows()}
    return out


def _counts(events: pl.LazyFrame, column: str, rows: int) -> pl.Series:
    """How many events each id has. Many events are counted in several passes over a part of the ids each, which bounds the memory."""
    passes = 1 + rows // EXACT_ROWS
    some = [events if passes == 1 else events.filter(pl.col(column).hash() % passes == number) for number in range(passes)]
    return pl.concat([part.group_by(column).agg(pl.len().alias("events")).collect(engine="streaming")["events"] for part in some])


def _distribution(counts: pl.Series) -> dict[str, float]:
    if counts.is_empty():
        return {}
    numbers = counts.to_numpy()
    quartiles = dict(zip(("p25", "median", "p75", "p99"), np.quantile(numbers, (0.25, 0.5, 0.75, 0.99)).tolist(), strict=True))
    return {"min": int(numbers.min()), **quartiles, "mean": float(numbers.mean()), "max": int(numbers.max())}


def _gini(counts: pl.Series) -> float | None:
    if counts.is_empty():
        return None
    ordered = np.sort(counts.to_numpy()).astype(np.float64)
    ranks = 2 * np.arange(1, len(ordered) + 1) - len(ordered) - 1
    return float((ranks * ordered).sum() / (len(ordered) * ordered.sum()))


def _written(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat()


def _warnings(population: Population, facts: dict[str, Any]) -> list[str]:
    found = []
    if not facts["events"]:
        return ["there are no events"]
    if "time" not in facts:
        found.append("events have no times: the order of the rows is taken as the order in time")
    else:
        last = population.events.select(pl.col("time").max()).collect(engine="streaming").item()
        if last > time.time() + 86_400:
            found.append(f"the last event lies in the future ({facts['time']['last']})")
        if facts["time"]["first"] == facts["time"]["last"]:
            found.append("all events have the same time")
    if facts.get("duplicate_rows"):
        how = 'read with duplicates="drop" to leave them out' if "time" in facts else "without times they may be the same done again, or a mistake"
        found.append(f"{facts['duplicate_rows']:,} rows are exact duplicates of others ({how})")
    share = facts["people_with_one_event"] / facts["people"]
    if share > 0.1:
        found.append(f"{share:.0%} of the people have one event only: they are in train in most splits, and nobody is tested on them")
    if facts["per_person"]["max"] > 1000 * max(1, facts["per_person"]["median"]):
        found.append(f"one person has {facts['per_person']['max']:,} events, the median is {facts['per_person']['median']:,.0f}: perhaps a machine")
    if "values" in facts and facts["values"]["min"] == facts["values"]["max"]:
        found.append("all events have the same value")
    if "items" in population:
        seen = population.events.select(pl.col("item").unique())
        described = population.items.select(pl.col("item").unique())
        if seen.collect_schema()["item"] != described.collect_schema()["item"]:
            found.append("item ids are texts in one frame and integers in another: they will not match")
        else:
            unknown = int(seen.join(described, on="item", how="anti").select(pl.len()).collect(engine="streaming").item())
            if unknown:
                found.append(f"{unknown:,} items with events have no row in the items frame")
    empty = [column for column in facts["frames"]["events"]["columns"] if column["empty"] and column["name"] in SCHEMAS["events"]]
    found.extend(f"{column['empty']:,} events have no {column['name']}" for column in empty)
    return found
