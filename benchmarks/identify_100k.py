"""Who is this, among 100,000 enrolled people, one picture at a time: our exact index, as the engine asks it, against exact faiss and its HNSW.

The encoder's pass over the picture is the same for all and left out. Vectors are of 64 dimensions: a person is the mean of three noisy ones, a
probe is a fourth; the quality is the share of probes whose own person comes first. Beside CPU-seconds for all probes, the size notes percentiles of
one answer in our first run, and what the same probes take as one batch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sartor.parts.threads import limit

NAME = "identify-100k"
UNIT = "CPU-seconds"
PEER = "faiss-cpu"
PEOPLE, PROBES, DIM, K, NOISE = 100_000, 400, 64, 10, 0.13
THREADS = int(os.environ.get("SARTOR_BENCH_THREADS", "1"))


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the enrolled [100,000, 64] and of the probes [400, 64]; probe i is person i."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(PEOPLE, DIM)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    shown = centres[:, None] + NOISE * rng.normal(size=(PEOPLE, 3, DIM)).astype(np.float32)
    enrolled = (shown / np.linalg.norm(shown, axis=2, keepdims=True)).mean(1)
    probes = centres[:PROBES] + NOISE * rng.normal(size=(PROBES, DIM)).astype(np.float32)
    return tuple(one / np.linalg.norm(one, axis=1, keepdims=True) for one in (enrolled, probes))


def _asked(ask: Callable[[np.ndarray], Any], probes: np.ndarray) -> dict[str, Any]:
    """Each probe alone, after a few to warm up."""
    for one in probes[:5]:
        ask(one[None])
    took, right = [], 0
    cpu = time.process_time()
    for number, one in enumerate(probes):
        begun = time.perf_counter()
        right += int(ask(one[None]) == number)
        took.append(time.perf_counter() - begun)
    cpu = time.process_time() - cpu
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    batch = time.process_time()
    ask(probes)
    batch = time.process_time() - batch
    size = {"people": PEOPLE, "probes": PROBES, "dim": DIM, "p50 ms": round(float(p50), 2), "p99 ms": round(float(p99), 2),
            "batch CPU-seconds": round(batch, 3)}  # fmt: skip
    return {"value": cpu, "quality": right / len(probes), "size": size}


def ours() -> dict[str, Any]:
    from sartor.retrieve.index import ItemIndex

    enrolled, probes = drawn()
    index = ItemIndex.make("exact", metric="ip", screen=True).build(enrolled, [f"p{number}" for number in range(PEOPLE)])
    with limit(THREADS):
        return _asked(lambda one: int(index.search(one, K).indices[0, 0]), probes)


def peer() -> dict[str, Any]:
    import faiss

    enrolled, probes = drawn()
    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexFlatIP(DIM)
    index.add(enrolled)
    return _asked(lambda one: int(index.search(one, K)[1][0, 0]), probes)


def approximate() -> dict[str, Any]:
    """faiss' HNSW, for the record: faster, and it misses some."""
    import faiss

    enrolled, probes = drawn()
    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
    index.add(enrolled)
    index.hnsw.efSearch = 64
    return _asked(lambda one: int(index.search(one, K)[1][0, 0]), probes)


if __name__ == "__main__":
    for name, one in (("ours, exact", ours), ("faiss, exact", peer), ("faiss, HNSW", approximate)):
        found = one()
        print(f"{name}: {found['value']:.2f} CPU-seconds, rank-1 {found['quality']:.4f}, {found['size']}")
