"""ILASDP: the low-rank solver against what is known, groups of different shapes, sketches, new points, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from sartor.errors import BadValue, ConfigError, NotFitted, TooLarge
from sartor.represent.clustering import misclustered
from sartor.represent.ila_sdp import ILASDP, _narrow, kmeans_sdp
from sartor.represent.low_rank_sdp import Affinity, solve


def shapes(each: int = 40, distance: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A wide ball, and beside it a needle and a small ball: nearest centres cut the wide one."""
    rng = np.random.default_rng(seed)
    wide = 2.0 * rng.standard_normal((2 * each, 2))
    needle = rng.standard_normal((each, 2)) * [3.0, 0.1] + [0.0, 2 * distance]
    small = 0.2 * rng.standard_normal((each, 2)) + [distance, -distance]
    return np.concatenate([wide, needle, small]), np.repeat([0, 1, 2], [2 * each, each, each])


def indicator(labels: np.ndarray, rank: int) -> list[np.ndarray]:
    out = []
    for group in range(labels.max() + 1):
        v = np.zeros((labels.size, rank))
        v[labels == group, 0] = 1 / np.sqrt((labels == group).sum())
        out.append(v)
    return out


def test_products_and_the_likelihood_of_a_partition() -> None:
    points, truth = shapes(15)
    affinity, v = Affinity(points - points.mean(axis=0), -0.7), np.random.default_rng(1).random((len(points), 4))
    np.testing.assert_allclose(affinity.times(v, v.sum(axis=0)), affinity.dense() @ v, atol=1e-9)
    # For a partition the objective is the sum of squares to the groups' means, and the log-likelihood's constant.
    inertia = sum(((points[truth == group] - points[truth == group].mean(axis=0)) ** 2).sum() for group in range(3))
    total = sum((one * affinity.times(one, one.sum(axis=0))).sum() for one in indicator(truth, 2))
    assert total == pytest.approx(-0.7 * len(points) - inertia / 2)


def test_separated_groups_are_recovered_exactly_from_any_start() -> None:
    rng = np.random.default_rng(2)
    points = np.concatenate([0.3 * rng.standard_normal((20, 2)) + centre for centre in ([0, 0], [5, 0], [0, 5])])
    truth = np.repeat(np.arange(3), 20)
    objectives = []
    for seed in range(3):
        labels, found = kmeans_sdp(points, 3, seed=seed)
        assert misclustered(labels, truth) == 0
        assert found.violation < 0.01
        objectives.append(found.objective)
        assert (found.factors[0] >= 0).all()
        assert (found.factors[0] ** 2).sum() == pytest.approx(3)
    inertia = sum(((points[truth == group] - points[truth == group].mean(axis=0)) ** 2).sum() for group in range(3))
    # Tight: the relaxation is worth what the partition is.
    np.testing.assert_allclose(objectives, -inertia / 2, rtol=0.01)
    same = [Affinity(points - points.mean(axis=0), 0.0)] * 3
    several = solve(same, [1.0] * 3, rank=5, start=[one + 0.05 for one in indicator(truth, 5)])
    assert several.objective == pytest.approx(-inertia / 2, rel=0.01)


def test_the_solver_is_a_conic_solvers() -> None:
    pytest.importorskip("scs")
    import importlib.util
    from pathlib import Path

    file = Path(__file__).parents[2] / "claims" / "represent" / "ila_sdp.py"
    if not file.is_file():
        pytest.skip("no checkout: the claim checks are not in the package")
    spec = importlib.util.spec_from_file_location("claim_ila_sdp", file)
    assert spec is not None
    assert spec.loader is not None
    claim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(claim)
    points, _ = shapes(6, seed=3)
    points = points - points.mean(axis=0)
    affinities = [Affinity(points / scale, -2 * np.log(scale)) for scale in (2.0, 1.0, 0.5)]
    plain = [Affinity(points, 0.0)]
    assert claim.best(points, plain, [3.0], 20) == pytest.approx(claim.conic(plain, [3.0]), rel=0.005)
    # Where groups overlap, a factor of low rank is worth a little less than the program, and never more.
    exact = claim.conic(affinities, [1.0] * 3)
    assert 1.08 * exact < claim.best(points, affinities, [1.0] * 3, 5) < exact + 0.02 * abs(exact)


def test_shapes_that_centres_cannot_tell() -> None:
    points, truth = shapes()
    ours = ILASDP(clusters=3).fit(points)
    by_distance, _ = kmeans_sdp(points, 3)
    assert misclustered(ours.labels_, truth) < 0.06
    assert misclustered(by_distance, truth) > misclustered(ours.labels_, truth) + 0.1
    np.testing.assert_allclose(ours.solution_.membership.sum(axis=1), 1, atol=0.02)
    assert ((ours.shrinkage_ >= 0) & (ours.shrinkage_ <= 1)).all()
    # New points, and the same again.
    labels, state = ours.assign(points)
    assert (labels == ours.labels_).mean() > 0.95
    assert state.dtype == np.float32
    assert state.shape == (len(points), 3)
    np.testing.assert_array_equal(ILASDP(clusters=3).fit(points).labels_, ours.labels_)


def test_a_sketch_serves_many_points() -> None:
    points, truth = shapes(600, distance=4.0, seed=1)
    with pytest.raises(TooLarge, match=r"2,400 points.*0\.1 GB"):
        ILASDP(clusters=3).fit(points)
    found = ILASDP(clusters=3, sketch=True, sample=150).fit(points)
    assert misclustered(found.labels_, truth) < 0.06


def test_singular_covariances_are_shrunk_and_said_so() -> None:
    rng = np.random.default_rng(4)
    # Ten copies of one point, and fewer points than dimensions.
    points = np.concatenate([np.zeros((10, 12)), 6 + rng.standard_normal((8, 12))])
    found = ILASDP(clusters=2).fit(points)
    assert misclustered(found.labels_, np.repeat([0, 1], [10, 8])) == 0
    assert found.shrinkage_.max() > 0.5
    assert np.isfinite(found.assign(points)[1]).all()


def test_many_dimensions_keep_factors_and_a_diagonal() -> None:
    rng = np.random.default_rng(5)
    root = rng.standard_normal((60, 3))
    covariance = root @ root.T + np.diag(rng.random(60) + 0.5)
    narrow = _narrow(covariance)
    np.testing.assert_allclose(np.diag(narrow), np.diag(covariance))
    assert np.linalg.eigvalsh(narrow)[0] > 0
    np.testing.assert_allclose(narrow, covariance, atol=0.5)
    assert _narrow(covariance[:50, :50]) is not None


def test_bad_input_has_a_name() -> None:
    points, _ = shapes(5)
    for clusters in (1, len(points)):
        with pytest.raises(ConfigError, match="clusters"):
            ILASDP(clusters=clusters).fit(points)
    points[3, 1] = np.nan
    with pytest.raises(BadValue, match="row 3"):
        ILASDP(clusters=2).fit(points)
    with pytest.raises(ConfigError, match="shape"):
        ILASDP(clusters=2).fit(np.zeros(7))
    with pytest.raises(NotFitted):
        ILASDP(clusters=2).assign(points)
    with pytest.raises(ConfigError, match="sample"):
        ILASDP(clusters=2, sketch=True, sample=2).fit(np.zeros((2001, 1)))
