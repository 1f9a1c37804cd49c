"""The three scales of any recommender in one call: gain, swap gap, cost; with full rankings, slices and intervals."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from sartor.errors import ConfigError
from sartor.evaluate import slices as _slices
from sartor.evaluate.accumulate import Accumulator, Values, flat
from sartor.evaluate.arms import Ranker, partners, states_of
from sartor.evaluate.case import Case
from sartor.evaluate.leaks import refuse_leaks
from sartor.evaluate.metrics import beyond
from sartor.evaluate.metrics.ranking import RANKING, Truth, ranking
from sartor.evaluate.result import NO_INTERVAL, Evaluation, Interval
from sartor.parts.statistics import bootstrap
from sartor.progress import bar

if TYPE_CHECKING:
    from sartor.data.splits import Split
    from sartor.method import Recommender, State

TIMED_ADAPTS = 20
"""People whose single `adapt` is timed."""
SCALES = {"gain": "population", "gain_over_popularity": "popularity", "swap_gap": "swapped"}
"""Each scale is the own arm's metric less that of another arm."""
_ITEMS = "recall of "
"""Marks the per-person values that become item slices."""


def evaluate(
    method: Recommender,
    split: Split,
    *,
    on: Literal["test", "validation"] = "test",
    ks: Sequence[int] = (5, 10, 20),
    seed: int = 0,
    headline: str = "ndcg@10",
    population_baseline: bool = True,
    swap: Literal["random", "most-different"] | None = "random",
    exclude: Literal["seen"] | None = "seen",
    candidates: int | Literal["new"] | Sequence[Any] | None = None,
    graded: bool = False,
    people: int | Sequence[Any] | None = None,
    chunk: int = 4096,
    resamples: int = 1000,
    progress: bool = False,
) -> Evaluation:
    """Measure a fitted recommender on held-out events.

    Everybody with held-out events is adapted from the split's evidence (never from the events they are judged by) and gets four lists
    over the whole catalogue: with the own state, with none, with another person's, and the most popular items of `split.train`. Metrics
    are computed per person and averaged over people. Ties are broken by a seeded lottery.

    Parameters
    ----------
    method: fitted on `split.train`.
    split: see `sartor.data.splits.make`.
    on: judge by the split's test or validation events.
    ks: cut-offs.
    headline: the metric whose differences are gain and swap gap, `name@k`.
    population_baseline: whether to measure the two answers that know nothing of the person, the method's own without a state and
        popularity's; without them there is no gain.
    swap: whose state to swap in: "random" (a derangement), "most-different" (the least similar history), or None for no swap gap.
    exclude: "seen" leaves the person's own evidence out of every list (also under swap) and out of the truth; None leaves nothing out.
        What only the owner of a swapped state has seen can be shown and found; docs/evaluation.md says what that changes.
    candidates: None ranks the whole catalogue. A list of item ids, or "new" for the items without a training event, ranks among these only,
        and only they are asked for: metrics are named `ndcg@10 (among 168 items)`. A number ranks the relevant items among so many random
        others: faster, and biased towards weak methods; metrics are named `ndcg@10 (100 sampled)`.
    graded: also NDCG with gains 2^value - 1; events with value <= 0 are irrelevant then.
    people: measure so many random people, or these ids; default everybody.
    chunk: people in memory at once; changes no digit.
    resamples: of the bootstrap over people.

    Raises `EmptyData` when nobody can be measured, `LeakError` when the method was fitted on the events it is to be judged by, `NotFitted`,
    `ConfigError`.
    """
    started = time.perf_counter()
    method.check_fitted()
    k = _cutoff(headline, graded)
    cuts = tuple(sorted({*(int(one) for one in ks), k}))
    if cuts[0] < 1:
        raise ConfigError(f"ks are {list(ks)}", fix="cut-offs start at 1")
    if chunk < 1:
        raise ConfigError(f"chunk is {chunk}", fix="at least 1 person at a time")
    if seed < 0:
        raise ConfigError(f"seed is {seed}", fix="use a whole number of at least 0")
    case = Case.of(method, split, on, exclude, people, seed, graded, candidates)
    remark = refuse_leaks(method, split, on)
    ranker = Ranker(method, case.items, cuts[-1], seed, candidates if isinstance(candidates, int) else None, case.pool)
    totals, cost = _stream(ranker, case, cuts, population_baseline, swap, seed, chunk, progress)
    cost["adapt_seconds"] = _adapt_seconds(method, case, seed)
    suffix = "" if candidates is None else f" ({candidates} sampled)" if case.pool is None else f" (among {case.pool.size} items)"
    arms = {arm: totals.values(arm) for arm in ("own", *SCALES.values())}
    shown = float(arms["own"]["places"][:, 0].mean())
    tie_share = float(arms["own"]["tied"][:, 0].mean() / max(1.0, shown))
    notes = [*([remark] if remark else []), *case.notes, *_remarks(method, shown, tie_share, cuts[-1])]
    by_person = {arm: flat({n: v for n, v in values.items() if _is_metric(n)}, cuts, suffix) for arm, values in arms.items()}
    metrics, intervals = _summaries(by_person["own"], resamples, seed)
    for at, cut in enumerate(cuts):
        metrics |= {f"{metric}@{cut}{suffix}": value for metric, value in beyond.catalogue(totals.exposure[at]).items()}
    full = headline + suffix
    scales = _differences({arm: values.get(full) for arm, values in by_person.items()})
    means: dict[str, Any] = {scale: _mean(values) for scale, values in scales.items()}
    ends: dict[str, Any] = {f"{scale}_interval": _interval(values, resamples, seed) for scale, values in scales.items()}
    if ends["swap_gap_interval"][0] > 0 >= ends["gain_interval"][0]:
        notes.append("a swap gap without a gain: the states may hold what was seen rather than taste")
    return Evaluation(
        method=getattr(method, "name", type(method).__name__), split=split.name, on=on, headline=full, ks=cuts, seed=seed,
        metrics=metrics, intervals=intervals,
        population_metrics=_means(by_person["population"]), popularity_metrics=_means(by_person["popularity"]),
        swapped_metrics=_means(by_person["swapped"]), **means, **ends, cost=cost, counts=case.counts, tie_share=tie_share,
        slices=_people_slices(case, by_person["own"][full], scales, full, resamples, seed) | _item_slices(arms, cuts, k, resamples, seed),
        per_person=_per_person(case, by_person, full), notes=tuple(notes), seconds=time.perf_counter() - started,
    )  # fmt: skip


def _remarks(method: Recommender, shown: float, tie_share: float, k: int) -> list[str]:
    """What a reader of the numbers must know."""
    notes = []
    if shown < k:
        notes.append(f"lists hold {shown:.1f} items on average: @k means at most that many where k is larger")
        warnings.warn(f"lists of {type(method).__name__} hold {shown:.1f} items on average, fewer than k = {k}", stacklevel=3)
    if tie_share > 0.05:
        notes.append(f"{tie_share:.0%} of the places were decided by lottery between equal scores")
    return notes


def _is_metric(name: str) -> bool:
    return not name.startswith(_ITEMS) and name not in ("places", "tied")


def _cutoff(headline: str, graded: bool) -> int:
    """The k of the headline metric, which must be one of ours."""
    name, _, k = headline.partition("@")
    known = (*RANKING, "ndcg_graded") if graded else RANKING
    if name not in known or not k.isdigit() or int(k) < 1:
        raise ConfigError(f"headline is '{headline}'", fix=f"use name@k with name one of {', '.join(known)}")
    return int(k)


def _stream(
    ranker: Ranker, case: Case, ks: tuple[int, ...], baseline: bool, swap: str | None, seed: int, chunk: int, progress: bool
) -> tuple[Accumulator, dict[str, float | None]]:
    totals = Accumulator(ks, len(case.items))
    tiers = _slices.of_items(case.counts_train)
    order = np.random.default_rng([seed, len(case.people)]).permutation(len(case.people))
    with_evidence = order[case.events[order] > 0]
    partner = partners(with_evidence, case.seen, seed, swap) if swap is not None else None
    ids = case.people.array
    state_bytes, states_made = 0, 0
    own_seconds = 0.0
    nobodys = {"population": ranker, "popularity": replace(ranker, method=case.popular, seconds=0.0)} if baseline else {}
    with bar("evaluating", order.size, enabled=progress, unit="people") as shown:
        for start in range(0, order.size, chunk):
            rows = order[start : start + chunk]
            needed = rows if partner is None else np.union1d(rows, partner[rows][partner[rows] >= 0])
            states = states_of(ranker.method, case.evidence, ids[needed[case.events[needed] > 0]].tolist())
            truth, left_out = case.truth.take(rows), case.left_out.take(rows)
            own = [states.get(ids[row]) for row in rows]
            state_bytes += sum(state.nbytes for state in own if state is not None)
            states_made += sum(state is not None for state in own)
            before = ranker.seconds
            best, tied = ranker.lists(own, left_out, truth)
            own_seconds += ranker.seconds - before
            arms: dict[str, Values] = {"own": _values(best, tied, truth, ks, case.counts_train, tiers)}
            for arm, one in nobodys.items():
                arms[arm] = _values(*one.lists([None] * rows.size, left_out, truth), truth, ks, case.counts_train, tiers)
            if partner is not None:
                others: list[State | None] = [states.get(ids[other]) if other >= 0 else None for other in partner[rows]]
                swapped = _values(*ranker.lists(others, left_out, truth), truth, ks, case.counts_train, tiers)
                nobody = np.array([state is None for state in others])
                arms["swapped"] = {name: np.where(nobody[:, None], np.nan, values) for name, values in swapped.items()}
            totals.add(rows, arms, best)
            shown.advance(rows.size)
    return totals, {
        "state_bytes": state_bytes / states_made if states_made else None, "adapt_seconds": None, "request_seconds": own_seconds / order.size
    }  # fmt: skip


def _values(
    best: np.ndarray, tied: np.ndarray, truth: Truth, ks: tuple[int, ...], counts: np.ndarray, tiers: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """All per-person numbers of one chunk and arm: float64 [people, ks]."""
    out = ranking(best, truth, ks) | beyond.popularity(best, counts, ks)
    for name, mask in tiers.items():
        out[_ITEMS + name] = np.stack([_slices.item_recall(best, truth, mask, k) for k in ks], axis=1)
    for name, marks in (("places", best >= 0), ("tied", tied)):
        out[name] = np.repeat(marks.sum(1, dtype=np.float64)[:, None], len(ks), axis=1)
    return out


def _adapt_seconds(method: Recommender, case: Case, seed: int) -> float | None:
    """Median seconds of one `adapt`, over a sample of people, after one that is not counted."""
    able = np.flatnonzero(case.events > 0)
    if not able.size:
        return None
    chosen = np.random.default_rng([seed, 1]).choice(able, min(TIMED_ADAPTS + 1, able.size), replace=False)
    spent = []
    for evidence in case.evidence.only(case.people.array[chosen].tolist()).each():
        start = time.perf_counter()
        method.adapt(evidence)
        spent.append(time.perf_counter() - start)
    return float(np.median(spent[1:] or spent))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _means(by_person: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: _mean(values) for name, values in by_person.items()}


def _interval(values: np.ndarray, resamples: int, seed: int) -> Interval:
    known = values[~np.isnan(values)]
    if known.size < 2:
        return NO_INTERVAL
    low, high = bootstrap(known, resamples=resamples, seed=seed)
    return float(low), float(high)


def _summaries(by_person: Mapping[str, np.ndarray], resamples: int, seed: int) -> tuple[dict[str, float], dict[str, Interval]]:
    ends = bootstrap(np.stack(list(by_person.values()), axis=1), resamples=resamples, seed=seed)
    return _means(by_person), {name: (float(low), float(high)) for name, (low, high) in zip(by_person, ends, strict=True)}


def _differences(arms: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    """Scale -> each person's own value less that of its other arm; NaN where that arm was not measured."""
    own = arms["own"]
    assert own is not None
    return {scale: np.full(own.shape, np.nan) if (other := arms[arm]) is None else own - other for scale, arm in SCALES.items()}


def _slice(metric: str, own: np.ndarray, scales: Mapping[str, np.ndarray], resamples: int, seed: int) -> dict[str, Any]:
    """One slice; its intervals share their resamples of people."""
    table = np.stack([own, *scales.values()], axis=1)[~np.isnan(own)]
    ends = bootstrap(table, resamples=resamples, seed=seed).tolist() if len(table) > 1 else [NO_INTERVAL] * (len(scales) + 1)
    names = (("value", "interval"), *((scale, f"{scale}_interval") for scale in scales))
    out: dict[str, Any] = {"n": len(table), "metric": metric}
    for (value, interval), column, end in zip(names, table.T, ends, strict=True):
        out |= {value: _mean(column), interval: tuple(end)}
    return out


def _people_slices(
    case: Case, own: np.ndarray, scales: Mapping[str, np.ndarray], headline: str, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    found = [*_slices.of_people(case.events, case.fitted), *_slices.of_groups(case.population, case.people)]
    parts = {name: (own[mask], {scale: values[mask] for scale, values in scales.items()}) for name, mask in found if mask.any()}
    return {name: _slice(headline, *part, resamples, seed) for name, part in parts.items()}


def _item_slices(arms: Mapping[str, Mapping[str, np.ndarray]], ks: tuple[int, ...], k: int, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    at, out = ks.index(k), {}
    for name in [name for name in arms["own"] if name.startswith(_ITEMS)]:
        own = arms["own"][name][:, at]
        if np.isnan(own).all():
            continue
        scales = _differences({arm: values[name][:, at] if values else None for arm, values in arms.items()})
        out[name.removeprefix(_ITEMS)] = _slice(f"recall@{k}", own, scales, resamples, seed)
    return out


def _per_person(case: Case, by_person: Mapping[str, Mapping[str, np.ndarray]], headline: str) -> pl.DataFrame:
    columns: dict[str, Any] = {"person": case.people.ids, "events": case.events, "relevant": case.truth.lengths, **by_person["own"]}
    for arm in SCALES.values():
        if by_person[arm]:
            columns[f"{arm} {headline}"] = by_person[arm][headline]
    return pl.DataFrame(columns)
