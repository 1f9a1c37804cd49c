"""Learning by forward passes alone: gradients estimated along random directions, without those that the parameters hardly ever moved in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sartor.errors import ConfigError, Diverged

LEAST = 1e-7
"""Difference of two losses below which it is rounding."""
CHECKED = 20
"""Steps after which it is said that differences are too small."""


class Estimator:
    """Adam on gradients g = (1 / s) sum over n directions of (L(v + mu z) - L(v)) / mu z, z standard normal, s = n sqrt((d + n - 1) / n).

    The values of the last `tau` steps are kept; every `tau` steps the directions beyond the first ones that explain a share 1 - `nu` of their
    (standardised) variance are taken out of all later gradients, and d is what is left.

    Source: Seo et al., ZOODiP: Efficient Personalization of Quantized Diffusion Model without Backpropagation, CVPR 2025 (Subspace Gradient).
    """

    def __init__(
        self, value: Tensor, *, rate: float = 1e-2, directions: int = 2, mu: float = 1e-3, tau: int = 128, nu: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-3, project: bool = True,
    ) -> None:  # fmt: skip
        if tau < 8 or directions < 1 or not mu > 0 or not 0 < nu < 1:
            raise ConfigError(f"tau {tau}, directions {directions}, mu {mu}, nu {nu}", fix="tau >= 8, directions >= 1, mu > 0, nu from 0 to 1")
        self.value, self.rate, self.n, self.mu, self.tau, self.nu = value.clone(), rate, directions, mu, tau, nu
        self.betas, self.epsilon, self.project = betas, epsilon, project
        self.first, self.second = torch.zeros_like(value), torch.zeros_like(value)
        self.kept: list[Tensor] = []
        self.low = torch.zeros(0, value.numel())
        self.steps, self.largest = 0, 0.0

    def step(self, losses: Callable[[Tensor], Tensor], draw: torch.Generator) -> float:
        """One step; `losses` gives float [k] for values [k, *shape], all of the same noise and times. Returns the loss as it was before."""
        directions = torch.randn(self.n, *self.value.shape, generator=draw).to(self.value)
        with torch.no_grad():
            found = losses(torch.cat([self.value[None], self.value + self.mu * directions]))
        if not bool(found.isfinite().all()):
            raise Diverged(f"a loss is not finite at step {self.steps}", fix="use a lower rate")
        gaps = found[1:] - found[0]
        self.largest = max(self.largest, float(gaps.abs().max()))
        if self.steps + 1 == CHECKED and self.largest < LEAST:
            what = f"losses differ by {self.largest:.1e} at most, which is rounding: mu is {self.mu}"
            raise ConfigError(what, fix=f"use mu={self.mu * 100:g}")
        self._move(directions, gaps / self.mu)
        return float(found[0])

    def _move(self, directions: Tensor, slopes: Tensor) -> None:
        left = self.value.numel() - len(self.low)
        grad = torch.einsum("n,n...->...", slopes, directions) / (self.n * ((left + self.n - 1) / self.n) ** 0.5)
        if len(self.low):
            flat = grad.flatten()
            grad = (flat - (flat @ self.low.T) @ self.low).view_as(grad)
        self.steps += 1
        self.first.lerp_(grad, 1 - self.betas[0])
        self.second.lerp_(grad.square(), 1 - self.betas[1])
        first, second = (part / (1 - beta**self.steps) for part, beta in zip((self.first, self.second), self.betas, strict=True))
        self.value -= self.rate * first / (second.sqrt() + self.epsilon)
        if self.project:
            self.kept.append(self.value.flatten().clone())
            if len(self.kept) == self.tau:
                self.low = unimportant(torch.stack(self.kept), self.nu).to(self.value)
                self.kept.clear()


def unimportant(values: Tensor, nu: float) -> Tensor:
    """float [k, d]: directions of values [t, d] beyond the first ones that explain more than a share 1 - nu of their standardised variance."""
    spread = values.std(0, correction=0)
    even = (values - values.mean(0)) / torch.where(spread > 0, spread, 1)
    _, sizes, rows = torch.linalg.svd(even.double(), full_matrices=False)
    explained = (sizes.square() / sizes.square().sum().clamp(min=1e-30)).cumsum(0)
    enough = int((explained > 1 - nu).nonzero()[0]) if bool((explained > 1 - nu).any()) else len(rows) - 1
    return rows[enough + 1 :].to(values)
