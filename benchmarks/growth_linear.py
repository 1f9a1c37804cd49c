"""How cost grows with events x1, x4, x16: an ALS iteration (64 factors) and top 10 for everybody, with people and items growing alike.

    python benchmarks/growth_linear.py --events 250000

CPU seconds of all threads, the best of three, and how they grow as a power of the events: 1 is linear. Ranking everybody over the whole
catalogue is people x items by nature, so 2 where both grow.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import _als

RESULTS = Path(__file__).parent / "growth.jsonl"


def cpu_seconds(call: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def measure(events: int) -> dict[str, float]:
    import sartor
    from sartor.recommend.als import ALS

    people, items = _als.generated(events)
    population = sartor.Population.from_frames(events={"person": people, "item": items})
    data = population.interactions()

    def fit(iterations: int) -> ALS:
        return ALS(factors=64, iterations=iterations).fit(population, progress=False)

    method = fit(1)
    iteration = (cpu_seconds(lambda: fit(4)) - cpu_seconds(lambda: fit(1))) / 3
    # A sample of people: the rest is the same again.
    some = data.people.ids.to_list()[:4000]
    states = list(method.adapt_all(population.only(some)).values())
    method.recommend(states, 10)
    ranking = cpu_seconds(lambda: method.recommend(states, 10)) * data.shape[0] / len(states)
    return {"events": len(data), "people": data.shape[0], "items": data.shape[1], "als_iteration": iteration, "recommend_all": ranking}


def main(events: int) -> None:
    rows = [measure(events * times) for times in (1, 4, 16)]
    logs = np.log([row["events"] for row in rows])
    powers = {name: float(np.polyfit(logs, np.log([row[name] for row in rows]), 1)[0]) for name in ("als_iteration", "recommend_all")}
    for row in rows:
        size = f"{row['events']:>10,} events {row['people']:>8,} people {row['items']:>7,} items"
        print(f"{size}  iteration {row['als_iteration']:8.3f} s  ranking {row['recommend_all']:8.3f} s")
    print("power of events:", ", ".join(f"{name} {power:.2f}" for name, power in powers.items()))
    with RESULTS.open("a") as file:
        file.write(json.dumps({"name": "growth-linear", "rows": rows, "powers": powers}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=250_000)
    main(parser.parse_args().events)
