"""How fast the store takes evidence and gives states, and how large it gets.

    python benchmarks/store_speed.py --people 100000
    python benchmarks/store_speed.py --people 20000 --postgres

Prints one JSON object, and appends it to `store_speed.jsonl` with --keep. Every append is on the disk when it returns. Rates are given per second of
wall time and per second of this process's CPU time (the server's is not in it), latencies as the median and the 99th percentile.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sartor.method import State
from sartor.profile.records import Record
from sartor.profile.store import ProfileStore

TENANT, MODEL, BATCH = "default", "f" * 32, 5_000


@contextlib.contextmanager
def opened(postgres: bool) -> Iterator[tuple[ProfileStore, Path | None]]:
    """An empty store, and the file it lies in."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sartor-store-speed.")))
        path = None if postgres else folder / "people.db"
        url = f"sqlite:///{path}"
        if postgres:
            from _postgres import server

            url = stack.enter_context(server()).url
        yield stack.enter_context(ProfileStore.open(url, master_key=b"k" * 32)), path


def rate(count: int, work: Callable[[], object]) -> dict[str, int]:
    """How many per second."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall": int(count / (time.perf_counter() - wall)), "cpu": int(count / (time.process_time() - cpu))}


def latency(arguments: list[Any], work: Callable[[Any], object]) -> dict[str, float]:
    """Milliseconds of one call."""
    times = []
    for one in arguments:
        start = time.perf_counter()
        work(one)
        times.append(1e3 * (time.perf_counter() - start))
    return {"p50_ms": round(float(np.quantile(times, 0.5)), 3), "p99_ms": round(float(np.quantile(times, 0.99)), 3)}


def measure(people: int, postgres: bool) -> dict[str, Any]:
    """All figures."""
    draw = random.Random(0)
    names = [f"person{n}" for n in range(people)]

    def click(person: str) -> Record:
        return Record(person, kind="click", time=1.7e9, content={"item": f"item{draw.randrange(50_000)}", "value": 4.0}, source="api:web")

    found: dict[str, Any] = {"people": people, "database": "postgresql" if postgres else "sqlite"}
    with opened(postgres) as (store, path):
        first = [click(person) for person in names]
        found["append_new_people"] = rate(people, lambda: [store.append(TENANT, first[at : at + BATCH]) for at in range(0, people, BATCH)])
        known = draw.sample(names, min(people, 5_000))
        more = [click(draw.choice(known)) for _ in range(8 * BATCH)]
        found["append_known_people"] = rate(len(more), lambda: [store.append(TENANT, more[at : at + BATCH]) for at in range(0, len(more), BATCH)])
        found["append_one"] = latency([click(draw.choice(names)) for _ in range(1_000)], lambda record: store.append(TENANT, [record]))
        singles = [click(draw.choice(names)) for _ in range(2_000)]
        with ThreadPoolExecutor(16) as pool:
            found["append_one_16_threads"] = rate(len(singles), lambda: list(pool.map(lambda record: store.append(TENANT, [record]), singles)))
        before = None if path is None else size(store, path)
        state = State({"vector": np.random.default_rng(0).standard_normal(512).astype(np.float32)}, "ALS", MODEL)
        found["state_bytes"] = {"arrays": state.nbytes, "safetensors": len(state.to_bytes())}
        position = store.position(TENANT)
        groups = [dict.fromkeys(names[at : at + 1000], state) for at in range(0, people, 1_000)]
        found["put_states"] = rate(people, lambda: [store.put_states(TENANT, "recommend", one, model=MODEL, position=position) for one in groups])
        if path is not None and before is not None:
            found["megabytes"] = {"evidence_and_people": round(before / 1e6, 1), "states": round((size(store, path) - before) / 1e6, 1)}
        asked = [draw.choice(names) for _ in range(3_000)]
        found["put_state"] = latency(
            asked[:1_000], lambda person: store.put_state(TENANT, person, "recommend", state, model=MODEL, position=position)
        )
        found["state"] = latency(asked, lambda person: store.state(TENANT, person, "recommend", model=MODEL))
        found["states_of_64"] = latency([asked[n : n + 64] for n in range(200)], lambda some: store.states(TENANT, some, "recommend", model=MODEL))
        found["evidence"] = latency(asked[:1_000], lambda person: store.evidence(TENANT, person, purpose="recommend", limit=50, newest_first=True))
        found["scan"] = rate(people + len(more) + 3_000, lambda: [len(frame) for frame in store.scan(TENANT, purpose="recommend")])
    return found


def size(store: ProfileStore, path: Path) -> int:
    """Bytes of the file with everything in it."""
    with store.db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    line = json.dumps({"date": datetime.date.today().isoformat(), **measure(options.people, options.postgres)})
    print(line)
    if options.keep:
        with Path(__file__).with_suffix(".jsonl").open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
