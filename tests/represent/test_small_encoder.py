"""The small text encoder: learns its words and from pairs, saved and loaded, cut; the trainer behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'deep'")
pytest.importorskip("tokenizers", reason="needs the extra 'text'")

from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, FileProblem, NotFitted
from sartor.parts.contrastive import InfoNCE
from sartor.parts.nested import NestedDims, NestedLayers
from sartor.parts.pair_sampler import PairSampler
from sartor.represent.contrastive import ContrastiveTrainer
from sartor.represent.small_encoder import SmallEncoder
from sartor.represent.text import text_encoder, truncate

SEA, LAND = ["gull", "wave", "reef", "tide", "crab", "sail"], ["moss", "hill", "barn", "plum", "wolf", "path"]


def texts_of(rng: np.random.Generator, count: int) -> tuple[list[str], list[str], np.ndarray]:
    """Pairs of texts about the same of two topics, with no word in common but by chance."""
    topic = rng.integers(0, 2, count)
    words = [SEA if one else LAND for one in topic]
    return [" ".join(rng.choice(one[:3], 2)) for one in words], [" ".join(rng.choice(one[3:], 2)) for one in words], topic


def small(**settings: object) -> SmallEncoder:
    made = {"vocabulary": 400, "dim": 16, "layers": 3, "heads": 2, "max_tokens": 12, **settings}
    return SmallEncoder(**made).learn_words([f"{a} {b}" for a in SEA + LAND for b in SEA + LAND])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained() -> SmallEncoder:
    encoder = small()
    a, b, topic = texts_of(np.random.default_rng(0), 400)
    loss = NestedLayers(loss=NestedDims(InfoNCE(), (4, 16), per_step=1))
    trainer = ContrastiveTrainer(loss=loss, sampler=PairSampler(batch_size=20), epochs=4, learning_rate=5e-3, swap=0.5)
    trainer.fit(encoder, a, b, ids=topic)
    encoder.nested_dims, encoder.nested_layers = (4, 16), True
    return encoder


def test_what_stands_together_comes_to_lie_together_at_every_depth_and_width(trained: SmallEncoder) -> None:
    sea, land = [f"{a} {b}" for a in SEA for b in SEA], [f"{a} {b}" for a in LAND for b in LAND]

    def margin(encoder: SmallEncoder) -> np.ndarray:
        layers = encoder.encode_layers([*sea, *land])[:, :, :4]
        layers = layers / np.linalg.norm(layers, axis=2, keepdims=True)
        alike = np.einsum("lid,ljd->lij", layers, layers)
        return alike[:, :36, :36].mean((1, 2)) - alike[:, :36, 36:].mean((1, 2))

    assert margin(trained).min() > 0.8
    assert (margin(trained) - margin(small())).min() > 0.3


def test_vectors_do_not_depend_on_the_batch_or_on_what_else_is_asked(trained: SmallEncoder) -> None:
    texts = ["gull", "", "wave reef gull tide", "  ", "moss hill"]
    together = trained.encode(texts)
    np.testing.assert_allclose(np.stack([trained.encode([text])[0] for text in texts]), together, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), [1, 0, 1, 0, 1], atol=1e-5)
    np.testing.assert_array_equal(trained.encode(["WAVE"]), trained.encode([" wave  "]))
    layers = trained.encode_layers(texts)
    assert layers.shape == (4, 5, 16)
    np.testing.assert_allclose(layers[-1], together, atol=1e-6)
    for depth in (1, 2):
        np.testing.assert_allclose(trained.cut(depth).encode(texts), layers[depth], atol=1e-5)
    tokens = trained.encode_tokens(texts)
    assert np.diff(tokens.offsets).tolist() == [one.size for one in trained.tokenize(texts)]
    np.testing.assert_allclose(np.linalg.norm(tokens.vectors, axis=1), 1, atol=1e-5)
    assert trained.encode_tokens([]).vectors.shape == trained.encode([]).shape == (0, 16)
    # Any script, any length.
    assert trained.encode(["日本 🙂", "gull " * 500]).shape == (2, 16)


def test_saved_and_loaded_it_is_the_same_and_damage_is_noticed(trained: SmallEncoder, tmp_path: Path) -> None:
    folder = trained.cut(2).save(tmp_path / "sea")
    again = text_encoder(str(folder), cache=False)
    np.testing.assert_array_equal(again.encode(["gull moss"]), trained.cut(2).encode(["gull moss"]))
    assert again.fingerprint == trained.cut(2).fingerprint != trained.fingerprint
    assert (again.nested_dims, again.nested_layers) == ((4, 16), True)  # type: ignore[attr-defined]
    assert text_encoder(f"{folder}@layers=1,dim=4", cache=False).fingerprint == truncate(trained.cut(1), 4).fingerprint
    with pytest.raises(ConfigError, match="pooling"):
        text_encoder(f"{folder}#last")
    trained.save(tmp_path / "other")
    (folder / "weights.safetensors").write_bytes((tmp_path / "other" / "weights.safetensors").read_bytes())
    with pytest.raises(CorruptFile):
        SmallEncoder.load(folder)
    for name in ("tokenizer.json", "encoder.json", "weights.safetensors"):
        trained.save(tmp_path / "broken")
        (tmp_path / "broken" / name).write_bytes(b"{}")
        with pytest.raises(CorruptFile):
            SmallEncoder.load(tmp_path / "broken")
    with pytest.raises(FileProblem):
        SmallEncoder.load(tmp_path)


def test_the_same_seed_gives_the_same_encoder_and_a_stopped_training_goes_on(tmp_path: Path) -> None:
    a, b, topic = texts_of(np.random.default_rng(1), 60)
    trainer = ContrastiveTrainer(loss=NestedLayers(loss=InfoNCE()), sampler=PairSampler(batch_size=10), epochs=2, learning_rate=1e-3)
    whole = small()
    untrained = whole.fingerprint
    assert untrained == small().fingerprint != small(seed=1).fingerprint
    trainer.fit(whole, a, b, ids=topic)
    assert whole.fingerprint != untrained

    def stop() -> float:
        stop.calls += 1  # type: ignore[attr-defined]
        if stop.calls == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return float(stop.calls)  # type: ignore[attr-defined]

    stop.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(small(), a, b, ids=topic, validate=stop, checkpoint=tmp_path)
    resumed = small()
    stop.calls = 2  # type: ignore[attr-defined]
    trainer.fit(resumed, a, b, ids=topic, validate=stop, checkpoint=tmp_path)
    assert resumed.fingerprint == whole.fingerprint
    stop.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(small(), a, b, ids=topic, validate=stop, checkpoint=tmp_path)
    with pytest.raises(ConfigError, match="other settings or data"):
        trainer.fit(small(), b, a, ids=topic, checkpoint=tmp_path)


def test_a_side_may_be_drawn_anew_each_time() -> None:
    a, _, topic = texts_of(np.random.default_rng(1), 40)
    drawn: list[str] = []

    def skills(rng: np.random.Generator, rows: np.ndarray) -> list[str]:
        drawn.extend(made := [" ".join(rng.permutation(SEA if topic[row] else LAND)[:2]) for row in rows])
        return made

    trainer = ContrastiveTrainer(sampler=PairSampler(batch_size=10), epochs=3)
    trainer.fit(small(), a, skills, ids=topic)
    assert len(drawn) == 120
    assert len(set(drawn)) > 20
    with pytest.raises(ConfigError, match="how many"):
        trainer.fit(small(), skills, skills)
    with pytest.raises(BadValue, match="empty") as caught:
        trainer.fit(small(), a, lambda rng, rows: ["" if row == 7 else "gull" for row in rows])
    assert caught.value.where["row"] == 7


def test_bad_input_has_a_name() -> None:
    trainer, encoder = ContrastiveTrainer(), small()
    with pytest.raises(ConfigError, match="differ in length"):
        trainer.fit(encoder, ["a", "b"], ["a"])
    with pytest.raises(ConfigError, match="'ids': 1"):
        trainer.fit(encoder, ["a", "b"], ["a", "b"], ids=np.zeros(1))
    with pytest.raises(BadValue, match=r"row 1.*empty"):
        trainer.fit(encoder, ["a", " "], ["a", "b"])
    with pytest.raises(EmptyData):
        trainer.fit(encoder, ["a"], ["b"])
    with pytest.raises(ConfigError, match="swap"):
        ContrastiveTrainer(swap=0.7).fit(encoder, ["a", "b"], ["a", "b"])
    with pytest.raises(ConfigError, match="256"):
        SmallEncoder(vocabulary=100)
    with pytest.raises(ConfigError, match="pooling"):
        SmallEncoder(pooling="max")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="heads"):
        small(dim=10, heads=4)
    with pytest.raises(EmptyData):
        SmallEncoder().learn_words(["", " "])
    for ask in (lambda: SmallEncoder().encode(["a"]), lambda: SmallEncoder().fingerprint, lambda: SmallEncoder().save("x")):
        with pytest.raises(NotFitted, match="learn_words"):
            ask()
