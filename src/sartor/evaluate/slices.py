"""Who and what a mean hides: cold and heavy people, new people, groups; head, tail and new items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sartor.evaluate.metrics.beyond import hit_mask, tail_items

if TYPE_CHECKING:
    from sartor.data.ids import IdMap
    from sartor.data.population import Population
    from sartor.evaluate.metrics.ranking import Truth

MOST_GROUPS = 25
"""A people column with more different values than this is not a grouping."""


def of_people(events: np.ndarray, fitted: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Slices by how much is known of a person.

    Parameters
    ----------
    events: int64 [people], events that `adapt` saw.
    fitted: bool [people], whether `fit` saw the person.

    Yields
    ------
    name and bool [people]: "cold people" are the quarter with the fewest events, "heavy people" the quarter with the most, "medium people" the
    rest; the bounds stand in the name. "new people" are those `fit` never saw.
    """
    if events.size:
        low, high = (int(end) for end in np.quantile(events, [0.25, 0.75], method="inverted_cdf"))
        heavy = events > high if (events > high).any() else np.zeros(events.size, bool)
        cold = (events <= low) & ~heavy
        yield f"cold people (<= {low} events)", cold
        yield f"medium people ({low + 1} to {high} events)", ~cold & ~heavy
        yield f"heavy people (> {high} events)", heavy
    yield "new people", ~fitted


def of_groups(population: Population, people: IdMap) -> Iterator[tuple[str, np.ndarray]]:
    """Slices by each column of the `people` frame that has few different values, such as gender, age or shop."""
    if "people" not in population:
        return
    frame = population.people.with_columns(pl.col("person").cast(people.ids.dtype, strict=False)).unique("person", keep="first").collect()
    rows = pl.DataFrame({"person": people.ids}).join(frame, on="person", how="left", maintain_order="left")
    for column in rows.columns[1:]:
        series = rows[column]
        if not (series.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean) or series.dtype.is_integer()):
            continue
        values = series.drop_nulls().unique().sort()
        if 2 <= values.len() <= MOST_GROUPS:
            for value in values.to_list():
                yield f"{column} = {value}", (series == value).fill_null(False).to_numpy()


def of_items(counts: np.ndarray) -> dict[str, np.ndarray]:
    """bool [items] masks: the head (the fifth with the most training events), the tail, and new items without any."""
    new = counts == 0
    tail = tail_items(counts)
    return {"head items": ~tail & ~new, "tail items": tail & ~new, "new items": new}


def item_recall(best: np.ndarray, truth: Truth, items: np.ndarray, k: int) -> np.ndarray:
    """Recall@k of the relevant items of one slice only: float64 [people]; NaN for people without one.

    The lists are still those of the whole catalogue: a new item counts as found only when it beat all others.
    """
    kept = truth.keep(items[truth.indices])
    hits = hit_mask(best[:, :k], kept).sum(1)
    return np.divide(hits, kept.lengths, out=np.full(len(kept), np.nan), where=kept.lengths > 0)
