"""Is a two-level index on short learned codes as good as full 8-bit ones, cheaper to build and no slower, and does learning from queries help?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sartor.evaluate.claim import Claim, Outcome
from sartor.parts.statistics import bootstrap
from sartor.parts.threads import blas_alone, limit
from sartor.progress import bar
from sartor.retrieve._projection import closed_form, frank_wolfe, moment, pca
from sartor.retrieve.codes import decode, encode
from sartor.retrieve.exact import exact
from sartor.retrieve.leanvec import LeanVecIndex

CLAIM = Claim(
    slug="leanvec",
    paper="Up to 3.7x the search throughput and up to 4.9x faster index build than the state of the art; the variant learned from queries helps "
    "where queries differ from items.",
    passes="(a) 20,000 generated vectors of 256 dimensions, queries with the items' spectrum reversed: recall of the true ten among 50 found by "
    "8-bit codes of the projection learned from other queries >= that of PCA + 0.15 at 32 dimensions; within 0.01 of it when queries are like the "
    "items, at 32 and 64. (b) 50,000 vectors of 1,024 dimensions: the two-level index reaches recall@10 0.95 with first-level bytes, its graph "
    "included, <= 1/4 of a graph over full 8-bit vectors, in <= 0.6 x its build CPU time, at >= 1.0 x its queries per CPU-second (faiss HNSW SQ8; "
    "HNSW float32 is reported). (c) A person's gain through the index >= 0.99 x that of exact search. Every seed.",
    data=("world-vectors",),
    seeds=(0, 1, 2),
)

K, TARGET, WINDOWS = 10, 0.95, (10, 12, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 192, 256)
FLAT, FLAT_DIM, AMONG = 20_000, 256, 50
N, DIM, QUERIES, LEARNED, ROUNDS = 50_000, 1_024, 500, 2_000, 3
PEOPLE, SEEN = 200, 5


def _recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float((truth[:, :, None] == found[:, None, :]).any(2).mean())


def _flat(seed: int, shifted: bool) -> dict[str, dict[str, float]]:
    """Recall of the true ten among 50, by dimensions and projection; items and queries as 8-bit codes and floats, turned at random."""
    rng = np.random.default_rng([seed, 6])
    scales = np.arange(1, FLAT_DIM + 1) ** -0.5
    other = scales[::-1] if shifted else scales
    items, queries, learned = (
        (rng.normal(size=(n, FLAT_DIM)) * one).astype(np.float32) for n, one in ((FLAT, scales), (500, other), (LEARNED, other))
    )
    truth, _ = exact(queries, items, None, K)
    h, g = moment(items), moment(learned)
    out: dict[str, dict[str, float]] = {}
    for dims in (32, 64):
        turn = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
        pairs = {"pca": pca(h, dims), "frank-wolfe": frank_wolfe(h, g, dims), "closed form": closed_form(h, g, dims)}
        out[str(dims)] = {}
        for name, (a, b) in pairs.items():
            short = decode(*encode((items @ (b @ turn)).astype(np.float32)))
            found, _ = exact((queries @ (a @ turn)).astype(np.float32), short, None, AMONG)
            out[str(dims)][name] = _recall(found, truth)
    return out


def _world(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in Zipf clusters with a power-law spectrum, unit length, and queries like them."""
    rng = np.random.default_rng([seed, 7])
    scales = (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    centres, weights = rng.normal(size=(1_000, DIM)) * scales, 1 / np.arange(1, 1_001)
    chosen = rng.choice(1_000, N + QUERIES, p=weights / weights.sum())
    made = (centres[chosen] + 0.7 * rng.standard_normal((N + QUERIES, DIM), np.float32) * scales).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made[:N], made[N:]


def _at_target(search: Callable[[int], np.ndarray], truth: np.ndarray) -> dict[str, float]:
    """The least window that reaches the recall, and queries per CPU-second there (best of some rounds)."""
    for window in WINDOWS:
        if (recall := _recall(search(window), truth)) >= TARGET or window == WINDOWS[-1]:
            break
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        search(window)
        seconds.append(time.process_time() - start)
    return {"window": window, "recall": recall, "queries per CPU-second": len(truth) / min(seconds)}


def _peer(vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray, full: bool) -> dict[str, float]:
    import faiss

    faiss.omp_set_num_threads(1)
    product = faiss.METRIC_INNER_PRODUCT
    eight: Any = faiss.ScalarQuantizer.QT_8bit
    index = faiss.IndexHNSWFlat(DIM, 32, product) if full else faiss.IndexHNSWSQ(DIM, eight, 32, product)
    index.hnsw.efConstruction = 200
    start = time.process_time()
    index.train(vectors)
    index.add(vectors)
    seconds = time.process_time() - start

    def search(window: int) -> np.ndarray:
        index.hnsw.efSearch = window
        return np.asarray(index.search(queries, K)[1])

    return _at_target(search, truth) | {"build CPU seconds": seconds, "bytes": float(faiss.serialize_index(index).nbytes)}


def _large(seed: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, np.ndarray]]:
    """Ours, the peers, and what people get."""
    vectors, queries = _world(seed)
    truth, _ = exact(queries, vectors, None, K)
    LeanVecIndex().build(vectors[:600]).search(queries)  # compiles
    start = time.process_time()
    index = LeanVecIndex(seed=seed).build(vectors)
    build = time.process_time() - start

    def search(window: int) -> np.ndarray:
        index.window_ = np.array([window])
        return index.search(queries, K).indices

    calibrated = int(index.window_[0])
    ours: dict[str, Any] = _at_target(search, truth) | {
        "build CPU seconds": build, "bytes": index.nbytes, "calibrated window": calibrated,
        "first-level bytes": index._short.array.nbytes + index._short_facts.array.nbytes + index._links.array.nbytes,
    }  # fmt: skip
    index.window_ = np.array([calibrated])
    peers = {"HNSW SQ8": _peer(vectors, queries, truth, full=False)}
    if seed == CLAIM.seeds[0]:
        peers["HNSW float32"] = _peer(vectors, queries, truth, full=True)
    return ours, peers, _people(index, vectors, seed)


def _people(index: LeanVecIndex, vectors: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Mean closeness of ten results to each person's taste: with the own state (mean of five items near it), none, and another's."""
    rng = np.random.default_rng([seed, 8])
    tastes = vectors[rng.choice(N, PEOPLE, replace=False)] + 0.3 * vectors[rng.choice(N, PEOPLE)]
    near, _ = exact(tastes, vectors, None, 100)
    states = np.stack([vectors[rng.choice(rows, SEEN, replace=False)].mean(0) for rows in near])
    nobody = np.broadcast_to(vectors.mean(0), states.shape)
    out = {}
    for way, search in (("index", lambda asked: index.search(asked, K).indices), ("exact", lambda asked: exact(asked, vectors, None, K)[0])):
        for arm, asked in (("own", states), ("none", nobody), ("swapped", np.roll(states, 1, axis=0))):
            found = vectors[search(np.ascontiguousarray(asked))]
            out[f"{way} {arm}"] = np.einsum("pd,pkd->p", tastes, found) / K
    return out


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Both worlds, every seed; one thread."""
    from threadpoolctl import threadpool_limits

    flat: dict[str, list[dict[str, Any]]] = {"shifted": [], "like the items": []}
    ours, peers, people = [], [], []
    with bar("leanvec", 2 * len(seeds), enabled=progress) as step, limit(1), blas_alone(), threadpool_limits(1):
        for seed in seeds:
            flat["shifted"].append(_flat(seed, True))
            flat["like the items"].append(_flat(seed, False))
            step.advance()
            one, two, three = _large(seed)
            ours.append(one)
            peers.append(two)
            people.append(three)
            step.advance()
    sq8 = [one["HNSW SQ8"] for one in peers]
    arms = {name: np.concatenate([one[name] for one in people]) for name in people[0]}
    gain, exact_gain = arms["index own"] - arms["index none"], arms["exact own"] - arms["exact none"]
    conditions = {
        "queries unlike the items, 32 dimensions: learned >= PCA + 0.15": all(
            one["32"]["closed form"] >= one["32"]["pca"] + 0.15 for one in flat["shifted"]
        ),
        "queries like the items: within 0.01 of PCA": all(
            abs(one[dims]["closed form"] - one[dims]["pca"]) <= 0.01 for one in flat["like the items"] for dims in ("32", "64")
        ),
        "recall@10 >= 0.95": all(one["recall"] >= TARGET for one in ours),
        "first-level bytes <= 1/4 of the 8-bit index": all(one["first-level bytes"] <= two["bytes"] / 4 for one, two in zip(ours, sq8, strict=True)),
        "build <= 0.6 x the 8-bit index's": all(
            one["build CPU seconds"] <= 0.6 * two["build CPU seconds"] for one, two in zip(ours, sq8, strict=True)
        ),
        "queries per CPU-second >= 1.0 x the 8-bit index's": all(
            one["queries per CPU-second"] >= two["queries per CPU-second"] for one, two in zip(ours, sq8, strict=True)
        ),
        "gain >= 0.99 x exact search's": bool(gain.mean() >= 0.99 * exact_gain.mean()),
    }
    return Outcome(
        passed=all(conditions.values()),
        measured={"recall of ten among 50": flat, "two levels": ours, "gain of exact search": float(exact_gain.mean()), "conditions": conditions},
        baseline={"per seed": peers},
        gain=float(gain.mean()),
        gain_interval=bootstrap(gain).tolist(),
        swap_gap=float((arms["index own"] - arms["index swapped"]).mean()),
        swap_gap_interval=bootstrap(arms["index own"] - arms["index swapped"]).tolist(),
        state_bytes=float(4 * DIM),
        adapt_seconds=None,
        why_null="adapt_seconds: the state is the mean of five item vectors, nothing is fitted",
        notes="Gain and swap gap are of the mean inner product of ten results with the person's taste. The learned projection is the closed form; "
        "Frank-Wolfe's is in the table. HNSW float32 is built for the first seed alone. One thread.",
    )  # fmt: skip
