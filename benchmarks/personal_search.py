"""What a person's own state is worth to a search: the same queries with it, without it, with another person's, and by simple means.

Queries are made from held-out events (`sartor.retrieve.queries`): one or two categories of an item the person took, or two words of its text; wanted
are all of the person's held-out items that hold every word. Prints and appends to `personal_search.jsonl` NDCG@10 of personal search, of the same
search without states, of BM25 alone and of the most popular items that hold every word; gain, gain over popularity and swap gap with 95%
intervals (paired, people resampled, over all seeds together: a person of one seed's split is one row).

    python benchmarks/personal_search.py ml-1m      # a folder or name of a data set: random split, as these events have no times
    python benchmarks/personal_search.py world      # generated people, split in time, a fifth of the items new
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import sartor
from sartor.data import dataset, splits
from sartor.data.world import World
from sartor.evaluate.search import ARMS, SCALES, SearchEvaluation, evaluate_search
from sartor.parts.statistics import bootstrap

RESULTS = Path(__file__).parent / "personal_search.jsonl"


def run(data: str, seed: int, people: int, taste: str, encoder: str) -> tuple[dict[str, SearchEvaluation], dict[str, Any]]:
    """Both kinds of queries on one seed's split."""
    if data == "world":
        split = splits.make("user-time", World(people=3000, items=2000, cold_items=0.2, seed=seed).population(), seed=seed)
    else:
        split = splits.make("random", dataset(data), seed=seed)
    start = time.process_time()
    with split.guard():
        method = sartor.make("personal-search", taste=sartor.make(taste), encoder=encoder, seed=seed)
        method.fit(split.train, validation=split.validation, progress=False)
    facts = {"weights": method.search_weights_.tolist(), "taste_weight": method.taste_weight_, "fit_cpu_seconds": time.process_time() - start}
    return {kind: evaluate_search(method, split, kind, people=people, seed=seed) for kind in ("categories", "words")}, facts  # type: ignore[arg-type]


def summary(found: list[SearchEvaluation]) -> dict[str, Any]:
    """Means over seeds, and intervals over the people of all seeds."""
    k = found[0].headline
    out: dict[str, Any] = {arm: float(np.mean([one.metrics[arm][k] for one in found])) for arm in ARMS}
    for scale, arm in SCALES.items():
        each = np.concatenate([(one.per_query[f"own {k}"] - one.per_query[f"{arm} {k}"]).to_numpy() for one in found])
        each = each[~np.isnan(each)]
        out[scale], out[f"{scale}_interval"] = float(each.mean()), bootstrap(each).tolist()
        out[f"{scale}_by_seed"] = [getattr(one, scale) for one in found]
    cost = {name: float(np.mean([one.cost[name] for one in found if one.cost[name] is not None])) for name in found[0].cost}
    return {"metric": k, "queries": sum(one.counts["queries"] for one in found), **out, "cost": cost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--people", type=int, default=2000, help="who ask, per seed and kind of query; one query each")
    parser.add_argument("--taste", default="ease")
    parser.add_argument("--encoder", default="hashed")
    given = parser.parse_args()
    found: dict[str, list[SearchEvaluation]] = {"categories": [], "words": []}
    facts = []
    for seed in given.seeds:
        kinds, fact = run(given.data, seed, given.people, given.taste, given.encoder)
        facts.append(fact)
        for kind, one in kinds.items():
            found[kind].append(one)
            print(f"seed {seed}, {one}", flush=True)
    line = {
        "data": given.data if given.data == "world" else Path(given.data).name, "seeds": given.seeds, "taste": given.taste, "encoder": given.encoder,
        **{f"queries of {kind}": summary(own) for kind, own in found.items()}, "fits": facts,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    print(json.dumps(line, indent=2))
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
