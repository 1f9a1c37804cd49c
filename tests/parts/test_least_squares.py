"""Row solvers against dense normal equations, and the factorisations built on them."""

from __future__ import annotations

import numpy as np
import pytest

from sartor.data.world import low_rank
from sartor.errors import ConfigError
from sartor.parts.least_squares import SOLVERS, solve_rows
from sartor.parts.low_rank import LowRankFit, incoherence, subspace_change
from sartor.parts.threads import even, limit


def problem(most: int, k: int, dtype: type = np.float64, *, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.choice(300, rng.integers(1, most), replace=False)) if row else np.empty(0, np.int64) for row in range(40)]
    indices = np.concatenate(rows).astype(np.int32)
    weights = rng.random(indices.size) + 0.1
    return {
        "indptr": np.concatenate([[0], np.cumsum([one.size for one in rows])]).astype(np.int64), "indices": indices, "weights": weights.astype(dtype),
        "targets": (weights * rng.standard_normal(indices.size)).astype(dtype), "vectors": rng.standard_normal((300, k)).astype(dtype),
    }  # fmt: skip


def dense(p: dict[str, np.ndarray], base: np.ndarray, ridge: np.ndarray | float = 0.0) -> np.ndarray:
    """The numpy twin: every row's k x k system, built whole."""
    out = []
    for row, extra in enumerate(np.broadcast_to(ridge, p["indptr"].size - 1)):
        span = slice(p["indptr"][row], p["indptr"][row + 1])
        v = p["vectors"][p["indices"][span]].astype(np.float64)
        matrix = base + extra * np.eye(len(base)) + (v * p["weights"][span, None]).T @ v
        out.append(np.linalg.solve(matrix, v.T @ p["targets"][span].astype(np.float64)))
    return np.array(out)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("most", "k"), [(25, 6), (250, 17)])
def test_every_solver_equals_normal_equations(solver: str, shared: bool, most: int, k: int) -> None:
    p = problem(most, k)
    base = p["vectors"].T @ p["vectors"] + 0.1 * np.eye(k) if shared else np.zeros((k, k))
    ridge = 0.0 if shared else np.linspace(0.2, 0.9, 40)
    out = np.random.default_rng(1).standard_normal((40, k))
    solve_rows(**p, out=out, base=base if shared else None, ridge=ridge, solver=solver, steps=200, tolerance=1e-13)  # type: ignore[arg-type]
    np.testing.assert_allclose(out, dense(p, base, ridge), atol=1e-9)
    assert not out[0].any(), "a row without entries is the ridge's own answer"


def test_single_precision_is_exact_to_its_own_precision() -> None:
    p = problem(100, 16, np.float32)
    base = (p["vectors"].T @ p["vectors"] + np.eye(16)).astype(np.float32)
    out = np.zeros((40, 16), np.float32)
    solve_rows(**p, out=out, base=base)  # type: ignore[arg-type]
    np.testing.assert_allclose(out, dense(p, base.astype(np.float64)), atol=2e-6)


def test_conjugate_gradient_comes_nearer_with_every_step_and_starts_from_the_last_solution() -> None:
    p = problem(250, 12)
    true = dense(p, np.zeros((12, 12)), 0.5)
    errors = []
    for steps in (1, 3, 6, 12):
        out = np.zeros((40, 12))
        solve_rows(**p, out=out, ridge=0.5, solver="cg", steps=steps)  # type: ignore[arg-type]
        errors.append(np.abs(out - true).max())
    assert errors == sorted(errors, reverse=True)
    warm = true + 1e-3
    solve_rows(**p, out=warm, ridge=0.5, solver="cg", steps=1)  # type: ignore[arg-type]
    assert np.abs(warm - true).max() < errors[0] / 10


def test_threads_do_not_change_a_bit() -> None:
    p = problem(250, 32, np.float32)
    outs = []
    for threads in (1, 3):
        with limit(threads):
            for solver in SOLVERS:
                out = np.zeros((40, 32), np.float32)
                solve_rows(**p, out=out, ridge=0.3, solver=solver, steps=5)  # type: ignore[arg-type]
                outs.append(out)
    for one, three in zip(outs[:3], outs[3:], strict=True):
        np.testing.assert_array_equal(one, three)


def test_even_ranges_cover_all_rows_once() -> None:
    costs = np.random.default_rng(0).pareto(1, 1000)
    bounds = even(costs, 16)
    assert bounds[0] == 0
    assert bounds[-1] == 1000
    assert (np.diff(bounds) > 0).all()
    assert even(np.zeros(5), 4).tolist() == [0, 5]


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_low_rank_matrix_is_recovered(solver: str) -> None:
    world = low_rank(200, 150, 4, density=0.4, seed=3)
    fit = LowRankFit(rank=4, solver=solver, rounds=40, tolerance=1e-9)  # type: ignore[arg-type]
    left, right = fit.run(*world.seen, world.values, (200, 150))
    truth = world.left @ world.right.T
    assert np.linalg.norm(left @ right.T - truth) < 1e-6 * np.linalg.norm(truth)
    assert not fit.warnings
    asked = [one.accuracy for one in fit.history]
    assert asked == [0.0] * len(asked) if solver == "exact" else asked[0] > asked[-1], "loose early, tight late"


def test_noise_in_the_updates_ends_as_noise_in_the_result() -> None:
    world = low_rank(300, 300, 4, density=0.4, seed=1)
    truth = world.left @ world.right.T
    errors = []
    for noise in (1e-4, 1e-2):
        left, right = LowRankFit(rank=4, update_noise=noise, rounds=15, tolerance=0.0).run(*world.seen, world.values, truth.shape)
        errors.append(np.linalg.norm(left @ right.T - truth) / np.linalg.norm(truth))
        assert errors[-1] < 5 * noise
    assert errors[0] < errors[1] / 10


def test_fresh_entries_in_every_half_round() -> None:
    world = low_rank(300, 300, 2, density=0.9, seed=1)
    truth = world.left @ world.right.T
    left, right = LowRankFit(rank=2, split="fresh", rounds=5, solver="exact").run(*world.seen, world.values, truth.shape)
    assert np.linalg.norm(left @ right.T - truth) < 1e-3 * np.linalg.norm(truth)


def test_the_monitor_finds_a_spiky_row() -> None:
    for spike, coherent in ((1.0, False), (40.0, True)):
        world = low_rank(300, 300, 8, density=0.5, spike=spike, seed=2)
        fit = LowRankFit(rank=8, rounds=15)
        fit.run(*world.seen, world.values, (300, 300))
        assert bool(fit.warnings) is coherent


def test_incoherence_and_angles_in_cases_known_by_hand() -> None:
    assert incoherence(np.eye(4)[:, :2]) == pytest.approx(2.0)
    assert incoherence(np.ones((5, 1))) == pytest.approx(1.0)
    plane, tilted = np.eye(3)[:, :2], np.array([[1, 0], [0, np.cos(0.3)], [0, np.sin(0.3)]])
    assert subspace_change(plane, tilted) == pytest.approx(np.sin(0.3))
    assert subspace_change(plane, plane @ np.array([[2.0, 1.0], [0.0, -3.0]])) < 1e-12


def test_unknown_solver_is_named() -> None:
    with pytest.raises(ConfigError, match="there is no solver 'magic'"):
        solve_rows(**problem(5, 2), out=np.zeros((40, 2)), solver="magic")  # type: ignore[arg-type]
