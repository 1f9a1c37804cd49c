"""Local differential privacy: every device clips its update and adds Gaussian noise before anything leaves it.

The promise covers a client's whole data set: two data sets of one client give updates that differ by at most twice the clipping length. With
`noise` z the noise's standard deviation is z x the clipping length. Releases of one client compose exactly: T of them tell as much as one with
noise z / sqrt(T) (Dong, Roth and Su, Gaussian Differential Privacy, 2022). Nothing is gained from being sampled: the server knows who replied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sartor.errors import ConfigError

SENSITIVITY = 2.0
"""Clipping lengths by which one client's update can change when all its data do."""


def privatise(update: Tensor, *, clip: float, noise: float, generator: torch.Generator) -> Tensor:
    """Updates [k, numbers], each at most `clip` long, with noise of standard deviation noise x clip."""
    short = update * (clip / update.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
    return short + noise * clip * torch.randn(update.shape, generator=generator)


def delta_of(epsilon: float, noise: float, releases: int) -> float:
    """The exact delta of so many releases at this epsilon. Source: Balle and Wang, The analytic Gaussian mechanism, ICML 2018."""
    from scipy.stats import norm

    if not noise:
        return 1.0
    gap = SENSITIVITY * math.sqrt(releases) / noise
    tail = float(norm.logcdf(-gap / 2 - epsilon / gap)) + epsilon
    return float(norm.cdf(gap / 2 - epsilon / gap)) - (math.exp(tail) if tail < 700 else math.inf)


def epsilon_of(noise: float, releases: int, delta: float) -> float:
    """What a client has given away after so many releases: the smallest epsilon at this delta; infinite without noise."""
    from scipy.optimize import brentq

    if not 0 < delta < 1 or noise < 0 or releases < 0:
        raise ConfigError(f"noise {noise}, {releases} releases, delta {delta}", fix="use noise >= 0 and 0 < delta < 1")
    if not releases:
        return 0.0
    if not noise:
        return math.inf
    if delta_of(0.0, noise, releases) <= delta:
        return 0.0
    top = 1.0
    while delta_of(top, noise, releases) > delta:
        top *= 2
    return float(brentq(lambda one: delta_of(one, noise, releases) - delta, 0.0, top, xtol=1e-9))


def source(seed: Sequence[int] | None) -> torch.Generator:
    """Where noise comes from: the operating system's entropy, or with a seed a simulation that hides nothing from whoever knows the seed."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(int(np.random.SeedSequence(list(seed)).generate_state(1)[0]))
    return generator


def noise_for(epsilon: float, releases: int, delta: float) -> float:
    """The noise with which so many releases give away no more than epsilon at this delta."""
    from scipy.optimize import brentq

    if not epsilon > 0:
        raise ConfigError(f"epsilon is {epsilon}", fix="use a number above 0")
    top = 1.0
    while epsilon_of(top, releases, delta) > epsilon:
        top *= 2
    return float(brentq(lambda one: epsilon_of(one, releases, delta) - epsilon, top * 2.0**-12 if top == 1.0 else top / 2, top, xtol=1e-9))
