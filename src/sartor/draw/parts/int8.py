"""Weights in eight bits: every linear layer and convolution keeps whole numbers and a scale for each output, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.draw.parts.prior import Prior


class Int8(nn.Module):
    """A linear layer or a convolution with int8 weights and a scale for each output channel, symmetric about zero.

    The whole numbers are what is multiplied with; the scale is put on what comes out, where biases are added.
    """

    numbers: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        weight = layer.weight.detach().float()
        scale = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
        self.register_buffer("numbers", (weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8))
        self.register_buffer("scale", scale.to(layer.weight.dtype))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.how: dict[str, Any] = {}
        self.out_features = len(weight)
        if isinstance(layer, nn.Conv2d):
            self.how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        # A copy of one layer at a time, gone when the layer is done.
        whole = self.numbers.to(x.dtype)
        out = F.conv2d(x, whole, **self.how) if self.how else F.linear(x, whole)
        shape = (1, -1, 1, 1) if self.how else (-1,)
        out = out * self.scale.reshape(shape)
        return out if self.bias is None else out + self.bias.reshape(shape)


def quantised(prior: Prior) -> Prior:
    """A prior of its own with eight-bit weights in denoiser, text encoder and codec; made once for each prior. Words keep their rows as they are."""
    if "int8" not in prior.kept:
        # Not what the prior has kept, nor its lock.
        parts = [copy.deepcopy(part) for part in prior.modules]
        for part in parts:
            _put(part)
        unet, text_encoder, vae = parts
        made = Prior(unet, text_encoder, prior.tokenizer, vae, prior.scheduler, {**prior.card, "bits": 8})
        prior.kept["int8"] = made
    found: Prior = prior.kept["int8"]
    return found


def is_quantised(prior: Prior) -> bool:
    """Whether no linear layer or convolution of denoiser and text encoder has other weights."""
    every = [module for part in prior.modules[:2] for module in part.modules()]
    return any(isinstance(one, Int8) for one in every) and not any(isinstance(one, nn.Linear | nn.Conv2d) for one in every)


def _put(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear | nn.Conv2d):
            setattr(module, name, Int8(child))
        else:
            _put(child)
