"""How well candidates fit what a person likes and dislikes: the sign that a vector does not show, put back in.

For each candidate: its cosine with the nearest thing she likes, less its cosine with the nearest thing she dislikes. "I avoid leather" pushes
leather bags down, where the plain cosine of the sentence pulls them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sartor.represent.text import TextEncoder, uncached
from sartor.write.memory.polarity import Aspect, aspects
from sartor.write.memory.records import Memory


@dataclass(frozen=True)
class Agreement:
    """Scores of candidates, higher is better, and where they come from."""

    scores: np.ndarray
    """float32 [candidates]."""
    liked: np.ndarray
    """float32 [candidates], cosine with the nearest liked thing times its force; 0 when nothing is liked."""
    disliked: np.ndarray
    """float32 [candidates], the same of disliked things."""
    asked: np.ndarray
    """float32 [candidates], cosine with what was asked."""


def agreement(
    candidates: Sequence[str], memories: Sequence[Memory | str], encoder: TextEncoder, *, question: str | None = None, asked: float = 0.25
) -> Agreement:
    """Score candidates by likes and dislikes.

    Parameters
    ----------
    memories: the person's, or plain sentences of hers. Those without a sign count nothing.
    question: what the candidates answer; `asked` is the weight of their cosine with it (set on half of PrefEval's topics).
    """
    encoder = uncached(encoder)
    found = [aspect for one in memories for aspect in _signed(one)]
    texts = [*candidates, *(one.phrase for one in found), *([question] if question else [])]
    vectors = encoder.encode(texts) if texts else np.empty((0, encoder.dim), np.float32)
    options, things = vectors[: len(candidates)], vectors[len(candidates) : len(candidates) + len(found)]
    force = np.array([one.polarity for one in found], np.float32)
    near = options @ things.T * np.abs(force)
    liked, disliked = (_nearest(near[:, force > 0]), _nearest(near[:, force < 0]))
    close = options @ vectors[-1] if question else np.zeros(len(options), np.float32)
    return Agreement(liked - disliked + asked * close, liked, disliked, close)


def _signed(one: Memory | str) -> list[Aspect]:
    if isinstance(one, str):
        return aspects(one)
    if one.subject is not None and one.polarity:
        phrase = one.subject if one.value is None else f"{one.subject} {one.value}"
        return [Aspect(phrase, one.polarity)]
    return aspects(one.text)


def _nearest(near: np.ndarray) -> np.ndarray:
    return near.max(axis=1) if near.shape[1] else np.zeros(len(near), np.float32)
