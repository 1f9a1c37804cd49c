"""Learning from "this one, not that one": preference losses as pure functions, and the weights of one chooser in closed steps.

Shapes: B pairs. Log-probabilities are of whole answers, in nats, summed over their tokens. The losses are scalars (means over B), to be minimised.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sartor.errors import BadValue, ConfigError


def sft(log_probs: Tensor) -> Tensor:
    """Supervised fine-tuning: the mean negative log-probability of answers, float [B]."""
    return -log_probs.mean()


def bradley_terry(difference: Tensor) -> Tensor:
    """-log sigmoid(score of the chosen - score of the rejected), of differences float [B] (Bradley and Terry, 1952)."""
    return F.softplus(-difference).mean()


def margin(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor) -> Tensor:
    """How much more a policy prefers the chosen answer than its reference does: float [B] from log-probabilities float [B] each."""
    return (chosen - rejected) - (reference_chosen - reference_rejected)


def dpo(margins: Tensor, *, beta: float = 0.1) -> Tensor:
    """-log sigmoid(beta * margin) of margins float [B]. Source: Rafailov et al., Direct Preference Optimization, 2023, eq. 7."""
    _positive(beta)
    return bradley_terry(beta * margins)


def ipo(margins: Tensor, *, beta: float = 0.01) -> Tensor:
    """(margin - 1 / (2 beta))^2 of margins float [B]: so much is wanted, and no more.

    Source: Azar et al., A General Theoretical Paradigm to Understand Learning from Human Preferences, 2023, eq. 17.
    """
    _positive(beta)
    return (margins - 1 / (2 * beta)).square().mean()


def bradley_terry_fit(differences: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of one person, from what each of her choices had more of than what she left: the peak of the posterior, by Newton steps.

    P(chosen) = sigmoid(weights . difference), weights ~ Normal(mean, inverse of precision).

    Parameters
    ----------
    differences: float [choices, features], features of the chosen less those of the rejected.
    mean, precision: float [features] and [features, features] of the prior, e.g. of an earlier fit: choices one after another and all at once
        then agree but for the normal approximation in between.

    Returns weights float64 [features] and the inverse of the Hessian there, float64 [features, features]. Raises `BadValue` for numbers that are
    not finite.
    """
    rows = np.asarray(differences, np.float64).reshape(-1, mean.size)
    if not np.isfinite(rows).all() or not np.isfinite(mean).all() or not np.isfinite(precision).all():
        raise BadValue("a difference or the prior is not finite", fix="give finite rewards")
    mean, precision = np.asarray(mean, np.float64), np.asarray(precision, np.float64)
    weights = mean.copy()

    def cost(at: np.ndarray) -> float:
        return float(np.logaddexp(0.0, -rows @ at).sum() + (at - mean) @ precision @ (at - mean) / 2)

    for _ in range(50):
        chance = 1 / (1 + np.exp(np.clip(rows @ weights, -500, 500)))
        slope = precision @ (weights - mean) - rows.T @ chance
        curve = precision + (rows * (chance * (1 - chance))[:, None]).T @ rows
        step, now, size = np.linalg.solve(curve, slope), cost(weights), 1.0
        while cost(weights - size * step) > now and size > 1e-6:
            size /= 2
        weights = weights - size * step
        if np.abs(size * step).max(initial=0.0) < 1e-9:
            break
    chance = 1 / (1 + np.exp(np.clip(rows @ weights, -500, 500)))
    curve = precision + (rows * (chance * (1 - chance))[:, None]).T @ rows
    return weights, np.linalg.inv(curve)


def _positive(beta: float) -> None:
    if not beta > 0:
        raise ConfigError(f"beta is {beta}", fix="use a number above 0")
