"""Hashes, codes and embeddings of fields."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import ConfigError, MissingColumn, WrongType
from sartor.parts import hashing
from sartor.parts.field_embedding import FieldEmbedding, tensors
from sartor.parts.fields import DEFAULT, FieldCodec, UnknownValues, take

FRAME = pl.DataFrame(
    {
        "brand": ["acme", "zeta", None, "acme"],
        "title": ["The Heat", "", None, "Heat wave"],
        "tags": [["x", "y"], [], None, ["y", None, "y"]],
        "price": [1.0, 2.0, None, 4.5],
        "year": [1990, 1991, 1990, None],
    }
)


def slow_key(text: str) -> int:
    """FNV-1a and the splitmix64 finaliser, one byte and one integer at a time."""
    mask, value = (1 << 64) - 1, 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & mask
    x = (value + hashing.offset(0)) & mask
    x = ((x ^ (x >> 30)) * hashing.FIRST) & mask
    x = ((x ^ (x >> 27)) * hashing.SECOND) & mask
    return x ^ (x >> 31)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=12)), min_size=1, max_size=8))
def test_keys_equal_a_slow_reference(values: list[str | None]) -> None:
    keys = hashing.keys(pl.Series(values, dtype=pl.String))
    assert keys.tolist() == [hashing.MISSING if value is None else slow_key(value) for value in values]


def test_keys_are_the_same_in_another_process_with_another_hash_seed() -> None:
    code = "import polars as pl; from sartor.parts import hashing; print(hashing.keys(pl.Series(['Heat', 'naïve', '']))[:].tolist(), hash('Heat'))"
    said = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout for seed in "12"
    ]
    keys = [line.rpartition(" ")[0] for line in said]
    assert keys[0] == keys[1] == str(hashing.keys(pl.Series(["Heat", "naïve", ""])).tolist())
    assert said[0] != said[1]  # Python's own hash does differ


def test_integers_and_their_text_have_the_same_key_and_slices_are_read_right() -> None:
    numbers = pl.Series([7, 1990, -3])
    assert np.array_equal(hashing.keys(numbers), hashing.keys(pl.Series(["7", "1990", "-3"])))
    assert np.array_equal(hashing.keys(pl.Series(["a", "bb", "ccc", None])[1:]), hashing.keys(pl.Series(["bb", "ccc", None])))


def test_codes_of_every_kind() -> None:
    codec = FieldCodec.fit(FRAME)
    assert [(field.name, field.kind) for field in codec.fields] == [
        ("brand", "category"), ("title", "text"), ("tags", "categories"), ("price", "number"), ("year", "category"),
    ]  # fmt: skip
    codes = codec.encode(FRAME)
    assert codes["brand"][0] == codes["brand"][3] != codes["brand"][1]
    assert codes["brand"][2] == DEFAULT == codes["year"][3]
    # Lists without values, and texts without words, are their default and then padding.
    assert codes["tags"][1].tolist() == codes["tags"][2].tolist() == [DEFAULT, codec["tags"].padding]
    assert np.count_nonzero(codes["tags"][3] != codec["tags"].padding) == 1
    assert len(set(codes["title"][0].tolist()) & set(codes["title"][3].tolist())) == 1  # "heat"
    known = codes["price"][[0, 1, 3]]
    assert np.isnan(codes["price"][2])
    assert known.mean() == pytest.approx(0, abs=1e-6)
    assert known.std() == pytest.approx(1, abs=1e-6)
    assert codec.missing(codes).tolist() == [
        [False] * 5, [False, True, True, False, False], [True, True, True, True, False], [False, False, False, False, True],
    ]  # fmt: skip


def test_unknown_values_share_the_default_with_one_warning_that_counts_them() -> None:
    codec = FieldCodec.fit(FRAME)
    fresh = FRAME.with_columns(brand=pl.Series(["new", "newer", "acme", None]), tags=pl.Series([["q"], ["x", "q"], None, []]))
    with pytest.warns(UnknownValues, match=r"brand 2, tags 2 \(in 4 rows\)") as caught:
        codes = codec.encode(fresh)
    assert len(caught) == 1
    assert codes["brand"].tolist() == [DEFAULT, DEFAULT, codec.encode(FRAME)["brand"][0], DEFAULT]
    assert codes["tags"][0, 0] == DEFAULT
    assert codes["tags"][1].tolist() == [codec.encode(FRAME)["tags"][0].min(), codec["tags"].padding]


def test_a_codec_survives_saving() -> None:
    codec = FieldCodec.fit(FRAME)
    again = FieldCodec.restore(codec.facts(), codec.flat_vocabulary())
    for name, codes in codec.encode(FRAME).items():
        np.testing.assert_array_equal(again.encode(FRAME)[name], codes)
    with pytest.raises(ConfigError, match="keys for fields"):
        FieldCodec.restore(codec.facts(), codec.flat_vocabulary()[1:])


def test_mistakes_name_the_column() -> None:
    with pytest.raises(MissingColumn, match="'city'"):
        FieldCodec.fit(FRAME, {"city": "category"})
    with pytest.raises(WrongType, match="column tags"):
        FieldCodec.fit(FRAME, {"tags": "category"})
    with pytest.raises(WrongType, match="column brand"):
        FieldCodec.fit(FRAME, {"brand": "number"})
    with pytest.raises(ConfigError, match="declared as 'colour'"):
        FieldCodec.fit(FRAME, {"brand": "colour"})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match=r"'city' not declared; known: \['brand'"):
        FieldCodec.fit(FRAME)["city"]


def test_columns_that_name_every_row_are_not_read_unless_asked_for() -> None:
    frame = pl.DataFrame({"url": [f"u{i}" for i in range(50)], "kind": ["a", "b"] * 25, "empty": [None] * 50})
    assert FieldCodec.fit(frame).names == ["kind"]
    assert FieldCodec.fit(frame, {"url": "category"}).names == ["url"]


def test_bags_are_means_and_defaults_stand_in() -> None:
    codec = FieldCodec.fit(FRAME)
    torch.manual_seed(0)
    embedding = FieldEmbedding(codec.fields, 8)
    codes = codec.encode(FRAME)
    out = embedding(tensors(codes)).detach()
    assert out.shape == (4, 40)
    assert torch.isfinite(out).all()
    table = embedding.tables[2].weight
    np.testing.assert_allclose(out[0, 16:24], (table[codes["tags"][0, 0]] + table[codes["tags"][0, 1]]).detach() / 2, rtol=1e-5)
    for column, (number, row) in enumerate([(0, 2), (1, 1), (2, 2), (3, 2), (4, 3)]):
        assert torch.equal(out[row, 8 * column : 8 * column + 8], embedding.defaults[number].detach())
    hidden = torch.tensor([True, False, True, False, False])
    masked = embedding(tensors(codes), hidden=hidden).detach()
    assert torch.equal(masked[:, :8], embedding.defaults[0].detach().expand(4, 8))
    assert torch.equal(masked[:, 8:16], out[:, 8:16])
    # Rows do not depend on their company.
    assert torch.equal(embedding(take(tensors(codes), [3])).detach()[0], out[3])


def test_dropping_all_values_of_a_bag_leaves_the_default() -> None:
    codec = FieldCodec.fit(FRAME, {"tags": "categories"})
    embedding = FieldEmbedding(codec.fields, 4).train()
    out = embedding(tensors(codec.encode(FRAME)), drop=1.0).detach()
    assert torch.equal(out, embedding.defaults[0].detach().expand(4, 4))
    assert not torch.equal(embedding.eval()(tensors(codec.encode(FRAME)), drop=1.0)[0], out[0])


def test_a_shared_table_can_replace_the_tables() -> None:
    codec = FieldCodec.fit(FRAME)
    embedding = FieldEmbedding(codec.fields, 8, share=16, chunks=2, codec=codec)
    assert embedding.shared is not None
    assert sum(p.numel() for p in embedding.shared.parameters()) == 16 * 4
    codes = tensors(codec.encode(FRAME))
    out = embedding(codes)
    direct = embedding.shared.embed("brand", torch.from_numpy(codec.keys(FRAME)["brand"]))
    assert torch.equal(out[[0, 1, 3], :8], direct[[0, 1, 3]])
    with pytest.raises(ConfigError, match="multiple of chunks"):
        FieldEmbedding(codec.fields, 7, share=16, codec=codec)


def test_no_warning_where_all_is_known() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FieldCodec.fit(FRAME).encode(FRAME)
