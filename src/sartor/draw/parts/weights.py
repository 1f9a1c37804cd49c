"""Weights of the denoiser that learn for a while and leave it as it was, and what they have learned put back into effect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from sartor.draw.parts.delta import ATTENTION, added, difference, lora
from sartor.draw.parts.lora_files import TEXT
from sartor.draw.parts.prior import Prior
from sartor.errors import ConfigError


class Weights(Protocol):
    """Weights of the denoiser that learn, and leave it as it was."""

    def parameters(self) -> list[nn.Parameter]: ...
    def use(self, rows: int) -> Any: ...
    def arrays(self) -> dict[str, Tensor]: ...
    def close(self) -> None: ...


class _Borrowed:
    """`with` puts the denoiser back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class LowRank(_Borrowed):
    """Low-rank changes of linear layers (Hu et al. 2021); by default of every projection of attention, as diffusers' trainers have it."""

    def __init__(self, prior: Prior, *, targets: str = ATTENTION, rank: int = 4, seed: int = 0) -> None:
        self.bank = lora(prior.unet, targets=targets, rank=rank, seed=seed)
        self.bank.add()

    def parameters(self) -> list[nn.Parameter]:
        return list(self.bank.parameters())

    def use(self, rows: int) -> Any:
        return self.bank.use([0] * rows)

    def arrays(self) -> dict[str, Tensor]:
        """`<layer>.A` [rank, in] and `<layer>.B` [out, rank]."""
        return {key: torch.from_numpy(array) for key, array in self.bank.get(0, np.float32).items()}

    def close(self) -> None:
        self.bank.detach()


class Whole(_Borrowed):
    """The weights themselves, of all of the denoiser or of the parameters whose names match a pattern."""

    def __init__(self, prior: Prior, *, targets: str = r".*") -> None:
        self.unet, self.lock = prior.unet, prior.lock
        self.before = {name: p.detach().clone() for name, p in prior.unet.named_parameters() if re.fullmatch(targets, name)}
        if not self.before:
            raise ConfigError(f"the denoiser has no parameter '{targets}'", fix="see prior.unet.named_parameters()")
        # Nobody may draw with weights that are half learned.
        self.lock.__enter__()

    def parameters(self) -> list[nn.Parameter]:
        now = dict(self.unet.named_parameters())
        return [now[name] for name in self.before]

    def use(self, rows: int) -> Any:
        return nullcontext()

    def arrays(self) -> dict[str, Tensor]:
        """Parameter -> what training has added to it."""
        return difference(self.unet, self.before)

    def close(self) -> None:
        now = dict(self.unet.named_parameters())
        with torch.no_grad():
            for name, old in self.before.items():
                now[name].copy_(old)
        self.lock.__exit__()


class Network(_Borrowed):
    """A network of a method's own beside the denoiser."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def use(self, rows: int) -> Any:
        return nullcontext()

    def arrays(self) -> dict[str, Tensor]:
        """Its whole state."""
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def close(self) -> None:
        """Nothing of the denoiser was changed."""


Kind = Literal["low-rank", "whole"]
"""How a weight learns: by a product of two thin matrices that is added to it, or itself."""


def learning(prior: Prior, kind: Kind, *, targets: str | None = None, rank: int = 4, seed: int = 0) -> LowRank | Whole:
    """Weights that learn: of the linear layers whose names match a pattern; without one, attention at low rank, or the whole denoiser."""
    if kind == "whole":
        return Whole(prior) if targets is None else Whole(prior, targets=targets + r"\.weight")
    return LowRank(prior, targets=ATTENTION if targets is None else targets, rank=rank, seed=seed)


# --- in effect


@contextmanager
def changed(prior: Prior, arrays: Sequence[Mapping[str, Tensor]], scales: Sequence[float] | None = None) -> Iterator[None]:
    """While inside, what `Weights.arrays` of one or several tunings is added to the denoiser, each times its scale; not for two threads at once.

    What a file of others changes in the text encoder (`lora_files.TEXT`) is added there.
    """
    total: dict[str, Tensor] = {}
    for number, one in enumerate(arrays):
        scale = 1.0 if scales is None else scales[number]
        for name, change in dense(one).items():
            total[name] = total[name] + scale * change if name in total else scale * change
    text = {name.removeprefix(TEXT): change for name, change in total.items() if name.startswith(TEXT)}
    denoiser = {name: change for name, change in total.items() if not name.startswith(TEXT)}
    with added(prior.unet, denoiser), added(prior.text_encoder, text):
        yield


def dense(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameter -> its change, of low-rank or whole arrays."""
    made = {}
    for name, array in arrays.items():
        if name.endswith(".B"):
            made[f"{name[:-2]}.weight"] = array.float() @ arrays[f"{name[:-2]}.A"].float()
        elif not name.endswith(".A"):
            made[name] = array
    return made
