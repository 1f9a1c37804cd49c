"""Adapters as people exchange them: IP-Adapter's safetensors files, with one vector per picture and 4 tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from sartor import _storage
from sartor.draw.parts.tap import KeysValues, layers_of
from sartor.errors import ConfigError, CorruptFile, FileProblem

TOKENS = 4
"""Of a picture; diffusers reads this number only."""
_PICTURE = {"proj.weight": "image_embeds.weight", "proj.bias": "image_embeds.bias", "norm.weight": "norm.weight", "norm.bias": "norm.bias"}


def cross_names(unet: Any) -> list[str]:
    """Layers in the order in which files number them: as `attn_processors` has them, self and cross in turn, so that cross ones are odd."""
    return [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]


def write_ip_adapter(path: str | Path, unet: Any, network: Any) -> Path:
    """Write a network of "projector" (diffusers' `ImageProjection`) and "branch" (`KeysValues`); raises `ConfigError` for other than 4 tokens."""
    from safetensors.torch import save

    picture, branch = network["projector"], network["branch"]
    if picture.num_image_text_embeds != TOKENS:
        raise ConfigError(f"{picture.num_image_text_embeds} tokens a picture", fix=f"files have {TOKENS}: fit with tokens={TOKENS}")
    state = picture.state_dict()
    tensors = {f"image_proj.{theirs}": state[ours] for theirs, ours in _PICTURE.items()}
    for number, name in enumerate(cross_names(unet)):
        for part, own in (("k", branch.to_k), ("v", branch.to_v)):
            tensors[f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"] = own[branch.numbers[name]].weight
    path = Path(path)
    _storage.write_atomically(path, save({key: one.detach().float().cpu().contiguous() for key, one in tensors.items()}, {"format": "pt"}))
    return path


def read_ip_adapter(path: str | Path, unet: Any) -> tuple[dict[str, Tensor], KeysValues]:
    """The state of an `ImageProjection`, and the branch for this denoiser.

    Raises `FileProblem`, `CorruptFile`, and `ConfigError` for adapters of another kind (Plus, FaceID) or of another base model.
    """
    from safetensors.torch import load

    path = Path(path)
    if not path.is_file():
        raise FileProblem("there is no such file", fix="check the path", file=path)
    try:
        found = load(path.read_bytes())
    except Exception as cause:
        raise CorruptFile("this is not a whole safetensors file", fix="fetch it again", file=path) from cause
    parts = {head: {key.removeprefix(head): one for key, one in found.items() if key.startswith(head)} for head in ("image_proj.", "ip_adapter.")}
    if {*parts["image_proj."]} != {*_PICTURE}:
        raise ConfigError("this is not an IP-Adapter of one vector and 4 tokens", fix="use e.g. ip-adapter_sd15.safetensors", file=path)
    picture = {ours: parts["image_proj."][theirs].float() for theirs, ours in _PICTURE.items()}
    if picture["image_embeds.weight"].shape[0] != TOKENS * layers_dim(unet):
        what = f"its tokens have {picture['image_embeds.weight'].shape[0] // TOKENS} numbers, this model reads {layers_dim(unet)}"
        raise ConfigError(what, fix="use an IP-Adapter of this kind of model", file=path)
    return picture, KeysValues.from_ip_adapter(unet, {key: one.float() for key, one in parts["ip_adapter."].items()})


def layers_dim(unet: Any) -> int:
    """Numbers of a token that cross-attention reads."""
    return int(unet.get_submodule(layers_of(unet, cross=True)[0].name).to_k.in_features)
