"""A matrix from some of its entries: alternating minimisation whose row problems are solved only as accurately as the round deserves.

Source: Gu, Song, Yin and Zhang, Low Rank Matrix Completion via Robust Alternating Minimization in Nearly Linear Time, ICLR 2024. The paper
proves that alternating minimisation tolerates moderate errors in every update, so that rows need not be solved exactly, and the time is
linear in entries x rank. Its constants are for proofs; ours are the settings below.

Differs from the paper in: all entries are used in every round unless `split="fresh"`; instead of an orthonormal basis, the fixed side is
turned to its principal axes, which with the diagonal preconditioner is the same basis, and leaves the meaning of a ridge alone; where
rows are too short for a sketch to help, conjugate gradient from the last solution takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sartor.errors import ConfigError, Diverged
from sartor.parts.least_squares import Solver, solve_rows

Split = Literal["reuse", "fresh"]


@dataclass(frozen=True)
class Round:
    """What one round (rows, then columns) did."""

    residual: float
    """Root mean square of what the observed entries leave over, before the round's second half."""
    change: float
    """Sine of the largest angle between the column side's subspaces before and after."""
    incoherence: tuple[float, float]
    """mu of rows and columns: largest squared row of an orthonormal basis over the mean one; 1 is flat, m / rank is one row alone."""
    accuracy: float
    """The relative residual asked of every row's solution; 0 is exact."""
    seconds: float
    """Of CPU, all threads together."""


@dataclass(kw_only=True)
class LowRankFit:
    """Settings of the alternation.

    Parameters
    ----------
    rank: of the result.
    rounds: at most so many.
    tolerance: stop when the subspace changes less.
    ridge: L2 on both sides; times the row's entries with `scale_ridge`.
    biases: also a bias per row and per column, as one more number on each side.
    solver, steps: see `least_squares`; "exact" ignores the schedule.
    looseness: accuracy asked for = looseness x the subspace's last change: loose early, tight late.
    steady: when incoherence grows beyond so many times its first value, the accuracy is made ten times tighter.
    coherent: incoherence beyond which a side is reported as coherent; random factors stay below about 4.
    clip: rows of the starting basis are cut at so many times the mean length.
    split: "reuse" all entries in every half round, or "fresh" ones, as the theory wants; needs far more entries.
    update_noise: relative error added to every update, to try out how robust the rounds are.
    """

    rank: int
    rounds: int = 30
    tolerance: float = 1e-6
    ridge: float = 1e-9
    scale_ridge: bool = False
    biases: bool = False
    solver: Solver = "cg"
    steps: int = 8
    looseness: float = 0.01
    steady: float = 4.0
    coherent: float = 6.0
    clip: float = 2.0
    split: Split = "reuse"
    update_noise: float = 0.0
    seed: int = 0

    history: list[Round] = field(default_factory=list)
    """Filled by `run`."""
    warnings: list[str] = field(default_factory=list)
    """Filled by `run`: what the monitor saw."""

    def run(
        self,
        rows: np.ndarray,
        columns: np.ndarray,
        values: np.ndarray,
        shape: tuple[int, int],
        *,
        weights: np.ndarray | None = None,
        start: tuple[np.ndarray, np.ndarray] | None = None,
        watch: Callable[[Round, np.ndarray, np.ndarray], bool] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Left [m, d] and right [n, d] with matrix ~ left @ right.T; d is rank, or rank + 2 with biases ([x, bias, 1] and [x, 1, bias]).

        Parameters
        ----------
        rows, columns, values, weights: the entries, each position once; float64 work.
        start: factors to go on from, instead of the spectral start.
        watch: called after every round (outside its clock); True stops.
        """
        if self.rank < 1 or self.rounds < 0 or self.ridge < 0 or self.steps < 1 or self.looseness <= 0:
            raise ConfigError(
                f"rank {self.rank}, rounds {self.rounds}, ridge {self.ridge}, steps {self.steps}, looseness {self.looseness}",
                fix="use rank >= 1, rounds >= 0, ridge >= 0, steps >= 1, looseness > 0",
            )
        rng = np.random.default_rng(self.seed)
        values = np.asarray(values, np.float64)
        weights = np.ones(values.size) if weights is None else np.asarray(weights, np.float64)
        factors = [np.array(one, np.float64) for one in (start if start is not None else self._start(rows, columns, values, shape, rng))]
        sides = [_Side.of(rows, columns, values, weights, shape[0]), _Side.of(columns, rows, values, weights, shape[1])]
        shares = rng.integers(0, 2 * max(1, self.rounds), values.size) if self.split == "fresh" else None
        change, first, tighter = 1.0, (0.0, 0.0), 1.0
        self.history, self.warnings = [], []
        for number in range(self.rounds):
            begun = time.process_time()
            accuracy = 0.0 if self.solver == "exact" else max(1e-14, self.looseness * change * tighter)
            before = factors[1][:, : self.rank].copy()
            for half, side in enumerate(sides):
                used = side if shares is None else side.only(shares[side.order] == 2 * number + half)
                self._solve(half, used, factors, accuracy, 2 * number + half)
                if self.update_noise:
                    own = factors[half][:, : self.rank]
                    own += self.update_noise * np.linalg.norm(own) / np.sqrt(own.size) * rng.standard_normal(own.shape)
            # Both sides have the same axes now, so `before` and the new columns may still be turned against each other: angles do not mind.
            change = subspace_change(before, factors[1][:, : self.rank])
            mu = (incoherence(factors[0][:, : self.rank]), incoherence(factors[1][:, : self.rank]))
            if not np.isfinite([change, *mu]).all():
                raise Diverged(f"factors are not finite in round {number + 1}", fix="raise ridge or lower rank", round=number + 1)
            done = Round(sides[0].residual(*factors), change, mu, accuracy, time.process_time() - begun)
            self.history.append(done)
            first = mu if number == 0 else first
            if any(now > self.steady * was for now, was in zip(mu, first, strict=True)):
                tighter = 0.1
            if (watch is not None and watch(done, factors[0], factors[1])) or change < self.tolerance:
                break
        self._report(shape)
        return factors[0], factors[1]

    def _solve(self, half: int, side: _Side, factors: list[np.ndarray], accuracy: float, seed: int) -> None:
        """Turn both sides to the principal axes of the fixed one, then solve the own one (0 rows, 1 columns), in place."""
        k, own, fixed = self.rank, factors[half], factors[1 - half]
        turn = np.linalg.eigh(fixed[:, :k].T @ fixed[:, :k])[1][:, ::-1]
        own[:, :k], fixed[:, :k] = own[:, :k] @ turn, fixed[:, :k] @ turn
        features, unknown, values = fixed, own, side.values
        if self.biases:
            # Rows are [x, bias, 1] and columns [x, 1, bias]: each side's own bias is unknown, the other's goes to the values.
            mine, theirs = k + half, k + 1 - half
            features = np.column_stack([fixed[:, :k], np.ones(len(fixed))])
            unknown = np.column_stack([own[:, :k], own[:, mine]])
            values = values - fixed[side.indices, theirs]
        ridge = self.ridge * np.maximum(1, np.diff(side.indptr)) if self.scale_ridge else self.ridge
        unknown = np.ascontiguousarray(unknown)
        solve_rows(
            side.indptr, side.indices, side.weights, side.weights * values, features, unknown, ridge=ridge, solver=self.solver,
            steps=self.steps, tolerance=accuracy, seed=self.seed + seed,
        )  # fmt: skip
        own[:, :k] = unknown[:, :k]
        if self.biases:
            own[:, mine] = unknown[:, k]

    def _start(
        self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Top singular vectors of the zero-filled matrix over the share seen, long rows cut."""
        from scipy.sparse import csr_matrix

        share = values.size / (shape[0] * shape[1])
        matrix = csr_matrix((values / share, (rows, columns)), shape=shape)
        width = min(self.rank + 10, *shape)
        basis = np.linalg.qr(matrix @ rng.standard_normal((shape[1], width)))[0]
        for _ in range(4):
            basis = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ basis)[0])[0]
        outer, sizes, inner = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
        left, right = _clipped((basis @ outer)[:, : self.rank], self.clip), _clipped(inner[: self.rank].T, self.clip)
        roots = np.sqrt(sizes[: self.rank])
        left, right = left * roots, right * roots
        if self.biases:
            left = np.column_stack([left, np.zeros(shape[0]), np.ones(shape[0])])
            right = np.column_stack([right, np.ones(shape[1]), np.zeros(shape[1])])
        return left, right

    def _report(self, shape: tuple[int, int]) -> None:
        if not self.history:
            return
        for name, mu, most in zip(("rows", "columns"), self.history[-1].incoherence, shape, strict=True):
            if mu > self.coherent:
                self.warnings.append(
                    f"the {name} are coherent: mu is {mu:.1f} of at most {most / self.rank:.1f}, so a few {name} carry a direction of their own; "
                    f"the guarantee of recovery does not hold"
                )


@dataclass(frozen=True, eq=False)
class _Side:
    """One side's entries as sparse rows."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    order: np.ndarray
    """Where each entry stood in the input."""

    @classmethod
    def of(cls, own: np.ndarray, other: np.ndarray, values: np.ndarray, weights: np.ndarray, count: int) -> _Side:
        order = np.lexsort((other, own))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=count))]).astype(np.int64)
        return cls(indptr, other[order].astype(np.int32), values[order], weights[order], order)

    def only(self, keep: np.ndarray) -> _Side:
        """Some of the entries."""
        indptr = np.concatenate([[0], np.cumsum(keep)])[self.indptr]
        return _Side(indptr.astype(np.int64), self.indices[keep], self.values[keep], self.weights[keep], self.order[keep])

    def residual(self, left: np.ndarray, right: np.ndarray) -> float:
        """Weighted root mean square of what the product leaves over at (at most 200,000 of) the entries, of the rows' side."""
        step = max(1, self.values.size // 200_000)
        at = np.arange(0, self.values.size, step)
        rows = np.searchsorted(self.indptr, at, side="right") - 1
        error = self.values[at] - np.einsum("ed,ed->e", left[rows], right[self.indices[at]])
        return float(np.sqrt((self.weights[at] * error**2).sum() / max(1e-300, self.weights[at].sum())))


def incoherence(factor: np.ndarray) -> float:
    """mu: the largest squared row of an orthonormal basis of the columns, over the mean one; between 1 and m / k."""
    sizes, axes = np.linalg.eigh(factor.T @ factor)
    real = sizes > max(sizes[-1], 0.0) * 1e-12
    if not real.any():
        return 1.0 if np.isfinite(sizes).all() else float("nan")
    leverage = ((factor @ axes[:, real]) ** 2 / sizes[real]).sum(axis=1)
    return float(leverage.max() * factor.shape[0] / real.sum())


def subspace_change(before: np.ndarray, after: np.ndarray) -> float:
    """Sine of the largest angle between the column spaces of two [n, k] matrices: 0 is none, 1 is a right angle."""
    old, new = np.linalg.qr(before)[0], np.linalg.qr(after)[0]
    return min(1.0, float(np.linalg.norm(new - old @ (old.T @ new), 2)))


def _clipped(basis: np.ndarray, most: float) -> np.ndarray:
    """An orthonormal basis [n, k] with no row longer than `most` times the mean length sqrt(k / n) before it is made orthonormal again."""
    lengths = np.linalg.norm(basis, axis=1, keepdims=True)
    limit = most * np.sqrt(basis.shape[1] / basis.shape[0])
    return np.linalg.qr(basis * np.minimum(1.0, limit / np.maximum(lengths, 1e-300)))[0]
