"""A language model as judge: asked for a letter and a certainty, or read off the probabilities of the two letters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sartor.errors import ConfigError
from sartor.evaluate.judge.base import Case, Judge, Verdict, from_probability

if TYPE_CHECKING:
    from sartor.write.backends.backend import Backend

BANDS = (
    ("1-20", "the profile says hardly anything that bears on the choice"),
    ("21-40", "there is a hint"),
    ("41-60", "there is a clear reason"),
    ("61-80", "there are strong reasons"),
    ("81-100", "the profile decides it in so many words"),
)
_VERDICT = re.compile(r"\[\[\s*(A|B|tie)\s*\]\]", re.IGNORECASE)
_CERTAINTY = re.compile(r"\[\[\s*(\d{1,3})\s*\]\]")


@dataclass(kw_only=True, eq=False)
class LMJudge(Judge):
    """A writer backend that judges.

    `mode="asked"` lets the model say letter and certainty; `mode="probabilities"` compares its probabilities of the two letters, and
    `mode="likelihood"` those of the two answers themselves, as this person's, both for models that give log-probabilities: the last one is for a
    model that was trained to write as a profile says, and its certainty needs calibration. A model that also wrote the answers judges itself:
    name it in `writer`, and reports say so.
    """

    backend: Backend
    mode: Literal["asked", "probabilities", "likelihood"] = "asked"
    certainty: bool = True
    """Ask for it; without, every verdict has certainty 100."""
    ties: bool = False
    """Allow "tie" as an answer."""
    retries: int = 3
    """More tries where an answer cannot be read."""
    temperature: float = 0.0
    labels: tuple[str, str] = ("A", "B")
    """The two texts whose probabilities are compared."""
    writer: str = ""
    """Name of the model that wrote the answers, if it is known."""
    no_persona: bool = False
    unread: int = 0
    """Answers so far that could not be read after all retries."""

    def __post_init__(self) -> None:
        if self.mode not in ("asked", "probabilities", "likelihood") or self.retries < 0:
            what = f"mode is {self.mode!r}, retries {self.retries}"
            raise ConfigError(what, fix='mode is "asked", "probabilities" or "likelihood", retries at least 0')

    @property
    def judges_itself(self) -> bool:
        """Whether writer and judge are the same model."""
        return bool(self.writer) and self.writer == self.backend.name

    def prompt(self, case: Case) -> str:
        """What the model is asked."""
        if self.mode == "likelihood":
            return f"{case.persona_text}\n{case.context}"
        profile = f"Profile of the person:\n{case.persona_text}\n\n" if case.persona_text.strip() else ""
        who = "this person" if profile else "most people"
        lines = [f"{profile}Question:\n{case.context}\n\nAnswer A:\n{case.a}\n\nAnswer B:\n{case.b}\n\nWhich answer would {who} prefer?"]
        choices = "[[A]], [[B]] or [[tie]]" if self.ties else "[[A]] or [[B]]"
        if self.mode == "probabilities":
            return f"{lines[0]} Reply with A or B."
        lines.append(f"Reply with {choices}" + (", then with how certain you are, such as [[55]]:" if self.certainty else "."))
        lines += [f"[[{band}]] {meaning}" for band, meaning in BANDS] if self.certainty else []
        return "\n".join(lines)

    def _judge(self, cases: Sequence[Case]) -> list[Verdict]:
        prompts = [[{"role": "user", "content": self.prompt(case)}] for case in cases]
        if self.mode != "asked":
            pairs = [(case.a, case.b) if self.mode == "likelihood" else self.labels for case in cases]
            first, second = (self.backend.logprobs(prompts, [pair[side] for pair in pairs]) for side in (0, 1))
            margins = [float(np.sum(a) - np.sum(b)) for a, b in zip(first, second, strict=True)]
            return [from_probability(1 / (1 + float(np.exp(-np.clip(margin, -500, 500)))), f"{margin:.4f}") for margin in margins]
        out = [Verdict(None, 0.0)] * len(cases)
        left = list(range(len(cases)))
        for attempt in range(self.retries + 1):
            if not left:
                break
            # A model without chance would only repeat itself.
            temperature = self.temperature if attempt == 0 else max(self.temperature, 0.7)
            told = self.backend.generate([prompts[number] for number in left], max_tokens=24, temperature=temperature, seed=attempt)
            for number, answer in zip(left, told, strict=True):
                out[number] = self.read(answer.text)
            left = [number for number in left if out[number].choice is None]
        self.unread += len(left)
        return out

    def read(self, text: str) -> Verdict:
        """The verdict in a model's answer; choice None where there is none, or several that differ."""
        choices = {found.lower() for found in _VERDICT.findall(text)}
        numbers = [int(found) for found in _CERTAINTY.findall(text) if 1 <= int(found) <= 100]
        if len(choices) != 1 or (choices == {"tie"} and not self.ties) or (self.certainty and not numbers):
            return Verdict(None, 0.0, text)
        choice = choices.pop()
        return Verdict("tie" if choice == "tie" else "A" if choice == "a" else "B", float(numbers[0]) if self.certainty else 100.0, text)
