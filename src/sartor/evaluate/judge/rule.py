"""A judge that is a function: exact where the truth can be computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sartor.errors import BadValue
from sartor.evaluate.judge.base import Case, Judge, Verdict, from_probability


@dataclass(kw_only=True)
class RuleJudge(Judge):
    """Prefers the answer with the higher score; certainty grows with the difference."""

    score: Callable[[Case, str], float]
    """How good an answer is for the case's person."""
    sharpness: float = 10.0
    """P(a better) = sigmoid(sharpness * difference)."""
    no_persona: bool = False

    def _judge(self, cases: Sequence[Case]) -> list[Verdict]:
        out = []
        for number, case in enumerate(cases):
            a, b = self.score(case, case.a), self.score(case, case.b)
            if not (math.isfinite(a) and math.isfinite(b)):
                raise BadValue(f"the scores are {a} and {b}", fix="a rule gives finite numbers", case=number)
            out.append(from_probability(0.5 + 0.5 * math.tanh(self.sharpness * (a - b) / 2), f"{a:g} {b:g}"))
        return out
