"""Top 10 for all 6,040 people of MovieLens 1M with 64 factors: ours, what they have seen left out, against exact faiss on the same factors.

faiss (IndexFlatIP) does less: it starts from a ready matrix and leaves nothing out. It marks what is possible.
"""

from __future__ import annotations

from typing import Any

import _als
import recommend_all

NAME = "recommend-all-vs-faiss"
UNIT = "seconds"
PEER = "faiss-cpu"


def ours() -> dict[str, Any]:
    return recommend_all.ours()


def peer() -> dict[str, Any]:
    import faiss

    population, method, states = recommend_all.fitted()
    people = method.stack(states)
    faiss.omp_set_num_threads(_als.THREADS)
    index = faiss.IndexFlatIP(people.shape[1])
    index.add(method.item_vectors_)
    seconds = recommend_all.median_seconds(lambda: index.search(people, recommend_all.K))
    _, best = index.search(people, recommend_all.K)
    return {"value": seconds, "quality": recommend_all.quality(population, best.astype("int32")), "size": recommend_all.size(population)}
