"""Ranking metrics of 6,040 people's lists from a catalogue of 3,706 items (the size of MovieLens 1M), at five cut-offs, against LensKit.

Both sides get the same lists in their own native form, ready-made: the timed part turns lists and truth into every metric's mean. LensKit
computes the six metrics both have with `RunAnalysis`, its bulk way, on item lists that share one vocabulary; we compute these and three more.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

NAME = "rank-metrics"
UNIT = "seconds"
PEER = "lenskit"

PEOPLE, ITEMS, LENGTH = 6040, 3706, 100
KS = (1, 5, 10, 20, 100)
SIZE = {"people": PEOPLE, "items": ITEMS, "list_length": LENGTH, "cut_offs": list(KS)}


def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lists int32 [people, length], and the truth as indptr and sorted item numbers: some 17 to a person, as 10% of MovieLens 1M."""
    rng = np.random.default_rng(0)
    popularity = rng.zipf(1.3, ITEMS).clip(max=1000).astype(np.float64)
    lengths = rng.geometric(1 / 17, PEOPLE).clip(1, 200)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    shares = np.log(popularity / popularity.sum())
    lists, truth = [], []
    for size in lengths:
        # Gumbel noise: draws without replacement, in proportion to popularity; the list knows part of the truth.
        taste = shares + rng.gumbel(size=ITEMS)
        truth.append(np.sort(np.argpartition(-taste, size)[:size]))
        lists.append(np.argsort(-(taste + rng.normal(0, 2, ITEMS)))[:LENGTH])
    return np.stack(lists).astype(np.int32), indptr, np.concatenate(truth).astype(np.int32)


def ours() -> dict[str, Any]:
    from sartor.evaluate.metrics.ranking import Truth, ranking

    best, indptr, indices = world()
    truth = Truth(indptr, indices)
    ranking(best[:50], truth.take(np.arange(50)), KS)
    start = time.perf_counter()
    means = {name: values.mean(axis=0) for name, values in ranking(best, truth, KS).items()}
    seconds = time.perf_counter() - start
    return {"value": seconds, "quality": float(means["ndcg"][KS.index(10)]), "size": SIZE}


def peer() -> dict[str, Any]:
    from lenskit.data import ItemList, ItemListCollection, Vocabulary
    from lenskit.metrics import NDCG, Hit, Precision, Recall, RecipRank
    from lenskit.metrics.bulk import RunAnalysis
    from lenskit.metrics.ranking import AveragePrecision
    from lenskit.metrics.ranking._weighting import LogRankWeight

    best, indptr, indices = world()
    items = Vocabulary(np.arange(ITEMS), name="item")

    def collection(rows: int) -> tuple[Any, Any]:
        lists = {row: ItemList(item_nums=best[row], vocabulary=items, ordered=True) for row in range(rows)}
        truth = {row: ItemList(item_nums=indices[indptr[row] : indptr[row + 1]], vocabulary=items) for row in range(rows)}
        return ItemListCollection.from_dict(lists, key="user_id"), ItemListCollection.from_dict(truth, key="user_id")

    def analysis() -> Any:
        run = RunAnalysis()
        for k in KS:
            # The offset is the discount log2(rank + 1), as ours and trec_eval's.
            run.add_metric(NDCG(n=k, weight=LogRankWeight(offset=1)))
            for kind in (Precision, Recall, Hit, RecipRank, AveragePrecision):
                run.add_metric(kind(n=k))
        return run

    analysis().measure(*collection(50)).list_summary()
    lists, truth = collection(PEOPLE)
    start = time.perf_counter()
    means = analysis().measure(lists, truth).list_summary()["mean"]
    seconds = time.perf_counter() - start
    return {"value": seconds, "quality": float(means["NDCG@10"]), "size": SIZE}
