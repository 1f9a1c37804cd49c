"""The simulated user of LikeBench over a structured message format: she speaks, and the same she scores what is answered, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sartor.errors import ConfigError
from sartor.evaluate.likebench.persona import MOODS, TOPICS, Fact, Persona, SessionPrior

ASPECTS = ("emotion", "formality", "knowledge", "reference", "length", "humor", "callback")
FIT = (5, 3, 2, 1, 1)
"""Score of something so many steps away from what is wanted."""
CHAT, ASK = "chat", "ask"


@dataclass(frozen=True, kw_only=True)
class Message:
    """What one side says in one turn. A text, or the same in a structured form; plain text leaves the structure at its defaults."""

    text: str
    kind: str = CHAT
    """"ask" wants something explained."""
    topic: str = ""
    formality: int = 3
    length: int = 3
    humor: int = 1
    """1 to 5; of a user's message as it is written, which is near what she wants to read."""
    level: int = 3
    """Of an explanation or a question, 1 to 5."""
    emotion: str = ""
    """A user's mood as it shows; of an answer one of `RESPONSES`, "warm", or nothing."""
    told: Mapping[str, str] = field(default_factory=dict)
    """Facts in it, key -> value: told by a user, referred to by an assistant."""
    alludes: str = ""
    """A user's: key of a fact that she spoke of before and does not repeat."""
    asks_back: bool = False
    """An assistant's: asks what she alludes to."""
    complaints: Mapping[str, int] = field(default_factory=dict)
    """A user's: aspect of the last answer that she found wrong -> +1 she wants more of it, -1 less, 0 something else."""


@dataclass(frozen=True)
class Scores:
    """Of one answer: aspect -> 1 to 5, or None where the turn gave no chance."""

    values: Mapping[str, int | None]
    reason: str = ""
    """Why, where the answer could not be scored as one."""


@dataclass(frozen=True)
class Question:
    """About a fact that was told. Explicit ones name its key; implicit ones its topic, and give options."""

    text: str
    key: str
    topic: str
    answer: str
    options: tuple[str, ...] = ()

    @property
    def asked_key(self) -> str:
        """The key, where the question names it."""
        return "" if self.options else self.key


class SimulatedUser(Protocol):
    """Speaks and scores, out of one persona. `RuleUser` and `language.LanguageUser` are two."""

    persona: Persona
    told: dict[str, tuple[Fact, int]]
    """Key of every fact that was told -> the fact, and the number of the session."""

    def start(self, session: int, prior: SessionPrior) -> None:
        """A session begins."""
        ...

    def speak(self, turn: int, dialogue: Sequence[Message]) -> Message:
        """Her message of this turn."""
        ...

    def score(self, answer: Message) -> Scores:
        """What she thinks of the answer to the message that she spoke last."""
        ...


@dataclass(kw_only=True)
class RuleUser:
    """A user by rules.

    What she says hangs on persona, session, turn and seed alone, never on what is answered (but for complaints), so that all assistants meet
    the same people. Her messages show what she wants with planted noise: each scale is off by one step half of the time.
    """

    persona: Persona
    number: int
    """Of the persona, for the draws."""
    noise: float = 0.0
    """Share of turns that are off the topic, or show another mood than hers, in a style that is not hers."""
    seed: int = 0
    told: dict[str, tuple[Fact, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise ConfigError(f"noise is {self.noise}", fix="give a share from 0 to 1")

    def start(self, session: int, prior: SessionPrior) -> None:
        """See `SimulatedUser`."""
        self._session, self._prior = session, prior
        self._wrong: dict[str, int] = {}
        self._called: set[str] = set()

    def speak(self, turn: int, dialogue: Sequence[Message]) -> Message:
        """See `SimulatedUser`."""
        rng = np.random.default_rng([self.seed, 43, self.number, self._session, turn])
        # All chance of a turn is drawn first: whether something is used changes nothing of the rest.
        noisy, off, drift, moody, asks, tells, alludes, complains = rng.random(8)
        pick = rng.integers(1 << 30, size=4)
        jitter = rng.choice([-1, 0, 0, 1], size=4)
        strange = rng.integers(1, 6, size=4)
        own, bad = self.persona, noisy < self.noise
        interests = list(own.expertise)
        topic = self._prior.topic if drift < 0.7 else interests[pick[0] % len(interests)]
        self._mood = self._prior.mood if moody < 0.6 else ""
        shown = self._mood
        if bad and off < 0.5:
            others = [one for topics in TOPICS.values() for one in topics if one not in own.expertise]
            topic = others[pick[0] % len(others)]
        elif bad:
            shown = [mood for mood in MOODS if mood != self._mood][pick[3] % 3]
        wanted = own.wanted(self._mood) | {"level": own.level(topic)}
        scale: dict[str, Any] = {name: int(np.clip(value + by, 1, 5)) for (name, value), by in zip(wanted.items(), jitter, strict=True)}
        if bad:
            scale = dict(zip(wanted, strange.tolist(), strict=True))
        known = sorted(self.told)
        left = [fact for fact in own.facts if fact.key not in self.told and fact.topic == topic]
        told = {left[0].key: left[0].value} if left and not bad and tells < own.disclosure else {}
        alluded = known[pick[1] % len(known)] if known and not bad and alludes < own.allusion else ""
        # Where something could be brought up again: it was told in an earlier session, belongs here, and has not come up in this one.
        before = {key for key, (fact, when) in self.told.items() if fact.topic == topic and when < self._session}
        self._chance = before - self._called - {alluded}
        self._wanted, self._alluded, self._topic = wanted, alluded, topic
        self._kind = ASK if asks < own.curious else CHAT
        complaints = dict(self._wrong) if dialogue and complains < own.frankness else {}
        self.told |= {fact.key: (fact, self._session) for fact in own.facts if fact.key in told}
        text = self._text(topic, told, alluded, shown)
        return Message(text=text, kind=self._kind, topic=topic, emotion=shown, told=told, alludes=alluded, complaints=complaints, **scale)

    def score(self, answer: Message) -> Scores:
        """See `SimulatedUser`; 1 for every aspect that had a chance where the answer is empty."""
        wanted = self._wanted
        joking = self._kind == CHAT or answer.humor > 1
        chance = {
            "emotion": bool(self._mood), "formality": True, "knowledge": self._kind == ASK, "reference": bool(self._alluded), "length": True,
            "humor": joking, "callback": bool(self._chance),
        }  # fmt: skip
        if not answer.text.strip():
            return Scores({name: 1 if chance[name] else None for name in ASPECTS}, "the answer is empty")
        right = {key: answer.told.get(key) == self.told[key][0].value for key in answer.told if key in self.told}
        beside = [key for key in answer.told if key not in self._chance and key != self._alluded]
        called = [key for key in self._chance if key in answer.told]
        values: dict[str, int | None] = {
            "emotion": self._emotion(answer.emotion),
            "formality": _fit(answer.formality, wanted["formality"]),
            "knowledge": _fit(answer.level, wanted["level"]),
            "reference": 5 if right.get(self._alluded) else 3 if answer.asks_back and self._alluded not in answer.told else 1,
            "length": _fit(answer.length, wanted["length"]),
            "humor": _fit(answer.humor, wanted["humor"]),
            "callback": (5 if all(right[key] for key in called) else 1) if called else 2,
        }
        # Bringing something up where it does not belong is a callback, too: a misplaced one.
        values = {name: value if chance[name] else None for name, value in values.items()}
        if beside and not called:
            values["callback"] = 2
        self._called |= set(answer.told)
        steps = {"formality": wanted["formality"] - answer.formality, "length": wanted["length"] - answer.length}
        steps |= {"humor": wanted["humor"] - answer.humor, "knowledge": wanted["level"] - answer.level, "emotion": 0}
        self._wrong = {name: int(np.sign(step)) for name, step in steps.items() if (found := values[name]) is not None and found <= 3}
        return Scores(values)

    def _emotion(self, given: str) -> int:
        if given == self.persona.responses.get(self._mood):
            return 5
        return 3 if given == "warm" else 2 if given else 1

    def _text(self, topic: str, told: Mapping[str, str], alluded: str, mood: str) -> str:
        said = [f"I am {mood}." if mood else "", f"{'Explain me something' if self._kind == ASK else 'Let us talk'} about {topic}."]
        said += [f"My {key} is {value}." for key, value in told.items()]
        said += [f"It is like my {alluded}, you know." if alluded else ""]
        return " ".join(one for one in said if one)


def questions(told: Mapping[str, tuple[Fact, int]], persona: Persona, seed: int | Sequence[int] = 0) -> list[Question]:
    """One explicit and one implicit question about every fact that was told, and about none that was not."""
    rng = np.random.default_rng(seed)
    every, out = [fact.value for fact in persona.facts], []
    for key, (fact, _) in told.items():
        out.append(Question(f"What is my {key}?", key, fact.topic, fact.value))
        topical = {one.value for one in persona.facts if one.topic == fact.topic}
        others = [value for value in every if value not in topical]
        options = [fact.value, *(others[at] for at in rng.permutation(len(others))[:3])]
        shuffled = tuple(options[at] for at in rng.permutation(len(options)))
        out.append(Question(f"Which name suits something about {fact.topic} for me?", key, fact.topic, fact.value, shuffled))
    return out


def as_dict(message: Message) -> dict[str, Any]:
    """A message as plain data, for assistants that read the structured form."""
    return {name: getattr(message, name) for name in message.__dataclass_fields__}


def _fit(given: int, wanted: int) -> int:
    return FIT[min(4, abs(given - wanted))]
