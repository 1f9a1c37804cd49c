"""A collection whose queries are somebody's: does leaning towards what the person found before help, and is it hers?"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import polars as pl

from sartor.errors import ConfigError
from sartor.evaluate.collections import Collection
from sartor.evaluate.ir import OFFICIAL, measure
from sartor.evaluate.retrievers import DEPTH, Dense, Run, table_of
from sartor.parts.statistics import paired


def personal(
    encoder: Any, collection: Collection, history: Collection, *, name: str = "personal", weight: float = 0.5, seed: int = 0
) -> tuple[Run, dict[str, Any]]:
    """One-vector search where a query leans towards what its person has found before, with gain, swap gap and cost.

    A person's state is the mean vector of the relevant documents of her earlier queries (the qrels of `history`, another split of the same
    collection). A query becomes (1 - w) query + w state with w = weight * n / (n + 4) for n such documents; other queries stay as they are.
    In the swapped arm everybody has the state of the next person of a shuffled circle.

    Returns
    -------
    the run with everybody's own state, and the columns gain, gain_interval, swap_gap, swap_gap_interval (paired over the queries that have a
    state: `personal_queries` of them), state_bytes, adapt_seconds.

    Raises `ConfigError` when fewer than two people have a history, or a query that is judged here is also in the history.
    """
    both = set(collection.queries["query"].to_list()) & set(history.queries["query"].to_list())
    if both:
        raise ConfigError(f"{len(both)} queries are in both splits", fix="judge people on queries that their states have not seen")
    start = time.perf_counter()
    found = Dense(encoder, collection)
    built = time.perf_counter() - start
    start = time.perf_counter()
    states = _states(found.vectors, collection, history)
    adapting = time.perf_counter() - start
    whose = collection.queries["person"].to_list()
    has = np.array([person in states for person in whose])
    if len(states) < 2 or not has.any():
        raise ConfigError("fewer than two people have earlier finds", fix="queries need a person, and the other split's qrels theirs")
    people = sorted(states)
    order = np.random.default_rng(seed).permutation(len(people))
    other = {people[one]: people[two] for one, two in zip(order, np.roll(order, 1), strict=True)}
    start = time.perf_counter()
    asked = encoder.encode(collection.queries["text"].fill_null("").to_list())
    runs, queries = {}, collection.queries["query"].to_list()
    whose_state: dict[str, dict[str, str]] = {"none": {}, "swapped": other, "own": {person: person for person in people}}
    for arm, state_of in whose_state.items():
        leaned = asked.copy()
        for row in np.flatnonzero(has) if state_of else ():
            state, n = states[state_of[whose[row]]]
            share = weight * n / (n + 4)
            leaned[row] = (1 - share) * asked[row] + share * state
        runs[arm] = table_of(found.near(leaned, min(DEPTH, found.index.size)), queries)
    seconds = (time.perf_counter() - start) / len(runs)
    kept = collection.queries["query"].filter(pl.Series(has)).implode()
    measured = {arm: measure(one, collection.qrels).per_query.filter(pl.col("query").is_in(kept)).sort("query") for arm, one in runs.items()}
    gain, gap = (paired(measured["own"][OFFICIAL[0]].to_numpy(), measured[arm][OFFICIAL[0]].to_numpy(), seed=seed) for arm in ("none", "swapped"))
    columns = {
        "gain": gain.difference, "gain_interval": list(gain.interval), "swap_gap": gap.difference, "swap_gap_interval": list(gap.interval),
        "personal_queries": int(has.sum()), "state_bytes": found.vectors.shape[1] * 4 + 4, "adapt_seconds": adapting / len(states),
    }  # fmt: skip
    per_second = len(queries) / seconds
    return Run(name, collection.name, collection.split, runs["own"], found.index.nbytes, built, per_second, 1000 / per_second), columns


def _states(vectors: np.ndarray, collection: Collection, history: Collection) -> dict[str, tuple[np.ndarray, int]]:
    """person -> (mean vector of what she found, how many documents)."""
    rows = collection.documents.select("document").with_row_index("row")
    whose = history.queries.select("query", "person").drop_nulls()
    found = history.qrels.filter(pl.col("relevance") > 0).join(whose, on="query").join(rows, on="document").select("person", "row").unique()
    parts = found.sort("person", "row").partition_by("person", as_dict=True)
    return {str(person[0]): (vectors[part["row"].to_numpy()].mean(axis=0), part.height) for person, part in parts.items()}
