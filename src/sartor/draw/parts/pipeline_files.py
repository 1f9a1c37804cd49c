"""Reading the folder of a diffusers pipeline part by part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sartor.draw.parts.codec import SpaceToDepth
from sartor.errors import CorruptFile, FileProblem

PARTS = ("unet", "text_encoder", "tokenizer", "vae", "scheduler")


def read_parts(folder: Path, dtype: torch.dtype | None) -> dict[str, Any]:
    """Name -> part; raises `FileProblem` when one is missing and `CorruptFile` when one cannot be read."""
    if missing := [name for name in PARTS if not (folder / name).is_dir()]:
        raise FileProblem(f"there is no part '{missing[0]}'", fix="give the folder that a StableDiffusionPipeline was saved into", file=folder)
    try:
        with quiet():
            return _parts(folder, dtype)
    # These libraries raise exceptions of many kinds for damaged files.
    except Exception as cause:
        raise CorruptFile(f"a part cannot be read: {type(cause).__name__}: {cause}"[:300], fix="fetch or save it again", file=folder) from cause


def _parts(folder: Path, dtype: torch.dtype | None) -> dict[str, Any]:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    text_encoder: Any = CLIPTextModel
    here: dict[str, Any] = {"local_files_only": True}
    more: dict[str, Any] = {**here, "torch_dtype": dtype} if dtype is not None else here
    codec = json.loads((folder / "vae" / "config.json").read_bytes())
    own = codec.get("_class_name") == "SpaceToDepth"
    return {
        "unet": UNet2DConditionModel.from_pretrained(folder / "unet", **more),
        "text_encoder": text_encoder.from_pretrained(folder / "text_encoder", **here, **({"dtype": dtype} if dtype is not None else {})),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer", **here),
        "vae": SpaceToDepth(codec["factor"]) if own else AutoencoderKL.from_pretrained(folder / "vae", **more),
        "scheduler": DDIMScheduler.from_pretrained(folder / "scheduler", **here),
    }


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
