"""Learning from a few pictures: only what should change changes, the same seed gives the same, bad input is named. An untrained prior is enough."""

import numpy as np
import pytest
import torch
from torch import nn

from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw.parts.concept_file import ConceptFile
from sartor.draw.parts.fitting import Phase, adapt
from sartor.draw.parts.objectives import denoising, noised
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import of_word
from sartor.draw.parts.word_learning import learn_word
from sartor.errors import BadImage, BadPrompt, ConfigError, CorruptFile, Diverged, EmptyData, FileProblem, StateMismatch

WORLD = ShapesWorld()


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


@pytest.fixture(scope="module")
def references(prior):
    scenes = WORLD.references(WORLD.subjects(1)[0], 4)
    return References.of(prior, scenes.render(), masks=scenes.masks())


def test_a_word_is_learned_and_nothing_else_moves(prior, references):
    before = {name: value.clone() for part in prior.modules for name, value in part.state_dict().items()}
    start = of_word(prior.text_encoder, prior.tokenizer, "critter")
    learned = [learn_word(prior, references, "<v>", start, prompts=["a <v>", "a <v> critter"], steps=3, batch=2, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(learned[0][0].rows, learned[1][0].rows)
    assert not torch.equal(learned[0][0].rows, learned[2][0].rows)
    assert learned[0][1]["moved"] > 0
    assert learned[0][1]["steps"] == [3]
    after = {name: value for part in prior.modules for name, value in part.state_dict().items()}
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert not any(p.requires_grad for part in prior.modules for p in part.parameters())
    # A strong pull to the start leaves it nearer.
    held = learn_word(prior, references, "<v>", start, prompts=["a <v>"], steps=20, batch=2, near=100.0, learning_rate=1e-2)
    free = learn_word(prior, references, "<v>", start, prompts=["a <v>"], steps=20, batch=2, learning_rate=1e-2)
    assert held[1]["moved"] < 0.5 * free[1]["moved"]


def test_phases_train_their_own_parameters_and_freeze_the_prior_again(prior, references):
    weight = prior.unet.conv_out.weight
    old, other = weight.detach().clone(), prior.unet.conv_in.weight.detach().clone()
    context = prior.encode(["a critter"])

    def loss(numbers):
        return denoising(prior, noised(prior, references.latents[numbers]), context.expand(len(numbers), -1, -1)).mean()

    record = adapt(references, [Phase(steps=2, parameters=[([weight], 1e-3)], loss=loss, batch=2), Phase(steps=0, parameters=[], loss=loss)])
    assert record["steps"] == [2]
    assert not torch.equal(weight, old)
    assert torch.equal(prior.unet.conv_in.weight, other)
    assert not weight.requires_grad
    with torch.no_grad():
        weight.copy_(old)
    broken = nn.Parameter(torch.ones(1))
    with pytest.raises(Diverged):
        adapt(references, [Phase(steps=1, parameters=[([broken], 1e-3)], loss=lambda numbers: (broken * float("nan")).sum())])
    numbers = torch.cat(list(references.batches(np.random.default_rng(0), 4, 3)))
    assert np.bincount(numbers).tolist() == [3, 3, 3, 3]


def test_what_cannot_be_learned_from_is_named(prior, references):
    start = of_word(prior.text_encoder, prior.tokenizer, "critter")
    with pytest.raises(EmptyData, match="at least one image, got 0"):
        References.of(prior, np.zeros((0, 24, 24, 3), np.uint8))
    with pytest.raises(BadImage, match="24 x 24"):
        References.of(prior, np.zeros((1, 16, 16, 3), np.uint8))
    with pytest.raises(BadImage, match="mask 0"):
        References.of(prior, references.images, masks=np.zeros((4, 24, 24)))
    for prompts in (["a critter"], ["a <v> left of a <v>"], []):
        with pytest.raises(BadPrompt):
            learn_word(prior, references, "<v>", start, prompts=prompts, steps=1)
    with pytest.raises(ConfigError):
        learn_word(prior, references, "v", start, prompts=["a v"], steps=1)


def test_a_concept_is_a_small_file_of_its_prior(prior, references, tmp_path):
    rows = of_word(prior.text_encoder, prior.tokenizer, "critter").numpy()
    made = ConceptFile({"rows": rows}, "cross-init", prior.fingerprint, "critter", ["<v>"], 4, references.hashes, "draw", settings={"steps": 3})
    file = made.save(tmp_path / "mug.safetensors")
    again = ConceptFile.load(file, prior=prior.fingerprint)
    assert np.array_equal(again.arrays["rows"], rows)
    assert (again.method, again.tokens, again.settings) == ("cross-init", ["<v>"], {"steps": 3})
    assert list(again.image_hashes) == list(references.hashes)
    assert file.stat().st_size < 2_000
    with pytest.raises(StateMismatch, match="learned on prior"):
        ConceptFile.load(file, prior="0" * 32)
    with pytest.raises(FileProblem):
        ConceptFile.load(tmp_path / "none")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CorruptFile):
        ConceptFile.load(file)
    with pytest.raises(ConfigError):
        ConceptFile({}, "m", "", "critter", ["<a>", "<a>"], 1, [], "")
