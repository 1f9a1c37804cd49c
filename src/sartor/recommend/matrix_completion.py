"""Explicit ratings as a matrix of low rank, solved only as accurately as every round deserves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from sartor.errors import BadValue, ConfigError, DuplicateRows
from sartor.method import Run, States, learned
from sartor.parts.checkpoint import Checkpoint
from sartor.parts.least_squares import Solver, solve_rows
from sartor.parts.low_rank import LowRankFit, Round, Split
from sartor.progress import bar
from sartor.recommend._base import PersonalArrays, VectorRecommender

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population

Duplicates = Literal["error", "last", "mean"]


@dataclass(frozen=True, eq=False)
class Completion:
    """A completed matrix: left @ right.T."""

    left: np.ndarray
    """float64 [m, rank]."""
    right: np.ndarray
    """float64 [n, rank]."""
    rounds: list[Round]
    warnings: list[str]
    """What the incoherence monitor saw; empty when nothing speaks against the result."""
    empty_rows: np.ndarray
    """Rows without entries: they got the ridge's own answer, 0."""
    empty_columns: np.ndarray


def complete(
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    shape: tuple[int, int],
    *,
    rank: int,
    weights: np.ndarray | None = None,
    dup: Duplicates = "error",
    solver: Solver = "cg",
    rounds: int = 50,
    tolerance: float = 1e-6,
    ridge: float = 1e-9,
    looseness: float = 0.01,
    split: Split = "reuse",
    update_noise: float = 0.0,
    seed: int = 0,
    watch: Callable[[Round, np.ndarray, np.ndarray], bool] | None = None,
) -> Completion:
    """Complete an m x n matrix of low rank from some of its entries.

    Parameters
    ----------
    rows, columns, values, weights: the entries. Raises `BadValue` for a value that is not finite, `DuplicateRows` for a position given
        twice, unless `dup` says which counts.
    shape: (m, n).
    rank: of the result; raises `ConfigError` when no row or column has so many entries.
    others: see `sartor.parts.low_rank.LowRankFit`.
    """
    rows, columns, values, weights = _entries(rows, columns, values, weights, shape, dup)
    _check_rank(rank, rows, columns, shape)
    fit = LowRankFit(
        rank=rank, rounds=rounds, tolerance=tolerance, ridge=ridge, solver=solver, looseness=looseness, split=split,
        update_noise=update_noise, seed=seed,
    )  # fmt: skip
    left, right = fit.run(rows, columns, values, shape, weights=weights, watch=watch)
    empty = [np.flatnonzero(np.bincount(own, minlength=count) == 0) for own, count in zip((rows, columns), shape, strict=True)]
    return Completion(left, right, fit.history, fit.warnings, *empty)


@dataclass(kw_only=True, eq=False)
class MatrixCompletion(VectorRecommender):
    """Predicts ratings: a bias per person and item, and an inner product of vectors found by robust alternating minimisation.

    For explicit ratings; at small ranks (below some 30) exact row solutions are as fast, from 50 on approximate ones win. For clicks and
    purchases use ALS: here an item that nobody rated is unknown, not disliked.

    Source: Gu et al., Low Rank Matrix Completion via Robust Alternating Minimization in Nearly Linear Time, ICLR 2024 (see
    `sartor.parts.low_rank` for what differs). Biases, and a ridge that grows with the number of ratings (Zhou et al., 2008), are ours
    from the practice of rating prediction.

    State: `vector` float32 [rank + 2] (the person's vector, bias, and 1), `items` int32 [n], `values` float32 [n]. Scores are ratings.
    """

    rank: int = 32
    ridge: float = 0.1
    """L2 on vectors and biases, times the number of ratings of the row."""
    rounds: int = 20
    tolerance: float = 1e-4
    """Stop when the subspace of items changes less."""
    solver: Solver = "cg"
    """Of each row in `fit`: exact, cg or sketch; `adapt` is always exact."""
    looseness: float = 0.01
    """Accuracy asked of row solutions, relative to the subspace's last change."""
    split: Split = "reuse"
    dup: Duplicates = "error"
    """What to do when somebody rated an item twice: in `fit` an error, the last, or the mean. `adapt` takes the last instead of an error."""

    rounds_: list[list[float]] = learned()
    """For every round: residual, subspace change, mu of people, mu of items, accuracy asked for."""
    warnings_: list[str] = learned()
    """What the incoherence monitor saw."""
    unrated_: np.ndarray = learned()
    """int32, items without ratings: their vectors are 0, so that they score a person's mean."""

    keeps: ClassVar[tuple[str, ...]] = ("values",)

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        if missing := int(np.isnan(data.values).sum()):
            raise BadValue(
                f"{missing} of {len(data)} events have no rating", fix="give events a value, or use ALS for implicit feedback", column="value"
            )
        rows, columns, values, _ = _entries(data.rows, data.indices, data.values, None, data.shape, self.dup)
        _check_rank(self.rank, rows, columns, data.shape)
        self.unrated_ = np.flatnonzero(np.bincount(columns, minlength=data.shape[1]) == 0).astype(np.int32)
        mean = float(values.mean())
        fit = LowRankFit(
            rank=self.rank, rounds=self.rounds, tolerance=self.tolerance, ridge=self.ridge, scale_ridge=True, biases=True, solver=self.solver,
            looseness=self.looseness, split=self.split, seed=self.seed,
        )  # fmt: skip
        settings = {name: getattr(self, name) for name in ("rank", "ridge", "solver", "looseness", "split", "dup", "seed")}
        checkpoint = Checkpoint(run.checkpoint, {**settings, "data": run.key})
        start, told = None, []
        if left := checkpoint.resume():
            start, told = (left[0]["people"], left[0]["items"]), left[1]["rounds"]
            fit.rounds = max(0, self.rounds - len(told))
        with bar("matrix completion", self.rounds, enabled=run.progress, unit="round") as shown:
            shown.advance(len(told))

            def watch(done: Round, people: np.ndarray, items: np.ndarray) -> bool:
                told.append([done.residual, done.change, *done.incoherence, done.accuracy])
                checkpoint.leave({"people": people, "items": items}, rounds=told)
                shown.advance(note=f"residual {done.residual:.4f}, change {done.change:.1e}")
                return False

            people, items = fit.run(rows, columns, values - mean, data.shape, start=start, watch=watch)
        items[:, -1] += mean
        self.item_vectors_ = items.astype(np.float32)
        self.population_vector_ = people.mean(axis=0).astype(np.float32)
        self.rounds_, self.warnings_ = told, fit.warnings
        checkpoint.done()

    def _encode(self, histories: Interactions) -> PersonalArrays:
        if np.isnan(histories.values).any():
            raise BadValue("the evidence holds events without a rating", fix="give every event a value", column="value")
        dup: Duplicates = "mean" if self.dup == "mean" else "last"
        rows, columns, values, _ = _entries(histories.rows, histories.indices, histories.values, None, histories.shape, dup)
        # [vector, 1] of the items against the person's [vector, bias]; the items' own biases go to the values.
        features = self.item_vectors_[:, :-1].astype(np.float64)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(histories.people)))]).astype(np.int64)
        own = np.zeros((len(histories.people), features.shape[1]))
        targets = values - self.item_vectors_[columns, -1]
        ridge = self.ridge * np.maximum(1, np.diff(indptr))
        solve_rows(indptr, columns.astype(np.int32), np.ones(values.size), targets, features, own, ridge=ridge)
        vectors = np.column_stack([own, np.ones(len(own))]).astype(np.float32)
        vectors[np.diff(indptr) == 0] = self.population_vector_
        return {"vector": vectors}

    def predict(self, states: States, items: list[object]) -> np.ndarray:
        """Ratings float32 [states, items], on the scale of the data; the same as `score`."""
        return self.score(states, items)


def _entries(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, weights: np.ndarray | None, shape: tuple[int, int], dup: Duplicates
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Entries checked, in the order of rows, each position once."""
    if dup not in ("error", "last", "mean"):
        raise ConfigError(f"dup is '{dup}'", fix="use error, last or mean")
    rows, columns = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    values = np.asarray(values, np.float64)
    weights = np.ones(values.size) if weights is None else np.asarray(weights, np.float64)
    if not rows.size == columns.size == values.size == weights.size:
        raise ConfigError(f"{rows.size} rows, {columns.size} columns, {values.size} values, {weights.size} weights", fix="give equally many")
    if rows.size and (min(rows.min(), columns.min()) < 0 or rows.max() >= shape[0] or columns.max() >= shape[1]):
        raise BadValue(f"an entry lies outside of the {shape[0]} x {shape[1]} matrix", fix="count rows and columns from 0")
    if (bad := np.flatnonzero(~np.isfinite(values) | ~np.isfinite(weights) | (weights < 0))).size:
        where = ", ".join(f"({rows[at]}, {columns[at]})" for at in bad[:5])
        raise BadValue(f"{bad.size} values or weights are not finite or are negative weights, at {where}", fix="drop or repair them")
    keys = rows * shape[1] + columns
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.diff(keys[order], prepend=-1))
    if first.size < keys.size:
        if dup == "error":
            at = order[np.setdiff1d(np.arange(keys.size), first)[0]]
            raise DuplicateRows(
                f"{keys.size - first.size} positions occur more than once, such as ({rows[at]}, {columns[at]})",
                fix="drop them, or set dup='last' or dup='mean'",
            )
        last = order[np.append(first[1:], keys.size) - 1]
        if dup == "mean":
            total = np.add.reduceat(weights[order], first)
            values = values.copy()
            values[last] = np.add.reduceat((values * weights)[order], first) / np.maximum(total, 1e-300)
            weights = weights.copy()
            weights[last] = total
        order = last
    return rows[order], columns[order], values[order], weights[order]


def _check_rank(rank: int, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> None:
    if rank > min(shape):
        raise ConfigError(f"rank {rank} exceeds the {min(shape)} {'rows' if shape[0] <= shape[1] else 'columns'} of the matrix", fix="lower rank")
    for name, own in (("row", rows), ("column", columns)):
        densest = int(np.bincount(own).max(initial=0)) if own.size else 0
        if rank > densest:
            raise ConfigError(f"rank {rank} exceeds the {densest} ratings of the densest {name}", fix=f"use rank <= {densest}")
