"""What moves ratings on a scale of a few steps: the cumulative logit model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.errors import ConfigError, Diverged


@dataclass(frozen=True, eq=False)
class Ordinal:
    """A fitted model: P(rating <= k) = sigmoid(thresholds[k] - x @ coefficients)."""

    coefficients: np.ndarray
    """float64 [features]; positive moves ratings up."""
    errors: np.ndarray
    """float64 [features], standard errors."""
    thresholds: np.ndarray
    """float64 [levels - 1], rising."""
    levels: np.ndarray
    """The ratings there are, ascending."""
    log_likelihood: float

    @property
    def p_values(self) -> np.ndarray:
        """Two-sided, of no effect (Wald)."""
        from scipy.stats import norm

        return 2 * norm.sf(np.abs(self.coefficients / self.errors))

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Float64 [n, levels]."""
        return _chances(np.asarray(x, np.float64) @ self.coefficients, self.thresholds)


def cumulative_logit(x: np.ndarray, ratings: np.ndarray) -> Ordinal:
    """Proportional odds regression of ordered ratings [n] on features [n, features] by maximum likelihood.

    Raises `ConfigError` with fewer than two different ratings or a feature that is constant, `Diverged` where a feature separates the ratings
    completely. Source: McCullagh, JRSS B 1980.
    """
    from scipy.optimize import minimize

    x = np.asarray(x, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    levels, rank = np.unique(np.asarray(ratings), return_inverse=True)
    if x.shape[0] != rank.size or levels.size < 2 or (np.ptp(x, axis=0) == 0).any():
        what = f"{x.shape[0]} rows, {rank.size} ratings of {levels.size} levels"
        raise ConfigError(what, fix="give one row per rating, two levels or more, and no constant feature")
    scale = x.std(axis=0)
    scaled = (x - x.mean(axis=0)) / scale
    share = np.cumsum(np.bincount(rank))[:-1] / rank.size
    cuts = np.log(share / (1 - share))
    start = np.concatenate([np.zeros(x.shape[1]), cuts[:1], np.log(np.diff(cuts))])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        beta, free = values[: x.shape[1]], values[x.shape[1] :]
        steps = np.exp(free[1:])
        thresholds = free[0] + np.concatenate([[0.0], np.cumsum(steps)])
        score = scaled @ beta
        chance = np.maximum(_chances(score, thresholds)[np.arange(rank.size), rank], 1e-300)
        padded = np.concatenate([[-np.inf], thresholds, [np.inf]])
        upper, lower = _slope(padded[rank + 1] - score), _slope(padded[rank] - score)
        by_score = (upper - lower) / chance
        # A threshold is the upper end of its level and the lower end of the next one.
        by_cut = np.bincount(rank, upper / chance, levels.size)[:-1] - np.bincount(rank, lower / chance, levels.size)[1:]
        by_step = np.cumsum(by_cut[::-1])[::-1]
        gradient = np.concatenate([-(scaled.T @ by_score), by_step[:1], by_step[1:] * steps])
        return -float(np.log(chance).sum()), -gradient

    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-6 * rank.size, "maxiter": 500})
    if not np.isfinite(found.fun) or np.abs(found.x[: x.shape[1]]).max() > 50:
        raise Diverged("the ratings are separated completely by a feature", fix="give more cases, or leave that feature out")
    errors = np.sqrt(np.diag(np.linalg.inv(_information(loss, found.x))))
    beta = found.x[: x.shape[1]] / scale
    free = found.x[x.shape[1] :]
    thresholds = free[0] + np.concatenate([[0.0], np.cumsum(np.exp(free[1:]))]) + x.mean(axis=0) @ beta
    return Ordinal(beta, errors[: x.shape[1]] / scale, thresholds, levels, -float(found.fun))


def _information(loss, at: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Second derivatives by differences of the exact gradient."""
    step = 1e-5
    rows = [(loss(at + step * unit)[1] - loss(at - step * unit)[1]) / (2 * step) for unit in np.eye(at.size)]
    table = np.array(rows)
    return (table + table.T) / 2


def _chances(score: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    below = expit(thresholds[None, :] - score[:, None])
    edge = np.zeros((score.size, 1))
    return np.diff(np.concatenate([edge, below, edge + 1], axis=1), axis=1)


def _slope(z: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(z) * expit(-z)
