"""Cross Initialization: does a word that starts from the text encoder's output need fewer steps, and move less?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import _words
import numpy as np

from sartor.data.world.shapes import ShapesWorld
from sartor.draw._base import ConceptMethod
from sartor.draw.cross_init import CrossInit
from sartor.draw.parts.prior import Prior
from sartor.evaluate.claim import Claim, Outcome

FEW, MANY, BATCH = 100, 320, 4
OWN, FREE, USUAL, LONG = f"cross, {FEW} steps", f"cross, {FEW} steps, no regulariser", f"usual start, {FEW} steps", f"usual start, {MANY} steps"
GAP = 1.5

CLAIM = Claim(
    slug="cross-init",
    paper="Learned embeddings are up to 100 times larger than their usual start; starting from the text encoder's output, 320 steps do what 5,000 "
    "did, and 25 in a fast version.",
    passes=f"3 seeds, 2 held-out subjects each (others at every seed), words of two rows, batch {BATCH}, one rate for all, the best of three for "
    f"the usual start on another subject. At every seed (means of two): subject of the cross start after {FEW} steps >= that of the usual start "
    f"after {MANY} - 0.02; rows move less, in lengths of their start, than from the usual start in {FEW} steps. Over all: prompt with regulariser "
    f">= without. The precondition is measured: the encoder's outputs are at least {GAP} times as long as its input rows; where they are not, it "
    "does not pass.",
    data=("world",),
    seeds=(0, 1, 2),
)


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Four arms, equal rate and batch."""
    world, prior = ShapesWorld(), Prior.shapes()

    def method(**settings: Any) -> ConceptMethod:
        return CrossInit(**{"steps": FEW, "batch": BATCH, "sampling_steps": 10, **settings}).fit(on=prior)

    rate, swept = _words.best_rate(lambda rate: method(start="inputs", near=0.0, learning_rate=rate), world)
    arm = partial(method, learning_rate=rate)
    methods = {OWN: arm(), FREE: arm(near=0.0), USUAL: arm(start="inputs", near=0.0), LONG: arm(start="inputs", near=0.0, steps=MANY)}
    arms = _words.run(methods, world, seeds, progress=progress, prompts=_words.HALF)
    for made in arms.values():
        for one in made:
            one.figures["moved"] = float(one.record["moved"])
    subject, moved = ({name: _words.by_seed(_words.over(made, figure)) for name, made in arms.items()} for figure in ("subject", "moved"))
    prompt = {name: float(_words.over(made, "prompt").mean()) for name, made in arms.items()}
    first = [one.record for one in arms[OWN]]
    ratio, cosine = (float(np.mean([one[name] for one in first])) for name in ("output_to_input", "cosine"))
    conditions = {
        f"precondition: outputs >= {GAP} x input rows": ratio >= GAP,
        f"every seed: subject after {FEW} steps >= usual start after {MANY} - 0.02": bool((subject[OWN] >= subject[LONG] - 0.02).all()),
        f"every seed: moves less than the usual start in {FEW} steps": bool((moved[OWN] < moved[USUAL]).all()),
        "prompt with regulariser >= without": prompt[OWN] >= prompt[FREE],
    }
    figures = _words.table(arms)
    return Outcome(
        passed=all(conditions.values()),
        measured={OWN: figures.pop(OWN), "output to input": ratio, "cosine of output and input": cosine, "conditions": conditions, "rate": rate,
                  "subject of the usual start by rate": swept,
                  "subject by seed": subject, "moved by seed": moved},
        baseline=figures,
        **_words.scales(arms[OWN]),
        notes="All arms have words of two rows (the class word twice). 24 prompts a subject, 10 sampling steps. "
        + ("" if ratio >= GAP else f"Precondition absent: outputs of this text encoder are {ratio:.2f} times as long as its input rows."),
    )  # fmt: skip
