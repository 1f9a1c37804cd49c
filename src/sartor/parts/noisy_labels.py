"""Losses for clicks whose absence may mean "not seen yet": learned flips from true positive to observed negative.

One interface for a family: scores R of observed positives [B] and of sampled unobserved items [B, n], and for both the logit gamma that a
true positive is observed as a negative. All return the sum over the batch, to be minimised by plain gradient descent; s is the sigmoid.
Every positive counts once per negative, as in the authors' code. Works with any scorer.

Source: Yu and Qin, Sampler Design for Implicit Feedback Data by Noisy-label Robust Learning, SIGIR 2020.
"""

from __future__ import annotations

from typing import Literal, get_args

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.errors import ConfigError

Variant = Literal["nbpo", "nbpo-o", "nbpo-s", "bpo", "bpr"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
"""nbpo: the surrogate. nbpo-o: the exact log-likelihood. nbpo-s: the likelihood itself. bpo: no flips. bpr: pairs, no flips."""


def noisy_label_loss(variant: Variant, positive: Tensor, negative: Tensor, positive_flip: Tensor, negative_flip: Tensor) -> Tensor:
    """Scalar. positive, positive_flip [B]; negative, negative_flip [B, n]; flips are ignored by "bpo" and "bpr"."""
    n = negative.shape[1]
    match variant:
        case "bpr":
            return -F.logsigmoid(positive[:, None] - negative).sum()
        case "bpo":
            return -n * F.logsigmoid(positive).sum() - F.logsigmoid(-negative).sum()
        case "nbpo":
            return -n * _surrogate_positive(positive, positive_flip).sum() - _surrogate_negative(negative, negative_flip).sum()
        case "nbpo-o":
            kept = F.logsigmoid(positive) + F.logsigmoid(-positive_flip)
            return -n * kept.sum() - torch.log(1 - torch.sigmoid(-negative_flip) * torch.sigmoid(negative) + 1e-10).sum()
        case "nbpo-s":
            kept = torch.sigmoid(positive) * torch.sigmoid(-positive_flip)
            return -n * kept.sum() - (torch.sigmoid(-negative) + torch.sigmoid(negative_flip) * torch.sigmoid(negative)).sum()
    raise ConfigError(f"there is no variant '{variant}'", fix=f"use one of {', '.join(VARIANTS)}")


def _surrogate_positive(score: Tensor, flip: Tensor) -> Tensor:
    # Each factor's log is weighted by the other factor as it is now: without the detaching, the optimum is another one.
    return torch.sigmoid(-flip).detach() * F.logsigmoid(score) + torch.sigmoid(score).detach() * F.logsigmoid(-flip)


def _surrogate_negative(score: Tensor, flip: Tensor) -> Tensor:
    flipped = torch.sigmoid(flip).detach() * F.logsigmoid(score) + torch.sigmoid(score).detach() * F.logsigmoid(flip)
    return F.logsigmoid(-score) + flipped


@numba.njit(cache=True, nogil=True)
def ascent(variant, positive, score, flip):  # type: ignore[no-untyped-def]
    """The published ascent steps of one example: (by the score, by the flip). variant is the position in `VARIANTS`; not for bpr."""
    # Both s(x) and s(-x) from x itself: 1 - s(x) would lose its digits where s(x) is near 1.
    yes, no, up, down = _sigmoid(score), _sigmoid(-score), _sigmoid(flip), _sigmoid(-flip)
    if variant == 3:
        return (no if positive else -yes), np.float32(0)
    if positive:
        if variant == 0:
            return down * no, -up * yes
        if variant == 1:
            return no, -up
        return down * yes * no, -down * up * yes
    if variant == 0:
        return up * no - yes, down * yes
    if variant == 1:
        likelihood = no + up * yes + np.float32(1e-10)
        return -down * yes * no / likelihood, up * down * yes / likelihood
    return -down * yes * no, up * down * yes


@numba.njit(cache=True, nogil=True)
def _sigmoid(x):  # type: ignore[no-untyped-def]
    one = np.float32(1)
    small = np.exp(-abs(np.float32(x)))
    return one / (one + small) if x >= 0 else small / (one + small)
