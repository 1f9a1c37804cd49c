"""Ids and their numbers: a few are looked for as many are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data.ids import FEW, IdMap

TEXTS = st.text(max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.sets(TEXTS, min_size=FEW + 1, max_size=FEW + 60), st.lists(TEXTS | st.none(), max_size=2 * FEW), st.randoms(use_true_random=False))
def test_a_few_ids_have_the_numbers_that_they_have_among_many(known: set[str], wanted: list[str | None], draw: object) -> None:
    ids = sorted(known)
    draw.shuffle(ids)  # type: ignore[attr-defined]
    numbers = {one: number for number, one in enumerate(ids)}
    asked = [*wanted, *ids[::3]]
    expected = [-1 if one is None else numbers.get(one, -1) for one in asked]
    found = IdMap(ids)
    assert found.numbers(asked).tolist() == expected
    assert [number for start in range(0, len(asked), FEW) for number in found.numbers(asked[start : start + FEW]).tolist()] == expected
