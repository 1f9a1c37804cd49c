"""Sessions over items that are only their attributes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import sartor.method
from sartor.data import Evidence, Population
from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.parts.fields import UnknownValues
from sartor.recommend.m2trec import M2TRec

KINDS, BRANDS = 5, 4


def shop(sessions: int = 400) -> Population:
    """Ten items per kind; the next item is of the next kind and the same brand. The last five items are never touched."""
    rng = np.random.default_rng(0)
    kind, brand = np.arange(60) % KINDS, np.arange(60) // KINDS % BRANDS
    rows = []
    for session in range(sessions):
        at, own = rng.integers(KINDS), rng.integers(BRANDS)
        for step in range(5):
            possible = np.flatnonzero((kind == (at + step) % KINDS) & (brand == own) & (np.arange(60) < 55))
            rows.append((session, int(rng.choice(possible)), step))
    return Population.from_frames(
        events=pl.DataFrame(rows, schema=["person", "item", "time"], orient="row"),
        items=pl.DataFrame({"item": range(60), "kind": [f"k{one}" for one in kind], "brand": [f"b{one}" for one in brand], "price": kind * 2.0 + 1}),
    )


@pytest.fixture(scope="module")
def fitted() -> M2TRec:
    settings = {
        "embedding_dim": 32,
        "field_dim": 8,
        "blocks": 1,
        "heads": 2,
        "epochs": 12,
        "batch_size": 64,
        "learning_rate": 3e-3,
        "negatives": 64,
        "dropout": 0.0,
    }
    return M2TRec(**settings).fit(shop(), progress=False)


def session(kind: int, brand: int) -> Evidence:
    """Two items, so that the third is of kind + 2 and the same brand."""
    own = [next(i for i in range(55) if i % KINDS == (kind + step) % KINDS and i // KINDS % BRANDS == brand) for step in (0, 1)]
    return Evidence.from_items(own, times=[1, 2])


def test_new_items_are_recommended_as_soon_as_their_attributes_are_known(fitted: M2TRec, tmp_path) -> None:
    model = sartor.method.load(fitted.save(tmp_path / "model"))
    for kind, brand in ((0, 0), (1, 2), (3, 1)):
        state = model.adapt(session(kind, brand))
        wanted = [i for i in range(60) if i % KINDS == (kind + 2) % KINDS and i // KINDS % BRANDS == brand]
        # Items never touched rank with those of their kind and brand: they have the same vector.
        assert set(model.recommend([state], len(wanted))[0]) == set(wanted)
    before = model.score([state])
    model.add_items(pl.DataFrame({"item": [100], "kind": ["k0"], "brand": ["b1"], "price": [1.0]}))
    after = model.score([state])
    np.testing.assert_array_equal(after[:, :60], before)
    assert after[0, 60] == pytest.approx(max(before[0, i] for i in range(60) if i % KINDS == 0 and i // KINDS % BRANDS == 1), abs=1e-5)


def test_there_is_no_row_per_item(fitted: M2TRec) -> None:
    assert not any(size in (55, 56, 60, 61) for tensor in fitted.network_.state_dict().values() for size in tensor.shape)
    with pytest.raises(ConfigError, match="reads no item ids"):
        M2TRec(use_ids=True).fit(shop(), progress=False)


def test_categories_are_foretold(fitted: M2TRec) -> None:
    assert set(fitted.tasks_) == {"kind", "brand"}
    states = [fitted.adapt(session(kind, 1)) for kind in range(KINDS)]
    chances = fitted.categories(states)
    np.testing.assert_allclose(chances["kind"].sum(1), 1, rtol=1e-5)
    for kind in range(KINDS):
        assert fitted.task_values_["kind"][int(chances["kind"][kind].argmax())] == f"k{(kind + 2) % KINDS}"
    with pytest.raises(EmptyData, match="without events"):
        fitted.categories([fitted.adapt(Evidence.from_items(pl.Series([], dtype=pl.Int64)))])


def test_an_empty_session_gets_the_populations_answer_and_says_so(fitted: M2TRec) -> None:
    state = fitted.adapt(Evidence.from_items(pl.Series([], dtype=pl.Int64)))
    np.testing.assert_array_equal(fitted.score([state]), fitted.score([None]))
    assert "empty" in state.notes["why"]
    assert "why" not in fitted.adapt(session(0, 0)).notes


def test_values_never_seen_are_unknown_with_one_warning(fitted: M2TRec, tmp_path) -> None:
    model = sartor.method.load(fitted.save(tmp_path / "model"))
    with pytest.warns(UnknownValues, match=r"brand 1, .*|kind 1, brand 1 \(in 1 rows\)") as caught:
        model.add_items(pl.DataFrame({"item": [100], "kind": ["sofa"], "brand": ["new"], "price": [3.0]}))
    assert len(caught) == 1
    assert np.isfinite(model.score([None])).all()


def test_an_item_without_metadata_is_named(fitted: M2TRec, tmp_path) -> None:
    bare = shop(20)
    items = bare.items.collect().with_columns(pl.when(pl.col("item") != 9).then(pl.col(name)) for name in ("kind", "brand", "price"))
    with pytest.raises(BadValue, match=r"item 9 has no metadata in any of \['kind', 'brand', 'price'\]; M2TRec cannot place it"):
        M2TRec(epochs=1).fit(bare.replace(items=items), progress=False)
    model = sartor.method.load(fitted.save(tmp_path / "model"))
    with pytest.raises(BadValue, match="item 100"):
        model.add_items(pl.DataFrame({"item": [100], "kind": [None], "brand": [None], "price": [None]}))
    assert len(model.items_) == 60  # nothing half done


def test_padding_and_company_change_nobody(fitted: M2TRec) -> None:
    population = shop(30)
    together = fitted.adapt_all(population)
    for person in (0, 11):
        np.testing.assert_allclose(fitted.adapt(population[person])["vector"], together[person]["vector"], atol=1e-5)


def test_an_update_equals_starting_over(fitted: M2TRec) -> None:
    whole = shop(30)[4]
    first, rest = Evidence({"events": whole.events.head(2)}), Evidence({"events": whole.events.slice(2)})
    state = fitted.adapt(rest, fitted.adapt(first))
    np.testing.assert_allclose(state["vector"], fitted.adapt(whole)["vector"], atol=1e-6)
    assert state["times"].tolist() == [0, 1, 2, 3, 4]


def test_a_task_that_is_no_category_is_named() -> None:
    with pytest.raises(ConfigError, match=r"tasks \['price'\] are no category fields"):
        M2TRec(tasks=["price"]).fit(shop(20), progress=False)
