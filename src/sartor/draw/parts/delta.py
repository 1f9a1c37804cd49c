"""What a method changes in weights: low-rank adapters beside layers, and differences of chosen layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.lora import LoraBank

ATTENTION = r".*attn[12]\.(to_q|to_k|to_v|to_out\.0)"
"""Every projection of attention: what diffusers' trainers adapt."""
KEYS_VALUES = r".*attn2\.(to_k|to_v)"
"""Keys and values of cross-attention only (Custom Diffusion, Kumari et al. 2023)."""


def lora(unet: nn.Module, *, targets: str = ATTENTION, rank: int = 4, alpha: float | None = None, seed: int = 0) -> LoraBank:
    """A bank of adapters on a denoiser; `alpha` is the rank by default, so that the scale is 1, as diffusers' trainers have it."""
    return LoraBank(unet, targets=targets, rank=rank, alpha=float(rank if alpha is None else alpha), seed=seed)


# --- differences of whole layers

Delta = Mapping[str, Tensor]
"""Parameter of the denoiser -> what is added to it."""


def difference(unet: nn.Module, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What training has changed: the parameters named in `before` less what they were."""
    now = dict(unet.named_parameters())
    return {name: (now[name] - old).detach().clone() for name, old in before.items()}


@contextmanager
def added(unet: nn.Module, delta: Delta, scale: float = 1.0) -> Iterator[Any]:
    """While inside, the denoiser has its weights plus scale times the difference; then bit for bit what it had. Not for two threads at once."""
    now = dict(unet.named_parameters())
    if strange := [name for name, change in delta.items() if name not in now or now[name].shape != change.shape]:
        raise ConfigError(f"the difference is of another model: {strange[0]}", fix="use the model that it was made for")
    kept = {name: now[name].detach().clone() for name in delta}
    with torch.no_grad():
        for name, change in delta.items():
            now[name].add_(change.to(now[name]), alpha=scale)
    try:
        yield unet
    finally:
        with torch.no_grad():
            for name, old in kept.items():
                now[name].copy_(old)


def compress(delta: Delta, rank: int) -> dict[str, tuple[Tensor, Tensor]]:
    """The nearest matrices of this rank: parameter -> B [out, rank], A [rank, in] (Eckart and Young 1936); others than matrices are left out."""
    if rank < 1:
        raise ConfigError(f"rank is {rank}", fix="use at least 1")
    made = {}
    for name, change in delta.items():
        if change.ndim == 2:
            u, s, v = torch.linalg.svd(change.float(), full_matrices=False)
            root = s[:rank].sqrt()
            made[name] = (u[:, :rank] * root, root[:, None] * v[:rank])
    return made


def expand(parts: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The reverse of `compress`, as far as there is one."""
    return {name: b @ a for name, (b, a) in parts.items()}
