"""How well are people served whom the model has never seen?

Everybody's history is cut in half in time. A model is fitted on the first halves of most people; then everybody, fitted or never seen, is
adapted from the first half and judged on the second. People take turns at being new (folds), so each is both. One line per method is printed and
appended to `new_people.jsonl`: NDCG@10 of fitted and of new people, their ratio with a 95% interval (people resampled), milliseconds per `adapt`
and bytes per state.

    python benchmarks/new_people.py ml-100k --methods ease als sasrec --folds 3
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path

import numpy as np
import polars as pl

import sartor
from sartor.data import Population, dataset
from sartor.data.splits import Split
from sartor.evaluate import evaluate

RESULTS = Path(__file__).parent / "new_people.jsonl"
DEFAULTS = ["popularity", "item-knn", "ease", "als", "bpr", "lightgcn", "two-tower", "sasrec", "gru4rec"]


def halves(population: Population) -> tuple[Population, Population]:
    """The first and the second half of everybody's events, in time."""
    events = population.events.with_row_index("row").collect()
    order = ["time", "row"] if "time" in events.columns else ["row"]
    rank = pl.int_range(pl.len()).over("person", order_by=order)
    first = events.with_columns(first=rank < pl.len().over("person") // 2).drop("row")
    known = population if "items" in population else population.replace(items=events.select("item").unique())
    return (
        known.replace(events=first.filter("first").drop("first")),
        known.replace(events=first.filter(~pl.col("first")).drop("first")),
    )


def interval(table: pl.DataFrame, seed: int) -> list[float]:
    """Of the ratio new / fitted: people are drawn again, each with all that was measured of them, fitted or new."""
    table = table.filter(pl.col("ndcg@10").is_finite())
    rows = table["person"].rank("dense").to_numpy().astype(np.int64) - 1
    new, value = table["new"].to_numpy(), table["ndcg@10"].to_numpy()
    sums = [np.bincount(rows[part], weights, rows.max() + 1) for part in (new, ~new) for weights in (value[part], None)]
    rng = np.random.default_rng(seed)
    times = rng.multinomial(rows.max() + 1, np.full(rows.max() + 1, 1 / (rows.max() + 1)), 1000)
    fresh, fresh_people, fitted, fitted_people = (times @ one for one in sums)
    low, high = np.quantile((fresh / fresh_people) / (fitted / fitted_people), [0.025, 0.975])
    return [round(float(low), 4), round(float(high), 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--methods", nargs="+", default=DEFAULTS)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--settings", type=json.loads, default={}, help='JSON: {"als": {"factors": 32}}')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--implicit", action="store_true", help="leave the values out, for methods that take choices only")
    parser.add_argument("--max-folds", type=int, default=None, help="run only so many of the folds")
    options = parser.parse_args()

    population = dataset(options.data)
    if options.implicit:
        population = population.replace(events=population.events.drop("value"))
    early, late = halves(population)
    people = early.events.select("person").unique().sort("person").collect()["person"]
    fold = pl.Series(np.random.default_rng(options.seed).permutation(people.len()) % options.folds)
    for slug in options.methods:
        rows: list[pl.DataFrame] = []
        started, cost = time.process_time(), {}
        for number in range(options.max_folds or options.folds):
            train = early.only(people.filter(fold != number))
            split = Split(name="halves", train=train, validation=late, test=late, evidence=early, validation_evidence=early)
            method = sartor.make(slug, seed=options.seed, **options.settings.get(slug, {})).fit(train, progress=False)
            judged = evaluate(method, split, ks=(10,), population_baseline=False)
            cost = judged.cost
            new = people.filter(fold == number)
            rows.append(judged.per_person.with_columns(new=pl.col("person").is_in(new.implode())))
        table = pl.concat(rows)
        fitted, fresh = (table.filter(pl.col("new") == new)["ndcg@10"].mean() for new in (False, True))
        line = {
            "data": options.data, "method": slug, "settings": options.settings.get(slug, {}), "implicit": options.implicit,
            "ndcg@10 fitted": round(fitted, 4), "ndcg@10 new": round(fresh, 4), "ratio": round(fresh / fitted, 4), "interval": interval(table, 0),
            "adapt_ms": round(1000 * cost["adapt_seconds"], 3), "state_bytes": round(cost["state_bytes"]), "people": people.len(),
            "folds": f"{len(rows)} of {options.folds}", "seed": options.seed, "cpu_seconds": round(time.process_time() - started, 1),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        print(json.dumps(line), flush=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
