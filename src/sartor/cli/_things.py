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


def strengths(given: Sequence[str] | None, things: dict[str, Path]) -> float | dict[str, float] | None:
    """Of all things ("0.7"), or of each ("mug=0.7"); raises `ConfigError`."""
    found: dict[str, float] = {}
    for text in given or ():
        name, equals, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError as cause:
            raise ConfigError(f"--strength is '{text}'", fix="write 0.7, or mug=0.7") from cause
        if not 0 <= number <= 2 or (not equals and len(given or ()) > 1):
            raise ConfigError(f"--strength is '{text}'", fix="use 0 to 2, once for all or with a name for each: mug=0.7")
        found[name.strip("<>")] = number
    return found.get("", found or None)


def regions(given: Sequence[str] | None) -> dict[str, str | np.ndarray]:
    """Where things should be: a side, a box or a mask file (what is brighter than half); raises `ConfigError` and `BadImage`."""
    found: dict[str, str | np.ndarray] = {}
    for text in given or ():
        name, equals, where = text.partition("=")
        name = name.strip("<>")
        if not equals or not name or not where or name in found:
            raise ConfigError(f"--region is '{text}'", fix="write mug=left, mug=0,0,0.5,1 or mug=mask.png, once for each thing")
        found[name] = _mask(Path(where)) if Path(where).suffix.lower() in PHOTOS else where
    return found


def _mask(path: Path) -> np.ndarray:
    import numpy as np

    from sartor.draw.parts.photos import open_photo

    return np.asarray(open_photo(path).convert("L")) > 127


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
