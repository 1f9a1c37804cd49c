"""How soon, how fast, how large: the engine in one process, without HTTP.

50,000 items x 64 dimensions and some thousand people with 30 events each, random numbers (speed does not depend on what they mean).
Measured: milliseconds of `observe`; from `observe` to a changed recommendation (freshness); of `recommend` from one thread and from several
at once, and what the method alone takes; people adapted per second; resident memory of a process with an open engine, before and after its
first answer. Prints one line and appends it to `engine_answers.jsonl`.

    python benchmarks/engine_answers.py
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sartor.data.ids import IdMap
from sartor.engine import Engine, Rules
from sartor.recommend.als import ALS

RESULTS = Path(__file__).parent / "engine_answers.jsonl"
IDLE = """
import sys, time
from sartor.engine import Engine
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
start = time.perf_counter()
engine = Engine(sys.argv[1])
opened = time.perf_counter() - start
time.sleep(1)
idle = resident()
engine.recommend("p1")
print(opened, idle, resident())
engine.close()
"""


def model(items: int, dim: int) -> ALS:
    """A fitted ALS with random vectors."""
    rng = np.random.default_rng(0)
    method = ALS(factors=dim)
    method.items_ = IdMap(np.arange(items), name="item")
    method.item_vectors_ = (rng.standard_normal((items, dim)) / np.sqrt(dim)).astype(np.float32)
    method.gram_ = (method.item_vectors_.T @ method.item_vectors_ + np.eye(dim)).astype(np.float32)
    method.population_vector_ = method.item_vectors_[:50].mean(axis=0)
    method._seal()
    return method


def figures(seconds: Any) -> dict[str, float]:
    """Milliseconds."""
    values = np.asarray(seconds) * 1000
    return {"p50": round(float(np.median(values)), 3), "p99": round(float(np.quantile(values, 0.99)), 3)}


def timed(call: Callable[[int], Any], times: int) -> dict[str, float]:
    """Of calls one after the other."""
    out = []
    for number in range(times):
        start = time.perf_counter()
        call(number)
        out.append(time.perf_counter() - start)
    return figures(out)


def at_once(call: Callable[[int], Any], threads: int, times: int) -> dict[str, float]:
    """Of calls from several threads."""
    out: list[float] = []

    def work(first: int) -> None:
        for number in range(times):
            start = time.perf_counter()
            call(first * times + number)
            out.append(time.perf_counter() - start)

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {**figures(out), "per_second": round(threads * times / (time.perf_counter() - start), 1)}


def freshness(engine: Engine, items: int, times: int) -> dict[str, float]:
    """From the call of `observe` to the first recommendation that differs."""
    rng = np.random.default_rng(1)
    out = []
    for number in range(times + 20):
        person = f"fresh{number % 20}"
        before = [pick.item for pick in engine.recommend(person, exclude=None).items]
        start = time.perf_counter()
        engine.observe(person, [int(rng.integers(items))])
        while [pick.item for pick in engine.recommend(person, exclude=None).items] == before and time.perf_counter() - start < 2:
            time.sleep(0.0005)
        out.append(time.perf_counter() - start)
    return figures(out[20:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--people", type=int, default=2_000)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    line: dict[str, Any] = {"items": given.items, "dim": given.dim, "people": given.people, "processors": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/people.db"
        method = model(given.items, given.dim)
        with Engine(url, background=False) as engine:
            engine.install(method)
            rows = [{"item": item, "title": f"T{item}", "year": 1950 + item % 70, "categories": [f"c{item % 20}"]} for item in range(given.items)]
            engine.store.put_items("default", rows)
            people = np.repeat([f"p{person}" for person in range(given.people)], 30)
            engine.observe_many(pl.DataFrame({"person": people, "item": rng.integers(0, given.items, people.size)}))
            start = time.perf_counter()
            engine.catch_up(600)
            line["adapted_per_second"] = round(given.people / (time.perf_counter() - start), 1)
        with Engine(url) as engine:

            def ask(number: int, **how: Any) -> Any:
                return engine.recommend(f"p{number % given.people}", **how)

            ask(0)
            ask(0, where="year > 1990", diversity=0.3, rules=Rules(boosted={"year > 2000": 0.5}))
            stored = engine.store.state("default", "p1", "recommend")
            assert stored is not None
            line["recommend_ms"] = timed(ask, 1000)
            line["method_alone_ms"] = timed(lambda _: method.recommend([stored.state], 10), 300)
            line["filter_ms"] = timed(lambda number: ask(number, where="year > 1990"), 300)
            line["diversity_ms"] = timed(lambda number: ask(number, diversity=0.3), 200)
            line["rules_ms"] = timed(lambda number: ask(number, rules=Rules(boosted={"year > 2000": 0.5}, max_per_category=2)), 200)
            line["batch_of_100_ms_per_person"] = {
                name: round(value / 100, 3) for name, value in timed(lambda _: engine.recommend_many([f"p{one}" for one in range(100)]), 20).items()
            }
            line["threads"] = {str(threads): at_once(ask, threads, 300) for threads in (1, 4, 16)}
            line["observe_ms"] = timed(lambda number: engine.observe(f"p{number}", [1, 2, 3]), 200)
            engine.catch_up(60)
            line["freshness_ms"] = freshness(engine, given.items, 200)
        opened, idle, answered = map(float, subprocess.check_output([sys.executable, "-c", IDLE, url], text=True).split())
        line |= {"open_seconds": round(opened, 2), "idle_mib": round(idle, 1), "answered_mib": round(answered, 1)}
    line |= {"load": round(os.getloadavg()[0], 1), "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    print(json.dumps(line, indent=2))
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
