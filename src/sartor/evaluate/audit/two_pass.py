"""Two passes: reason as nobody, then say it as somebody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sartor.evaluate.audit.bias_runs_deep import Answer

Restyle = Callable[[str, Sequence[str], Sequence[str]], Sequence[str]]
"""Instruction, questions and plain answers -> the answers in the persona's words."""


@dataclass(frozen=True)
class TwoPass:
    """An `Answer` whose content comes without the persona and whose style comes with it; costs two calls where there is a persona."""

    answer: Answer
    restyle: Restyle

    def __call__(self, instruction: str, questions: Sequence[str]) -> Sequence[str]:
        plain = self.answer("", questions)
        return self.restyle(instruction, questions, plain) if instruction else plain
