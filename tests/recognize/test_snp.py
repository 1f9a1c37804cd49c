"""SnP: distances equal their closed forms, clusters are of one size, the search takes the prefix whose union is nearest, the budget holds."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData
from sartor.recognize.parts.descriptors import DIM, appearance
from sartor.recognize.parts.selection import Moments, balanced_kmeans, frechet, k_center, moments
from sartor.recognize.snp import Chosen, Pool, SnP, named


def test_frechet_equals_the_root_of_the_product() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    a, b = (moments(rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6)) + shift) for shift in (0.0, 0.3))
    root = np.trace(sqrtm(a.covariance @ b.covariance).real)
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance) + np.trace(b.covariance) - 2 * root
    assert frechet(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet(b, a) == pytest.approx(frechet(a, b))
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    # Normal distributions with diagonal covariances: (m - n)^2 + (s - t)^2 in every dimension.
    one, other = (Moments(np.array(mean), np.diag(np.square(spread)), 9) for mean, spread in (([0.0, 1], [1.0, 2]), ([3.0, 1], [1.0, 5])))
    assert frechet(one, other) == pytest.approx(9 + 9)
    flat = Moments(np.zeros(2), np.zeros((2, 2)), 1)
    assert frechet(flat, one) == pytest.approx(1 + 1 + 4)


def test_few_pictures_are_shrunk_and_said() -> None:
    from sklearn.covariance import oas

    few = np.random.default_rng(1).normal(size=(20, 30))
    with pytest.warns(UserWarning, match="20 pictures of the target are few"):
        made = moments(few, what="the target")
    assert np.allclose(made.covariance, oas(few)[0])
    assert np.linalg.eigvalsh(made.covariance).min() > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.allclose(moments(np.repeat(few, 3, 0), what="the target").covariance, np.cov(np.repeat(few, 3, 0), rowvar=False))
    with pytest.raises(BadValue, match="no numbers"):
        moments(np.array([[1.0, np.nan]]))


@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 3))
def test_clusters_are_of_one_size(n: int, clusters: int, seed: int) -> None:
    clusters = min(clusters, n)
    labels = balanced_kmeans(np.random.default_rng(seed).normal(size=(n, 3)), clusters, seed=seed)
    sizes = np.bincount(labels, minlength=clusters)
    assert sizes.sum() == n
    assert set(sizes) <= {n // clusters, -(-n // clusters)}


def test_equal_blobs_are_found_and_no_swap_is_better() -> None:
    rng = np.random.default_rng(3)
    blobs = np.repeat(np.arange(4), 12)
    x = 8 * np.eye(4)[blobs] + rng.normal(size=(48, 4))
    labels = balanced_kmeans(x, 4)
    assert all(len(set(labels[blobs == k])) == 1 for k in range(4))
    labels = balanced_kmeans(x, 5, rounds=100)
    centres = np.stack([x[labels == k].mean(0) for k in range(5)])
    cost = ((x[:, None] - centres) ** 2).sum(-1)
    own = cost[np.arange(48), labels]
    swapped = cost[:, labels] + cost[:, labels].T
    assert (swapped - own[:, None] - own[None]).min() > -1e-4


@given(st.integers(0, 20))
def test_farthest_points_cover_better_and_better(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(40, 2))
    made, radii = k_center(x, 12, np.array([3, 7]))
    assert (np.diff(radii) <= 1e-12).all()
    assert len({*made.tolist(), 3, 7}) == 14
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    assert radii[-1] == pytest.approx(apart[:, [3, 7, *made]].min(1).max())
    assert apart[made[0], [3, 7]].min() == pytest.approx(apart[:, [3, 7]].min(1).max())


def _pool(rng: np.random.Generator, sources: int = 4, people: int = 15, each: int = 4, dim: int = 5) -> Pool:
    source, person = np.repeat(np.arange(sources), people * each), np.tile(np.repeat(np.arange(people), each), sources)
    near = 3.0 * source[:, None] * np.eye(dim)[0]
    return Pool(near + rng.normal(size=(len(source), dim)), person, np.array([f"s{k}" for k in source]))


def test_the_search_finds_the_sources_like_the_target() -> None:
    rng = np.random.default_rng(5)
    pool = _pool(rng)
    # Half like s0, half like s1: neither alone is as near as their union.
    target = rng.normal(size=(120, 5)) + 3.0 * rng.integers(0, 2, 120)[:, None] * np.eye(5)[0]
    found = SnP(clusters=12).search(target, pool)
    assert {"s0", "s1"} <= set(found.sources)
    assert found.sources["s0"] + found.sources["s1"] > 0.85 * found.rows.size
    assert len(found.path) == 12
    assert found.frechet < 0.2 * SnP(way="random", budget=30).search(target, pool).frechet
    assert int(np.argmin(found.path)) + 1 == found.searched // 5
    greedy = SnP(clusters=12, way="greedy", budget=20).search(target, pool)
    assert greedy.people == 20
    assert greedy.path == ()


def test_budgets_hold_and_everybody_keeps_a_picture() -> None:
    rng = np.random.default_rng(6)
    pool = _pool(rng)
    target = rng.normal(size=(80, 5))
    numbers = pool.people()
    found = SnP(clusters=12, budget=7, pictures=0.5).search(target, pool)
    assert found.people == 7
    assert found.rows.size == 14
    assert np.unique(numbers[found.rows]).size == 7
    assert SnP(clusters=12, budget=7, pictures=0.1).search(target, pool).rows.size == 7
    again = SnP(clusters=12, budget=7, pictures=0.5).search(target, pool)
    assert (again.rows == found.rows).all()
    assert np.isin(found.rows, SnP(clusters=12).search(target, pool).rows).all()


def test_one_name_in_two_sources_is_two_people_and_junk_is_nobody() -> None:
    pool = Pool(np.zeros((5, 2)), np.array([1, 1, -1, 0, 2]), np.array(["a", "b", "a", "a", "b"]), junk=(-1, 0))
    assert pool.people().tolist() == [0, 1, -1, -1, 2]
    assert Pool(np.zeros((2, 2)), np.array([0, 1]), np.array([0, 0])).people().tolist() == [0, 1]


def test_a_manifest_is_kept_without_a_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    found = SnP(clusters=6).search(rng.normal(size=(60, 5)), _pool(rng))
    back = Chosen.from_bytes(found.save(tmp_path / "site.safetensors").read_bytes())
    assert (back.rows == found.rows).all()
    assert (back.sources, back.path, back.frechet) == (found.sources, found.path, found.frechet)
    assert np.allclose(back.target.covariance, found.target.covariance, atol=1e-6)
    with pytest.raises(CorruptFile):
        Chosen.from_bytes(found.to_bytes()[:-7])


def test_bad_pools_are_named() -> None:
    rng = np.random.default_rng(8)
    pool = _pool(rng)
    with pytest.raises(ConfigError, match="a budget of 61 of 60 people"):
        SnP(budget=61).search(rng.normal(size=(60, 5)), pool)
    with pytest.raises(ConfigError, match="one encoder"):
        SnP().search(rng.normal(size=(60, 4)), pool)
    with pytest.raises(BadValue, match=r"b\.jpg"):
        Pool(np.array([[0.0], [np.nan]]), np.arange(2), np.arange(2), names=["a.jpg", "b.jpg"])
    with pytest.raises(ConfigError, match="2 people"):
        Pool(np.zeros((3, 2)), np.arange(2), np.arange(3))
    with pytest.raises(EmptyData, match="nobody"):
        SnP().search(rng.normal(size=(60, 2)), Pool(np.zeros((2, 2)), np.array([-1, -1]), np.arange(2), junk=(-1,)))


def test_names_and_looks_of_files() -> None:
    people, cameras = named(["a/0002_c1s1_000451_03.jpg", "-1_c3_x.jpg"])
    assert (people.tolist(), cameras.tolist()) == ([2, -1], [1, 3])
    with pytest.raises(BadValue, match="does not say"):
        named(["ana.jpg"])
    pictures = np.random.default_rng(0).integers(0, 255, (3, 64, 32, 3)).astype(np.uint8)
    pictures[2] = 0
    made = appearance(pictures)
    assert made.shape == (3, DIM)
    assert (made[2] == 0).all()
    assert made[0, 0] == pytest.approx(pictures[0, :16, :16, 0].mean() / 255, rel=1e-5)
