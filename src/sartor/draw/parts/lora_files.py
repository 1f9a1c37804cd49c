"""LoRA in the files that people have: as diffusers and peft write them, and as kohya's trainers do."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, FileProblem
from sartor.parts.lora import LoraBank

FILE = "pytorch_lora_weights.safetensors"
TEXT = "text_encoder."
"""Before the names of layers of the text encoder; of an SDXL `text_encoder.first.` and `text_encoder.second.`."""
FACTS = "lora_adapter_metadata"
"""Where diffusers keeps peft's settings in a file."""
NOT_PLAIN = frozenset({"use_dora", "use_rslora", "alpha_pattern", "lora_bias"})
Layout = Literal["diffusers", "kohya"]

_KOHYA = re.compile(r"lora_(?P<of>unet|te1?|te2)_(?P<layer>\w+)\.(?P<part>lora_down\.weight|lora_up\.weight|alpha)")
_DIFFUSERS = re.compile(
    r"(?:(?P<of>unet|text_encoder|text_encoder_2)\.)?(?:base_model\.model\.)?(?P<layer>.+?)(?:\.|_)"
    r"(?P<part>lora_A(?:\.\w+)?\.weight|lora_B(?:\.\w+)?\.weight|lora\.down\.weight|lora\.up\.weight|lora_linear_layer\.down\.weight"
    r"|lora_linear_layer\.up\.weight|alpha)"
)
_BLOCK = re.compile(r"(input|output)_blocks_(\d+)_1_(.+)|middle_block_1_(.+)")


def save_lora(bank: LoraBank, number: int, path: str | Path, *, layout: Layout = "diffusers") -> Path:
    """Write one adapter as diffusers has it (`unet.<layer>.lora_A.weight`) or as kohya's trainers do (`lora_unet_<layer>.lora_down.weight`);
    `pipeline.load_lora_weights(folder)` reads both.

    A scale other than 1 is put into B, so that the file means the same everywhere. `path` is a folder or a .safetensors file.
    """
    arrays = bank.get(number, np.float32)
    return write_lora({key: array * bank.scale if key.endswith(".B") else array for key, array in arrays.items()}, path, layout=layout)


def write_lora(arrays: Mapping[str, np.ndarray], path: str | Path, *, layout: Layout = "diffusers") -> Path:
    """Write `<layer>.A` [rank, in] and `<layer>.B` [out, rank] of scale 1 as `save_lora` does."""
    from safetensors.numpy import save

    path = _file(path)
    named = {_named(key, layout): np.ascontiguousarray(array, np.float32) for key, array in arrays.items()}
    if layout == "kohya":
        named |= {
            f"{_named(key, layout).partition('.')[0]}.alpha": np.array(array.shape[0], np.float32)
            for key, array in arrays.items()
            if key.endswith(".A")
        }
    _storage.write_atomically(path, save(named, {"format": "pt"}))
    return path


def _named(key: str, layout: Layout) -> str:
    """The key of `<layer>.A` or `<layer>.B` in a file."""
    layer, part = key[:-2], key[-1]
    if layout == "diffusers":
        return f"unet.{layer}.lora_{part}.weight"
    return f"lora_unet_{layer.replace('.', '_')}.lora_{'down' if part == 'A' else 'up'}.weight"


def _file(path: str | Path) -> Path:
    return Path(path) if Path(path).suffix == ".safetensors" else Path(path) / FILE


def read_lora(unet: Any, path: str | Path, *, text_encoder: nn.Module | None = None) -> dict[str, Tensor]:
    """The changes of an adapter at scale 1: `<layer>.A` [rank, in] and `<layer>.B` [out, rank] of linear layers, `<layer>.weight` of convolutions.

    Reads what diffusers, peft and kohya's trainers write; an SDXL's layers also under the names of its first release. Layers of the text encoder come
    under `TEXT`. Raises `FileProblem`, `CorruptFile`, and `ConfigError` when the adapter is of another model, or is more than LoRA.
    """
    from safetensors import safe_open

    path = _file(path)
    if not path.is_file():
        raise FileProblem("there is no adapter here", fix=f"give a folder with {FILE}", file=path)
    try:
        with safe_open(path, framework="pt") as opened:
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no mapping
            facts = json.loads((opened.metadata() or {}).get(FACTS, "{}"))
    except Exception as cause:
        raise CorruptFile("this adapter cannot be read", fix="save it again", file=path) from cause
    if not isinstance(facts, dict):
        raise CorruptFile("what is said of this adapter is no list of settings", fix="save it again", file=path)
    if strange := [name for name, value in facts.items() if name.rpartition(".")[2] in NOT_PLAIN and value]:
        raise ConfigError(f"the adapter says {strange[0]}", fix="give a plain LoRA", file=path)
    if wild := [name for name, array in found.items() if not array.isfinite().all()]:
        raise CorruptFile(f"{wild[0]} has numbers that are not finite", fix="learn it again, at a lower rate", file=path)
    layers = _layers(unet, text_encoder)
    downs: dict[str, Tensor] = {}
    ups: dict[str, Tensor] = {}
    alphas: dict[str, float] = {}
    for name, array in found.items():
        if (match := _KOHYA.fullmatch(name) or _DIFFUSERS.fullmatch(name)) is None:
            raise ConfigError(f"'{name}' is no LoRA weight", fix="give a plain LoRA", file=path)
        layer = _found(match, layers, unet)
        if layer is None:
            raise ConfigError(f"the model has no layer '{match['layer']}' to change", fix="use the model that it was made for", file=path)
        if match["part"] == "alpha":
            alphas[layer] = _alpha(array, path)
        elif array.dim() not in (2, 4) or not array.numel():
            raise ConfigError(f"'{name}' is of size {list(array.shape)}", fix="give a plain LoRA", file=path)
        else:
            if (said := facts.get(f"{match['of'] or 'unet'}.lora_alpha")) is not None:
                alphas[layer] = _alpha(said, path)
            (downs if re.search("down|_A", match["part"]) else ups)[layer] = array.float()
    if not downs or downs.keys() != ups.keys():
        lacking = next(iter(downs.keys() ^ ups.keys()), "")
        raise ConfigError(f"the adapter has half of '{lacking}'" if lacking else "the adapter changes nothing", fix="give a whole LoRA", file=path)
    made: dict[str, Tensor] = {}
    for layer, down in downs.items():
        up, module = ups[layer] * (alphas.get(layer, down.shape[0]) / down.shape[0]), layers[layer]
        shape = (up.shape[0], *down.shape[1:])
        if shape != tuple(module.weight.shape) or up.shape[1] != down.shape[0] or up.dim() != down.dim():
            what = f"'{layer}' is {list(module.weight.shape)}, the adapter's {list(shape)}"
            raise ConfigError(what, fix="use the model that it was made for", file=path)
        if isinstance(module, nn.Linear):
            made |= {f"{layer}.A": down, f"{layer}.B": up}
        else:
            made[f"{layer}.weight"] = torch.einsum("or,r...->o...", up[..., 0, 0], down)
    return made


def _alpha(value: Any, path: Path) -> float:
    try:
        alpha = float(value)
    except (TypeError, ValueError, RuntimeError) as cause:
        raise CorruptFile("the adapter's alpha is no number", fix="save it again", file=path) from cause
    if not math.isfinite(alpha):
        raise CorruptFile(f"the adapter's alpha is {alpha}", fix="save it again", file=path)
    return alpha


def _layers(unet: nn.Module, text_encoder: nn.Module | None) -> dict[str, Any]:
    """What can be changed, by name."""
    parts = [("", unet)] + ([(TEXT, text_encoder)] if text_encoder is not None else [])
    return {f"{head}{name}": one for head, part in parts for name, one in part.named_modules() if isinstance(one, nn.Linear | nn.Conv2d)}


def _found(match: re.Match[str], layers: Mapping[str, Any], unet: Any) -> str | None:
    """The name of the layer that a key of a file speaks of, or None."""
    of, said = match["of"] or "unet", match["layer"].replace(".", "_")
    if of == "unet":
        # Files of older versions of diffusers name the processor.
        said = re.sub(r"_processor_(to_[qkv]|to_out)$", r"_\1", said)
        said = f"{said}_0" if said.endswith("to_out") else said
        wanted = {said, _of_blocks(said, int(getattr(unet.config, "layers_per_block", 2)))}
    else:
        said = said.removeprefix("text_model_")
        # Which of two encoders, and with or without the head around the second.
        place = "second" if of in ("te2", "text_encoder_2") else "first"
        wanted = {f"text_encoder_{head}{said}" for head in ("", f"{place}_", f"{place}_text_model_")}
    return next((name for name in layers if name.replace(".", "_") in wanted), None)


def _of_blocks(name: str, each: int) -> str:
    """A layer of attention under the name that an SDXL had at first, numbered through all blocks, as diffusers calls it."""
    if (match := _BLOCK.fullmatch(name)) is None:
        return name
    side, number, rest, middle = match.groups()
    if middle is not None:
        return f"mid_block_attentions_0_{middle}"
    if side == "input":
        return f"down_blocks_{(int(number) - 1) // (each + 1)}_attentions_{(int(number) - 1) % (each + 1)}_{rest}"
    return f"up_blocks_{int(number) // (each + 1)}_attentions_{int(number) % (each + 1)}_{rest}"
