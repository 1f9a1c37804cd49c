"""What the checks of zone-of-tolerance and wireless-allocation share: a population that is learned from, and people of a cell who were not in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from sartor.data.population import Evidence, Population
from sartor.data.world.allocation import Allocation
from sartor.decide.zone_of_tolerance import ZoneOfTolerance
from sartor.method import State

PEOPLE, EACH = 40, 25
OTHERS = 1_000
"""Added to a seed: people whom the population's model is learned from."""


@dataclass(frozen=True)
class Cell:
    """One generated cell."""

    world: Allocation
    model: ZoneOfTolerance
    states: dict[Any, State]
    """Of its people, from their own ratings."""


def cell(seed: int) -> Cell:
    """People with states, and a population's model that has not seen them."""
    world, others = Allocation(people=PEOPLE, seed=seed), Allocation(people=PEOPLE, seed=seed + OTHERS)
    model = ZoneOfTolerance(seed=seed).fit(Population.from_frames(events=others.ratings(EACH)), progress=False)
    return Cell(world, model, model.adapt_all(Population.from_frames(events=world.ratings(EACH))))


def evidence(ratings: pl.DataFrame, person: int, rows: int | None = None) -> Evidence:
    """One person's ratings, the first few of them."""
    own = ratings.filter(pl.col("person") == person)
    return Evidence({"events": own if rows is None else own.head(rows)}, person=person)
