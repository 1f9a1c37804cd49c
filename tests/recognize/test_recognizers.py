"""Enrolment, answers and thresholds of every recognizer that keeps vectors; what does not fit is named."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from sartor.data.population import Population
from sartor.data.world.identity import IdentityWorld
from sartor.errors import BadImage, BadValue, ConfigError, CorruptFile, EmptyData, FileProblem, StateMismatch
from sartor.evaluate.recognition import Protocol, few_shot
from sartor.method import State, load
from sartor.recognize.faim import FAIM
from sartor.recognize.nearest_centroid import NearestCentroid
from sartor.recognize.parts.encoders import open_encoder
from sartor.recognize.parts.pictures import read_pictures
from sartor.recognize.parts.threshold import Impostors
from sartor.recognize.pose2id import Pose2ID

WORLD = IdentityWorld(seed=3)


def _pictures(people: np.ndarray, each: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    shots = WORLD.shots(people, each, first=first, cameras=1, free=0.0, occluded=0.0)
    return WORLD.render(shots), shots.person


@pytest.fixture(scope="module")
def model() -> NearestCentroid:
    return NearestCentroid(encoder="pixels").fit_pictures(*_pictures(np.arange(60), 6))


@pytest.fixture(scope="module")
def states(model: NearestCentroid) -> dict[str, State]:
    return {str(who): model.enrol(_pictures(np.array([who]), 4)[0]) for who in range(100, 110)}


def test_people_are_found_again_and_swapped_states_find_somebody_else(model: NearestCentroid, states: dict[str, State]) -> None:
    probes, who = _pictures(np.arange(100, 110), 3, first=4)
    best = model.compare(probes, states).argmax(1)
    assert (best == who - 100).mean() > 0.6
    swapped = dict(zip(states, [*list(states.values())[1:], states["100"]], strict=True))
    assert (model.compare(probes, swapped).argmax(1) == who - 100).mean() < 0.2
    assert all(state.nbytes < 2_000 for state in states.values())


def test_nobody_is_known_without_a_state(model: NearestCentroid, states: dict[str, State]) -> None:
    probes, _ = _pictures(np.array([100]), 2, first=8)
    assert [row[0][0] for row in model.recognize(probes, {})] == [None, None]
    assert [row[0][0] for row in model.recognize(probes, {"ana": None})] == [None, None]
    assert model.verify(probes, None) == [(False, -1.0), (False, -1.0)]


def test_strangers_are_turned_away_at_the_rate_that_was_asked_for(model: NearestCentroid, states: dict[str, State]) -> None:
    strangers, _ = _pictures(np.arange(300, 420), 2)
    taken = np.mean([row[0][0] is not None for row in model.recognize(strangers, states)])
    assert taken < 0.06
    assert model.threshold(10) > model.threshold(1)


@pytest.mark.parametrize("kind", [FAIM, Pose2ID])
def test_one_person_alone_is_compared_as_the_threshold_was_set(kind: Any) -> None:
    """Scores that depend on neighbours mean nothing where there are none."""
    images, people = _pictures(np.arange(40), 4)
    model: Any = FAIM(steps=6, dim=16, held_out=0.6) if kind is FAIM else Pose2ID(base=NearestCentroid(encoder="pixels"), held_out=0.6)
    model.fit_pictures(images, people, **({"outfits": people} if kind is FAIM else {}))
    strangers, _ = _pictures(np.arange(300, 400), 1)
    own, who = _pictures(np.arange(100, 110), 6)
    taken, found = [], []
    for one in range(100, 110):
        state = model.enrol(own[who == one][:4])
        taken += [same for same, _ in model.verify(strangers, state)]
        found += [same for same, _ in model.verify(own[who == one][:4], state)]
    assert np.mean(taken) < 0.06
    assert np.mean(found) > np.mean(taken)


def test_the_threshold_keeps_its_promise_for_any_number_of_people() -> None:
    rng = np.random.default_rng(0)
    # A tail that falls exponentially, as is assumed beyond what was seen.
    known = Impostors(Impostors.sample(rng.exponential(size=(100, 150))))
    for enrolled in (1, 20, 1000):
        fresh = rng.exponential(size=(2000, enrolled)).max(1)
        assert (fresh >= known.threshold(0.05, enrolled)).mean() == pytest.approx(0.05, abs=0.03)
    few = Impostors(np.sort(rng.normal(size=50)).astype(np.float32))
    assert few.threshold(0.01, 1) < few.threshold(0.01, 100) < few.threshold(0.001, 100)
    assert Impostors(np.arange(1000, dtype=np.float32)).threshold(0.1) == pytest.approx(899.0, abs=1.0)
    # A tail that ends, as that of cosines: 1 - u ** 0.3 is generalised Pareto of shape -0.3, beyond any score as well.
    ends = Impostors(np.sort(1 - rng.random(15_000) ** 0.3).astype(np.float32))
    rate = 1000 * (1 - ends.threshold(0.01, 1000)) ** (1 / 0.3)
    assert 0.002 < rate < 0.03


def test_enrolled_twice_adds_examples_and_withdrawn_takes_them_out(model: NearestCentroid) -> None:
    images, _ = _pictures(np.array([120]), 4)
    once = model.enrol(images)
    twice = model.enrol(images[2:], model.enrol(images[:2]))
    assert twice.examples == 4
    assert twice.version == 2
    assert np.allclose(once["sum"], twice["sum"], atol=1e-5)
    back = model.withdraw(images[2:], twice)
    assert np.allclose(back["sum"], model.enrol(images[:2])["sum"], atol=1e-5)
    with pytest.raises(EmptyData):
        model.withdraw(images, once)


def test_what_does_not_fit_has_a_name(model: NearestCentroid, states: dict[str, State], tmp_path: Path) -> None:
    flat = np.full((1, 64, 32, 3), 90, np.uint8)
    with pytest.raises(BadImage, match="shows nothing"):
        model.enrol(flat)
    assert model.recognize(flat, states)[0][0][0] is None
    assert model.verify(flat, states["100"]) == [(False, -1.0)]
    for shape in ((1, 32, 32, 3), (1, 64, 32, 4), (1, 4, 4, 3), (2, 64, 32, 3, 1)):
        with pytest.raises(BadImage):
            model.recognize(np.zeros(shape, np.uint8), states)
    with pytest.raises(BadImage):
        model.enrol(np.full((1, 64, 32, 3), np.nan))
    with pytest.raises(EmptyData):
        model.enrol(np.zeros((0, 64, 32, 3), np.uint8))
    other = NearestCentroid(encoder="pixels", seed=1).fit_pictures(*_pictures(np.arange(30), 3))
    with pytest.raises(StateMismatch):
        other.recognize(_pictures(np.array([1]), 1)[0], states)
    with pytest.raises(EmptyData):
        NearestCentroid(encoder="pixels").fit_pictures(*_pictures(np.array([1]), 3))
    with pytest.raises(ConfigError):
        NearestCentroid(encoder="none").fit_pictures(*_pictures(np.arange(3), 2))
    with pytest.raises(ConfigError):
        model.recognize(flat, states, k=0)
    broken = tmp_path / "x.png"
    broken.write_bytes(b"\x89PNG no picture")
    with pytest.raises(BadImage):
        model.fit(Population.from_frames(images=pl.DataFrame({"image": ["x"], "path": [str(broken)], "person": ["a"]})))


def test_only_what_is_a_picture_is_opened(tmp_path: Path) -> None:
    """Nothing that a picture library hands to another program, nothing huge; which of several it is, is said."""
    good = tmp_path / "good.png"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(good)
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF"
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    for wrong, says in ((script, "cannot be read"), (bomb, "too many pixels")):
        with pytest.raises(BadImage, match=f"image 1.*{says}"):
            read_pictures([good, wrong], (8, 8))


def test_vectors_that_are_no_numbers_are_named(model: NearestCentroid) -> None:
    class Broken:
        fingerprint = "broken"

        def encode(self, images: np.ndarray) -> np.ndarray:
            return np.full((len(images), 3), np.nan, np.float32)

    odd = NearestCentroid(encoder="pixels", whiten=False)
    odd._encoder = Broken()
    with pytest.raises(BadValue):
        odd.fit_pictures(*_pictures(np.arange(3), 2))


def test_the_small_encoder_learns_and_comes_back_from_disk(tmp_path: Path) -> None:
    images, people = _pictures(np.arange(24), 6)
    made = NearestCentroid(steps=30, dim=16, held_out=0.0).fit_pictures(images, people)
    held = np.array([who for who in range(24) if who not in set(np.unique(people))] or [200, 201, 202, 203])
    shown, _ = _pictures(held, 4)
    again = load(made.save(tmp_path / "model"))
    assert np.allclose(made.vectors(shown), again.vectors(shown), atol=1e-5)
    assert again.threshold(3) == made.threshold(3)
    probes, who = _pictures(np.arange(500, 520), 6)
    vectors = made.vectors(probes)
    alike = vectors @ vectors.T
    same = who[:, None] == who[None]
    assert alike[same & ~np.eye(len(who), dtype=bool)].mean() > alike[~same].mean() + 0.2


def test_from_files_of_a_population(tmp_path: Path) -> None:
    images, people = _pictures(np.arange(8), 3)
    rows = []
    for number, (image, who) in enumerate(zip(images, people, strict=True)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        rows.append({"image": str(number), "path": f"{number}.png", "person": f"p{who}"})
    population = Population({"images": pl.DataFrame(rows)}, folder=tmp_path)
    made = NearestCentroid(encoder="pixels", height=64, width=32).fit(population, progress=False)
    states = made.adapt_all(population)
    assert set(states) == {f"p{who}" for who in range(8)}
    assert np.allclose(states["p3"]["sum"], made.enrol(images[people == 3])["sum"], atol=1e-4)
    # Too few to hold any out: each is a stranger to a model that has learned from the others.
    assert made.calibrated_on_ == made.gallery_ == 8


def test_few_identities_set_a_trained_encoders_threshold_too() -> None:
    images, people = _pictures(np.arange(9), 4)
    made = NearestCentroid(steps=1, dim=8).fit_pictures(images, people)
    assert made.calibrated_on_ == 9
    # Parts of three, two, two and two: each one's two probes against the other strangers of the part.
    assert len(made.impostors_) == 2 * (3 * 2 + 3 * 2 * 1)
    with pytest.warns(UserWarning, match="9 identities are too few"):
        FAIM(steps=1, dim=8).fit_pictures(images, people, outfits=people)


def test_any_vision_model_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    config = transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    images, people = _pictures(np.arange(12), 4)
    made = NearestCentroid(encoder=f"transformers:{tmp_path}").fit_pictures(images, people)
    assert made.vectors(images).shape == (48, 16)
    with torch.no_grad():
        x = torch.nn.functional.interpolate(
            torch.from_numpy(images[:2]).permute(0, 3, 1, 2).float() / 255, size=(32, 32), mode="bilinear", antialias=True
        )
        truth = transformers.ViTModel.from_pretrained(tmp_path).eval()(pixel_values=(x - 0.5) / 0.5).pooler_output.numpy()
    assert np.allclose(open_encoder(f"transformers:{tmp_path}").encode(images[:2]), truth, atol=1e-5)
    with pytest.raises(FileProblem):
        open_encoder(f"transformers:{tmp_path / 'none'}")
    # With other weights in the same folder, who is enrolled would be compared in another space.
    made.save(tmp_path / "model")
    again = NearestCentroid.load(tmp_path / "model")
    assert np.allclose(again.vectors(images[:2]), made.vectors(images[:2]), atol=1e-5)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(StateMismatch, match="another than this was fitted with"):
        NearestCentroid.load(tmp_path / "model").vectors(images[:2])
    # A classifier's folder has no pooler: nothing random stands in for it.
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    one, other = (open_encoder(f"transformers:{tmp_path}") for _ in range(2))
    assert np.array_equal(one.encode(images[:2]), other.encode(images[:2]))
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize("last", [False, True])
def test_any_onnx_file(tmp_path: Path, last: bool) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    shape: list[Any] = ["n", 16, 8, 3] if last else ["n", 3, 16, 8]
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Flatten", ["x"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "flat", [value("x", onnx.TensorProto.FLOAT, shape)], [value("y", onnx.TensorProto.FLOAT, ["n", 384])])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(made, tmp_path / "flat.onnx")
    encoder = open_encoder(f"onnx:{tmp_path / 'flat.onnx'}")
    white = np.full((3, 64, 32, 3), 255, np.uint8)
    vectors = encoder.encode(white)
    assert vectors.shape == (3, 384)
    first, second = (vectors[0, 0], vectors[0, 1]) if last else (vectors[0, 0], vectors[0, 128])
    assert first == pytest.approx((1 - 0.485) / 0.229, abs=1e-4)
    assert second == pytest.approx((1 - 0.456) / 0.224, abs=1e-4)
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(CorruptFile):
        open_encoder(f"onnx:{tmp_path / 'bad.onnx'}")
    with pytest.raises(FileProblem):
        open_encoder("onnx:nowhere.onnx")


def test_few_shot_protocol_has_gain_swap_gap_and_strangers() -> None:
    images, people = _pictures(np.arange(60), 6)
    found = few_shot(NearestCentroid(encoder="pixels"), images, people, protocol=Protocol(shots=2), seed=1)
    assert found["gain"] == found["rank-1"] > 0.4 > found["swapped"]
    assert found["swap_gap"] == pytest.approx(found["rank-1"] - found["swapped"])
    assert found["strangers"] > 0
    assert 0 <= found["strangers accepted"] <= 0.2
    with pytest.raises(EmptyData):
        few_shot(NearestCentroid(encoder="pixels"), images, people, protocol=Protocol(shots=9))
