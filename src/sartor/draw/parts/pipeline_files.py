"""The parts of a diffusers pipeline, open or in a folder: Stable Diffusion 1.x, 2.x and XL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sartor import _storage
from sartor.draw.parts.codec import SpaceToDepth
from sartor.draw.parts.encoders import TwoEncoders
from sartor.errors import ConfigError, CorruptFile, FileProblem

PARTS = ("unet", "text_encoder", "tokenizer", "vae", "scheduler")
SECOND = ("text_encoder_2", "tokenizer_2")
INDEX = "model_index.json"
ZEROS = "force_zeros_for_empty_prompt"


def parts_of(pipeline: Any) -> dict[str, Any]:
    """Name -> part of an open pipeline, as `Prior` takes them; raises `ConfigError` for pipelines of another kind."""
    found = {name: getattr(pipeline, name, None) for name in (*PARTS, *SECOND)}
    if missing := [name for name in PARTS if found[name] is None]:
        raise ConfigError(f"this pipeline has no {missing[0]}", fix="use a text-to-image pipeline: Stable Diffusion 1.x, 2.x or XL")
    return _joined(found, bool(getattr(pipeline.config, ZEROS, True)))


def read_parts(folder: Path, dtype: torch.dtype | None) -> dict[str, Any]:
    """The same of a folder; raises `FileProblem` when a part is missing and `CorruptFile` when one cannot be read."""
    double = [name for name in SECOND if (folder / name).is_dir()]
    if missing := [name for name in (*PARTS, *(SECOND if double else ())) if not (folder / name).is_dir()]:
        raise FileProblem(f"there is no part '{missing[0]}'", fix="give the folder that a StableDiffusionPipeline was saved into", file=folder)
    try:
        with quiet():
            found = _parts(folder, dtype, double=bool(double))
        index = json.loads((folder / INDEX).read_bytes()) if (folder / INDEX).is_file() else {}
    # These libraries raise exceptions of many kinds for damaged files.
    except Exception as cause:
        raise CorruptFile(f"a part cannot be read: {type(cause).__name__}: {cause}"[:300], fix="fetch or save it again", file=folder) from cause
    return _joined(found, bool(index.get(ZEROS, True)))


def _joined(found: Mapping[str, Any], zeros: bool) -> dict[str, Any]:
    """With both text encoders as one."""
    given = {name: found[name] for name in PARTS}
    if found.get("text_encoder_2") is not None:
        both = (given["tokenizer"], found["tokenizer_2"])
        given["text_encoder"] = TwoEncoders(given["text_encoder"], found["text_encoder_2"], both, zeros_for_empty=zeros)
    return given


def _parts(folder: Path, dtype: torch.dtype | None, *, double: bool) -> dict[str, Any]:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    here: dict[str, Any] = {"local_files_only": True}
    more: dict[str, Any] = {**here, "torch_dtype": dtype} if dtype is not None else here
    also: dict[str, Any] = {**here, "dtype": dtype} if dtype is not None else here
    codec = json.loads((folder / "vae" / "config.json").read_bytes())
    own = codec.get("_class_name") == "SpaceToDepth"
    encoder: Any = CLIPTextModel
    second: Any = CLIPTextModelWithProjection
    found = {
        "unet": UNet2DConditionModel.from_pretrained(folder / "unet", **more),
        "text_encoder": encoder.from_pretrained(folder / "text_encoder", **also),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer", **here),
        "vae": SpaceToDepth(codec["factor"]) if own else AutoencoderKL.from_pretrained(folder / "vae", **more),
        "scheduler": DDIMScheduler.from_pretrained(folder / "scheduler", **here),
    }
    if double:
        found["text_encoder_2"] = second.from_pretrained(folder / "text_encoder_2", **also)
        found["tokenizer_2"] = CLIPTokenizer.from_pretrained(folder / "tokenizer_2", **here)
    return found


def write_parts(prior: Any, folder: Path, dtype: torch.dtype) -> None:
    """Write the parts of a `Prior` as `read_parts` reads them (safetensors)."""
    text = prior.text_encoder
    models, others = {"unet": prior.unet}, {"tokenizer": prior.tokenizer, "scheduler": prior.scheduler}
    if isinstance(text, TwoEncoders):
        models |= {"text_encoder": text.first, "text_encoder_2": text.second}
        others["tokenizer_2"] = text.second_tokenizer
        _storage.write_atomically(folder / INDEX, json.dumps({ZEROS: text.zeros_for_empty}).encode())
    else:
        models["text_encoder"] = text
    with quiet():
        for name, part in models.items():
            before = next(part.parameters()).dtype
            part.to(dtype).save_pretrained(folder / name, safe_serialization=True)
            part.to(before)
        for name, other in others.items():
            other.save_pretrained(folder / name)
        if isinstance(prior.vae, SpaceToDepth):
            _storage.write_atomically(
                folder / "vae" / "config.json", json.dumps({"_class_name": "SpaceToDepth", "factor": prior.vae.factor}).encode()
            )
        else:
            prior.vae.save_pretrained(folder / "vae", safe_serialization=True)
    for name in models:
        config = folder / name / "config.json"
        # Where it once lay is nobody's business.
        facts = {key: value for key, value in json.loads(config.read_bytes()).items() if key != "_name_or_path"}
        _storage.write_atomically(config, json.dumps(facts, indent=2, sort_keys=True).encode())


def round_to(modules: Sequence[nn.Module], dtype: torch.dtype) -> None:
    """Weights to a coarser kind, in place."""
    with torch.no_grad():
        for part in modules:
            for tensor in part.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(tensor.to(dtype))


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and remarks of the libraries underneath; as before afterwards."""
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    both: tuple[Any, Any] = (of_diffusers, of_transformers)
    before = [(one.get_verbosity(), one.is_progress_bar_enabled()) for one in both]
    for one in both:
        one.set_verbosity_error()
        one.disable_progress_bar()
    try:
        yield
    finally:
        for one, (level, bar) in zip(both, before, strict=True):
            one.set_verbosity(level)
            if bar:
                one.enable_progress_bar()
