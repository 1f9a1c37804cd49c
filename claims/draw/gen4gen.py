"""Gen4Gen: do composed scenes, and captions that say what is where, teach the same tuner to draw two things together?"""

from __future__ import annotations

from collections.abc import Sequence

import _adapters
import numpy as np
import torch
from torch import Tensor

from sartor.data.world.shapes import BACKGROUNDS, RELATIONS, ShapesWorld, Subject, parse
from sartor.data.world.shapes.scenes import CORNERS, SIDES
from sartor.data.world.shapes.sprites import HAT_ROWS
from sartor.draw._shown import Shown, spell
from sartor.draw.dreambooth import identifier
from sartor.draw.gen4gen import Composed, Layout, Place, Size, compose
from sartor.draw.parts.delta import KEYS_VALUES
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.sampler import sample
from sartor.draw.parts.tokens import Concept
from sartor.draw.parts.tuning import tune
from sartor.draw.parts.weights import LowRank, changed
from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.composition import composition_score, text_score
from sartor.parts.statistics import bootstrap

PAIRS, IMAGES, STEPS, BATCH, RATE, WORD_RATE, SAMPLING = 2, 12, 120, 4, 2e-3, 2e-2, 10
KNOWN, UNSEEN = BACKGROUNDS[:4], BACKGROUNDS[4:]
PROMPTS = [f"a <a> {relation} a <b> on {ground}" for relation in RELATIONS for ground in (*UNSEEN, *UNSEEN)]
APART, SHORT, FULL = "separate pictures", "scenes, short captions", "scenes, full captions"

CLAIM = Claim(
    slug="gen4gen",
    paper="Better data and prompts alone raise what is drawn of several concepts, without a change of model or algorithm (no figures in the "
    "abstract).",
    passes=f"Keys and values at low rank and two words, {STEPS} steps of {BATCH} on {IMAGES} pictures: of each thing alone, composed with short "
    f"captions, composed with full captions. {PAIRS} pairs of held-out subjects of two families at each of 3 seeds, {len(PROMPTS)} prompts on "
    "backgrounds that no picture has. Means: composition score (missing counts 0) of full captions >= short + 0.05 and of short >= separate + "
    "0.05; share of backgrounds and relations right with full captions >= short + 0.05. And of 500 composed scenes all are inside, none overlap, "
    "all captions parse back.",
    data=("world",),
    seeds=(0, 1, 2),
)


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    world, prior = ShapesWorld(), Prior.shapes()
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in (APART, SHORT, FULL)}
    for seed in seeds:
        for number, pair in enumerate(_adapters.pairs_of(world, seed, PAIRS)):
            for name, made in one_pair(prior, world, pair, seed * 100 + number).items():
                rows[name].append(made)
            if progress:
                print(seed, {name: made[-1] for name, made in rows.items()}, flush=True)
    whole = generator(prior, world)
    table = {name: {part: float(np.mean([row[part] for row in made])) for part in made[0]} for name, made in rows.items()}
    cp = {name: np.array([row["composition"] for row in made]) for name, made in rows.items()}
    conditions = {
        "composition: full >= short + 0.05": table[FULL]["composition"] >= table[SHORT]["composition"] + 0.05,
        "composition: short >= separate + 0.05": table[SHORT]["composition"] >= table[APART]["composition"] + 0.05,
        "text: full >= short + 0.05": table[FULL]["text"] >= table[SHORT]["text"] + 0.05,
        "500 scenes: inside, apart, captions parse back": all(share == 1 for share in whole.values()),
    }
    return Outcome(
        passed=all(conditions.values()),
        measured={
            FULL: table[FULL], "conditions": conditions, "scenes": whole, "full less short": bootstrap(cp[FULL] - cp[SHORT]).tolist(),
            "short less separate": bootstrap(cp[SHORT] - cp[APART]).tolist(), "each": {name: one.round(4).tolist() for name, one in cp.items()},
        },
        baseline={name: table[name] for name in (APART, SHORT)},
        why_null="It makes training data and scores; the state is the tuner's.",
        notes=f"{SAMPLING} sampling steps. Pairs only: captions of the world name no three things. Things stand where the world has places, so that "
        "they can be read; the prior repaints what is around them. Rates are Custom Diffusion's and textual inversion's here, the same for all "
        "arms.",
    )  # fmt: skip


def one_pair(prior: Prior, world: ShapesWorld, pair: tuple[Subject, Subject], seed: int) -> dict[str, dict[str, float]]:
    """Each arm's scores."""
    shown = [on_known(world, one, name, seed) for name, one in zip(("<a>", "<b>"), pair, strict=True)]
    grounds = [f"on {ground}" for ground in KNOWN]
    scenes = compose(prior, shown, IMAGES, backgrounds=grounds, layout=in_slots(pair), steps=SAMPLING, seed=seed)
    kinds = {"<a>": pair[0].noun, "<b>": pair[1].noun}
    short = [" ".join(f"a {name} {kinds[name]}" for name in ("<a>", "<b>"))] * IMAGES
    apart = np.concatenate([one.images for one in shown])
    alone = [f"a {one.name} {one.class_word}" for one in shown for _ in one.images]
    data = {APART: (apart, alone), SHORT: (scenes.images, short), FULL: (scenes.images, scenes.captions)}
    plain = text_score(drawn(prior, [spell(one, kinds, (), says_class=False) for one in PROMPTS], (), {}, seed), PROMPTS, kinds)
    found = {}
    for name, (images, captions) in data.items():
        words, weights = tuned(prior, images, captions, kinds, seed)
        pictures = drawn(prior, [spell(one, kinds, kinds, says_class=True) for one in PROMPTS], words, weights, seed)
        found[name] = {
            "composition": float(composition_score(pictures, pair, world).mean()), "text": float(text_score(pictures, PROMPTS, kinds).mean()),
            "text of the prior": float(plain.mean()),
        }  # fmt: skip
    return found


def on_known(world: ShapesWorld, subject: Subject, name: str, seed: int) -> Shown:
    """Half of the pictures, of one thing alone, on backgrounds that prompts do not ask for."""
    scenes = world.references(subject, IMAGES // 2, seed=seed)
    scenes.background[:] = np.resize(np.arange(len(KNOWN)), IMAGES // 2)
    return Shown(name=name, class_word=subject.noun, images=scenes.render(), masks=scenes.masks())


def in_slots(pair: tuple[Subject, Subject]) -> Layout:
    """A layout that puts things where the world has places for two, in any relation."""
    corners = [np.argwhere(one.mask).min(0) for one in pair]

    def layout(names: Sequence[str], sizes: Sequence[Size], side: int, rng: np.random.Generator) -> list[Place]:
        slots = SIDES[int(rng.integers(4))][int(rng.integers(2))]
        places = []
        for slot, (top, left) in zip(slots, corners, strict=True):
            row, column = CORNERS[slot] + rng.integers(2, size=2)
            places.append((int(row + HAT_ROWS + top), int(column + left)))
        return places

    return layout


def tuned(
    prior: Prior, images: np.ndarray, captions: Sequence[str], kinds: dict[str, str], seed: int
) -> tuple[tuple[Concept, ...], dict[str, Tensor]]:  # fmt: skip
    """Two words and low-rank keys and values, as Custom Diffusion learns several concepts together."""
    words = [Concept(name, identifier(prior, kind, seed, name)) for name, kind in kinds.items()]
    with LowRank(prior, targets=KEYS_VALUES, rank=4, seed=seed) as weights:
        made = tune(
            prior, References.of(prior, images), words, lambda numbers: ([captions[int(one)] for one in numbers], None), steps=STEPS,
            word_rate=WORD_RATE, weights=weights, weight_rate=RATE, batch=BATCH, seed=seed,
        )  # fmt: skip
        return made.concepts, weights.arrays()


@torch.no_grad()
def drawn(prior: Prior, prompts: Sequence[str], words: Sequence[Concept], weights: dict[str, Tensor], seed: int) -> np.ndarray:
    """With the weights in effect."""
    with changed(prior, [weights] if weights else []):
        return prior.images(sample(prior, prior.encode(prompts, words), [seed * 10_000 + one for one in range(len(prompts))], steps=SAMPLING))


def generator(prior: Prior, world: ShapesWorld) -> dict[str, float]:
    """Of 500 scenes: the share that is inside, that does not overlap, and whose caption says what is there."""
    pair = _adapters.pairs_of(world, 0, 1)[0]
    shown = [_adapters.noisy(world, one, name, 4, seed=0) for name, one in zip(("<a>", "<b>"), pair, strict=True)]
    made: Composed = compose(prior, shown, 500, backgrounds=[f"on {one}" for one in BACKGROUNDS], repaint=False)
    kinds = {"<a>": pair[0].noun, "<b>": pair[1].noun}
    asked = parse(made.captions, kinds)
    middle = (made.boxes[:, :, :2] + made.boxes[:, :, 2:]) / 2
    first = np.array([int(text.index("<b>") < text.index("<a>")) for text in made.captions])
    rows = np.arange(len(first))
    apart = middle[rows, 1 - first] - middle[rows, first]
    holds = np.where(asked.relation == 0, apart[:, 1] >= 0, np.where(asked.relation == 2, apart[:, 0] >= 0, False))
    return {
        "inside": float(((made.boxes >= 0) & (made.boxes <= prior.size)).all((1, 2)).mean()),
        "apart": float((~made.masks.all(1).reshape(500, -1).any(1)).mean()),
        "captions": float((holds & (asked.background == np.arange(500) % len(BACKGROUNDS))).mean()),
    }
