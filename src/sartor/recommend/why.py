"""Why an item is recommended: which things of a person's own history moved it up, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.data.ids import IdMap
from sartor.data.interactions import Interactions
from sartor.errors import ConfigError

if TYPE_CHECKING:
    from sartor.method import State
    from sartor.recommend._base import ItemRecommender

EVENTS_AT_ONCE = 2_000_000
"""Events encoded in one batch (some 60 MB): a history of n things makes n shortened histories."""


@dataclass(frozen=True)
class Reason:
    """One thing of a person's history, and what the recommended item would lose without it."""

    item: Any
    """Id of the thing in the history."""
    contribution: float
    """Score of the recommended item with the whole history minus its score without this thing; in the method's own scale."""
    events: int
    """How many events of the history are with this thing; they are taken out together."""


def why(method: ItemRecommender, state: State, item: Any, top: int = 3) -> list[Reason]:
    """The things of a person's own history that move an item up most, strongest first; fewer than `top`, or none, when fewer do.

    Each distinct thing is taken out of the history in turn, the shortened histories are encoded and scored as one batch, and the
    difference is the reason. This is exact for any recommender, since nothing is read off its weights; contributions of things that
    stand in for each other are each small, because leaving out one leaves the other. It costs one `adapt` per distinct thing.

    Raises `StateMismatch` for a state of another model, `UnknownId` for an item outside the catalogue.
    """
    if top < 1:
        raise ConfigError(f"top is {top}", fix="ask for at least 1 reason")
    method.check_state(state)
    things, counts, moved = contributions(method, state, method._known([item]))
    return strongest(method, things, counts, moved[:, 0], top)


def contributions(method: ItemRecommender, state: State, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What every distinct thing of a history does to the scores of some items.

    Returns the things' item numbers int32 [things], how many events of the history each has, and float64 [things, wanted]: the scores of the
    wanted items (numbers) with the whole history less those without the thing.
    """
    things, which, counts = np.unique(state["items"], return_inverse=True, return_counts=True)
    step = max(1, EVENTS_AT_ONCE // max(1, state["items"].size))
    parts = [np.empty((0, wanted.size))]
    for start in range(0, things.size, step):
        # The whole history goes along in every batch, so that both sides of a difference are made in the same way.
        scores = _scores(method, state, which, np.concatenate([[-1], np.arange(start, min(start + step, things.size))]), wanted)
        parts.append(scores[0] - scores[1:])
    return things, counts, np.concatenate(parts)


def strongest(method: ItemRecommender, things: np.ndarray, counts: np.ndarray, moved: np.ndarray, top: int) -> list[Reason]:
    """The things that move one item up most, from a column of `contributions`."""
    order = np.argsort(-moved, kind="stable")[:top]
    ids = method.items_.array[things]
    return [Reason(ids[row], float(moved[row]), int(counts[row])) for row in order if moved[row] > 0]


def _scores(method: ItemRecommender, state: State, which: np.ndarray, left_out: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """float64 [left out, wanted]: one row for each history without the thing of that number (-1: the whole history)."""
    keep = which[None, :] != left_out[:, None]
    rows, events = np.nonzero(keep)
    indptr = np.concatenate([[0], np.cumsum(keep.sum(axis=1))]).astype(np.int64)
    filler = {"values": np.float32(np.nan), "weights": np.float32(1), "times": np.int64(0)}

    def column(name: str) -> np.ndarray:
        return state[name][events] if name in state.arrays else np.full(rows.size, filler[name])

    people = IdMap(np.arange(left_out.size), name="history")
    histories = Interactions(people, method.items_, indptr, state["items"][events], column("values"), column("weights"), column("times"))
    states = list(method._states(histories, [None] * left_out.size, histories.lengths.tolist(), 0))
    return np.asarray(method._score(states, wanted), np.float64)
