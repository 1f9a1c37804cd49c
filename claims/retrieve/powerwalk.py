"""Are a few exact rounds on stored walks better than the walks alone, and faster than power iteration where they are as good?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sartor.data.datasets import dataset
from sartor.data.splits import make
from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.evaluator import evaluate
from sartor.parts.statistics import bootstrap
from sartor.parts.threads import limit
from sartor.progress import bar
from sartor.recommend.powerwalk import PowerWalkRecommender
from sartor.retrieve.graph.csr import Graph
from sartor.retrieve.graph.generated import block_graph
from sartor.retrieve.graph.powerwalk import PowerWalk
from sartor.retrieve.graph.ppr import PowerIteration, SeedBatch, found_share

CLAIM = Claim(
    slug="powerwalk",
    paper="Same precision with far fewer walks, decomposed queries more accurate than the stored ones, orders of magnitude faster than prior "
    "systems.",
    passes="Degree-corrected block graphs of 20,000 nodes and 200,000 edges and of 100,000 and 1,000,000, 40 seeds, one thread, means over graph "
    "seeds: (1) precision@100 after 2 rounds >= that of the fingerprint alone + 0.4 at R=50; (2) L1 error at R=100 <= 0.6 x at R=10, 2 rounds; "
    "(3) on the larger, >= 3x queries per CPU-second over the 5-iteration power method at no lower precision, and >= 100x over igraph at precision "
    ">= 0.9; (4) a batch of 64: reported. On ml-100k, recall@20 of held-out items: gain > 0 and swap gap > 0.",
    data=("world (block graphs)", "ml-100k"),
    seeds=(51, 52, 53),
)

SIZES = ((20_000, 200_000), (100_000, 1_000_000))
QUERIES, K, RESTART = 40, 100, 0.15
WHOLE = 10**12
"""A budget at which every node gives all its walks and every round spreads everything: the paper's own way."""
BUDGETS = (8_000, 16_000, 32_000, 64_000, 128_000)


def _batch(graph: Graph, count: int, rng: np.random.Generator) -> SeedBatch:
    nodes = rng.choice(np.flatnonzero(graph.degrees > 0), count, replace=False).astype(np.int64)
    return SeedBatch(np.arange(count + 1), nodes, np.ones(count), np.zeros(count, np.int64))


def _precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true 100 best among the 100 best."""
    best, right = (np.argpartition(-one, K - 1, axis=1)[:, :K] for one in (scores, truth))
    return float(np.mean([np.isin(own, true).mean() for own, true in zip(best, right, strict=True)]))


def _quality(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    goodness, error = found_share(scores, truth, K).mean(), np.abs(scores - truth).sum(axis=1).mean()
    return {"precision": _precision(scores, truth), "goodness": float(goodness), "L1": float(error)}


def _rate(call: Callable[[], Any], queries: int, repeats: int = 3) -> float:
    """Queries per CPU-second of this thread, the best of some repeats."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return queries / min(seconds)


def _scipy_power(graph: Graph) -> Callable[[SeedBatch, int], np.ndarray]:
    """The plain way: a CSR product per iteration."""
    reverse = graph.transition().T.tocsr()

    def answer(batch: SeedBatch, iterations: int) -> np.ndarray:
        seeds = batch.dense(len(graph))
        out = np.empty_like(seeds)
        for row, own in enumerate(seeds):
            x = own
            for _ in range(iterations):
                x = RESTART * own + (1 - RESTART) * (reverse @ x)
            out[row] = x
        return out

    return answer


def _accuracy(graph: Graph, batch: SeedBatch, truth: np.ndarray, seed: int) -> dict[str, Any]:
    """Conditions 1 and 2 on one graph."""
    out: dict[str, Any] = {}
    for walks in (10, 50, 100):
        start = time.process_time()
        index = PowerWalk(graph, walks=walks, rounds=2, restart=RESTART, seed=seed)
        built = time.process_time() - start
        found = index.scores(batch, budget=WHOLE)
        alone = index.fingerprints(batch.nodes)
        of_fingerprint = {f"fingerprint {name}": value for name, value in _quality(alone, truth).items()}
        out[f"R={walks}"] = {**_quality(found, truth), **of_fingerprint, "MB": index.nbytes / 1e6, "build CPU seconds": built}
    return out


def _speed(graph: Graph, batch: SeedBatch, truth: np.ndarray, exact: PowerIteration, seed: int) -> dict[str, Any]:
    """Condition 3, and 4, on one graph. The budget is chosen on other seeds."""
    import igraph

    index = PowerWalk(graph, restart=RESTART, seed=seed)
    trial = _batch(graph, QUERIES, np.random.default_rng([seed, 1]))
    trial_truth = exact.scores(trial, tolerance=1e-6)
    plain = _scipy_power(graph)
    wanted = _precision(plain(trial, 5), trial_truth)
    budget = next((one for one in BUDGETS if _precision(index.scores(trial, budget=one), trial_truth) >= max(wanted, 0.9) + 0.005), BUDGETS[-1])
    power, ours = plain(batch, 5), index.scores(batch, budget=budget)
    ones = [SeedBatch(np.array([0, 1]), batch.nodes[at : at + 1], np.ones(1), np.zeros(1, np.int64)) for at in range(QUERIES)]
    large = _batch(graph, 64, np.random.default_rng([seed, 2]))
    sources = np.repeat(np.arange(len(graph)), graph.degrees)
    half = sources < graph.indices
    other = igraph.Graph(n=len(graph), edges=np.stack([sources[half], graph.indices[half]], axis=1))

    def ask(nodes: np.ndarray) -> np.ndarray:
        return np.array([other.personalized_pagerank(damping=1 - RESTART, reset_vertices=[int(node)]) for node in nodes])

    return {
        "budget": budget,
        "ours": {
            **_quality(ours, truth),
            "per second": _rate(lambda: [index.scores(one, budget=budget) for one in ones], QUERIES),
            "per second in a batch of 64": _rate(lambda: index.scores(large, budget=budget), 64),
            "MB": index.nbytes / 1e6,
        },
        "scipy power 5": {**_quality(power, truth), "per second": _rate(lambda: plain(batch, 5), QUERIES, 2)},
        "our power 5": {"per second": _rate(lambda: exact.scores(batch, tolerance=0.0, iterations=5), QUERIES, 2)},
        "igraph": {**_quality(ask(batch.nodes[:3]), truth[:3]), "per second": _rate(lambda: ask(batch.nodes[:3]), 3, 1)},
    }


def _people(seed: int) -> Any:
    split = make("random", dataset("ml-100k").positives(4), seed=seed)
    method = PowerWalkRecommender(seed=seed).fit(split.train, progress=False)
    return evaluate(method, split, headline="recall@20", ks=(20,), seed=seed)


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Both graphs and ml-100k for every seed; one thread."""
    graphs: dict[str, list[dict[str, Any]]] = {f"{nodes:,} nodes": [] for nodes, _ in SIZES}
    speeds, shown = [], []
    with bar("powerwalk", 3 * len(seeds), enabled=progress) as step, limit(1):
        # Compiled before anything is timed.
        small, _ = block_graph(400, 1500)
        PowerWalk(small, walks=4).scores([[0]])
        for seed in seeds:
            for (nodes, edges), name in zip(SIZES, graphs, strict=True):
                graph, _ = block_graph(nodes, edges, seed=seed)
                batch = _batch(graph, QUERIES, np.random.default_rng([seed, 0]))
                exact = PowerIteration(graph, restart=RESTART)
                truth = exact.scores(batch, tolerance=1e-6)
                graphs[name].append(_accuracy(graph, batch, truth, seed))
                if nodes == SIZES[-1][0]:
                    speeds.append(_speed(graph, batch, truth, exact, seed))
                step.advance()
            shown.append(_people(seed))
            step.advance()

    def mean(name: str, walks: int, key: str) -> float:
        return float(np.mean([one[f"R={walks}"][key] for one in graphs[name]]))

    def speed(arm: str, key: str) -> float:
        return float(np.mean([one[arm][key] for one in speeds]))

    people = [one.per_person for one in shown]
    own, none, swapped = (np.concatenate([one[f"{arm}recall@20"].to_numpy() for one in people]) for arm in ("", "population ", "swapped "))
    over_power = speed("ours", "per second") / max(speed("scipy power 5", "per second"), speed("our power 5", "per second"))
    over_igraph = speed("ours", "per second") / speed("igraph", "per second")
    conditions = {
        **{f"1, {name}": mean(name, 50, "precision") >= mean(name, 50, "fingerprint precision") + 0.4 for name in graphs},
        **{f"2, {name}": mean(name, 100, "L1") <= 0.6 * mean(name, 10, "L1") for name in graphs},
        "3, power method": over_power >= 3 and speed("ours", "precision") >= speed("scipy power 5", "precision"),
        "3, igraph": over_igraph >= 100 and speed("ours", "precision") >= 0.9,
        "gain > 0": float(np.nanmean(own - none)) > 0,
        "swap gap > 0": float(np.nanmean(own - swapped)) > 0,
    }
    return Outcome(
        passed=all(conditions.values()),
        measured={
            "2 rounds": {
                name: {f"R={walks}": {key: mean(name, walks, key) for key in every[0][f"R={walks}"]} for walks in (10, 50, 100)}
                for name, every in graphs.items()
            },
            "100,000 nodes, R=50": {key: speed("ours", key) for key in speeds[0]["ours"]} | {"budgets": [one["budget"] for one in speeds]},
            "speed over the faster power method": over_power, "speed over igraph": over_igraph,
            "ml-100k recall@20": {"own": float(np.nanmean(own)), "none": float(np.nanmean(none)), "another's": float(np.nanmean(swapped))},
            "conditions": conditions,
        },
        baseline={arm: {key: speed(arm, key) for key in speeds[0][arm]} for arm in ("scipy power 5", "our power 5", "igraph")},
        gain=float(np.nanmean(own - none)), gain_interval=bootstrap(own - none).tolist(),
        swap_gap=float(np.nanmean(own - swapped)), swap_gap_interval=bootstrap(own - swapped).tolist(),
        state_bytes=float(np.mean([one.cost["state_bytes"] for one in shown])),
        adapt_seconds=float(np.mean([one.cost["adapt_seconds"] for one in shown])),
        notes="Conditions 1 and 2 are measured the paper's way: every node's walks are read whole. For 3, the fewest of "
        f"{', '.join(f'{one:,}' for one in BUDGETS)} walks per query that reach the 5-iteration method's precision (and 0.9) + 0.005 on other seeds; "
        "queries one by one, in CPU-seconds of one thread.",
    )  # fmt: skip
