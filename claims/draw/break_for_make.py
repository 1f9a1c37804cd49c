"""Break-for-Make: do a content and a style learned in disjoint halves go together better than two adapters added, or one trained on both?"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sartor.data.world.shapes import BACKGROUNDS, FAMILIES, GROUNDS, SLOTS, ShapesWorld, Subject, parse, read
from sartor.draw._shown import Shown
from sartor.draw.break_for_make import BreakForMake
from sartor.draw.dreambooth import identifier
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.sampler import sample
from sartor.draw.parts.tokens import Concept
from sartor.draw.parts.tuning import tune
from sartor.draw.parts.weights import LowRank, changed
from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.pictures import grade, strangers, subject_score
from sartor.method import State
from sartor.parts.statistics import bootstrap

STEPS, MAKE, RANK, BATCH, SAMPLING, GUIDANCE = 80, 60, 8, 4, 10, None
RATE = 2e-3
"""Of the baselines: the better of two (5e-3 the other) for one thing, DreamBooth's, on another subject."""
MADE, CLICKED, SUM, JOINT = "made", "clicked together", "two adapters added", "one adapter on both"
PROMPTS = [(f"a <c> at {SLOTS[number % 5]} on {ground} <s>", ground) for number, ground in enumerate(BACKGROUNDS * 2)]
CLIPPED = 0.3
"""Of a pixel's squared error: what stands on the background must not count."""

CLAIM = Claim(
    slug="break-for-make",
    paper="Better content-style-prompt alignment than pipelines of one or several concepts (no figures in the abstract).",
    passes="3 seeds, one held-out content and one palette (a symmetry of the colour cube, which can be undone) each, other ones at every seed; 4 "
    f"pictures of the content, 6 of the style, two other styles and contents beside; {STEPS} + {STEPS} + {MAKE} steps; baselines with as many steps "
    "of twice the batch, rank 8, their rate the better of two for one thing on another subject. Content is the subject score after undoing "
    "the palette, style how near the background is to the asked one in the palette (0 as plain, 1 exactly). "
    "Harmonic mean of both, mean over seeds: made >= two adapters added + 0.08 and >= one adapter on both + 0.03; "
    "clicked together, before it is made, >= two adapters added.",
    data=("world",),
    seeds=(0, 1, 2),
)
PALETTES = [(order, flips) for order in itertools.permutations(range(3)) for flips in itertools.product((0, 1), repeat=3)][1:]


@dataclass(frozen=True, eq=False)
class Pair:
    """A content and a palette, with those that stand beside them."""

    subject: Subject
    palette: int
    content: Shown
    style: Shown

    @classmethod
    def of(cls, world: ShapesWorld, seed: int) -> Pair:
        """Of a seed; individuals and palettes differ between seeds."""
        noun = FAMILIES[seed % len(FAMILIES)]
        subjects = [world.subjects(1, noun=noun, start=2 * seed)[0], *world.subjects(2, start=300 + 2 * seed)]
        rng = np.random.default_rng([seed, 40])
        numbers = rng.permutation(len(PALETTES))[:3]
        contents = [_content(world, one, name, seed) for one, name in zip(subjects, ("<c>", "<d>", "<e>"), strict=True)]
        styles = [_style(world, int(one), name, rng) for one, name in zip(numbers, ("<s>", "<t>", "<u>"), strict=True)]
        own = [Shown(**{**vars(one[0]), "options": {"beside": beside[1:]}}) for one, beside in ((contents, styles), (styles, contents))]
        return cls(subjects[0], int(numbers[0]), own[0], own[1])


def _content(world: ShapesWorld, subject: Subject, name: str, seed: int) -> Shown:
    return Shown(name=name, class_word=subject.noun, images=world.references(subject, 4, seed=seed).render())


def _style(world: ShapesWorld, number: int, name: str, rng: np.random.Generator) -> Shown:
    scenes = world.scenes(rng, 6)
    return Shown(name=name, class_word="", images=painted(scenes.render(), number), captions=[f"{one} {name}" for one in scenes.captions()])


def painted(images: np.ndarray, number: int) -> np.ndarray:
    """uint8 pictures in a palette: channels in another order, some of them turned over."""
    order, flips = PALETTES[number]
    return np.stack([255 - images[..., one] if flip else images[..., one] for one, flip in zip(order, flips, strict=True)], -1)


def unpainted(images: np.ndarray, number: int) -> np.ndarray:
    """The reverse, exactly."""
    order, flips = PALETTES[number]
    out = np.empty_like(images)
    for place, (one, flip) in enumerate(zip(order, flips, strict=True)):
        out[..., one] = 255 - images[..., place] if flip else images[..., place]
    return out


def judge(world: ShapesWorld, pictures: np.ndarray, pair: Pair) -> dict[str, float]:
    plain = unpainted(pictures, pair.palette)
    content = subject_score(plain, pair.subject, strangers(world, pair.subject))
    texts = [text for text, _ in PROMPTS]
    style = []
    for picture, (_, ground) in zip(pictures, PROMPTS, strict=True):
        usual = GROUNDS[BACKGROUNDS.index(ground)]
        asked = painted(np.rint(usual * 255).astype(np.uint8), pair.palette) / 255
        off, most = (np.minimum(((one - asked) ** 2).sum(-1), CLIPPED).mean() for one in (picture / 255, usual))
        style.append(np.clip(1 - off / most, 0, 1))
    both = np.array([np.clip(content.mean(), 0, 1), np.mean(style)])
    graded = grade(read(plain), parse(texts, {"<c>": pair.subject.noun, "<s>": ""}))
    return {"content": float(both[0]), "style": float(both[1]), "harmonic mean": float(2 * both.prod() / max(both.sum(), 1e-9)),
            "prompt": float(graded.joint.mean())}  # fmt: skip


def own(prior: Prior, pair: Pair, seed: int, **settings: Any) -> tuple[BreakForMake, State, State]:
    """The method, and its state before and after the pair is made."""
    method = BreakForMake(steps=STEPS, make_steps=MAKE, rank=RANK, batch=BATCH, sampling_steps=SAMPLING, sides=2, **settings).fit(on=prior)
    clicked = method.learn([pair.content, pair.style], seed=seed)
    return method, clicked, method.make(clicked, pair.content, pair.style, seed=seed)


def baselines(prior: Prior, pair: Pair, seed: int, rate: float = RATE) -> dict[str, np.ndarray]:
    """Pictures by plain low-rank adapters: one for each added, and one that learned both."""
    noun = pair.subject.noun
    words = [Concept("<c>", identifier(prior, noun, seed, "<c>")), Concept("<s>", identifier(prior, "a", seed, "<s>"))]
    references = [References.of(prior, one.images) for one in (pair.content, pair.style)]
    texts = [[f"a <c> {noun}"] * 4, list(pair.style.captions or ())]
    both = References.of(prior, np.concatenate([one.images for one in (pair.content, pair.style)]))
    said = [*texts[0], *texts[1]]

    def evenly(_numbers: torch.Tensor) -> tuple[list[str], None]:
        return [said[int(one)] for one in _numbers], None

    total, arrays = 2 * STEPS + MAKE, []
    for part, one, prompts in zip(references, words, texts, strict=True):
        with LowRank(prior, rank=RANK, seed=seed) as weights:
            tune(prior, part, [one], _each(prompts), steps=total // 2, weights=weights, weight_rate=rate, batch=2 * BATCH, seed=seed)
            arrays.append(weights.arrays())
    with LowRank(prior, rank=RANK, seed=seed) as weights:
        tune(prior, both, words, evenly, steps=total, weights=weights, weight_rate=rate, batch=2 * BATCH, seed=seed)
        joint = weights.arrays()
    out = {}
    context = prior.encode([text.replace("<c>", f"<c> {noun}") for text, _ in PROMPTS], words)
    for name, chosen in ((SUM, arrays), (JOINT, [joint])):
        with changed(prior, chosen):
            out[name] = prior.images(sample(prior, context, _noise(seed), steps=SAMPLING, guidance=GUIDANCE))
    return out


def _each(prompts: Sequence[str]) -> Any:
    return lambda numbers: ([prompts[int(one)] for one in numbers], None)


def _noise(seed: int) -> list[int]:
    return [seed * 10_000 + number for number in range(len(PROMPTS))]


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Four arms and the population."""
    world, prior = ShapesWorld(), Prior.shapes()
    arms: dict[str, list[dict[str, float]]] = {name: [] for name in (MADE, CLICKED, SUM, JOINT, "population")}
    drawn, pairs, sizes, spent = [], [], [], []
    for seed in seeds:
        pair, texts = Pair.of(world, seed), [text for text, _ in PROMPTS]
        before = time.process_time()
        method, clicked, made = own(prior, pair, seed)
        spent.append(time.process_time() - before)
        pictures: dict[str, np.ndarray] = {
            name: method.draw(texts, [state] * len(texts), seeds=_noise(seed)) for name, state in ((MADE, made), (CLICKED, clicked))
        }
        pictures["population"] = method.draw(texts, [None] * len(texts), seeds=_noise(seed), classes={"<c>": pair.subject.noun, "<s>": ""})
        pictures |= baselines(prior, pair, seed)
        for name, rows in pictures.items():
            arms[name].append(judge(world, rows, pair))
        drawn.append(pictures[MADE])
        pairs.append(pair)
        sizes.append(sum(value.nbytes for key, value in clicked.arrays.items() if key.startswith("<c>/weights.down.")))
        if progress:
            print(seed, {name: {key: round(value, 3) for key, value in made_[-1].items()} for name, made_ in arms.items()}, flush=True)
    return outcome(world, arms, drawn, pairs, sizes, spent)


def outcome(
    world: ShapesWorld, arms: Mapping[str, list[dict[str, float]]], drawn: Sequence[np.ndarray], pairs: Sequence[Pair], sizes: Sequence[int],
    spent: Sequence[float],
) -> Outcome:  # fmt: skip
    score = {name: np.array([one["harmonic mean"] for one in made]) for name, made in arms.items()}
    mean = {name: float(one.mean()) for name, one in score.items()}
    swapped = np.array([judge(world, drawn[number - 1], pair)["harmonic mean"] for number, pair in enumerate(pairs)])
    conditions = {
        "made >= two adapters added + 0.08": mean[MADE] >= mean[SUM] + 0.08,
        "made >= one adapter on both + 0.03": mean[MADE] >= mean[JOINT] + 0.03,
        "clicked together >= two adapters added": mean[CLICKED] >= mean[SUM],
    }
    table = {name: {key: [one[key] for one in made] for key in made[0]} for name, made in arms.items()}
    gain, gap = score[MADE] - score["population"], score[MADE] - swapped
    return Outcome(
        passed=all(conditions.values()), measured={MADE: table.pop(MADE), CLICKED: table.pop(CLICKED), "mean": mean, "conditions": conditions},
        baseline=table, gain=float(gain.mean()), gain_interval=bootstrap(gain).tolist(), swap_gap=float(gap.mean()),
        swap_gap_interval=bootstrap(gap).tolist(), state_bytes=float(np.mean(sizes)), adapt_seconds=float(np.mean(spent)),
        notes=f"Bytes are of a content's half. {len(PROMPTS)} prompts a pair, {SAMPLING} sampling steps.",
    )  # fmt: skip
