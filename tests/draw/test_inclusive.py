"""ITI-GEN: tokens of categories from example pictures, and how often each is drawn. Untrained priors are enough."""

import itertools

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sartor.data.population import Evidence, Population
from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw.iti_gen import ITIGen
from sartor.draw.parts.inclusion import batches, inclusive, spelled, sum_of
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.shares import shared_out
from sartor.errors import BadValue, ConfigError, EmptyData, MissingColumn, NotFitted, StateMismatch

WORLD = ShapesWorld()
QUICK = {"epochs": 2, "steps_per_epoch": 2, "encoder_steps": 4, "encoder_dim": 8, "sampling_steps": 2}


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    folder, scenes = tmp_path_factory.mktemp("captioned"), WORLD.scenes(np.random.default_rng(0), 24)
    paths = [str(folder / f"{number}.png") for number in range(24)]
    for path, picture in zip(paths, scenes.render(), strict=True):
        Image.fromarray(picture).save(path)
    return Population.from_frames(images=pl.DataFrame({"image": [str(n) for n in range(24)], "path": paths, "caption": scenes.captions()}))


@pytest.fixture(scope="module")
def method(prior, population):
    return ITIGen(**QUICK).fit(population, on=prior, progress=False)


def pictures(seed, count=4, size=24):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


ATTRIBUTES = {"colour": {"teal": pictures(0), "brown": pictures(1), "grey": pictures(2)}, "place": {"here": pictures(3), "there": pictures(4)}}


def test_tokens_are_learned_at_one_prompt_and_serve_others(method, prior):
    state = method.learn("a critter", ATTRIBUTES)
    assert state["colour/tokens"].shape == (3, 3, 16)
    assert state["place/tokens"].shape == (2, 3, 16)
    assert np.abs(state["colour/tokens"]).max() > 0
    prompts = ["a badge at top left"] * 6
    drawn = method.draw(prompts, [state] * 6, seeds=[1] * 6)
    chosen = method.combinations(state, 6, seed=1)
    assert sorted({(one["colour"], one["place"]) for one in chosen}) == sorted(itertools.product(("brown", "grey", "teal"), ("here", "there")))
    again = method.draw(prompts, [state] * 6, seeds=[1] * 6, combinations=chosen)
    assert np.abs(drawn.astype(int) - again).max() <= 1
    plain = method.draw(prompts[:1], [None], seeds=[1])
    assert not np.array_equal(plain[0], drawn[0])
    # The tokens of a combination are the sum of its categories', and stand right behind the prompt.
    rows = sum_of([torch.from_numpy(state[f"{name}/tokens"].copy()) for name in ATTRIBUTES], torch.tensor([[2, 1]]))
    assert np.allclose(rows[0].numpy(), state["colour/tokens"][2] + state["place/tokens"][1])
    assert np.array_equal(state["colour/tokens"], method.learn("a critter", ATTRIBUTES)["colour/tokens"])


def test_tokens_stand_behind_a_prompt_or_where_it_says(method):
    assert spelled("a critter") == "a critter <inclusive>"
    assert spelled("a <inclusive> critter") == "a <inclusive> critter"
    assert spelled("a <inclusive> critter", marked=False) == "a critter"
    state = method.learn("a <inclusive> critter", ATTRIBUTES)
    assert not np.array_equal(state["colour/tokens"], method.learn("a critter", ATTRIBUTES)["colour/tokens"])
    combination = {"colour": "teal", "place": "here"}
    before, behind = (method.draw([prompt], [state], combinations=[combination]) for prompt in ("a <inclusive> critter", "a critter"))
    assert not np.array_equal(before, behind)
    plain = [method.draw([prompt], [None]) for prompt in ("a <inclusive> critter", "a critter")]
    assert np.array_equal(*plain)


def test_the_loss_is_that_of_the_authors_by_hand():
    draw = torch.Generator().manual_seed(0)
    combos = torch.tensor([*itertools.product(range(3), range(2))])
    said, plain = F.normalize(torch.randn(6, 5, generator=draw), dim=1), F.normalize(torch.randn(5, generator=draw), dim=0)
    means = [torch.randn(5, generator=draw) for _ in range(3)]
    total = 0.0
    for a, b in ((0, 1), (0, 2), (1, 2)):
        way = means[a] - means[b]
        for other in range(2):
            rows = {tuple(one): said[number] for number, one in enumerate(combos.tolist())}
            text = rows[a, other] - rows[b, other]
            total += (1 - float(way @ text / (way.norm() * text.norm()))) / 2
            total += max(0.0, 0.8 - float((rows[a, other] @ plain + rows[b, other] @ plain) / 2)) / 2
    assert inclusive(said, combos[:, 0], means, plain, 0.8).item() == pytest.approx(total / (2 * 3 / 3), rel=1e-5)
    # A category without pictures in the batch: nearness to the pictures of the others.
    missing = [means[0], torch.full((5,), float("nan")), means[2]]
    close = sum(1 - float((said[combos[:, 0] == one] @ means[one]).mean()) for one in (0, 2))
    hinge = inclusive(said, combos[:, 0], means, plain, 0.8) - inclusive(said, combos[:, 0], means, plain, -1.0)
    assert inclusive(said, combos[:, 0], missing, plain, 0.8).item() == pytest.approx(close + hinge.item(), rel=1e-4)


def test_prompts_turn_to_where_the_pictures_lie(method, prior):
    long = ITIGen(**{**QUICK, "epochs": 15}, learning_rate=0.05)
    long._prior, long.prior_fingerprint_, long.network_ = prior, prior.fingerprint, method.network_
    long._seal()
    plain = [np.full((10, 24, 24, 3), colour, np.uint8) for colour in ((0, 120, 120), (130, 70, 10), (128, 128, 128))]
    tokens, losses = long._learned(prior, "a critter", [[long._pictures(prior, one) for one in plain]], 0)
    assert min(losses) < 0.9 * losses[0]
    assert tokens[0].shape == (3, 3, 16)
    # Tokens begin as one, where there is no direction: the first step parts them, and no later one is lost in how large its slope was.
    with torch.no_grad():
        said = long._said(prior, ["a critter"] * 3, tokens[0])
        means = [long._pictures(prior, one).mean(0) for one in plain]
    for a, b in itertools.combinations(range(3), 2):
        assert F.cosine_similarity(said[a] - said[b], means[a] - means[b], dim=0) > 0.3


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=4), min_size=1, max_size=3), st.integers(1, 60), st.integers(0, 5))
def test_shares_are_met_up_to_one_picture(raw, count, seed):
    shares = [[part / sum(one) if sum(one) > 0.1 else 1 / len(one) for part in one] for one in raw]
    chosen = shared_out(shares, count, seed)
    assert chosen.shape == (count, len(shares))
    for combo in itertools.product(*map(range, map(len, shares))):
        wanted = count * np.prod([one[kind] for one, kind in zip(shares, combo, strict=True)])
        assert abs((chosen == combo).all(1).sum() - wanted) < 1 + 1e-6


def test_batches_have_every_picture_once_an_epoch():
    parts = [*batches(np.random.default_rng(0), [5, 7], 3)]
    assert sorted(int(one) for part in parts for one in part[0]) == [*range(5)]
    assert sorted(int(one) for part in parts for one in part[1]) == [*range(7)]


def test_evidence_gives_the_same_state(method, population, prior):
    frame = population.frame("images").collect().head(4).with_columns(
        attribute=pl.lit("colour"), category=pl.Series(["a", "a", "b", "b"]), prompt=pl.lit("a critter")
    )  # fmt: skip
    state = method.adapt(Evidence({"images": frame}))
    assert state.notes["attributes"] == {"colour": ["a", "b"]}
    with pytest.raises(BadValue, match="several prompts"):
        method.adapt(Evidence({"images": frame.with_columns(prompt=pl.Series(["a critter", "a badge"] * 2))}))
    with pytest.raises(MissingColumn, match="category"):
        method.adapt(Evidence({"images": frame.drop("category")}))
    with pytest.raises(EmptyData):
        method.adapt(Evidence({}))


def test_bad_input_is_named(method, prior, population):
    state = method.learn("a critter", ATTRIBUTES)
    many = {f"a{n}": {str(k): pictures(0, 2) for k in range(9)} for n in range(3)}
    cases = [
        (lambda: method.learn("a critter", {"colour": {"teal": pictures(0), "brown": pictures(1, 1)}}), EmptyData, "'brown' has 1 pictures"),
        (lambda: method.learn("a critter", many), ConfigError, "729 combinations"),
        (lambda: method.learn("a critter", {"colour": {"teal": pictures(0)}}), ConfigError, "1 categories"),
        (lambda: method.learn("a critter", {}), EmptyData, "no attributes"),
        (lambda: method.draw(["a badge"], [state], shares={"colour": {"teal": 0.5, "brown": 0.2}}), ConfigError, "sum to 0.7"),
        (lambda: method.draw(["a badge"], [state], shares={"colour": {"red": 1.0}}), BadValue, "no category 'red'"),
        (lambda: method.draw(["a badge"], [state], shares={"age": {"old": 1.0}}), BadValue, "no attribute age"),
        (lambda: method.draw(["a badge"], [state], combinations=[{"colour": "teal"}]), BadValue, "nothing of place"),
        (lambda: method.draw(["a badge"], [state], combinations=[{"colour": "red", "place": "here"}]), BadValue, "no colour 'red'"),
        (lambda: method.draw(["a badge"], [state, state]), ConfigError, "1 prompts, 2 states"),
        (lambda: ITIGen(**QUICK, near=0.1).fit(population, on=prior, progress=False).draw(["a badge"], [state]), StateMismatch, "was made by"),
        (lambda: ITIGen(**QUICK).fit(on=prior), EmptyData, "learns from others"),
        (lambda: ITIGen(**QUICK).draw(["a badge"], [None]), NotFitted, "not fitted"),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind, match=words):
            call()


def test_a_stable_diffusion_learns_in_the_space_of_a_clip(pipeline, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    text = pipeline.text_encoder.config.to_dict()
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(tmp_path)
    method = ITIGen(**QUICK, encoder=str(tmp_path)).fit(on=Prior.from_pretrained(pipeline))
    state = method.learn("a photo of a mug", {"kind": {"one": pictures(0, 4, 16), "other": pictures(1, 4, 16)}})
    assert method.draw(["a mug on the beach"] * 2, [state] * 2).shape == (2, 16, 16, 3)
    loaded = ITIGen.load(method.save(tmp_path / "saved"))
    assert loaded.fingerprint_ == method.fingerprint_
    with pytest.raises(ConfigError, match="text encoder has 32 numbers"):
        ITIGen(**QUICK, encoder=str(tmp_path)).fit(on=Prior.small(VOCABULARY, widths=(16, 16), text_width=16))
