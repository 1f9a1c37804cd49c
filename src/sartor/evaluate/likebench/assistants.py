"""Assistants that LikeBench is tried on: what they are good and bad at is known, so the benchmark must show it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sartor.evaluate.likebench.persona import NEGATIVE, RESPONSES, Persona
from sartor.evaluate.likebench.user import ASK, Message, Question

SCALES = ("formality", "length", "humor")
_NAMES = {"knowledge": "level"}


class Assistant(Protocol):
    """What LikeBench talks to: one object per person, which sees messages and nothing else of her."""

    def reply(self, message: Message, dialogue: Sequence[Message]) -> Message:
        """The answer to a message; `dialogue` is what was said in this session before it, both sides."""
        ...

    def end_session(self) -> None:
        """A session is over: time to write down what is worth keeping."""
        ...

    def answer(self, question: Question) -> str:
        """What it remembers; nothing where it does not."""
        ...

    def stored(self) -> Mapping[str, Any]:
        """All that it keeps of the person as plain data; "facts" is a mapping or list of single facts."""
        ...


@dataclass(kw_only=True)
class Static:
    """Says the same to everybody: everything in the middle, kind, and about nobody's facts."""

    def reply(self, message: Message, dialogue: Sequence[Message]) -> Message:
        """See `Assistant`."""
        level = self._level(message)
        return Message(
            text=f"About {message.topic}, then.", topic=message.topic, emotion=self._response(message), level=level, told=self._told(message),
            asks_back=bool(message.alludes) and message.alludes not in self._told(message), **self._style(message),
        )  # fmt: skip

    def end_session(self) -> None:
        """See `Assistant`."""

    def answer(self, question: Question) -> str:
        """See `Assistant`; without facts the first option is as good as any."""
        facts: Mapping[str, tuple[str, str]] = self._facts()
        if question.asked_key:
            return facts.get(question.asked_key, ("", ""))[0]
        known = [value for value, topic in facts.values() if topic == question.topic and value in question.options]
        return known[0] if known else question.options[0]

    def stored(self) -> Mapping[str, Any]:
        """See `Assistant`."""
        return {"facts": self._facts()}

    def _style(self, message: Message) -> dict[str, Any]:
        return {"formality": 3, "length": 3, "humor": 3}

    def _level(self, message: Message) -> int:
        return 3

    def _response(self, message: Message) -> str:
        return "warm" if message.emotion else ""

    def _told(self, message: Message) -> dict[str, str]:
        """Facts that it refers to."""
        return {}

    def _facts(self) -> Mapping[str, tuple[str, str]]:
        """Key -> value and topic."""
        return {}


@dataclass(kw_only=True)
class Remembering(Static):
    """Memory only: keeps every fact, resolves what is alluded to, brings facts up where they belong, and never changes how it speaks."""

    facts: dict[str, tuple[str, str]] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)
    """Keys that were told or used in this session."""

    def reply(self, message: Message, dialogue: Sequence[Message]) -> Message:
        """See `Assistant`."""
        self.facts |= {key: (value, message.topic) for key, value in message.told.items()}
        self.fresh |= set(message.told)
        made = super().reply(message, dialogue)
        self.fresh |= set(made.told)
        return made

    def end_session(self) -> None:
        """See `Assistant`."""
        self.fresh.clear()

    def _told(self, message: Message) -> dict[str, str]:
        keys = [key for key, (_, topic) in self.facts.items() if topic == message.topic and key not in self.fresh]
        keys += [message.alludes] if message.alludes in self.facts and message.alludes not in keys else []
        return {key: self.facts[key][0] for key in keys}

    def _facts(self) -> Mapping[str, tuple[str, str]]:
        return self.facts


@dataclass(kw_only=True)
class Oracle(Remembering):
    """Has read the profile. What it says of facts is still only what was told: the rest she has not shared."""

    persona: Persona

    def _style(self, message: Message) -> dict[str, Any]:
        return self.persona.wanted(message.emotion)

    def _level(self, message: Message) -> int:
        return self.persona.level(message.topic)

    def _response(self, message: Message) -> str:
        return self.persona.responses.get(message.emotion, "")


@dataclass(kw_only=True)
class StyleLearner(Static):
    """Learns how she speaks and what she complains of; keeps no facts.

    Scales are means of what her messages show, good and bad moods apart, shrunk towards the middle; a complaint counts as an
    observation two steps further. In a mood it tries one way of answering after another, until she no longer complains.
    """

    prior: float = 1.0
    """Messages that the middle counts for."""
    sums: dict[str, list[float]] = field(default_factory=dict)
    """Scale and where it holds -> sum, count."""
    tried: dict[str, int] = field(default_factory=dict)
    """Mood -> ways that she did not like."""
    last: Message | None = None
    """The message before this one."""

    def reply(self, message: Message, dialogue: Sequence[Message]) -> Message:
        """See `Assistant`."""
        self._learn(message, dialogue)
        self.last = message
        return super().reply(message, dialogue)

    def end_session(self) -> None:
        """See `Assistant`."""
        self.last = None

    def stored(self) -> Mapping[str, Any]:
        """See `Assistant`."""
        return {"facts": {}, "sums": self.sums, "tried": self.tried}

    def _learn(self, message: Message, dialogue: Sequence[Message]) -> None:
        if message.complaints and self.last is not None:
            for aspect, sign in message.complaints.items():
                name = _NAMES.get(aspect, aspect)
                if aspect == "emotion":
                    self.tried[self.last.emotion] = self.tried.get(self.last.emotion, 0) + 1
                else:
                    given = getattr(dialogue[-1], name)
                    self._see(name, self.last, min(5, max(1, given + 2 * sign)))
        for name in (*SCALES, *(("level",) if message.kind == ASK else ())):
            self._see(name, message, getattr(message, name))

    def _see(self, name: str, message: Message, value: float) -> None:
        total = self.sums.setdefault(self._where(name, message), [0.0, 0.0])
        total[0] += value
        total[1] += 1

    def _where(self, name: str, message: Message) -> str:
        return f"{name}/{message.topic}" if name == "level" else f"{name}/{'bad' if message.emotion in NEGATIVE else 'other'}"

    def _mean(self, name: str, message: Message) -> int:
        total, count = self.sums.get(self._where(name, message), (0.0, 0.0))
        return round((total + 3 * self.prior) / (count + self.prior))

    def _style(self, message: Message) -> dict[str, Any]:
        return {name: self._mean(name, message) for name in SCALES}

    def _level(self, message: Message) -> int:
        return self._mean("level", message)

    def _response(self, message: Message) -> str:
        return RESPONSES[self.tried.get(message.emotion, 0) % len(RESPONSES)] if message.emotion else ""


@dataclass(kw_only=True)
class ProfileBased(Static):
    """The paper's baseline: a profile of her that is rewritten after each session, with room for so much, and read in the next ones."""

    room: int = 8
    """Facts that the profile has room for; the newest stay."""
    profile: dict[str, Any] = field(default_factory=lambda: {"facts": {}, "style": {}, "levels": {}})
    seen: list[Message] = field(default_factory=list)
    """Of this session."""

    def reply(self, message: Message, dialogue: Sequence[Message]) -> Message:
        """See `Assistant`."""
        self.seen.append(message)
        return super().reply(message, dialogue)

    def end_session(self) -> None:
        """See `Assistant`."""
        facts = self.profile["facts"] | {key: [value, one.topic] for one in self.seen for key, value in one.told.items()}
        self.profile["facts"] = dict(list(facts.items())[-self.room :])
        groups: list[tuple[str, str, list[int]]] = [("style", name, [getattr(one, name) for one in self.seen]) for name in SCALES]
        asked = [one for one in self.seen if one.kind == ASK]
        groups += [("levels", topic, [one.level for one in asked if one.topic == topic]) for topic in dict.fromkeys(one.topic for one in asked)]
        for part, name, shown in groups:
            if shown:
                now = sum(shown) / len(shown)
                self.profile[part][name] = (self.profile[part][name] + now) / 2 if name in self.profile[part] else now
        self.seen = []

    def stored(self) -> Mapping[str, Any]:
        """See `Assistant`."""
        return self.profile

    def _style(self, message: Message) -> dict[str, Any]:
        return {name: round(self.profile["style"].get(name, 3)) for name in SCALES}

    def _level(self, message: Message) -> int:
        return round(self.profile["levels"].get(message.topic, 3))

    def _told(self, message: Message) -> dict[str, str]:
        used = {key for one in self.seen for key in one.told} | {one.alludes for one in self.seen[:-1]}
        here = any(one.topic == message.topic for one in self.seen[:-1])
        return {
            key: value
            for key, (value, topic) in self.profile["facts"].items()
            if key == message.alludes or (topic == message.topic and key not in used and not here)
        }

    def _facts(self) -> Mapping[str, tuple[str, str]]:
        return {key: (value, topic) for key, (value, topic) in self.profile["facts"].items()}


def size_of(stored: Mapping[str, Any]) -> tuple[int, int]:
    """Single facts in it, and bytes of it as JSON."""
    return len(stored.get("facts", ())), len(json.dumps(stored, ensure_ascii=False, sort_keys=True).encode())
