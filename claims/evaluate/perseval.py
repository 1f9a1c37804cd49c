"""Does PerSEval put personal and right before personal and wrong, and before impersonal?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from sartor.evaluate import text
from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.perseval import Document, perseval, stability
from sartor.parts.statistics import bootstrap
from sartor.progress import bar

CLAIM = Claim(
    slug="perseval",
    paper="On PENS with 10 summarisers: correlation with human judgement Pearson 0.73, Spearman 0.62, Kendall 0.42; high rank stability; not implied "
    "by EGISES; usable without a separate accuracy leaderboard.",
    passes="Generated articles of 12 aspects; each of 12 people's gold summary has her 3 aspects. In every seed and for the distances jsd and "
    "rouge-l: oracle >= 0.95; the same summary for all has DEGRESS <= 0.05; different but wrong outputs have a high DEGRESS (each person's summary "
    "of another article at least 0.8 x the oracle's; random wrong aspects no less than half right ones less 0.03), yet a PerSEval below that of a "
    "personalised system with half of its aspects wrong; PerSEval falls at every step of error 0, 10, 30, 50%; on 40% of the pairs, ten draws, "
    "the order of the five systems has a mean Kendall tau >= 0.9 with the order on all pairs.",
    data=("world-articles",),
    seeds=(0, 1, 2),
)

ASPECTS, PEOPLE, DOCUMENTS, TASTES, WORDS = 12, 12, 25, 3, 5
DISTANCES = ("jsd", "rouge-l")
ERRORS = (0.1, 0.3, 0.5)


def _articles(seed: int) -> dict[str, list[Document]]:
    """System -> documents with its outputs; the articles, people and golds are the same for all."""
    rng = np.random.default_rng([seed, 9])
    tastes = np.array([rng.permutation(ASPECTS)[:TASTES] for _ in range(PEOPLE)])
    # Aspects change places in a circle, so that none stays.
    circle = rng.permutation(ASPECTS)
    exchanged = np.empty(ASPECTS, np.int64)
    exchanged[circle] = np.roll(circle, 1)
    systems: dict[str, list[Document]] = {}
    for number in range(DOCUMENTS):
        sentences = [" ".join(f"d{number}a{aspect}w{word}" for word in range(WORDS)) for aspect in range(ASPECTS)]

        def summary(aspects: np.ndarray, sentences: list[str] = sentences) -> str:
            return " ".join(sentences[aspect] for aspect in sorted(aspects))

        gold: dict[Any, str] = {person: summary(own) for person, own in enumerate(tastes)}
        elsewhere = [sentence.replace(f"d{number}a", f"d{number + 1}a") for sentence in sentences]
        outputs: dict[str, dict[Any, str]] = {
            "oracle": gold,
            "of another article": {person: summary(own, elsewhere) for person, own in enumerate(tastes)},
            "same for all": dict.fromkeys(gold, summary(rng.permutation(ASPECTS)[:TASTES])),
            "different but wrong": {
                person: summary(rng.permutation(np.setdiff1d(np.arange(ASPECTS), own))[:TASTES]) for person, own in enumerate(tastes)
            },
            "mirrored": {person: summary(exchanged[own]) for person, own in enumerate(tastes)},
            "of somebody else": {person: gold[(person + 1) % PEOPLE] for person in gold},
        }
        for error in ERRORS:
            outputs[f"{error:.0%} errors"] = {person: summary(_slips(own, error, rng)) for person, own in enumerate(tastes)}
        for name, given in outputs.items():
            systems.setdefault(name, []).append(Document(" ".join(sentences), gold, given))
    return systems


def _slips(own: np.ndarray, error: float, rng: np.random.Generator) -> np.ndarray:
    """Some of the person's aspects exchanged for others."""
    others = rng.permutation(np.setdiff1d(np.arange(ASPECTS), own))[: own.size]
    return np.where(rng.random(own.size) < error, others, own)


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Every system, distance and seed."""
    found: dict[str, dict[str, Any]] = {}
    conditions: dict[str, bool] = {}
    gaps = []
    with bar("perseval", len(seeds) * len(DISTANCES), enabled=progress) as shown:
        for seed in seeds:
            systems = _articles(seed)
            for distance in DISTANCES:
                # Texts are looked at many times; their distances need to be measured once.
                measure = cache(text.DISTANCES[distance])
                scores = {name: perseval(documents, distance=measure) for name, documents in systems.items()}
                five = ["oracle", "same for all", "different but wrong", "of somebody else", "50% errors"]
                whole = [scores[name].perseval for name in five]
                taus = [
                    kendalltau(
                        whole, [perseval(systems[name], distance=measure, share=0.4, seed=draw, resamples=200).perseval for name in five]
                    ).statistic
                    for draw in range(10)
                ]
                steps = [scores["oracle"].perseval, *(scores[f"{error:.0%} errors"].perseval for error in ERRORS)]
                wrong, half, elsewhere = scores["different but wrong"], scores["50% errors"], scores["of another article"]
                here = {
                    "oracle >= 0.95": scores["oracle"].perseval >= 0.95,
                    "the same for all: DEGRESS <= 0.05": scores["same for all"].degress <= 0.05,
                    "of another article: DEGRESS >= 0.8 x the oracle's": elsewhere.degress >= 0.8 * scores["oracle"].degress,
                    "different but wrong: DEGRESS >= half right - 0.03": wrong.degress >= half.degress - 0.03,
                    "both: PerSEval below half right": max(wrong.perseval, elsewhere.perseval) < half.perseval,
                    "falls with every step of error": bool(np.all(np.diff(steps) < 0)),
                    "mean tau on 40% of the pairs >= 0.9": float(np.mean(taus)) >= 0.9,
                }
                for name, holds in here.items():
                    conditions[name] = conditions.get(name, True) and bool(holds)
                found[f"{distance}, seed {seed}"] = {
                    "systems": {
                        name: {"perseval": one.perseval, "degress": one.degress, "edp": one.edp, "distance": one.accuracy_distance}
                        for name, one in scores.items()
                    },
                    "mean tau on 40% of the pairs": float(np.mean(taus)),
                    "bias and variance on 40%": stability(systems["50% errors"], shares=(0.4,), distance=measure)[0.4],
                }
                gaps.append(half.per_document - wrong.per_document)
                shown.advance(note=f"{distance}, seed {seed}")
    gap = np.concatenate(gaps)
    return Outcome(
        passed=all(conditions.values()),
        measured={
            "runs": found,
            "conditions": conditions,
            "half right less different but wrong": float(gap.mean()),
            "interval": bootstrap(gap).tolist(),
        },
        baseline={"degress alone": {run: {name: one["degress"] for name, one in facts["systems"].items()} for run, facts in found.items()}},
        why_null="a measure: it keeps no state of anybody",
        notes="The baseline is responsiveness alone (DEGRESS), which cannot tell a wrong difference from a right one. "
        "Outputs in which every aspect is exchanged for another (mirrored), and which by chance are partly right, score above those with half of "
        "their aspects wrong: the discount is relative to a document's best output. No human judgements here: "
        "the paper's correlations were not measured.",
    )
