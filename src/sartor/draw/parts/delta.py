"""What a method changes in the denoiser's weights: LoRA in the files that people have, and differences of chosen layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, FileProblem
from sartor.parts.lora import LoraBank

ATTENTION = r".*attn[12]\.(to_q|to_k|to_v|to_out\.0)"
"""Every projection of attention: what diffusers' trainers adapt."""
KEYS_VALUES = r".*attn2\.(to_k|to_v)"
"""Keys and values of cross-attention only (Custom Diffusion, Kumari et al. 2023)."""
_FILE = "pytorch_lora_weights.safetensors"


def lora(unet: nn.Module, *, targets: str = ATTENTION, rank: int = 4, alpha: float | None = None, seed: int = 0) -> LoraBank:
    """A bank of adapters on a denoiser; `alpha` is the rank by default, so that the scale is 1, as diffusers' trainers have it."""
    return LoraBank(unet, targets=targets, rank=rank, alpha=float(rank if alpha is None else alpha), seed=seed)


def save_lora(bank: LoraBank, number: int, path: str | Path, *, layout: Literal["diffusers", "kohya"] = "diffusers") -> Path:
    """Write one adapter as diffusers has it (`unet.<layer>.lora_A.weight`) or as kohya's trainers do (`lora_unet_<layer>.lora_down.weight`);
    `pipeline.load_lora_weights(folder)` reads both.

    A scale other than 1 is put into B, so that the file means the same everywhere. `path` is a folder or a .safetensors file.
    """
    arrays = bank.get(number, np.float32)
    return write_lora({key: array * bank.scale if key.endswith(".B") else array for key, array in arrays.items()}, path, layout=layout)


def write_lora(arrays: Mapping[str, np.ndarray], path: str | Path, *, layout: Literal["diffusers", "kohya"] = "diffusers") -> Path:
    """Write `<layer>.A` [rank, in] and `<layer>.B` [out, rank] of scale 1 as `save_lora` does."""
    from safetensors.numpy import save

    path = Path(path) if Path(path).suffix == ".safetensors" else Path(path) / _FILE
    named = {_named(key, layout): np.ascontiguousarray(array, np.float32) for key, array in arrays.items()}
    if layout == "kohya":
        named |= {
            f"{_named(key, layout).partition('.')[0]}.alpha": np.array(array.shape[0], np.float32)
            for key, array in arrays.items()
            if key.endswith(".A")
        }
    _storage.write_atomically(path, save(named, {"format": "pt"}))
    return path


def _named(key: str, layout: Literal["diffusers", "kohya"]) -> str:
    """The key of `<layer>.A` or `<layer>.B` in a file."""
    layer, part = key[:-2], key[-1]
    if layout == "diffusers":
        return f"unet.{layer}.lora_{part}.weight"
    return f"lora_unet_{layer.replace('.', '_')}.lora_{'down' if part == 'A' else 'up'}.weight"


def read_lora(unet: nn.Module, path: str | Path) -> tuple[LoraBank, int]:
    """A bank with the adapter of a file that `save_lora` or diffusers wrote, and its number.

    Raises `FileProblem`, `CorruptFile`, and `ConfigError` when the adapter is of another model or is more than LoRA on linear layers.
    """
    from safetensors.numpy import load

    path = Path(path) if Path(path).suffix == ".safetensors" else Path(path) / _FILE
    if not path.is_file():
        raise FileProblem("there is no adapter here", fix=f"give a folder with {_FILE}", file=path)
    try:
        found = load(path.read_bytes())
    except Exception as cause:
        raise CorruptFile("this adapter cannot be read", fix="save it again", file=path) from cause
    arrays, alphas = {}, {}
    for name, array in found.items():
        layer, _, kind = name.removeprefix("unet.").partition(".lora_")
        if kind in ("A.weight", "B.weight", "A.default.weight", "B.default.weight") and array.ndim == 2:
            arrays[f"{layer}.{kind[0]}"] = array
        elif name.endswith(".alpha"):
            alphas[name.removeprefix("unet.").removesuffix(".alpha")] = float(array)
        else:
            raise ConfigError(f"'{name}' is not a LoRA weight of a linear layer of the denoiser", fix="give a plain LoRA", file=path)
    layers = sorted({key[:-2] for key in arrays})
    known = dict(unet.named_modules())
    if not layers or (strange := [one for one in layers if not isinstance(known.get(one), nn.Linear)]):
        raise ConfigError(f"the denoiser has no layer '{strange[0] if layers else ''}'", fix="use the model that it was made for", file=path)
    ranks = {arrays[f"{one}.A"].shape[0] for one in layers}
    if len(ranks) > 1:
        raise ConfigError(f"the adapter has ranks {sorted(ranks)}", fix="give one with a single rank", file=path)
    rank = ranks.pop()
    scaled = {k: v * alphas.get(k[:-2], rank) / rank if k.endswith(".B") else v for k, v in arrays.items()}
    bank = LoraBank(unet, targets="|".join(one.replace(".", r"\.") for one in layers), rank=rank, alpha=float(rank))
    return bank, bank.add(scaled)


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
