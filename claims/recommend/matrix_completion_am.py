"""Robust alternating minimisation: as good as exact rounds, in time nearly linear in the rank, and honest about what breaks it.

Times are CPU seconds of the rounds on one thread, with warm kernels; the spectral start, the same on both sides and linear in the rank, is
left out. Both solvers are compiled; the exact one forms its normal equations by BLAS matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from sartor.data import dataset, splits
from sartor.data.world import LowRank, low_rank
from sartor.evaluate.claim import Claim, Outcome
from sartor.parts.threads import limit
from sartor.progress import bar
from sartor.recommend.matrix_completion import Completion, MatrixCompletion, complete

CLAIM = Claim(
    slug="matrix-completion-am",
    paper="Time O~(|Omega| k) instead of O~(|Omega| k^2) for alternating minimisation at the same sample complexity; moderate errors in every "
    "update are tolerated.",
    passes="(1) n = 1,500, rank 20, 50, 100, density .15, .25, .4: exact, cg and sketch reach relative error 1e-4 on unseen entries, approximate "
    "ones in at most 1.5 times the exact rounds; (2) exponent of seconds to 1e-3 in the rank at density .25 at most 1.4 for cg and at least 1.6 "
    "for exact; (3) with relative noise 1e-3, 1e-2, 1e-1 in every update the final error is at most 5 times the noise, no divergence up to 1e-2, "
    "and a coherent matrix (one row 30 times longer) is reported while an incoherent one is not; (4) ml-100k, rank 32: RMSE of cg within .002 "
    "of exact",
    data=("world (low rank)", "ml-100k"),
    seeds=(11, 12, 13),
)

SIZE, ROUNDS = 1500, 30
RANKS, DENSITIES = (20, 50, 100), (0.15, 0.25, 0.4)
TIMED = 0.25


def recover(world: LowRank, rank: int, solver: Any, *, until: float = 1e-4, **settings: Any) -> tuple[Completion, list[float]]:
    """A completion and its relative error on unseen entries after every round."""
    truth = world.left @ world.right.T
    hidden = np.ones(truth.shape, bool)
    hidden[world.seen] = False
    scale, errors = np.linalg.norm(truth[hidden]), []

    def watch(_: Any, left: np.ndarray, right: np.ndarray) -> bool:
        errors.append(float(np.linalg.norm((left @ right.T - truth)[hidden]) / scale))
        return errors[-1] <= until

    return complete(*world.seen, world.values, truth.shape, rank=rank, solver=solver, rounds=ROUNDS, tolerance=0.0, watch=watch, **settings), errors


def seconds_to(errors: list[float], done: Completion, until: float) -> float:
    """CPU seconds of the rounds until the error was reached; infinite when it never was."""
    reached = np.flatnonzero(np.asarray(errors) <= until)
    return float(sum(one.seconds for one in done.rounds[: reached[0] + 1])) if reached.size else float("inf")


def power(seconds: Sequence[float]) -> float:
    """Exponent of seconds in the rank."""
    return float(np.polyfit(np.log(RANKS), np.log(seconds), 1)[0])


def per_round(done: Completion) -> float:
    """CPU seconds of the median round."""
    return float(np.median([one.seconds for one in done.rounds]))


def grid(seeds: Sequence[int]) -> list[tuple[int, float, str, int]]:
    """(rank, density, solver, seed): everything on the first seed; the timed column on two more than the claim's; the cheap cells on all."""
    wanted = []
    for rank in RANKS:
        for density in DENSITIES:
            more = [*seeds, seeds[0] + 100, seeds[0] + 101] if density == TIMED else list(seeds) if rank < 100 else list(seeds[:1])
            wanted += [(rank, density, solver, seed) for seed in more for solver in ("exact", "cg")]
            wanted.append((rank, density, "sketch", seeds[0]))
    return wanted


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    with limit(1), _blas_alone():
        for solver in ("exact", "cg", "sketch"):
            recover(low_rank(120, 120, 5, density=0.5, seed=0), 5, solver)
        recovery = _recovery(seeds, progress)
        robust = _robustness(seeds)
        ratings = _ratings(seeds)
    exponent = {solver: power(recovery["seconds"][solver]) for solver in ("exact", "cg")}
    verdicts = {
        "recovers everywhere": recovery["all_reached"],
        "rounds": recovery["worst_rounds_ratio"] <= 1.5,
        "exponent of cg": exponent["cg"] <= 1.4,
        "exponent of exact": exponent["exact"] >= 1.6,
        "noise": all(error <= 5 * float(noise) for noise, error in robust["errors"].items())
        and max(robust["errors"]["0.001"], robust["errors"]["0.01"]) < 1,
        "coherence": robust["coherent_found"] and not robust["incoherent_blamed"],
        "ratings": ratings["largest_difference"] <= 0.002,
    }
    return Outcome(
        passed=all(verdicts.values()),
        measured={
            "verdicts": verdicts, "cells": recovery["cells"], "worst_rounds_ratio": recovery["worst_rounds_ratio"], "exponent": exponent["cg"],
            "exponent_of_a_round": power(recovery["round"]["cg"]),
            "seconds_to_1e-3": dict(zip(map(str, RANKS), recovery["seconds"]["cg"], strict=True)), **robust, "rmse": ratings["rmse"]["cg"],
        },
        baseline={
            "exponent": exponent["exact"], "exponent_of_a_round": power(recovery["round"]["exact"]),
            "seconds_to_1e-3": dict(zip(map(str, RANKS), recovery["seconds"]["exact"], strict=True)),
            "rmse": ratings["rmse"]["exact"],
        },
        gain=ratings["gain"][0], gain_interval=ratings["gain"][1:], swap_gap=ratings["swap"][0], swap_gap_interval=ratings["swap"][1:],
        state_bytes=ratings["state_bytes"], adapt_seconds=ratings["adapt_seconds"],
        notes="Gain and swap gap: how much RMSE per person falls on ml-100k, with 95% bootstrap intervals over people. Rank 100 beside the timed "
        "density, and all of sketch, ran on the first seed only. At rank 100 and density .15 there are 1.16 entries for every degree of freedom.",
    )  # fmt: skip


def _recovery(seeds: Sequence[int], progress: bool) -> dict[str, Any]:
    found: dict[tuple[int, float], dict[str, list[tuple[int | None, bool, float, float]]]] = {}
    wanted = grid(seeds)
    with bar("recovery", len(wanted), enabled=progress, unit="run") as shown:
        for rank, density, solver, seed in wanted:
            # The two seeds more are for the clock alone.
            own = seed in seeds
            world = low_rank(SIZE, SIZE, rank, density=density, seed=seed)
            done, errors = recover(world, rank, solver, until=1e-4 if own else 1e-3, seed=seed)
            entry = (len(errors) if own else None, min(errors) <= 1e-4, seconds_to(errors, done, 1e-3), per_round(done))
            found.setdefault((rank, density), {}).setdefault(solver, []).append(entry)
            shown.advance(note=f"rank {rank}, density {density}, {solver}: {errors[-1]:.1e} in {len(errors)} rounds")
    cells: dict[str, dict[str, Any]] = {}
    ratios: list[float] = []
    for (rank, density), solvers in found.items():
        rounds = {solver: float(np.mean([one[0] for one in runs if one[0]])) for solver, runs in solvers.items()}
        reached = {solver: all(one[1] for one in runs if one[0]) for solver, runs in solvers.items()}
        if all(reached.values()):
            sketch, exact = solvers["sketch"][0][0], solvers["exact"][0][0]
            assert sketch is not None
            assert exact is not None
            ratios += [rounds["cg"] / rounds["exact"], sketch / exact]
        cells[f"rank {rank}, density {density}"] = {"rounds": rounds, "reached": reached}
    seconds = {solver: [float(np.median([one[2] for one in found[rank, TIMED][solver]])) for rank in RANKS] for solver in ("exact", "cg")}
    each = {solver: [float(np.median([one[3] for one in found[rank, TIMED][solver]])) for rank in RANKS] for solver in ("exact", "cg")}
    everywhere = all(all(cell["reached"].values()) for cell in cells.values())
    return {"cells": cells, "worst_rounds_ratio": max(ratios), "all_reached": everywhere, "seconds": seconds, "round": each}


def _robustness(seeds: Sequence[int]) -> dict[str, Any]:
    errors: dict[str, float] = {}
    for noise in (1e-3, 1e-2, 1e-1):
        finals = [recover(low_rank(SIZE, SIZE, 20, density=0.25, seed=seed), 20, "cg", until=0.0, update_noise=noise, seed=seed)[1] for seed in seeds]
        errors[str(noise)] = float(max(one[-1] for one in finals))
    coherent = [recover(low_rank(SIZE, SIZE, 20, density=0.25, spike=30.0, seed=seed), 20, "cg", seed=seed)[0] for seed in seeds]
    plain = [recover(low_rank(SIZE, SIZE, 20, density=0.25, seed=seed), 20, "cg", seed=seed)[0] for seed in seeds]
    return {
        "errors": errors,
        "coherent_found": all(one.warnings for one in coherent),
        "incoherent_blamed": any(one.warnings for one in plain),
        "mu_coherent": [one.rounds[-1].incoherence[0] for one in coherent],
        "mu_incoherent": [one.rounds[-1].incoherence[0] for one in plain],
    }


def _ratings(seeds: Sequence[int]) -> dict[str, Any]:
    """RMSE of both solvers on ml-100k; and per person what the own state gains over none and over another's."""
    import time

    population = dataset("ml-100k")
    rmse: dict[str, list[float]] = {"exact": [], "cg": []}
    gains, swaps = [], []
    for seed in seeds:
        split = splits.make("random", population, seed=seed)
        for solver in ("exact", "cg"):
            method = MatrixCompletion(rank=32, solver=solver, seed=seed).fit(split.train, progress=False)
            own = method.adapt_all(split.train)
            truth = split.test.interactions(items=method.items_)
            people = truth.people.ids.to_list()
            states = [own.get(person) for person in people]
            vectors = {
                "own": method.stack(states),
                "none": method.stack([None] * len(states)),
                "swap": method.stack(np.roll(cast(Any, states), 1).tolist()),
            }
            square = {
                name: (np.einsum("ed,ed->e", matrix[truth.rows], method.item_vectors_[truth.indices]) - truth.values) ** 2
                for name, matrix in vectors.items()
            }
            rmse[solver].append(float(np.sqrt(square["own"].mean())))
        each = {name: np.sqrt(np.bincount(truth.rows, weights=one) / np.maximum(1, truth.lengths))[truth.lengths > 0] for name, one in square.items()}
        gains.append(each["none"] - each["own"])
        swaps.append(each["swap"] - each["own"])
    person = max(own, key=lambda one: own[one].examples)
    evidence = split.train[person]
    start = time.perf_counter()
    state = method.adapt(evidence)
    seconds = time.perf_counter() - start
    largest = max(abs(a - b) for a, b in zip(rmse["exact"], rmse["cg"], strict=True))
    return {
        "rmse": rmse, "largest_difference": largest, "gain": _interval(np.concatenate(gains)), "swap": _interval(np.concatenate(swaps)),
        "state_bytes": float(np.mean([one.nbytes for one in own.values()])), "adapt_seconds": seconds if state.nbytes else None,
    }  # fmt: skip


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and its 95% bootstrap interval."""
    draws = np.random.default_rng(0).choice(values, (1000, values.size)).mean(axis=1)
    return float(values.mean()), *np.quantile(draws, [0.025, 0.975]).tolist()


def _blas_alone() -> Any:
    """One BLAS thread, where threadpoolctl is there to ask for it."""
    from contextlib import nullcontext

    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(1)
