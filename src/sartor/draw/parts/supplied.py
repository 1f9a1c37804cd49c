"""Low-rank changes of linear layers whose factors come from elsewhere: from a network that predicts them, or from halves that are put together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sartor.draw.parts.delta import ATTENTION
from sartor.errors import ConfigError

Factors = Mapping[str, tuple[Tensor, Tensor]]
"""Layer -> A [rank, in] and B [out, rank], or [batch, rank, in] and [batch, out, rank] with own ones for every row of a batch."""


def linears(unet: nn.Module, targets: str = ATTENTION) -> dict[str, nn.Linear]:
    """The linear layers whose names match; raises `ConfigError` for none."""
    found = {name: layer for name, layer in unet.named_modules() if isinstance(layer, nn.Linear) and re.fullmatch(targets, name)}
    if not found:
        raise ConfigError(f"the denoiser has no linear layer '{targets}'", fix="see unet.named_modules()")
    return found


@contextmanager
def supplied(unet: nn.Module, factors: Factors) -> Iterator[None]:
    """While inside, each layer W gives (W + B A) x; gradients reach the factors. Raises `ConfigError` for layers that the denoiser has not."""
    known = dict(unet.named_modules())
    if strange := [name for name in factors if not isinstance(known.get(name), nn.Linear)]:
        raise ConfigError(f"the denoiser has no linear layer {', '.join(strange)}", fix="use the model that the factors were made for")
    with ExitStack() as stack:
        for name, (a, b) in factors.items():
            stack.callback(known[name].register_forward_hook(_adds(a, b)).remove)
        yield


def _adds(a: Tensor, b: Tensor) -> Any:
    def hook(_layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        x = inputs[0]
        if a.ndim == 2:
            return out + x @ a.T.to(x) @ b.T.to(x)
        flat = x.reshape(len(x), -1, x.shape[-1])
        change: Tensor = torch.bmm(torch.bmm(flat, a.transpose(1, 2).to(x)), b.transpose(1, 2).to(x))
        return out + change.view(out.shape)

    return hook
