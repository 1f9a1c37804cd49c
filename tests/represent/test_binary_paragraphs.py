"""Binary paragraph vectors: bits that are trained, codes of new documents, search by them, every bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'deep'")

import torch

from sartor.errors import ConfigError, CorruptFile, EmptyData, FileProblem, NotFitted, WrongType
from sartor.represent.binary_paragraphs import BinaryParagraphs
from sartor.retrieve.code_search import hamming, hamming_then_cosine

SMALL = {"dim": 16, "words": 8, "negatives": 32, "epochs": 12, "batch_size": 32, "learning_rate": 0.01, "document_rate": 0.05}


def documents(count: int, seed: int) -> tuple[list[list[str]], np.ndarray]:
    """Four topics of 20 words each, a fifth of the words of any topic."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, 4, count)
    own = np.where(rng.random((count, 20)) < 0.8, topic[:, None], rng.integers(0, 4, (count, 20)))
    return [[f"t{t}w{w}" for t, w in zip(row, rng.integers(0, 20, 20), strict=True)] for row in own], topic


@pytest.fixture(scope="module")
def model() -> BinaryParagraphs:
    trained = BinaryParagraphs(bits=24, real=True, **SMALL)
    trained.fit(documents(300, 0)[0], progress=False)
    return trained


def test_codes_of_new_documents_find_their_topic(model: BinaryParagraphs) -> None:
    texts, topic = documents(120, 1)
    found = model.encode(texts)
    assert found.codes.shape == (120, 3)
    assert found.codes.dtype == np.uint8
    assert found.vectors.shape == (120, 16)
    near, distances = hamming(found.codes[:40], found.codes[40:], 10)
    assert (topic[40:][near] == topic[:40, None]).mean() > 0.8
    bits = np.unpackbits(found.codes, axis=1)
    np.testing.assert_array_equal(distances, (bits[:40, None] != bits[40:][near]).sum(2))
    # Every bit says something.
    assert ((bits.mean(0) > 0.1) & (bits.mean(0) < 0.9)).mean() > 0.8


def test_a_code_does_not_depend_on_its_neighbours(model: BinaryParagraphs) -> None:
    texts, _ = documents(30, 2)
    whole, alone = model.encode(texts).codes, np.concatenate([model.encode([text]).codes for text in texts[:5]])
    # Products of other shapes are rounded otherwise: a bit at its threshold may fall to the other side.
    assert (np.unpackbits(whole[:5], axis=1) == np.unpackbits(alone, axis=1)).mean() > 0.97
    np.testing.assert_array_equal(model.encode(texts).codes, whole)


def test_encoding_leaves_the_words_alone(model: BinaryParagraphs) -> None:
    before = {name: one.clone() for name, one in model.network.state_dict().items()}
    model.encode(documents(10, 3)[0])
    assert all(torch.equal(one, before[name]) for name, one in model.network.state_dict().items())
    assert all(one.requires_grad for one in model.network.parameters())


def test_the_loss_is_that_of_the_bits_and_reaches_what_is_before_them(model: BinaryParagraphs) -> None:
    network = BinaryParagraphs(bits=24, **SMALL)._make(model.vocabulary)
    torch.nn.init.normal_(network.by_bits.table, generator=torch.Generator().manual_seed(0))
    vectors = torch.randn(5, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    words, negatives = torch.arange(40).view(5, 8), torch.arange(40, 60)
    losses = network(vectors, words, negatives)
    signs = torch.where(network.project(vectors) > 0, 1.0, -1.0).detach().requires_grad_()
    torch.testing.assert_close(losses, network.by_bits(signs, words, negatives))
    losses.sum().backward()
    network.by_bits(signs, words, negatives).sum().backward()
    soft = torch.sigmoid(network.project(vectors)).detach()
    # Straight-through: the gradient of the bits goes on through the sigmoid as if there had been no rounding.
    torch.testing.assert_close(vectors.grad, (2 * signs.grad * soft * (1 - soft)) @ network.project.weight)


def test_the_second_stage_is_the_cosine_of_the_candidates(model: BinaryParagraphs) -> None:
    texts, _ = documents(80, 4)
    found = model.encode(texts)
    queries, library = (found.codes[:10], found.vectors[:10]), (found.codes[10:], found.vectors[10:])
    rows, cosines = hamming_then_cosine(queries, library, 5, candidates=len(library[0]))
    unit = found.vectors / np.linalg.norm(found.vectors, axis=1, keepdims=True)
    full = unit[:10] @ unit[10:].T
    np.testing.assert_allclose(cosines, -np.sort(-full, axis=1)[:, :5], rtol=1e-5)
    few, _ = hamming_then_cosine(queries, library, 5, candidates=8)
    near = hamming(queries[0], library[0], 8)[0]
    assert all(set(row) <= set(allowed) for row, allowed in zip(few.tolist(), near.tolist(), strict=True))
    assert rows.shape == few.shape == (10, 5)


def test_files_resume_and_plain_vectors(model: BinaryParagraphs, tmp_path: Path) -> None:
    texts, _ = documents(20, 5)
    again = BinaryParagraphs.load(model.save(tmp_path / "model"))
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.encode(texts).codes, model.encode(texts).codes)
    data = (tmp_path / "model").read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptFile):
        BinaryParagraphs.load(tmp_path / "cut")
    with pytest.raises(FileProblem):
        BinaryParagraphs.load(tmp_path / "nothing")
    plain = BinaryParagraphs(bits=0, real=True, **SMALL)
    assert plain.fit(texts, progress=False).codes.shape == (20, 0)
    pairs = BinaryParagraphs(bits=8, bigrams=True, **SMALL)
    pairs.fit([["new", "york", "city"]] * 4, progress=False)
    assert set(pairs.vocabulary.words) == {"new", "york", "city", "new york", "york city"}


def test_bad_input_has_a_name(model: BinaryParagraphs) -> None:
    for bits in (12, -8):
        with pytest.raises(ConfigError, match="multiple of 8"):
            BinaryParagraphs(bits=bits)
    with pytest.raises(ConfigError, match="nothing to learn"):
        BinaryParagraphs(bits=0)
    with pytest.raises(ConfigError):
        BinaryParagraphs(dropout=1.0)
    with pytest.raises(EmptyData, match="no word of the vocabulary") as caught:
        model.encode([["t0w0"], ["never", "seen"]])
    assert caught.value.where["row"] == 1
    with pytest.raises(EmptyData):
        BinaryParagraphs().fit([["once"]], progress=False)
    with pytest.raises(WrongType, match="not a list of words"):
        model.encode(["one text"])  # type: ignore[list-item]
    with pytest.raises(NotFitted):
        BinaryParagraphs().encode([["t0w0"]])
    codes = np.zeros((3, 2), np.uint8)
    for queries, k in ((np.zeros((3, 4), np.uint8), 1), (codes.astype(np.int64), 1), (codes, 4)):
        with pytest.raises(ConfigError):
            hamming(queries, codes, k)
