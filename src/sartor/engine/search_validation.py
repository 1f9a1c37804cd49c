"""Whether a fitted search may serve: measured on queries of people it was not fitted on, beside the one that serves now.

Queries are made from what held-out people took after the events that their states are made of: its categories, or rare words of its texts. Wanted
is all that they took that fits the query (`sartor.retrieve.queries`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import polars as pl

from sartor.engine import validation
from sartor.errors import EmptyData, LeakError

if TYPE_CHECKING:
    from sartor.data.splits import Split
    from sartor.engine.models import Loaded
    from sartor.evaluate.search import SearchEvaluation
    from sartor.parts.statistics import Paired
    from sartor.retrieve.queries import Queries


def measured(
    model: Any, parts: Split, active: Loaded | None, *, headline: str, seed: int, min_gain: float
) -> tuple[validation.Verdict, dict[str, Any]]:  # fmt: skip
    """The verdict on a search, by the rules of `validation.judge`, and the report of what it rests on.

    Raises `EmptyData` when no query can be made of what held-out people took.
    """
    from sartor.evaluate.search import evaluate_search

    asked = queries(model, parts, seed)
    found = evaluate_search(model, parts, asked, headline=headline, seed=seed, people=None)
    facts = report(found)
    if active is None:
        return _judged(found, min_gain, None, None), facts | {"compared_with": None}
    try:
        theirs = evaluate_search(
            active.method, validation.in_kind_of(parts, active.method), _in_numbers_of(asked, model, active.method),  # type: ignore[arg-type]
            headline=headline, seed=seed, people=None,
        )  # fmt: skip
    except (LeakError, EmptyData) as problem:
        verdict, why = _judged(found, min_gain, None, None), f"not compared with the active model: {problem.what}"
        return replace(verdict, sentence=f"{verdict.sentence.partition(';')[0].rstrip('.')}; {why}."), facts | {
            "compared_with": None, "not_compared": why,
        }  # fmt: skip
    difference = compare(found, theirs, seed=seed)
    beside = {
        "fingerprint": active.fingerprint, "difference": difference.difference, "low": difference.interval[0], "high": difference.interval[1],
        "value": theirs.value, "people": difference.n, "t_test": difference.t_test,
    }  # fmt: skip
    return _judged(found, min_gain, theirs, difference), facts | {"compared_with": beside}


def queries(model: Any, parts: Split, seed: int) -> Queries:
    """One made from categories and one from words for every held-out person, as far as there are such."""
    from sartor.evaluate.search import TEXT_FIELDS
    from sartor.retrieve.queries import MadeFrom, Queries

    catalogue = parts.train.item_frame(model.items_)
    fields = [name for name in TEXT_FIELDS if name in catalogue.columns]
    made = []
    for number, made_from in enumerate(get_args(MadeFrom)):
        with suppress(EmptyData):
            how: dict[str, Any] = {"made_from": made_from, "fields": fields, "people": validation.MOST_PEOPLE, "seed": seed + number}
            made.append(Queries.made(parts.test, model.items_, catalogue, **how))
    if not made:
        raise EmptyData("no query can be made of what held-out people took", fix="give items titles or categories, or install a fitted search")
    return Queries.joined(made)


def _in_numbers_of(asked: Queries, model: Any, other: Any) -> Queries:
    """The same queries in another model's item numbers; those of which it knows no wanted item are left out, and count as missed."""
    from sartor.retrieve.queries import Queries

    rows = []
    for person, text, wanted in asked.rows():
        ids = [str(one) for one in model.items_.array[wanted].tolist()]
        numbers = other.items_.numbers(pl.Series(ids).cast(other.items_.ids.dtype, strict=False).to_list())
        if (known := numbers[numbers >= 0]).size:
            rows.append((person, text, known))
    return Queries.of(rows)


def compare(candidate: SearchEvaluation, active: SearchEvaluation, *, seed: int) -> Paired:
    """Candidate less active model, person by person, on the candidate's queries."""
    from sartor.parts.statistics import paired

    name, keys = f"own {candidate.headline}", ["person", "query"]
    theirs = active.per_query.select(pl.col("person").cast(candidate.per_query.schema["person"]), "query", other=pl.col(name)).unique(keys)
    both = candidate.per_query.join(theirs, on=keys, how="left", maintain_order="left").with_columns(pl.col("other").fill_null(0.0))
    people = both.group_by("person", maintain_order=True).agg(pl.col(name).mean(), pl.col("other").mean())
    return paired(people[name].to_numpy(), people["other"].to_numpy(), seed=seed)


def _judged(found: Any, min_gain: float, active: Any, difference: Paired | None) -> validation.Verdict:
    return validation.judge(found, min_gain, active, difference)


def report(found: SearchEvaluation) -> dict[str, Any]:
    """What the studio shows of a search, in the shape of `validation.report`."""
    from sartor.evaluate.claim import plain
    from sartor.parts.statistics import bootstrap

    name = found.headline
    arms = [f"{arm} {name}" for arm in ("own", "population", "swapped")]
    people = found.per_query.group_by("person").agg(pl.col(arms).fill_nan(None).mean()).select(pl.col(arms).fill_null(float("nan")))
    own, population, swapped = (people[arm].to_numpy() for arm in arms)
    low, high = bootstrap(own, seed=found.seed)
    values = {arm: found.metrics[arm][name] for arm in ("population", "popularity", "swapped", "words")}
    facts = {
        "metric": name, "people": found.counts["people"], "queries": found.counts["queries"],
        "value": {"mean": found.value, "low": float(low), "high": float(high)},
        **{f"{arm}_value": value for arm, value in values.items()},
        "gain": _scale(found.gain, found.gain_interval) | {"histogram": validation.histogram(own - population)},
        "gain_over_popularity": _scale(found.gain_over_popularity, found.gain_over_popularity_interval),
        "gain_over_words": _scale(found.gain_over_words, found.gain_over_words_interval),
        "swap_gap": _scale(found.swap_gap, found.swap_gap_interval) | {"histogram": validation.histogram(own - swapped)},
        **validation.hurt(own - population), "slices": [], "state_bytes": found.cost["state_bytes"], "cost": dict(found.cost),
        "metrics": dict(found.metrics["own"]), "notes": list(found.notes), "measure_seconds": found.seconds,
    }  # fmt: skip
    out: dict[str, Any] = plain(facts)
    return out


def _scale(mean: float, interval: tuple[float, float]) -> dict[str, Any]:
    return {"mean": mean, "low": interval[0], "high": interval[1]}
