"""Do rows shared by communities beat rows shared by hashing at equal budgets, in a sparse world and on a small dense catalogue?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _compare import judge, mean, scales

import sartor
from sartor.data import Population
from sartor.data.datasets import dataset
from sartor.data.splits import Split, make
from sartor.data.world import World
from sartor.evaluate import evaluate
from sartor.evaluate.claim import Claim, Outcome
from sartor.progress import track

CLAIM = Claim(
    slug="graphhash",
    paper="+101.52% recall on average when the table is reduced by more than 75%; better than diverse hashing baselines on retrieval and "
    "click prediction.",
    passes="Matrix factorisation with BPR, equal row budgets and epochs, L2 and epoch by validation, 5 seeds, Recall@20: (1) on a sparse world "
    "(5,000 people, 8,000 items, 12 events each, planted communities, power-law popularity) at 85% fewer rows graph >= 1.3x frequency and >= 2x "
    "random on the mean; (2) on ml-100k at 89% and 72% fewer rows graph >= 2.5x random and double hashing on the mean; (3) graph+frequency is the "
    "best of all hashers on both, every seed.",
    data=("world (communities)", "ml-100k"),
    seeds=(31, 32, 33, 34, 35),
)

METRICS = ("recall@20",)
HASHERS = ("graph+frequency", "graph", "double-graph", "frequency", "modulo", "double", "lsh")
GRID = (1e-3, 1e-2)
EPOCHS = 16
BUDGETS = {"world": (0.15,), "ml-100k": (0.11, 0.28)}
"""Rows kept, of people and of items."""


def population(name: str, seed: int) -> Population:
    """Ratings of at least 4, or a sparse world of the seed."""
    if name == "ml-100k":
        return dataset(name).positives(4)
    made = World.preset("communities", seed=seed).population()
    return Population.from_frames(name="world", events=made.events.select("person", "item").collect(), items=made.items.select("item").collect())


def fitted(hasher: str, split: Split, seed: int, keep: float, l2: float, layers: int = 0) -> Any:
    """One arm: no private residual, so that only the shared rows are judged."""
    people, items = split.train.interactions().shape
    return sartor.make(
        "graphhash", hasher=hasher, people_rows=int(keep * people), item_rows=int(keep * items), residual_dim=0, layers=layers, l2=l2,
        epochs=EPOCHS, learning_rate=1e-2, batch_size=4096, validate_every=4, patience=0, seed=seed,
    ).fit(split.train, validation=split.validation, progress=False)  # fmt: skip


def arm(hasher: str, split: Split, seed: int, keep: float, chosen: dict[Any, float], key: Any, layers: int = 0) -> tuple[Any, dict[str, float]]:
    """The hasher with the L2 that its first seed's validation events prefer, judged on test."""
    if key in chosen:
        method = fitted(hasher, split, seed, keep, chosen[key], layers)
    else:
        tried = [fitted(hasher, split, seed, keep, l2, layers) for l2 in GRID]
        best = int(np.argmax([judge(one, split, METRICS, on="validation")["recall@20"] for one in tried]))
        chosen[key], method = GRID[best], tried[best]
    rows = {"people rows": float(len(method.people_table_)), "item rows": float(len(method.item_table_))}
    return method, judge(method, split, METRICS) | rows


def over(found: Mapping[str, Mapping[str, float]], ours: str, other: str) -> float:
    return round(found[ours]["recall@20"] / max(found[other]["recall@20"], 1e-9), 3)


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """All hashers at every budget."""
    measured: dict[str, Any] = {}
    means: dict[str, dict[str, dict[str, float]]] = {}
    passed, last = True, None
    for name, budgets in BUDGETS.items():
        chosen: dict[Any, float] = {}
        rows: dict[float, dict[str, list[dict[str, float]]]] = {keep: {hasher: [] for hasher in HASHERS} for keep in budgets}
        graphs: dict[str, list[dict[str, float]]] = {}
        full: list[dict[str, float]] = []
        for seed in track(seeds, name, enabled=progress):
            split = make("random", population(name, seed), seed=seed)
            full.append(arm("full", split, seed, 1.0, chosen, "full")[1])
            for keep in budgets:
                for hasher in HASHERS:
                    method, found = arm(hasher, split, seed, keep, chosen, hasher)
                    rows[keep][hasher].append(found)
                    if hasher == "graph+frequency":
                        last = (method, split)
            if name == "ml-100k" and seed in seeds[:3]:
                for hasher in ("graph+frequency", "graph", "frequency"):
                    graphs.setdefault(hasher, []).append(arm(hasher, split, seed, budgets[-1], chosen, f"{hasher}, LightGCN", layers=2)[1])
        for keep in budgets:
            label = f"{name}, {1 - keep:.0%} fewer rows"
            table = means[label] = {hasher: mean(rows[keep][hasher]) for hasher in HASHERS} | {"full table": mean(full)}
            first = [max(HASHERS, key=lambda hasher: rows[keep][hasher][at]["recall@20"]) == "graph+frequency" for at in range(len(seeds))]
            ratios = {f"graph over {other}": over(table, "graph", other) for other in ("frequency", "modulo", "double")}
            measured[label] = {**table, **ratios, "graph+frequency is best, by seed": first}
            passed &= all(first)
            if name == "world":
                passed &= ratios["graph over frequency"] >= 1.3 and ratios["graph over modulo"] >= 2
            else:
                passed &= min(ratios["graph over modulo"], ratios["graph over double"]) >= 2.5
        measured[f"{name}: L2"] = {str(key): value for key, value in chosen.items()}
        if graphs:
            measured[f"{name}, {1 - budgets[-1]:.0%} fewer rows, LightGCN (2 layers, 3 seeds)"] = {
                hasher: mean(own) for hasher, own in graphs.items()
            }
    assert last is not None
    baseline = {
        label: {hasher: found[hasher]["recall@20"] for hasher in ("frequency", "modulo", "double", "full table")} for label, found in means.items()
    }
    notes = (
        f"{EPOCHS} epochs, validated every 4th; L2 of every hasher chosen on the first seed's validation events, random 80/10/10 splits. modulo is "
        "random hashing. Ids without a training edge get a row by modulo in every arm; people are judged with their rows of fit, without the private "
        "residual. Ties inside a row are broken by the seeded lottery. gain, swap gap and cost: graph+frequency on ml-100k, 72%, last seed."
    )
    return Outcome(passed=bool(passed), measured=measured, baseline=baseline, notes=notes, **scales(evaluate(*last, seed=seeds[-1])))
