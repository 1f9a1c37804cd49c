"""How evenly clients are served, and how fast everybody got there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sartor.errors import EmptyData


@dataclass(frozen=True)
class Fairness:
    """A metric over clients."""

    mean: float
    deviation: float
    """Standard deviation over clients."""
    worst_decile: float
    """Mean of the worst served tenth of clients, at least one."""
    clients: int

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def fairness(values: Sequence[float] | np.ndarray) -> Fairness:
    """Of a value per client; NaN (nothing to judge by) is left out."""
    known = np.asarray(values, np.float64)
    known = np.sort(known[~np.isnan(known)])
    if not known.size:
        raise EmptyData("no client has a value", fix="give clients examples to be judged by")
    return Fairness(float(known.mean()), float(known.std()), float(known[: max(1, known.size // 10)].mean()), int(known.size))


def rounds_to(curve: Sequence[float], goal: float) -> int | None:
    """The first round (from 1) whose value is at least `goal`; None when there is none."""
    return next((number for number, one in enumerate(curve, 1) if one >= goal), None)
