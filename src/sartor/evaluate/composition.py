"""Several concepts in one picture: is every one there and right, and is the picture what the text says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from sartor.data.world.shapes.reader import likeness, read
from sartor.data.world.shapes.sprites import Subject
from sartor.data.world.shapes.words import parse
from sartor.data.world.shapes.world import ShapesWorld
from sartor.draw._shown import spell
from sartor.errors import ConfigError
from sartor.evaluate.pictures import grade, strangers

Detect = Callable[[np.ndarray, Sequence[str]], Sequence["np.ndarray | None"]]
"""(picture uint8 [H, W, 3], class words) -> for each a box (top, left, bottom, right), or None where there is none."""
Alike = Callable[[np.ndarray, np.ndarray], float]
"""(crop, references [n, H, W, 3]) -> how alike, at most 1."""
Says = Callable[[np.ndarray, str], float]
"""(picture, text) -> how well the text says it."""


def cp_clip(pictures: np.ndarray, concepts: Mapping[str, np.ndarray], classes: Mapping[str, str], detect: Detect, alike: Alike) -> np.ndarray:
    """float64 [n], composition and personalisation: each concept is looked for, and what is found is compared with its references; the mean over all
    concepts, in which one that is not found counts 0.

    Source: Yeh et al., Gen4Gen, BMVC 2025 (CP-CLIP, with CLIP and an open-vocabulary detector). `concepts`: name -> its references.
    """
    if not concepts:
        raise ConfigError("there are no concepts", fix="give at least one")
    out = np.zeros(len(pictures))
    for row, picture in enumerate(pictures):
        boxes = detect(picture, [classes[name] for name in concepts])
        for box, references in zip(boxes, concepts.values(), strict=True):
            if box is not None:
                top, left, bottom, right = (int(value) for value in box)
                out[row] += alike(picture[top:bottom, left:right], references) / len(concepts)
    return out


def ti_clip(pictures: np.ndarray, prompts: Sequence[str], classes: Mapping[str, str], says: Says) -> np.ndarray:
    """float64 [n], text and image: how well the prompt, with class words in the places of learned ones, says the picture. Ask for backgrounds that
    training did not have: who copies its scenes is seen by it (TI-CLIP, same source)."""
    texts = [spell(prompt, classes, (), says_class=False) for prompt in prompts]
    return np.array([says(picture, text) for picture, text in zip(pictures, texts, strict=True)])


def composition_score(pictures: np.ndarray, subjects: Sequence[Subject], world: ShapesWorld) -> np.ndarray:
    """float64 [n], the same of the shapes world, exactly: every subject gets an object of the picture of its own, those that make the sum of subject
    scores largest; one without object, or less alike than a stranger, counts 0."""
    there = read(pictures).noun >= 0
    scores = np.stack([likeness(pictures, one, strangers(world, one)) for one in subjects], 1).clip(0, 1)
    scores = np.where(there[:, None], scores, 0.0)
    out = np.zeros(len(pictures))
    for row, own in enumerate(scores):
        out[row] = own[linear_sum_assignment(own, maximize=True)].sum() / len(subjects)
    return out


def text_score(pictures: np.ndarray, prompts: Sequence[str], classes: Mapping[str, str]) -> np.ndarray:
    """float64 [n]: the share of what a prompt says of background and relation that its picture shows, exactly."""
    graded = grade(read(pictures), parse(prompts, classes))
    names = ("background", "relation")
    asked = np.stack([graded.asked[name] for name in names])
    right = np.stack([graded.right[name] for name in names]) & asked
    return np.asarray(right.sum(0) / np.maximum(1, asked.sum(0)), np.float64)
