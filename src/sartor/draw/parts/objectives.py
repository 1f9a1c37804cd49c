"""What is minimised: the denoising error with masks and class pictures, what attention should look at, and preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.draw.parts.masks import resized
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tap import Slots
from sartor.errors import ConfigError

Times = Callable[[int, torch.device], Tensor]
"""(count, device) -> times int64 [count]."""


class Noised(NamedTuple):
    """Pictures as the denoiser sees them."""

    clean: Tensor
    noise: Tensor
    t: Tensor
    seen: Tensor


def times(steps: int, *, low: float = 0.0, high: float = 1.0) -> Times:
    """Uniform times from a part of the schedule: 0 is clean, 1 is noise."""
    if not 0 <= low < high <= 1:
        raise ConfigError(f"times from {low} to {high}", fix="use 0 <= low < high <= 1")
    first, last = int(low * steps), max(int(low * steps) + 1, int(high * steps))
    return lambda count, device: torch.randint(first, last, (count,)).to(device)


def noisier(steps: int, share: float, *, low: float = 0.7) -> Times:
    """Uniform times, but `share` of them from the noisiest part of the schedule, where the picture itself no longer says what is in it and only what
    the denoiser is told can.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"a share of {share}", fix="use 0 to 1")
    anywhere, late = times(steps), times(steps, low=low)
    return lambda count, device: torch.where(torch.rand(count).to(device) < share, late(count, device), anywhere(count, device))


def noised(prior: Prior, latents: Tensor, *, at: Times | None = None) -> Noised:
    """Latents with noise at random times, drawn from torch's CPU generator, so that a seed means the same on every device."""
    t = (at or times(len(prior.alphas)))(len(latents), latents.device)
    noise = torch.randn(latents.shape).to(latents)
    return Noised(latents, noise, t, prior.noised(latents, noise, t))


def denoising(prior: Prior, data: Noised, context: Tensor, *, mask: Tensor | None = None, slots: Slots | None = None) -> Tensor:
    """Mean squared error of each picture, float [n], in the terms that the denoiser predicts.

    mask: float [n, 1, H, W] in [0, 1]; only what it marks counts, divided by its area, so that small subjects weigh as much as large ones.
    """
    return weighted(prior.predict(data.seen, data.t, context, slots=slots), prior.target(data.clean, data.noise, data.t), mask)


def weighted(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """float [n]: the mean squared error inside of a mask."""
    error = F.mse_loss(output.float(), target.float(), reduction="none")
    if mask is None:
        return error.mean((1, 2, 3))
    inside = resized(mask.to(error), *error.shape[-2:])
    return (error * inside).mean(1).sum((1, 2)) / inside.sum((1, 2, 3)).clamp(min=1e-6)


def even(prior: Prior, t: Tensor, *, heaviest: float = 5.0) -> Tensor:
    """float [n]: what errors at times int64 [n] weigh, so that fine detail, which is decided where little noise is left, counts.

    For a denoiser that predicts x0 it is 1 / (1 - alpha), at most `heaviest`, about as an error of the noise would weigh it; for others 1.
    Source: Salimans and Ho, Progressive Distillation, 2022; Hang et al., Min-SNR, 2023.
    """
    if prior.scheduler.config.prediction_type != "sample":
        return torch.ones(len(t), device=t.device)
    return (1 / (1 - prior.alphas.to(t.device)[t])).clamp(max=heaviest)


def with_class(own: Tensor, of_class: Tensor, weight: float = 1.0) -> Tensor:
    """The subject's error plus the class's: each half's mean by itself (prior preservation, Ruiz et al., DreamBooth, 2023)."""
    return own.mean() + weight * of_class.mean()


# --- what attention looks at


def localised(maps: Mapping[str, Tensor], tokens: Tensor, masks: Tensor) -> Tensor:
    """Mean squared difference between a word's attention, scaled to a largest value of 1, and its mask (Avrahami et al., Break-A-Scene, 2023).

    maps: layer -> [B, pixels, T]; tokens bool [B, T] or [T]; masks float [B, 1, H, W].
    """
    losses = []
    for one in maps.values():
        side = round(one.shape[1] ** 0.5)
        chosen = (one * tokens.to(one).expand(one.shape[0], -1)[:, None]).sum(-1)
        chosen = chosen / chosen.amax(1, keepdim=True).clamp(min=1e-12)
        losses.append(F.mse_loss(chosen, resized(masks.to(one), side, side).flatten(1)))
    return torch.stack(losses).mean()


# --- preferences


def diffusion_dpo(chosen: Tensor, rejected: Tensor, chosen_before: Tensor, rejected_before: Tensor, beta: float) -> Tensor:
    """-log sigmoid of how much better the chosen picture is denoised than before, over the rejected one: float [n].

    All four are denoising errors [n] at one time and noise per pair, the last two of the population's denoiser. Source: Wallace et al.,
    Diffusion-DPO, CVPR 2024; `beta` has their schedule weight and number of steps in it (2000 to 5000 for errors that are means over pixels).
    """
    if beta <= 0:
        raise ConfigError(f"beta is {beta}", fix="use more than 0")
    return F.softplus(beta * ((chosen - chosen_before) - (rejected - rejected_before)))
