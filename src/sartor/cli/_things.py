"""Things, photos and models as the command line names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.cli import _settings
from sartor.errors import ConfigError, FileProblem

if TYPE_CHECKING:
    import numpy as np

    from sartor.draw._base import ConceptMethod
    from sartor.draw._shown import Shown
    from sartor.draw.concepts import Opened
    from sartor.draw.parts.prior import Prior

PHOTOS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def pairs(given: Sequence[str], option: str) -> dict[str, Path]:
    """Name -> path, of `mug=photos/`; raises `ConfigError`."""
    found: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise ConfigError(f"{option} is '{text}'", fix="write mug=photos/")
        name = name.strip("<>")
        if name in found:
            raise ConfigError(f"two concepts are called <{name}>", fix="rename one")
        found[name] = Path(path)
    return found


def words(given: Sequence[str] | None, things: dict[str, Path], option: str) -> dict[str, str]:
    """Thing -> word, of "mug=cup" or, for a single thing, "cup"."""
    found = {}
    for text in given or ():
        name, equals, word = text.partition("=")
        if not equals:
            if len(things) != 1:
                raise ConfigError(f"{option} is '{text}'", fix="with several things, write NAME=WORD for each")
            name, word = next(iter(things)), text
        name = name.strip("<>")
        if name not in things or not word.strip():
            raise ConfigError(f"{option} is '{text}'", fix=f"there are {', '.join(things) or 'no things'}")
        found[name] = word.strip()
    return found


def prior(name: str, device: str, dtype: str | None) -> Prior:
    """The model that draws, on its device."""
    import torch

    from sartor.draw._base import open_prior

    kinds = {None: None, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    if dtype not in kinds:
        raise ConfigError(f"--dtype is '{dtype}'", fix="use fp16, bf16 or fp32")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device", fix="use --device cpu")
    try:
        found = open_prior(name)
        # Before rounding: what was learned in full precision is drawn in half, too.
        _ = found.fingerprint
        return found.to(device, kinds[dtype])
    except RuntimeError as cause:
        raise ConfigError(f"--device is '{device}': {str(cause).splitlines()[0][:100]}", fix="use cpu, cuda or mps") from cause


def method(slug: str, given: Sequence[str] | None, prior: str, seed: int, **more: Any) -> ConceptMethod:
    """An unfitted method that learns things."""
    from sartor.draw._base import ConceptMethod

    made = _settings.build(slug, given, prior=prior, seed=seed, **more)
    if not isinstance(made, ConceptMethod):
        raise ConfigError(f"'{slug}' learns no things from photos", fix="use textual-inversion, dreambooth or custom-diffusion")
    if made.population_frames:
        raise ConfigError(f"'{slug}' learns from others first", fix="fit it in Python, and install it in an engine")
    return made


def _photos(path: Path) -> list[Path]:
    """The photos of a folder in the order of their names, or the one that is given."""
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if one.suffix.lower() in PHOTOS)
        if not found:
            raise FileProblem("there are no photos here", fix="give a folder of PNG, JPEG or WebP files", file=path)
        return found
    if not path.is_file():
        raise FileProblem("there is nothing here", fix="check the path", file=path)
    return [path]


def shown(prior: Prior, things: dict[str, Path], words: dict[str, str]) -> list[Shown]:
    """The things with their photos, at the size that the model draws."""
    from sartor.draw._shown import Shown
    from sartor.draw.concepts import bare
    from sartor.draw.parts.codec import read_images

    return [Shown(name=bare(name), class_word=words.get(name, name), images=read_images(_photos(path), prior.size)) for name, path in things.items()]


def things(
    prior: Prior, things: dict[str, Path], words: dict[str, str], triggers: dict[str, str], method: ConceptMethod, settings: dict[str, Any]
) -> tuple[Opened, dict[str, np.ndarray]]:
    """What prompts may say, and the photos where they are there."""
    from sartor.draw.concepts import Opened, open_concepts

    photos = {name: path for name, path in things.items() if path.suffix.lower() in PHOTOS or (path.is_dir() and not _is_lora(path))}
    if photos and len(photos) < len(things):
        raise ConfigError("some things are photos, others are learned", fix="learn all first: sartor draw learn")
    if things and not photos:
        return open_concepts(prior, things, classes=words, triggers=triggers, **settings), {}
    method.fit(on=prior)
    if not photos:
        return Opened(method, method.make_state({}, notes={"concepts": {}})), {}
    given = shown(prior, photos, words)
    return Opened(method, method.learn(given, progress=True)), {one.name: one.images for one in given}


def _is_lora(path: Path) -> bool:
    return (path / "pytorch_lora_weights.safetensors").is_file()
