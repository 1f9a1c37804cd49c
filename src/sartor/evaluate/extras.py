"""What a report needs beyond `evaluate`: the metrics that look at lists, vectors and scores of a sample of people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from sartor.errors import ConfigError
from sartor.evaluate.arms import SCORES_IN_MEMORY, Ranker, states_of
from sartor.evaluate.case import Case
from sartor.evaluate.metrics import beyond, fairness
from sartor.evaluate.metrics.clicks import clicks
from sartor.evaluate.metrics.ranking import auc
from sartor.evaluate.metrics.rating import rating
from sartor.evaluate.metrics.similarity import pair_auc
from sartor.parts.statistics import bootstrap

if TYPE_CHECKING:
    from sartor.data.splits import Split
    from sartor.method import Recommender

PAIRS = 20_000
"""Pairs for the similarity family."""
CANDIDATES = 100
"""Length of the list whose recall is that of a candidate stage."""
Meaning = Literal["ranking", "rating", "probability"]


@dataclass(frozen=True)
class Row:
    """One line of a report."""

    family: str
    metric: str
    k: int | None
    value: float
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0
    notes: str = ""


def extras(method: Recommender, split: Split, ks: Sequence[int], *, meaning: Meaning, people: int, seed: int) -> list[Row]:
    """Similarity, candidate generation, prediction, sales shift and exposure of one fitted method, on at most `people` people."""
    case = Case.of(method, split, "test", "seen", people, seed, False, None)
    ranker = Ranker(method, case.items, max(CANDIDATES, *ks), seed)
    ids = case.people.array
    states = states_of(method, case.evidence, ids[case.events > 0].tolist())
    own = [states.get(person) for person in ids]
    best, _ = ranker.lists(own, case.left_out, case.truth)
    rows = [*_similarity(method, case, seed), *_candidates(case, best, ks, seed, split), *_sales(case, best, ks, split)]
    tail = np.where(beyond.tail_items(case.counts_train), "tail", "head")
    for k in ks:
        shown = fairness.exposure(best, tail, k=k, merit=case.counts_train.astype(float))
        rows.append(Row("fairness", "exposure_gap", k, shown.gap, n=len(ids), notes="head against tail, proportional to training events"))
    if ranker.scores:
        rows += _predictions(method, case, own, split, meaning, seed)
    elif meaning != "ranking":
        raise ConfigError(f"{type(method).__name__} has no scores to be read as a {meaning}", fix="leave `meaning` at 'ranking'")
    return rows


def _with_interval(family: str, metric: str, k: int | None, values: np.ndarray, seed: int, notes: str = "") -> Row:
    known = values[~np.isnan(values)]
    if not known.size:
        return Row(family, metric, k, float("nan"), notes=notes or "nobody to measure it on")
    low, high = bootstrap(known, seed=seed) if known.size > 1 else (float("nan"), float("nan"))
    return Row(family, metric, k, float(known.mean()), float(low), float(high), known.size, notes)


def _similarity(method: Any, case: Case, seed: int) -> list[Row]:
    """How well each similarity of the method's item vectors tells (history, held-out) item pairs of one person from random pairs."""
    vectors = getattr(method, "item_vectors_", None)
    if vectors is None:
        return []
    rng = np.random.default_rng([seed, 2])
    wanted = np.flatnonzero((case.truth.indices < len(vectors)) & (case.seen.lengths[case.truth.rows] > 0))
    wanted = rng.choice(wanted, min(PAIRS, wanted.size), replace=False)
    rows = case.truth.rows[wanted]
    past = case.seen.indices[case.seen.indptr[rows] + (rng.random(rows.size) * case.seen.lengths[rows]).astype(np.int64)]
    keep = past < len(vectors)
    pairs = np.stack([past[keep], case.truth.indices[wanted][keep]], axis=1)
    others = np.stack([pairs[:, 0], rng.integers(0, len(vectors), len(pairs))], axis=1)
    if not len(pairs):
        return []
    found = pair_auc(np.asarray(vectors, np.float64), pairs, others)
    return [
        Row("similarity", f"{name}_auc", None, value, n=len(pairs), notes="pairs of items; every distance as 1 / (1 + d)")
        for name, value in found.items()
    ]


def _candidates(case: Case, best: np.ndarray, ks: Sequence[int], seed: int, split: Split) -> list[Row]:
    matrix = split.train.interactions(items=case.items).matrix()
    matrix.data[:] = 1
    vectors = beyond.unit_vectors(matrix.T.tocsr())
    varied = beyond.diversity(best, vectors, ks)
    surprising = beyond.serendipity(best, case.truth, case.seen, vectors, ks)
    found = beyond.hit_mask(best[:, :CANDIDATES], case.truth).sum(1) / case.truth.lengths
    rows = [_with_interval("candidate generation", "candidate_recall", CANDIDATES, found, seed)]
    for at, k in enumerate(ks):
        rows.append(_with_interval("candidate generation", "diversity", k, varied[:, at], seed, "cosine of who took the items in training"))
        rows.append(_with_interval("candidate generation", "serendipity", k, surprising[:, at], seed, "cosine of who took the items in training"))
    return rows


def _sales(case: Case, best: np.ndarray, ks: Sequence[int], split: Split) -> list[Row]:
    """Where sales would go if people took what they are shown, and what the hits are worth."""
    top = max(1, round(len(case.items) / 100))
    before = float(np.sort(case.counts_train)[::-1][:top].sum() / max(1, case.counts_train.sum()))
    rows = []
    for k in ks:
        counts = np.bincount(best[:, :k][best[:, :k] >= 0], minlength=len(case.items))
        share = float(np.sort(counts)[::-1][:top].sum() / max(1, counts.sum()))
        rows.append(Row("business", "top_share", k, share, n=len(best), notes=f"of shown places to the top 1% of items; {before:.3f} in training"))
    if "items" in split.train and "price" in split.train.items.collect_schema():
        prices = split.train.item_frame(case.items)["price"].cast(pl.Float64).fill_null(0).to_numpy()
        for k in ks:
            hits = beyond.hit_mask(best[:, :k], case.truth)
            worth = np.where(hits, prices[np.where(hits, best[:, :k], 0)], 0.0).sum(1)
            rows.append(_with_interval("business", "revenue_per_person", k, worth, 0, "price of the hits: what was bought anyway, found in the list"))
    return rows


def _predictions(method: Any, case: Case, own: list[Any], split: Split, meaning: Meaning, seed: int) -> list[Row]:
    step = max(1, SCORES_IN_MEMORY // max(1, len(case.items)))
    known = len(method.items_) if hasattr(method, "items_") else len(case.items)
    areas, predicted = [], []
    truth = case.truth.keep(case.truth.indices < known)
    for start in range(0, len(own), step):
        rows = np.arange(start, min(start + step, len(own)))
        scores = method.score(own[start : start + step])
        seen = case.seen.take(rows)
        areas.append(auc(scores, truth.take(rows), seen.keep(seen.indices < known)))
        part = truth.take(rows)
        predicted.append(scores[part.rows, part.indices])
    found = [_with_interval("predictive", "auc", None, np.concatenate(areas), seed, "each person's, over the whole catalogue")]
    if meaning == "ranking":
        return found
    values = np.concatenate(predicted)
    held = split.test.interactions(items=case.items, people=case.people).matrix(values=True)
    given = np.asarray(held[truth.rows, truth.indices]).ravel()
    if np.isnan(given).any():
        raise ConfigError(f"the test events have no values to hold a {meaning} against", fix="use data with values, or meaning='ranking'")
    notes = "over events, not people"
    result = rating(given, values) if meaning == "rating" else clicks(given, values, truth.rows)
    return found + [
        Row("predictive", name if name != "auc" else "click_auc", None, value, n=values.size, notes=notes) for name, value in result.items()
    ]
