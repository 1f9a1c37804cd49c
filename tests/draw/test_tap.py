"""The one attention processor: nothing without slots, and with them what diffusers' own processors compute."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tap import KeysValues, Recorder, Slots, Stream, install, layers_of
from sartor.errors import ConfigError


@pytest.fixture(scope="module")
def prior(pipeline):
    return Prior.from_pretrained(pipeline)


@pytest.fixture(scope="module")
def call(prior):
    random = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, 8, 8, generator=random), torch.tensor([10, 500]), prior.encode(["a mug", "the beach"])


def test_layers_are_known_by_their_role(prior):
    cross = layers_of(prior.unet, cross=True)
    assert [layer.place for layer in cross] == ["down", "mid", "up", "up"]
    assert [layer.number for layer in cross] == [0, 1, 2, 3]
    assert len(layers_of(prior.unet)) == 8
    assert {layer.width for layer in layers_of(prior.unet, cross=True, places=("mid",))} == {64}


def test_without_slots_it_is_diffusers_own_processor(prior, call):
    from diffusers.models.attention_processor import AttnProcessor2_0

    with torch.no_grad():
        ours, empty = prior.predict(*call), prior.predict(*call, slots=Slots())
        prior.unet.set_attn_processor(AttnProcessor2_0())
        theirs = prior.predict(*call)
        install(prior.unet)
    assert torch.equal(ours, theirs)
    assert torch.equal(empty, theirs)


def test_recording_changes_nothing_and_maps_are_probabilities(prior, call):
    recorder = Recorder()
    with torch.no_grad():
        plain, seen = prior.predict(*call), prior.predict(*call, slots=Slots(record=recorder))
    assert torch.allclose(plain, seen, atol=1e-5)
    assert set(recorder.maps) == {layer.name for layer in layers_of(prior.unet, cross=True)}
    for maps in recorder.maps.values():
        assert maps.shape[0] == 2
        assert torch.allclose(maps.sum(-1), torch.ones_like(maps[..., 0]), atol=1e-5)


def test_the_image_branch_is_that_of_ip_adapter(prior, call):
    from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0

    x, t, context = call
    random = torch.Generator().manual_seed(1)
    tokens = torch.randn(2, 3, 32, generator=random)
    layers = layers_of(prior.unet, cross=True)
    state, theirs, processors = {}, {}, dict(prior.unet.attn_processors)
    for name in processors:
        if name.endswith("attn1.processor"):
            theirs[name] = AttnProcessor2_0()
            continue
        layer = next(one for one in layers if f"{one.name}.processor" == name)
        theirs[name] = IPAdapterAttnProcessor2_0(layer.width, 32, num_tokens=(3,), scale=0.7)
        number = 2 * sum(one.endswith("attn2.processor") for one in list(processors)[: list(processors).index(name)]) + 1
        for part in "kv":
            weight = torch.randn(layer.width, 32, generator=random)
            getattr(theirs[name], f"to_{part}_ip")[0].weight.data.copy_(weight)
            state[f"{number}.to_{part}_ip.weight"] = weight
    branch = KeysValues.from_ip_adapter(prior.unet, state)
    with torch.no_grad():
        ours = prior.predict(x, t, context, slots=Slots(streams=[branch.stream(tokens, weight=0.7)]))
        prior.unet.set_attn_processor(theirs)
        wanted = prior.unet(x, t, encoder_hidden_states=(context, [tokens])).sample
        install(prior.unet)
        plain = prior.predict(x, t, context)
        off = prior.predict(x, t, context, slots=Slots(streams=[branch.stream(tokens, weight=0.0)]))
    assert torch.allclose(ours, wanted, atol=1e-5)
    assert not torch.allclose(ours, plain, atol=1e-3)
    assert torch.equal(off, plain)
    with pytest.raises(ConfigError, match="to_v_ip"):
        KeysValues.from_ip_adapter(prior.unet, {name: value for name, value in state.items() if name != "3.to_v_ip.weight"})


def test_a_chosen_context_and_given_keys_are_used(prior, call):
    x, t, context = call
    other = prior.encode(["a photo of a mug", "a mug on the beach"])
    chosen = Slots(context=lambda layer, time: other if layer.cross else None)
    by_hand = Slots(
        edit=lambda layer, k, v, own: (
            tuple(getattr(prior.unet.get_submodule(layer.name), part)(other) for part in ("to_k", "to_v")) if layer.cross else (k, v)
        )
    )
    with torch.no_grad():
        wanted = prior.predict(x, t, other)
        assert torch.allclose(prior.predict(x, t, context, slots=chosen), wanted, atol=1e-5)
        assert torch.allclose(prior.predict(x, t, context, slots=by_hand), wanted, atol=1e-5)
        # Keys from one context, values from another: between the two, equal to neither.
        mixed = prior.predict(x, t, context, slots=Slots(context=lambda layer, time: (context, other) if layer.cross else None))
        assert not torch.allclose(mixed, wanted, atol=1e-4)
        # The time reaches the chooser.
        seen = []
        prior.predict(x, t, context, slots=Slots(context=lambda layer, time: seen.append(time)))
        assert all(torch.equal(one, t) for one in seen)
        assert len(seen) == 8


@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 8))
def test_a_joined_stream_is_one_softmax_with_weighted_tokens(prior, call, weight):
    """Tokens that stand twice with weight w are attention in which each counts 1 + w: the same as without them, whatever w is."""
    x, t, context = call

    def twin(layer):
        own = prior.unet.get_submodule(layer.name)
        return (own.to_k(context), own.to_v(context)) if layer.cross else None

    with torch.no_grad():
        plain = prior.predict(x, t, context)
        joined = prior.predict(x, t, context, slots=Slots(streams=[Stream(twin, weight=weight, how="joined")]))
    assert torch.allclose(plain, joined, atol=1e-4)


def test_maps_can_be_changed(prior, call):
    with torch.no_grad():
        plain = prior.predict(*call)
        same = prior.predict(*call, slots=Slots(change=lambda layer, maps: maps))
        other = prior.predict(*call, slots=Slots(change=lambda layer, maps: maps.flip(-1) if layer.cross else maps))
    assert torch.allclose(plain, same, atol=1e-5)
    assert not torch.allclose(plain, other, atol=1e-4)
