"""What people choose when they have to choose between two."""

from __future__ import annotations

import numpy as np
import polars as pl

from sartor.data.world.behaviour import COLD_FROM, DAY, START
from sartor.data.world.catalogue import Catalogue
from sartor.data.world.draws import Draws, address
from sartor.data.world.taste import Tastes

SHARPNESS = 12.0
"""Of the Bradley-Terry choice: P(first chosen) = sigmoid(SHARPNESS * (affinity of the first - affinity of the second))."""
QUESTIONS = ("Which of these would you rather have?", "One of these two, please: which?", "Only room for one more. Which one?")


def preferences(draws: Draws, tastes: Tastes, catalogue: Catalogue, pairs: int, days: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`pairs` choices of every person, and their truth.

    Returns the frame (person, prompt, chosen, rejected, time) and the truth, row by row (person, chosen_affinity, rejected_affinity,
    chance: of choosing as she did). One of the two items is usually near her taste, so that the choices say something.
    """
    people = tastes.people
    row = np.repeat(np.arange(people.size), pairs)
    where = address(people[row], np.tile(np.arange(pairs), people.size))
    age = draws.uniform("pair:time", where)
    shop = people[row] % catalogue.shops
    late = age >= COLD_FROM
    near = np.where(draws.uniform("pair:near", where) < 0.8, _own(draws, tastes, row, where), _any(draws, catalogue, "pair:left", where))
    left = _item(draws, catalogue, "pair:left-item", shop, near, late, where)
    right = _item(draws, catalogue, "pair:right-item", shop, _any(draws, catalogue, "pair:right", where), late, where)
    liking = [_affinity(tastes, catalogue, row, item, age) for item in (left, right)]
    chance = 1 / (1 + np.exp(-SHARPNESS * (liking[0] - liking[1])))
    first = draws.uniform("pair:choice", where) < chance
    keep = left != right
    chosen, rejected = np.where(first, left, right), np.where(first, right, left)
    question = (draws.uniform("pair:prompt", where) * len(QUESTIONS)).astype(np.int64)
    frame = pl.DataFrame(
        {
            "person": people[row],
            "prompt": pl.Series(QUESTIONS).gather(question),
            "chosen": pl.Series(chosen).cast(pl.String),
            "rejected": pl.Series(rejected).cast(pl.String),
            "time": START + (age * days * DAY).astype(np.int64),
        }
    )
    truth = pl.DataFrame(
        {
            "person": people[row],
            "chosen_affinity": np.where(first, liking[0], liking[1]).astype(np.float32),
            "rejected_affinity": np.where(first, liking[1], liking[0]).astype(np.float32),
            "chance": np.where(first, chance, 1 - chance).astype(np.float32),
        }
    )
    return frame.filter(keep), truth.filter(keep)


def _own(draws: Draws, tastes: Tastes, row: np.ndarray, where: np.ndarray) -> np.ndarray:
    """One of her own interests, each alike."""
    count = (tastes.interests >= 0).sum(axis=1)[row]
    return tastes.interests[row, (draws.uniform("pair:interest", where) * count).astype(np.int64)]


def _any(draws: Draws, catalogue: Catalogue, purpose: str, where: np.ndarray) -> np.ndarray:
    return (draws.uniform(purpose, where) * len(catalogue.topics)).astype(np.int64)


def _item(draws: Draws, catalogue: Catalogue, purpose: str, shop: np.ndarray, topic: np.ndarray, late: np.ndarray, where: np.ndarray) -> np.ndarray:
    rows, uniform = shop * len(catalogue.topics) + topic, draws.uniform(purpose, where)
    before, after = (shelf.draw(rows, uniform) for shelf in catalogue.shelves)
    return np.where(late, after, before).astype(np.int64)


def _affinity(tastes: Tastes, catalogue: Catalogue, row: np.ndarray, item: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Float64 [pairs], how much of the person's taste at that time the item serves."""

    def of(interests: np.ndarray, weights: np.ndarray, topic: np.ndarray) -> np.ndarray:
        return ((interests[row] == topic[:, None]) * weights[row]).sum(axis=1)

    share = catalogue.share[item]
    total = np.zeros(row.size)
    for part, interests, weights in (
        (1 - tastes.drift * age, tastes.interests, tastes.weights),
        (tastes.drift * age, tastes.later_interests, tastes.later_weights),
    ):
        total += part * (share * of(interests, weights, catalogue.topic[item]) + (1 - share) * of(interests, weights, catalogue.second[item]))
    return total
