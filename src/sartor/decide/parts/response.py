"""How satisfied somebody is by a level of quality: a curve per person, partly pooled, with a posterior.

    S(r) = 1 / (1 + exp(-k (r - m))),   m = x . w_m,   ln k = x . w_k,   w = (w_m, w_k) ~ Normal(mean, covariance) over people

x are features of the situation, the first of them 1. Feedback is S plus Gaussian noise, seen only between 0 and 1: a 1 says "at least 1" (Tobin,
Econometrica 1958). Signals other than ratings have an offset, a gain and a noise of their own. A person's posterior is Laplace's
approximation at the mode; mean, covariance and noise of the population are found by expectation-maximisation over such posteriors (empirical
Bayes: Efron and Morris, JASA 1975), so that people with little feedback lean on the others as far as people differ, and no further.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, log_ndtr

from sartor.errors import ConfigError

STEPS = 30
"""Gauss-Newton steps of one posterior."""
ROUNDS = 40
"""Rounds of expectation-maximisation."""
NARROWEST = 1e-4
"""Variance below which people are not taken to differ less."""
LN4 = float(np.log(4.0))


@dataclass(frozen=True, eq=False)
class Feedback:
    """What several people said of levels they were given, one row each, padded with weight 0."""

    features: np.ndarray
    """float64 [people, n, p]."""
    level: np.ndarray
    """float64 [people, n]."""
    value: np.ndarray
    """float64 [people, n], between 0 and 1."""
    weight: np.ndarray
    """float64 [people, n]; 1 is one whole piece of feedback."""
    signal: np.ndarray
    """int64 [people, n], which signal it is; 0 is a rating."""


@dataclass(frozen=True, eq=False)
class Prior:
    """What people have in common, and how much they differ."""

    mean: np.ndarray
    """float64 [2 p]: of w_m, then of w_k."""
    covariance: np.ndarray
    """float64 [2 p, 2 p]."""
    offset: np.ndarray
    """float64 [signals]; that of ratings is 0."""
    gain: np.ndarray
    """float64 [signals]; that of ratings is 1."""
    noise: np.ndarray
    """float64 [signals], standard deviations."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is believed of several people."""

    mean: np.ndarray
    """float64 [people, 2 p]."""
    covariance: np.ndarray
    """float64 [people, 2 p, 2 p]."""


def curve(mean: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Midpoint and slope, [...] each, of parameters [..., 2 p] in situations [..., p]."""
    p = features.shape[-1]
    return (features * mean[..., :p]).sum(-1), np.exp(np.clip((features * mean[..., p:]).sum(-1), -8.0, 8.0))


def expected(mean: np.ndarray, covariance: np.ndarray, features: np.ndarray, levels: np.ndarray, *, sure: float = 0.0) -> np.ndarray:
    """Satisfaction [people, L] at levels [L] or [people, L], averaged over what is believed (MacKay's approximation).

    With `sure` it is instead what it exceeds with that probability: a lower bound for above a half, an upper one for below.
    """
    from scipy.special import ndtri

    levels = np.broadcast_to(levels, (mean.shape[0], np.shape(levels)[-1]))
    middle, slope = curve(mean, features)
    logit = slope[:, None] * (levels - middle[:, None])
    # Derivatives of the logit by midpoint and log slope, in each feature's direction.
    by = np.concatenate([-slope[:, None, None] * features[:, None, :] * np.ones_like(logit)[..., None], logit[..., None] * features[:, None, :]], -1)
    spread = np.einsum("ild,ide,ile->il", by, covariance, by)
    if sure:
        return expit(logit - float(ndtri(sure)) * np.sqrt(np.maximum(spread, 0.0)))
    return expit(logit / np.sqrt(1 + np.pi / 8 * np.maximum(spread, 0.0)))


def zone(mean: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Adequate and desired level: where satisfaction is 0.2 and 0.8."""
    middle, slope = curve(mean, features)
    return middle - LN4 / slope, middle + LN4 / slope


def posterior(prior: Prior, feedback: Feedback, before: Posterior | None = None) -> Posterior:
    """What is believed of people after their feedback.

    Parameters
    ----------
    before: what was believed of each already, instead of the prior; both times the mode of a smooth function, found by damped Gauss-Newton.

    Feedback of a person that is all at one level says nothing of the slope: that stays what it was.
    """
    people = feedback.level.shape[0]
    mean = np.broadcast_to(prior.mean, (people, prior.mean.size)) if before is None else before.mean
    precision = np.linalg.inv(np.broadcast_to(prior.covariance, (people, *prior.covariance.shape)) if before is None else before.covariance)
    w, held = mean.copy(), same_level(feedback)
    cost, gradient, curvature = _objective(w, mean, precision, prior, feedback, held)
    damping = np.full(people, 1e-3)
    for _ in range(STEPS):
        lifted = curvature + damping[:, None, None] * (np.einsum("idd->id", curvature)[:, :, None] * np.eye(w.shape[1]))
        trial = w - np.linalg.solve(lifted, gradient[..., None])[..., 0]
        found = _objective(trial, mean, precision, prior, feedback, held)
        better = found[0] <= cost
        moved = float(np.abs(np.where(better[:, None], trial - w, 0.0)).max(initial=0.0))
        w = np.where(better[:, None], trial, w)
        cost, gradient = np.where(better, found[0], cost), np.where(better[:, None], found[1], gradient)
        curvature = np.where(better[:, None, None], found[2], curvature)
        damping = np.where(better, damping / 3, damping * 4)
        if better.all() and moved < 1e-7:
            break
    return Posterior(w, np.linalg.inv(curvature))


def same_level(feedback: Feedback) -> np.ndarray:
    """bool [people]: whether all feedback of a person is at one level."""
    there = feedback.weight > 0
    return np.asarray(
        np.where(there, feedback.level, -np.inf).max(1, initial=-np.inf) <= np.where(there, feedback.level, np.inf).min(1, initial=np.inf)
    )


def forgotten(prior: Prior, believed: Posterior, kept: np.ndarray) -> Posterior:
    """What is still believed when what was learned counts `kept` (0 to 1) of what it did: back towards the prior, in natural parameters."""
    base = np.linalg.inv(prior.covariance)
    own = np.linalg.inv(believed.covariance)
    kept = np.asarray(kept, np.float64)[:, None, None]
    precision = base + kept * (own - base)
    pull = base @ prior.mean + kept[..., 0] * (np.einsum("ide,ie->id", own, believed.mean) - base @ prior.mean)
    covariance = np.linalg.inv(precision)
    return Posterior(np.einsum("ide,ie->id", covariance, pull), covariance)


def fit(feedback: Feedback, signals: int = 1) -> Prior:
    """The population's mean, covariance and noise, from ratings alone (signal 0); other signals get theirs by `calibrated`."""
    ratings = replace(feedback, weight=np.where(feedback.signal == 0, feedback.weight, 0.0))
    if not ratings.weight.any():
        raise ConfigError("there is no rating among the feedback", fix="give some explicit ratings: signals are measured against them")
    p = feedback.features.shape[-1]
    there = ratings.weight > 0
    levels = ratings.level[there]
    mean = np.zeros(2 * p)
    mean[0], mean[p] = float(levels.mean()), -np.log(max(float(levels.std()), 1e-6))
    # Features other than the first begin as differing little.
    spread = np.tile(np.r_[1.0, np.full(p - 1, 0.1)], 2) * np.repeat([max(float(levels.var()), 1e-6), 0.5], p)
    prior = Prior(mean, np.diag(spread), np.zeros(signals), np.r_[1.0, np.zeros(signals - 1)], np.full(signals, 0.3))
    # Midpoint and slope of one feature may go together; features are taken to be independent of each other.
    together = np.kron(np.ones((2, 2)), np.eye(p)) > 0
    for _ in range(ROUNDS):
        believed = posterior(prior, ratings)
        off = believed.mean - prior.mean
        mean = believed.mean.mean(0)
        off = believed.mean - mean
        covariance = np.where(together, (np.einsum("id,ie->ide", off, off) + believed.covariance).mean(0), 0.0) + NARROWEST * np.eye(2 * p)
        noise = np.r_[_noise(believed, prior, ratings), prior.noise[1:]]
        done = np.abs(mean - prior.mean).max() < 1e-4 and abs(noise[0] - prior.noise[0]) < 1e-5
        prior = replace(prior, mean=mean, covariance=covariance, noise=noise)
        if done:
            break
    return prior


def calibrated(prior: Prior, feedback: Feedback, least: float = 0.1) -> tuple[Prior, np.ndarray]:
    """Offset, gain and noise of every signal, against what ratings of the same people say; and each one's held-out correlation with that.

    Half of the people fit the line, the other half are correlated; a signal below `least` gets weight 0 (an infinite noise).
    """
    ratings = replace(feedback, weight=np.where(feedback.signal == 0, feedback.weight, 0.0))
    believed = posterior(prior, ratings)
    middle, slope = curve(believed.mean[:, None, :], feedback.features)
    satisfied = expit(slope * (feedback.level - middle))
    offset, gain, noise = prior.offset.copy(), prior.gain.copy(), prior.noise.copy()
    correlation = np.r_[1.0, np.zeros(prior.noise.size - 1)]
    even = np.arange(feedback.level.shape[0])[:, None] % 2 == 0
    for one in range(1, noise.size):
        there = (feedback.signal == one) & (feedback.weight > 0)
        learn, held = there & even, there & ~even
        noise[one] = np.inf
        if min(learn.sum(), held.sum()) < 3 or min(satisfied[learn].std(), satisfied[held].std(), feedback.value[held].std()) < 1e-9:
            continue
        gain[one], offset[one] = np.polyfit(satisfied[learn], feedback.value[learn], 1)
        correlation[one] = np.sign(gain[one]) * np.corrcoef(satisfied[held], feedback.value[held])[0, 1]
        if correlation[one] >= least:
            noise[one] = max(float(np.std(feedback.value[learn] - offset[one] - gain[one] * satisfied[learn])), 1e-3)
    return replace(prior, offset=offset, gain=gain, noise=noise), correlation


def _noise(believed: Posterior, prior: Prior, ratings: Feedback) -> float:
    """Standard deviation of ratings about the curves, with what the curves' own uncertainty adds."""
    middle, slope = curve(believed.mean[:, None, :], ratings.features)
    satisfied = expit(slope * (ratings.level - middle))
    by = _derivatives(satisfied, slope, ratings)
    sigma = prior.noise[0]
    squared = (ratings.value - satisfied) ** 2
    for edge, z in _edges(ratings, satisfied, sigma):
        squared = np.where(edge, sigma**2 * (1 - z * _mills(z)), squared)
    squared = squared + np.einsum("ind,ide,ine->in", by, believed.covariance, by)
    return float(np.sqrt(max((ratings.weight * squared).sum() / ratings.weight.sum(), 1e-6)))


def _objective(
    w: np.ndarray, mean: np.ndarray, precision: np.ndarray, prior: Prior, feedback: Feedback, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Negative log posterior of each person, its gradient, and a curvature that is never negative."""
    middle, slope = curve(w[:, None, :], feedback.features)
    satisfied = expit(slope * (feedback.level - middle))
    offset, gain, sigma = prior.offset[feedback.signal], prior.gain[feedback.signal], prior.noise[feedback.signal]
    residual = (feedback.value - offset - gain * satisfied) / sigma
    negative, score, second = residual**2 / 2, residual / sigma, 1 / sigma**2
    for edge, z in _edges(feedback, satisfied, sigma):
        mills = _mills(z)
        negative = np.where(edge, -log_ndtr(z), negative)
        score = np.where(edge, np.where(feedback.value >= 1, 1.0, -1.0) * mills / sigma, score)
        second = np.where(edge, mills * (mills + z) / sigma**2, second)
    by = _derivatives(satisfied, slope, feedback) * gain[..., None]
    p = feedback.features.shape[-1]
    by[held, :, p:] = 0.0
    off = w - mean
    pull = np.einsum("ide,ie->id", precision, off)
    weight = feedback.weight
    return (
        (weight * negative).sum(1) + (off * pull).sum(1) / 2,
        pull - np.einsum("in,ind->id", weight * score, by),
        precision + np.einsum("in,ind,ine->ide", weight * second, by, by),
    )


def _derivatives(satisfied: np.ndarray, slope: np.ndarray, feedback: Feedback) -> np.ndarray:
    """Of satisfaction by the parameters: [people, n, 2 p]."""
    flat = satisfied * (1 - satisfied)
    logit = np.log(np.maximum(satisfied, 1e-300)) - np.log(np.maximum(1 - satisfied, 1e-300))
    return np.concatenate([(-slope * flat)[..., None] * feedback.features, (flat * logit)[..., None] * feedback.features], -1)


def _edges(feedback: Feedback, satisfied: np.ndarray, sigma: np.ndarray | float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ratings at the top and at the bottom of the scale, and how far inside it the curve is, in standard deviations (negative)."""
    rating = feedback.signal == 0
    return [(rating & (feedback.value >= 1), (satisfied - 1) / sigma), (rating & (feedback.value <= 0), -satisfied / sigma)]


def _mills(z: np.ndarray) -> np.ndarray:
    """Density over probability of a standard normal, also far out."""
    return np.asarray(np.exp(-(z**2) / 2 - log_ndtr(z)) / np.sqrt(2 * np.pi))
