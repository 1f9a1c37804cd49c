"""Certainty-aware judging: certainties become probabilities, doubtful cases are left to somebody else, and a report says how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from sartor.errors import ConfigError, EmptyData, NotFitted
from sartor.evaluate.judge.base import Case, Judge, Verdict
from sartor.evaluate.judge.order import BothOrders
from sartor.parts.statistics import Isotonic, calibration, isotonic, wilson


@dataclass(kw_only=True, eq=False)
class PersonalizedJudge:
    """A judge whose certainty was checked against real choices, and which says nothing where it is not certain enough.

    Source: Dong, Hu and Collier, Can LLM be a Personalized Judge?, EMNLP Findings 2024. Differs from the paper in: both orders are judged, the
    certainty is calibrated (isotonic) on labelled pairs, and the certainty from which it speaks is chosen for a wanted accuracy by the lower
    end of its Wilson interval; the paper looks at fixed bands.

    State: nothing per person; per judge the calibration map and a threshold (below 1 KB).
    """

    judge: Judge
    """A rule, a probe or a language model."""
    both_orders: bool = True
    accuracy: float = 0.8
    """Wanted of what it says."""
    map_: Isotonic | None = field(default=None, repr=False)
    threshold_: float = field(default=float("inf"), repr=False)
    """Certainty from which it speaks; infinite where the wanted accuracy cannot be shown."""

    def verdicts(self, cases: Sequence[Case]) -> list[Verdict]:
        """What the judge says, doubtful or not."""
        return (BothOrders(judge_=self.judge) if self.both_orders else self.judge).judge(cases)

    def calibrate(self, cases: Sequence[Case], choices: Sequence[str]) -> PersonalizedJudge:
        """Learn from labelled pairs ("A" or "B") how often it is right at which certainty. Raises `EmptyData` when no verdict can be used."""
        verdicts = self.verdicts(cases)
        certainty, right = _outcomes(verdicts, choices)
        if not certainty.size:
            raise EmptyData("no case has a verdict to calibrate by", fix="give labelled pairs that the judge can tell apart")
        self.map_ = isotonic(certainty, right)
        self.threshold_ = float("inf")
        for level in np.unique(certainty)[::-1]:
            spoken = right[certainty >= level]
            if wilson(int(spoken.sum()), spoken.size)[0] >= self.accuracy:
                self.threshold_ = float(level)
        return self

    def decide(self, cases: Sequence[Case]) -> list[tuple[str | None, float]]:
        """Per case the choice, None where it abstains, and the probability that it is right."""
        if self.map_ is None:
            raise NotFitted("the judge is not calibrated", fix="call calibrate(cases, choices)")
        verdicts = self.verdicts(cases)
        chances = self.map_(np.array([one.certainty for one in verdicts]))
        return [
            (one.choice, float(chance)) if one.choice in ("A", "B") and one.certainty >= self.threshold_ else (None, float(chance))
            for one, chance in zip(verdicts, chances, strict=True)
        ]


@dataclass(frozen=True)
class JudgeReport:
    """How well verdicts agree with choices."""

    n: int
    """Cases."""
    unread: int
    """Without a readable verdict: counted, and left out of all shares."""
    ties: int
    accuracy: float
    """Of all verdicts that name an answer."""
    interval: tuple[float, float]
    """Wilson, 95%."""
    by_certainty: list[dict[str, float]]
    """Bands of a tenth of the cases each, the least certain first: low, high, n, accuracy."""
    most_certain: float
    """Accuracy on the most certain share of the verdicts."""
    most_certain_share: float
    coverage: float
    """Share of all cases on which the verdicts, from the most certain on, are right at least `at` of the time."""
    at: float
    calibration_error: float
    """Expected calibration error of the probabilities given; NaN without them."""
    first_place: float
    """Share of verdicts that name A; with answers in random order, one half is no preference for a place."""
    judges_itself: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def judge_report(
    verdicts: Sequence[Verdict], choices: Sequence[str], *, probabilities: np.ndarray | None = None, most: float = 0.3, at: float = 0.8,
    judge: Judge | None = None,
) -> JudgeReport:  # fmt: skip
    """Compare verdicts with true choices ("A" or "B").

    Parameters
    ----------
    probabilities: per case, that the verdict is right (a calibrated judge's); for the calibration error.
    most: share of the verdicts that counts as most certain.
    at: the accuracy of the coverage.
    judge: who judged; a language model that also wrote the answers is named in the report.
    """
    certainty, right = _outcomes(verdicts, choices)
    named = np.array([one.choice in ("A", "B") for one in verdicts], bool)
    n, spoken = len(verdicts), right.size
    order = np.argsort(-certainty, kind="stable")
    running = np.cumsum(right[order]) / np.arange(1, spoken + 1)
    good = np.flatnonzero(running >= at)
    top = order[: max(1, round(most * spoken))] if spoken else order
    bands = [
        {"low": float(certainty[band].min()), "high": float(certainty[band].max()), "n": int(band.size), "accuracy": float(right[band].mean())}
        for band in np.array_split(order[::-1], 10)
        if band.size
    ]
    error = float("nan")
    if probabilities is not None and spoken:
        error = calibration(right, np.asarray(probabilities, np.float64)[named]).error
    return JudgeReport(
        n, sum(one.choice is None for one in verdicts), sum(one.choice == "tie" for one in verdicts),
        float(right.mean()) if spoken else float("nan"), wilson(int(right.sum()), spoken), bands,
        float(right[top].mean()) if spoken else float("nan"), most, float(good[-1] + 1) / n if good.size else 0.0, at, error,
        float(np.mean([one.choice == "A" for one in verdicts if one.choice in ("A", "B")])) if spoken else float("nan"),
        bool(getattr(judge, "judges_itself", False)),
    )  # fmt: skip


def _outcomes(verdicts: Sequence[Verdict], choices: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Certainty, and whether it is right, of the verdicts that name an answer."""
    if len(verdicts) != len(choices):
        raise ConfigError(f"{len(choices)} choices for {len(verdicts)} verdicts", fix="give one per case")
    kept = [(one.certainty, one.choice == choice) for one, choice in zip(verdicts, choices, strict=True) if one.choice in ("A", "B")]
    return np.array([certainty for certainty, _ in kept]), np.array([right for _, right in kept], bool)
