"""Pictures with identities: real sets where they are on this machine, people's own folders, and the generated figures.

A folder of one's own holds one folder of pictures per identity: `ana/1.jpg`, `ana/2.jpg`, `ben/1.png`.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sartor.data import datasets
from sartor.errors import CorruptFile, EmptyData, FileProblem, MissingExtra
from sartor.recognize.parts.pictures import read_pictures

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".pgm", ".ppm", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True)
class Labelled:
    """Pictures of identities."""

    name: str
    images: np.ndarray
    """uint8 [n, h, w, 3]."""
    identity: np.ndarray
    """[n], numbers or texts."""
    mirror: bool = True
    """Whether a mirrored picture shows the same identity."""


def load(name: str, *, size: tuple[int, int] | None = None, seed: int = 0) -> Labelled:
    """ "orl-faces" (39 people), "omniglot" (136 characters by 20 drawers), "figures" (300 generated people), or a folder of folders.

    `size`: height and width; each set has its own default. Raises `FileProblem` where the files are not here.
    """
    if name == "orl-faces":
        return folder(datasets.find("orl-faces"), size or (56, 46), name)
    if name in ("omniglot", "omniglot-small1"):
        return omniglot(size or (32, 32))
    if name == "figures":
        from sartor.data.world.identity import IdentityWorld

        world = IdentityWorld(seed)
        shots = world.shots(np.arange(300), each=10, domains=range(4), days=60)
        return Labelled(name, world.render(shots), shots.person)
    return folder(Path(name), size or (64, 64), name)


def folder(path: Path, size: tuple[int, int], name: str = "") -> Labelled:
    """One folder per identity."""
    if not path.is_dir():
        raise FileProblem("there is no such folder, and no set of this name", fix="use orl-faces, omniglot, figures or a folder", file=path)
    # What systems leave beside pictures (.thumbnails, ._1.jpg) shows nobody.
    found = sorted(one for one in path.glob("[!.]*/[!.]*") if one.suffix.lower() in PICTURES)
    if not found:
        raise EmptyData("no folder in it holds pictures", fix="give one folder of pictures per identity", file=str(path))
    return Labelled(name or path.name, read_pictures(list(found), size), np.array([one.parent.name for one in found]))


def omniglot(size: tuple[int, int] = (32, 32)) -> Labelled:
    """Each character is an identity, drawn once by each of 20 people; light on dark."""
    try:
        from PIL import Image
    except ImportError as missing:
        raise MissingExtra("pillow", "recognize") from missing
    file = datasets.find("omniglot-small1") / "images_background_small1.zip"
    pictures, names = [], []
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in sorted(one for one in archive.namelist() if one.endswith(".png")):
                _, alphabet, character, _ = entry.split("/")
                picture = Image.open(io.BytesIO(archive.read(entry))).convert("L").resize(size[::-1], Image.Resampling.BOX)
                pictures.append(255 - np.asarray(picture, np.uint8))
                names.append(f"{alphabet}/{character}")
    except (OSError, ValueError, zipfile.BadZipFile) as cause:
        raise CorruptFile("this is not Omniglot's archive of pictures", fix="download it again", file=file) from cause
    return Labelled("omniglot", np.repeat(np.stack(pictures)[..., None], 3, -1), np.array(names), mirror=False)
