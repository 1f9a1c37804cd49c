"""What RPM answers, and the scale on which answers are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sartor.errors import BadValue, ConfigError, EmptyData


@dataclass(frozen=True)
class Reason:
    """One step of an answer."""

    feature: str
    """The phrase of the request; empty where it is the lack of the factor that speaks."""
    factor: str
    direction: int
    """+1 for yes or a high answer, -1 against."""


@dataclass(frozen=True)
class Answer:
    """An answer with what led to it."""

    text: str
    value: float
    """On the scale of the answers: a rating, or -1 to 1 between two labels; NaN of a language model's words."""
    reasons: tuple[Reason, ...]
    items: tuple[str, ...]
    """Past cases that were shown as examples."""
    flags: tuple[str, ...] = ()
    """"population" (nothing can be told from her history), "text similarity" (the request has no feature), "uncited" (reasons that
    are none of her factors were taken out)."""


@dataclass(frozen=True)
class Scale:
    """Numbers of a range, or two labels, as numbers from -1 to 1."""

    labels: tuple[str, ...]
    """Against and for; empty for numbers."""
    low: float
    high: float

    @classmethod
    def of(cls, texts: pl.Series, *, any_words: bool = False) -> Scale:
        """The scale of a population's answers. `any_words`: a language model answers, so they may be anything.

        Raises `EmptyData` where all are the same, `ConfigError` for words of more than two kinds.
        """
        known = texts.unique().sort().to_list()
        if len(known) < 2:
            raise EmptyData("all answers of the population are the same", fix="give texts with different answers", frame="texts")
        numbers = texts.cast(pl.Float64, strict=False)
        if not numbers.null_count() and numbers.is_finite().all():
            return cls((), float(numbers.min()), float(numbers.max()))  # type: ignore[arg-type]
        if len(known) > 2 and not any_words:
            what = f"answers are neither numbers nor one of two labels: there are {len(known)}"
            raise ConfigError(what, fix="name a language model with use(writer=...), which answers in words")
        return cls((known[0], known[1]), -1.0, 1.0) if len(known) == 2 else cls((), 0.0, 0.0)

    @property
    def free(self) -> bool:
        """Whether answers are words of any kind, which are all 0."""
        return not self.labels and self.low == self.high

    def value(self, answer: str) -> float:
        """An answer as a number; a text that is neither label is 0. `BadValue` for what is no number where numbers are meant."""
        if self.free:
            return 0.0
        if self.labels:
            return 1.0 if answer == self.labels[1] else -1.0 if answer == self.labels[0] else 0.0
        try:
            number = float(answer)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise BadValue(f"the answer {answer[:40]!r} is no finite number", fix="the population's answers are numbers")
        return float(np.clip(2 * (number - self.low) / (self.high - self.low) - 1, -1, 1))

    def back(self, value: Any) -> Any:
        """Numbers from -1 to 1 as they were."""
        return (np.asarray(value, np.float64) + 1) / 2 * (self.high - self.low) + self.low

    def words(self, value: float) -> str:
        """A number as an answer."""
        return self.labels[int(value >= 0)] if self.labels else f"{float(self.back(value)):.2f}"
