"""What is done with one shard of a batch, and by whom: this process, several of this machine, or a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

VERB = "recommend"


@dataclass(frozen=True)
class Plan:
    """What a worker must know. Holds no secret: the master key is beside the SQLite file, or in the environment of every worker."""

    url: str
    tenant: str
    models: str
    model: str
    """Fingerprint: every shard uses this model, whatever is switched meanwhile."""
    k: int
    out: str
    keep_states: bool
    """Whether states are also put into the store, for serving."""
    size: int
    """People per shard, about."""


@dataclass(frozen=True)
class Shard:
    """Some people, and the file that their lists go to."""

    number: int
    people: tuple[str, ...]
    file: str


@dataclass(frozen=True)
class Done:
    """What a shard came to."""

    file: str
    people: int
    """With evidence that may be used; the others are not in the file."""
    failed: int
    rows: int
    state_bytes: int
    seconds: float


class Worker:
    """Does shards; opens the store and the model once per process."""

    def __init__(self, plan: Plan) -> None:
        from sartor.engine.engine import Engine

        self.plan = plan
        self.engine = Engine(plan.url, tenant=plan.tenant, models=plan.models, background=False)
        self.loaded = self.engine._models.load(plan.tenant, plan.model, VERB)
        self.shelf = self.engine._serving.shelves.of(plan.tenant, self.loaded.method)

    def __call__(self, shard: Shard) -> Done:
        from sartor.engine.preparing import states_of
        from sartor.parts.threads import blas_alone, limit

        start = time.perf_counter()
        store, plan = self.engine.store, self.plan
        # One thread per worker: as many workers as processors then keep all of them busy, without getting in each other's way.
        with limit(1), blas_alone():
            position = store.position(plan.tenant)
            states, failures = states_of(store, plan.tenant, VERB, self.loaded, self.shelf.ids, shard.people)
            if plan.keep_states:
                store.put_states(plan.tenant, VERB, states, model=plan.model, position=position)
            rows = self._write(shard, states)
        size = sum(state.nbytes for state in states.values())
        return Done(shard.file, len(states), len(failures), rows, size, time.perf_counter() - start)

    def _write(self, shard: Shard, states: dict[str, Any]) -> int:
        """Lists of the shard's people: person, rank (1 is best), item, score, personal (false: everybody's list, nothing known of hers)."""
        import polars as pl

        from sartor.engine.own import says_something
        from sartor.engine.rules import best

        people = list(states)
        personal = [says_something(state, int(state.notes["known"])) for state in states.values()]
        passed = [self.shelf.ids.numbers(state.notes.get("passed", ())) for state in states.values()]
        left_out = [
            np.concatenate([self.shelf.hidden, state.arrays["items"], more]).astype(np.int32)
            for state, more in zip(states.values(), passed, strict=True)
        ]
        own = [state if says else None for state, says in zip(states.values(), personal, strict=True)]
        numbers, scores = best(self.loaded.method, own, self.plan.k, left_out, None)
        rows, places = np.nonzero((numbers >= 0) & np.isfinite(scores))
        frame = pl.DataFrame({
            "person": pl.Series(people, dtype=pl.String).gather(rows),
            "rank": (places + 1).astype(np.int32),
            "item": self.shelf.ids.map.ids.gather(numbers[rows, places]),
            "score": scores[rows, places].astype(np.float32),
            "personal": np.asarray(personal, bool)[rows],
        })  # fmt: skip
        target = Path(self.plan.out) / shard.file
        handle, fresh = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        os.close(handle)
        try:
            frame.write_parquet(fresh)
            os.replace(fresh, target)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
        return frame.height


def run(plan: Plan, shards: Sequence[Shard], runner: str, workers: int, address: str | None) -> Iterator[Done]:
    make = partial(Worker, plan)
    if not shards:
        return
    if runner == "ray":
        from sartor.engine import ray_batch

        with ray_batch.cluster(workers, address):
            yield from ray_batch.over_shards(make, shards, workers)
    elif workers == 1:
        worker = make()
        try:
            yield from map(worker, shards)
        finally:
            worker.engine.close()
    else:
        # Not forked: a child must not inherit the connections and threads of this process.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(make,)) as pool:
            for future in as_completed([pool.submit(_do, shard) for shard in shards]):
                yield future.result()


_worker: Callable[[Shard], Done] | None = None


def _start(make: Callable[[], Worker]) -> None:
    global _worker
    _worker = make()


def _do(shard: Shard) -> Done:
    assert _worker is not None
    return _worker(shard)
