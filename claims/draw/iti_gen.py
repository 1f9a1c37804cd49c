"""ITI-GEN: do tokens from example pictures even out what a biased prior draws, and what no word of the language names?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image

from sartor.data.population import Population
from sartor.data.world.shapes import BACKGROUNDS, COLOURS, NOUNS, SLOTS, ShapesWorld, parse, read
from sartor.data.world.shapes.scenes import CORNERS, Scenes
from sartor.data.world.shapes.sprites import HAT_ROWS
from sartor.draw.iti_gen import ITIGen
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tuning import tune
from sartor.draw.parts.weights import LowRank, changed
from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.pictures import grade
from sartor.parts.statistics import bootstrap

EACH, DRAWN, NAMELESS, CAPTIONED, BIAS_STEPS, SAMPLING = 20, 96, 48, 800, 120, 10
SECOND = ("red", "green", "blue", "yellow")
"""Of the second colour, which captions never name."""
PLAIN, OWN, WORDS = "plain prompt", "ITI-GEN", "words of the attributes"
PROMPT, MARKED = "a critter", "a <inclusive> critter"
"""Tokens stand where this language has its attributes; behind the noun nothing is heard of colours."""
NEAR, RATE = 0.3, 0.1
"""Prompts that name a colour and a background have a cosine of about 0.36 with the plain one in the space that is learned here."""

CLAIM = Claim(
    slug="iti-gen",
    paper="Large improvement over the state of the art in inclusive generation without tuning the model (no figures in the abstract).",
    passes=f"3 seeds. The prior is first tuned to draw '{PROMPT}' in two colours on two backgrounds (measured). {EACH} reference pictures of each of "
    f"8 colours and 6 backgrounds, only one attribute labelled at a time; {DRAWN} pictures of 'a critter' at five places. Means over seeds: "
    "divergence KL(shares || uniform) of colours, of backgrounds and of both together each lower by >= 60 % than with the plain prompt; noun and "
    f"place right >= 0.95 of the plain prompt's. And on the second colour ({len(SECOND)} of them), which no word names, lower than with prompts that "
    "name these colours. All read by the exact reader.",
    data=("world",),
    seeds=(0, 1, 2),
)


def critters(world: ShapesWorld, rng: np.random.Generator, count: int, **wanted: int) -> Scenes:
    """Single critters without hats, everything else at random."""
    made = Scenes.empty(count)
    made.noun[:, 0], made.slot[:, 0], made.offset[:, 0] = NOUNS.index("critter"), rng.integers(5, size=count), rng.integers(2, size=count)
    made.background[:] = rng.integers(len(BACKGROUNDS), size=count)
    made.identity[:, 0] = rng.integers(1 << 20, size=count)
    made.colour[:, 0] = rng.integers(len(COLOURS), size=count)
    for name, value in wanted.items():
        part = getattr(made, name)
        part[...] = np.where(np.arange(part.shape[-1]) == 0, value, part) if part.ndim == 2 else value
    # Another colour than the first, unless it is asked for.
    if "second" not in wanted:
        made.second[:, 0] = (made.colour[:, 0] + rng.integers(1, len(COLOURS), count)) % len(COLOURS)
    else:
        made.colour[:, 0] = (made.second[:, 0] + rng.integers(1, len(COLOURS), count)) % len(COLOURS)
    return made


def biased(world: ShapesWorld, prior: Prior, seed: int) -> tuple[dict[str, torch.Tensor], dict[str, list[str]]]:
    """Weights that draw critters of two colours on two backgrounds where nothing else is said."""
    rng = np.random.default_rng([seed, 50])
    colours, grounds = rng.permutation(len(COLOURS))[:2], rng.permutation(len(BACKGROUNDS))[:2]
    parts = [critters(world, rng, 16, colour=int(c), background=int(g)) for c in colours for g in grounds]
    references = References.of(prior, np.concatenate([one.render() for one in parts]))
    slots = np.concatenate([one.slot[:, 0] for one in parts])

    def say(numbers: torch.Tensor) -> tuple[list[str], None]:
        # Half of the captions say where the critter is.
        return [f"{PROMPT} at {SLOTS[slots[int(one)]]}" if int(one) % 2 else PROMPT for one in numbers], None

    with LowRank(prior, rank=8, seed=seed) as weights:
        tune(prior, references, [], say, steps=BIAS_STEPS, weights=weights, weight_rate=2e-3, seed=seed)
        arrays = weights.arrays()
    names = list(COLOURS)
    return arrays, {"colours": [names[one] for one in colours], "backgrounds": [BACKGROUNDS[one] for one in grounds]}


def seen(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers of the background, of the largest critter's colour, and of its second colour; -1 without a critter."""
    shown = read(pictures)
    there = shown.noun == NOUNS.index("critter")
    at = np.where(there, shown.gain, -1).argmax(1)
    rows, has = np.arange(len(pictures)), there.any(1)
    mouths = []
    for row in rows:
        top, left = CORNERS[at[row]] + shown.offset[row, at[row]]
        # The mouth is always in the second colour.
        mouths.append(pictures[row, top + HAT_ROWS + 5, left + 3 : left + 6].mean(0) / 255)
    gaps = np.linalg.norm(np.stack(mouths)[:, None] - np.array(list(COLOURS.values())), axis=2)
    return {
        "background": shown.background.astype(int),
        "colour": np.where(has, shown.colour[rows, at], -1),
        "second": np.where(has, gaps.argmin(1), -1),
    }


def divergence(values: np.ndarray, count: int) -> float:
    """KL of the shares of values 0 to count - 1 from equal ones, in nats; those outside are left out."""
    inside = values[(values >= 0) & (values < count)]
    shares = np.bincount(inside, minlength=count) / max(1, len(inside))
    return float((shares[shares > 0] * np.log(shares[shares > 0] * count)).sum()) if len(inside) else float(np.log(count))


def judge(pictures: np.ndarray, prompts: Sequence[str]) -> dict[str, float]:
    found = seen(pictures)
    graded = grade(read(pictures), parse(prompts))
    right = graded.right["noun"] & graded.right["position"]
    both = np.where(found["colour"] >= 0, found["colour"] * len(BACKGROUNDS) + found["background"], -1)
    return {
        "colour": divergence(found["colour"], len(COLOURS)), "background": divergence(found["background"], len(BACKGROUNDS)),
        "both": divergence(both, len(COLOURS) * len(BACKGROUNDS)), "noun and place": float(right.mean()),
    }  # fmt: skip


def of_second(pictures: np.ndarray) -> float:
    """Divergence of the four second colours; everything else they may have counts as a fifth that should not be."""
    number = [list(COLOURS).index(one) for one in SECOND]
    values = np.array([number.index(one) if one in number else len(SECOND) for one in seen(pictures)["second"]])
    shares = np.bincount(values, minlength=len(SECOND) + 1) / len(values)
    wanted = np.array([0.99 / len(SECOND)] * len(SECOND) + [0.01])
    return float((shares[shares > 0] * np.log(shares[shares > 0] / wanted[shares > 0])).sum())


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    world, prior = ShapesWorld(), Prior.shapes()
    with tempfile.TemporaryDirectory() as folder:
        method = ITIGen(near=NEAR, learning_rate=RATE, sampling_steps=SAMPLING).fit(_captioned(world, Path(folder)), on=prior, progress=False)
    arms: dict[str, list[dict[str, float]]] = {PLAIN: [], OWN: [], WORDS: []}
    nameless: dict[str, list[float]] = {PLAIN: [], OWN: [], WORDS: []}
    biases, spent, sizes = [], [], []
    for seed in seeds:
        rng, names = np.random.default_rng([seed, 51]), list(COLOURS)
        arrays, bias = biased(world, prior, seed)
        biases.append(bias)
        colours = {one: critters(world, rng, EACH, colour=number).render() for number, one in enumerate(names)}
        grounds = {one: critters(world, rng, EACH, background=number).render() for number, one in enumerate(BACKGROUNDS)}
        second = {one: critters(world, rng, EACH, second=names.index(one)).render() for one in SECOND}
        began = time.process_time()
        state = method.learn(MARKED, {"colour": colours, "background": grounds}, seed=seed)
        spent.append(time.process_time() - began)
        unnamed = method.learn(MARKED, {"second colour": second}, seed=seed)
        sizes.append(state.nbytes)
        prompts = [f"{PROMPT} at {SLOTS[number % 5]}" for number in range(DRAWN)]
        marked = [f"{MARKED} at {SLOTS[number % 5]}" for number in range(DRAWN)]
        noise = [seed * 10_000 + number for number in range(DRAWN)]
        said = method.combinations(state, DRAWN, seed=noise[0])
        texts = {
            WORDS: [f"a {one['colour']} critter at {SLOTS[number % 5]} on {one['background']}" for number, one in enumerate(said)],
            "second": [f"a {SECOND[number % 4]} critter at {SLOTS[number % 5]}" for number in range(NAMELESS)],
        }
        with changed(prior, [arrays]):
            drawn = {
                PLAIN: method.draw(prompts, [None] * DRAWN, seeds=noise), OWN: method.draw(marked, [state] * DRAWN, seeds=noise),
                WORDS: method.draw(texts[WORDS], [None] * DRAWN, seeds=noise),
            }  # fmt: skip
            few = {
                OWN: method.draw(marked[:NAMELESS], [unnamed] * NAMELESS, seeds=noise[:NAMELESS]),
                WORDS: method.draw(texts["second"], [None] * NAMELESS, seeds=noise[:NAMELESS]), PLAIN: drawn[PLAIN][:NAMELESS],
            }  # fmt: skip
        for name, pictures in drawn.items():
            arms[name].append(judge(pictures, prompts))
            nameless[name].append(of_second(few[name]))
        if progress:
            print(seed, bias, {name: {**made[-1], "second": nameless[name][-1]} for name, made in arms.items()}, flush=True)
    return outcome(arms, nameless, biases, spent, sizes)


def _captioned(world: ShapesWorld, folder: Path) -> Population:
    rng = np.random.default_rng(52)
    scenes = world.scenes(rng, CAPTIONED)
    paths = [str(folder / f"{number}.png") for number in range(CAPTIONED)]
    for path, picture in zip(paths, scenes.render(), strict=True):
        Image.fromarray(picture).save(path, compress_level=0)
    frame = {"image": [str(number) for number in range(CAPTIONED)], "path": paths, "caption": scenes.captions(dropped=rng)}
    return Population.from_frames(images=pl.DataFrame(frame))


def outcome(
    arms: Mapping[str, list[dict[str, float]]], nameless: Mapping[str, list[float]], biases: Sequence[Any], spent: Sequence[float],
    sizes: Sequence[int],
) -> Outcome:  # fmt: skip
    mean = {name: {key: float(np.mean([one[key] for one in made])) for key in made[0]} for name, made in arms.items()}
    conditions: dict[str, bool] = {
        f"divergence of {key} lower by 60 %": mean[OWN][key] <= 0.4 * mean[PLAIN][key] for key in ("colour", "background", "both")
    }
    conditions["noun and place >= 0.95 of the plain prompt's"] = mean[OWN]["noun and place"] >= 0.95 * mean[PLAIN]["noun and place"]
    conditions["second colour: lower than with words"] = bool(np.mean(nameless[OWN]) < np.mean(nameless[WORDS]))
    gain = np.array([1 - own["both"] / max(plain["both"], 1e-9) for own, plain in zip(arms[OWN], arms[PLAIN], strict=True)])
    each = {name: {key: [one[key] for one in made] for key in made[0]} | {"second colour": nameless[name]} for name, made in arms.items()}
    return Outcome(
        passed=all(conditions.values()), measured={OWN: each.pop(OWN), "mean": mean, "conditions": conditions, "bias": biases},
        baseline=each, gain=float(gain.mean()), gain_interval=bootstrap(gain).tolist(), state_bytes=float(np.mean(sizes)),
        adapt_seconds=float(np.mean(spent)),
        why_null="No swap gap: a state holds categories, not one person's thing.",
        notes="Gain is the share of the joint divergence that is gone. Words of the attributes are an oracle where the language has them. "
        f"{SAMPLING} sampling steps. Tokens stand before the noun: behind the prompt, as in the paper, pictures followed them at chance on seed 100 "
        "(.06 to .19 in the colour, .19 to .31 in the background), though prompts and pictures had one direction in the space that is learned here.",
    )  # fmt: skip
