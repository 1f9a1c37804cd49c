"""Recommendations of any library, as tables: what is wrong with them is said, with counts."""

import numpy as np
import polars as pl
import pytest

from sartor.errors import BadValue, EmptyData, MissingColumn
from sartor.evaluate import Lists

TRUTH = {"person": ["ana", "ana", "ben"], "item": ["x", "y", "z"]}


def table(rows: list[tuple[str, str, int]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"person": pl.String, "item": pl.String, "rank": pl.Int64}, orient="row")


def test_by_hand_in_any_row_order() -> None:
    lists = Lists.of(table([("ben", "x", 1), ("ana", "y", 2), ("ana", "w", 1)]), TRUTH, items=["v"])
    with pytest.warns(UserWarning, match="larger than some lists"):
        found = lists.measure(ks=(2,))
    value = dict(found.select("metric", "value").iter_rows())
    assert value["precision"] == pytest.approx((1 / 2 + 0) / 2)
    assert value["recall"] == pytest.approx((1 / 2 + 0) / 2)
    assert value["coverage"] == pytest.approx(3 / 5)
    assert "shorter" in found["notes"][0]


def test_scores_and_row_order_rank_too() -> None:
    ranked = Lists.of(table([("ana", "y", 1), ("ana", "w", 2), ("ben", "z", 1)]), TRUTH)
    scored = Lists.of({"person": ["ana", "ana", "ben"], "item": ["w", "y", "z"], "score": [0.1, 0.9, 0.0]}, TRUTH)
    plain = Lists.of({"person": ["ana", "ana", "ben"], "item": ["y", "w", "z"]}, TRUTH)
    np.testing.assert_array_equal(ranked.best, scored.best)
    np.testing.assert_array_equal(ranked.best, plain.best)


def test_repeats_and_seen_items_are_errors_with_counts_or_repaired() -> None:
    made = table([("ana", "x", 1), ("ana", "x", 2), ("ana", "w", 3), ("ana", "y", 4)])
    training = {"person": ["ana", "ben"], "item": ["w", "w"]}
    with pytest.raises(BadValue, match=r"1 repeat an item in the same list and 1 are items the person has already seen"):
        Lists.of(made, TRUTH, training=training)
    lists = Lists.of(made, TRUTH, training=training, dedup=True)
    assert [lists.items.array[number] for number in lists.best[0] if number >= 0] == ["x", "y"]
    assert any("2 repeated or already seen" in note for note in lists.notes)
    assert any("1 people with truth have no list" in note for note in lists.notes)


def test_nothing_relevant_is_nan_with_an_explanation() -> None:
    with pytest.warns(UserWarning, match="every relevance is 0"):
        lists = Lists.of(table([("ana", "x", 1)]), {**TRUTH, "relevance": [0.0, 0.0, 0.0]})
    with pytest.warns(UserWarning, match="larger than some lists"):
        found = lists.measure(ks=(1,))
    row = found.filter(pl.col("metric") == "ndcg").row(0, named=True)
    assert np.isnan(row["value"])
    assert "nothing can be said" in row["notes"]


@pytest.mark.parametrize(
    ("made", "truth", "error", "what"),
    [
        ({"person": ["ana"]}, TRUTH, MissingColumn, "column 'item'"),
        ({"person": [], "item": []}, TRUTH, EmptyData, "no recommendations"),
        ({"person": ["ana"], "item": ["x"]}, table([]), EmptyData, "truth is empty"),
        ({"person": ["ana"], "item": ["x"], "score": [float("nan")]}, TRUTH, BadValue, "ranks or scores are missing"),
        ({"person": ["ana"], "item": [None]}, TRUTH, BadValue, "ids are missing"),
    ],
)  # fmt: skip
def test_mistakes_are_named(made: dict, truth: dict, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        Lists.of(made, truth)
