"""Approximate search of others at one thread: built once and kept, searched at the least setting that reaches a recall.

    python benchmarks/_ann.py 768                 # the whole table: recall, queries per CPU-second, build CPU-seconds, MB
    python benchmarks/_ann.py 768 --build NAME    # only build what is missing, of the names with this in them

Graphs have 64 links at the bottom and are built with a window of 200, as in the engines' own comparisons; the inverted file has 1,024 cells and
4-bit codes, refined on 8-bit ones.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
_ann_data = importlib.import_module("_ann_data")

K, REPEATS, ROUNDS = 10, 5, 3
LINKS, WINDOW = 64, 200
SIZES = {384: 100_000, 768: 100_000, 1536: 100_000}
"""Vectors, by dimension."""
OURS: dict[tuple[int, float], dict[str, Any]] = {
    (384, 0.95): {"dims": 223, "degree": 33, "first_bits": 4}, (768, 0.95): {"dims": 112, "degree": 30}, (1536, 0.95): {"dims": 112, "degree": 28},
    (384, 0.99): {"dims": 160, "degree": 24, "second_bits": 16}, (768, 0.99): {"dims": 128, "degree": 28, "second_bits": 16},
    (1536, 0.99): {"dims": 128, "degree": 28, "second_bits": 16},
}  # fmt: skip
"""Our settings by dimension and recall, so that memory is below faiss HNSW SQ8's at 0.95 and float16's at 0.99."""
OUR_NAME = "sartor LeanVec"
WINDOWS = (10, 12, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512)
PROBES = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)


def world(dim: int, queries: str = "same") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Items, queries, learning queries and the true K of each query; kept."""
    folder = _ann_data.KEPT / f"{dim}-{SIZES[dim]}"
    names = ("items", f"queries-{queries}", f"learned-{queries}", f"truth-{queries}")
    if not all((folder / f"{name}.npy").is_file() for name in names):
        made = _ann_data.minilm(SIZES[dim]) if dim == 384 else _ann_data.generated(SIZES[dim], dim, queries)
        for name, array in zip(names, (*made, _ann_data.truth(made[0], made[1], K)), strict=True):
            _ann_data._keep(folder / f"{name}.npy", array)
    items, asked, learned, best = (np.load(folder / f"{name}.npy") for name in names)
    return items, asked, learned, best


class Faiss:
    settings = WINDOWS

    def __init__(self, storage: str) -> None:
        self.storage = storage

    def build(self, vectors: np.ndarray) -> Any:
        import faiss

        dim, product = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
        if self.storage == "f32":
            index = faiss.IndexHNSWFlat(dim, LINKS // 2, product)
        else:
            kind = {"f16": faiss.ScalarQuantizer.QT_fp16, "sq8": faiss.ScalarQuantizer.QT_8bit}[self.storage]
            index = faiss.IndexHNSWSQ(dim, kind, LINKS // 2, product)
        index.hnsw.efConstruction = WINDOW
        index.train(vectors)
        index.add(vectors)
        return index

    def save(self, index: Any, folder: Path) -> None:
        import faiss

        faiss.write_index(index, str(folder / "index"))

    def load(self, folder: Path, dim: int) -> Any:
        import faiss

        return faiss.read_index(str(folder / "index"))

    def search(self, index: Any, queries: np.ndarray, setting: int) -> np.ndarray:
        index.hnsw.efSearch = setting
        return index.search(queries, K)[1]


class FaissFlat(Faiss):
    """Exact: everything compared, all queries at once."""

    settings = (0,)

    def build(self, vectors: np.ndarray) -> Any:
        import faiss

        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        return index

    def search(self, index: Any, queries: np.ndarray, setting: int) -> np.ndarray:
        return index.search(queries, K)[1]


class FaissInverted(Faiss):
    settings = PROBES
    refined = 50

    def build(self, vectors: np.ndarray) -> Any:
        import faiss

        dim = vectors.shape[1]
        index = faiss.index_factory(dim, f"IVF1024,PQ{dim // 2}x4fs,Refine(SQ8)", faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        return index

    def search(self, index: Any, queries: np.ndarray, setting: int) -> np.ndarray:
        import faiss

        index.k_factor = self.refined
        faiss.extract_index_ivf(index.base_index).nprobe = setting
        return index.search(queries, K)[1]


class Hnswlib:
    settings = WINDOWS

    def build(self, vectors: np.ndarray) -> Any:
        import hnswlib

        index = hnswlib.Index("ip", vectors.shape[1])
        index.init_index(len(vectors), M=LINKS // 2, ef_construction=WINDOW, random_seed=0)
        index.add_items(vectors, num_threads=1)
        return index

    def save(self, index: Any, folder: Path) -> None:
        index.save_index(str(folder / "index"))

    def load(self, folder: Path, dim: int) -> Any:
        import hnswlib

        index = hnswlib.Index("ip", dim)
        index.load_index(str(folder / "index"))
        return index

    def search(self, index: Any, queries: np.ndarray, setting: int) -> np.ndarray:
        index.set_ef(setting)
        return index.knn_query(queries, K, num_threads=1)[0].astype(np.int64)


class Usearch:
    settings = WINDOWS

    def __init__(self, storage: str) -> None:
        self.storage = storage

    def _empty(self, dim: int) -> Any:
        from usearch.index import Index

        return Index(ndim=dim, metric="ip", dtype=self.storage, connectivity=LINKS // 2, expansion_add=WINDOW)

    def build(self, vectors: np.ndarray) -> Any:
        index = self._empty(vectors.shape[1])
        index.add(np.arange(len(vectors)), vectors, threads=1)
        return index

    def save(self, index: Any, folder: Path) -> None:
        index.save(str(folder / "index"))

    def load(self, folder: Path, dim: int) -> Any:
        index = self._empty(dim)
        index.load(str(folder / "index"))
        return index

    def search(self, index: Any, queries: np.ndarray, setting: int) -> np.ndarray:
        index.expansion_search = setting
        return index.search(queries, K, threads=1).keys.astype(np.int64)


class Svs:
    settings = WINDOWS

    def build(self, vectors: np.ndarray) -> Any:
        import svs

        parameters = svs.VamanaBuildParameters(alpha=0.95, graph_max_degree=LINKS, window_size=WINDOW)
        return svs.Vamana.build(parameters, vectors.astype(np.float16), svs.DistanceType.MIP, 1)

    def save(self, index: Any, folder: Path) -> None:
        index.save(*(str(folder / name) for name in ("config", "graph", "data")))

    def load(self, folder: Path, dim: int) -> Any:
        import svs

        data = svs.VectorDataLoader(str(folder / "data"), svs.DataType.float16, dims=dim)
        return svs.Vamana(str(folder / "config"), svs.GraphLoader(str(folder / "graph")), data, svs.DistanceType.MIP, num_threads=1)

    def search(self, index: Any, queries: np.ndarray, setting: int) -> np.ndarray:
        index.search_window_size = setting
        return index.search(queries, K)[0].astype(np.int64)


PEERS: dict[str, Any] = {
    "scalable-vs Vamana float16": Svs(), "faiss HNSW SQ8": Faiss("sq8"), "faiss HNSW float16": Faiss("f16"),
    "faiss IVF-PQ fast-scan, refined": FaissInverted(""), "faiss HNSW float32": Faiss("f32"),
    "hnswlib float32": Hnswlib(), "usearch float16": Usearch("f16"), "faiss exact": FaissFlat(""),
}  # fmt: skip


def opened(name: str, dim: int) -> tuple[Any, dict[str, float]]:
    """A peer's index over the items of `world(dim)`, built when it was not yet, and what it took: build CPU-seconds and MB."""
    one = PEERS[name]
    folder = _ann_data.KEPT / f"{dim}-{SIZES[dim]}" / name.replace(" ", "-").replace(",", "")
    if not (folder / "facts.json").is_file():
        single()
        vectors = world(dim)[0]
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        start = time.process_time()
        index = one.build(vectors)
        seconds = time.process_time() - start
        one.save(index, part)
        size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
        (part / "facts.json").write_text(json.dumps({"build CPU-seconds": round(seconds, 1), "MB": round(size / 1e6, 1)}))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    return one.load(folder, dim), json.loads((folder / "facts.json").read_text())


def single() -> None:
    """faiss asks OpenMP, and that the environment, how many threads to use."""
    import faiss

    faiss.omp_set_num_threads(1)


def fastest(search: Callable[[int], np.ndarray], settings: tuple[int, ...], best: np.ndarray, target: float) -> dict[str, float]:
    """The least setting that reaches a recall, and the median CPU-seconds per query with it; seconds are inf when none does."""
    for setting in settings:
        if (reached := _ann_data.recall(search(setting), best)) >= target:
            return {"setting": setting, "recall": reached, "seconds": timed(lambda setting=setting: search(setting)) / len(best)}
    return {"setting": settings[-1], "recall": reached, "seconds": float("inf")}


def timed(call: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def best_peer(dim: int, target: float, queries: str = "same") -> dict[str, Any]:
    """Of all peers, the one with the least CPU-seconds per query at the recall."""
    single()
    _, asked, _, truth = world(dim, queries)
    each = {}
    for name, one in PEERS.items():
        index, facts = opened(name, dim)
        each[name] = fastest(lambda setting, one=one, index=index: one.search(index, asked, setting), one.settings, truth, target) | facts
    name = min(each, key=lambda name: each[name]["seconds"])
    return each[name] | {"name": name, "each": each}


def ours(dim: int, target: float, queries: str = "same") -> tuple[Any, dict[str, float]]:
    """Our index over the same items, kept in the same way; learned from other queries where these differ from the items."""
    from sartor.parts.threads import blas_alone, limit
    from sartor.retrieve.index import ItemIndex

    folder = _ann_data.KEPT / f"{dim}-{SIZES[dim]}" / "-".join(map(str, ("ours", queries, *OURS[dim, target].values())))
    if not (folder / "facts.json").is_file():
        items, _, learned, _ = world(dim, queries)
        index = ItemIndex.make("leanvec", metric="ip", **OURS[dim, target])
        if queries == "shifted":
            index.learn(learned)  # type: ignore[attr-defined]
        ItemIndex.make("leanvec", metric="ip", **OURS[dim, target]).build(items[:600])
        with limit(1), blas_alone():
            start = time.process_time()
            index.build(items)
            seconds = time.process_time() - start
        index.save(folder / "index")
        (folder / "facts.json").write_text(json.dumps({"build CPU-seconds": round(seconds, 1), "MB": round(index.nbytes / 1e6, 1)}))
    return ItemIndex.load(folder / "index", mmap=False), json.loads((folder / "facts.json").read_text())


def our_best(dim: int, target: float, queries: str = "same") -> dict[str, Any]:
    """The same figures for ours as `best_peer` gives."""
    _, asked, _, truth = world(dim, queries)
    index, facts = ours(dim, target, queries)

    def search(window: int) -> np.ndarray:
        index.window_ = np.array([window])
        return index.search(asked, K).indices

    search(WINDOWS[0])
    return fastest(search, WINDOWS, truth, target) | facts


def side(dim: int, target: float, whose: str, *, what: str = "seconds", queries: str = "same") -> dict[str, Any]:
    """What a benchmark's `ours()` or `peer()` gives: CPU-seconds per query, or MB, of the best that reach the recall."""
    from sartor.parts.threads import blas_alone, limit

    with limit(1), blas_alone():
        one = our_best(dim, target, queries) if whose == "ours" else best_peer(dim, target, queries)
    size = {"vectors": SIZES[dim], "dimensions": dim, "queries": _ann_data.QUERIES, "k": K, "recall": target, "kind of queries": queries}
    if whose == "peer":
        reaching = {name: facts for name, facts in one["each"].items() if np.isfinite(facts["seconds"])}
        if what == "MB":
            one = min(reaching.values(), key=lambda facts: facts["MB"])
    return {"value": one[what], "quality": one["recall"], "size": size | {name: one[name] for name in ("MB", "build CPU-seconds")}}


def table(dim: int, queries: str, targets: tuple[float, ...] = (0.95, 0.99)) -> None:
    """Everybody in turn, one line each; then the same again, so that nobody always meets a busy machine."""
    from sartor.parts.threads import blas_alone, limit

    rows: dict[tuple[str, float], list[dict[str, Any]]] = {}
    with limit(1), blas_alone():
        for _ in range(ROUNDS):
            for target in targets:
                for name, one in best_peer(dim, target, queries)["each"].items():
                    rows.setdefault((name, target), []).append(one)
                rows.setdefault((OUR_NAME, target), []).append(our_best(dim, target, queries))
    for (name, target), ones in rows.items():
        seconds = statistics.median(one["seconds"] for one in ones)
        facts = {"dimensions": dim, "queries": queries, "index": name, "target": target, "queries per CPU-second": round(1 / seconds)}
        print(json.dumps(facts | {key: ones[0][key] for key in ("setting", "recall", "MB", "build CPU-seconds")}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("dim", type=int)
    parser.add_argument("--queries", choices=("same", "shifted"), default="same")
    parser.add_argument("--build", default="")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if given.build:
        for name in PEERS:
            if given.build in name:
                print(name, opened(name, given.dim)[1], flush=True)
        for dim, target in OURS if given.build in OUR_NAME else ():
            if dim == given.dim:
                print(OUR_NAME, target, ours(dim, target, given.queries)[1], flush=True)
    else:
        table(given.dim, given.queries)
