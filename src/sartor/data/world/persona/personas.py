"""The people of a world as writers: what they answer, tell, choose and talk about, with exact graders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.data.schema import LATEST_TIME
from sartor.data.world.behaviour import DAY, START
from sartor.data.world.draws import address
from sartor.data.world.persona import facts as _facts
from sartor.data.world.persona import grading
from sartor.data.world.persona.evidence import evidence
from sartor.data.world.persona.likes import Likes
from sartor.data.world.persona.pairs import choices
from sartor.data.world.persona.replies import Following, compose
from sartor.data.world.persona.requests import Requests
from sartor.data.world.persona.traits import Traits, tiers
from sartor.data.world.persona.words import ACTS, CHOOSE, JARGON_SLOTS, NAMES, RECOMMEND, vocabulary
from sartor.errors import ConfigError

if TYPE_CHECKING:
    from sartor.data.world.world import World

CHUNK = 10_000
"""People made at once."""
STRANGERS = 1 << 39
"""Person numbers from here on are of people in no world: those who write drafts and rejected answers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Personas:
    """The people of a world, writing: `World(...).personas(...)`.

    A person's texts follow her habits, in tiers (`tiers`): always visible; different for the two groups of requests; for each kind of
    request its own verb; followed only most of the time; words that nobody else has. What she likes and says is what she clicks by. All of
    it is made for any person alone, and is the same in a world of any size.

    >>> from sartor.data.world import World
    >>> personas = World(people=100, items=200, seed=1).personas()
    >>> asked = personas.requests([3], 1)
    >>> asked.texts()[0]
    'write to ben: sell the crimes.'
    >>> personas.replies(asked)[0]
    'dear ben, well, hence i quickly auction the splendid crimes from the books shelf and it matters a lot to me... ciao xo'
    >>> personas.grade(personas.replies(asked), asked).select("opener", "link", "subject").row(0)
    (True, True, True)

    Raises `ConfigError` for a switch that is out of range, and where people like nearly all kinds of things there are.
    """

    world: World
    replies_each: int = 16
    """Requests with replies in each person's history."""
    dialogues: int = 2
    """Conversations with an assistant that each person has."""
    pairs: int = 4
    """Choices between two answers that each person makes."""
    follow: float = 1.0
    """How often habits are followed; otherwise another option stands there."""
    noisy: float = 0.75
    """How often the habits of the noisy tier are followed."""
    jargon: int = 0
    """Places (0 to 3) of each reply that hold a word of her own, one for each group of requests; never-seen people have words that no fit
    person has."""
    changes: float = 0.4
    """Chance that a fact about a person changes."""
    reminders: float = 0.2
    """Chance that she later looks back at a value that has changed."""
    mistakes: float = 0.0
    """Share of preference pairs that are the wrong way round."""
    new: float = 0.25
    """Share of never-seen people."""

    def __post_init__(self) -> None:
        for name, low, high in (("replies_each", 1, 1 << 16), ("dialogues", 0, 10), ("pairs", 0, 1 << 16), ("jargon", 0, JARGON_SLOTS)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{name} is {value!r}", fix=f"give a whole number from {low} to {high:,}")
        for name in ("follow", "noisy", "changes", "reminders", "mistakes", "new"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value!r}", fix="give a number from 0 to 1")

    # --- who

    @cached_property
    def is_new(self) -> np.ndarray:
        """bool [people]: never seen by any fit."""
        return self.are_new(np.arange(self.world.people))

    @property
    def fit_people(self) -> np.ndarray:
        """int64, person numbers whose texts a population model may see."""
        return np.flatnonzero(~self.is_new)

    @property
    def new_people(self) -> np.ndarray:
        """int64, person numbers that are for evaluation only."""
        return np.flatnonzero(self.is_new)

    def traits(self, people: Sequence[int] | np.ndarray | None = None) -> Traits:
        """Habits, exactly."""
        return self._traits(self.world.person_numbers(people))

    def likes(self, people: Sequence[int] | np.ndarray | None = None) -> Likes:
        """Which subjects people like, exactly: the kinds of their interests at any time."""
        return self._likes(self.world.person_numbers(people))

    @property
    def tiers(self) -> dict[str, tuple[str, ...]]:
        """Tier -> names of the graded columns in it: always, grouped, act, noisy, jargon (if there is any), taste, content."""
        return tiers(self.jargon)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All words and marks of this world's texts (jargon left out), sorted."""
        return vocabulary(tuple(np.unique(self.world.topic_table.kind).tolist()))

    # --- what they are asked and answer

    def requests(
        self, people: Sequence[int] | np.ndarray | None = None, n: int = 8, *, start: int | None = None, acts: Sequence[str] | None = None
    ) -> Requests:
        """`n` requests of each person, person by person, oldest first.

        Parameters
        ----------
        start: number of the first; by default the first one after the history, so that no text of `population()` answers it.
        acts: names of the kinds of requests to ask for; default all alike.
        """
        numbers = self.world.person_numbers(people)
        return self.requests_of(np.repeat(numbers, n), np.tile(np.arange(n) + (self.replies_each if start is None else start), numbers.size), acts)

    def history(self, people: Sequence[int] | np.ndarray | None = None) -> Requests:
        """The requests whose replies stand in `population()`."""
        return self.requests(people, self.replies_each, start=0)

    def replies(self, requests: Requests, *, by: Sequence[int] | np.ndarray | None = None, wrong: np.ndarray | None = None) -> pl.Series:
        """What people answer to their requests; with `by` (one person per request), what those would answer instead.

        `wrong` (bool, one per request) asks for an answer to something else, or of what she does not like.
        """
        writers = requests.person if by is None else self.world.person_numbers(by)
        return self.replies_of(requests, writers, wrong)

    # --- how good a text is

    def grade(
        self, texts: Sequence[str | None] | pl.Series, requests: Requests | Sequence[str], people: Sequence[int] | np.ndarray | None = None
    ) -> pl.DataFrame:
        """One row per text, one Boolean column per habit and part of the content (`tiers`); null where it is not asked for.

        True means: the text shows this person's habit, or the answer is right. Of noisy habits, her own texts show them `noisy` of the time.

        Parameters
        ----------
        texts: anything; what is no text of this world shows no habit. Nothing raises but lengths that do not fit.
        requests: what was asked, also as texts; then `people` says whose requests they are.
        people: by whose habits to grade; default who asks.
        """
        if not isinstance(requests, Requests):
            if people is None:
                raise ConfigError("requests are texts, and nobody is named", fix="give people, one per request")
            requests = Requests.parse(requests, people)
        if len(texts) != len(requests):
            raise ConfigError(f"{len(texts)} texts for {len(requests)} requests", fix="give one text for each request")
        who, rows = np.unique(requests.person if people is None else self.world.person_numbers(people), return_inverse=True)
        if rows.size != len(requests):
            raise ConfigError(f"{rows.size} people for {len(requests)} requests", fix="give one person for each request")
        return grading.grade(texts, requests, self.traits(who), self.likes(who), rows)

    def tier_scores(self, grades: pl.DataFrame) -> pl.DataFrame:
        """Per text the share of each tier's habits that it shows (Float64, null where none is asked for); of content, 1 if all is right."""
        columns = []
        for tier, names in self.tiers.items():
            columns.append(
                pl.all_horizontal(names).cast(pl.Float64).alias(tier)
                if tier == "content"
                else pl.mean_horizontal(*(pl.col(name).cast(pl.Float64) for name in names)).alias(tier)
            )
        return grades.select(columns)

    def score(self, grades: pl.DataFrame) -> np.ndarray:
        """Float64 [n] in [0, 1]: how much the person would like each text: half for the right content (and taste), half for her habits."""
        scores = self.tier_scores(grades)
        style = scores.select(pl.mean_horizontal(*(name for name in scores.columns if name not in ("content", "taste")))).to_series()
        return (0.5 * scores["content"].fill_null(1.0) * scores["taste"].fill_null(1.0) + 0.5 * style.fill_null(0.0)).to_numpy()

    # --- what can be seen

    def statements(self, people: Sequence[int] | np.ndarray | None = None) -> pl.DataFrame:
        """What people say about themselves, with its truth; see `facts.statements`."""
        numbers = self.world.person_numbers(people)
        return self.statements_of(numbers)

    def questions(self, people: Sequence[int] | np.ndarray | None = None, at: float | np.ndarray = 1.0) -> pl.DataFrame:
        """A question about every fact of people, with the answer that is right at that time; see `facts.questions`."""
        return _facts.questions(self.world.draws, self.world.person_numbers(people), self.changes, self.world.days, at)

    def population(self, people: Sequence[int] | np.ndarray | None = None, *, events: bool = False) -> Population:
        """What people wrote and chose: `texts`, `preferences`, `people` (with `new`); with `events`, also what they clicked, and `items`.

        Kinds of texts: "reply" (her own answer; `prompt` is the request) and "statement" outside of dialogues; in dialogues (`dialogue` is
        not null) those of `dialogues.KINDS`, where a revision (her own words after a draft) begins with "rather:".
        """
        numbers = self.world.person_numbers(people)
        parts = [evidence(self, numbers[at : at + CHUNK]) for at in range(0, max(1, numbers.size), CHUNK)]
        frames: dict[Any, pl.DataFrame] = {name: pl.concat([part[name] for part in parts]) for name in parts[0] if name != "pairs"}
        if events:
            clicked = self.world.part(numbers).population
            frames |= {name: clicked.frame(name).collect() for name in ("events", "items")}
        return Population(frames, name="personas")

    def pairs_truth(self, people: Sequence[int] | np.ndarray | None = None) -> pl.DataFrame:
        """Row by row beside `population().preferences`: person, why the rejected one is worse (`pairs.WHY`), mistake (the wrong way round)."""
        numbers = self.world.person_numbers(people)
        return pl.concat([choices(self, numbers[at : at + CHUNK])[1] for at in range(0, max(1, numbers.size), CHUNK)])

    # --- inside

    def are_new(self, people: np.ndarray) -> np.ndarray:
        """Bool [people]."""
        return self.world.draws.uniform("persona:new", address(people)) < self.new

    def _traits(self, people: np.ndarray) -> Traits:
        return Traits.draw(self.world.draws, people, self.jargon, self.are_new(people))

    def _likes(self, people: np.ndarray) -> Likes:
        return Likes.of(self.world.tastes_of(people))

    def replies_of(self, requests: Requests, writers: np.ndarray, wrong: np.ndarray | None) -> pl.Series:
        who, rows = np.unique(writers, return_inverse=True)
        following = Following(self.follow, self.noisy)
        return compose(self.world.draws, requests, self._traits(who), self._likes(who), rows, following, wrong=wrong)

    def requests_of(self, person: np.ndarray, number: np.ndarray, acts: Sequence[str] | None = None, time: np.ndarray | None = None) -> Requests:
        names = [act.name for act in ACTS]
        if acts is not None and (not acts or (unknown := sorted(set(acts) - set(names)))):
            raise ConfigError(f"there are no requests to {unknown if acts else 'do nothing'}", fix=f"acts are {', '.join(names)}")
        allowed = np.array([names.index(act) for act in (names if acts is None else acts)])
        where, uniform = address(person, number), self.world.draws.uniform
        who, rows = np.unique(person, return_inverse=True)
        likes = self._likes(who)
        act = allowed[(uniform("request:act", where) * allowed.size).astype(np.int64)]
        # Half of what is asked is about what she likes, and half of what she can choose from besides is what she says she dislikes.
        hers = likes.one(rows, uniform("request:liked", where))
        anything = likes.kinds[(uniform("request:subject", where) * likes.kinds.size).astype(np.int64)]
        plain = np.where(uniform("request:near", where) < 0.5, hers, anything)
        hated = likes.disliked(uniform("dislike", address(who)))[rows, (uniform("request:hated", where) * 2).astype(np.int64)]
        beside = np.where(uniform("request:hates", where) < 0.5, hated, likes.other(rows, uniform("request:other", where)))
        swapped = uniform("request:order", where) < 0.5
        first = np.where(act == CHOOSE, np.where(swapped, beside, hers), np.where(act == RECOMMEND, -1, plain))
        second = np.where(act == CHOOSE, np.where(swapped, hers, beside), -1)
        name = (uniform("request:name", where) * len(NAMES)).astype(np.int64)
        if time is None:
            step = self.world.days * DAY / self.replies_each
            time = START + ((number + uniform("request:time", where)) * step).astype(np.int64)
        return Requests(person, number, act, first, second, name, np.minimum(time, LATEST_TIME))

    def statements_of(self, people: np.ndarray) -> pl.DataFrame:
        """As `statements`, of person numbers."""
        tastes = self.world.tastes_of(people)
        return _facts.statements(self.world.draws, tastes, Likes.of(tastes), changes=self.changes, reminders=self.reminders, days=self.world.days)

    def strangers(self, requests: Requests) -> np.ndarray:
        """Somebody of no world for each request, int64: who writes the drafts of dialogues and the rejected answers."""
        return STRANGERS + (self.world.draws.uniform("stranger", address(requests.person, requests.number)) * (1 << 20)).astype(np.int64)
