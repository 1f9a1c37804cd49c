"""Brain-ID: its parts equal closed forms in two and in three dimensions, it is at home in a recognizer, and what does not fit is named."""

import math
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy import ndimage

from sartor.data.population import Evidence, Population
from sartor.data.world.identity import IdentityWorld
from sartor.data.world.identity.anatomy import ORGANS, SCANNERS, SPACING, contrast, label_maps, references, scans
from sartor.errors import (
    BadImage,
    BadValue,
    ConfigError,
    CorruptFile,
    EmptyData,
    FileProblem,
    MissingColumn,
    MissingExtra,
    StateMismatch,
    UnknownFormat,
)
from sartor.evaluate.metrics.scans import dice, ssim
from sartor.method import State, load
from sartor.parts.trainer import seeded
from sartor.recognize.brain_id import BrainID
from sartor.recognize.parts.contrast import Contrast
from sartor.recognize.parts.corruption import MILD, SEVERE, blurred, corrupted, resolutions
from sartor.recognize.parts.deformation import Deformation, identity, integrated, warped
from sartor.recognize.parts.label_head import fitted_head, read_out
from sartor.recognize.parts.unet import UNet
from sartor.recognize.parts.volumes import middle, read_volume, resampled, volumes_of

WORLD = IdentityWorld(seed=6)
PEOPLE = np.arange(24)
SIDE = 32
TINY = {"widths": (8, 8), "steps": 6, "subjects": 2, "learning_rate": 2e-3, "head_steps": 40, "cells": 4}


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    return label_maps(WORLD, PEOPLE, size=SIDE)


@pytest.fixture(scope="module")
def model(maps: np.ndarray) -> BrainID:
    return BrainID(**TINY).fit_maps(maps, references(WORLD, PEOPLE, size=SIDE), spacing=2 * SPACING)


# --- the world


def test_anatomy_is_a_function_of_seed_and_person(maps: np.ndarray) -> None:
    assert (label_maps(WORLD, np.array([17, 3]), size=SIDE) == maps[[17, 3]]).all()
    assert (label_maps(IdentityWorld(seed=7), PEOPLE[:2], size=SIDE) != maps[:2]).any((1, 2)).all()
    again = [scans(WORLD, PEOPLE[:2], 4, size=SIDE, visit=visit) for visit in (0, 0, 1)]
    assert (again[0] == again[1]).all()
    assert (again[0] != again[2]).any()
    shown = references(WORLD, PEOPLE[:2], size=SIDE)
    assert shown.shape == (2, SIDE, SIDE)
    assert 0 <= shown.min() < shown.max() <= 1


@pytest.mark.parametrize("volume", [False, True])
def test_organs_are_nested_and_all_there(volume: bool) -> None:
    found = label_maps(WORLD, PEOPLE[:2], volume=volume, size=40 if volume else 96)
    assert found.ndim == 3 + volume
    for one in found:
        assert set(np.unique(one)) == set(range(len(ORGANS)))
        for number, organ in enumerate(ORGANS[1:], 1):
            # Around an organ there is the one that it is in, or one beside it; something further out only where it touches that one's wall.
            inside = np.isin(one, _with_children(number))
            around = one[ndimage.binary_dilation(inside) & ~inside]
            near = [organ.inside, *(k for k, other in enumerate(ORGANS) if other.inside == organ.inside)]
            assert np.isin(around, near).mean() > 0.7


def _with_children(number: int) -> list[int]:
    return [number, *(deeper for k, one in enumerate(ORGANS) if k and one.inside == number for deeper in _with_children(k))]


def test_every_scanner_has_a_contrast_of_its_own() -> None:
    levels = np.stack([contrast(WORLD, one) for one in range(len(SCANNERS))])
    assert (np.abs(np.corrcoef(levels[:, 1:])[~np.eye(len(levels), dtype=bool)]) < 0.9).all()
    with pytest.raises(ConfigError):
        scans(WORLD, PEOPLE, len(SCANNERS))
    with pytest.raises(ConfigError):
        label_maps(WORLD, np.zeros((2, 2)))


# --- parts


@pytest.mark.parametrize("shape", [(24, 20), (12, 14, 10)])
def test_a_velocity_field_is_followed_without_folding(shape: tuple[int, ...]) -> None:
    dims = len(shape)
    with seeded(0):
        moved = Deformation(bend=1.0, points=(3, 4)).displacement(2, shape)
        velocity = ndimage.gaussian_filter(torch.randn(1, dims, *shape).numpy(), [0, 0, *[3.0] * dims]) * 20
    constant = torch.ones(1, dims, *shape) * 1.5
    inner = (0, slice(None), *[slice(4, -4)] * dims)
    assert torch.allclose(integrated(constant, 6)[inner], constant[inner], atol=1e-4)
    there, back = (integrated(torch.from_numpy(sign * velocity), 8) for sign in (1.0, -1.0))
    both = there + warped(back, identity(shape) + there.movedim(1, -1))
    assert float(both[inner].abs().max()) < 0.1 * float(there.abs().max())
    for one in moved.numpy():
        jacobian = np.stack([np.stack(np.gradient(one[at])) for at in range(dims)]) + np.eye(dims).reshape(dims, dims, *[1] * dims)
        assert (np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))) > 0).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_affine_maps_keep_their_bounds_and_none_is_the_picture_itself(dims: int) -> None:
    with seeded(1):
        matrices = Deformation().affine(200, dims)
        still = Deformation(rotation=0.0, shear=0.0, scaling=0.0, bend=0.0)
        image = torch.rand(2, 1, *[9] * dims)
        assert torch.allclose(warped(image, still.sample(2, [9] * dims, [9] * dims)), image, atol=1e-5)
        part = still.sample(50, [9] * dims, [5] * dims)
    assert 0.8**dims <= float(torch.det(matrices).min()) <= float(torch.det(matrices).max()) <= 1.2**dims
    # A patch lies anywhere inside.
    assert float(part.min()) >= 0
    assert float(part.max()) <= 8
    assert float(part[:, *[0] * dims].std(0).min()) > 0.5


def test_warping_looks_up_voxels() -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    places = torch.tensor([[[[1.0, 2.0], [0.5, 3.0], [2.0, 9.0]]]])
    assert warped(image, places).flatten().tolist() == pytest.approx([6, 5, 11])
    assert warped(image, places, nearest=True).flatten()[0] == 6


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 6)])
def test_a_contrast_paints_labels_and_mixes_them_on_borders(shape: tuple[int, ...]) -> None:
    maps = torch.zeros(2, *shape, dtype=torch.int64)
    maps[:, 3:] = 1
    means, grain = torch.tensor([[100.0, 200.0], [50.0, 10.0]]), torch.zeros(2, 2)
    plain = Contrast(partial=0.0).painted(maps, means, grain)
    assert torch.equal(plain[:, 0], means.gather(1, maps.flatten(1)).reshape(maps.shape))
    mixed = Contrast(partial=0.125).painted(maps, means, grain)[0, 0].reshape(6, -1)
    assert mixed[:, 0].tolist() == pytest.approx([100, 100, 112.5, 187.5, 200, 200])
    with seeded(2):
        drawn, deviations = Contrast().sample(400, 3)
        loud = Contrast().painted(maps, means, torch.full((2, 2), 25.0))
    assert 0.4 < float((drawn[:, 0] == 0).float().mean()) < 0.6
    assert float(drawn[:, 1:].min()) >= 25
    assert float(drawn.max()) <= 225
    assert float(deviations.min()) >= 5
    assert float(loud.min()) >= 0


@pytest.mark.parametrize("shape", [(40, 30), (20, 22, 18)])
def test_corruption_is_severe_where_it_should_be(shape: tuple[int, ...]) -> None:
    with seeded(3):
        images = torch.rand(3, 2, *shape)
        widths = torch.rand(3, len(shape)) * 1.5
        smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((1, 1, *shape)), [0, 0, *[2.0] * len(shape)])
        clean = torch.from_numpy(smooth / smooth.max()).float().expand(24, 1, *shape) * 250
        made = {name: corrupted(clean, how, spacing=10.0) for name, how in (("mild", MILD), ("severe", SEVERE))}
        coarse = corrupted(clean, MILD, spacing=1.0)
    done = blurred(images, widths)
    for row in range(3):
        wanted = ndimage.gaussian_filter(images[row].numpy(), [0, *widths[row].tolist()], mode="nearest", truncate=20)
        assert np.allclose(done[row].numpy(), wanted, atol=5e-3)
    off = {name: float((one - clean / 250).abs().mean()) for name, one in {**made, "coarse": coarse}.items()}
    assert off["mild"] < 0.03
    assert off["severe"] > 3 * off["mild"]
    assert off["coarse"] > off["mild"]
    for one in made.values():
        assert torch.allclose(one.flatten(1).amax(1), torch.ones(24))
        assert float(one.min()) >= 0


def test_resolutions_are_the_published_ones() -> None:
    with seeded(4):
        apart, thick = resolutions(2000, 3)
    fine = (apart == 1).all(1)
    assert 0.2 < float(fine.float().mean()) < 0.3
    assert float(apart.max()) <= 8.5
    assert float(thick.max()) <= 6
    assert bool((thick <= apart).all())


@pytest.mark.parametrize("shape", [(16, 16), (13, 9), (8, 12, 7)])
def test_the_network_keeps_any_size(shape: tuple[int, ...]) -> None:
    with seeded(0):
        network = UNet(1, (8, 16, 16), len(shape))
        x = torch.rand(2, 1, *shape)
    assert network(x).shape == (2, 8, *shape)
    # The first norm takes brightness and contrast of a scan out.
    assert torch.allclose(network(x), network(50 * x + 7), atol=1e-2)
    with pytest.raises(ConfigError):
        UNet(1, (8,), 2)


def test_a_head_is_linear_and_goes_on() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 5, 8, 8)).astype(np.float32) * np.array([1, 100, 1, 0.01, 1], np.float32)[None, :, None, None]
    truth = (maps * np.array([1, 0.01, 0, 0, 0])[None, :, None, None]).sum(1)
    numbers = (truth > 0).astype(np.int64) + (truth > 1)
    head = fitted_head(maps, numbers, 3, steps=200)
    assert (read_out(maps, head) == numbers).mean() > 0.97
    # Nearly the same feature twice: what tells labels apart lies in a small difference.
    close = np.stack([maps[:, 0], maps[:, 0] + 0.03 * maps[:, 2]], 1)
    fine = fitted_head(close, (maps[:, 2] > 0).astype(np.int64), 2)
    assert (read_out(close, fine) == (maps[:, 2] > 0)).mean() > 0.97
    again = fitted_head(maps, numbers, 3, start=head, steps=1)
    assert (read_out(maps, again) == read_out(maps, head)).mean() > 0.95


def test_measures_equal_plain_loops() -> None:
    rng = np.random.default_rng(1)
    found, truth = rng.integers(0, 4, (2, 5, 6)), rng.integers(0, 3, (2, 5, 6))
    for row, label in np.ndindex(2, 3):
        both = sum(int(a == b == label) for a, b in zip(found[row].flat, truth[row].flat, strict=True))
        total = int((found[row] == label).sum() + (truth[row] == label).sum())
        assert dice(found, truth, np.arange(3))[row, label] == pytest.approx(2 * both / total)
    assert math.isnan(dice(truth, truth, np.array([9]))[0, 0])
    a, b = rng.random((1, 1, 13, 12)), rng.random((1, 1, 13, 12))
    assert ssim(a, 3 * a + 2) == pytest.approx(1)
    x, y = ((one[0, 0] - one.min()) / (one.max() - one.min()) for one in (a, b))
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for i, j in np.ndindex(3, 2):
        p, q = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
        m, n = (window * p).sum(), (window * q).sum()
        v, w, c = (window * (p - m) ** 2).sum(), (window * (q - n) ** 2).sum(), (window * (p - m) * (q - n)).sum()
        values.append((2 * m * n + 1e-4) * (2 * c + 9e-4) / ((m * m + n * n + 1e-4) * (v + w + 9e-4)))
    assert ssim(a, b)[0] == pytest.approx(np.mean(values))
    with pytest.raises(ConfigError):
        ssim(a[..., :9], b[..., :9])


def test_scans_of_other_voxels_are_brought_to_the_models_own() -> None:
    ramp = np.broadcast_to(np.arange(10.0)[:, None], (10, 6))
    assert resampled(ramp, (2.0, 1.0), 1.0).shape == (20, 6)
    assert np.allclose(resampled(ramp, (2.0, 1.0), 1.0)[2:-2, 0], np.arange(0.75, 8.5, 0.5), atol=1e-6)
    assert set(np.unique(resampled(np.eye(6, dtype=np.int64) * 7, (1.0, 1.0), 0.4, labels=True))) == {0, 7}
    assert middle(np.arange(5), [9]).tolist() == [0, 0, 0, 1, 2, 3, 4, 0, 0]
    assert middle(np.arange(5), [2]).tolist() == [1, 2]


# --- the method


def test_mild_and_severe_samples_of_one_anatomy_share_a_target(maps: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    loss = BrainID._loss

    def watched(self: BrainID, drawn: torch.Tensor, labels: torch.Tensor, shown: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
        seen.append((labels.numpy(), grids.numpy()))
        return loss(self, drawn, labels, shown, grids)

    monkeypatch.setattr(BrainID, "_loss", watched)
    for shared in (True, False):
        BrainID(**{**TINY, "steps": 1}, shared_deformation=shared).fit_maps(maps[:4], maps[:4].astype(np.float32), spacing=5.0)
    for (labels, grids), shared in zip(seen, (True, False), strict=True):
        assert all((labels[0] == labels[row]).all() for row in (2, 4, 6))
        assert all(bool((grids[0] == grids[row]).all()) == shared for row in (2, 4, 6))
        assert (grids[0] != grids[1]).any()


def test_label_maps_as_a_second_target(model: BrainID, maps: np.ndarray) -> None:
    shown, taken = references(WORLD, PEOPLE[:6], size=SIDE), scans(WORLD, PEOPLE[:4], 0, size=SIDE)
    small = {**TINY, "steps": 30, "learning_rate": 1e-2, "head_steps": 5}
    made = BrainID(**small, segmentation=1.0, bfloat16=True).fit_maps(maps[:6], shown, spacing=2 * SPACING)
    with torch.no_grad():
        one, both = (each.network_(torch.from_numpy(each._normalised(taken)[:, None])) for each in (model, made))
    assert one.shape[1] == 1
    assert both.shape[1] == 1 + len(ORGANS)
    assert made.represent(taken).dtype == np.float32
    # The scores of labels were learned: they find more than the commonest label does.
    assert float((both[:, 1:].argmax(1).numpy() == maps[:4]).mean()) > float((maps[:4] == 0).mean()) + 0.05
    with pytest.raises(ConfigError, match="segmentation"):
        BrainID(**TINY, segmentation=-1.0).fit_maps(maps[:6], shown, spacing=2 * SPACING)


def test_a_site_and_subjects_in_one_model(model: BrainID, maps: np.ndarray, tmp_path: Path) -> None:
    taken = scans(WORLD, PEOPLE[:6], 2, size=SIDE)
    assert model.represent(taken).shape == (6, 8, SIDE, SIDE)
    assert model.represent(taken[:, None]) == pytest.approx(model.represent(taken))
    head = model.adapt_scans(taken[:5], maps[:5])
    assert set(head.arrays) == {"weight", "bias"}
    assert head["weight"].shape == (len(ORGANS), 8)
    found = model.segment(taken[5:], head)
    assert found.shape == (1, SIDE, SIDE)
    # Even hardly trained features outline what is large.
    assert np.nanmean(dice(found, maps[5:6], np.arange(2))) > 0.5
    assert model.segment(taken).shape == taken.shape
    ana, ben = model.enrol(taken[:1]), model.enrol(taken[1:2])
    assert model.compare(taken[:2], {"ana": ana, "ben": ben}).argmax(1).tolist() == [0, 1]
    assert model.recognize(np.zeros((1, SIDE, SIDE)), {"ana": ana})[0][0][0] is None
    again = load(model.save(tmp_path / "model"))
    assert np.allclose(again.represent(taken), model.represent(taken), atol=1e-5)
    assert (again.segment(taken, State.from_bytes(head.to_bytes())) == model.segment(taken, head)).all()
    assert np.allclose(again.vectors(taken), model.vectors(taken), atol=1e-4)
    updated = model.adapt_scans(taken[5:], maps[5:6], head)
    assert (updated.version, updated.examples) == (2, 6)


def test_ids_outside_the_table_are_listed(model: BrainID, maps: np.ndarray) -> None:
    taken = scans(WORLD, PEOPLE[:1], 1, size=SIDE)
    strange = maps[:1].astype(np.int64)
    strange[0, 0, :2] = [99, 41]
    with pytest.raises(BadValue, match=r"\[41, 99\] are not in the table"):
        model.adapt_scans(taken, strange)
    with pytest.raises(BadValue, match=r"\[11\]"):
        BrainID(**TINY).fit_maps(maps, maps.astype(np.float32), spacing=1.0, table=range(11))
    with pytest.raises(BadValue, match="no ids"):
        model.adapt_scans(taken, maps[:1] + 0.5)


def test_what_does_not_fit_is_named(model: BrainID, maps: np.ndarray) -> None:
    taken = scans(WORLD, PEOPLE[:2], 1, size=SIDE)
    with pytest.raises(ConfigError, match="voxel size is not known"):
        model.represent(scans(WORLD, PEOPLE[:1], 1, size=48))
    assert model.represent(scans(WORLD, PEOPLE[:1], 1, size=48), spacing=SPACING * 64 / 48).shape[2:] == (SIDE, SIDE)
    # Slices twice as thick as their pixels are wide.
    assert model.brought(taken[:, ::2], (4 * SPACING, 2 * SPACING)).shape == taken.shape
    with pytest.raises(ConfigError, match="voxel size is not known"):
        BrainID(**TINY).fit_maps(maps, maps.astype(np.float32), spacing=None)
    with pytest.raises(BadValue, match="voxel sizes"):
        model.represent(taken, spacing=(1.0, -1.0))
    for call in (model.represent, model.enrol):
        with pytest.raises(BadImage, match="shows nothing"):
            call(np.stack([taken[0], np.full((SIDE, SIDE), 7.0)]))
    with pytest.raises(BadImage, match="no numbers"):
        model.represent(np.where(taken == taken.max(), np.nan, taken))
    with pytest.raises(BadImage):
        model.represent(np.zeros((1, 4, 4, 4, 4)))
    with pytest.raises(EmptyData):
        model.adapt_scans(taken, maps[:1])
    with pytest.raises(EmptyData):
        BrainID(**TINY).fit_maps(maps[:1], maps[:1].astype(np.float32), spacing=1.0)
    with pytest.raises(BadImage):
        BrainID(**TINY).fit_maps(maps, maps[:, :8].astype(np.float32), spacing=1.0)
    with pytest.raises(ConfigError, match="mild"):
        BrainID(**TINY, mild=5).fit_maps(maps, maps.astype(np.float32), spacing=1.0)
    with pytest.raises(ConfigError, match="label maps"):
        model.fit_pictures(np.zeros((2, SIDE, SIDE, 3), np.uint8), ["a", "b"])


def test_states_of_another_version_or_kind_are_refused(model: BrainID, maps: np.ndarray) -> None:
    taken = scans(WORLD, PEOPLE[:2], 1, size=SIDE)
    other = BrainID(**{**TINY, "steps": 1}, seed=3).fit_maps(maps, references(WORLD, PEOPLE, size=SIDE), spacing=2 * SPACING)
    head, ana = model.adapt_scans(taken, maps[:2]), model.enrol(taken[:1])
    for call in (lambda: other.segment(taken, head), lambda: other.compare(taken, {"ana": ana})):
        with pytest.raises(StateMismatch, match="made by"):
            call()
    with pytest.raises(StateMismatch, match="subject"):
        model.segment(taken, ana)
    with pytest.raises(StateMismatch, match="site"):
        model.compare(taken, {"ana": head})


def test_volumes_by_the_same_code_from_files(tmp_path: Path) -> None:
    maps, shown = (make(WORLD, PEOPLE[:3], volume=True, size=12) for make in (label_maps, references))
    rows = []
    for who in range(3):
        np.save(tmp_path / f"{who}.npy", shown[who])
        np.save(tmp_path / f"{who}-labels.npy", maps[who])
        rows.append({"image": str(who), "path": f"{who}.npy", "labels": f"{who}-labels.npy", "person": str(who), "spacing": 10.0})
    table = pl.DataFrame(rows)
    model = BrainID(**{**TINY, "steps": 2, "cells": 2}, patch=10)
    model.fit(Population({"images": table}, folder=tmp_path), progress=False)
    assert model.represent(shown[:1]).shape == (1, 8, 12, 12, 12)
    here = table.with_columns(pl.concat_str(pl.lit(f"{tmp_path}/"), one).alias(one) for one in ("path", "labels"))
    head = model.adapt(Evidence({"images": here.head(2)}))
    assert model.segment(shown, head).shape == shown.shape
    assert set(model.adapt(Evidence({"images": here.head(1).drop("labels")})).arrays) == {"sum", "count"}
    with pytest.raises(ConfigError, match="voxel size"):
        BrainID(**TINY).fit(Population({"images": here.drop("spacing")}), progress=False)
    with pytest.raises(MissingColumn, match="labels"):
        BrainID(**TINY).fit(Population({"images": here.drop("labels")}), progress=False)


def test_nifti_volumes_have_a_voxel_size(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="needs the extra 'volumes'")
    shown = references(WORLD, PEOPLE[:1], volume=True, size=12)[0]
    path = tmp_path / "scan.nii.gz"
    # Stored with its first direction reversed, as many scanners do.
    nibabel.save(nibabel.Nifti1Image(shown[::-1], np.diag([-2.0, 1.0, 3.0, 1.0])), path)
    found = read_volume(path)
    assert np.allclose(found.voxels, shown)
    assert found.spacing == pytest.approx((2.0, 1.0, 3.0))
    path.write_bytes(path.read_bytes()[:80])
    with pytest.raises(CorruptFile):
        read_volume(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileProblem):
        read_volume(tmp_path / "none.nii.gz")
    for name, error in (("a.dcm", UnknownFormat), ("a.npy", CorruptFile)):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(error):
            read_volume(tmp_path / name)
    np.save(tmp_path / "a.npy", np.float32(1))
    with pytest.raises(BadImage, match="shape"):
        read_volume(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((8, 8), np.float32))
    with pytest.raises(BadValue, match="row 1"):
        volumes_of(pl.DataFrame({"path": ["b.npy", None], "spacing": [1.0, 1.0]}), tmp_path, ["path"])
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtra, match=r"sartor\[volumes\]"):
        read_volume(tmp_path / "a.nii.gz")
