"""Adapting and scoring everybody of a store: our local workers against the same shards on a Ray cluster of as many processes.

20,000 people with 20 events each, 5,000 items, ALS with 64 factors, lists of 10. Both sides read the same encrypted SQLite store and write
the same Parquet files; `value` is people per second of the whole call. Ray's cluster is started before the clock, its actors and our
processes after it. `quality` is the mean score of all lists: the same bits on both sides. The store is made once, in the folder for
temporary files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

NAME = "batch-ray"
UNIT = "people per second"
PEER = "ray"
HIGHER_IS_BETTER = True
PEOPLE, ITEMS, EVENTS, FACTORS, K = 20_000, 5_000, 20, 64, 10
THREADS = int(os.environ.get("SARTOR_BENCH_THREADS", "2"))


def store() -> str:
    """The store's URL; made when it is not there yet."""
    import polars as pl

    import sartor
    from sartor.engine import Engine
    from sartor.recommend.als import ALS

    folder = Path(tempfile.gettempdir()) / f"sartor-batch-ray-{PEOPLE}-{ITEMS}-{EVENTS}-{FACTORS}"
    url = f"sqlite:///{folder}/people.db"
    if (folder / "done").exists():
        return url
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    # Tastes in 50 groups over items of Zipf-like popularity, so that the lists are not all alike.
    group = rng.integers(0, 50, PEOPLE)
    items = (rng.zipf(1.3, (PEOPLE, EVENTS)) * 50 + group[:, None]) % ITEMS
    events = pl.DataFrame({"person": np.repeat(np.arange(PEOPLE), EVENTS), "item": items.ravel(), "time": np.tile(np.arange(EVENTS), PEOPLE) + 10**9})
    with Engine(url, background=False) as engine:
        for part in events.iter_slices(50_000):
            engine.observe_many(part)
        engine.install(ALS(factors=FACTORS, iterations=5).fit(sartor.Population.from_frames(events=events), progress=False))
    (folder / "done").touch()
    return url


def measured(runner: str) -> dict[str, Any]:
    """One call of `batch`."""
    import polars as pl

    from sartor.engine.batch import batch

    url = store()
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        found = batch(url, out, k=K, runner=runner, workers=THREADS)
        seconds = time.perf_counter() - start
        quality = pl.scan_parquet(f"{out}/part-*.parquet").select(pl.col("score").cast(pl.Float64).mean()).collect().item()
    size = {
        "people": found.people, "items": ITEMS, "events": EVENTS * PEOPLE, "factors": FACTORS, "k": K, "workers": THREADS, "shards": found.shards,
        "state_bytes": found.state_bytes / found.people, "worker_ms_per_person": 1000 * found.worker_seconds / found.people,
    }  # fmt: skip
    return {"value": found.people / seconds, "quality": quality, "size": size}


def ours() -> dict[str, Any]:
    return measured("local")


def peer() -> dict[str, Any]:
    from sartor.engine import ray_batch

    with ray_batch.cluster(THREADS):
        return measured("ray")
