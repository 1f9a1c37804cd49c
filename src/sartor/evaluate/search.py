"""The three scales for a search: is the same query answered better with the person's own state, is it hers, and what does it cost?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.data.ids import IdMap
from sartor.errors import ConfigError, EmptyData
from sartor.evaluate.arms import partners, states_of
from sartor.evaluate.evaluator import TIMED_ADAPTS
from sartor.evaluate.leaks import refuse_leaks
from sartor.evaluate.metrics.ranking import Truth, ranking
from sartor.evaluate.result import Interval
from sartor.method import Searcher
from sartor.parts.statistics import bootstrap
from sartor.retrieve.bm25 import BM25
from sartor.retrieve.queries import MadeFrom, Queries

if TYPE_CHECKING:
    from sartor.data.splits import Split
    from sartor.method import States

METRICS = ("ndcg", "recall", "mrr", "hit_rate")
SCALES = {"gain": "population", "gain_over_popularity": "popularity", "gain_over_words": "words", "swap_gap": "swapped"}
"""Each scale is the own arm's headline less that of another arm."""
ARMS = ("own", "population", "swapped", "words", "popularity")
TEXT_FIELDS = ("title", "categories", "text")


@dataclass(frozen=True, eq=False)
class SearchEvaluation:
    """A search measured on queries of people it adapted to. Intervals are 95% bootstrap over people; a person counts once, however many
    queries she asked."""

    method: str
    split: str
    on: str
    queries: str
    """Where the queries come from."""
    headline: str
    seed: int
    metrics: Mapping[str, Mapping[str, float]]
    """Arm -> `name@k` -> mean over people. Arms: own state; no state (population); another person's (swapped); BM25 alone (words); the most popular
    items of training among those that hold every word of the query (popularity)."""
    gain: float
    """headline(own state) - headline(no state)."""
    gain_interval: Interval
    gain_over_popularity: float
    gain_over_popularity_interval: Interval
    gain_over_words: float
    gain_over_words_interval: Interval
    swap_gap: float
    """headline(own state) - headline(another's state)."""
    swap_gap_interval: Interval
    cost: Mapping[str, float | None]
    """`state_bytes` (mean), `adapt_seconds` (median of one `adapt`), `request_seconds` per query with states and `request_seconds_population`
    without, both in batches."""
    counts: Mapping[str, int]
    per_query: pl.DataFrame
    """person, query, wanted, and each arm's headline."""
    notes: tuple[str, ...] = ()
    seconds: float = field(default=0.0)

    @property
    def value(self) -> float:
        """The headline with the own states."""
        return self.metrics["own"][self.headline]

    def table(self) -> pl.DataFrame:
        """One row per metric: metric, and a column per arm."""
        return pl.DataFrame([{"metric": name, **{arm: self.metrics[arm][name] for arm in ARMS}} for name in self.metrics["own"]])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single queries, as plain data for JSON."""
        from sartor.evaluate.claim import plain

        found: dict[str, Any] = plain({f.name: getattr(self, f.name) for f in fields(self) if f.name != "per_query"})
        return found

    def __repr__(self) -> str:
        def signed(scale: str) -> str:
            low, high = getattr(self, f"{scale}_interval")
            return f"{getattr(self, scale):+.4f} [{low:+.4f}, {high:+.4f}]"

        words = ", ".join(f"{scale.replace('_', ' ')} {signed(scale)}" for scale in SCALES)
        return (
            f"SearchEvaluation({self.method} on {self.split}/{self.on}, {self.counts['queries']} queries: {self.headline} {self.value:.4f}, {words})"
        )


def evaluate_search(
    method: Searcher, split: Split, queries: Queries | MadeFrom = "categories", *, on: str = "test", ks: Sequence[int] = (5, 10, 20),
    headline: str = "ndcg@10", people: int | None = 2000, strength: float | None = None, resamples: int = 1000, seed: int = 0,
) -> SearchEvaluation:  # fmt: skip
    """Measure a fitted search on queries whose wanted items are held-out events of the person who asks.

    Parameters
    ----------
    method: fitted on `split.train`.
    queries: given ones (their item numbers are `method.items_`'s), or what to make them from ("categories" or "words"; one per person).
    people: make queries for so many random people at most.
    strength: passed on to the search.

    What the person has already taken is left out of every list and of what is wanted; the other person of the swapped arm is drawn by a
    random derangement of those who ask. Raises `LeakError` when the method was fitted on what it is judged by, `EmptyData` without queries.
    """
    started = time.perf_counter()
    method.check_fitted()
    if not isinstance(method, Searcher):
        raise ConfigError(f"{type(method).__name__} does not search", fix="use evaluate() for a recommender")
    if on not in ("test", "validation"):
        raise ConfigError(f"on is '{on}'", fix="use 'test' or 'validation'")
    name, _, cut = headline.partition("@")
    if name not in METRICS or not cut.isdecimal() or int(cut) < 1:
        raise ConfigError(f"there is no headline '{headline}'", fix=f"write one of {', '.join(METRICS)}, @ and a cut-off, such as ndcg@10")
    cuts = tuple(sorted({*(int(k) for k in ks), int(cut)}))
    remark = refuse_leaks(method, split, on)
    held, evidence = (split.test, split.evidence) if on == "test" else (split.validation, split.validation_evidence)
    items: IdMap = method.items_  # type: ignore[attr-defined]
    catalogue = split.train.item_frame(items)
    fields_ = [one for one in TEXT_FIELDS if one in catalogue.columns]
    asked = Queries.made(held, items, catalogue, made_from=queries, fields=fields_, people=people, seed=seed) if isinstance(queries, str) else queries
    who = IdMap.of(pl.Series("person", asked.people.tolist()))
    seen = Truth.of(evidence.interactions(items=items, people=who))
    rows = who.numbers(asked.people.tolist())
    truth, left_out = Truth(asked.indptr, asked.wanted), seen.take(rows)
    truth, kept = _unseen(truth, left_out)
    total = len(asked)
    if not kept.size:
        raise EmptyData("nobody who asks wants anything that she has not taken already", fix="give other queries, or a larger held-out part")
    asked, rows, truth, left_out = asked.take(kept), rows[kept], truth.take(kept), left_out.take(kept)
    states = states_of(method, evidence, who.ids.gather(np.flatnonzero(seen.lengths)).to_list())  # type: ignore[arg-type]
    own = [states.get(person) for person in asked.people]
    donors = partners(np.random.default_rng([seed, 3]).permutation(np.flatnonzero(seen.lengths)), seen, seed, "random")[rows]
    others = [states.get(who.array[donor]) if donor >= 0 else None for donor in donors]
    exclude = [items.array[left_out.indices[a:b]].tolist() for a, b in zip(left_out.indptr[:-1], left_out.indptr[1:], strict=True)]
    spent: dict[str, float] = {}

    def lists(arm: str, whose: States) -> np.ndarray:
        start = time.perf_counter()
        found = method.search(asked.texts, whose, cuts[-1], strength=strength, exclude=exclude)
        spent[arm] = (time.perf_counter() - start) / len(asked)
        return found.indices

    words, popular = _baselines(split, items, catalogue.select(fields_), asked, left_out, cuts[-1])
    # The first search may have to open an index.
    method.search(asked.texts[:1], [None], 1)
    found = {"own": lists("own", own), "population": lists("population", [None] * len(asked)), "swapped": lists("swapped", others)}
    found |= {"words": words, "popularity": popular}
    measured = {arm: {name: values for name, values in ranking(best, truth, cuts).items() if name in METRICS} for arm, best in found.items()}
    measured["swapped"] = {name: np.where((donors < 0)[:, None], np.nan, values) for name, values in measured["swapped"].items()}
    by_person = {arm: {f"{one}@{k}": _per_person(values[:, at], rows) for one, values in own_.items() for at, k in enumerate(cuts)}
                 for arm, own_ in measured.items()}  # fmt: skip
    full = f"{name}@{int(cut)}"
    scales: dict[str, Any] = {}
    for scale, arm in SCALES.items():
        difference = by_person["own"][full] - by_person[arm][full]
        known = difference[~np.isnan(difference)]
        scales[scale] = float(known.mean()) if known.size else float("nan")
        ends = bootstrap(known, resamples=resamples, seed=seed) if known.size > 1 else (float("nan"), float("nan"))
        scales[f"{scale}_interval"] = (float(ends[0]), float(ends[1]))
    at = cuts.index(int(cut))
    per_query = pl.DataFrame({
        "person": asked.people.tolist(), "query": asked.texts, "wanted": truth.lengths,
        **{f"{arm} {full}": own_[name][:, at] for arm, own_ in measured.items()},
    })  # fmt: skip
    told = [state for state in own if state is not None]
    cost = {
        "state_bytes": float(np.mean([state.nbytes for state in told])) if told else None,
        "adapt_seconds": _adapt_seconds(method, evidence, who, seen, seed),
        "request_seconds": spent["own"], "request_seconds_population": spent["population"],
    }  # fmt: skip
    counts = {
        "queries": len(asked), "people": int(np.unique(rows).size), "items": len(items), "wanted": int(truth.indices.size),
        "queries_without_state": len(asked) - len(told), "queries_skipped": total - len(asked),
    }  # fmt: skip
    return SearchEvaluation(
        method=type(method).__name__, split=split.name, on=on, queries=f"made from {queries}" if isinstance(queries, str) else "given",
        headline=full, seed=seed, metrics={arm: {one: float(np.nanmean(values)) for one, values in own_.items()} for arm, own_ in by_person.items()},
        **scales, cost=cost, counts=counts, per_query=per_query, notes=tuple(filter(None, [remark])), seconds=time.perf_counter() - started,
    )  # fmt: skip


def _unseen(truth: Truth, left_out: Truth) -> tuple[Truth, np.ndarray]:
    """Truth without what cannot be shown, and the rows where something is left."""
    from sartor.evaluate.metrics.beyond import in_rows

    truth = truth.keep(~in_rows(truth, left_out))
    return truth, np.flatnonzero(truth.lengths)


def _per_person(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean over each person's queries; NaN where none is known."""
    known = ~np.isnan(values)
    counts = np.bincount(rows[known], minlength=int(rows.max()) + 1)[np.unique(rows)]
    sums = np.bincount(rows[known], values[known], int(rows.max()) + 1)[np.unique(rows)]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _baselines(
    split: Split, items: IdMap, documents: pl.DataFrame, asked: Queries, left_out: Truth, length: int
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Lists int32 [queries, length] of BM25 alone, and of the most popular items among those that hold every word of the query."""
    from sartor.parts.topk import top_k

    index = BM25(fields=dict.fromkeys(documents.columns, 1.0)).build(documents)
    popularity = split.train.interactions(items=items).counts().astype(np.float32)
    skip = [left_out.indices[a:b] for a, b in zip(left_out.indptr[:-1], left_out.indptr[1:], strict=True)]
    words, popular = (np.full((len(asked), length), -1, np.int32) for _ in range(2))
    step = max(1, 4_000_000 // len(items))
    for start in range(0, len(asked), step):
        part = slice(start, start + step)
        scores, whole = index.scores(asked.texts[part]), index.matched(asked.texts[part]) == 1
        for out, values in ((words, np.where(scores > 0, scores, -np.inf)), (popular, np.where(whole, popularity[None], -np.inf))):
            best, _ = top_k(values, length, left_out=skip[part])
            out[part, : best.shape[1]] = best
    return words, popular


def _adapt_seconds(method: Any, evidence: Any, who: IdMap, seen: Truth, seed: int) -> float | None:
    able = np.flatnonzero(seen.lengths)
    if not able.size:
        return None
    chosen = np.random.default_rng([seed, 1]).choice(able, min(TIMED_ADAPTS + 1, able.size), replace=False)
    spent = []
    for one in evidence.only(who.ids.gather(np.sort(chosen)).to_list()).each():
        start = time.perf_counter()
        method.adapt(one)
        spent.append(time.perf_counter() - start)
    return float(np.median(spent[1:] or spent))
