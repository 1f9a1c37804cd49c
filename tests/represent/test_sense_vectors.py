"""Sense vectors: skip-gram with one sense, senses of a merged word, pruning, a person's leaning, every bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'deep'")

import torch

from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, NotFitted, StateMismatch, UnknownId, WrongType
from sartor.method import State
from sartor.parts.samplers import order
from sartor.parts.trainer import Trainer, seeded
from sartor.represent.sense_vectors import SenseVectors, _Windows
from sartor.represent.word_prediction import Vocabulary, WordPredictor

SMALL = {"dim": 12, "window": 4, "min_count": 2, "negatives": 16, "batch_size": 64, "seed": 3}
FRUIT, TECH = [f"f{number}" for number in range(12)], [f"c{number}" for number in range(12)]


def documents(count: int, seed: int, fruit: float = 0.5) -> tuple[list[list[str]], np.ndarray]:
    """ "apple" among words of fruit or of technology, and where it is meant as fruit."""
    rng = np.random.default_rng(seed)
    of_fruit = rng.random(count) < fruit
    texts = []
    for own in of_fruit:
        text = rng.choice(FRUIT if own else TECH, 8).tolist()
        text[4] = "apple"
        texts.append(text)
    return texts, of_fruit


@pytest.fixture(scope="module")
def model() -> SenseVectors:
    return SenseVectors(senses=2, epochs=6, learning_rate=0.02, **SMALL).fit(documents(500, 0)[0], progress=False)


def apples(model: SenseVectors, texts: list[list[str]], state: State | None = None) -> np.ndarray:
    return model.probabilities(["apple"] * len(texts), [[*text[:4], *text[5:]] for text in texts], state)


def test_one_sense_is_skip_gram() -> None:
    texts, _ = documents(60, 1)
    ours = SenseVectors(senses=1, epochs=2, **SMALL).fit(texts, progress=False)

    # Written again without senses: a word's one vector predicts the words around it.
    vocabulary = Vocabulary.of(texts, min_count=2)
    windows = _Windows(*vocabulary.numbers(texts), 4)
    with seeded(3):
        vectors = torch.nn.Parameter(torch.randn(len(vocabulary), 12) / 12**0.5)
    predictor = WordPredictor(vocabulary, 12)

    def batches(rng: np.random.Generator):  # type: ignore[no-untyped-def]
        for chosen in order(rng, windows.places.size, 64):
            yield *windows.of(windows.places[chosen]), predictor.draw(rng, 16)

    Trainer(epochs=2, learning_rate=0.01, seed=3).fit(
        torch.nn.ModuleList([torch.nn.ParameterList([vectors]), predictor]), batches, lambda batch: predictor(vectors[batch[0]], *batch[1:]).mean()
    )
    np.testing.assert_array_equal(ours.vectors[:, 0], vectors.detach().numpy())
    np.testing.assert_array_equal(ours.network.predictor.table.detach().numpy(), predictor.table.detach().numpy())


def test_the_context_tells_the_sense(model: SenseVectors) -> None:
    texts, fruit = documents(100, 2)
    found = apples(model, texts)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    right = (found.argmax(1) == 0) == fruit
    assert max(right.mean(), 1 - right.mean()) > 0.95
    assert not np.allclose(found, np.round(found))


def test_choosing_a_sense_has_a_gradient_and_the_context_has_none(model: SenseVectors) -> None:
    network = model.network
    words, around = torch.tensor([0, 1]), torch.tensor([[2, 3, -1], [4, -1, -1]])
    network.zero_grad()
    with seeded(0):
        network(words, around, torch.arange(10)).sum().backward()
    assert network.weight.grad[words].abs().sum() > 0
    assert network.weight.grad.abs().sum() == network.weight.grad[words].abs().sum()
    network.zero_grad()
    network.logits(words, around).sum().backward()
    assert network.predictor.table.grad is None or network.predictor.table.grad.abs().sum() == 0
    network.zero_grad()


def test_rare_senses_are_dropped() -> None:
    texts, _ = documents(300, 4)
    settings = {"senses": 4, "epochs": 4, "learning_rate": 0.02, **SMALL}
    every, few = (SenseVectors(prune=prune, **settings).fit(texts, progress=False) for prune in (0.0, 0.25))
    dropped = (few.priors == 0) & (every.priors > 0)
    assert dropped.any()
    assert (every.priors[dropped] < 0.25).all()
    assert ((few.priors > 0).sum(1) >= 1).all()
    np.testing.assert_allclose(few.priors.sum(1), 1, rtol=1e-5)
    apple = few.vocabulary.number("apple")
    assert (apples(few, texts)[:, few.priors[apple] == 0] == 0).all()


def test_a_person_leans_towards_her_sense(model: SenseVectors) -> None:
    cook, engineer = (model.adapt(documents(30, 5, share)[0]) for share in (1.0, 0.0))
    fruit = int(apples(model, [[*FRUIT[:4], "apple", *FRUIT[4:8]]])[0].argmax())
    for state, sense in ((cook, fruit), (engineer, 1 - fruit)):
        assert model.probabilities(["apple"], [[]], state)[0, sense] > 0.75
    # The context still counts, and a word she never used is everybody's.
    assert apples(model, [[*TECH[:4], "apple", *TECH[4:8]]], cook)[0, fruit] < 0.5
    np.testing.assert_array_equal(model.probabilities(["c0"], [["c1"]], cook), model.probabilities(["c0"], [["c1"]]))
    both, once = model.adapt(documents(30, 5, 0.0)[0], cook), model.adapt(documents(30, 5, 1.0)[0] + documents(30, 5, 0.0)[0])
    np.testing.assert_allclose(both["counts"], once["counts"], rtol=1e-4, atol=1e-4)
    assert both.version == 2
    assert both.examples == once.examples
    assert both["leaning"].dtype == np.float16
    again = State.from_bytes(both.to_bytes())
    np.testing.assert_array_equal(again["leaning"], both["leaning"])


def test_files_and_export(model: SenseVectors, tmp_path: Path) -> None:
    again = SenseVectors.load(model.save(tmp_path / "model"))
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.priors, model.priors)
    lines = model.export(tmp_path / "senses.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"{(model.priors > 0).sum()} 12"
    assert len(lines) == (model.priors > 0).sum() + 1
    name, *numbers = lines[1].split(" ")
    word, sense = name.split("#")
    np.testing.assert_allclose([float(one) for one in numbers], model.vectors[model.vocabulary.number(word), int(sense)], rtol=1e-4)
    (tmp_path / "model").write_bytes((tmp_path / "senses.txt").read_bytes())
    with pytest.raises(CorruptFile):
        SenseVectors.load(tmp_path / "model")


def test_bad_input_has_a_name(model: SenseVectors) -> None:
    with pytest.raises(UnknownId, match="did you mean 'apple'") as caught:
        model.probabilities(["appel"], [["f1"]])
    assert isinstance(caught.value, KeyError)
    with pytest.raises(ConfigError, match="1 words with 2 contexts"):
        model.probabilities(["apple"], [["f1"], ["f2"]])
    with pytest.raises(NotFitted):
        SenseVectors().adapt([["apple"]])
    with pytest.raises(StateMismatch):
        model.probabilities(["apple"], [["f1"]], State({}, "SenseVectors", "another"))
    with pytest.raises(WrongType):
        model.adapt(["one text"])  # type: ignore[list-item]
    with pytest.raises(BadValue):
        Vocabulary.of([["a", ""]])
    with pytest.raises(EmptyData, match="beside it"):
        SenseVectors(min_count=1).fit([["alone"]], progress=False)
    for wrong in ({"senses": 0}, {"temperature": 0.0}, {"prune": 0.6, "senses": 2}):
        with pytest.raises(ConfigError):
            SenseVectors(**wrong)  # type: ignore[arg-type]
