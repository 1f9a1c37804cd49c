"""What every recommender in the table must do, whatever it is inside: serve people it has never seen, update, forget, save, refuse."""

from __future__ import annotations

import warnings
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

import sartor
from sartor import Evidence, Population, Recommender, State, _storage
from sartor.data.world import World
from sartor.errors import StateMismatch
from sartor.systems import SYSTEMS

SMALL: dict[str, Any] = {
    "epochs": 3, "iterations": 4, "factors": 8, "embedding_dim": 8, "dim": 8, "max_length": 12, "blocks": 1, "layers": 1, "clusters": 8,
    "neighbours": 10, "noise_factors": 4, "rank": 4, "residual_dim": 4, "encoder": "hashed:64", "steps": 20,
}  # fmt: skip
SLUGS = [slug for slug, system in SYSTEMS.items() if system.target.startswith("sartor.recommend.") and slug != "sesa"]
"""SESA reads a person from her text, not from events: tests/recommend/test_sesa.py."""


@cache
def world() -> Population:
    """Eighty people; everybody has rated what they chose, for the methods that complete ratings."""
    return World(people=80, items=90, seed=5, events_per_person=18).population()


@cache
def history() -> tuple[Any, ...]:
    """What a person nobody has seen did: the events of one who was left out of fitting."""
    return tuple(world().events.collect().filter(_is_held_out())["item"].unique(maintain_order=True).to_list())


def _is_held_out() -> Any:
    return pl.col("person") == world().events.collect()["person"].max()


@cache
def fitted(slug: str) -> Recommender:
    system = SYSTEMS[slug]
    events = world().events.filter(~_is_held_out())
    if slug == "matrix-completion-am":
        events = events.with_columns(value=1.0 + pl.col("item").rank("dense").over("person") % 5)
    people = world().replace(events=events)
    kind = system.resolve()
    own = {f.name: f for f in fields(kind) if f.init}
    settings = {name: SMALL[name] for name in own.keys() & SMALL.keys()}
    if "base" in own:
        settings["base"] = fitted("als")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tiny data: unseen values, small communities
        return kind(**settings).fit(people, progress=False)


def of(items: tuple[Any, ...] | list[Any]) -> Evidence:
    return Evidence.from_items(list(items), values=[4.0] * len(items), times=list(range(1_600_000_000, 1_600_000_000 + len(items))))


@pytest.mark.parametrize("slug", SLUGS)
def test_serves_somebody_never_seen(slug: str) -> None:
    method = fitted(slug)
    state = method.adapt(of(history()))
    assert state.nbytes < 100_000
    own, population = method.recommend([state, None], 10)
    assert len(own) == len(set(own)) == 10
    assert not set(own) & set(history())
    assert len(population) == 10
    again = method.recommend([state], 10)
    assert again[0] == own, "the answer depends on who else is in the batch"
    assert np.isfinite(again.scores).all()


@pytest.mark.parametrize("slug", SLUGS)
def test_an_update_is_as_good_as_starting_over(slug: str) -> None:
    method = fitted(slug)
    first = method.adapt(of(history()[:4]))
    later = Evidence.from_items(list(history()[4:]), values=[4.0] * len(history()[4:]), times=[1_600_000_004 + n for n in range(len(history()) - 4)])
    both, at_once = method.adapt(later, first), method.adapt(of(history()))
    assert both.version == 2
    np.testing.assert_allclose(method.recommend([both], 5).scores, method.recommend([at_once], 5).scores, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("slug", SLUGS)
def test_comes_back_from_disk_and_bytes(slug: str, tmp_path) -> None:
    method = fitted(slug)
    state = method.adapt(of(history()))
    again = sartor.load(method.save(tmp_path / slug))
    copy = State.from_bytes(state.to_bytes())
    before, after = method.recommend([state, None], 8), again.recommend([copy, None], 8)
    np.testing.assert_allclose(before.scores, after.scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again.recommend([again.adapt(of(history()))], 8).scores, before.scores[:1], rtol=1e-4, atol=1e-5)
    # Servers leave the arrays in the file; the content still is what its name says.
    mapped = _storage.load(tmp_path / slug, mapped=True)
    assert _storage.fingerprint(mapped) == method.fingerprint_
    assert np.array_equal(mapped.recommend([mapped.adapt(of(history()))], 8).scores, again.recommend([again.adapt(of(history()))], 8).scores)


@pytest.mark.parametrize("slug", SLUGS)
def test_knows_nothing_without_evidence(slug: str) -> None:
    """Somebody without evidence, or with none that the model knows, gets an answer like anybody's, not an error and not NaN."""
    method = fitted(slug)
    nobody = method.adapt(Evidence.from_items(["no such thing"], values=[4.0], times=[1_600_000_000]))
    assert nobody.notes.get("unknown_items") == 1
    assert len(method.recommend([nobody], 5)[0]) == 5
    if slug in ("ease", "item-knn", "popularity", "als", "bpr"):
        assert method.recommend([nobody], 5)[0] == method.recommend([None], 5)[0]


@pytest.mark.parametrize("slug", SLUGS)
def test_refuses_the_state_of_another_model(slug: str) -> None:
    other = "ease" if slug != "ease" else "popularity"
    with pytest.raises(StateMismatch):
        fitted(slug).recommend([fitted(other).adapt(of(history()))], 3)


@pytest.mark.parametrize("slug", SLUGS)
def test_one_persons_deletion_changes_nobody_else(slug: str) -> None:
    """States are all there is of people at request time: adapting or dropping one leaves every other answer as it was."""
    method = fitted(slug)
    mine, theirs = method.adapt(of(history()[:6])), method.adapt(of(history()[6:]))
    together = method.recommend([mine, theirs], 6)
    assert method.recommend([mine], 6)[0] == together[0]
    assert method.recommend([theirs], 6)[0] == together[1]


@pytest.mark.parametrize("slug", SLUGS)
def test_candidates_narrow_the_choice(slug: str) -> None:
    method = fitted(slug)
    pool = method.items_.ids.to_list()[:20]
    best = method.recommend([method.adapt(of(history()))], 5, candidates=pool)[0]
    assert set(best) <= set(pool) - set(history())


@pytest.mark.parametrize(
    "slug", [slug for slug in SLUGS if slug not in ("popularity", "attribute-popularity", "matrix-completion-am", "unified-embedding")]
)
def test_a_persons_own_state_beats_none_and_anothers(slug: str) -> None:
    """On people with sharp tastes even a briefly trained method should tell them apart: own lists differ between people."""
    method = fitted(slug)
    states = list(method.adapt_all(world()).values())[:20]
    lists = {tuple(one) for one in method.recommend(states, 5)}
    assert len(lists) > 10
