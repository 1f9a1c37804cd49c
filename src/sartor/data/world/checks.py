"""Whether the switches of a world are possible, each by itself and together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sartor.data.world.behaviour import NOISE
from sartor.data.world.vocabulary import MOST_TOPICS, SHOPS
from sartor.errors import ConfigError

if TYPE_CHECKING:
    from sartor.data.world.world import World

SPLIT = {"random": 0.3, "popular": 0.3, "gift": 0.2, "exploration": 0.2}
"""Causes of noise where only its total is given."""
USUAL_TOPICS = 40
MOST_EVENTS = 600_000.0
"""Events per person, on average: 25 times as many is the most that a person's random numbers are made for."""


def noise_shares(noise: float | Mapping[str, float]) -> tuple[float, float, float, float]:
    """Shares of all events, in the order of `NOISE`."""
    given = noise if isinstance(noise, Mapping) else {name: noise * part for name, part in SPLIT.items()}
    first, second, third, fourth = (float(given.get(name, 0.0)) for name in NOISE)
    return first, second, third, fourth


def topic_count(world: World) -> int:
    """How many topics there are: as asked, or 40, or as many as the catalogue has room for with two items each."""
    return world.topics if world.topics is not None else max(1, min(USUAL_TOPICS, world.items // (2 * world.shops)))


def check(world: World) -> None:
    """Raise `ConfigError` for the first switch that is out of range or does not fit another."""
    _whole(world.people, "people", 1, 2**39)
    _whole(world.items, "items", 1, 2**20)
    _whole(world.shops, "shops", 1, len(SHOPS))
    topics = topic_count(world)
    _whole(topics, "topics", 1, MOST_TOPICS)
    _whole(world.preferences, "preferences", 0, 10_000)
    _whole(world.days, "days", 1, 10_000)
    _whole(world.seed, "seed", 0, 2**63 - 1)
    for name in ("interest_correlation", "drift", "hidden_positives", "cold_items", "group_lean", "mission", "chain", "field_correlation", "reviews"):
        _between(getattr(world, name), name, 0.0, 1.0)
    for name in ("hidden_positives", "cold_items"):
        _between(getattr(world, name), name, 0.0, 0.95)
    _between(world.popularity_bias, "popularity_bias", 0.0, 5.0)
    _between(world.events_per_person, "events_per_person", 1.0, MOST_EVENTS)
    _between(world.session_length, "session_length", 1.0, 10_000.0)
    if not world.activity_exponent > 1:
        raise ConfigError(f"activity_exponent is {world.activity_exponent}", fix="give more than 1; float('inf') makes everybody equally active")
    if not (isinstance(world.interests, tuple) and len(world.interests) == 2 and all(isinstance(n, int) for n in world.interests)):
        raise ConfigError(f"interests is {world.interests!r}", fix="give the fewest and the most, such as (2, 6)")
    low, high = world.interests
    if not 1 <= low <= high <= topics:
        raise ConfigError(f"interests is {world.interests} of {topics} topics", fix="give 1 <= fewest <= most <= topics")
    if (needed := 2 * topics * world.shops) > world.items:
        fix = f"give at least {needed} items, or at most {max(1, world.items // (2 * world.shops))} topics"
        raise ConfigError(f"{world.items} items are too few for {topics} topics in {world.shops} shops, two each", fix=fix)
    _noise(world.noise)
    _groups(world, topics)


def _noise(noise: float | Mapping[str, float]) -> None:
    if isinstance(noise, Mapping) and (unknown := sorted(set(noise) - set(NOISE))):
        raise ConfigError(f"noise has unknown causes {unknown}", fix=f"causes are {', '.join(NOISE)}")
    for name, share in noise.items() if isinstance(noise, Mapping) else [("in all", noise)]:
        _between(share, f"noise ({name})", 0.0, 1.0)
    if sum(noise_shares(noise)) > 1 + 1e-9:
        raise ConfigError(f"noise is {noise}", fix="the shares are together at most 1")


def _groups(world: World, topics: int) -> None:
    if isinstance(world.groups, int):
        _whole(world.groups, "groups", 1, min(100, topics))
        return
    numbers = isinstance(world.groups, Sequence) and all(isinstance(share, int | float) for share in world.groups)
    shares = np.asarray(world.groups, float) if numbers else np.empty(0)
    if shares.ndim != 1 or not 1 <= shares.size <= min(100, topics) or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise ConfigError(f"groups is {world.groups!r}", fix="give their number, or their positive shares that sum to 1, no more than topics")


def _whole(value: object, name: str, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}", fix=f"give a whole number from {low:,} to {high:,}")


def _between(value: object, name: str, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}", fix=f"give a number from {low:g} to {high:g}")
