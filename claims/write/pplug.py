"""Does one vector of the whole history make a frozen language model write as somebody it has never seen, and only as that somebody?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from sartor.data.world import World
from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.writing import evaluate_writer
from sartor.evaluate.writing_result import WritingEvaluation
from sartor.parts.statistics import bootstrap
from sartor.progress import bar
from sartor.write._base import LMWriter
from sartor.write.in_context import InContext
from sartor.write.population_lm import population_lm
from sartor.write.pplug import PPlug

CLAIM = Claim(
    slug="pplug",
    paper="Outperforms existing personalised-LLM approaches on the LaMP tasks while the language model itself is never tuned.",
    passes="Persona world, people never seen by any fit, 8 pieces each; a frozen 0.13M-weight model trained once with histories. Every seed: on the "
    "always visible habits own state - no state >= 0.25 and own - another's state >= 0.25; the content is right at most 0.02 less often than "
    "without a state. Reported either way: habits that differ between two groups of requests against uniform pooling (target: + 0.03), the "
    "act's own verb, and 3 pieces in the prompt.",
    data=("world-personas",),
    seeds=(0, 1, 2),
)

WORLD, PEOPLE, REPLIES, EVALUATED, REQUESTS, HISTORY = 17, 1_600, 16, 50, 4, 8
SHARED: dict[str, Any] = {"seed": 0}
"""Settings of the language model; the others are its defaults, found on another world."""
STEPS = 600


def _arms(seed: int, lm: Any, fit: Any) -> dict[str, LMWriter]:
    arms: dict[str, LMWriter] = {
        "plug": PPlug(lm=lm, seed=seed, steps=STEPS, history=HISTORY),
        "uniform pooling": PPlug(lm=lm, seed=seed, steps=STEPS, history=HISTORY, pooled=True),
        "3 pieces in the prompt": InContext(lm=lm, seed=seed, use=3, keep=HISTORY),
    }
    return {name: arm.fit(fit, progress=False) for name, arm in arms.items()}


def _figures(found: WritingEvaluation) -> dict[str, Any]:
    return {tier: {arm: one[arm] for arm in ("own", "none", "swapped")} for tier, one in found.tiers.items()} | {"cost": dict(found.cost)}


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    personas = World(people=PEOPLE, items=200, seed=WORLD).personas(replies_each=REPLIES)
    fit = personas.population(personas.fit_people)
    start = time.process_time()
    lm = population_lm(fit, **SHARED)
    lm_seconds = time.process_time() - start
    runs: list[dict[str, WritingEvaluation]] = []
    seconds: list[float] = []
    with bar("pplug", len(seeds) * 3, enabled=progress, unit="arm") as shown:
        for seed in seeds:
            people = np.random.default_rng([seed, 5]).permutation(personas.new_people)[:EVALUATED]
            start = time.process_time()
            arms = _arms(seed, lm, fit)
            seconds.append(time.process_time() - start)
            runs.append({})
            for name, arm in arms.items():
                runs[-1][name] = evaluate_writer(arm, personas, people=people, requests=REQUESTS, examples=HISTORY, seed=seed)
                shown.advance(note=f"{name} {runs[-1][name].tiers['always']['own']:.2f}")

    def each(name: str, tier: str, arm: str) -> np.ndarray:
        return np.array([one[name].tiers[tier][arm] for one in runs])

    def people_of(arm: str) -> np.ndarray:
        return np.concatenate([one["plug"].per_person[f"{arm} tier:always"].to_numpy() for one in runs])

    own, none, swapped = (each("plug", "always", arm) for arm in ("own", "none", "swapped"))
    conditions = {
        "always: own - none >= 0.25, every seed": bool((own - none >= 0.25).all()),
        "always: own - another's >= 0.25, every seed": bool((own - swapped >= 0.25).all()),
        "content: none - own <= 0.02, every seed": bool((each("plug", "content", "none") - each("plug", "content", "own") <= 0.02).all()),
    }
    grouped = each("plug", "grouped", "own") - each("uniform pooling", "grouped", "own")
    gain, gap = people_of("own") - people_of("none"), people_of("own") - people_of("swapped")
    return Outcome(
        passed=all(conditions.values()),
        measured={
            "seeds": [_figures(one["plug"]) for one in runs], "conditions": conditions,
            "grouped: own - uniform pooling's own": {"by seed": grouped.tolist(), "target of 0.03 reached": bool((grouped >= 0.03).all())},
            "language model's CPU seconds (near 0 when cached)": lm_seconds, "fits' CPU seconds, both plugs": seconds,
            "weights of the language model": sum(one.numel() for one in lm.network_.parameters()),
        },
        baseline={name: [_figures(one[name]) for one in runs] for name in ("uniform pooling", "3 pieces in the prompt")},
        gain=float(gain.mean()),
        gain_interval=bootstrap(gain).tolist(),
        swap_gap=float(gap.mean()),
        swap_gap_interval=bootstrap(gap).tolist(),
        state_bytes=float(np.mean([one["plug"].cost["state_bytes"] for one in runs])),
        adapt_seconds=float(np.mean([one["plug"].cost["adapt_seconds"] for one in runs])),
        notes="Gain and swap gap are of the share of always visible habits shown. One language model for all seeds; seeds differ in the plug, in "
        "whom it was trained on, and in who is judged. The encoder is the language model's own view of a text.",
    )  # fmt: skip
