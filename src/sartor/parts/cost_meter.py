"""What learning costs: floating-point operations by the 6N rule, tokens, seconds and bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Cost:
    """What something has cost so far."""

    tokens: int = 0
    """Trained on, each time that it was."""
    flops: float = 0.0
    """Of training and of reading, multiplications and additions."""
    cpu_seconds: float = 0.0
    """Of this process, all threads together."""
    seconds: float = 0.0
    """By the clock."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for a state's notes."""
        return asdict(self)


class CostMeter:
    """Counts while something is trained.

        meter = CostMeter(weights=1_000_000, trained=32_768)
        with meter.running():
            for batch in batches:
                step(batch)
                meter.train(batch.numel())
        meter.cost.flops

    The rule for dense networks: per token a pass forward is 2 operations for each weight that is multiplied, the gradient's way back through
    activations 2 for each weight that it passes, and the gradient of weights 2 for each weight that is trained: 6N when all are. Products of
    activations with each other, as in attention, are left out. Source: Kaplan et al., Scaling Laws for Neural Language Models, 2020.

    Parameters
    ----------
    weights: that one token is multiplied with.
    trained: of all that is trained.
    passed: weights on the gradient's way back: those above the lowest trained one; all by default.
    """

    def __init__(self, *, weights: int, trained: int, passed: int | None = None) -> None:
        self.weights, self.trained, self.passed = weights, trained, weights if passed is None else passed
        self.cost = Cost()

    @property
    def flops_per_token(self) -> float:
        """Of training."""
        return 2.0 * (self.weights + self.passed + self.trained)

    def train(self, tokens: int) -> None:
        """One training step on so many tokens."""
        self.cost.tokens += tokens
        self.cost.flops += self.flops_per_token * tokens

    def read(self, tokens: int) -> None:
        """One pass forward, such as a validation."""
        self.cost.flops += 2.0 * self.weights * tokens

    @contextmanager
    def running(self) -> Iterator[None]:
        """While inside, the clocks run."""
        cpu, clock = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cost.cpu_seconds += time.process_time() - cpu
            self.cost.seconds += time.perf_counter() - clock
