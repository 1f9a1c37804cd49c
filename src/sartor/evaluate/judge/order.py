"""Judging both orders: what a judge says only because of the place is no verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sartor.evaluate.judge.base import Case, Judge, Verdict


@dataclass(kw_only=True)
class BothOrders(Judge):
    """Asks another judge twice, the answers swapped; a verdict that follows the place is a tie of certainty 1.

    Costs twice as much. Source: Zheng et al., NeurIPS Datasets and Benchmarks 2023 (the conservative form).
    """

    judge_: Judge

    def __post_init__(self) -> None:
        self.no_persona = self.judge_.no_persona

    def _judge(self, cases: Sequence[Case]) -> list[Verdict]:
        straight, turned = self.judge_.judge(cases), self.judge_.judge([case.swapped() for case in cases])
        out = []
        for one, other in zip(straight, turned, strict=True):
            back = other.swapped()
            if one.choice is None or back.choice is None:
                out.append(Verdict(None, 0.0, f"{one.raw} | {back.raw}"))
            elif one.choice == back.choice:
                out.append(Verdict(one.choice, (one.certainty + back.certainty) / 2, f"{one.raw} | {back.raw}"))
            else:
                out.append(Verdict("tie", 1.0, f"{one.raw} | {back.raw}"))
        return out
