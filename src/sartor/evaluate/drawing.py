"""Methods that learn a thing from a few pictures, on the shapes world: the very subject, what the prompt says, whose state it is, and its cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sartor.data.world.shapes.prompts import Prompts, concept_prompts
from sartor.data.world.shapes.reader import read
from sartor.data.world.shapes.sprites import Subject
from sartor.data.world.shapes.words import parse
from sartor.data.world.shapes.world import ShapesWorld
from sartor.draw._base import ConceptMethod
from sartor.draw._shown import Shown
from sartor.errors import ConfigError
from sartor.evaluate.pictures import copy_score, grade, strangers, subject_score
from sartor.method import State

NAME = "<v>"
VERY = 0.5
"""A picture with a subject score above this shows the very subject."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What one method did with one subject."""

    figures: dict[str, float]
    """See `concepts`."""
    pictures: np.ndarray
    """uint8 [prompts, H, W, 3], own state."""
    population: np.ndarray
    """The same prompts and seeds without a state."""
    state: State
    subject: Subject
    references: np.ndarray
    record: Mapping[str, Any] = field(default_factory=dict)


def shown(world: ShapesWorld, subject: Subject, *, count: int = 4, seed: int = 0) -> Shown:
    """What a person hands over of a subject, with exact masks."""
    scenes = world.references(subject, count, seed=seed)
    return Shown(name=NAME, class_word=subject.noun, images=scenes.render(), masks=scenes.masks())


def score(world: ShapesWorld, pictures: np.ndarray, prompts: Prompts, subject: Subject) -> dict[str, float]:
    """subject: mean score, very: share above 0.5; prompt: share of what was asked that is right, all: everything at once right; edit, edit_all: the
    same of the prompts that ask for what no reference shows; joint: the very subject and everything right, which copying cannot reach."""
    seen = read(pictures)
    graded = grade(seen, parse(prompts.texts, {NAME: subject.noun}))
    own = subject_score(pictures, subject, strangers(world, subject), seen)
    asked, right = (np.stack([part[name] for name in graded.right]) for part in (graded.asked, graded.right))
    whole, edits = graded.joint, np.asarray(prompts.edits)

    def share(rows: np.ndarray) -> float:
        return float((right & asked)[:, rows].sum() / max(1, asked[:, rows].sum()))

    return {
        "subject": float(own.mean()), "very": float((own > VERY).mean()), "prompt": share(np.ones(len(whole), bool)), "all": float(whole.mean()),
        "edit": share(edits), "edit_all": float(whole[edits].mean()) if edits.any() else 0.0, "joint": float(((own > VERY) & whole).mean()),
    }  # fmt: skip


def concepts(
    method: ConceptMethod, world: ShapesWorld, subjects: Sequence[Subject], *, references: int = 4, prompts: Prompts | None = None, seed: int = 0,
    teach: Callable[[ConceptMethod, Shown, int], State] | None = None, kept: dict[Any, np.ndarray] | None = None, **options: Any,
) -> list[Measured]:  # fmt: skip
    """Teach each subject, draw the prompts, and judge by exact metrics.

    Figures: those of `score`; population_subject (no state), gain; swapped (another subject of the class in the place of this one), swap_gap, NaN
    without another of the class; copy; bytes; adapt_seconds and draw_seconds, of CPU.

    Parameters
    ----------
    method: fitted.
    seed: of the references, of learning, and of the noise.
    teach: how a state is made; `method.learn` by default.
    kept: the population's pictures, by class and seed, shared by methods that stand on one prior.
    options: for `method.draw`.
    """
    if not subjects:
        raise ConfigError("there are no subjects", fix="give at least one")
    prompts = prompts or concept_prompts(NAME)
    seeds = [seed * 10_000 + number for number in range(len(prompts.texts))]
    kept = {} if kept is None else kept
    made: list[Measured] = []
    for subject in subjects:
        own = shown(world, subject, count=references, seed=seed)
        before = time.process_time()
        state = method.learn(own, seed=seed) if teach is None else teach(method, own, seed)
        learned = time.process_time()
        pictures = method.draw(prompts.texts, [state] * len(seeds), seeds=seeds, **options)
        drawn = time.process_time()
        key = (method.prior_fingerprint_, method.guidance, method.sampling_steps, subject.noun, tuple(prompts.texts), seed)
        if key not in kept:
            kept[key] = method.draw(prompts.texts, [None] * len(seeds), seeds=seeds, classes={NAME: subject.noun})
        figures = score(world, pictures, prompts, subject) | {
            "bytes": float(state.nbytes), "adapt_seconds": learned - before, "draw_seconds": (drawn - learned) / len(seeds),
        }  # fmt: skip
        record = state.notes["concepts"][NAME]["record"] if "concepts" in state.notes else {}
        made.append(Measured(figures, pictures, kept[key], state, subject, own.images, record))
    for number, one in enumerate(made):
        known = strangers(world, one.subject)
        one.figures["population_subject"] = float(subject_score(one.population, one.subject, known).mean())
        one.figures["gain"] = one.figures["subject"] - one.figures["population_subject"]
        others = [other for other in (*made[number + 1 :], *made[:number]) if other.subject.noun == one.subject.noun]
        one.figures["swapped"] = float(subject_score(others[0].pictures, one.subject, known).mean()) if others else float("nan")
        one.figures["swap_gap"] = one.figures["subject"] - one.figures["swapped"]
        one.figures["copy"] = copy_score(one.pictures, one.references, others[0].references) if others else float("nan")
    return made


def mean(measured: Sequence[Measured]) -> dict[str, float]:
    """Of each figure over subjects."""
    return {name: float(np.nanmean([one.figures[name] for one in measured])) for name in measured[0].figures}


def pasted(
    world: ShapesWorld, subjects: Sequence[Subject], *, references: int = 4, prompts: Prompts | None = None, seed: int = 0
) -> dict[str, float]:
    """The control that copying is judged by: a reference picture as the answer to every prompt."""
    prompts = prompts or concept_prompts(NAME)
    rows = []
    for subject in subjects:
        pictures = shown(world, subject, count=references, seed=seed).images
        rows.append(score(world, pictures[np.arange(len(prompts.texts)) % len(pictures)], prompts, subject))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
