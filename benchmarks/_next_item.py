"""How the next item is judged in `quality_sequence.py`: one true item each, the best 10 of the whole catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

VALIDATE_EVERY = 2
"""Epochs between validations, on every side."""


def ndcg(lists: list[list[Any]], truth: np.ndarray) -> np.ndarray:
    """Everybody's NDCG@10 of one true item."""
    return np.array([1 / np.log2(given.index(item) + 2) if item in given else 0.0 for given, item in zip(lists, truth.tolist(), strict=True)])


def metrics(lists: list[list[Any]], truth: np.ndarray) -> dict[str, float]:
    gains = ndcg(lists, truth)
    return {"hr@10": float((gains > 0).mean()), "ndcg@10": float(gains.mean())}


def judged(lists: list[list[Any]], truth: np.ndarray, file: Path) -> dict[str, float]:
    """The metrics of test, with the standard error over people; everybody's NDCG is kept."""
    gains = ndcg(lists, truth)
    np.save(file, gains)
    return {**metrics(lists, truth), "ndcg@10_stderr": float(gains.std() / np.sqrt(gains.size))}


def truth(part: Any, items: Any) -> tuple[list[Any], np.ndarray]:
    """People, and everybody's true item."""
    events = part.interactions(items=items)
    return events.people.ids.to_list(), events.items.array[events.indices]
