"""Does training over layers and widths together make an encoder that can be cut both ways, at no cost to the whole one?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from sartor.data.datasets import find
from sartor.evaluate.claim import Claim, Outcome
from sartor.parts.contrastive import CoSENT, PairLoss
from sartor.parts.nested import NestedDims
from sartor.parts.pair_sampler import PairSampler
from sartor.progress import bar
from sartor.represent.contrastive import ContrastiveTrainer
from sartor.represent.mse2d import MSE2D, spearman_grid
from sartor.represent.neural import NeuralEncoder
from sartor.represent.text import neural_encoder

CLAIM = Claim(
    slug="mse2d",
    paper="Sentence embeddings elastic in both depth and dimension, with STS quality above plain Matryoshka at reduced depth. No figure in "
    "the abstract.",
    passes="MiniLM (6 layers, 384 dimensions) fine-tuned for 160 steps on generated pairs of graded similarity; Spearman on 2,000 unseen pairs "
    "for every depth and width. Baselines with the same steps and pairs: (i) no Matryoshka, (ii) Matryoshka over widths alone. Means over 3 "
    "seeds: over layers 2 to 4 and 32, 64 and 128 dimensions >= (ii) + 0.03; the whole encoder within 0.01 of (i) or better; CPU seconds to "
    "encode with 3 layers <= 0.6 of those with 6.",
    data=("world-sentences", "stsbenchmark"),
    seeds=(0, 1, 2),
)

LAYERS = 6
DIMS = (16, 32, 64, 128, 256, 384)
STEPS, BATCH, RATE = 160, 8, 2e-4
TEST, SENTENCES = 2_000, 300
REAL_STEPS, REAL_PAIRS = 40, 300

NOUNS = """doctor physician medic; teacher tutor instructor; thief robber burglar; child kid youngster; soldier fighter warrior; king ruler monarch;
 writer author novelist; boss manager chief; singer vocalist crooner; lawyer attorney solicitor; sailor seaman mariner; friend pal buddy;
 farmer grower peasant; guest visitor caller; builder mason bricklayer; enemy foe opponent"""
VERBS = """helps assists aids; hits strikes beats; calls phones rings; loves adores cherishes; hates detests despises; teaches trains instructs;
 follows chases pursues; praises applauds commends; pays rewards compensates; fears dreads distrusts; finds discovers locates;
 tricks fools deceives"""
PLACES = "forest woods; street road; shop store; house home; sea ocean; hill slope; prison jail; city town"
WEIGHTS = np.array([0.3, 0.3, 0.25, 0.15])
"""Of who, does what, whom, where."""


def _synonyms(text: str) -> list[list[str]]:
    return [group.split() for group in text.split(";")]


class Sentences:
    """Who does what to whom and where, in words with synonyms; how alike two are is the weighted share of what they agree in."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 11])
        self.nouns, self.verbs, self.places = _synonyms(NOUNS), _synonyms(VERBS), _synonyms(PLACES)

    def meaning(self) -> tuple[int, ...]:
        who, whom = self.rng.choice(len(self.nouns), 2, replace=False)
        return int(who), int(self.rng.integers(len(self.verbs))), int(whom), int(self.rng.integers(len(self.places)))

    def say(self, meaning: tuple[int, ...]) -> str:
        words = (self.nouns, self.verbs, self.nouns, self.places)
        who, does, whom, where = (str(self.rng.choice(kind[at])) for kind, at in zip(words, meaning, strict=True))
        core = f"the {who} {does} the {whom}"
        return f"in the {where} {core}" if self.rng.random() < 0.5 else f"{core} in the {where}"

    def near(self, meaning: tuple[int, ...]) -> tuple[int, ...]:
        """Another meaning that shares some of it; now and then with the roles exchanged."""
        kept, other = self.rng.random(4) < self.rng.random(), self.meaning()
        made = [own if keep else new for own, new, keep in zip(meaning, other, kept, strict=True)]
        if self.rng.random() < 0.2:
            made[0], made[2] = meaning[2], meaning[0]
        return (*made,)

    def pairs(self, count: int, pool: Sequence[tuple[int, ...]]) -> tuple[list[str], list[str], np.ndarray]:
        """Each meaning of the pool with what is near it, said once each, over and over until there are `count` pairs."""
        beside = [self.near(one) for one in pool]
        said = [(self.say(one), self.say(other)) for one, other in zip(pool, beside, strict=True)]
        left, right, grades = [], [], []
        for at in range(count):
            # First the made pairs, then one half with another one's other half: most of these have little in common.
            one, other = at % len(pool), (at + at // len(pool)) % len(pool)
            left.append(said[one][0])
            right.append(said[other][1])
            grades.append(float(WEIGHTS[np.array(pool[one]) == np.array(beside[other])].sum()))
        return left, right, np.array(grades, np.float32)


def _train(arm: str, a: list[str], b: list[str], grades: np.ndarray, steps: int, seed: int) -> NeuralEncoder:
    """MiniLM, fine-tuned; word vectors stay, in every arm."""
    encoder = neural_encoder("minilm")
    more: dict[str, Any] = {"grades": grades, "parameters": [weight for layer in encoder.stack() for weight in layer.parameters()]}
    sampler = PairSampler(batch_size=BATCH, steps=steps)
    if arm == "2D":
        MSE2D(dims=DIMS, loss=CoSENT(), sampler=sampler, learning_rate=RATE, seed=seed).fit(encoder, a, b, **more)
    else:
        loss: PairLoss = CoSENT() if arm == "none" else NestedDims(CoSENT(), DIMS)
        ContrastiveTrainer(loss=loss, sampler=sampler, learning_rate=RATE, seed=seed).fit(encoder, a, b, **more)
    return encoder


ARMS = ("none", "widths", "2D")


def _generated(seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    world = Sentences(seed)
    # Far more than are used, so that what is tested means nothing that was trained on.
    pool = list(dict.fromkeys(world.meaning() for _ in range(2 * (STEPS * BATCH + SENTENCES))))
    a, b, grades = world.pairs(STEPS * BATCH, pool[: STEPS * BATCH])
    left, right, truth = world.pairs(TEST, pool[-SENTENCES:])
    seen = {*a, *b}
    fresh = [at for at in range(TEST) if left[at] not in seen and right[at] not in seen]
    left, right, truth = [left[at] for at in fresh], [right[at] for at in fresh], truth[fresh]
    grids, more = {}, {"unseen pairs": len(fresh)}
    for arm in ARMS:
        encoder = _train(arm, a, b, grades, STEPS, seed)
        grids[arm] = spearman_grid(encoder, left, right, truth, DIMS)
        if arm == "2D":
            more |= _costs(encoder, left) | _mixed(encoder, world, pool[-100:])
    return grids, more


def _costs(encoder: NeuralEncoder, texts: list[str]) -> dict[str, Any]:
    """CPU milliseconds per text at every depth: the least of interleaved rounds."""
    cut = {layers: encoder.cut(layers) for layers in range(1, LAYERS + 1)}
    spent: dict[int, list[float]] = {layers: [] for layers in cut}
    for _, (layers, one) in product(range(3), cut.items()):
        start = time.process_time()
        one.encode(texts[:64])
        spent[layers].append((time.process_time() - start) / 64 * 1000)
    return {"ms": [min(spent[layers]) for layers in cut]}


def _mixed(encoder: NeuralEncoder, world: Sentences, meanings: Sequence[tuple[int, ...]]) -> dict[str, float]:
    """How often the nearest of 100 sentences is the paraphrase, by the depths that index and queries were encoded with."""
    items, queries, own = [world.say(one) for one in meanings], [world.say(one) for one in meanings], np.arange(len(meanings))
    kept, asked = encoder.encode_layers(items), encoder.encode_layers(queries)
    return {
        f"found, query after {one} in an index after {other}": float((np.argmax(asked[one] @ kept[other].T, 1) == own).mean())
        for one, other in ((6, 6), (3, 3), (3, 6))
    }


def _real(seed: int) -> dict[str, Any]:
    """MiniLM on stsbenchmark: fine-tuned on its training pairs, Spearman on test pairs; and as published."""
    folder = find("stsbenchmark")

    def rows(part: str) -> tuple[list[str], list[str], np.ndarray]:
        fields = [line.split("\t") for line in (folder / f"sts-{part}.csv").read_text("utf-8").rstrip("\n").split("\n")]
        return [one[5] for one in fields], [one[6] for one in fields], np.array([float(one[4]) for one in fields], np.float32)

    rng = np.random.default_rng([seed, 12])
    a, b, grades = rows("train")
    used = rng.permutation(len(a))[: REAL_STEPS * BATCH]
    a, b, grades = [a[at] for at in used], [b[at] for at in used], grades[used]
    left, right, truth = rows("test")
    chosen = rng.permutation(len(left))[:REAL_PAIRS]
    left, right, truth = [left[at] for at in chosen], [right[at] for at in chosen], truth[chosen]
    out: dict[str, Any] = {"as published": spearman_grid(neural_encoder("minilm"), left, right, truth, DIMS)}
    for arm in ARMS:
        out[arm] = spearman_grid(_train(arm, a, b, grades, REAL_STEPS, seed), left, right, truth, DIMS)
    return out


def _table(grid: np.ndarray, dims: Sequence[int]) -> dict[str, dict[str, float]]:
    return {f"{layer} layers": {str(dim): round(float(grid[layer, at]), 4) for at, dim in enumerate(dims)} for layer in range(1, len(grid))}


def _front(grid: np.ndarray, ms: np.ndarray) -> list[dict[str, float]]:
    """Cuts that no other one beats in milliseconds, bytes (float16) and Spearman at once."""
    every = [(ms[layer - 1], 2 * dim, grid[layer, at], layer, dim) for layer in range(1, LAYERS + 1) for at, dim in enumerate(DIMS)]
    best = [one for one in every if not any(o[0] <= one[0] and o[1] <= one[1] and o[2] >= one[2] and o[:3] != one[:3] for o in every)]
    return [{"layers": layer, "dim": dim, "ms": round(float(m), 4), "bytes": size, "spearman": round(float(s), 4)} for m, size, s, layer, dim in best]


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Every arm and seed on generated pairs; the first seed on real text too."""
    torch.set_num_threads(1)
    grids: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    more: list[dict[str, Any]] = []
    with bar("mse2d", len(seeds) + 1, enabled=progress) as step:
        for seed in seeds:
            found, beside = _generated(seed)
            for arm in ARMS:
                grids[arm].append(found[arm])
            more.append(beside)
            step.advance()
        real = _real(seeds[0])
        step.advance()
    mean = {arm: np.mean(grids[arm], 0) for arm in ARMS}
    middle = {arm: [float(grid[2:5, 1:4].mean()) for grid in grids[arm]] for arm in ARMS}
    whole = {arm: [float(grid[-1, -1]) for grid in grids[arm]] for arm in ARMS}
    ms = np.mean([one["ms"] for one in more], 0)
    average = {arm: (float(np.mean(middle[arm])), float(np.mean(whole[arm]))) for arm in ARMS}
    conditions = {
        "layers 2-4 x 32, 64, 128: >= widths alone + 0.03": average["2D"][0] >= average["widths"][0] + 0.03,
        "whole: within 0.01 of no Matryoshka": average["2D"][1] >= average["none"][1] - 0.01,
        "3 layers: <= 0.6 of the CPU time of 6": bool(ms[2] <= 0.6 * ms[5]),
    }

    def on_real(arm: str) -> dict[str, Any]:
        grid = real[arm]
        return {"layers 2-4 x 32, 64, 128": float(grid[2:5, 1:4].mean()), "whole": float(grid[-1, -1]), "spearman": _table(grid, DIMS)}

    def told(arm: str) -> dict[str, Any]:
        return {
            "layers 2-4 x 32, 64, 128": {"mean": average[arm][0], "by seed": middle[arm]},
            "whole": {"mean": average[arm][1], "by seed": whole[arm]}, "spearman": _table(mean[arm], DIMS), "stsbenchmark": on_real(arm),
        }  # fmt: skip

    return Outcome(
        passed=all(conditions.values()),
        measured={
            **told("2D"), "ms per text by layers": ms.tolist(), "3 layers / 6 layers": float(ms[2] / ms[5]), "Pareto front": _front(mean["2D"], ms),
            "paraphrase found": {name: float(np.mean([one[name] for one in more])) for name in more[0] if name.startswith("found")},
            "unseen pairs": [one["unseen pairs"] for one in more], "conditions": conditions,
        },
        baseline={
            "no Matryoshka": told("none"), "widths alone": told("widths"),
            "MiniLM as published, stsbenchmark": on_real("as published"),
        },
        state_bytes=2.0 * DIMS[-1],
        why_null="An encoder is the same for everybody: gain and swap gap belong to what is built on it. A person's vector is a mean of text "
        "vectors, kept at the full width as float16.",
        notes=f"Base loss CoSENT in all arms. stsbenchmark is reported, not judged: MiniLM, first seed, {REAL_STEPS} steps of {BATCH} pairs, "
        f"{REAL_PAIRS} test pairs. One thread.",
    )  # fmt: skip
