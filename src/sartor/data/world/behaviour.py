"""What people do: visits, missions inside visits, and events that come from their tastes, or by mistake.

All events of a batch of people are made at once. Inside a visit the wanted topic stays the same from one event to the next with probability
`mission`, and is drawn from the person's taste otherwise; while it stays, the next item comes from the next third-level category with
probability `chain`. Both moves keep the distribution of every single event exactly as the person's taste says: staying copies a topic that
was drawn from it, and a step to the next third of a shelf leaves a uniform number uniform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sartor.data.world.catalogue import Catalogue
from sartor.data.world.draws import Draws, address, pick, running_sums
from sartor.data.world.taste import Tastes
from sartor.data.world.vocabulary import SUBS

LABELS = ("taste", "random", "popular", "gift", "exploration")
"""Why an event happened: out of her taste; mis-click on any item; mis-click on a popular item; for somebody else; looking around."""
NOISE = LABELS[1:]
LABEL = pl.Enum(LABELS)

START = 1_704_067_200
"""The world begins on 2024-01-01 UTC."""
DAY = 86_400
JOINS = 0.5
"""People join at a uniform moment of this first part of the time."""
COLD_FROM = 0.8
"""Cold items appear at this part of the time."""
MOST_EVENTS = 25
"""Times the mean: where the power law of activity is cut."""
GAP = 3_600
"""Seconds at least between two visits."""
REDRAWS = 3
"""How often an item that the person has had before is drawn again, before the event is left out."""
EXPLORES = 4
"""How often a topic to look around in is drawn again while it is one of her own."""


@dataclass(frozen=True)
class Habits:
    """How people behave, beside what they like."""

    events_per_person: float
    activity_exponent: float
    session_length: float
    mission: float
    chain: float
    noise: tuple[float, float, float, float]
    """Shares of all events, in the order of `NOISE`."""
    hidden_positives: float
    repeats: bool
    days: int


@dataclass(frozen=True, eq=False)
class Events:
    """Events of a batch of people, ordered by person and time."""

    row: np.ndarray
    """int64 [events], row of the person in the batch."""
    slot: np.ndarray
    """int64 [events], number of the event in the person's life (with gaps where an event was left out)."""
    item: np.ndarray
    """int64 [events]."""
    time: np.ndarray
    """int64 [events], seconds since 1970 UTC."""
    session: np.ndarray
    """int64 [events]."""
    label: np.ndarray
    """int8 [events], number in `LABELS`."""
    topic: np.ndarray
    """int16 [events], the topic the event came from; -1 for mis-clicks."""
    hidden: np.ndarray
    """bool [events], true positives that nobody saw."""

    def __len__(self) -> int:
        return int(self.row.size)

    def only(self, keep: np.ndarray) -> Events:
        return Events(**{name: values[keep] for name, values in vars(self).items()})


def counts(draws: Draws, habits: Habits, people: np.ndarray) -> np.ndarray:
    """int64 [people], events per person: a power law P(more than n) ~ n ** -activity_exponent, cut, with the asked mean."""
    uniform, mean = draws.uniform("activity", address(people)), habits.events_per_person
    exact = np.full(people.size, mean)
    if np.isfinite(habits.activity_exponent):
        exact = _power_law(uniform, mean, habits.activity_exponent)
    whole = np.floor(exact)
    # Rounding at random keeps the mean.
    return np.maximum(1, whole + (draws.uniform("activity:round", address(people)) < exact - whole)).astype(np.int64)


def _power_law(uniform: np.ndarray, mean: float, exponent: float) -> np.ndarray:
    """Pareto numbers between a least value and `MOST_EVENTS` times the mean, whose mean is as asked."""
    from scipy.optimize import brentq

    high = MOST_EVENTS * mean

    def inverse(low: float, u: np.ndarray) -> np.ndarray:
        return low * (1 - u * (1 - (low / high) ** exponent)) ** (-1 / exponent)

    def mean_of(low: float) -> float:
        scale = exponent * low**exponent / (1 - (low / high) ** exponent)
        if abs(exponent - 1) < 1e-9:
            return float(scale * np.log(high / low))
        return float(scale * (high ** (1 - exponent) - low ** (1 - exponent)) / (1 - exponent))

    return inverse(brentq(lambda low: mean_of(low) - mean, 1e-9 * mean, mean), uniform)


def behave(draws: Draws, habits: Habits, tastes: Tastes, catalogue: Catalogue) -> Events:
    """Everything these people do."""
    people = tastes.people
    n = counts(draws, habits, people)
    row = np.repeat(np.arange(people.size), n)
    first = np.concatenate([[0], np.cumsum(n)[:-1]])
    slot = np.arange(row.size) - first[row]
    where = address(people[row], slot)

    opens = (slot == 0) | (draws.uniform("session", where) < 1 / habits.session_length)
    visit = np.cumsum(opens) - 1
    visit -= visit[first][row]
    time = _times(draws, habits, people, row, first, opens, where)
    # All events of a visit see the taste and the catalogue of its beginning.
    opening = np.maximum.accumulate(np.where(opens, np.arange(row.size), 0))
    age = ((time - START) / (habits.days * DAY))[opening]

    fresh = opens | (draws.uniform("stay", where) >= habits.mission)
    topic = _wanted(draws, tastes, row, age, where)[_latest(fresh)]
    place = _place(draws, habits, fresh, where)
    label = np.searchsorted(np.cumsum(habits.noise), draws.uniform("noise", where), side="right").astype(np.int8)
    label = np.where(label == len(NOISE), 0, label + 1).astype(np.int8)

    shop = people[row] % catalogue.shops
    late = age >= COLD_FROM
    topic = _others_topics(draws, tastes, row, label, topic, where)
    item = _items(draws, catalogue, shop, topic, label, late, place, where, 0)
    kept = np.ones(row.size, bool)
    if not habits.repeats:
        for attempt in range(1, REDRAWS + 1):
            again = np.flatnonzero(_repeated(row, item, len(catalogue)))
            if not again.size:
                break
            uniform = draws.uniform(f"again:{attempt}", where[again])
            item[again] = _items(draws, catalogue, shop[again], topic[again], label[again], late[again], uniform, where[again], attempt)
        kept = ~_repeated(row, item, len(catalogue))
    hidden = (label == 0) & (draws.uniform("hidden", where) < habits.hidden_positives)
    session = people[row] * (1 << 20) + visit
    topic = np.where((label == 1) | (label == 2), -1, topic).astype(np.int16)
    return Events(row, slot, item.astype(np.int64), time, session, label, topic, hidden).only(kept)


def _times(draws: Draws, habits: Habits, people: np.ndarray, row: np.ndarray, first: np.ndarray, opens: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Visits at random moments between joining and the end; minutes between the events of one visit."""
    span = float(habits.days * DAY)
    join = draws.uniform("join", address(people)) * JOINS * span
    busy = np.where(opens, GAP, 20 + 120 * draws.exponential("pause", where))
    rest = np.where(opens, draws.exponential("rest", where), 0.0)
    busy_sum = np.bincount(row, busy, people.size)
    # One more rest after the last event, so that the last visit is not always at the end.
    rest_sum = np.bincount(row, rest, people.size) + draws.exponential("rest:last", address(people))
    window = span - join
    crowded = np.minimum(1.0, 0.9 * window / busy_sum)
    step = busy * crowded[row] + rest * ((window - busy_sum * crowded) / rest_sum)[row]
    total = np.cumsum(step)
    before = (total[first] - step[first])[row]
    return START + (join[row] + total - before).astype(np.int64)


def _wanted(draws: Draws, tastes: Tastes, row: np.ndarray, age: np.ndarray, where: np.ndarray) -> np.ndarray:
    """A topic for every event, from the person's taste at that age of the world."""
    uniform = draws.uniform("topic", where)
    early = _slot_of(tastes.weights, row, uniform)
    topic = tastes.interests[row, early]
    if tastes.drift:
        moved = draws.uniform("drift", where) < tastes.drift * age
        late = _slot_of(tastes.later_weights, row, uniform)
        topic = np.where(moved, tastes.later_interests[row, late], topic)
    return topic


def _slot_of(weights: np.ndarray, row: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    cumulative = running_sums(weights)
    slot = np.zeros(row.size, np.int64)
    for column in range(weights.shape[1] - 1):
        slot += uniform >= cumulative[row, column]
    return slot


def _place(draws: Draws, habits: Habits, fresh: np.ndarray, where: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for every event: where on the shelf. A chain step goes to the next third of the shelf, anywhere in it."""
    again = fresh | (draws.uniform("chain", where) >= habits.chain)
    start = _latest(again)
    place = draws.uniform("place", where)
    third = ((place[start] * SUBS).astype(np.int64) + np.arange(start.size) - start) % SUBS
    return np.where(again, place, (third + place) / SUBS)


def _latest(flags: np.ndarray) -> np.ndarray:
    """For every event the newest one at or before it that is flagged."""
    return np.maximum.accumulate(np.where(flags, np.arange(flags.size), 0))


def _others_topics(draws: Draws, tastes: Tastes, row: np.ndarray, label: np.ndarray, topic: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Gifts follow the taste of one of two people she knows; exploration goes to topics that are not hers."""
    topic = topic.copy()
    shares = running_sums(tastes.topics.share[None, :])
    gifts = np.flatnonzero(label == LABELS.index("gift"))
    known = (draws.uniform("recipient", where[gifts]) < 0.5).astype(np.int64)
    topic[gifts] = pick(shares, 0, draws.uniform("recipient:topic", address(tastes.people[row[gifts]], known)))
    away = np.flatnonzero(label == LABELS.index("exploration"))
    for attempt in range(EXPLORES):
        topic[away] = pick(shares, 0, draws.uniform(f"explore:{attempt}", where[away]))
        away = away[(tastes.interests[row[away]] == topic[away, None]).any(axis=1)]
    return topic


def _items(
    draws: Draws,
    catalogue: Catalogue,
    shop: np.ndarray,
    topic: np.ndarray,
    label: np.ndarray,
    late: np.ndarray,
    place: np.ndarray,
    where: np.ndarray,
    attempt: int,
) -> np.ndarray:
    """The item of every event."""
    rows = shop * len(catalogue.topics) + topic
    item = np.empty(rows.size, np.int32)
    for when, shelf in enumerate(catalogue.shelves):
        now = late == bool(when)
        item[now] = shelf.draw(rows[now], place[now])
        for name, weight in (("random", np.ones(len(catalogue))), ("popular", catalogue.prominence)):
            slips = np.flatnonzero(now & (label == LABELS.index(name)))
            if slips.size:
                uniform = draws.uniform(f"{name}:{attempt}", where[slips])
                item[slips] = _anywhere(catalogue, bool(when), weight, shop[slips], uniform)
    return item


def _anywhere(catalogue: Catalogue, late: bool, weight: np.ndarray, shop: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Items of a shop in proportion to a weight."""
    there = weight * (1.0 if late else ~catalogue.cold)
    own = np.where(catalogue.shop[None, :] == np.arange(catalogue.shops)[:, None], there[None, :], 0.0)
    return pick(running_sums(own), shop, uniform)


def _repeated(row: np.ndarray, item: np.ndarray, items: int) -> np.ndarray:
    """Whether the person had this item in an earlier event of the batch."""
    bits = max(1, int(row.size).bit_length())
    packed = np.sort(((row * items + item) << bits) | np.arange(row.size))
    again = packed[1:][(packed[1:] >> bits) == (packed[:-1] >> bits)] & ((1 << bits) - 1)
    out = np.zeros(row.size, bool)
    out[again] = True
    return out
