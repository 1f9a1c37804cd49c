"""DisenDiff: two things out of one picture without masks, by calibrating what their words attend to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from _scenes import Measured, Scene, draw, judge, measure, outcome, over

from sartor.data.world.shapes import ShapesWorld
from sartor.draw._base import ConceptMethod
from sartor.draw.break_a_scene import BreakAScene
from sartor.draw.disendiff import DisenDiff
from sartor.draw.parts.masks import finest, from_attention, resized, threshold
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tap import Recorder, Slots
from sartor.evaluate.claim import Claim, Outcome
from sartor.method import State

STEPS = 150
CAPTION = "a <a> critter left of a <b> badge on sand"
ARMS = ("DisenDiff", "no calibration", "Break-A-Scene, true masks")

CLAIM = Claim(
    slug="disendiff",
    paper="Better than the state of the art at several concepts out of one picture without masks, qualitatively and quantitatively (no figures in "
    "the abstract).",
    passes="Means over 3 seeds, one scene each (a held-out critter left of a held-out badge on sand, other individuals at every seed, no masks), 150 "
    "steps: confusion and isolation each >= the same tuner without calibration + 0.08; IoU of the learned words' attention (mean over 10 times, cut "
    "by Otsu) with the true masks >= the same tuner's + 0.10; confusion and isolation not above Break-A-Scene's with true masks by more than 0.02.",
    data=("world",),
    seeds=(0, 1, 2),
)


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    world, prior = ShapesWorld(), Prior.shapes()
    methods: dict[str, ConceptMethod] = {
        ARMS[0]: DisenDiff(steps=STEPS).fit(on=prior),
        ARMS[1]: DisenDiff(steps=STEPS, calibration=0.0).fit(on=prior),
        ARMS[2]: BreakAScene(word_steps=STEPS, steps=STEPS, batch=4).fit(on=prior),
    }
    arms: dict[str, list[Measured]] = {name: [] for name in ARMS}
    populations, ceilings = [], []
    for seed in seeds:
        scene = Scene.of(world, seed)
        populations.append(draw(methods[ARMS[0]], None, seed))
        ceilings.append(judge(scene, populations[-1], populations[-1]))
        for name, method in methods.items():
            masked = name == ARMS[2]

            def teach(one: Scene, number: int, method: ConceptMethod = method, masked: bool = masked) -> tuple[ConceptMethod, State]:
                return method, method.learn(one.shown(masks=masked, captions=not masked), seed=number)

            arms[name].append(measure(teach, scene, seed, populations[-1]))
            arms[name][-1].figures["attention IoU"] = attention_iou(prior, arms[name][-1])
        if progress:
            print(seed, {name: made[-1].figures for name, made in arms.items()}, flush=True)

    def mean(arm: str, figure: str) -> float:
        return float(over(arms[arm], figure).mean())

    own, plain, bound = ARMS
    conditions = {f"{one} >= no calibration + 0.08": mean(own, one) >= mean(plain, one) + 0.08 for one in ("confusion", "isolation")}
    conditions["attention IoU >= no calibration + 0.10"] = mean(own, "attention IoU") >= mean(plain, "attention IoU") + 0.10
    conditions |= {f"{one} <= with true masks + 0.02": mean(own, one) <= mean(bound, one) + 0.02 for one in ("confusion", "isolation")}
    return outcome(own, arms, populations, ceilings, conditions)


@torch.no_grad()
def attention_iou(prior: Prior, made: Measured) -> float:
    """Intersection over union of where the two learned words look in the picture itself and where the things are, on the attention's own grid."""
    method, scene = made.method, made.scene
    caption = CAPTION if method.says_class else CAPTION.replace(" critter", "").replace(" badge", "")
    taught = method.taught(made.state)
    times = torch.linspace(0.2, 0.8, 10).mul(len(prior.alphas)).long()
    latents = prior.latents(scene.picture).expand(len(times), -1, -1, -1)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    words = prior.words([caption] * len(times), [one.concept(name) for name, one in taught.items()])
    plan, record = method._plan(prior, [caption] * len(times), taught), Recorder()
    with plan.inside:
        prior.predict(prior.noised(latents, noise, times), times, plan.context, slots=Slots(record=record))
    maps = finest(record.maps, 16).mean(0, keepdim=True)
    side, found = round(maps.shape[1] ** 0.5), []
    for name, mask in zip(taught, scene.masks, strict=True):
        looked = threshold(from_attention({"": maps}, words.places[name][:1] >= 0, side)) > 0
        there = resized(torch.from_numpy(mask)[:, None].float(), side, side) > 0.5
        found.append(float((looked & there).sum() / (looked | there).sum()))
    return float(np.mean(found))
