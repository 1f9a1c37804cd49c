"""Two stages: an index finds candidates cheaply, and something exact puts them in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sartor.errors import BadValue, ConfigError
from sartor.retrieve.hits import Hits
from sartor.retrieve.index import ItemIndex

Rescore = Callable[[np.ndarray], np.ndarray]
"""From candidates int32 [q, c] (row numbers; -1 where there is none) to exact scores float32 [q, c]; those of -1 are not looked at."""


def two_stage(index: ItemIndex, queries: np.ndarray, rescore: Rescore, k: int = 10, *, candidates: int = 100, **search: Any) -> Hits:
    """The k best of `candidates` rows that an index finds, by their exact scores.

    Parameters
    ----------
    index, queries: of the first stage.
    rescore: the second stage, called once for the whole batch.
    k, candidates: how many to give, and how many to look at exactly (the request's cost); at least k.
    **search: what else the index's `search` takes: where, allowed, budget, space.

    Returns `Hits` whose scores are exact. Raises `BadValue` for exact scores that are not finite.
    """
    if candidates < k:
        raise ConfigError(f"{candidates} candidates for k = {k}", fix="look at no fewer than are wanted")
    found = index.search(queries, candidates, **search)
    scores = np.where(found.indices < 0, -np.inf, rescore(found.indices)).astype(np.float32)
    if (bad := np.argwhere((found.indices >= 0) & ~np.isfinite(scores))).size:
        query, column = bad[0]
        raise BadValue(f"the exact score is {scores[query, column]}", query=int(query), item=repr(index.ids[found.indices[query, column]]))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    plan = f"{found.plan}; the best {candidates} scored exactly"
    return Hits(np.take_along_axis(found.indices, order, 1), np.take_along_axis(scores, order, 1), found.ids, plan)
