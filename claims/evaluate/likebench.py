"""Does the benchmark tell remembering from being liked, and see who learns and who does not?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.likebench import (
    Assistant,
    LikeBenchResult,
    Oracle,
    ProfileBased,
    Remembering,
    Static,
    StyleLearner,
    likebench,
    personas,
)
from sartor.parts.statistics import paired
from sartor.progress import bar

CLAIM = Claim(
    slug="likebench",
    paper="Memory is not likability: DeepSeek R1 with memory accuracy 86% (17 facts a profile) beats Qwen3 (93%, 43 facts a profile) by 28% on "
    "likability; GPT-5 adapts in short exchanges but is not robust in longer, noisier ones.",
    passes="Rule users over the structured format, 60 personas x 6 sessions x 8 turns, 3 seeds. In every seed: the oracle (has the profile) >= 4.5; "
    "the style learner's likability is at least 20% above memory-only's, while memory-only's memory accuracy is higher; slope of the style learner "
    "over sessions > 0 with p < 0.01; 40% of noisy turns lower the profile-based score (paired over personas, p < 0.01). Over all seeds' personas "
    "the slope of the static assistant is not different from 0 (p >= 0.01).",
    data=("world-likebench",),
    seeds=(0, 1, 2),
)
PEOPLE, SESSIONS, TURNS, NOISE = 60, 6, 8, 0.4


def _seed(seed: int) -> dict[str, LikeBenchResult]:
    people = personas(PEOPLE, seed=seed)
    arms: dict[str, Callable[[int], Assistant]] = {
        "static": lambda _: Static(),
        "oracle": lambda number: Oracle(persona=people[number]),
        "memory-only": lambda _: Remembering(),
        "style-learner": lambda _: StyleLearner(),
        "profile-based": lambda _: ProfileBased(),
    }
    found = {name: likebench(make, people, sessions=SESSIONS, turns=TURNS, seed=seed) for name, make in arms.items()}
    return found | {"profile-based, noise": likebench(arms["profile-based"], people, sessions=SESSIONS, turns=TURNS, noise=NOISE, seed=seed)}


def _conditions(run: dict[str, LikeBenchResult]) -> dict[str, bool]:
    liked = {name: float(one.likability.mean()) for name, one in run.items()}
    remembers, learns = run["memory-only"], run["style-learner"]
    slope = learns.adaptability()["all"]
    noise = paired(run["profile-based, noise"].likability, run["profile-based"].likability)
    return {
        "oracle >= 4.5": liked["oracle"] >= 4.5,
        "style learner 20% above memory-only": liked["style-learner"] >= 1.2 * liked["memory-only"],
        "memory-only remembers more": float(np.nanmean(remembers.memory_accuracy)) > float(np.nanmean(learns.memory_accuracy)),
        "style learner's slope > 0": slope.slope > 0 and slope.p < 0.01,
        "noise lowers the profile-based score": noise.difference < 0 and noise.t_test < 0.01,
    }


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Every arm for every seed."""
    runs = []
    with bar("likebench", len(seeds), enabled=progress) as step:
        for seed in seeds:
            runs.append(_seed(seed))
            step.advance()
    by_seed = [_conditions(run) for run in runs]
    conditions = {name: all(one[name] for one in by_seed) for name in by_seed[0]}
    static = np.concatenate([run["static"].slopes() for run in runs])
    p = float(ttest_1samp(static, 0.0).pvalue)
    conditions["static assistant's slope is not different from 0"] = p >= 0.01
    arms: dict[str, Any] = {name: [run[name].to_dict() for run in runs] for name in runs[0]}
    return Outcome(
        passed=all(conditions.values()),
        measured={
            name: {key: [one[key] for one in arms[name]] for key in ("likability", "memory_accuracy", "facts", "bytes", "aspects")}
            | {"slope": [one["adaptability"]["all"] for one in arms[name]]}
            for name in arms
            if name not in ("static", "memory-only")
        }
        | {"static slope over all seeds": {"mean": float(static.mean()), "p": p, "personas": static.size}, "conditions": conditions},
        baseline={
            name: {key: [one[key] for one in arms[name]] for key in ("likability", "memory_accuracy", "facts", "aspects")}
            for name in ("static", "memory-only")
        },
        why_null="an instrument: what is measured is whether it sees what is known of the assistants; these have no personal state of a fitted model",
        notes="Scores are exact by rules over structured messages ('structured'): the check says nothing about language models, which the same code "
        "takes through any endpoint. Slopes are means over aspects of each persona's own, so that which aspects had a chance when does not matter.",
    )  # fmt: skip
