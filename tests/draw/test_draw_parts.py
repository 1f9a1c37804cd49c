"""Weight differences, masks, objectives and projectors: equal to peft and diffusers, or to the formula by hand."""

import numpy as np
import pytest
import torch

from sartor.draw.parts import delta as weights
from sartor.draw.parts import lora_files
from sartor.draw.parts.masks import check_masks, for_layers, from_attention, layout, resized, threshold
from sartor.draw.parts.objectives import denoising, diffusion_dpo, localised, noised, times, weighted, with_class
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.projector import Position, projector
from sartor.draw.parts.tap import Recorder, Slots, layers_of
from sartor.draw.parts.weights import changed
from sartor.errors import BadImage, ConfigError, CorruptFile, FileProblem


@pytest.fixture(scope="module")
def prior(pipeline):
    return Prior.from_pretrained(pipeline)


@pytest.fixture(scope="module")
def call(prior):
    random = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, 8, 8, generator=random), torch.tensor([10, 500]), prior.encode(["a mug", "the beach"])


def test_lora_is_pefts_and_its_files_are_diffusers(pipeline, prior, call, tmp_path):
    bank = weights.lora(prior.unet, rank=2, alpha=4.0)
    number = bank.add()
    random = np.random.default_rng(0)
    bank.put(number, {key: random.standard_normal(array.shape) * 0.1 for key, array in bank.get(number, np.float32).items()})
    with torch.no_grad():
        plain = prior.predict(*call)
        with bank.use([number, number]):
            ours = prior.predict(*call)
        with bank.use([-1, number]):
            mixed = prior.predict(*call)
    lora_files.save_lora(bank, number, tmp_path)
    bank.detach()
    assert torch.allclose(mixed[0], plain[0], atol=1e-5)
    assert torch.allclose(mixed[1], ours[1], atol=1e-5)
    assert not torch.allclose(ours, plain, atol=1e-2)
    with torch.no_grad(), changed(prior, [lora_files.read_lora(prior.unet, tmp_path)]):
        assert torch.allclose(prior.predict(*call), ours, atol=1e-5)
    # The same file through diffusers and peft.
    pipeline.load_lora_weights(str(tmp_path))
    with torch.no_grad():
        theirs = prior.predict(*call)
    pipeline.unload_lora_weights()
    assert torch.allclose(ours, theirs, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(prior.predict(*call), plain)


def test_adapters_of_other_models_and_damaged_ones_are_refused(prior, tmp_path):
    from safetensors.numpy import save

    with pytest.raises(FileProblem):
        lora_files.read_lora(prior.unet, tmp_path)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    a, b = np.zeros((2, 8), np.float32), np.zeros((8, 2), np.float32)
    for arrays, says in (
        ({"unet.other.to_q.lora_A.weight": a, "unet.other.to_q.lora_B.weight": b}, "no layer 'other.to_q'"),
        ({"lora_te_text.weight": a}, "no LoRA weight"),
        ({"unet.conv_in.lora_A.weight": a}, "half of 'conv_in'"),
    ):
        file.write_bytes(save(arrays))
        with pytest.raises(ConfigError, match=says):
            lora_files.read_lora(prior.unet, tmp_path)
    file.write_bytes(save({"unet.conv_in.lora_A.weight": np.full((2, 8), np.nan, np.float32)}))
    with pytest.raises(CorruptFile, match="not finite"):
        lora_files.read_lora(prior.unet, tmp_path)
    file.write_bytes(b"nothing")
    with pytest.raises(CorruptFile):
        lora_files.read_lora(prior.unet, file)


def test_a_difference_comes_and_goes_and_shrinks(prior, call):
    names = [f"{layer.name}.to_v.weight" for layer in layers_of(prior.unet, cross=True)]
    own = dict(prior.unet.named_parameters())
    before = {name: own[name].detach().clone() for name in names}
    random = torch.Generator().manual_seed(3)
    change = {name: torch.randn(old.shape, generator=random) * 0.1 for name, old in before.items()}
    with torch.no_grad():
        plain = prior.predict(*call)
        with weights.added(prior.unet, change):
            assert not torch.allclose(prior.predict(*call), plain, atol=1e-3)
            found = weights.difference(prior.unet, before)
        assert torch.equal(prior.predict(*call), plain)
    assert all(torch.allclose(found[name], change[name], atol=1e-6) for name in names)
    whole, half = (weights.expand(weights.compress(change, rank)) for rank in (32, 4))
    for name in names:
        assert torch.allclose(whole[name], change[name], atol=1e-5)
        # No matrix of that rank is nearer.
        left = torch.linalg.svdvals(change[name])[4:]
        assert torch.allclose((half[name] - change[name]).norm(), left.norm(), atol=1e-4)
    with pytest.raises(ConfigError, match="another model"), weights.added(prior.unet, {"nothing": torch.zeros(1)}):
        pass


def test_objectives_are_their_formulas(prior, call):
    x, _, context = call
    torch.manual_seed(0)
    data = noised(prior, x, at=times(1000, low=0.5))
    assert (data.t >= 500).all()
    loss = denoising(prior, data, context)
    with torch.no_grad():
        by_hand = (prior.unet(data.seen, data.t, encoder_hidden_states=context).sample - data.noise).square().mean((1, 2, 3))
    assert torch.allclose(loss, by_hand, atol=1e-5)
    assert torch.allclose(with_class(loss, by_hand, 0.5), loss.mean() + 0.5 * by_hand.mean())
    # A mask counts what it marks, whatever its size.
    output, target, mask = torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 1, 16, 16)
    target[:, :, :2, :2], mask[:, :, :4, :4] = 3.0, 1.0
    assert weighted(output, target, mask).item() == pytest.approx(9)
    assert weighted(output, target, 1 - mask).item() == pytest.approx(0)
    assert weighted(output, target).item() == pytest.approx(9 * 4 / 64)
    errors = [torch.tensor([value]) for value in (0.1, 0.4, 0.2, 0.3)]
    assert diffusion_dpo(*errors, beta=10).item() == pytest.approx(np.log1p(np.exp(10 * (-0.1 - 0.1))), abs=1e-6)
    assert diffusion_dpo(*errors, beta=10) < diffusion_dpo(errors[1], errors[0], errors[3], errors[2], beta=10)
    for wrong in (lambda: times(1000, low=0.7, high=0.5), lambda: diffusion_dpo(*errors, beta=0)):
        with pytest.raises(ConfigError):
            wrong()


def test_masks_from_attention_truth_and_plans(prior, call):
    recorder = Recorder()
    prior.predict(*call, slots=Slots(record=recorder))
    tokens = prior.words(["a mug", "the beach"]).ids == prior.words(["mug"]).ids[0, 1]
    soft = from_attention(recorder.maps, tokens, 16)
    assert soft.shape == (2, 1, 16, 16)
    assert soft[0].min() == 0
    assert soft[0].max() == pytest.approx(1)
    loss = localised(recorder.maps, tokens, torch.ones(2, 1, 16, 16))
    assert 0 < loss.item() <= 1
    two = torch.cat([torch.full((1, 1, 4, 8), 0.9), torch.full((1, 1, 4, 8), 0.1)], 2)
    assert torch.equal(threshold(two), (two > 0.5).float())
    boxes = layout([(0, 0, 0.5, 1), (0.5, 0, 1, 1)], 8)
    assert torch.equal(boxes.sum(0), torch.ones(1, 8, 8))
    flat = for_layers(boxes)(layers_of(prior.unet)[0], 16)
    assert flat.shape == (2, 16, 1)
    assert torch.equal(flat[0, :, 0].reshape(4, 4)[0], torch.tensor([1.0, 1, 0, 0]))
    assert resized(boxes, 2, 2).sum() == 4
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    empty = np.stack([np.ones((8, 8)), np.zeros((8, 8))])
    with pytest.raises(BadImage, match="mask 1 selects no pixels"):
        check_masks(empty, pictures)
    with pytest.raises(BadImage, match="shape"):
        check_masks(empty[:1], pictures)
    with pytest.raises(ConfigError, match="box 0"):
        layout([(0.5, 0, 0.5, 1)], 8)


def test_projectors_give_tokens_and_positions_differ():
    assert projector("global", 20, 32, tokens=3)(torch.randn(2, 20)).shape == (2, 3, 32)
    assert projector("resampler", 20, 32, tokens=5)(torch.randn(2, 9, 20)).shape == (2, 5, 32)
    again = [projector("global", 20, 32, seed=1).state_dict() for _ in range(2)]
    assert all(torch.equal(again[0][name], again[1][name]) for name in again[0])
    features = Position()(torch.tensor([0, 0, 500]), torch.tensor([0, 1, 0]))
    assert features.shape == (3, 2048)
    assert torch.allclose(features.norm(dim=-1), torch.ones(3), atol=1e-5)
    assert float(features[0] @ features[1]) < 0.9
    assert float(features[0] @ features[2]) < 0.9
