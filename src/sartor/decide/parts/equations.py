"""Kinds of twins: which equations a process may follow, how they are fitted to a run, and where they rest.

Equations say how ln x moves per step, x relative to a reference. The same few functions serve arrays (fitting) and tensors (controllers).

Source: the metamodels of two agent-based models of the study on control of medical digital twins, 2024: predator and prey (`twin.growth`), and the
metabolic pathway's rate laws with `PUBLISHED`. Ours: the posterior under the population's variance and the run's own noise, for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sartor.decide.parts import twin
from sartor.decide.parts.twin import Twin
from sartor.errors import TooLittleEvidence

PUBLISHED = np.array(
    [2.64447, 6914.65, 24119.2, 1291.79, 3.34356, 3594.80, 17601.7, 2.57390, 8489.16, 21221.1, 0.302156, 1568.15, 8.97848, 351.513, 2323.28, 2.6e26,
     123792.0]
)  # fmt: skip
"""float64 [17], the pathway's rates per tick and affinities in molecules; the 16th says that T alone does not slow O down."""
SAME = 0.05
"""Share by which people are taken to differ at least."""
UNSURE = 1.0
"""Standard deviation of ln p where nobody else has been measured."""
STILL = 0.05
"""A run whose inflow varies by a smaller share of its mean tells nothing of what inflow does."""


class Equations(Protocol):
    """One kind of twin."""

    @property
    def terms(self) -> np.ndarray:
        """bool [blocks, size]: which parameters there are; each block is independent of the others."""

    @property
    def aims(self) -> np.ndarray:
        """float64 [m, q], 1 where a control is there to bring a variable to its target."""

    def change(self, parameters: Any, x: Any, rates: Any) -> Any:
        """d ln x per step [..., m] of parameters [..., blocks, size], x [..., m] and rates [..., q]; of arrays or tensors."""

    def absolute(self, parameters: np.ndarray) -> np.ndarray:
        """Parameters [blocks, size] of counts instead of relative ones."""

    def least(self, parameters: np.ndarray) -> np.ndarray:
        """Least standard deviation between people of each parameter [blocks, size]: about 5 % of what it stands for."""

    def identify(self, pieces: Sequence[tuple[np.ndarray, np.ndarray]], prior: Twin | None, window: int) -> Twin:
        """The twin of one process, from stretches of counts relative to the reference and rates; raises `TooLittleEvidence`."""

    def steady(self, parameters: np.ndarray, target: np.ndarray, limit: float) -> np.ndarray:
        """Constant rates [q] that hold the target, by absolute parameters; raises `Infeasible` with the nearest target that can be held."""


@dataclass(frozen=True, eq=False)
class LotkaVolterra:
    """Variables that act on each other's growth, and controls that remove them."""

    terms: np.ndarray
    removes: np.ndarray
    """float64 [m, q], 1 where a control removes a variable."""
    reference: np.ndarray

    @property
    def aims(self) -> np.ndarray:
        return self.removes

    def change(self, parameters: Any, x: Any, rates: Any) -> Any:
        return twin.growth(parameters, x, rates, self.removes if isinstance(x, np.ndarray) else x.new_tensor(self.removes))

    def absolute(self, parameters: np.ndarray) -> np.ndarray:
        return np.concatenate([parameters[:, :1], parameters[:, 1:] / self.reference], 1)

    def least(self, parameters: np.ndarray) -> np.ndarray:
        return np.abs(SAME * parameters)

    def identify(self, pieces: Sequence[tuple[np.ndarray, np.ndarray]], prior: Twin | None, window: int) -> Twin:
        return twin.identify(pieces, self.terms, self.removes, prior, window)

    def steady(self, parameters: np.ndarray, target: np.ndarray, limit: float) -> np.ndarray:
        return twin.steady(parameters, self.removes, target, limit)


@dataclass(frozen=True, eq=False)
class Pathway:
    """Five metabolites S, P, Q, R, T, four enzymes that saturate and are slowed by their products, an inflow of S and an outflow of everything.

    Parameters are ln p, in one block of 17.
    """

    reference: np.ndarray
    ticks: int = 25
    """Of one step; rates and parameters are per tick."""
    outflow: float = 0.0005
    steered: int = 4
    """Which metabolite has the target."""

    @property
    def terms(self) -> np.ndarray:
        return np.ones((1, PUBLISHED.size), bool)

    @property
    def aims(self) -> np.ndarray:
        return np.eye(self.reference.size)[:, [self.steered]]

    def change(self, parameters: Any, x: Any, rates: Any) -> Any:
        stack: Any = np.stack
        if isinstance(x, np.ndarray):
            reference = self.reference
            p = np.exp(parameters[..., 0, :])
        else:
            import torch

            reference, stack = x.new_tensor(self.reference), torch.stack
            p = parameters[..., 0, :].exp()
        counts = x * reference
        s, m, q, r, t = (counts[..., number] for number in range(5))
        a, e, i = (p[..., 0] / p[..., 1], p[..., 4] / p[..., 5], p[..., 7] / p[..., 8])
        first = a * s / (1 + s / p[..., 1] + m / p[..., 2] + r / p[..., 3])
        second = e * m / (1 + m / p[..., 5] + q / p[..., 6])
        third = i * q / (1 + q / p[..., 8] + r / p[..., 9])
        helped = r / p[..., 13]
        busy = 1 + m / p[..., 11] + t / p[..., 15] + helped * (1 + m / p[..., 14] + t / p[..., 16])
        fourth = (p[..., 10] * m / p[..., 11] + p[..., 12] * helped * m / p[..., 14]) / busy
        flows = [rates[..., 0] - first, first - second - fourth, second - third, third, fourth]
        return self.ticks * (stack([flow + 0 * s for flow in flows], -1) / counts - self.outflow)

    def absolute(self, parameters: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(parameters))

    def least(self, parameters: np.ndarray) -> np.ndarray:
        # Of a logarithm, 0.05 is 5 % whatever the unit.
        return np.full_like(parameters, SAME)

    def identify(self, pieces: Sequence[tuple[np.ndarray, np.ndarray]], prior: Twin | None, window: int) -> Twin:
        from scipy.optimize import least_squares

        if (steps := sum(len(x) for x, _ in pieces)) < twin.LEAST:
            raise TooLittleEvidence(f"there are {steps} steps", fix=f"measure at least {twin.LEAST}, with pulses of the inflow")
        at, moved, rates = (np.concatenate(part) for part in zip(*(twin.windows(x, rates, window) for x, rates in pieces), strict=True))
        if rates.std() < STILL * max(rates.mean(), 1e-12):
            raise TooLittleEvidence("the inflow hardly changed", fix="add pulses of it, such as half and twice its mean for 80 steps each")
        size = PUBLISHED.size
        centre = np.log(PUBLISHED) if prior is None else prior.mean[0]
        root = np.linalg.cholesky(np.linalg.inv(UNSURE**2 * np.eye(size) if prior is None else prior.covariance[0])).T
        noise = np.full(moved.shape[1], moved.std()) if prior is None else prior.noise / np.sqrt(1.5 * window)

        def off(p: np.ndarray) -> np.ndarray:
            return np.concatenate([((moved - self.change(p[None], at, rates)) / noise).ravel(), root @ (p - centre)])

        found = centre
        for _ in range(3):
            # What the equations leave is known only after a fit.
            solution = least_squares(off, found)
            found = solution.x
            noise = np.maximum(np.sqrt(((moved - self.change(found[None], at, rates)) ** 2).mean(0)), 1e-9)
        jacobian = least_squares(off, found, max_nfev=1).jac
        # As in `twin.identify`: two neighbouring windows of a random walk differ by 2/3 of a window's steps.
        return Twin(found[None], np.linalg.inv(jacobian.T @ jacobian)[None], noise * np.sqrt(1.5 * window))

    def steady(self, parameters: np.ndarray, target: np.ndarray, limit: float) -> np.ndarray:
        return twin.nearest_held(lambda wanted: self._resting(np.log(parameters), wanted), target, limit)

    def _resting(self, parameters: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """The inflow [1] at which the steered metabolite rests where it is wanted; NaN for none."""
        from scipy.optimize import least_squares

        free = [number for number in range(self.reference.size) if number != self.steered]
        x = np.empty(self.reference.size)
        x[self.steered] = wanted[0] / self.reference[self.steered]

        def off(unknown: np.ndarray) -> np.ndarray:
            x[free] = np.exp(unknown[:-1])
            return np.asarray(self.change(parameters, x, np.exp(unknown[-1:])))

        found = least_squares(off, np.zeros(x.size), bounds=(-20, 20))
        return np.exp(found.x[-1:]) if found.cost < 1e-12 else np.array([np.nan])
