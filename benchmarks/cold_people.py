"""What attributes are worth for people without a single event: attribute-popularity against popularity.

People take turns at being new (folds): the methods are fitted on the others, and a new person's list is made from age, gender and occupation
alone, and judged on everything she did. Prints NDCG@10 and recall@20 of both and the paired difference with a 95% interval (people resampled),
and appends the line to `cold_people.jsonl`.

    python benchmarks/cold_people.py ml-100k
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

import numpy as np
import polars as pl

import sartor
from sartor.data import Population, dataset
from sartor.data.ids import IdMap
from sartor.evaluate.metrics.ranking import Truth, ranking
from sartor.parts.statistics import paired

RESULTS = Path(__file__).parent / "cold_people.jsonl"


def fold(population: Population, held: pl.Series, seed: int) -> tuple[dict[str, dict[str, np.ndarray]], float]:
    """Metrics per held-out person of both methods, and the strength that was chosen."""
    known = population.replace(events=population.events.filter(~pl.col("person").is_in(held.implode())))
    new = population.only(held)
    base = sartor.make("popularity").fit(known, progress=False)
    method = sartor.make("attribute-popularity", seed=seed).fit(known, progress=False)
    histories = new.interactions(items=base.items_, people=IdMap(held.sort()))
    matrix = histories.matrix()
    truth = Truth(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))
    nobody = new.replace(events=new.events.head(0))
    about = method.adapt_all(nobody)
    states = [about[person] for person in histories.people.ids.to_list()]
    lists = {"popularity": base.best_numbers([None] * len(states), 20)[0], "attributes": method.best_numbers(states, 20)[0]}
    measured = {name: ranking(found, truth, (10, 20)) for name, found in lists.items()}
    figures = {name: {"ndcg@10": own["ndcg"][:, 0], "recall@20": own["recall"][:, 1]} for name, own in measured.items()}
    return figures, method.chosen_strength_


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", nargs="+", default=["age", "gender", "occupation"])
    given = parser.parse_args()
    population = dataset(given.data)
    population = population.replace(people=population.people.select("person", *given.columns))
    people = population.events.select("person").unique().collect()["person"].sort()
    part = np.random.default_rng(given.seed).permutation(people.len()) % given.folds
    results = [fold(population, people.filter(part == one), given.seed) for one in range(given.folds)]
    line = {"data": given.data, "columns": given.columns, "people": people.len(), "folds": given.folds, "strengths": [one[1] for one in results]}
    for metric in ("ndcg@10", "recall@20"):
        own, base = (np.concatenate([one[0][name][metric] for one in results]) for name in ("attributes", "popularity"))
        found = paired(own, base)
        line[metric] = {
            "attributes": float(own.mean()),
            "popularity": float(base.mean()),
            "difference": found.difference,
            "interval": list(found.interval),
        }
    line["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    print(json.dumps(line, indent=2))
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
