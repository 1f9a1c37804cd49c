"""Learning by forward passes alone on whole numbers. Untrained priors are enough."""

import numpy as np
import pytest
import torch
from torch import nn

from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw._shown import Shown
from sartor.draw.parts.int8 import Int8, is_quantised, quantised
from sartor.draw.parts.objectives import denoising, times
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import Concept
from sartor.draw.parts.zeroth_order import Estimator, unimportant
from sartor.draw.textual_inversion import TextualInversion
from sartor.draw.zoodip import Look, ZOODiP, best_window, telling_times
from sartor.errors import ConfigError, Diverged

WORLD = ShapesWorld()
QUICK = {"steps": 2, "batch": 2, "directions": 2, "sampling_steps": 2}


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


def thing():
    scenes = WORLD.references(WORLD.subjects(1, noun="critter")[0], 3)
    return Shown(name="<v>", class_word="critter", images=scenes.render())


def test_layers_of_whole_numbers_give_what_rounded_weights_give():
    torch.manual_seed(0)
    for layer, x in (
        (nn.Linear(8, 5), torch.randn(3, 8)), (nn.Linear(8, 5, bias=False), torch.randn(3, 2, 8)),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), torch.randn(2, 4, 7, 7)),
    ):  # fmt: skip
        small = Int8(layer)
        assert small.numbers.dtype == torch.int8
        whole = small.numbers.float() * small.scale.reshape(-1, *[1] * (small.numbers.ndim - 1))
        assert (whole - layer.weight).abs().max() <= small.scale.max() / 2 + 1e-7
        with torch.no_grad():
            layer.weight.copy_(whole)
            assert torch.allclose(small(x), layer(x), atol=1e-5)


def test_a_quantised_prior_is_a_quarter_and_the_other_stays_as_it_was(prior):
    before = {name: value.clone() for name, value in prior.unet.state_dict().items()}
    small = quantised(prior)
    assert is_quantised(small)
    assert not is_quantised(prior)
    assert quantised(prior) is small
    assert all(torch.equal(before[name], value) for name, value in prior.unet.state_dict().items())

    def size(one, kinds=(nn.Linear, nn.Conv2d, Int8)):
        inside = [part for part in one.unet.modules() if isinstance(part, kinds)]
        return sum(t.numel() * t.element_size() for part in inside for t in (*part.parameters(), *part.buffers()))

    assert size(small) < 0.3 * size(prior)
    x, t = torch.randn(2, 27, 8, 8), torch.tensor([100, 700])
    plain, rounded = (one.predict(x, t, one.encode(["a red circle"] * 2)).detach() for one in (prior, small))
    assert 0 < (plain - rounded).abs().mean() < 0.05 * plain.abs().mean()


def test_nothing_is_differentiated_and_memory_is_that_of_looking(prior, monkeypatch):
    seen = []
    forward = type(prior.unet).forward

    def watched(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        seen.append((torch.is_grad_enabled(), out.sample.requires_grad))
        return out

    monkeypatch.setattr(type(prior.unet), "forward", watched)
    monkeypatch.setattr(torch.Tensor, "backward", lambda *_, **__: pytest.fail("backward was called"))
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a gradient was taken"))
    method = ZOODiP(**QUICK).fit(on=prior)
    state = method.learn(thing())
    assert seen == [(False, False)] * 2
    assert state.nbytes == 64
    assert state.notes["concepts"]["<v>"]["record"]["forward"] == 6
    assert method.draw(["a <v> on sand"], [state]).shape == (1, 24, 24, 3)
    assert np.array_equal(state["<v>/rows"], method.learn(thing())["<v>/rows"])


def test_the_estimate_is_the_gradient_on_average_and_the_steps_are_adams():
    target, losses = torch.tensor([[3.0, -1.0, 2.0, 0.5]]), []
    learning = Estimator(torch.zeros(1, 4), rate=0.05, mu=1e-3, directions=4, tau=10_000)
    draw = torch.Generator().manual_seed(0)
    losses += [learning.step(lambda values: (values - target).square().sum((1, 2)), draw) for _ in range(600)]
    assert losses[-1] < 0.02 * losses[0]
    # By hand, one step: two directions, a shared base, their scale, Adam with a large epsilon.
    one, draw = Estimator(torch.zeros(1, 4), rate=0.1, mu=0.5), torch.Generator().manual_seed(3)
    z = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(3))
    one.step(lambda values: (values - target).square().sum((1, 2)), draw)
    slopes = [((0.5 * part - target).square().sum() - target.square().sum()) / 0.5 for part in z]
    grad = (slopes[0] * z[0] + slopes[1] * z[1]) / (2 * np.sqrt((4 + 2 - 1) / 2))
    assert torch.allclose(one.value, -0.1 * grad / (grad.abs() + 1e-3), atol=1e-5)


def test_directions_without_movement_are_taken_out():
    random = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(6, 2, generator=random))[0]
    values = torch.randn(50, 2, generator=random) @ plane.T + 1e-9 * torch.randn(50, 6, generator=random)
    low = unimportant(values, 1e-3)
    even = (values - values.mean(0)) / values.std(0, correction=0)
    assert low.shape == (4, 6)
    assert (even @ low.T).abs().max() < 1e-5 < even.abs().max()
    learning = Estimator(torch.zeros(6), tau=8, rate=0.1)
    draw = torch.Generator().manual_seed(0)
    flat = torch.tensor([1.0, 1.0, 0, 0, 0, 0])
    for _ in range(8):
        learning.step(lambda values: (values @ flat - 2).square(), draw)
    before = learning.value.clone()
    learning.first.zero_(), learning.second.zero_()
    assert len(learning.low) > 0
    grad_only = Estimator(before, rate=0.1)
    grad_only.low = learning.low
    grad_only._move(torch.randn(2, 6, generator=draw), torch.ones(2))
    assert (grad_only.first @ learning.low.T).abs().max() < 1e-6


def test_the_interval_is_where_the_loss_hangs_on_the_word(prior):
    assert best_window([0, 0, 1, 2, 3, 2, 0, 0, 0, 0]) == (0.2, 0.6)
    slopes = telling_times(prior, References.of(prior, thing().images), thing(), count=4)
    assert len(slopes) == 10
    assert min(slopes) > 0


@torch.no_grad()
def test_values_are_looked_at_together_or_one_after_another_within_masks(prior):
    scenes = WORLD.references(WORLD.subjects(1, noun="critter")[0], 3)
    references = References.of(prior, scenes.render(), masks=scenes.masks())
    torch.manual_seed(0)
    look, values = Look.of(prior, references, torch.tensor([0, 2]), times(len(prior.alphas), low=0.5)), torch.randn(3, 1, 16)
    together, apart = (look.losses(prior, "a <v>", "<v>", values, together=count) for count in (6, 1))
    assert torch.allclose(together, apart, rtol=1e-4)
    for value, loss in zip(values, apart, strict=True):
        by_hand = denoising(prior, look.data, prior.encode(["a <v>"] * 2, [Concept("<v>", value)]), mask=references.masks[[0, 2]])
        assert loss.item() == pytest.approx(by_hand.mean().item(), rel=1e-4)


def test_what_it_cannot_work_with_is_named(prior):
    cases = [
        ({"tau": 7}, "tau >= 8"), ({"mu": 0.0}, "mu > 0"), ({"nu": 1.0}, "nu from 0 to 1"), ({"low": 0.9, "high": 0.5}, "low < high"),
        ({"quantise": False}, "not quantised"), ({"mu": 1e-12, "steps": 30, "batch": 1}, "use mu="),
    ]  # fmt: skip
    for settings, words in cases:
        with pytest.raises(ConfigError, match=words):
            ZOODiP(**{**QUICK, **settings}).fit(on=prior).learn(thing())
    small = quantised(prior)
    assert ZOODiP(**QUICK, quantise=False).fit(on=small).learn(thing()).nbytes == 64
    # Gradients reach the word through whole numbers, too: the baseline that memory is compared with.
    assert TextualInversion(steps=2, batch=2).fit(on=small).learn(thing()).nbytes == 64
    broken = Estimator(torch.zeros(1, 4))
    with pytest.raises(Diverged):
        broken.step(lambda values: torch.full((len(values),), float("nan")), torch.Generator())


def test_a_stable_diffusion_learns_a_word_by_looking(pipeline):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    method = ZOODiP(**QUICK).fit(on=Prior.from_pretrained(pipeline))
    state = method.learn(Shown(name="<v>", class_word="mug", images=images))
    assert method.draw(["a photo of <v>"], [state]).shape == (1, 16, 16, 3)
