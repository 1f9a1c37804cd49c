"""Perfusion: kilobytes behind a gate against low-rank weights; what locked keys are worth; two concepts in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import _words
import numpy as np

from sartor.data.world.shapes import BACKGROUNDS, RELATIONS, Prompts, ShapesWorld
from sartor.draw._base import ConceptMethod
from sartor.draw.dreambooth import DreamBooth
from sartor.draw.parts.prior import Prior
from sartor.draw.perfusion import Perfusion
from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.drawing import NAME, Measured, concepts, score
from sartor.evaluate.pictures import strangers, subject_score, unmixed
from sartor.method import State
from sartor.parts.statistics import bootstrap

STEPS, BATCH, SAMPLING, RATE = 150, 4, 10, 5e-3
WORD_RATE, VALUE_RATE = 1e-2, 3e-1
BETAS = (0.55, 0.65, 0.75, 0.85)
OWN, FREE, WEIGHTS = "Perfusion", "keys learned, too", "DreamBooth, low rank"

CLAIM = Claim(
    slug="perfusion",
    paper="100 KB per concept, five orders of magnitude less than others; locked keys keep prompts; the gate moves along the Pareto front without "
    "training; concepts learned apart are drawn together.",
    passes=f"3 seeds, a held-out critter and badge each (others at every seed), {STEPS} steps of batch {BATCH} (DreamBooth: and {BATCH} of the "
    "class). Means: (a) state <= 4 KB; (b) prompt >= DreamBooth at low rank + 0.05, subject >= it - 0.10; (c) with learned keys prompt is lower by "
    ">= 0.05; (d) subject does not rise over beta 0.55, 0.65, 0.75, 0.85 with one state; (e) critter and badge in one prompt: unmixed >= 0.25 and "
    "above the sum of DreamBooth's adapters.",
    data=("world",),
    seeds=(0, 1, 2),
)


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Three arms, the sweep of the gate, and pictures of both."""
    world, prior = ShapesWorld(), Prior.shapes()
    methods: dict[str, ConceptMethod] = {
        name: Perfusion(steps=STEPS, batch=BATCH, word_rate=WORD_RATE, value_rate=VALUE_RATE, locked=locked, sampling_steps=SAMPLING).fit(on=prior)
        for name, locked in ((OWN, True), (FREE, False))
    }
    methods[WEIGHTS] = DreamBooth(steps=STEPS, batch=BATCH, learning_rate=RATE, sampling_steps=SAMPLING).fit(on=prior)
    arms: dict[str, list[Measured]] = {name: [] for name in methods}
    apart: dict[str, list[float]] = {OWN: [], WEIGHTS: []}
    swept: list[Any] = []
    kept: dict[Any, np.ndarray] = {}
    together = [f"a <a> {relation} a <b> on {ground}" for relation in RELATIONS for ground in BACKGROUNDS[:4]]
    for seed in seeds:
        pair = [world.subjects(1, noun=noun, start=seed)[0] for noun in ("critter", "badge")]
        for name, method in methods.items():
            made = concepts(method, world, pair, seed=seed, kept=kept)
            arms[name] += made
            if progress:
                print(
                    seed,
                    name,
                    {key: round(float(np.mean([one.figures[key] for one in made])), 3) for key in ("subject", "prompt", "joint")},
                    flush=True,
                )
            if name in apart:
                state, noise = _both(method, made), list(range(len(together)))
                drawn = method.draw(together, [state] * len(together), seeds=noise)
                apart[name].append(unmixed(drawn, together, pair, world, {"<a>": "critter", "<b>": "badge"}))
            if name == OWN:
                swept += [_sweep(method, world, one, seed) for one in made]
    means = {figure: {name: float(_words.over(made, figure).mean()) for name, made in arms.items()} for figure in ("subject", "prompt", "bytes")}
    sweep = np.array(swept).mean(0)
    conditions = {
        "(a) state <= 4 KB": means["bytes"][OWN] <= 4096,
        "(b) prompt >= DreamBooth + 0.05": means["prompt"][OWN] >= means["prompt"][WEIGHTS] + 0.05,
        "(b) subject >= DreamBooth - 0.10": means["subject"][OWN] >= means["subject"][WEIGHTS] - 0.10,
        "(c) learned keys lose 0.05 of prompt": means["prompt"][FREE] <= means["prompt"][OWN] - 0.05,
        "(d) subject does not rise with beta": bool((np.diff(sweep[:, 0]) <= 0).all()),
        "(e) unmixed >= 0.25": float(np.mean(apart[OWN])) >= 0.25,
        "(e) unmixed above the sum of adapters": float(np.mean(apart[OWN])) > float(np.mean(apart[WEIGHTS])),
    }
    figures = _words.table(arms)
    swap = _swap(world, arms[OWN])
    return Outcome(
        passed=all(conditions.values()),
        measured={
            OWN: figures.pop(OWN), "conditions": conditions, "unmixed by seed": apart[OWN],
            "beta: subject, prompt": {str(beta): row.round(4).tolist() for beta, row in zip(BETAS, sweep, strict=True)},
        },
        baseline={**figures, "unmixed by seed, sum of adapters": apart[WEIGHTS]},
        gain=float(_words.over(arms[OWN], "gain").mean()), gain_interval=bootstrap(_words.over(arms[OWN], "gain")).tolist(),
        swap_gap=float(swap.mean()), swap_gap_interval=bootstrap(swap).tolist(), state_bytes=means["bytes"][OWN],
        adapt_seconds=float(_words.over(arms[OWN], "adapt_seconds").mean()),
        notes=f"48 prompts a subject (24 in the sweep, 16 of both), {SAMPLING} sampling steps. Swapped: the same class's subject of another seed.",
    )  # fmt: skip


def _both(method: ConceptMethod, made: Sequence[Measured]) -> State:
    """What was learned apart, in one state as <a> and <b>."""
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    for name, one in zip(("<a>", "<b>"), made, strict=True):
        arrays |= {f"{name}/{key.removeprefix(f'{NAME}/')}": value for key, value in one.state.arrays.items()}
        facts[name] = one.state.notes["concepts"][NAME]
    return method.make_state(arrays, notes={"concepts": facts})


def _sweep(method: ConceptMethod, world: ShapesWorld, one: Measured, seed: int) -> list[list[float]]:
    """Subject and prompt for each beta, on every second prompt."""
    from sartor.data.world.shapes import concept_prompts

    whole = concept_prompts(NAME)
    prompts = Prompts(whole.texts[::2], whole.edits[::2])
    noise = [seed * 10_000 + 2 * number for number in range(len(prompts.texts))]
    rows = []
    for beta in BETAS:
        drawn = method.draw(prompts.texts, [one.state] * len(noise), seeds=noise, beta=beta)
        figures = score(world, drawn, prompts, one.subject)
        rows.append([figures["subject"], figures["prompt"]])
    return rows


def _swap(world: ShapesWorld, made: Sequence[Measured]) -> np.ndarray:
    """Own subject score less that of the pictures of another seed's subject of the class."""
    gaps = []
    for number, one in enumerate(made):
        other = made[(number + 2) % len(made)]
        swapped = subject_score(other.pictures, one.subject, strangers(world, one.subject)).mean()
        gaps.append(one.figures["subject"] - float(swapped))
    return np.array(gaps)
