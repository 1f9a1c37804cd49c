"""Generated people with known tastes: deterministic, of any size, with the truth beside what can be seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.data.schema import FrameName
from sartor.data.world.behaviour import COLD_FROM, DAY, LABEL, LABELS, START, Events, Habits, behave
from sartor.data.world.catalogue import Catalogue, make_catalogue
from sartor.data.world.checks import check, noise_shares, topic_count
from sartor.data.world.draws import Draws, address
from sartor.data.world.preferences import preferences
from sartor.data.world.taste import TasteMaker, Tastes, Topics
from sartor.data.world.vocabulary import FIRST_NAMES, LAST_NAMES, SHOPS
from sartor.data.world.words import ASPECTS, aspects, ratings, reviews
from sartor.errors import ConfigError, UnknownId
from sartor.progress import bar

if TYPE_CHECKING:
    from sartor.data.world.persona import Personas

PRESETS: dict[str, dict[str, Any]] = {
    # Visits follow categories, prices and brands; a fifth of the items is new in the last fifth of the time.
    "shop": {"items": 2000, "cold_items": 0.2, "mission": 0.8, "chain": 0.8, "session_length": 6.0, "drift": 0.0},
    # Many interests per person, no order, no noise: what one vector cannot hold.
    "topics": {"items": 4000, "topics": 60, "interests": (2, 5), "noise": 0.0, "drift": 0.0, "mission": 0.0, "chain": 0.0},
    # Planted communities, sparse, with power-law popularity.
    "communities": {
        "people": 5000, "items": 8000, "topics": 100, "interests": (1, 1), "events_per_person": 12.0, "popularity_bias": 1.0, "drift": 0.0,
        "mission": 0.0, "chain": 0.0, "reviews": 0.0, "preferences": 0,
    },
    # Few sharp interests, and mistakes.
    "noisy": {"interests": (1, 3), "noise": {"random": 0.12, "popular": 0.12, "gift": 0.06}, "drift": 0.0, "mission": 0.0, "chain": 0.0},
    # The same topics and words in two shops with no item and no customer in common.
    "two-shops": {"shops": 2, "items": 3000, "drift": 0.0},
}  # fmt: skip
"""Switches that go together: `World.preset("shop", people=2000)`."""

CHUNK = 10_000
"""People made at once."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some people of a world: what can be seen of them, and what is true of them."""

    population: Population
    truth: dict[str, pl.DataFrame]
    """`people`, `events` (row by row beside the population's), `hidden`, `preferences` (row by row beside the population's)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """People who click, write and choose out of known tastes.

    Person n of a seed has the same taste, name and life in every world with the same switches, however many people it has; the people of
    a chunk are made without the others, so a million stream with the memory of ten thousand.

    >>> world = World(people=100, items=200, seed=1)
    >>> world.population()
    Population(world: events, items, people, texts, preferences)
    >>> world.people_tastes([0]).describe(0)[0][0]
    'strange cooperative games'

    Raises `ConfigError` for a switch that is out of range or does not fit another.
    """

    people: int = 1000
    """Persons have the ids 0 .. people - 1."""
    items: int = 2000
    """Items have the ids 0 .. items - 1; at least two for each topic and shop."""
    seed: int = 0
    topics: int | None = None
    """What there is to like, at most 640: moods of kinds of things, such as "quiet thrillers". Default: 40, or fewer in a small catalogue."""
    interests: tuple[int, int] = (2, 6)
    """Fewest and most topics that a person likes, each count alike."""
    interest_correlation: float = 0.3
    """Probability that a further interest is of the same mood as the person's first one, whatever the department."""
    drift: float = 0.2
    """How much of the taste has moved to other interests by the end of the time; 0 is none."""
    popularity_bias: float = 0.8
    """Exponent of the power law of popularity: the r-th item of a topic is chosen in proportion to r ** -popularity_bias; 0 is none."""
    noise: float | Mapping[str, float] = 0.1
    """Share of events that do not come from the person's taste. By cause: {"random", "popular", "gift", "exploration"}; a single number is
    split into 30% mis-clicks on any item, 30% mis-clicks on popular items, 20% gifts, 20% exploration. The other events stay the same."""
    hidden_positives: float = 0.0
    """Share of the taste's events that nobody sees; they are in `truth["hidden"]`."""
    cold_items: float = 0.0
    """Share of items that appear only after the first 80% of the time."""
    shops: int = 1
    """1 to 5; items and people belong to one shop each (number modulo shops), topics and words to all."""
    groups: int | Sequence[float] = 1
    """How many groups of people there are, or their shares; group g leans to its own topics."""
    group_lean: float = 0.5
    """Probability that an interest is one of the own group's topics, with more than one group."""
    events_per_person: float = 40.0
    """Mean number of events before repeated items are left out."""
    activity_exponent: float = 2.0
    """Power law of activity: P(more than n events) falls as n ** -activity_exponent (> 1), cut at 25 times the mean; infinity: all alike."""
    session_length: float = 6.0
    """Mean events per visit (geometric)."""
    mission: float = 0.6
    """Probability that the next event of a visit has the same topic as the one before."""
    chain: float = 0.5
    """Probability, where the topic stays, that the next item comes from the next third-level category."""
    field_correlation: float = 0.8
    """Probability that an item's brand, origin, price level, colour, year and tag follow its topic (or brand) and are not random."""
    repeats: bool = False
    """Whether a person can have the same item twice. Without, events are exact draws only before anything is used up."""
    ratings: bool = False
    """Whether events have a `value` of 1 to 5 stars."""
    reviews: float = 0.2
    """Share of events with a review."""
    preferences: int = 5
    """Choices between two items per person."""
    days: int = 365
    """Length of the time, from 2024-01-01."""

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def preset(cls, name: str, **switches: Any) -> World:
        """A world with switches that go together (`PRESETS`); `switches` go before them."""
        if name not in PRESETS:
            raise ConfigError(f"there is no preset '{name}'", fix=f"there are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **switches})

    @cached_property
    def draws(self) -> Draws:
        """Random numbers by purpose and person. Other rooms derive further traits of the same people from new purposes, with
        `world.draws.uniform("my trait", sartor.data.world.address(numbers))`."""
        return Draws(self.seed)

    @cached_property
    def topic_table(self) -> Topics:
        """What there is to like."""
        return Topics.make(topic_count(self), self.draws)

    @cached_property
    def catalogue(self) -> Catalogue:
        """All items."""
        return make_catalogue(
            self.draws, self.topic_table, self.items, shops=self.shops, popularity_bias=self.popularity_bias, cold=self.cold_items,
            field_correlation=self.field_correlation, released=(START, START + int(COLD_FROM * self.days * DAY)),
        )  # fmt: skip

    def people_tastes(self, people: Sequence[int] | np.ndarray | None = None) -> Tastes:
        """What people like, exactly (everybody by default): the one source from which each room makes what they do.

        It depends on seed, topics, interests, interest_correlation, drift and groups only. Raises `UnknownId`.
        """
        return self._tastes.make(self.person_numbers(people))

    def tastes_of(self, people: np.ndarray) -> Tastes:
        """The same for any person numbers (int64), also of those whom a larger world would have: a person is the same in all of them."""
        return self._tastes.make(people)

    def person_numbers(self, people: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """int64: these people, everybody by default. Raises `UnknownId` for what is no person of this world."""
        return self._numbers(people, self.people, "person")

    def people_frame(self, tastes: Tastes) -> pl.DataFrame:
        """The rows of the frame `people` for the people of some tastes: person, name, group, shop."""
        where = address(tastes.people)
        first = pl.Series(FIRST_NAMES).gather((self.draws.uniform("first name", where) * len(FIRST_NAMES)).astype(np.int64))
        last = pl.Series(LAST_NAMES).gather((self.draws.uniform("last name", where) * len(LAST_NAMES)).astype(np.int64))
        shop = pl.Series(SHOPS).gather(tastes.people % self.shops)
        return pl.DataFrame({"person": tastes.people, "name": first + " " + last, "group": tastes.group, "shop": shop})

    def affinity(self, people: Sequence[int] | np.ndarray, items: Sequence[int] | np.ndarray | None = None, *, at: float = 1.0) -> np.ndarray:
        """Float32 [people, items], in [0, 1]: the share of a person's taste that an item serves. What she would like, known or not.

        `at` is a time between 0 (the start) and 1 (the end); it matters with `drift`.
        """
        return self.catalogue.affinity(self.people_tastes(people).at(at), self._numbers(items, self.items, "item"))

    def chance(self, people: Sequence[int] | np.ndarray, items: Sequence[int] | np.ndarray | None = None, *, at: float = 1.0) -> np.ndarray:
        """Float32 [people, items]: the probability that an event of the person's taste is with an item; the Bayes-optimal score for the next
        event of which only the person is known (items of other shops: 0). Rows sum to 1."""
        who, what = self.person_numbers(people), self._numbers(items, self.items, "item")
        chances = self.catalogue.chance(self._tastes.make(who).at(at), what, late=at >= COLD_FROM)
        return np.where(who[:, None] % self.shops == self.catalogue.shop[what], chances, np.float32(0))

    def stream(self, chunk: int = CHUNK) -> Iterator[Part]:
        """All people in order, `chunk` at a time, with bounded memory. The `items` frame is in every part."""
        if chunk < 1:
            raise ConfigError(f"chunk is {chunk}", fix="make at least one person at a time")
        for start in range(0, self.people, chunk):
            yield self.part(np.arange(start, min(start + chunk, self.people)))

    def part(self, people: Sequence[int] | np.ndarray) -> Part:
        """Some people only: the same as in the whole world."""
        tastes = self.people_tastes(people)
        everything = behave(self.draws, self._habits, tastes, self.catalogue)
        seen, hidden = everything.only(~everything.hidden), everything.only(everything.hidden)
        frames: dict[FrameName, pl.DataFrame] = {
            "events": self._events(tastes, seen),
            "items": self.catalogue.fields,
            "people": self.people_frame(tastes),
        }
        judges_by = pl.Series("aspect", ASPECTS).gather(aspects(self.draws, tastes.people))
        truth = {"people": tastes.frame().with_columns(judges_by), "events": _labels(tastes, seen), "hidden": _labels(tastes, hidden)}
        if self.reviews:
            frames["texts"] = reviews(self.draws, tastes, self.catalogue, seen, self.reviews)
        if self.preferences:
            frames["preferences"], truth["preferences"] = preferences(self.draws, tastes, self.catalogue, self.preferences, self.days)
        return Part(Population(frames, name="world"), truth)

    def population(self, *, shop: int | None = None) -> Population:
        """Everybody, in memory (for more than some 100,000 people: `stream` or `write`); with `shop`, its people and items only."""
        if shop is None:
            return self._whole.population
        if not 0 <= shop < self.shops:
            raise ConfigError(f"shop is {shop}", fix=f"there are {self.shops}, from 0")
        whole = self._whole.population
        only = whole.only(range(shop, self.people, self.shops))
        return only.replace(name=f"world-{SHOPS[shop]}", items=whole.items.filter(pl.col("shop") == SHOPS[shop]))

    @property
    def truth(self) -> dict[str, pl.DataFrame]:
        """What is true of everybody, in memory: `topics`, `items`, and what `Part.truth` has."""
        return {"topics": self.topic_table.frame(), "items": self.catalogue.truth(), **self._whole.truth}

    def personas(self, **switches: Any) -> Personas:
        """The same people as writers: requests, replies, facts, dialogues, choices between answers, and graders (`persona.Personas`)."""
        from sartor.data.world.persona import Personas

        return Personas(world=self, **switches)

    def write(self, folder: str | Path, *, chunk: int = CHUNK, progress: bool = True) -> Path:
        """Stream everybody into a folder of Parquet files, which `sartor.data.read(folder)` reads lazily; the truth goes to `folder/truth`.

        One file for `items`, one folder of parts for each other frame.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty", fix="choose a new folder")
        (folder / "truth").mkdir(parents=True, exist_ok=True)
        self.catalogue.fields.write_parquet(folder / "items.parquet")
        self.topic_table.frame().write_parquet(folder / "truth" / "topics.parquet")
        self.catalogue.truth().write_parquet(folder / "truth" / "items.parquet")
        with bar("writing people", self.people, enabled=progress, unit="people") as shown:
            for number, part in enumerate(self.stream(chunk)):
                seen = {name: part.population.frame(name).collect() for name in part.population.frames if name != "items"}
                for name, frame in [*seen.items(), *((f"truth/{name}", frame) for name, frame in part.truth.items())]:
                    (folder / name).mkdir(exist_ok=True)
                    frame.write_parquet(folder / name / f"part-{number:05d}.parquet")
                shown.advance(min(chunk, self.people - number * chunk))
        return folder

    # --- inside

    @cached_property
    def _tastes(self) -> TasteMaker:
        groups = (1 / self.groups,) * self.groups if isinstance(self.groups, int) else tuple(float(share) for share in self.groups)
        return TasteMaker(self.draws, self.topic_table, self.interests, self.interest_correlation, self.drift, groups, self.group_lean)

    @cached_property
    def _habits(self) -> Habits:
        own = {f.name: getattr(self, f.name) for f in fields(Habits) if f.name != "noise"}
        return Habits(noise=noise_shares(self.noise), **own)

    @cached_property
    def _whole(self) -> Part:
        parts = list(self.stream())
        names = parts[0].population.frames
        frames: dict[FrameName, pl.DataFrame] = {
            name: self.catalogue.fields if name == "items" else pl.concat([part.population.frame(name).collect() for part in parts]) for name in names
        }
        truth = {name: pl.concat([part.truth[name] for part in parts]) for name in parts[0].truth}
        return Part(Population(frames, name="world"), truth)

    def _events(self, tastes: Tastes, seen: Events) -> pl.DataFrame:
        columns: dict[str, Any] = {"person": tastes.people[seen.row], "item": seen.item, "time": seen.time, "session": seen.session}
        if self.ratings:
            columns["value"] = ratings(self.draws, tastes, seen).astype(np.float32)
        return pl.DataFrame(columns)

    @staticmethod
    def _numbers(given: Sequence[int] | np.ndarray | None, known: int, what: str) -> np.ndarray:
        if given is None:
            return np.arange(known, dtype=np.int64)
        numbers = np.asarray(given)
        if numbers.dtype.kind not in "iu" and numbers.size:
            raise UnknownId(f"{what} ids of a world are integers", id=repr(numbers.ravel()[0]), fix=f"give numbers from 0 to {known - 1}")
        if numbers.size and (numbers.min() < 0 or numbers.max() >= known):
            bad = numbers[(numbers < 0) | (numbers >= known)][0]
            raise UnknownId(f"there is no such {what}", id=int(bad), fix=f"there are {known}, from 0")
        return numbers.astype(np.int64)


def _labels(tastes: Tastes, events: Events) -> pl.DataFrame:
    label = pl.Series("label", LABELS, dtype=LABEL).gather(events.label)
    return pl.DataFrame({"person": tastes.people[events.row], "item": events.item, "time": events.time, "label": label, "topic": events.topic})
