"""Does a controller trained through one's own twin steer one's own process better than everybody's does? Judged on the process itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import _pathway
import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.data.world.ecosystem import PULSES, RANGES, SPECIES, Ecosystem
from sartor.decide.parts.simulator import rollout
from sartor.decide.twin_control import TwinControl
from sartor.evaluate.claim import Claim, Outcome
from sartor.method import State
from sartor.parts.statistics import bootstrap
from sartor.progress import bar

CLAIM = Claim(
    slug="twin-control",
    paper="No figure in the abstract: neural controllers, trained through dynamics, control two widely used agent-based models (predator-prey, a "
    "metabolic pathway) and are compared with other methods.",
    passes="Generated patients (no real ones, no medical advice): agent-based predator-prey models with gains, birth and regrowth rates of their "
    "own, 96 x 96 patches; target 5,000 sheep and 900 wolves at the published size; removal rates of at most 0.08 per tick. A run of 600 ticks "
    "with a pulse of each control (to where a species dies out) identifies a patient's twin; the population's twin and controller are made from 8 "
    "others. All is judged on the agent-based model: mean |ln(count / target)| of the last 250 of 700 controlled ticks, two runs of each of 4 "
    "patients whom no fit has seen, per seed. Over all patients of all seeds: own controller <= 0.5 x the population's, and <= constant rates of "
    "the population's twin; the controller of the patient with the most different rates >= own + 0.05; no species dies out in any controlled run. "
    "Reported beside it: no control, constant rates of the own twin, and own controllers trained on with the agent-based model's steps forward and "
    "the twin's gradient backward (dynamics-informed); and, not judged, the second model: 3 patients per seed with 100 to 300 of each enzyme in a "
    "metabolic pathway of agents, 50 x 50 patches, T to be brought to 500 by an inflow of at most 3 a tick.",
    data=("world-ecosystem", "world-pathway"),
    seeds=(0, 1, 2),
)
PATIENTS, RUNS, OTHERS = 4, 2, 8
BEFORE, TICKS, LAST = 200, 700, 250
"""Ticks without control, with it, and those that count."""
STEPS, STARTS = 6, 4
"""Of dynamics-informed training."""


def _measured(whose: int, patients: int, chance: int) -> pl.DataFrame:
    """Patients' runs with pulses."""
    world = Ecosystem.generated(patients, whose=whose, seed=chance)
    world.run(BEFORE)
    # A species that a pulse kills leaves what was measured before.
    alive = pl.all_horizontal(pl.col(name) > 0 for name in SPECIES).cast(pl.Int8).cum_min().over("person") == 1
    return world.measured(PULSES).filter(alive)


def _rates(whose: int, patients: int) -> np.ndarray:
    """What patients differ in, in shares of its range: float64 [patients, rates]."""
    world = Ecosystem.generated(patients, whose=whose)
    return np.stack([np.asarray(getattr(world, name)) / (high - low) for name, (low, high) in RANGES.items()], 1)


def _one(seed: int) -> dict[str, Any]:
    """Errors of every way on the patients of one seed."""
    whose, others = seed, seed + 1_000
    seen, strangers = _measured(whose, PATIENTS, seed + 2), _measured(others, OTHERS, seed + 1)
    method = TwinControl(seed=seed).fit(Population.from_frames(events=strangers), progress=False)
    start = time.process_time()
    states = method.adapt_all(Population.from_frames(events=pl.concat([seen, strangers.with_columns(pl.col("person") + PATIENTS)])))
    seconds = (time.process_time() - start) / len(states)
    pool, rates = [states[row] for row in range(PATIENTS + OTHERS)], _rates(whose, PATIENTS)
    own, known = pool[:PATIENTS], {row: states[row] for row in range(PATIENTS)}
    apart = ((rates[:, None] - np.concatenate([rates, _rates(others, OTHERS)])) ** 2).sum(2)
    swapped = [pool[int(np.argmax(row))] for row in apart]

    def process(step: int) -> Ecosystem:
        world = Ecosystem.generated(PATIENTS * STARTS, patients=PATIENTS, whose=whose, seed=1_000 * (seed + 1) + step)
        world.run(BEFORE // 2)
        return world

    informed = method.informed(known, process, STEPS, starts=STARTS)
    constant = np.clip(np.stack([_held(method, one) for one in own]), 0, method.limit)

    def twice(states: Sequence[State | None]) -> Callable[[np.ndarray], np.ndarray]:
        every = [one for one in states for _ in range(RUNS)]
        return lambda counts: method.rates(every, counts)

    arms: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "no control": lambda counts: np.zeros((len(counts), 2)),
        "population, constant": lambda counts: np.tile(method.constant(None), (len(counts), 1)),
        "own, constant": lambda counts: np.repeat(constant, RUNS, 0),
        "population": twice([None] * PATIENTS), "own": twice(own), "swapped": twice(swapped),
        "own, dynamics-informed": twice([informed[row] for row in range(PATIENTS)]),
    }  # fmt: skip
    out: dict[str, Any] = {"seconds": seconds, "bytes": own[0].nbytes, "died": {}, "error": {}}
    for name, policy in arms.items():
        # The same chances for all until they do something different.
        world = Ecosystem.generated(PATIENTS * RUNS, patients=PATIENTS, whose=whose, seed=seed + 3)
        world.run(BEFORE)
        now = world.counts
        came, _ = rollout(world, policy, TICKS)
        out["error"][name] = method.distance(np.maximum(came[-LAST:].mean(0), 1.0)).reshape(PATIENTS, RUNS).mean(1)
        out["died"][name] = int((came[..., 1:] == 0).any((0, 2)).sum())
        if name == "own":
            # What was expected of the first ticks, beside what came of them.
            expected = method.predict([one for one in own for _ in range(RUNS)], now)[:, :, method.horizon // 2 :].mean(2)[..., 1:]
            low, high = np.quantile(expected, (0.05, 0.95), axis=1)
            late = came[method.horizon // 2 : method.horizon, :, 1:].mean(0)
            out["covered"] = ((late >= low) & (late <= high)).mean(1).reshape(PATIENTS, RUNS).mean(1)
    return out


def _held(method: TwinControl, state: State) -> np.ndarray:
    """Constant rates by a twin, of the nearest target that it can be held at."""
    from sartor.decide.parts.twin import steady
    from sartor.errors import Infeasible

    try:
        return method.constant(state)
    except Infeasible as nearest:
        return steady(method.parameters(state), method.removal, np.asarray(nearest.where["nearest"]), method.limit)


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Every seed's patients."""
    runs, second = [], []
    with bar("twin-control", len(seeds), enabled=progress) as step:
        for seed in seeds:
            runs.append(_one(seed))
            second.append(_pathway.errors(seed))
            step.advance()
    pathway = {name: np.concatenate([one[name] for one in second]) for name in second[0]}
    errors = {name: np.concatenate([run["error"][name] for run in runs]) for name in runs[0]["error"]}
    means = {name: float(one.mean()) for name, one in errors.items()}
    died = {name: sum(run["died"][name] for run in runs) for name in runs[0]["died"]}
    controlled = sum(number for name, number in died.items() if name != "no control")
    conditions = {
        "own <= 0.5 x population": means["own"] <= 0.5 * means["population"],
        "own <= constant rates of the population's twin": means["own"] <= means["population, constant"],
        "swapped >= own + 0.05": means["swapped"] >= means["own"] + 0.05,
        "nothing dies out under control": controlled == 0,
    }
    return Outcome(
        passed=all(conditions.values()),
        measured={
            "log error": means, "by patient": {name: one.tolist() for name, one in errors.items()}, "runs in which a species died out": died,
            "pathway": {name: float(one.mean()) for name, one in pathway.items()},
            "pathway, by patient": {name: one.tolist() for name, one in pathway.items()},
            "share of predicted 90 % intervals that hold": float(np.mean([run["covered"] for run in runs])), "conditions": conditions,
        },
        baseline={"population": means["population"], "population, constant": means["population, constant"], "no control": means["no control"]},
        gain=float((errors["population"] - errors["own"]).mean()),
        gain_interval=bootstrap(errors["population"] - errors["own"]).tolist(),
        swap_gap=float((errors["swapped"] - errors["own"]).mean()),
        swap_gap_interval=bootstrap(errors["swapped"] - errors["own"]).tolist(),
        state_bytes=float(runs[0]["bytes"]),
        adapt_seconds=float(np.mean([run["seconds"] for run in runs])),
        notes="Generated patients: no real ones, nothing clinical. Gain and swap gap are of the mean |ln(count / target)|, intervals over patients. "
        "The most different patient is the one of the 3 others and the 8 of the population with the farthest rates, each in shares of its range. "
        f"Seconds per patient, of {PATIENTS + OTHERS} adapted at once. Dynamics-informed: {STEPS} steps of {STARTS} runs of each patient, with other "
        "chances than those judged.",
    )  # fmt: skip
