"""From noise to pictures, and back: DDIM with guidance over diffusers' own schedulers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tap import Slots
from sartor.errors import ConfigError
from sartor.progress import track

Callback = Callable[[int, Tensor, Tensor], "Tensor | None"]
"""(step, time, latents) -> latents to go on with, or None: previews, swaps, inpainting."""
Guide = Callable[[Tensor, Tensor], Tensor]
"""(latents [n, c, h, w], time) -> the denoiser's output for them."""


Watch = Callable[[int, Tensor], None]
"""(step, estimate of the clean latents [n, c, h, w])."""


def noise(prior: Prior, seeds: Sequence[int]) -> Tensor:
    """float [n, c, h, w]: the start of every picture from its own seed, so that a picture does not depend on who else is in the batch."""
    side, channels = prior.unet.config.sample_size, prior.unet.config.in_channels
    rows = [torch.randn((1, channels, side, side), generator=torch.Generator().manual_seed(int(seed) % 2**63)) for seed in seeds]
    return torch.cat(rows).to(prior.device, prior.dtype) if rows else torch.empty(0, channels, side, side)


def times(prior: Prior, steps: int, *, scheduler: Any = None) -> list[int]:
    """The times that so many steps go through, from noise to the picture."""
    return [int(t) for t in _planned(prior, steps, scheduler).timesteps]


def _planned(prior: Prior, steps: int, scheduler: Any = None) -> Any:
    from diffusers import DDIMScheduler

    plan = (scheduler or DDIMScheduler).from_config(prior.scheduler.config)
    plan.set_timesteps(steps, device=prior.device)
    return plan


@torch.no_grad()
def sample(
    prior: Prior, context: Tensor, seeds: Sequence[int], *, steps: int = 20, guidance: float | None = None, negative: Tensor | None = None,
    eta: float | None = None, slots: Slots | None = None, negative_slots: Slots | None = None, start: Tensor | None = None,
    onto: Tensor | None = None, first: int = 0, scheduler: Any = None, callback: Callback | None = None, guide: Guide | None = None,
    watch: Watch | None = None,
) -> Tensor:  # fmt: skip
    """Draw: latents float [n, c, h, w].

    Parameters
    ----------
    context: [n, T, d], of the prompts.
    seeds: one for each picture.
    steps, guidance, eta: of DDIM (Song et al. 2021) with classifier-free guidance (Ho and Salimans 2022); guidance 1 is none, and by default it is
        what suits the prior. So is eta, the share of fresh noise in every step, but from given latents (`start`) the way is the same each time.
    negative: context [1 or n, T, d] that guidance leads away from; `Prior.nothing` by default.
    slots: what happens in attention, for the prompts' half; `negative_slots` for the other half.
    start, first: latents to start from in place of noise, already noised to step number `first`.
    onto: latents [1 or n, c, h, w] of a picture to start from; each gets its own seed's noise, up to step number `first`.
    scheduler: a class of diffusers' in place of `DDIMScheduler`.
    callback: called after every step.
    watch: sees after every step what the picture is going to be, as far as the denoiser knows by then.
    guide: says the denoiser's output in place of guidance from one prompt to another: of more than two conditions.
    """
    if steps < 1 or not 0 <= first < steps:
        raise ConfigError(f"steps {steps}, first {first}", fix="steps >= 1, 0 <= first < steps")
    if len(seeds) != len(context):
        raise ConfigError(f"{len(seeds)} seeds for {len(context)} prompts", fix="give one each")
    guidance = prior.guidance if guidance is None else guidance
    if eta is None:
        eta = prior.eta if start is None else 0.0
    plan = _planned(prior, steps, scheduler)
    # Only some of diffusers' schedulers have it.
    extra: dict[str, Any] = {"eta": eta} if "eta" in inspect.signature(plan.step).parameters else {}
    if eta and "generator" in inspect.signature(plan.step).parameters:
        extra["generator"] = [torch.Generator().manual_seed((int(seed) + 1) * 7_919 % 2**63) for seed in seeds]
    x: Tensor
    if onto is not None:
        x = plan.add_noise(onto.expand(len(context), -1, -1, -1), noise(prior, seeds), plan.timesteps[first].expand(len(context)))
    else:
        x = start if start is not None else noise(prior, seeds) * plan.init_noise_sigma
    away = None
    if guidance != 1 and guide is None:
        away = negative if negative is not None else prior.nothing()
        away = away.expand(len(context), -1, -1)
    # Whoever listens to progress is told of every step; a bar of its own it has not.
    going = track(plan.timesteps[first:], "drawing", total=steps - first, enabled=False)
    for number, t in enumerate(going, first):
        seen = plan.scale_model_input(x, t)
        output = guide(seen, t) if guide is not None else _guided(prior, seen, t, context, away, guidance, slots, negative_slots)
        made = plan.step(output, t, x, **extra)
        if watch is not None:
            estimate = getattr(made, "pred_original_sample", None)
            watch(number, prior.x0(output, seen, t[None]) if estimate is None else estimate)
        x = made.prev_sample
        if callback is not None and (changed := callback(number, t, x)) is not None:
            x = changed
    return x


def _guided(
    prior: Prior, x: Tensor, t: Tensor, context: Tensor, away: Tensor | None, guidance: float, slots: Slots | None, negative_slots: Slots | None
) -> Tensor:
    if away is None:
        return prior.predict(x, t, context, slots=slots)
    if slots is None and negative_slots is None:
        without, own = prior.predict(torch.cat([x, x]), t, torch.cat([away, context])).chunk(2)
    else:
        # What a slot holds is of the prompts' rows: the other half goes by itself.
        without, own = prior.predict(x, t, away, slots=negative_slots), prior.predict(x, t, context, slots=slots)
    return without + guidance * (own - without)


@torch.no_grad()
def invert(prior: Prior, latents: Tensor, context: Tensor, *, steps: int = 20, refine: int = 5, slots: Slots | None = None) -> Tensor:
    """The noise from which DDIM would draw these latents in as many steps, without guidance.

    Each step looks for the noisier latents from which DDIM's own step leads to the present ones, by `refine` rounds of putting in what was found
    (Garibi et al., ReNoise, 2024); one round is DDIM inversion as it was (Song et al. 2021) and as diffusers' `DDIMInverseScheduler` has it.
    """
    if steps < 1 or refine < 1:
        raise ConfigError(f"steps {steps}, refine {refine}", fix="use at least 1")
    plan = _planned(prior, steps)
    alphas, x = prior.alphas.to(prior.device), latents
    for t in reversed(plan.timesteps):
        before = int(t) - plan.config.num_train_timesteps // steps
        now, then = (alphas[before] if before >= 0 else torch.as_tensor(plan.final_alpha_cumprod, device=prior.device)), alphas[t]
        found = x
        for _ in range(refine):
            added = _noise_in(prior, prior.predict(found, t, context, slots=slots), found, then)
            found = (then / now).sqrt() * (x - (1 - now).sqrt() * added) + (1 - then).sqrt() * added
        x = found
    return x


def _noise_in(prior: Prior, output: Tensor, x: Tensor, alpha: Tensor) -> Tensor:
    """The noise that an output stands for."""
    kind = prior.scheduler.config.prediction_type
    if kind == "v_prediction":
        return alpha.sqrt() * output + (1 - alpha).sqrt() * x
    return output if kind == "epsilon" else (x - alpha.sqrt() * output) / (1 - alpha).sqrt()
