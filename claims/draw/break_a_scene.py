"""Break-A-Scene: one picture of two things, with masks, gives a word for each that can be used alone or together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from _scenes import Measured, Scene, draw, judge, measure, outcome, over

from sartor.data.world.shapes import ShapesWorld
from sartor.draw._base import ConceptMethod
from sartor.draw.break_a_scene import BreakAScene
from sartor.draw.dreambooth import DreamBooth
from sartor.draw.parts.prior import Prior
from sartor.evaluate.claim import Claim, Outcome
from sartor.method import State

STEPS = 150
BATCH = 4
"""Pictures of a step, and as many of the classes beside them."""
FULL = "Break-A-Scene"
ABLATIONS: dict[str, dict[str, Any]] = {"no attention loss": {"attention_weight": 0.0}, "no union sampling": {"union": False}}

CLAIM = Claim(
    slug="break-a-scene",
    paper="One picture with several things and a mask for each gives a word for each; union sampling, masked loss and the cross-attention loss each "
    "matter (ablations and a user study, no figures in the abstract).",
    passes="Means over 3 seeds, one scene each (a held-out critter left of a held-out badge on sand, other individuals at every seed, true masks), "
    "150 + 150 steps: confusion and isolation each >= that of every ablation (no attention loss, no union sampling) + 0.05; what pictures of one "
    "thing show of the other at most 0.05 above the population's; prompt >= that of DreamBooth on each thing cut out - 0.05.",
    data=("world",),
    seeds=(0, 1, 2),
)


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    world, prior = ShapesWorld(), Prior.shapes()
    methods: dict[str, ConceptMethod] = {
        name: BreakAScene(word_steps=STEPS, steps=STEPS, batch=BATCH, **setting).fit(on=prior) for name, setting in {FULL: {}, **ABLATIONS}.items()
    }
    booth = DreamBooth(steps=STEPS, batch=BATCH, learning_rate=5e-3).fit(on=prior)

    def cut_out(scene: Scene, seed: int) -> tuple[ConceptMethod, State]:
        return booth, booth.learn([scene.cut(0), scene.cut(1)], seed=seed)

    arms: dict[str, list[Measured]] = {name: [] for name in (*methods, "DreamBooth, cut out")}
    populations, ceilings = [], []
    for seed in seeds:
        scene = Scene.of(world, seed)
        populations.append(draw(booth, None, seed))
        ceilings.append(judge(scene, populations[-1], populations[-1]))
        for name, method in methods.items():

            def taught(scene: Scene, seed: int, method: ConceptMethod = method) -> tuple[ConceptMethod, State]:
                return method, method.learn(scene.shown(), seed=seed)

            arms[name].append(measure(taught, scene, seed, populations[-1]))
        arms["DreamBooth, cut out"].append(measure(cut_out, scene, seed, populations[-1]))
        if progress:
            print(seed, {name: made[-1].figures for name, made in arms.items()}, flush=True)

    def mean(arm: str, figure: str) -> float:
        return float(over(arms[arm], figure).mean())

    conditions = {
        f"{figure} >= {arm} + 0.05": mean(FULL, figure) >= mean(arm, figure) + 0.05 for arm in ABLATIONS for figure in ("confusion", "isolation")
    }
    conditions["leak of the other thing <= 0.05"] = 1 - mean(FULL, "isolation") <= 0.05
    conditions["prompt >= DreamBooth - 0.05"] = mean(FULL, "prompt") >= mean("DreamBooth, cut out", "prompt") - 0.05
    notes = "DreamBooth gets each thing with the other painted over by the true background, and 150 steps for each of the two."
    return outcome(FULL, arms, populations, ceilings, conditions, notes)
