"""Filtered search over 100,000 MiniLM embeddings of 384 dimensions, 50%, 10%, 1% and 0.1% allowed: the planner against faiss.

faiss takes, for each share, the better of "filter, then exact" (IndexFlatIP over a copy of the allowed vectors, made inside the timed part
as the filter is not known before) and "search, then filter" (HNSW32, as many more fetched as recall 0.95 needs). Both sides answer the same
200 queries in one batch, with the filter's rows known. `value` is the geometric mean over the shares of seconds per query; `quality` is the
least recall@10. Vectors: real texts' as far as there are, topped up by generated ones like them (see `_ann_data.py`).

    python benchmarks/filtered_search.py        # both sides for each share, with what the planner chose
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
_ann = importlib.import_module("_ann")

NAME = "filtered-search"
UNIT = "seconds"
PEER = "faiss-cpu"
N, DIM, QUERIES, K, SEED, REPEATS = 100_000, 384, 200, 10, 0, 3
SHARES = (0.5, 0.1, 0.01, 0.001)
RECALL = 0.95
KEPT = _ann._ann_data.KEPT / f"{DIM}-{N}"
"""Built indexes, from one run to the next: building is not what is measured."""


def world() -> tuple[np.ndarray, np.ndarray, dict[float, np.ndarray]]:
    """Vectors, queries, and for each share the allowed rows."""
    rng = np.random.default_rng(SEED)
    vectors, queries, _, _ = _ann.world(DIM)
    attribute = rng.random(N)
    return vectors, queries[:QUERIES], {share: np.flatnonzero(attribute < share).astype(np.int32) for share in SHARES}


def truth(vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The true K of each query among the allowed rows."""
    return rows[np.argsort(-(queries @ vectors[rows].T), axis=1, kind="stable")[:, :K]]


def recall(found: np.ndarray, best: np.ndarray) -> float:
    return float((best[:, :, None] == found[:, None, :]).any(2).mean())


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Least seconds per query of some calls after one that warms up, and what the last gave."""
    given, seconds = call(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        given = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds) / QUERIES, given


def ours_each() -> dict[float, dict[str, Any]]:
    from sartor.retrieve.bitmaps import Bitmap
    from sartor.retrieve.index import ItemIndex

    vectors, queries, shares = world()
    folder = KEPT / "planned"
    if not (folder / "index.safetensors").is_file():
        ItemIndex.make("planned", metric="ip", graph=True).build(vectors).save(folder)
    index = ItemIndex.load(folder, mmap=False)
    out = {}
    for share, rows in shares.items():
        allowed = Bitmap.of_rows(rows, N)
        seconds, hits = timed(lambda allowed=allowed: index.search(queries, K, allowed=allowed))
        out[share] = {"seconds": seconds, "recall": recall(hits.indices, truth(vectors, queries, rows)), "way": hits.plan}
    return out


def peer_each() -> dict[float, dict[str, Any]]:
    import faiss

    vectors, queries, shares = world()
    graph, _ = _ann.opened("faiss HNSW float32", DIM)

    def filter_first(rows: np.ndarray) -> np.ndarray:
        flat = faiss.IndexFlatIP(DIM)
        flat.add(vectors[rows])
        return rows[flat.search(queries, K)[1]]

    def filter_after(mask: np.ndarray, fetched: int) -> np.ndarray:
        graph.hnsw.efSearch = max(64, fetched)
        found = graph.search(queries, fetched)[1]
        fits = (found >= 0) & mask[found]
        order = np.argsort(~fits, axis=1, kind="stable")[:, :K]
        return np.take_along_axis(np.where(fits, found, -1), order, 1)

    out = {}
    for share, rows in shares.items():
        best, mask = truth(vectors, queries, rows), np.isin(np.arange(N), rows)
        seconds, found = timed(lambda rows=rows: filter_first(rows))
        out[share] = {"seconds": seconds, "recall": recall(found, best), "way": "filter, then exact"}
        for fetched in (round(times * K / share) for times in (1.5, 2, 3, 5)):
            # Beyond some thousand the graph looks at most of itself; then the other way is the better one by far.
            if fetched > 3_000 or recall(filter_after(mask, fetched), best) < RECALL:
                continue
            seconds, found = timed(lambda mask=mask, fetched=fetched: filter_after(mask, fetched))
            if seconds < out[share]["seconds"]:
                out[share] = {"seconds": seconds, "recall": recall(found, best), "way": f"search for {fetched}, then filter"}
            break
    return out


def _whole(each: dict[float, dict[str, Any]]) -> dict[str, Any]:
    return {
        "value": float(np.exp(np.mean([np.log(one["seconds"]) for one in each.values()]))),
        "quality": min(one["recall"] for one in each.values()),
        "size": {"vectors": N, "dimensions": DIM, "queries": QUERIES, "k": K},
    }


def ours() -> dict[str, Any]:
    return _whole(ours_each())


def peer() -> dict[str, Any]:
    return _whole(peer_each())


if __name__ == "__main__":
    mine, theirs = ours_each(), peer_each()
    for share in SHARES:
        print(json.dumps({"share": share, "ours": mine[share], "peer": theirs[share], "ratio": mine[share]["seconds"] / theirs[share]["seconds"]}))
