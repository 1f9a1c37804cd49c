"""Break-for-Make: halves that fit into each other whoever learned them. Untrained priors are enough."""

import numpy as np
import pytest
import torch
from torch import nn

from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw._shown import Shown
from sartor.draw.break_for_make import BreakForMake
from sartor.draw.concepts import concept_of, open_concepts
from sartor.draw.parts import halves
from sartor.draw.parts.halves import DOWN, UP, joined
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.supplied import linears, supplied
from sartor.errors import BadPrompt, ConfigError, EmptyData, StateMismatch, UnknownId

WORLD = ShapesWorld()
QUICK = {"steps": 2, "make_steps": 2, "batch": 2, "rank": 4, "sampling_steps": 2}


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 32), text_width=16)


def content(name="<c>", number=0, **options):
    scenes = WORLD.references(WORLD.subjects(1, noun="critter", start=number)[0], 3)
    return Shown(name=name, class_word="critter", images=scenes.render(), options=options)


def style(name="<s>", seed=0, **options):
    scenes = WORLD.scenes(np.random.default_rng(seed), 3)
    return Shown(name=name, class_word="", images=255 - scenes.render(), captions=[f"{one} {name}" for one in scenes.captions()], options=options)


def test_a_pair_is_drawn_joined_and_made_and_forgotten(prior):
    method = BreakForMake(**QUICK, learning_rate=0.05, make_rate=0.05).fit(on=prior)
    state = method.learn([content(), style()])
    made = method.make(state, content(), style())
    prompts = ["a <c> on sand <s>", "a <c> on sand", "a circle <s>"]
    joined = method.draw(prompts, [state] * 3, seeds=[1, 1, 1])
    polished = method.draw(prompts, [made] * 3, seeds=[1, 1, 1])
    assert not np.array_equal(joined[0], polished[0])
    assert np.array_equal(joined[1:], polished[1:])
    assert np.array_equal(method.draw(prompts[:1], [made], seeds=[1], polished=False)[0], joined[0])
    none = method.draw(prompts, [None] * 3, seeds=[1, 1, 1], classes={"<c>": "critter", "<s>": ""})
    assert not np.array_equal(none[0], joined[0])
    left = method.without(made, "<s>")
    assert not any("made" in key or key.startswith("<s>") for key in left.arrays)
    again = method.learn(style(beside=[content()]), made)
    assert "<c>/rows" in again.arrays
    assert not any("made" in key for key in again.arrays)


def test_the_frozen_halves_are_everybodys_and_disjoint_rows_of_one_orthogonal_matrix(prior):
    method = BreakForMake(**QUICK).fit(on=prior)
    frozen = method._frozen(prior)
    assert all(torch.equal(value, BreakForMake(**QUICK, seed=5)._frozen(prior)[name]) for name, value in frozen.items())
    square = next(name for name, layer in linears(prior.unet).items() if layer.in_features == layer.out_features == 32)
    thin = next(name for name, layer in linears(prior.unet).items() if layer.in_features != layer.out_features)
    rows = torch.cat([frozen[f"{DOWN}{square}"].T, frozen[f"{UP}{square}"]])
    assert len({tuple(row.tolist()) for row in rows}) == 32
    assert (frozen[f"{UP}{thin}"] == 0).all()
    assert (frozen[f"{DOWN}{thin}"] != 0).all()
    # Of what is learned, the content has D and the style U, as it was stored.
    state = method.learn([content(), style()])
    factors = method._factors(prior, method.taught(state), polished=True)
    down, up = factors[square]
    half = down.shape[1] // 2
    assert torch.equal(down[:, :half], frozen[f"{DOWN}{square}"])
    assert np.array_equal(down[:, half:].numpy(), state[f"<c>/weights.{DOWN}{square}"].astype(np.float32))
    assert np.array_equal(up[half:].numpy(), state[f"<s>/weights.{UP}{square}"].astype(np.float32))


def test_what_was_learned_beside_other_frozen_halves_is_refused(prior, tmp_path, monkeypatch):
    made = BreakForMake(**QUICK).fit(on=prior)
    state = made.learn([content(), style()])
    concept_of(made, state, "<s>").save(tmp_path / "s.safetensors")
    assert open_concepts(prior, {"s": tmp_path / "s.safetensors"}).method.fingerprint_ == made.fingerprint_
    draw, prompts = halves.frozen, ["a circle <s>"]
    monkeypatch.setattr(halves, "frozen", lambda *args: draw(*args) | {name: 2 * one for name, one in draw(*args).items() if DOWN in name})
    prior.kept.clear()
    for refused in (
        lambda: made.draw(prompts, [state]),
        lambda: BreakForMake(**QUICK).fit(on=prior).draw(prompts, [state]),
        lambda: BreakForMake(**QUICK).fit(on=prior).take(BreakForMake(**QUICK).fit(on=prior).make_state({}, notes={"concepts": {}}), state, "<s>"),
        lambda: open_concepts(prior, {"s": tmp_path / "s.safetensors"}),
    ):
        with pytest.raises(StateMismatch):
            refused()
    monkeypatch.undo()
    prior.kept.clear()
    assert made.draw(prompts, [state]).shape == (1, 24, 24, 3)


def test_each_half_learns_from_its_own_pictures_alone(prior):
    torch.manual_seed(0)
    method = BreakForMake(**{**QUICK, "steps": 1}, side_rate=1e-30).fit(on=prior)
    one, other = (method.learn(content(beside=[style(seed=seed)])) for seed in (0, 1))
    for key in one.arrays:
        assert np.array_equal(one[key], other[key]) or UP in key
    begun = method._started(prior, 0)
    assert all((one[f"<c>/weights.{name}"] == 0).all() for name in begun if name.startswith(UP))
    assert any(not np.allclose(one[f"<c>/weights.{name}"], value.detach().numpy(), atol=1e-3) for name, value in begun.items() if DOWN in name)


def test_the_preconditioner_is_that_of_low_rank_matrices(prior):
    method, random = BreakForMake(**QUICK, reg=0.0).fit(on=prior), torch.Generator().manual_seed(0)
    frozen = method._frozen(prior)
    live = {name: torch.randn(value.shape, generator=random) for name, value in method._started(prior, 0).items()}
    layer = next(iter(linears(prior.unet)))
    down, up = joined(frozen, live)[layer]
    for name, other in ((f"{DOWN}{layer}", up.T @ up), (f"{UP}{layer}", down @ down.T)):
        grad = torch.randn(live[name].shape, generator=random)
        found = method._riemannian(name, live, frozen, grad)
        assert torch.allclose(other @ found if DOWN in name else found @ other, grad, atol=1e-3)


def test_supplied_factors_are_added_for_every_row_and_taken_off_again():
    layer = nn.Sequential(nn.Linear(4, 6))
    x, a, b = torch.randn(3, 5, 4), torch.randn(3, 2, 4), torch.randn(3, 6, 2)
    plain = layer(x)
    with supplied(layer, {"0": (a, b)}):
        assert torch.allclose(layer(x), plain + torch.einsum("bor,bri,bti->bto", b, a, x), atol=1e-5)
    with supplied(layer, {"0": (a[0], b[0])}):
        assert torch.allclose(layer(x)[1], plain[1] + x[1] @ (b[0] @ a[0]).T, atol=1e-5)
    assert torch.equal(layer(x), plain)
    with pytest.raises(ConfigError, match="no linear layer 1"), supplied(layer, {"1": (a, b)}):
        pass
    with pytest.raises(ConfigError, match="no linear layer"):
        linears(layer)


def test_what_cannot_be_joined_is_named(prior):
    method = BreakForMake(**QUICK, basis=3).fit(on=prior)
    state = method.learn([content(), style()])
    far = BreakForMake(**QUICK, basis=7).fit(on=prior)
    others = far.learn(style("<t>", beside=[content()]))
    alike = BreakForMake(**QUICK, basis=3, learning_rate=1e-3).fit(on=prior).learn(style("<t>", beside=[content()]))
    taken = method.take(state, alike, "<t>")
    assert not np.array_equal(method.draw(["a <c> <t>"], [taken]), method.draw(["a <c> <s>"], [taken]))
    wide = BreakForMake(**{**QUICK, "rank": 5}, basis=3).fit(on=prior).learn(style("<t>", beside=[content()]))
    elsewhere = BreakForMake(**QUICK, basis=3).fit(on=Prior.small(VOCABULARY, widths=(16, 32), text_width=16, seed=1))
    cases = [
        (lambda: method.take(state, others, "<t>"), ConfigError, r"bases differ \(seed 3 vs 7\)"),
        (lambda: method.take(state, wide, "<t>"), ConfigError, r"ranks differ \(4 vs 5\)"),
        (lambda: method.take(state, elsewhere.learn(style("<t>", beside=[content()])), "<t>"), StateMismatch, "another prior"),
        (lambda: method.take(taken, alike, "<t>"), ConfigError, "two concepts are called <t>"),
        (lambda: method.take(state, alike, "<u>"), UnknownId, "<u>"),
        (lambda: method.learn([content("<x>"), style("<x>")]), ConfigError, "two concepts are called <x>"),
        (lambda: method.learn(content()), EmptyData, "without styles"),
        (lambda: method.learn(style()), EmptyData, "without contents"),
        (lambda: method.make(state, style(), content()), ConfigError, "no content and style"),
        (lambda: method.make(state, content("<z>"), style()), UnknownId, "<z>"),
        (lambda: method.draw(["a <c> <s> <t>"], [taken]), BadPrompt, "one content and one style"),
        (lambda: method.learn([content(), Shown(name="<s>", class_word="", images=style().images)]), ConfigError, "without a caption"),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind, match=words):
            call()


def test_a_stable_diffusion_learns_a_pair_and_diffusers_draws_it_alike(pipeline, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    mug = Shown(name="<v>", class_word="mug", images=images)
    ink = Shown(name="<i>", class_word="", images=images[::-1].copy(), captions=["a beach <i>", "the photo <i>"])
    method = BreakForMake(**QUICK, learning_rate=0.1).fit(on=Prior.from_pretrained(pipeline))
    state = method.make(method.learn([mug, ink]), mug, ink)
    drawn = method.draw(["a <v> on the beach <i>"], [state], seeds=[2])
    assert drawn.shape == (1, 16, 16, 3)
    method.export(state, ["<v>", "<i>"], tmp_path)
    taught = method.taught(state)
    context = method.bundle.encode(["a <v> mug on the beach <i>"], [one.concept(name) for name, one in taught.items()])
    pipeline.load_lora_weights(str(tmp_path))
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([100])
    theirs = pipeline.unet(x, t, encoder_hidden_states=context).sample
    pipeline.unload_lora_weights()
    with method._plan(method.bundle, ["a <v> mug on the beach <i>"], taught).inside:
        assert torch.allclose(pipeline.unet(x, t, encoder_hidden_states=context).sample, theirs, atol=1e-4)
