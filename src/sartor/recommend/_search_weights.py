"""How much words, vectors, popularity and taste count in a search: learned from queries of which it is known what was taken."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from sartor.data import splits
from sartor.errors import EmptyData
from sartor.retrieve.fusion import FusionRanker
from sartor.retrieve.queries import MadeFrom, Queries

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.interactions import Interactions
    from sartor.data.population import Population
    from sartor.recommend._base import ItemRecommender
    from sartor.recommend.personal_search import PersonalSearch

TAUGHT_AGAINST = 300
"""Candidates that were not wanted, per query, which the wanted ones are told from while the weights are learned."""
UNTAUGHT = (5.0, 2.0, 10.0, 5.0)
"""Weights where there is nothing to learn them from: of words, vectors, shares and popularity; taste then counts with a deviation of 1."""
SAMPLE = 200
"""People whose lifts show how far the taste spreads."""
AT_ONCE = 64
"""Queries searched together."""

Weights = tuple[np.ndarray, float, int]
"""Of everybody's order, of the taste, and how many queries taught them."""


def held_out(population: Population, validation: Population | None, seed: int) -> tuple[Population | None, Population]:
    """Events that can teach, or None, and the population without them: the validation events, else the last fifth of each person's events (a
    random fifth where there are no times)."""
    if validation is not None and "events" in validation and validation.events.head(1).collect().height:
        return validation, population
    rule = "user-time" if "time" in population.events.collect_schema() else "random"
    try:
        split = splits.make(rule, population, seed=seed, test=0.2, validation=0.0)
    except EmptyData:
        return None, population
    return split.test, split.train


def learn(method: PersonalSearch, taste: ItemRecommender, known: Population, held: Population, catalogue: pl.DataFrame) -> Weights | None:
    """First the weights of everybody's order, then how much taste is added to it; None when no query teaches anything.

    Parameters
    ----------
    method: with its index; asked for candidates and features.
    taste: fitted without the held-out events.
    known: what people's states are made from.
    held: what they took afterwards.
    """
    try:
        queries = _queries(method, held, catalogue)
    except EmptyData:
        return None
    states = taste.adapt_all(known.only(sorted(set(queries.people.tolist()))))
    own = [states.get(person) for person in queries.people]
    found, rng = [], np.random.default_rng([method.seed, 23])
    for start in range(0, len(queries), AT_ONCE):
        part = queries.take(np.arange(start, min(start + AT_ONCE, len(queries))))
        some = own[start : start + AT_ONCE]
        pool = method.candidates(part.texts, seen=some)[0]
        hits = pool.holds(part.indptr, part.wanted)
        # What was wanted against a random part of the rest: weights need no more.
        chosen = hits | (rng.random(hits.size) < (TAUGHT_AGAINST / np.maximum(1, np.diff(pool.indptr)))[pool.queries])
        values = (method.features(part.texts, pool), method.lift(taste, pool, some), hits)
        found.append((*(one[chosen] for one in values), np.bincount(pool.queries[chosen], minlength=len(pool))))
    features, lifts, wanted, lengths = (np.concatenate([one[at] for one in found]) for at in range(4))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    try:
        everybody = FusionRanker().fit(features, indptr, wanted)
        personal = FusionRanker().fit(lifts[:, None], indptr, wanted, fixed=everybody.score(features))
    except EmptyData:
        return None
    assert everybody.weights is not None
    assert personal.weights is not None
    return everybody.weights, float(personal.weights[0]), len(queries)


def untaught(method: PersonalSearch, data: Interactions) -> Weights:
    """The built-in weights; the taste's brings the lifts of a sample of people to a deviation of 1."""
    some = np.sort(np.random.default_rng([method.seed, 29]).permutation(len(data.people))[:SAMPLE])
    histories = data.take(some)
    states = list(method.taste._states(histories, [None] * some.size, histories.lengths.tolist(), 0))
    spread = float((method.taste._score(states, None) - method.taste._score([None], None)).std()) if states else 0.0
    return np.array(UNTAUGHT), 1 / spread if spread > 1e-9 else 0.0, 0


def _queries(method: PersonalSearch, held: Population, catalogue: pl.DataFrame) -> Queries:
    parts = []
    if "texts" in held:
        with contextlib.suppress(EmptyData):
            parts.append(Queries.logged(held.texts.collect(), method.items_).among(held.interactions(items=method.items_)))
    fields = [name for name in method.text_fields if name in catalogue.columns]
    for number, made_from in enumerate(get_args(MadeFrom)):
        with contextlib.suppress(EmptyData):
            how: dict[str, Any] = {"made_from": made_from, "fields": fields, "people": method.teaching_people, "seed": method.seed + number}
            parts.append(Queries.made(held, method.items_, catalogue, **how))
    return Queries.joined(parts)
