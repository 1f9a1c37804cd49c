"""AlignIT: do prompts come back when only the concept's own keys and values may differ, and is the subject kept?"""

from __future__ import annotations

from collections.abc import Sequence

import _words
import numpy as np

from sartor.data.world.shapes import BACKGROUNDS, COLOURS, FIXED, RELATIONS, SLOTS, Prompts, ShapesWorld
from sartor.draw._base import ConceptMethod
from sartor.draw.alignit import AlignIT
from sartor.draw.custom_diffusion import CustomDiffusion
from sartor.draw.parts.prior import Prior
from sartor.draw.perfusion import Perfusion
from sartor.draw.textual_inversion import TextualInversion
from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.drawing import NAME, Measured, score, shown

STEPS, BATCH, SAMPLING, ALONE, WORD_RATE, RATE = 150, 4, 10, 6e-2, 2e-2, 2e-3
WORD, WEIGHTS, EDIT = "textual inversion", "custom diffusion", "Perfusion"

CLAIM = Claim(
    slug="alignit",
    paper="Only the concept's keys and values are put into those of the prior: prompts are followed substantially better, subjects are kept, "
    "nothing is trained (no figures in the abstract).",
    passes=f"3 seeds, 2 held-out subjects each (others at every seed), {STEPS} steps of batch {BATCH}; the same states before and after; 36 hard "
    "prompts (place, background and hat; relation to a second object and background). Averaged over textual inversion and custom diffusion: "
    "prompt + 0.08, subject loses <= 0.04. With an empty concept pictures equal the prior's in every byte. Keys at other tokens than the concept's "
    "differ by exactly 0.",
    data=("world",),
    seeds=(0, 1, 2),
)


def hard() -> Prompts:
    """36 prompts that ask for three things at once."""
    colours = list(COLOURS)
    hats = [f"a {NAME} with a {colours[n % 8]} hat at {SLOTS[n % 5]} on {BACKGROUNDS[n % 6]}".replace("a orange", "an orange") for n in range(20)]
    beside = [f"a {NAME} {RELATIONS[n % 4]} a {colours[(3 * n) % 6]} {FIXED[n % 6]} on {BACKGROUNDS[(n + n // 6) % 6]}" for n in range(16)]
    texts = [*hats, *(one.replace("a orange", "an orange") for one in beside)]
    return Prompts(texts, np.ones(len(texts), bool))


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Three bases, before and after."""
    world, prior, prompts = ShapesWorld(), Prior.shapes(), hard()
    bases: dict[str, ConceptMethod] = {
        WORD: TextualInversion(steps=STEPS, batch=BATCH, learning_rate=ALONE, sampling_steps=SAMPLING),
        WEIGHTS: CustomDiffusion(steps=STEPS, batch=BATCH, learning_rate=RATE, word_rate=WORD_RATE, sampling_steps=SAMPLING),
        EDIT: Perfusion(steps=STEPS, batch=BATCH, word_rate=1e-2, value_rate=1e-1, sampling_steps=SAMPLING),
    }
    arms: dict[str, list[Measured]] = {}
    apart = {}
    for name, base in bases.items():
        aligned = AlignIT(base=base, sampling_steps=SAMPLING).fit(on=prior)
        made = _words.run({name: base}, world, seeds, progress=progress, prompts=prompts)[name]
        states = iter([aligned.of(one.state) for one in made])
        # The same states, in the same order.
        after = _words.run(
            {name: aligned}, world, seeds, progress=progress, prompts=prompts, teach=lambda _method, _shown, _seed, states=states: next(states)
        )[name]  # fmt: skip
        arms |= {name: made, f"{name}, aligned": after}
        if name == WORD:
            apart = _apart(aligned, after, prompts)
    moved = {
        figure: {name: float((_words.over(arms[f"{name}, aligned"], figure) - _words.over(arms[name], figure)).mean()) for name in bases}
        for figure in ("prompt", "subject", "all", "joint")
    }
    empty = AlignIT(base=TextualInversion(steps=0), sampling_steps=SAMPLING).fit(on=prior)
    subject = _words.subjects(world, seeds[0])[0]
    own = shown(world, subject)
    texts, noise = prompts.texts[::4], list(range(len(prompts.texts[::4])))
    same = [
        empty.draw(texts, [state] * len(texts), seeds=noise, classes={NAME: own.class_word}) for state in (empty.learn(own), None)
    ]  # fmt: skip
    conditions = {
        "prompt + 0.08 (mean of two bases)": (moved["prompt"][WORD] + moved["prompt"][WEIGHTS]) / 2 >= 0.08,
        "subject loses <= 0.04 (mean of two bases)": (moved["subject"][WORD] + moved["subject"][WEIGHTS]) / 2 >= -0.04,
        "empty concept: every byte equal": bool(np.array_equal(same[0], same[1])),
        "keys elsewhere differ by exactly 0": apart["largest elsewhere, aligned"] == 0,
    }
    figures = _words.table(arms)
    usual = float(np.mean([score(world, one.population, prompts, one.subject)["prompt"] for one in arms[WORD]]))
    return Outcome(
        passed=all(conditions.values()),
        measured={f"{name}, aligned": figures.pop(f"{name}, aligned") for name in bases} | {"conditions": conditions, "moved": moved, "keys": apart},
        baseline={**figures, "prompt of the prior with the class word": usual},
        **_words.scales(arms[f"{WEIGHTS}, aligned"]),
        notes=f"{SAMPLING} sampling steps. Keys: ||K - K0|| / ||K0||, mean over layers, of textual inversion. Scales are of custom diffusion, "
        f"aligned; its seconds of adapting are those of taking a state over. The class word itself has {usual:.2f} of the prompts right, the two "
        f"bases {_words.over(arms[WORD], 'prompt').mean():.2f} and {_words.over(arms[WEIGHTS], 'prompt').mean():.2f}: nothing can win back more.",
    )  # fmt: skip


def _apart(aligned: AlignIT, made: Sequence[Measured], prompts: Prompts) -> dict[str, float]:
    """How far keys are from the prior's: at the concept, and elsewhere."""
    place = 2
    rows = [aligned.disturbed(prompts.texts, one.state) for one in made]
    before, after = (np.stack(part) for part in zip(*rows, strict=True))
    others = np.arange(before.shape[-1]) != place
    return {
        "at the concept, base": float(before[..., place].mean()), "elsewhere, base": float(before[..., others].mean()),
        "at the concept, aligned": float(after[..., place].mean()), "largest elsewhere, aligned": float(after[..., others].max()),
    }  # fmt: skip
