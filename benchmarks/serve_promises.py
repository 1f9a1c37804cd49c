"""What the server promises, measured, as one JSON object: start, memory, overhead, state load, erasure, size, freshness.

Run it on a quiet machine: `python benchmarks/serve_promises.py`. Every figure stands beside its promise; `kept` says whether it was met.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _serve

NAME = "serve-promises"
RATE, FRESH = 50.0, int(os.environ.get("SARTOR_BENCH_FRESH", "200"))
ERASED = int(os.environ.get("SARTOR_BENCH_ERASED", "10000"))
STATES, STATE_BYTES = int(os.environ.get("SARTOR_BENCH_STATES", "100000")), 2_048


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def start_and_memory() -> dict[str, Any]:
    """A server over an empty store, and one over the big store with its model: seconds to the first answer, resident bytes after a while."""
    out: dict[str, Any] = {}
    for name, folder in (("empty", Path(tempfile.mkdtemp(prefix="sartor-bench-"))), ("full", _serve.built())):
        secret = _serve.key(folder)
        seconds, memory, served = [], 0, 0
        for _ in range(3):
            with _serve.serving(folder) as (url, child, took):
                seconds.append(took)
                time.sleep(3)
                memory = _serve.rss(child.pid)
                _serve.load(url, "/v1/people/p{}/recommendations", connections=4, seconds=1, secret=secret)
                served = _serve.rss(child.pid)
        out[name] = {"start_seconds": round(sorted(seconds)[1], 2), "idle_mb": round(memory / 1e6), "after_serving_mb": round(served / 1e6)}
    return out


async def _overhead(url: str, secret: str, seconds: float) -> dict[str, Any]:
    """At 50 requests per second, sent at random times whatever the answers take: latency less the seconds that the engine says it needed."""
    import httpx

    whole: list[float] = []
    added: list[float] = []
    errors = 0

    async def one(client: httpx.AsyncClient) -> None:
        nonlocal errors
        sent = time.perf_counter()
        answer = await client.get(f"/v1/people/p{random.randrange(_serve.PEOPLE)}/recommendations")
        took = time.perf_counter() - sent
        errors += answer.status_code != 200
        whole.append(took * 1000)
        added.append((took - answer.json()["seconds"]) * 1000)

    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {secret}"}) as client:
        for _ in range(20):
            await one(client)
        whole.clear()
        added.clear()
        tasks = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            tasks.append(asyncio.create_task(one(client)))
            await asyncio.sleep(random.expovariate(RATE))
        await asyncio.gather(*tasks)
    return {
        "requests": len(whole), "errors": errors, "added_p50_ms": round(quantile(added, 0.5), 2), "added_p99_ms": round(quantile(added, 0.99), 2),
        "whole_p50_ms": round(quantile(whole, 0.5), 2), "whole_p99_ms": round(quantile(whole, 0.99), 2),
    }  # fmt: skip


def overhead_and_freshness() -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="sartor-bench-fresh-"))
    try:
        shutil.copytree(_serve.built(), folder, dirs_exist_ok=True)
        secret = _serve.key(folder)
        with _serve.serving(folder) as (url, _, _):
            out = {"overhead": asyncio.run(_overhead(url, secret, max(10.0, _serve.SECONDS)))}
            out["freshness"] = _freshness(url, secret)
        return out
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _freshness(url: str, secret: str) -> dict[str, Any]:
    """From sending an event to the first answer that is made from it, over HTTP, asking again as soon as an answer is there."""
    from sartor.serve import Client

    took: list[float] = []
    changed = 0
    with Client(url, secret) as client:
        for number in range(FRESH):
            person = f"p{random.randrange(_serve.PEOPLE)}"
            before = [one.item for one in client.recommend(person).items]
            sent = time.perf_counter()
            receipt = client.observe([{"person": person, "item": before[number % len(before)]}])
            while True:
                answer = client.recommend(person)
                if answer.state is not None and answer.state.position >= receipt.position:
                    break
            took.append((time.perf_counter() - sent) * 1000)
            changed += [one.item for one in answer.items] != before
    return {"people": FRESH, "lists_changed": changed, "median_ms": round(quantile(took, 0.5), 1), "p99_ms": round(quantile(took, 0.99), 1)}


def state_load() -> dict[str, Any]:
    """One person's state from SQLite, decrypted and unpacked; people at random, the file's pages as warm as they are."""
    from sartor.profile.store import ProfileStore

    with ProfileStore.open(f"sqlite:///{_serve.built()}/people.db") as store:
        card = store.active_model("default", "recommend")
        assert card is not None

        def timed(call: Callable[[str], object], count: int) -> list[float]:
            took = []
            for _ in range(count):
                person = f"p{random.randrange(_serve.PEOPLE)}"
                started = time.perf_counter()
                call(person)
                took.append((time.perf_counter() - started) * 1000)
            return took

        alone = timed(lambda person: store.state("default", person, "recommend"), 3000)
        standing = timed(lambda person: store.standing("default", [person], purpose="recommend", verb="recommend", model=card.fingerprint), 3000)
    return {
        "p50_ms": round(quantile(alone, 0.5), 3),
        "p99_ms": round(quantile(alone, 0.99), 3),
        "with_consent_and_lag_p50_ms": round(quantile(standing, 0.5), 3),
        "with_consent_and_lag_p99_ms": round(quantile(standing, 0.99), 3),
    }


def erasing() -> dict[str, Any]:
    """Forgetting somebody with 10,000 events, in a store of their own among others."""
    from sartor.engine import Engine
    from sartor.profile.records import Record

    with tempfile.TemporaryDirectory() as folder, Engine(f"sqlite:///{folder}/people.db", background=False) as engine:
        for number in range(50):
            engine.store.append("default", [Record(f"other{number}", content={"item": f"i{item}"}) for item in range(20)])
        engine.store.append("default", [Record("long", content={"item": f"i{item}"}) for item in range(ERASED)])
        started = time.perf_counter()
        receipt = engine.forget("long")
        took = time.perf_counter() - started
        assert engine.store.count("default", "long") == 0
    scanned = receipt.scan
    return {
        "events": ERASED, "seconds": round(receipt.seconds, 3), "with_scan_seconds": round(took, 3), "verified": receipt.verified,
        "scanned_bytes": None if scanned is None else scanned.nbytes,
    }  # fmt: skip


def size() -> dict[str, Any]:
    """Bytes of the database with one state of 2 KB for each of 100,000 people."""
    import numpy as np

    from sartor.method import State
    from sartor.profile.records import Record
    from sartor.profile.store import ProfileStore

    draw, model = np.random.default_rng(0), "0123456789abcdef" * 2
    empty = len(State({"vector": np.zeros(0, np.float32)}, "ALS", model).to_bytes())
    numbers = (STATE_BYTES - empty) // 4
    with tempfile.TemporaryDirectory() as folder, ProfileStore.open(f"sqlite:///{folder}/people.db") as store:
        people = [f"p{number}" for number in range(STATES)]
        for start in range(0, STATES, 5_000):
            store.append("default", [Record(person, content={"item": "i"}) for person in people[start : start + 5_000]])
        before = _bytes(Path(folder))
        position, nbytes = store.position("default"), 0
        for start in range(0, STATES, 2_000):
            part = people[start : start + 2_000]
            states = {one: State({"vector": draw.standard_normal(numbers).astype(np.float32)}, "ALS", model) for one in part}
            written = store.put_states("default", "recommend", states, model=model, position=position)
            nbytes = next(iter(written.values())).nbytes
        after = _bytes(Path(folder))
    return {
        "states": STATES, "each_bytes": nbytes, "database_mb": round(after / 1e6, 1), "states_alone_mb": round((after - before) / 1e6, 1),
        "per_100000_mb": round((after - before) / STATES * 1e5 / 1e6, 1),
    }  # fmt: skip


def _bytes(folder: Path) -> int:
    import sqlite3

    with sqlite3.connect(folder / "people.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def main() -> dict[str, Any]:
    found: dict[str, Any] = {"people": _serve.PEOPLE, "items": _serve.ITEMS, "start": start_and_memory()}
    found |= overhead_and_freshness()
    found |= {"state_load": state_load(), "erasing": erasing(), "size": size()}
    found["kept"] = {
        "cold start < 3 s": found["start"]["empty"]["start_seconds"] < 3,
        "idle < 150 MB (no model in memory yet)": found["start"]["empty"]["idle_mb"] < 150,
        "added overhead p50 < 3 ms, p99 < 20 ms at 50 requests/s": found["overhead"]["added_p50_ms"] < 3 and found["overhead"]["added_p99_ms"] < 20,
        "state load p99 < 5 ms": found["state_load"]["p99_ms"] < 5,
        "erasing 10,000 events < 1 s": found["erasing"]["seconds"] < 1,
        "100,000 states of 2 KB < 250 MB": found["size"]["per_100000_mb"] < 250,
    }
    return found


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
