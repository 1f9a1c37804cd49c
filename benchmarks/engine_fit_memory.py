"""Peak memory of a fit through the engine, over a generated store of 5 million events: as one JSON object.

100,000 people with 50 events each over 20,000 items, random numbers (memory does not depend on what they mean). The store is made once and
kept; then, each in a process of its own (`resource.getrusage`): opening the engine and one answer, and `engine.fit` with its training
evidence, its measured gain and everybody's new states.

    python benchmarks/engine_fit_memory.py --method als
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PEOPLE = int(os.environ.get("SARTOR_BENCH_PEOPLE", "100000"))
ITEMS, EACH = 20_000, 50

CODE = """
import json, resource, sys, time
from sartor.engine import Engine
folder, method, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with Engine(f"sqlite:///{folder}/people.db", background=False) as engine:
    started, done = time.perf_counter(), {}
    if method:
        rollout = engine.fit(method, settings, min_gain=-1.0)
        done = {"activated": rollout.activated}
    engine.recommend("p1")
    seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
cpu = used.ru_utime + used.ru_stime
print(json.dumps({"peak_mb": round(used.ru_maxrss / 1024), "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)} | done))
"""


def built() -> Path:
    """Folder of a store with the events and everybody's consent to train."""
    folder = Path(tempfile.gettempdir()) / f"sartor-bench-fit-{PEOPLE}-{EACH}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _build(folder)
        (folder / "done").touch()
    return folder


def _build(folder: Path) -> None:
    import numpy as np
    import polars as pl

    from sartor.engine import Engine

    draw = np.random.default_rng(0)
    with Engine(f"sqlite:///{folder}/people.db", background=False) as engine:
        engine.store.set_default_consent("default", [*engine.store.default_consent("default"), "train"])
        for start in range(0, PEOPLE, 2_000):
            people = [f"p{number}" for number in range(start, min(start + 2_000, PEOPLE))]
            group = draw.integers(0, 20, (len(people), 1)) * (ITEMS // 20)
            items = (group + draw.zipf(1.3, (len(people), EACH))) % ITEMS
            engine.observe_many(
                pl.DataFrame({
                    "person": np.repeat(people, EACH), "item": [f"i{item}" for item in items.ravel()],
                    "time": np.tile(np.arange(EACH) * 3600, len(people)),
                })
            )  # fmt: skip


def measured(folder: Path, method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Of one child process."""
    command = [sys.executable, "-c", CODE, str(folder), method, json.dumps(settings)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="als")
    parser.add_argument("--settings", type=json.loads, default={"factors": 64, "iterations": 3})
    parser.add_argument("--build", action="store_true", help="make the store and stop")
    given = parser.parse_args()
    started = time.perf_counter()
    folder = built()
    if given.build:
        print(json.dumps({"build_seconds": round(time.perf_counter() - started, 1)}))
        return
    nbytes = sum(file.stat().st_size for file in folder.glob("people.db*"))
    out = {"events": PEOPLE * EACH, "people": PEOPLE, "items": ITEMS, "store_mb": round(nbytes / 2**20), "method": given.method}
    print(json.dumps(out | {"opened": measured(folder, "", {}), "fit": measured(folder, given.method, given.settings)}))


if __name__ == "__main__":
    main()
