"""What a judge is: cases in, verdicts with a certainty out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sartor.errors import BadValue

Choice = Literal["A", "B", "tie"]


@dataclass(frozen=True)
class Case:
    """Two answers to the same thing, and who is to like one of them."""

    persona: str | Mapping[str, str]
    """What is known of the person: a text, or a profile of keys and values."""
    context: str
    """What both answer."""
    a: str
    b: str

    @property
    def persona_text(self) -> str:
        """The persona as text, one line for each key of a profile."""
        return self.persona if isinstance(self.persona, str) else "\n".join(f"{key}: {value}" for key, value in self.persona.items())

    def swapped(self) -> Case:
        """The same with the answers the other way round."""
        return Case(self.persona, self.context, self.b, self.a)


@dataclass(frozen=True)
class Verdict:
    """What a judge says about one case."""

    choice: Choice | None
    """None where no verdict could be read."""
    certainty: float
    """1 to 100; 0 without a verdict."""
    raw: str = ""
    """What the judge itself gave."""

    def swapped(self) -> Verdict:
        """The same verdict about the swapped case."""
        other: dict[Choice | None, Choice | None] = {"A": "B", "B": "A"}
        return Verdict(other.get(self.choice, self.choice), self.certainty, self.raw)


class Judge(ABC):
    """Answers "which of these two would this person prefer?"."""

    no_persona: bool = False
    """Whether cases without a persona are judged, by plain quality, instead of refused."""

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict per case. Equal answers are a tie of certainty 100, without asking; `BadValue` for an empty persona."""
        for number, case in enumerate(cases):
            if not self.no_persona and not case.persona_text.strip():
                raise BadValue(
                    "the persona is empty", fix="say something about the person, or set no_persona=True to judge plain quality", case=number
                )
        different = [number for number, case in enumerate(cases) if case.a != case.b]
        out = [Verdict("tie", 100.0, "the answers are equal")] * len(cases)
        for number, verdict in zip(different, self._judge([cases[number] for number in different]), strict=True):
            out[number] = verdict
        return out

    @abstractmethod
    def _judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Verdicts on cases with two different answers."""


def from_probability(a_is_better: float, raw: str = "") -> Verdict:
    """The likelier answer; certainty 1 at a probability of one half, 100 at 0 and 1."""
    certainty = 1 + 99 * abs(2 * a_is_better - 1)
    return Verdict("tie" if a_is_better == 0.5 else "A" if a_is_better > 0.5 else "B", certainty, raw)
