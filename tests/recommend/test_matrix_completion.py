"""Recovery of matrices whose truth is known: that it works, how it fails, and that the monitor says so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sartor.data.world import LowRank, low_rank
from sartor.parts.least_squares import Solver
from sartor.parts.low_rank import incoherence, subspace_change
from sartor.recommend.matrix_completion import Completion, complete


def unseen_error(truth: LowRank, found: Completion) -> float:
    """Relative Frobenius error on the entries that were not observed."""
    whole, hidden = truth.left @ truth.right.T, np.ones((len(truth.left), len(truth.right)), bool)
    hidden[truth.seen] = False
    return float(np.linalg.norm((found.left @ found.right.T - whole)[hidden]) / np.linalg.norm(whole[hidden]))


def solve(truth: LowRank, rank: int, **settings: object) -> Completion:
    return complete(*truth.seen, truth.values, (len(truth.left), len(truth.right)), rank=rank, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("solver", ["exact", "cg", "sketch"])
def test_unseen_entries_are_recovered(solver: Solver) -> None:
    truth = low_rank(300, 250, 5, density=0.3, seed=1)
    found = solve(truth, 5, solver=solver)
    assert unseen_error(truth, found) < 1e-4
    assert found.rounds[-1].change < 1e-6, "it stopped because nothing changed any more"
    assert not found.warnings


def test_more_unknowns_than_entries_are_not_recovered() -> None:
    truth = low_rank(200, 200, 20, density=0.1, seed=1)
    assert unseen_error(truth, solve(truth, 20, ridge=1e-3, rounds=30)) > 0.1


def test_accuracy_follows_the_error_loose_early_tight_late() -> None:
    rounds = solve(low_rank(300, 300, 4, density=0.3, seed=2), 4, looseness=0.05).rounds
    assert rounds[0].accuracy == pytest.approx(0.05)
    for before, after in itertools.pairwise(rounds):
        assert after.accuracy <= 0.05 * before.change * 1.001
    assert rounds[-1].accuracy < 1e-4 * rounds[0].accuracy
    assert all(one.accuracy == 0 for one in solve(low_rank(60, 60, 2, density=0.5, seed=2), 2, solver="exact").rounds)


def test_errors_in_every_update_cost_about_their_own_size() -> None:
    truth = low_rank(300, 300, 4, density=0.3, seed=3)
    for noise in (1e-3, 1e-2):
        assert noise / 3 < unseen_error(truth, solve(truth, 4, update_noise=noise, rounds=15)) < 5 * noise


def test_a_spiky_row_is_reported() -> None:
    calm = solve(low_rank(400, 400, 5, density=0.3, seed=4), 5)
    spiky = solve(low_rank(400, 400, 5, density=0.3, spike=30.0, seed=4), 5)
    assert not calm.warnings
    assert any("rows are coherent" in warning for warning in spiky.warnings)
    assert not any("columns" in warning for warning in spiky.warnings)
    assert spiky.rounds[-1].incoherence[0] > 4 * calm.rounds[-1].incoherence[0]


def test_fresh_entries_in_every_half_round() -> None:
    truth = low_rank(400, 400, 2, density=0.9, seed=5)
    found = solve(truth, 2, split="fresh", rounds=6, tolerance=1e-9)
    assert len(found.rounds) == 6
    assert unseen_error(truth, found) < 1e-2


def test_weights_make_a_wrong_entry_harmless() -> None:
    truth = low_rank(120, 120, 2, density=0.5, seed=6)
    wrong, weights = truth.values.copy(), np.ones(truth.values.size)
    wrong[::50] += 10
    weights[::50] = 0
    shape, settings = (120, 120), {"rank": 2, "rounds": 60}
    trusted = complete(*truth.seen, wrong, shape, **settings)  # type: ignore[arg-type]
    weighed = complete(*truth.seen, wrong, shape, weights=weights, **settings)  # type: ignore[arg-type]
    assert unseen_error(truth, weighed) < 1e-3 < unseen_error(truth, trusted)


def test_incoherence_and_angles_of_known_bases() -> None:
    flat = np.ones((10, 1))
    assert incoherence(flat) == pytest.approx(1)
    assert incoherence(np.eye(10)[:, :2]) == pytest.approx(5)
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    basis = np.random.default_rng(1).standard_normal((30, 3))
    assert subspace_change(basis, basis @ turned) < 1e-10
    angle = 0.3
    before, after = np.eye(4)[:, :1], np.array([[np.cos(angle)], [np.sin(angle)], [0.0], [0.0]])
    assert subspace_change(before, after) == pytest.approx(np.sin(angle))
