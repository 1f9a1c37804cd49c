"""How much fields say about each other."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import mutual_info_score

from sartor.parts.fields import FieldCodec
from sartor.parts.mutual_information import mutual_information


def test_categories_as_a_peer_computes_them() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 6, 500)
    b = np.where(rng.random(500) < 0.7, a // 2, rng.integers(0, 3, 500))
    c = rng.integers(0, 40, 500)
    frame = pl.DataFrame({"a": a, "b": b, "c": c}).cast(pl.String)
    codec = FieldCodec.fit(frame)
    found = mutual_information(codec.encode(frame), codec.fields)
    for i, x in enumerate((a, b, c)):
        for j, y in enumerate((a, b, c)):
            assert found[i, j] == pytest.approx(mutual_info_score(x, y), abs=1e-9)


def test_bags_share_their_rows_weight() -> None:
    frame = pl.DataFrame({"tags": [["x", "y"], ["x"], [], ["y", "z"]], "kind": ["a", "a", "b", "b"], "price": [1.0, 1.5, None, 9.0]})
    codec = FieldCodec.fit(frame)
    found = mutual_information(codec.encode(frame), codec.fields)
    joint = {("x", "a"): 1.5, ("y", "a"): 0.5, ("", "b"): 1.0, ("y", "b"): 0.5, ("z", "b"): 0.5}
    tags, kinds = {"x": 1.5, "y": 1.0, "": 1.0, "z": 0.5}, {"a": 2.0, "b": 2.0}
    wanted = sum(n / 4 * np.log((n / 4) / (tags[t] / 4 * kinds[k] / 4)) for (t, k), n in joint.items())
    assert found[0, 1] == pytest.approx(wanted) == found[1, 0]
    assert found[1, 1] == pytest.approx(np.log(2))
    # Three groups of prices (low, high, missing) tell the kind exactly.
    assert found[1, 2] == pytest.approx(np.log(2))


def test_a_constant_field_says_nothing() -> None:
    frame = pl.DataFrame({"shop": ["n"] * 30, "kind": ["a", "b", "c"] * 10})
    codec = FieldCodec.fit(frame)
    found = mutual_information(codec.encode(frame), codec.fields)
    assert found[0].tolist() == [0, 0]
    assert found[1, 1] == pytest.approx(np.log(3))
