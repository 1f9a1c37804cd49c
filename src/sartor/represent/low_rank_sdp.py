"""Clustering semidefinite programs, solved over non-negative factors of low rank.

    maximise   sum over k of <A_k, Z_k>      Z_k = V_k V_k',  V_k >= 0 [n, r]
    subject to trace Z_k = t_k,              (sum over k of Z_k) 1 = 1

With one matrix, t = K and A the negative squared distances this is the k-means program of Peng and Wei, 2007; with a matrix for every
group, t_k = 1, it is the likelihood adjusted one. A factor instead of Z makes Z positive semidefinite and non-negative by itself and costs
n r instead of n^2 numbers; the rows' sums are met by an augmented Lagrangian, the traces by the length of V_k.

Source: Zhuang, Chen, Yang and Zhang, Statistically optimal k-means clustering via nonnegative low-rank semidefinite programming, ICLR 2024
(for one matrix). Differs from it in: steps are spectral (Barzilai and Borwein) with a non-monotone line search, not of fixed length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_MEMORY = 8
"""Steps whose worst value a new one must beat."""


@dataclass(frozen=True, eq=False)
class Affinity:
    """A = constant - |y_i - y_j|^2 / 4, never written out: n p numbers instead of n^2."""

    points: np.ndarray
    """float64 [n, p], whitened and centred."""
    constant: float

    squares: np.ndarray = field(init=False)
    """float64 [n]: squared lengths of the points."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "squares", (self.points**2).sum(axis=1))

    def times(self, v: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """A V, for V [n, r] whose column sums are known."""
        out: np.ndarray = 0.5 * (self.points @ (self.points.T @ v))
        out += self.constant * sums - 0.25 * (self.squares @ v)
        out -= 0.25 * self.squares[:, None] * sums
        return out

    def dense(self) -> np.ndarray:
        """float64 [n, n]."""
        out: np.ndarray = self.constant - 0.25 * (self.squares[:, None] + self.squares[None, :] - 2 * self.points @ self.points.T)
        return out

    @property
    def size(self) -> float:
        """About how large its entries are apart from the constant."""
        return 0.5 * float(self.squares.mean()) + 1e-300


@dataclass(frozen=True, eq=False)
class Solution:
    """Factors, and how good they are."""

    factors: list[np.ndarray]
    """float64 [n, r] each."""
    objective: float
    violation: float
    """The largest |row sum - 1|."""
    steps: int

    @property
    def membership(self) -> np.ndarray:
        """float64 [n, K]: row sums of every Z_k, about 1 over all k."""
        return np.stack([v @ v.sum(axis=0) for v in self.factors], axis=1)


def solve(
    affinities: Sequence[Affinity], traces: Sequence[float], *, rank: int, seed: int = 0, start: Sequence[np.ndarray] | None = None,
    tolerance: float = 1e-3, outer: int = 30, inner: int = 60,
) -> Solution:  # fmt: skip
    """A stationary point of the program.

    Parameters
    ----------
    affinities, traces: A_k and t_k.
    rank: columns of every factor.
    seed: of the start, where none is given: factors of positive random numbers.
    tolerance: of the largest |row sum - 1|, at which it ends.
    outer, inner: updates of the multipliers, and steps between them, at most.
    """
    n, rng = affinities[0].points.shape[0], np.random.default_rng(seed)
    radius = np.sqrt(np.asarray(traces, np.float64))
    made = [rng.random((n, rank)) for _ in affinities] if start is None else start
    v = _projected(np.stack(made), radius)
    # A constant that all matrices share changes nothing; what is left is scaled to about 1.
    shift, scale = float(np.mean([one.constant for one in affinities])), float(np.mean([one.size for one in affinities]))
    scaled = [Affinity(one.points / np.sqrt(scale), (one.constant - shift) / scale) for one in affinities]
    multipliers, penalty = np.zeros(n), 1.0
    steps, last, alpha = 0, np.inf, 0.0

    def value(v: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The Lagrangian, its gradient, and the violation of the row sums."""
        sums = v.sum(axis=1)
        products = np.stack([one.times(own, total) for one, own, total in zip(scaled, v, sums, strict=True)])
        gap = np.einsum("knr,kr->n", v, sums) - 1
        weight = multipliers + penalty * gap
        found = -float((products * v).sum()) + float(multipliers @ gap) + 0.5 * penalty * float(gap @ gap)
        gradient = -2 * products
        gradient += weight[None, :, None] * sums[:, None, :]
        gradient += (weight @ v)[:, None, :]
        return found, gradient, gap

    for _ in range(outer):
        found, gradient, gap = value(v)
        recent = [found]
        alpha = 0.1 * float(np.sqrt((v * v).sum() / (gradient * gradient).sum()))
        for _ in range(inner):
            # Never so far that a factor could lose all its entries at once.
            length = min(alpha, 0.5 * float(np.min(radius / np.sqrt((gradient * gradient).sum(axis=(1, 2)) + 1e-300))))
            for _ in range(30):
                candidate = _projected(v - length * gradient, radius)
                move = candidate - v
                square = float((move * move).sum())
                after, next_gradient, next_gap = value(candidate)
                if after <= max(recent) - 1e-4 * square / length:
                    break
                length *= 0.4
            turned = float((move * (next_gradient - gradient)).sum())
            v, gradient, gap = candidate, next_gradient, next_gap
            alpha = float(np.clip(square / turned, 1e-6, 1e3)) if turned > 0 else min(1e3, 2 * length)
            recent = [*recent[-_MEMORY + 1 :], after]
            steps += 1
            if square < 1e-10 * length**0.5:
                break
        violation = float(np.abs(gap).max())
        if violation <= tolerance:
            break
        multipliers = multipliers + penalty * gap
        if violation > 0.5 * last:
            penalty *= 2.0
        last = violation
    objective = sum(float((own * one.times(own, own.sum(axis=0))).sum()) for one, own in zip(affinities, v, strict=True))
    return Solution(list(v), objective, float(np.abs(gap).max()), steps)


def _projected(v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The nearest non-negative factors of these lengths."""
    v = np.maximum(v, 0)
    length = np.sqrt((v * v).sum(axis=(1, 2)))
    v *= (radius / np.maximum(length, 1e-300))[:, None, None]
    return v
