"""Matrix factorisation of implicit feedback: everything unseen is a weak no, solved in closed form side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sartor.errors import BadValue, ConfigError, Diverged
from sartor.method import Run, learned
from sartor.parts.checkpoint import Checkpoint
from sartor.parts.least_squares import SOLVERS, Solver, solve_rows
from sartor.parts.threads import blas_alone
from sartor.progress import bar
from sartor.recommend._base import PersonalArrays, VectorRecommender

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sartor.data.interactions import Interactions
    from sartor.data.population import Population


@dataclass(kw_only=True, eq=False)
class ALS(VectorRecommender):
    """Every unseen item counts as a 0 with confidence 1, every seen one as a 1 with confidence 1 + alpha x weight; vectors of people
    and of items are found in turn, each by its own small ridge problem.

    For implicit feedback of any size: an iteration is linear in the events. A new person is exact: one row's problem with the items
    frozen, so nobody needs to have been there at fitting.

    Source: Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008; conjugate gradient steps from
    the last solution as in Takács, Pilászy and Tikk, RecSys 2011. Differs from them in: the matrix shared by all rows is factored out
    before the steps (see `parts.least_squares`), which leaves two steps as good as the exact solution.

    State: `vector` float32 [factors], `items` int32 [n], `weights` float32 [n].
    """

    factors: int = 64
    regularization: float = 1.0
    """L2 on both sides. With alpha and the number of iterations the setting to tune; optima from 0.01 to some 100."""
    alpha: float = 1.0
    """How much more a seen item counts than an unseen one."""
    iterations: int = 15
    solver: Solver = "cg"
    """Of each row in `fit`: exact, cg or sketch; `adapt` is always exact."""
    solver_steps: int = 2
    """Steps of cg and sketch."""

    gram_: np.ndarray = learned()
    """float32 [factors, factors]: item vectors squared plus regularization, all that a fold-in needs of items the person has not seen."""

    keeps: ClassVar[tuple[str, ...]] = ("weights",)

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        self._check()
        matrix = data.matrix()
        if matrix.data.size and matrix.data.min() < 0:
            raise BadValue("an event has a negative weight", fix="drop such events: weights say how much an event counts", column="weight")
        people, items = _Side(matrix, self.alpha), _Side(matrix.T.tocsr(), self.alpha)
        del matrix
        rng = np.random.default_rng(self.seed)
        own = rng.standard_normal((people.size, self.factors), np.float32) * np.float32(0.01)
        vectors = rng.standard_normal((items.size, self.factors), np.float32) * np.float32(0.01)
        settings = {name: getattr(self, name) for name in ("factors", "regularization", "alpha", "solver", "solver_steps", "seed")}
        checkpoint = Checkpoint(run.checkpoint, {**settings, "data": run.key})
        done = 0
        if left := checkpoint.resume():
            arrays, facts = left
            own, vectors, done = arrays["people"], arrays["items"], int(facts["iteration"])
        with blas_alone(), bar("ALS", self.iterations, enabled=run.progress, unit="iteration") as shown:
            shown.advance(done)
            for iteration in range(done, self.iterations):
                people.solve(vectors, own, self)
                items.solve(own, vectors, self)
                if not np.isfinite(vectors).all():
                    raise Diverged(f"vectors are not finite after iteration {iteration + 1}", fix="raise regularization", iteration=iteration + 1)
                checkpoint.leave({"people": own, "items": vectors}, iteration=iteration + 1)
                shown.advance()
        self.item_vectors_ = vectors
        self.gram_ = _gram(vectors, self.regularization).astype(np.float32)
        self.population_vector_ = own.mean(axis=0)
        checkpoint.done()

    def _check(self) -> None:
        if self.factors < 1 or self.iterations < 0 or not 0 < self.regularization < np.inf or not 0 <= self.alpha < np.inf or self.solver_steps < 1:
            raise ConfigError(
                f"factors {self.factors}, iterations {self.iterations}, regularization {self.regularization}, alpha {self.alpha}, "
                f"solver_steps {self.solver_steps}",
                fix="use factors >= 1, iterations >= 0, regularization > 0, alpha >= 0, solver_steps >= 1",
            )
        if self.solver not in SOLVERS:
            raise ConfigError(f"there is no solver '{self.solver}'", fix=f"use one of {', '.join(SOLVERS)}")

    def _encode(self, histories: Interactions) -> PersonalArrays:
        side = _Side(histories.matrix(), self.alpha)
        vectors = np.empty((side.size, self.item_vectors_.shape[1]), np.float32)
        solve_rows(side.indptr, side.indices, side.weights, side.targets, self.item_vectors_, vectors, base=self.gram_)
        vectors[np.diff(side.indptr) == 0] = self.population_vector_
        return {"vector": vectors}


class _Side:
    """The rows of one side: whom they belong to, and their confidences as weights and targets of least squares."""

    def __init__(self, matrix: csr_matrix, alpha: float) -> None:
        self.size = matrix.shape[0]
        self.indptr, self.indices = matrix.indptr.astype(np.int64), matrix.indices
        # c - 1 multiplies v v' (the 1 of every item is in the Gram matrix), c multiplies the target 1.
        self.weights = matrix.data * np.float32(alpha)
        self.targets = self.weights + np.float32(1)

    def solve(self, fixed: np.ndarray, own: np.ndarray, als: ALS) -> None:
        """Own vectors given the other side's, in place."""
        solve_rows(
            self.indptr, self.indices, self.weights, self.targets, fixed, own, base=_gram(fixed, als.regularization),
            solver=als.solver, steps=als.solver_steps, seed=als.seed,
        )  # fmt: skip


def _gram(vectors: np.ndarray, regularization: float) -> np.ndarray:
    gram = (vectors.T @ vectors).astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    return gram
