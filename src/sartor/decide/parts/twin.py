"""A few equations instead of ten thousand agents: a twin of one process, fitted to its own measurements.

    d ln x_k = p_k0 + sum_l p_kl x_l - sum_j r_kj u_j        per tick, x relative to a reference

Lotka-Volterra, generalised: p_k0 is how x_k grows alone, p_kl what x_l does to it (most are 0), u what is removed by a control. The equations are
linear in p, so what one run says of p has a closed form around what is common to all runs: ridge regression whose centre is the population.

Source: the metamodels of agent-based models of the study on control of medical digital twins, 2024 (the equations, `PUBLISHED`, ridge on means of
10 ticks). Ours: the ridge's weights are those of the posterior under the population's variance and the run's own noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np

from sartor.errors import Infeasible, TooLittleEvidence

PUBLISHED = np.array([[0.209782, -4.50613e-6, -2.38108e-5, 0.0], [-0.00854744, 1.27394e-6, 0.0, -1.37642e-5], [-0.0633575, 0.0, 1.50182e-5, 0.0]])
"""float64 [3, 4], of grass, sheep and wolves in numbers of them."""
LEAST = 100
"""Ticks."""
WORST = 1e3
"""Condition number of the measurements above which they do not tell the parameters apart."""
_Numbers = TypeVar("_Numbers", np.ndarray, Any)


@dataclass(frozen=True, eq=False)
class Twin:
    """What is believed of one process's parameters."""

    mean: np.ndarray
    """float64 [m, 1 + m], 0 where there is no term."""
    covariance: np.ndarray
    """float64 [m, 1 + m, 1 + m], equations are independent of each other."""
    noise: np.ndarray
    """float64 [m]: standard deviation per tick of what the equations leave."""

    def draws(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Parameters that could be the true ones, float64 [number, m, 1 + m]."""
        size = self.mean.shape[1]
        roots = np.linalg.cholesky(self.covariance + 1e-18 * np.eye(size))
        return np.asarray(self.mean + np.einsum("kde,nke->nkd", roots, rng.normal(size=(number, *self.mean.shape))) * (self.mean != 0))

    def packed(self, terms: np.ndarray) -> dict[str, np.ndarray]:
        """As few float32 as hold it: `parameters`, `roots` (of each equation's covariance, its lower triangle) and `noise`."""
        blocks = [self.covariance[row][np.ix_(there, there)] for row, there in enumerate(terms)]
        roots = np.concatenate([np.linalg.cholesky(block)[np.tril_indices(len(block))] for block in blocks])
        return {"parameters": self.mean[terms].astype(np.float32), "roots": roots.astype(np.float32), "noise": self.noise.astype(np.float32)}

    @classmethod
    def unpacked(cls, arrays: Mapping[str, np.ndarray], terms: np.ndarray) -> Self:
        """The reverse of `packed`."""
        mean, covariance, at = np.zeros(terms.shape), np.zeros((*terms.shape, terms.shape[1])), 0
        mean[terms] = arrays["parameters"]
        for row, there in enumerate(terms):
            size = int(there.sum())
            root, many = np.zeros((size, size)), size * (size + 1) // 2
            root[np.tril_indices(size)] = arrays["roots"][at : at + many]
            covariance[row][np.ix_(there, there)], at = root @ root.T, at + many
        return cls(mean, covariance, arrays["noise"].astype(np.float64))


def growth(parameters: _Numbers, x: _Numbers, rates: _Numbers, removes: _Numbers) -> _Numbers:
    """d ln x per tick [..., m] of parameters [..., m, 1 + m], x [..., m], rates [..., q] and removes [m, q]; of arrays or tensors."""
    return parameters[..., 0] + (parameters[..., 1:] @ x[..., None])[..., 0] - (removes @ rates[..., None])[..., 0]


def identify(
    pieces: Sequence[tuple[np.ndarray, np.ndarray]], terms: np.ndarray, removes: np.ndarray, prior: Twin | None = None, window: int = 10
) -> Twin:
    """The twin of one process.

    Parameters
    ----------
    pieces: of one or more stretches without a gap, x float [ticks, m] and the rates float [ticks, q] under which it came to be.
    terms: bool [m, 1 + m], which parameters there are.
    prior: what is believed before; None leans on nothing.
    window: ticks that are averaged: single ticks are noise.

    Raises `TooLittleEvidence` for fewer than `LEAST` ticks, and with the condition number when a run was hardly moved.
    """
    if (ticks := sum(len(x) for x, _ in pieces)) < LEAST:
        raise TooLittleEvidence(f"there are {ticks} ticks", fix=f"measure at least {LEAST}, with a pulse of each control")
    at, moved, control = (np.concatenate(part) for part in zip(*(windows(x, rates, window) for x, rates in pieces), strict=True))
    moved = moved + control @ removes.T
    inputs = np.concatenate([np.ones((len(at), 1)), at], 1)
    mean, covariance, noise = np.zeros(terms.shape), np.zeros((*terms.shape, terms.shape[1])), np.zeros(len(terms))
    for row, there in enumerate(terms):
        x, y = inputs[:, there], moved[:, row]
        condition = float(np.linalg.cond(x / np.abs(x).max(0)))
        if len(x) <= x.shape[1] or not condition < WORST:
            raise TooLittleEvidence(
                f"the measurements do not tell the parameters of equation {row + 1} apart (condition number {condition:.3g}, at most {WORST:g})",
                fix="add a pulse of each control, such as a rate of 0.02 for 100 ticks",
            )
        plain = np.linalg.lstsq(x, y, rcond=None)[0]
        residual = max(float(np.sqrt(((y - x @ plain) ** 2).sum() / (len(x) - x.shape[1]))), 1e-9)
        precision, pull = x.T @ x / residual**2, x.T @ y / residual**2
        if prior is not None:
            base = np.linalg.inv(prior.covariance[row][np.ix_(there, there)])
            precision, pull = precision + base, pull + base @ prior.mean[row, there]
        inside = np.linalg.inv(precision)
        mean[row, there], covariance[row][np.ix_(there, there)] = inside @ pull, inside
        # The means of two neighbouring windows of a random walk differ by 2/3 of a window's steps.
        noise[row] = residual * np.sqrt(1.5 * window)
    return Twin(mean, covariance, noise)


def pooled(twins: Sequence[Twin], least: Callable[[np.ndarray], np.ndarray]) -> Twin:
    """What people have in common: the mean of their twins, and how far they differ beyond what each is unsure of.

    least: of the mean parameters, the least standard deviation between people; everybody alike would leave nothing to learn of anybody.
    """
    means = np.stack([one.mean for one in twins])
    own = np.stack([np.diagonal(one.covariance, axis1=1, axis2=2) for one in twins])
    variance = np.maximum(means.var(0, ddof=1) - own.mean(0), least(means.mean(0)) ** 2)
    noise = np.sqrt(np.mean([one.noise**2 for one in twins], axis=0))
    return Twin(means.mean(0), variance[:, :, None] * np.eye(variance.shape[1]), noise)


def steady(parameters: np.ndarray, removes: np.ndarray, target: np.ndarray, limit: float) -> np.ndarray:
    """Constant rates float64 [q] at which what is removed rests at its target [q], by the twin's equilibrium.

    Raises `Infeasible` with the nearest target that can be held, where a rate would be negative or above the limit.
    """
    aimed = removes.any(1)

    def rates(wanted: np.ndarray) -> np.ndarray:
        # Unknown are the rates and what has no target: as many as there are equations.
        fixed = parameters[:, 0] + parameters[:, 1:][:, aimed] @ wanted
        found = np.linalg.solve(np.concatenate([parameters[:, 1:][:, ~aimed], -removes], 1), -fixed)
        free = found[: int((~aimed).sum())]
        return np.where((free > 0).all(), found[free.size :], np.nan)

    # Targets are in the order of what controls remove; equations in theirs.
    order = np.argsort(np.argmax(removes, 0))
    return nearest_held(lambda wanted: rates(wanted[order]), target, limit)


def nearest_held(rates: Callable[[np.ndarray], np.ndarray], target: np.ndarray, limit: float) -> np.ndarray:
    """The constant rates of a target [q], where none is negative or above the limit; raises `Infeasible` with the nearest target for which it is so.

    rates: of a target, NaN where there is no rest.
    """

    def held(found: np.ndarray) -> bool:
        return bool(((found >= 0) & (found <= limit)).all())

    if held(wanted := rates(target)):
        return wanted
    steps = np.exp(np.linspace(-1.5, 1.5, 61))
    near = np.stack(np.meshgrid(*[steps] * target.size, indexing="ij"), -1).reshape(-1, target.size)
    for factor in near[np.argsort((np.log(near) ** 2).sum(1), kind="stable")]:
        if held(rates(target * factor)):
            nearest = [round(float(one), 6) for one in target * factor]
            raise Infeasible(
                f"{target.tolist()} cannot be held with rates from 0 to {limit:g}", fix=f"the nearest that can is {nearest}", nearest=nearest
            )
    raise Infeasible("no target near this one can be held", fix="raise the limit, or choose another target")


def windows(x: np.ndarray, rates: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Between each two windows: where a process was [n, m], how its logarithm moved per tick [n, m], and the mean rates [n, q]."""
    n = len(x) // window
    seen, done = (one[: n * window].reshape(n, window, -1).mean(1) for one in (x, rates))
    at, control = ((one[1:] + one[:-1]) / 2 for one in (seen, done))
    return at, np.diff(np.log(seen), axis=0) / window, control
