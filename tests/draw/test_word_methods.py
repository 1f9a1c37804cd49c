"""Methods that learn words: what each adds to textual inversion, on an untrained prior and on a tiny random Stable Diffusion."""

import numpy as np
import pytest
import torch

from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw import neti, prospect
from sartor.draw._shown import Shown
from sartor.draw.core import CoRe, apart, kept_length
from sartor.draw.cross_init import CrossInit, said
from sartor.draw.neti import Mapper, NeTI, past_encoder
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.sampler import times
from sartor.draw.parts.tokens import Concept, of_word
from sartor.draw.prospect import ProSpect
from sartor.errors import BadImage, BadPrompt, ConfigError
from sartor.evaluate.drawing import shown

WORLD = ShapesWorld()


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


@pytest.fixture(scope="module")
def thing():
    return shown(WORLD, WORLD.subjects(1)[0])


def small(kind, prior, **settings):
    return kind(steps=2, batch=2, sampling_steps=4, **settings).fit(on=prior)


@pytest.mark.parametrize("kind", [CrossInit, NeTI, ProSpect, CoRe])
def test_each_learns_on_a_stable_diffusion_and_draws(pipeline, kind):
    prior = Prior.from_pretrained(pipeline)
    pictures = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3)).astype(np.uint8)
    method = small(kind, prior)
    state = method.learn(Shown(name="<m>", class_word="mug", images=pictures))
    own, others = (method.draw(["a photo of <m>"], [one], seeds=[3], classes={"<m>": "mug"})[0] for one in (state, None))
    assert own.shape == (16, 16, 3)
    assert not np.array_equal(own, others)
    assert np.array_equal(method.draw(["a mug"], [state], seeds=[3]), method.draw(["a mug"], [None], seeds=[3]))


# --- Cross Initialization


def test_cross_init_starts_from_what_the_encoder_says(prior, thing):
    table = of_word(prior.text_encoder, prior.tokenizer, "red critter")
    begun = small(CrossInit, prior, names=["red critter", "blue critter", "critter"])
    begun.steps = 0
    rows = begun.learn(thing).arrays["<v>/rows"]
    first = torch.stack([of_word(prior.text_encoder, prior.tokenizer, word)[0] for word in ("red", "blue", "critter")]).mean(0)
    inputs = torch.stack([first, table[1]])
    assert np.allclose(rows, said(prior, inputs), atol=1e-6)
    # Of real words that is the encoder's output of the words.
    assert torch.allclose(said(prior, table), prior.encode(["red critter"])[0, 1:3], atol=1e-6)
    begun.start, begun.names = "inputs", None
    assert np.allclose(begun.learn(thing).arrays["<v>/rows"], table[1:].repeat(2, 1), atol=1e-6)


def test_cross_init_names_what_it_cannot_start_from(prior, thing):
    for names, error, says in (
        ([], ConfigError, "names is empty"), (["red critter", " "], BadPrompt, "' ' has no tokens"), (["critter"], ConfigError, "1 tokens at most"),
        (["unicorn one"], BadPrompt, "unicorn"),
    ):  # fmt: skip
        with pytest.raises(error, match=says):
            small(CrossInit, prior, names=names).learn(thing)
    with pytest.raises(ConfigError, match="vectors"):
        small(CrossInit, prior, vectors=0).learn(thing)


# --- NeTI


def test_a_mapper_gives_each_time_and_layer_its_own_row_of_one_length(prior):
    torch.manual_seed(0)
    mapper = Mapper(prior, 3.0)
    assert mapper.layers == 7
    at = torch.cartesian_prod(torch.arange(0, 1000, 100), torch.arange(7))
    similar = mapper.anchors.weight @ mapper.encoded(at[:, 0], at[:, 1]).T
    assert torch.equal(similar.argmax(0), torch.arange(70))
    assert torch.allclose(similar.diagonal(), torch.ones(70), atol=1e-5)
    row, bypass = mapper(at[:, 0], at[:, 1])
    assert torch.allclose(row.norm(dim=1), torch.full((70,), 3.0), atol=1e-4)
    assert len(torch.unique(row.round(decimals=4), dim=0)) == 70
    # Nested: what is kept of 16 does not depend on the numbers behind them.
    cut = mapper(at[:, 0], at[:, 1], 16)
    with torch.no_grad():
        mapper.out.weight[:, 16:] = 0
    assert torch.allclose(mapper(at[:, 0], at[:, 1])[1], cut[1], atol=1e-5)
    assert not torch.allclose(bypass, cut[1])


def test_the_bypass_reaches_values_at_the_words_place_alone(prior):
    concept = Concept("<v>", of_word(prior.text_encoder, prior.tokenizer, "critter"))
    words = prior.words(["a <v> on sand", "a square"], [concept])
    keys, values = past_encoder(prior, words, [concept], {"<v>": torch.randn(2, 16)}, 0.2)
    assert torch.equal(keys, prior.encode_words(words, [concept]))
    changed = (keys - values).abs().amax(-1) > 1e-6
    assert changed.nonzero().tolist() == [[0, 2]]
    longer = past_encoder(prior, words, [concept], {"<v>": 9 * torch.ones(2, 16)}, 0.2)[1]
    assert torch.allclose(longer, past_encoder(prior, words, [concept], {"<v>": torch.ones(2, 16)}, 0.2)[1], atol=1e-6)


def test_neti_encodes_once_for_each_time_and_truncates_on_request(prior, thing, monkeypatch):
    method = small(NeTI, prior)
    state = method.learn(thing)
    asked = []
    heard = NeTI._heard
    monkeypatch.setattr(
        NeTI, "_heard", lambda self, prior, words, t, *more, **how: asked.append(int(t[0])) or heard(self, prior, words, t, *more, **how)
    )
    prompts = ["a <v> on sand", "a <v> at center"]
    whole = method.draw(prompts, [state] * 2)
    assert asked == times(prior, 4)
    assert np.array_equal(whole, method.draw(prompts, [state] * 2, truncation=neti.HIDDEN))
    assert not np.array_equal(whole, method.draw(prompts, [state] * 2, truncation=2))
    # What is heard in a step is what one hears at that time in training.
    name = {"<v>": Mapper(prior, 1.0)}
    words = prior.words(prompts, [Concept("<v>", torch.ones(1, 16))])
    both = method._heard(prior, words, torch.tensor([999, 100]), name, None)
    assert torch.allclose(both.values[:, 1], method._heard(prior, words, torch.tensor([100, 100]), name, None).values[:, 1], atol=1e-5)


def test_neti_names_what_it_cannot_do(prior, thing, pipeline):
    method = small(NeTI, prior)
    state = method.learn(thing)
    for wrong in (0, 129):
        with pytest.raises(ConfigError, match=rf"truncation must be 1\.\.128, got {wrong}"):
            method.draw(["a <v>"], [state], truncation=wrong)
    with pytest.raises(BadPrompt, match=r"'a square' has no learned word.*<v>"):
        method.draw(["a square"], [state], truncation=4)
    with pytest.raises(BadPrompt, match="<v> twice"):
        method.draw(["a <v> left of a <v>"], [state])
    pictures = np.zeros((1, 16, 16, 3), np.uint8)
    with pytest.raises(BadPrompt, match="single-token"):
        small(NeTI, Prior.from_pretrained(pipeline)).learn(Shown(name="<m>", class_word="photo mug", images=pictures))


# --- ProSpect


def test_stages_are_parts_of_the_time_whatever_the_steps(prior, thing):
    assert prospect.stage(prior, torch.tensor([0, 99, 100, 950, 999])).tolist() == [0, 0, 1, 9, 9]
    method = small(ProSpect, prior, rows_by="free", learning_rate=1.0)
    state = method.learn(thing)
    taught = method.taught(state)
    assert taught["<v>"].tensors["rows"].shape == (10, 16)
    assert state.nbytes < 5_000
    stages = ["<v>"] * 3 + ["red critter", 0] + ["critter"] * 5
    plan = method._plan(prior, ["a <v> on sand"], taught, stages=stages)
    rows = taught["<v>"].tensors["rows"]
    wanted = {
        20: prior.encode(["a <v> on sand"], [Concept("<v>", rows[:1])]), 250: prior.encode(["a <v> on sand"], [Concept("<v>", rows[2:3])]),
        399: prior.encode(["a red critter on sand"]), 400: prior.encode(["a <v> on sand"], [Concept("<v>", rows[:1])]),
        999: prior.encode(["a critter on sand"]),
    }  # fmt: skip
    layer = next(one for one in neti.layers_of(prior.unet, cross=True))
    for time, context in wanted.items():
        assert torch.allclose(plan.slots.context(layer, torch.tensor(time)), context, atol=1e-6)
    assert plan.slots.context(neti.layers_of(prior.unet, cross=False)[0], torch.tensor(0)) is None
    # Class words in all stages are a prompt without the word.
    plain = method.draw(["a <v> on sand"], [state], seeds=[5], stages=["critter"] * 10)
    assert np.array_equal(plain, method.draw(["a critter on sand"], [None], seeds=[5]))


def test_prospect_keeps_the_block_when_asked_and_draws_onto_a_picture(prior, thing):
    method = small(ProSpect, prior, keep_block=True)
    state = method.learn(thing)
    assert any(key.startswith("<v>/block.") for key in state.arrays)
    small_state = small(ProSpect, prior).learn(thing)
    assert np.array_equal(small_state.arrays["<v>/rows"], state.arrays["<v>/rows"])
    assert not any("block" in key for key in small_state.arrays)
    onto = [method.draw(["a <v>"], [state], seeds=[1], image=thing.images[0], strength=share)[0].astype(float) for share in (0.25, 1.0)]
    away = [np.abs(one - thing.images[0]).mean() for one in onto]
    assert away[0] < away[1]


def test_prospect_names_what_it_cannot_do(prior, thing):
    method = small(ProSpect, prior)
    state = method.learn(thing)
    for options, says in (
        ({"stages": ["<v>"] * 9}, "expected 10 stage prompts, got 9"), ({"stages": [10] * 10}, "10 is no stage"), ({"stages": "colour"}, "no mode"),
        ({"image": thing.images[0], "strength": 0.0}, "strength"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            method.draw(["a <v>"], [state], **options)
    with pytest.raises(BadImage, match=r"16, 16.*24 x 24"):
        method.learn(Shown(name="<v>", class_word="critter", images=np.zeros((1, 16, 16, 3), np.uint8)))


# --- CoRe


def test_twins_differ_only_where_words_meet(prior):
    row = of_word(prior.text_encoder, prior.tokenizer, "critter")
    seen, t = torch.randn(2, 27, 8, 8), torch.tensor([900, 100])
    texts = ["a <v> on sand", "a red <v>"]
    same = apart(prior, texts, Concept("<v>", row), "critter", seen, t)
    assert max(float(one.abs().max()) for one in same) < 1e-6
    learning = Concept("<v>", torch.nn.Parameter(row + torch.randn(1, 16, generator=torch.Generator().manual_seed(0))))
    own = apart(prior, texts, learning, "critter", seen, t)
    # By hand for the first text: all places but that of the word, filler included.
    contexts = [prior.encode([text], [learning])[0].detach() for text in ("a <v> on sand", "a critter on sand")]
    places = [place for place in range(contexts[0].shape[0]) if place != 2]
    wanted = np.mean([1 - float(torch.cosine_similarity(contexts[0][place], contexts[1][place], dim=0)) for place in places])
    assert np.isclose(float(own[0][0].detach()), wanted, atol=1e-6)
    for term in own:
        assert (term > 0).all()
        assert torch.autograd.grad(term.sum(), learning.rows, retain_graph=True)[0].abs().sum() > 0
    assert not any(p.requires_grad for part in prior.modules for p in part.parameters())


def test_the_word_keeps_its_length_in_the_middle_of_training():
    word, before = Concept("<v>", torch.ones(1, 4)), kept_length(10)
    lengths = []
    for number in range(10):
        before(number, (word,))
        lengths.append(round(float(word.rows.norm())))
        word.rows.mul_(2)
    assert lengths == [2, 4, 8, 16, 32, 32, 32, 64, 128, 256]


def test_core_repairs_a_copy_of_the_word_for_one_prompt(prior, thing):
    method = small(CoRe, prior, second_steps=2, learning_rate=0.5)
    state = method.learn(thing)
    assert {"<v>/rows"} < {*state.arrays}
    before = {key: value.copy() for key, value in state.arrays.items()}
    word = method.taught(state)["<v>"].concept("<v>")
    mended = method._mended(prior, ["a <v> on sand", "a <v> at center"], word, "critter", {}, 10, 0.05)
    seen, t = torch.randn(2, 27, 8, 8), torch.tensor([999, 999])
    was, now = (apart(prior, ["a <v> on sand", "a <v> at center"], one, "critter", seen, t)[0] for one in (word, mended))
    assert (now < was).all()
    plain, repaired = (method.draw(["a <v> on sand"], [state], seeds=[1], repair=steps) for steps in (0, 10))
    assert not np.array_equal(plain, repaired)
    assert np.array_equal(plain, method.draw(["a <v> on sand"], [state], seeds=[1]))
    assert all(np.array_equal(before[key], value) for key, value in state.arrays.items())


def test_core_names_what_it_cannot_do(prior, thing, pipeline):
    for templates, says in ((["a critter"], "'a critter' has {} 0 times"), (["a {} left of a {}"], "{} 2 times")):
        with pytest.raises(BadPrompt, match=says):
            small(CoRe, prior, templates=templates).learn(thing)
    with pytest.raises(ConfigError, match="no template"):
        small(CoRe, prior, templates=[]).learn(thing)
    with pytest.raises(ConfigError, match="twins"):
        small(CoRe, prior, twins=0).learn(thing)
    method = small(CoRe, prior)
    state = method.learn(thing)
    with pytest.raises(BadPrompt, match="<v> 2 times"):
        method.draw(["a <v> left of a <v>"], [state], repair=2)
    with pytest.raises(BadPrompt, match="<v> 0 times"):
        method.draw(["a square"], [state], present=["<v>"], repair=2)
    with pytest.raises(ConfigError, match="repair"):
        method.draw(["a <v>"], [state], repair=-1)
    pictures = np.zeros((1, 16, 16, 3), np.uint8)
    with pytest.raises(BadPrompt, match="<m> takes one place, 'photo mug' takes 2"):
        small(CoRe, Prior.from_pretrained(pipeline)).learn(Shown(name="<m>", class_word="photo mug", images=pictures))
