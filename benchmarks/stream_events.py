"""Events that do not fit in memory: generates a Parquet file in chunks, then describes, splits and filters it, and reports the peak memory.

    python benchmarks/stream_events.py --events 100000000

Each step runs in a process of its own, so that its peak memory is its own. One JSON object per step on standard output.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHUNK = 2_000_000
PEOPLE, ITEMS = 1_000_000, 100_000


def generate(folder: Path, events: int) -> dict[str, Any]:
    """A log of events in order of time: active people and popular items occur more often."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / "events.parquet"
    schema = pa.schema([("person", pa.int64()), ("item", pa.int64()), ("time", pa.int64()), ("value", pa.float32())])
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(file, schema) as writer:
        for start in range(0, events, CHUNK):
            count = min(CHUNK, events - start)
            columns = [
                (PEOPLE * rng.random(count) ** 1.5).astype(np.int64),
                (ITEMS * rng.random(count) ** 3).astype(np.int64),
                1_500_000_000 + (np.arange(start, start + count) * 100_000_000) // events,
                rng.integers(1, 6, count).astype(np.float32),
            ]
            writer.write_table(pa.table(columns, schema=schema))
    return {"bytes": file.stat().st_size}


def check(folder: Path, events: int) -> dict[str, Any]:
    """Open it; every value is looked at once."""
    from sartor.data import read

    return {"frames": list(read(folder).frames)}


def describe(folder: Path, events: int) -> dict[str, Any]:
    from sartor.data import read
    from sartor.data.describe import describe as facts_of

    facts = facts_of(read(folder, check_values=False))
    assert facts["events"] == events
    return {name: facts[name] for name in ("events", "people", "items", "density", "gini_items")}


def split(folder: Path, events: int) -> dict[str, Any]:
    """By time, with the sizes of all five parts; and by person or item, which is a rule about one row as well."""
    from sartor.data import read, splits

    population = read(folder, check_values=False)
    counts = splits.make("global-time", population).counts()
    assert counts["train"] + counts["validation"] + counts["test"] == events
    cold = splits.make("cold-item", population)
    sizes = cold.counts()
    assert sizes["train"] + sizes["validation"] + sizes["test"] == events
    return {"global-time": counts, "cold-item": sizes}


def filtered(folder: Path, events: int) -> dict[str, Any]:
    """One person's evidence, and a thousand people's interactions."""
    from sartor.data import read

    population = read(folder, check_values=False)
    one = population[12_345]
    some = population.only(list(range(0, PEOPLE, PEOPLE // 1_000))).interactions()
    return {"events_of_one": one.events.height, "people": len(some.people), "events_of_some": len(some)}


def write_part(folder: Path, events: int) -> dict[str, Any]:
    """The test part of the split by time, written as a folder of its own."""
    from sartor.data import read, splits
    from sartor.data.convert import write

    with tempfile.TemporaryDirectory(dir=folder.parent) as goal:
        made = write(splits.make("global-time", read(folder, check_values=False)).test, Path(goal) / "test")
        return {"bytes": (made / "events.parquet").stat().st_size}


STEPS = {step.__name__: step for step in (generate, check, describe, split, filtered, write_part)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, help="where to put the file; a temporary folder by default, removed afterwards")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        start = time.perf_counter()
        found = STEPS[asked.step](asked.folder, asked.events)
        seconds = time.perf_counter() - start
        # Kilobytes on Linux, bytes on macOS.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        rate = round(asked.events / seconds)
        print(
            json.dumps(
                {"step": asked.step, "events": asked.events, "seconds": round(seconds, 2), "events_per_second": rate, "peak_rss": peak, **found}
            )
        )
        return
    with tempfile.TemporaryDirectory(prefix="sartor-stream-") as temporary:
        folder = asked.folder or Path(temporary) / "events"
        folder.mkdir(parents=True, exist_ok=True)
        for step in STEPS:
            if step == "generate" and (folder / "events.parquet").exists():
                continue
            command = [sys.executable, __file__, "--events", str(asked.events), "--folder", str(folder), "--step", step]
            done = subprocess.run(command, check=False)
            if done.returncode:
                raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
