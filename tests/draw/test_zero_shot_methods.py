"""Things drawn from their pictures without training for them: IP-Adapter and what stands on it, joint denoising, pictures in a prompt."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sartor.data.population import Population
from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw._shown import Shown
from sartor.draw.ip_adapter import IPAdapter
from sartor.draw.jedi import JeDi, coupled, shown_beside
from sartor.draw.lambda_eclipse import LambdaEclipse, places_of
from sartor.draw.mip_adapter import MIPAdapter, shares_of
from sartor.draw.parts.cutouts import cut, foreground
from sartor.draw.parts.image_branch import PictureTokens, each_thing
from sartor.draw.parts.objectives import even, noisier
from sartor.draw.parts.others_things import others_things
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tap import Slots, layers_of
from sartor.errors import BadImage, BadPrompt, BadValue, ConfigError, CorruptFile, EmptyData, FileProblem, MissingColumn, StateMismatch
from sartor.method import State, load

WORLD = ShapesWorld()
TINY = {"steps": 2, "batch": 2, "sampling_steps": 2}


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """Six things, four pictures of each alone, and three pictures of two."""
    folder, rows = tmp_path_factory.mktemp("others"), []

    def add(scenes, inside):
        for picture, caption in zip(scenes.render(), scenes.captions(names=[f"<{one.name}>" for one in inside]), strict=True):
            path = folder / f"{len(rows)}.png"
            Image.fromarray(picture).save(path)
            rows.extend((path.stem, str(path), one.name, one.noun, caption) for one in inside)

    things = WORLD.subjects(6, start=300)
    for one in things:
        add(WORLD.references(one, 4), [one])
    add(WORLD.together(things[:2], 3), things[:2])
    return pl.DataFrame(rows, schema=["image", "path", "item", "class_word", "caption"], orient="row")


@pytest.fixture(scope="module")
def population(frame):
    return Population.from_frames(images=frame)


@pytest.fixture(scope="module")
def adapter(prior, population):
    return IPAdapter(**TINY, learning_rate=0.05).fit(population, on=prior, progress=False)


def show(name="<v>", number=0, count=3, noun="critter"):
    subject = WORLD.subjects(1, noun=noun, start=number)[0]
    scenes = WORLD.references(subject, count)
    return Shown(name=name, class_word=noun, images=scenes.render(), masks=scenes.masks())


def weights_of(prior):
    return {name: value.clone() for part in prior.modules for name, value in part.state_dict().items()}


def close(a, b):
    """The same but for rounding, which depends on how many are drawn at once."""
    return np.abs(a.astype(int) - b).max() <= 2


# --- pictures of others' things


def test_things_stand_out_from_the_border_of_their_pictures():
    alike = []
    for subject in WORLD.subjects(9):
        scenes = WORLD.references(subject, 5)
        found, truth = foreground(scenes.render()), scenes.masks()
        alike.append((found & truth).sum((1, 2)) / (found | truth).sum((1, 2)))
    assert np.mean(alike) > 0.9
    assert not foreground(np.full((1, 24, 24, 3), 7, np.uint8)).any()
    picture, mask = scenes.render()[:1], truth[:1]
    alone = cut(picture, mask, 12)
    # Every pixel of the thing is there, nothing else.
    assert sorted(map(tuple, alone[(alone != 128).any(-1)])) == sorted(map(tuple, picture[mask]))
    assert cut(picture, mask, 4).shape == (1, 4, 4, 3)
    with pytest.raises(BadImage, match="no foreground"):
        cut(picture, np.zeros_like(mask), 12)


def test_others_things_are_read_with_who_is_in_which_picture(frame):
    found = others_things(frame, 24)
    assert found.images.shape == (27, 24, 24, 3)
    assert sum(len(rows) for rows in found.alone.values()) == 24
    assert (found.things[24:, 1] >= 0).all()
    assert all("<" not in caption for caption in found.captions)
    first = found.things[24]
    assert found.captions[24].split().index(found.classes[first[0]]) < found.captions[24].rindex(found.classes[first[1]])
    rng = np.random.default_rng(0)
    assert all(found.other_picture(rng, thing, row, found.alone) != row for thing, rows in found.alone.items() for row in rows)
    with pytest.raises(MissingColumn, match="class_word"):
        others_things(frame.drop("class_word"), 24)
    with pytest.raises(EmptyData):
        others_things(frame.clear(), 24)
    with pytest.raises(BadPrompt, match="names nothing"):
        others_things(frame.with_columns(caption=pl.lit("a ring")), 24)
    with pytest.raises(BadValue, match="alone"):
        others_things(frame.tail(6), 24)


def test_training_looks_at_noisy_times_more_often_and_at_clean_ones_more_closely(prior, pipeline):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = noisier(1000, 0.5)(4000, torch.device("cpu"))
    assert abs((drawn >= 700).float().mean() - (0.5 + 0.5 * 0.3)) < 0.03
    assert drawn.max() < 1000
    t = torch.tensor([0, 400, 999])
    wanted = (1 / (1 - prior.alphas[t])).clamp(max=5)
    assert torch.allclose(even(prior, t, heaviest=5.0), wanted)
    assert torch.equal(even(prior, t, heaviest=1.0), torch.ones(3))
    assert torch.equal(even(Prior.from_pretrained(pipeline), t, heaviest=5.0), torch.ones(3))
    with pytest.raises(ConfigError, match="share of 2"):
        noisier(1000, 2)


# --- IP-Adapter


def test_a_new_thing_needs_one_pass_and_the_prior_stays_as_it_was(prior, adapter, population, tmp_path):
    before = weights_of(prior)
    state = adapter.learn([show(), show("<w>", 1, 2, "badge")])
    assert {key: value.shape for key, value in state.arrays.items()} == {"<v>/tokens": (3, 4, 16), "<w>/tokens": (2, 4, 16)}
    texts = ["a <v> on sand", "a <v> left of a <w>", "a <w>", "a ring"]
    drawn = adapter.draw(texts, [state] * 4, seeds=[1] * 4)
    plain = adapter.draw(texts, [None] * 4, seeds=[1] * 4, classes={"<v>": "critter", "<w>": "badge"})
    assert all((drawn[row] != plain[row]).any() for row in range(3))
    assert close(drawn[3], plain[3])
    assert close(adapter.draw(texts, [state] * 4, seeds=[1] * 4, strength=0.0), plain)
    again = load(adapter.save(tmp_path / "model"))
    again._prior = prior
    assert close(again.draw(texts, [State.from_bytes(state.to_bytes())] * 4, seeds=[1] * 4), drawn)
    assert all((before[name] == value).all() for name, value in weights_of(prior).items())


def test_pictures_of_a_thing_weigh_as_one(prior, adapter):
    """Attention to each picture by itself is what the stream of an IP-Adapter computes; several pictures of a thing are its mean."""
    layer = layers_of(prior.unet, cross=True)[0]
    random = torch.Generator().manual_seed(0)
    tokens, query = torch.randn(2, 1, 3, 4, 16, generator=random), torch.randn(2, 64, layer.width, generator=random)
    branch = adapter.network_["branch"]
    one = [each_thing(layer, query, branch, seen(tokens[:, :, [number]])) for number in range(3)]
    assert torch.allclose(each_thing(layer, query, branch, seen(tokens)), torch.stack(one).mean(0), atol=1e-5)
    x, t, context = torch.randn(2, 27, 8, 8, generator=random), torch.tensor([10, 500]), prior.encode(["a ring", "a flag"])
    with torch.no_grad():
        wanted = prior.predict(x, t, context, slots=Slots(streams=[branch.stream(tokens[:, 0, 0], weight=0.7)]))
        assert torch.allclose(prior.predict(x, t, context, slots=Slots(merge=adapter._merge(seen(tokens[:, :, :1]), 0.7))), wanted, atol=1e-5)
        # With one thing, one attention to all its tokens is the same again.
        other = IPAdapter(several="joined", **TINY)
        other.network_ = adapter.network_
        assert torch.allclose(prior.predict(x, t, context, slots=Slots(merge=other._merge(seen(tokens[:, :, :1]), 0.7))), wanted, atol=1e-5)


def seen(tokens, said=2):
    rows, things = tokens.shape[:2]
    return PictureTokens(tokens, torch.ones(rows, things), torch.randn(rows, things, said, 16), torch.ones(rows, things, said))


def test_adapters_are_exchanged_as_diffusers_reads_them(pipeline, tmp_path):
    from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from sartor.draw.parts.tap import install

    vision = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16, projection_dim=24
        )
    )
    vision.save_pretrained(tmp_path / "vision")
    prior = Prior.from_pretrained(pipeline)
    pictures = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), np.uint8)
    rows = []
    for number, picture in enumerate(np.concatenate([pictures, pictures[::-1]])):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        rows.append((str(number), str(tmp_path / f"{number}.png"), f"mug-{number % 2}", "mug", f"a <mug-{number % 2}> on the beach"))
    frame = pl.DataFrame(rows, schema=["image", "path", "item", "class_word", "caption"], orient="row")
    made = IPAdapter(**TINY, encoder=str(tmp_path / "vision")).fit(Population.from_frames(images=frame), on=prior, progress=False)
    file = made.write_adapter(tmp_path / "adapter.safetensors")
    thing = Shown(name="<v>", class_word="mug", images=pictures)
    drawn = made.draw(["a <v> on the beach"], [made.learn(thing)], seeds=[3])
    opened = IPAdapter(sampling_steps=2, encoder=str(tmp_path / "vision")).open_adapter(file, on=prior)
    assert (opened.draw(["a <v> on the beach"], [opened.learn(thing)], seeds=[3]) == drawn).all()
    # diffusers' own loader, its own processors.
    from safetensors.torch import load_file

    state = {head: {} for head in ("image_proj", "ip_adapter")}
    for key, value in load_file(file).items():
        head, _, rest = key.partition(".")
        state[head][rest] = value
    x, t, context = torch.randn(1, 4, 8, 8), torch.tensor([400]), prior.encode(["a mug"])
    with torch.no_grad():
        embedding = made._looks(prior, pictures[:1], None)
        own = seen(made.network_["projector"](embedding)[None, None, 0][:, :, None].reshape(1, 1, 1, 4, 32))
        ours = prior.predict(x, t, context, slots=Slots(merge=made._merge(own, 1.0)))
        before = dict(prior.unet.attn_processors)
        kept = prior.unet.encoder_hid_proj, prior.unet.config.encoder_hid_dim_type
        try:
            prior.unet.set_attn_processor(AttnProcessor2_0())
            prior.unet._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
            assert any(isinstance(one, IPAdapterAttnProcessor2_0) for one in prior.unet.attn_processors.values())
            theirs = prior.unet(x, t, encoder_hidden_states=context, added_cond_kwargs={"image_embeds": [embedding[None]]}).sample
        finally:
            prior.unet.encoder_hid_proj = kept[0]
            prior.unet.register_to_config(encoder_hid_dim_type=kept[1])
            prior.unet.set_attn_processor(before)
            install(prior.unet)
    assert torch.allclose(ours, theirs, atol=1e-4)
    with pytest.raises(ConfigError, match="image encoder"):
        IPAdapter().open_adapter(file, on=prior)
    with pytest.raises(ConfigError, match="this model reads 16"):
        IPAdapter().open_adapter(file, on=Prior.small(VOCABULARY, widths=(16, 16), text_width=16))
    with pytest.raises(FileProblem):
        IPAdapter().open_adapter(tmp_path / "none", on=prior)
    (tmp_path / "half").write_bytes(file.read_bytes()[:99])
    with pytest.raises(CorruptFile):
        IPAdapter().open_adapter(tmp_path / "half", on=prior)
    with pytest.raises(FileProblem, match="image encoder"):
        IPAdapter(encoder=str(tmp_path), **TINY).fit(Population.from_frames(images=frame), on=prior, progress=False)


# --- MIP-Adapter


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99))
def test_shares_of_pixels_follow_the_words(prior, number):
    """Shares are over things one; equal words get equal shares; they are those of the layer's own keys, pixel by pixel."""
    random = torch.Generator().manual_seed(number)
    layer = layers_of(prior.unet, cross=True)[number % 2]
    to_k = prior.unet.get_submodule(layer.name).to_k
    query, phrases = torch.randn(1, 64, layer.width, generator=random), torch.randn(1, 2, 2, 16, generator=random)
    own = PictureTokens(torch.zeros(1, 2, 1, 4, 16), torch.ones(1, 2), phrases, torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]))
    shares = shares_of(layer, query, to_k, own)
    assert torch.allclose(shares.sum(1), torch.ones(1, 64), atol=1e-5)

    def looked(word):
        heads = [(query[0, :, part] @ to_k(word)[part] * (layer.width // layer.heads) ** -0.5).softmax(0) for part in parts(layer)]
        return torch.stack(heads).mean(0)

    with torch.no_grad():
        first, second = looked(phrases[0, 0, 0]), (looked(phrases[0, 1, 0]) + looked(phrases[0, 1, 1])) / 2
    assert torch.allclose(shares[0, 0], first / (first + second), atol=1e-4)
    same = PictureTokens(own.tokens, own.there, phrases[:, :1].expand(-1, 2, -1, -1), torch.ones(1, 2, 2))
    assert torch.allclose(shares_of(layer, query, to_k, same), torch.full((1, 2, 64), 0.5), atol=1e-5)
    alone = PictureTokens(own.tokens, torch.tensor([[1.0, 0.0]]), phrases, own.said)
    assert torch.allclose(shares_of(layer, query, to_k, alone)[0], torch.tensor([[1.0], [0.0]]).expand(2, 64))


def parts(layer):
    each = layer.width // layer.heads
    return [slice(each * head, each * (head + 1)) for head in range(layer.heads)]


def test_mip_goes_on_from_an_adapter_and_refuses_what_it_cannot_tell_apart(prior, adapter, population, tmp_path):
    fresh = MIPAdapter(start=adapter, **{**TINY, "steps": 0}, learning_rate=0.05).fit(population, on=prior, progress=False)
    assert all((fresh.network_.state_dict()[name] == value).all() for name, value in adapter.network_.state_dict().items())
    made = MIPAdapter(start=adapter, **TINY, learning_rate=0.05).fit(population, on=prior, progress=False)
    assert any((made.network_["gates"][n].weight != fresh.network_["gates"][n].weight).any() for n in range(4))
    things = [show(), show("<w>", 1, 2, "badge")]
    state = made.learn(things)
    drawn = made.draw(["a <v> left of a <w>"], [state], seeds=[2])
    again = load(made.save(tmp_path / "model"))
    again._prior = prior
    assert close(again.draw(["a <v> left of a <w>"], [state], seeds=[2]), drawn)
    pictures = np.stack([one.images[0] for one in things])
    composed = made.compose("a critter left of a badge on sea", ["critter", "badge"], pictures, seeds=[1, 2])
    assert composed.shape == (2, 24, 24, 3)
    assert made.compose("a critter on sea", ["critter"] * 3, things[0].images, same_object=True).shape == (1, 24, 24, 3)
    for arguments, error, words in (
        (("a ring", ["critter"], pictures[:1]), BadPrompt, "does not say 'critter'"),
        (("a critter", ["critter"], pictures), ConfigError, "1 phrases for 2"),
        (("a critter left of a critter", ["critter", "critter"], pictures), ConfigError, "several pictures"),
    ):
        with pytest.raises(error, match=words):
            made.compose(*arguments)
    with pytest.raises(BadPrompt, match="both a critter"):
        made.draw(["a <v> left of a <w>"], [made.learn([show(), show("<w>", 1)])])
    with pytest.raises(StateMismatch, match="other sizes"):
        MIPAdapter(start=adapter, tokens=2, **TINY).fit(population, on=prior, progress=False)


# --- JeDi


def test_given_pictures_are_a_wider_first_layer(prior):
    """A denoiser whose first layer has the further channels gives the same."""
    random = torch.Generator().manual_seed(0)
    first = prior.unet.conv_in
    extra = torch.nn.Conv2d(28, 16, 3, padding=1, bias=False)
    wide = torch.nn.Conv2d(27 + 28, 16, 3, padding=1)
    x, clean = torch.randn(2, 2, 27, 8, 8, generator=random)
    given_ = torch.tensor([False, True])
    there = given_.float()[:, None, None, None]
    with torch.no_grad():
        wide.weight.copy_(torch.cat([first.weight, extra.weight], 1))
        wide.bias.copy_(first.bias)
        with shown_beside(prior, extra, clean, given_):
            ours = first(x)
        wanted = wide(torch.cat([x, clean * there, there.expand(2, 1, 8, 8)], 1))
        assert torch.allclose(ours, wanted, atol=1e-5)
        assert torch.equal(first(x)[0], prior.unet.conv_in(x)[0])


def test_pictures_of_a_set_see_each_other_and_no_other_set(prior):
    random = torch.Generator().manual_seed(0)
    x, t, context = torch.randn(4, 27, 8, 8, generator=random), torch.tensor([300] * 4), prior.encode(["a ring", "a flag"] * 2)
    changed = x.clone()
    changed[1] += 1
    with torch.no_grad():
        before, after = (prior.predict(part, t, context, slots=Slots(edit=coupled(2))) for part in (x, changed))
        alone = prior.predict(x, t, context)
        assert torch.allclose(prior.predict(x, t, context, slots=Slots(edit=coupled(1))), alone, atol=1e-6)
    assert not torch.allclose(before[0], after[0], atol=1e-5)
    assert torch.allclose(before[2:], after[2:], atol=1e-6)
    assert not torch.allclose(before, alone, atol=1e-5)


def test_jedi_draws_beside_the_references(prior, population, tmp_path):
    before = weights_of(prior)
    method = JeDi(together=3, **TINY, learning_rate=0.01).fit(population, on=prior, progress=False)
    assert all((before[name] == value).all() for name, value in weights_of(prior).items())
    thing = show(count=2)
    state, other = method.learn(thing), method.learn(show(number=1, count=2))
    assert (state["<v>/pictures"] == thing.images).all()
    assert state.nbytes == thing.images.nbytes
    drawn = method.draw(["a <v> on sand"] * 2, [state, other], seeds=[1, 1])
    assert (drawn[0] != drawn[1]).any()
    again = load(method.save(tmp_path / "model"))
    again._prior = prior
    assert close(again.draw(["a <v> on sand"], [State.from_bytes(state.to_bytes())], seeds=[1]), drawn[:1])
    led = JeDi(together=3, **TINY, learning_rate=0.01, picture_guidance=1.0).fit(population, on=prior, progress=False)
    assert (led.draw(["a <v> on sand"], [led.learn(thing)], seeds=[1]) != drawn[:1]).any()
    with pytest.raises(ConfigError, match="3 pictures of <v>, 2 can be given"):
        method.learn(show(count=3))
    with pytest.raises(EmptyData):
        method.learn(Shown(name="<v>", class_word="critter", images=thing.images[:0]))
    two = [show(count=1), show(number=1, count=1)]
    mixed = {part: np.concatenate([getattr(one, part) for one in two]) for part in ("images", "masks")}
    with pytest.raises(BadImage, match="not of one thing"):
        method.learn(Shown(name="<v>", class_word="critter", **mixed))
    with pytest.raises(EmptyData, match="5 pictures"):
        JeDi(together=5, **TINY).fit(population, on=prior, progress=False)


# --- on a Stable Diffusion


@pytest.mark.parametrize("make", [lambda: IPAdapter(**TINY, cells=4), lambda: JeDi(together=2, **TINY, alike=-1)])
def test_they_run_on_a_stable_diffusion(pipeline, tmp_path, make):
    prior, random = Prior.from_pretrained(pipeline), np.random.default_rng(0)
    rows = []
    for number in range(4):
        Image.fromarray(random.integers(0, 255, (16, 16, 3), np.uint8)).save(tmp_path / f"{number}.png")
        rows.append((str(number), str(tmp_path / f"{number}.png"), f"mug-{number // 2}", "mug", f"a <mug-{number // 2}> on the beach"))
    frame = pl.DataFrame(rows, schema=["image", "path", "item", "class_word", "caption"], orient="row")
    made = make().fit(Population.from_frames(images=frame), on=prior, progress=False)
    pictures, masks = random.integers(0, 255, (1, 16, 16, 3), np.uint8), np.ones((1, 16, 16), bool)
    state = made.learn(Shown(name="<v>", class_word="mug", images=pictures, masks=masks))
    assert made.draw(["a <v> on the beach"], [state]).shape == (1, 16, 16, 3)


# --- lambda-ECLIPSE


def test_lambda_eclipse_imagines_an_embedding_and_a_fixed_decoder_paints_it(prior, population, tmp_path):
    before = weights_of(prior)
    settings = {"encoder_steps": 2, "decoder_steps": 2, "steps": 2, "batch": 2, "sampling_steps": 2, "dim": 8, "decoder_rate": 0.01}
    method = LambdaEclipse(**settings).fit(population, on=prior, progress=False)
    assert all((before[name] == value).all() for name, value in weights_of(prior).items())
    two = [show(), show("<w>", 1, 1, "badge")]
    state, other = method.learn(two), method.learn([show(number=2), two[1]])
    assert {key: value.shape for key, value in state.arrays.items()} == {"<v>/embedding": (8,), "<w>/embedding": (8,)}
    texts = ["a <v> on sand", "a <v> left of a <w>", "a ring"]
    drawn = method.draw(texts, [state] * 3, seeds=[1] * 3)
    assert (drawn[:2] != method.draw(texts[:2], [other] * 2, seeds=[1] * 2)).any((1, 2, 3)).all()
    assert close(drawn[2:], method.draw(["a ring"], [None], seeds=[1]))
    again = load(method.save(tmp_path / "model"))
    again._prior = prior
    assert close(again.draw(texts, [State.from_bytes(state.to_bytes())] * 3, seeds=[1] * 3), drawn)
    # Encoder and decoder are not what learns with prompts; with those of another, only the network between differs.
    plain = LambdaEclipse(**settings, contrast=0.0, start=method).fit(population, on=prior, progress=False)
    same = {key: (plain.network_.state_dict()[key] == value).all() for key, value in method.network_.state_dict().items()}
    assert all(value for key, value in same.items() if not key.startswith("prior."))
    assert not all(same.values())
    assert plain.changes_ is method.changes_
    # Between two things: at the ends each of them.
    ends = [method.mixed([state, other], "<v>", weights)["<v>/embedding"] for weights in ([1, 0], [0, 1])]
    assert np.allclose(ends[0], state["<v>/embedding"], atol=1e-5)
    assert np.allclose(ends[1], other["<v>/embedding"], atol=1e-5)
    by_class, either = (method.draw(["a <v>"], [one], seeds=[1], strength=0.0) for one in (state, other))
    assert close(by_class, either)
    lines = np.eye(24, dtype=bool)
    assert method.draw(["a <v>"], [state], edges=lines).shape == (1, 24, 24, 3)
    with pytest.raises(BadImage, match="edge map"):
        method.draw(["a <v>"], [state], edges=lines * 0.5)
    with pytest.raises(BadPrompt, match="<x> is not a concept"):
        method.draw(["a <x>"], [state])
    with pytest.raises(ConfigError, match="average=True"):
        LambdaEclipse(**settings, average=False, start=method).fit(population, on=prior, progress=False).learn(show())


def test_things_stand_where_their_captions_name_them(prior, frame):
    found = others_things(frame, 24)
    places = places_of(prior, found)
    words = prior.words(found.captions)
    for row, inside in enumerate(found.things):
        kinds = [found.classes[thing] for thing in inside if thing >= 0]
        assert [prior.tokenizer.decode(words.ids[row, places[row] == number]).strip() for number in range(len(kinds))] == kinds
        assert (places[row] >= 0).sum() == len(kinds)
