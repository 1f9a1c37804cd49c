"""People of LikeBench: 35 facets of personality, nine dimensions of how they like to talk, interests out of a tree of topics, and facts.

Two stages: traits and the profile in words (`Persona`, `Persona.text`), then for every session a prior (`priors`): an event, a mood, a goal and
a topic, which follow from the profile and from the session before. Source: LikeBench (2025), whose generator is a language model; this is rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData, MissingColumn

FACETS = {
    "openness": ("imagination", "artistic interest", "emotionality", "adventurousness", "intellect", "liberalism", "curiosity"),
    "conscientiousness": ("self-efficacy", "orderliness", "dutifulness", "striving", "self-discipline", "cautiousness", "formality"),
    "extraversion": ("friendliness", "gregariousness", "assertiveness", "activity", "excitement-seeking", "cheerfulness", "talkativeness"),
    "agreeableness": ("trust", "morality", "altruism", "cooperation", "modesty", "sympathy", "tenderness"),
    "neuroticism": ("anxiety", "anger", "depression", "self-consciousness", "immoderation", "vulnerability", "moodiness"),
}
"""Seven per domain: the thirty of the five-factor inventories, and one more each."""
TOPICS = {
    "sport": ("climbing", "running", "chess"),
    "kitchen": ("baking", "coffee", "gardening"),
    "arts": ("piano", "film", "pottery"),
    "technology": ("programming", "astronomy", "cycling"),
    "home": ("pets", "family", "travel"),
}
MOODS = ("joyful", "sad", "angry", "anxious")
NEGATIVE = ("sad", "angry", "anxious")
RESPONSES = ("comfort", "cheer", "solve", "space")
"""What people want of whoever answers them in a mood; "warm" is a kind word that fits nobody quite."""
STYLES = {"formality": "formality", "length": "talkativeness", "humor": "cheerfulness"}
"""Dimensions on a scale of 1 to 5 that an answer is to match, and the facet that a predictable person has each from."""
SHARES = {"frankness": "assertiveness", "disclosure": "trust", "allusion": "imagination", "curious": "curiosity"}
"""Dimensions that are shares of turns: complains, tells a fact, alludes to one told before, asks a question."""
_VALUES = ("Ada", "Bruno", "Cleo", "Dario", "Elsa", "Fynn", "Greta", "Hugo", "Ida", "Jonas", "Kira", "Leo", "Mona", "Nils", "Olga", "Paul")
_KEYS = ("favourite", "teacher", "first")

Strategy = Literal["social", "antisocial"]


@dataclass(frozen=True)
class Fact:
    """One thing that is true of a person."""

    key: str
    """What it is about, as one would ask for it."""
    value: str
    topic: str


@dataclass(frozen=True, kw_only=True)
class Persona:
    """Who a simulated user is. The assistant under test never sees it."""

    name: str
    facets: Mapping[str, float]
    """35 names -> 0 to 1."""
    formality: int
    length: int
    humor: int
    """1 to 5, as answers should be."""
    responses: Mapping[str, str]
    """Mood -> which of `RESPONSES` she wants then."""
    expertise: Mapping[str, int]
    """Topic of interest -> 1 (layman) to 5 (expert)."""
    frankness: float
    disclosure: float
    allusion: float
    curious: float
    strategy: Strategy
    predictable: bool
    """Wants the same in every mood. Otherwise formality and length turn round in a bad one."""
    facts: tuple[Fact, ...]

    def __post_init__(self) -> None:
        where: dict[str, Any] = {"persona": self.name}
        for name in STYLES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
                raise BadValue(f"{name} is {value!r}", fix="give a whole number from 1 to 5", **where)
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise BadValue(f"{name} is {getattr(self, name)!r}", fix="give a share from 0 to 1", **where)
        if set(self.responses) != set(MOODS) or not set(self.responses.values()) <= set(RESPONSES):
            raise BadValue("responses do not name one of " + ", ".join(RESPONSES) + " for each mood", fix=f"moods are {', '.join(MOODS)}", **where)
        if not self.expertise or not self.facts:
            raise EmptyData("a persona has no interests or no facts", fix="give at least one of each", **where)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """From plain data; raises `MissingColumn` for a field that is not there (a persona without style cannot score), `BadValue`."""
        names = list(cls.__dataclass_fields__)
        if lost := [name for name in names if name not in facts]:
            raise MissingColumn(
                f"a persona has no {', '.join(lost)}", fix=f"give all of {', '.join(names)}", persona=facts.get("name"), column=lost[0]
            )
        own = {name: facts[name] for name in names}
        try:
            own["facts"] = tuple(one if isinstance(one, Fact) else Fact(**one) for one in own["facts"])
        except TypeError as cause:
            raise BadValue("a fact is not key, value and topic", fix="give the three", persona=facts["name"]) from cause
        return cls(**own)

    def wanted(self, mood: str) -> dict[str, int]:
        """How an answer should be, given the mood she is really in. Nobody wants jokes in a bad one."""
        flips = not self.predictable and mood in NEGATIVE
        turned = {name: 6 - getattr(self, name) if flips else getattr(self, name) for name in ("formality", "length")}
        return turned | {"humor": 1 if mood in NEGATIVE else self.humor}

    def level(self, topic: str) -> int:
        """At what level to explain a topic to her."""
        return self.expertise.get(topic, 1)

    def text(self) -> str:
        """The profile in words, for simulated users that are language models."""
        marked = [f"{name} {'high' if value > 0.5 else 'low'}" for name, value in self.facets.items() if abs(value - 0.5) > 0.35]
        interests = ", ".join(f"{topic} (level {level} of 5)" for topic, level in self.expertise.items())
        style = f"formality {self.formality} of 5, answers of length {self.length} of 5, humor {self.humor} of 5"
        moods = ", ".join(f"when {mood}, wants {way}" for mood, way in self.responses.items())
        more = "" if self.predictable else " In a bad mood formality and length turn to their opposites."
        known = "; ".join(f"{fact.key}: {fact.value}" for fact in self.facts)
        return (
            f"{self.name}, {self.strategy}. Personality: {', '.join(marked) or 'average'}. Interests: {interests}. "
            f"Likes {style}; no jokes in a bad mood; {moods}.{more} Facts: {known}."
        )


@dataclass(frozen=True)
class SessionPrior:
    """What a session is about, before anybody has said a word."""

    event: str
    mood: str
    goal: str
    topic: str


def personas(n: int, *, seed: int = 0, predictable: float = 0.5) -> list[Persona]:
    """So many generated people. `predictable` is the share whose way of talking follows from their facets and is the same in every mood."""
    if n < 1 or not 0 <= predictable <= 1:
        raise ConfigError(f"{n} personas, predictable {predictable}", fix="make at least one, with a share from 0 to 1")
    return [_persona(number, np.random.default_rng([seed, 41, number]), predictable) for number in range(n)]


def _persona(number: int, rng: np.random.Generator, predictable: float) -> Persona:
    from scipy.special import ndtr

    facets: dict[str, float] = {}
    for names in FACETS.values():
        # Facets of a domain go together: half of the variance is the domain's.
        facets |= dict(zip(names, ndtr((rng.normal() + rng.normal(size=len(names))) / np.sqrt(2)).tolist(), strict=True))
    steady = bool(rng.random() < predictable)

    def of(facet: str) -> float:
        return facets[facet] if steady else float(rng.random())

    style: dict[str, Any] = {name: 1 + min(4, int(5 * of(facet))) for name, facet in STYLES.items()}
    strategy: Strategy = "social" if of("friendliness") > 0.3 else "antisocial"
    shares: dict[str, Any] = {name: 0.2 + 0.4 * of(facet) for name, facet in SHARES.items()}
    if strategy == "antisocial":
        shares["disclosure"] /= 2
    # A steady person wants the same of everybody in every bad mood; who is not, differs from mood to mood.
    bad = RESPONSES[min(3, int(4 * of("vulnerability")))]
    responses = {mood: "cheer" if mood == "joyful" and steady else bad if steady else str(rng.choice(RESPONSES)) for mood in MOODS}
    every = [topic for topics in TOPICS.values() for topic in topics]
    interests = [every[at] for at in rng.permutation(len(every))[:6]]
    expertise = {topic: int(rng.integers(1, 6)) for topic in interests}
    values = rng.permutation(len(_VALUES))
    facts = tuple(Fact(f"{_KEYS[(at + at // 6) % 3]} in {topic}", _VALUES[values[at]], topic) for at, topic in enumerate([*interests, *interests]))
    return Persona(
        name=f"persona {number}", facets=facets, responses=responses, expertise=expertise, strategy=strategy, predictable=steady, facts=facts,
        **style, **shares,
    )  # fmt: skip


def priors(persona: Persona, sessions: int, *, seed: int | Sequence[int] = 0) -> list[SessionPrior]:
    """Of each session in turn. A mood lasts into the next session half of the time, a topic does not come twice in a row."""
    rng = np.random.default_rng(seed)
    chances = np.array([1.5 - persona.facets["moodiness"], *(0.2 + persona.facets[name] for name in ("depression", "anger", "anxiety"))])
    topics, out = list(persona.expertise), list[SessionPrior]()
    for _ in range(sessions):
        last = out[-1] if out else None
        mood = last.mood if last and rng.random() < 0.5 else str(rng.choice(MOODS, p=chances / chances.sum()))
        topic = str(rng.choice([one for one in topics if last is None or one != last.topic or len(topics) == 1]))
        goal = "to learn something" if rng.random() < persona.curious else "to be listened to"
        event = f"{'good' if mood == 'joyful' else 'bad'} news about {topic}"
        out.append(SessionPrior(event, mood, goal, topic))
    return out
