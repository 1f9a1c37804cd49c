"""Scans from files, and at the voxel size that a model learned on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import ndimage

from sartor.errors import BadImage, BadValue, ConfigError, CorruptFile, EmptyData, FileProblem, MissingColumn, MissingExtra, UnknownFormat


class Volume(NamedTuple):
    """A scan or a label map, and how large its voxels are."""

    voxels: np.ndarray
    """float32 or integers, [h, w] or [d, h, w]."""
    spacing: tuple[float, ...] | None
    """Millimetres in each direction; None where the file does not say."""


def read_volume(path: str | Path) -> Volume:
    """NIfTI (.nii, .nii.gz; extra `volumes`) in its closest canonical orientation, or .npy, which has no voxel size.

    Raises `FileProblem`, `UnknownFormat`, `CorruptFile`, `MissingExtra`, `BadImage` for other than two or three dimensions.
    """
    path = Path(path)
    if not path.is_file():
        raise FileProblem("there is no such scan", fix="give a .nii, .nii.gz or .npy file", file=path)
    name = path.name.lower()
    if name.endswith(".npy"):
        try:
            whole = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as cause:
            raise CorruptFile("this is no whole .npy file of numbers", fix="fetch or write it again", file=path) from cause
        if whole.ndim not in (2, 3):
            raise BadImage(f"a scan of shape {list(whole.shape)}", fix="give one volume of two or three dimensions", file=path)
        return Volume(whole, None)
    if not name.endswith((".nii", ".nii.gz")):
        raise UnknownFormat("scans are read from .nii, .nii.gz and .npy", fix="convert it", file=path)
    try:
        import nibabel
    except ImportError as missing:
        raise MissingExtra("nibabel", "volumes") from missing
    try:
        # Left, right, front and back where they are in other files.
        found = nibabel.as_closest_canonical(nibabel.load(path))
        voxels = np.squeeze(np.asanyarray(found.dataobj))
        sizes = [float(one) for one, side in zip(found.header.get_zooms(), found.shape, strict=False) if side > 1]
    except Exception as cause:
        raise CorruptFile("this is no whole NIfTI file", fix="fetch or write it again", file=path) from cause
    if voxels.ndim not in (2, 3):
        raise BadImage(f"a scan of shape {list(voxels.shape)}", fix="give one volume of two or three dimensions", file=path)
    kept = voxels if np.issubdtype(voxels.dtype, np.integer) else voxels.astype(np.float32)
    return Volume(kept, tuple(sizes) if min(sizes) > 0 and np.isfinite(sizes).all() else None)


def millimetres(spacing: float | Sequence[float] | None, dims: int) -> tuple[float, ...]:
    """Voxel sizes in every direction. Raises `ConfigError` where they are not known, `BadValue` for what is no length."""
    if spacing is None:
        raise ConfigError("the voxel size is not known", fix=f"give spacing=, millimetres of a voxel in each of {dims} directions")
    sizes = (float(spacing),) * dims if isinstance(spacing, int | float) else tuple(float(one) for one in spacing)
    if len(sizes) != dims or not all(np.isfinite(one) and one > 0 for one in sizes):
        raise BadValue(f"voxel sizes {list(sizes)}", fix=f"give {dims} positive numbers, in millimetres")
    return sizes


def resampled(voxels: np.ndarray, spacing: Sequence[float], to: float, shape: Sequence[int] | None = None, *, labels: bool = False) -> np.ndarray:
    """Voxels [*any] of one size at another that is equal in all directions; the middle of `shape` is kept, or filled up with what is at the corner.

    Scans are linear between the middles of voxels, and smoothed first where they become coarser; of `labels` the nearest is taken.
    """
    grown = [one / to for one in spacing]
    if max(abs(one - 1) for one in grown) < 1e-3:
        return voxels if shape is None else middle(voxels, shape)
    sides = [max(1, round(side * factor)) for side, factor in zip(voxels.shape, grown, strict=True)]
    places = np.meshgrid(*[(np.arange(side) + 0.5) / factor - 0.5 for side, factor in zip(sides, grown, strict=True)], indexing="ij")
    if labels:
        out = ndimage.map_coordinates(voxels, places, order=0, mode="nearest")
    else:
        soft = ndimage.gaussian_filter(voxels.astype(np.float32), [0.4 * max(0.0, 1 / factor - 1) for factor in grown])
        out = ndimage.map_coordinates(soft, places, order=1, mode="nearest")
    return np.asarray(out) if shape is None else middle(np.asarray(out), shape)


def volumes_of(
    frame: pl.DataFrame, folder: Path | None, columns: Sequence[str], *, to: float | None = None, shape: Sequence[int] | None = None
) -> tuple[list[np.ndarray], float | None]:
    """Files of a frame's columns ("labels" are label maps), [n, *shape] of each, at one voxel size; and that, or None where nobody says and all fit.

    A column `spacing`, millimetres of a voxel, says it for files that do not. Size and shape are the first file's where they are not given. Raises as
    `read_volume` does, `MissingColumn`, `EmptyData`, `ConfigError` where a voxel size is not known.
    """
    if missing := [name for name in columns if name not in frame.columns]:
        raise MissingColumn(f"the images have no column {missing[0]}", fix="name a file in each row", column=missing[0])
    if not frame.height:
        raise EmptyData("there are no scans", fix="give at least one")
    out: list[list[np.ndarray]] = [[] for _ in columns]
    for number, row in enumerate(frame.iter_rows(named=True)):
        for name, kept in zip(columns, out, strict=True):
            if not row[name]:
                raise BadValue("no file is named", fix="name one, or leave the row out", row=number, column=name)
            found = read_volume((folder or Path()) / row[name])
            sizes = found.spacing or row.get("spacing")
            if sizes is None and shape is not None and found.voxels.shape == tuple(shape):
                kept.append(found.voxels)
                continue
            known = millimetres(sizes, found.voxels.ndim)
            to = min(known) if to is None else to
            kept.append(resampled(found.voxels, known, to, shape, labels=name == "labels"))
            shape = kept[-1].shape if shape is None else shape
    return [np.stack(kept) for kept in out], to


def middle(voxels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The middle part of this shape; what is missing is as the first corner is."""
    if len(shape) != voxels.ndim:
        raise BadImage(f"a scan of {voxels.ndim} dimensions", fix=f"give one of {len(shape)}")
    before = [int((wanted - side) / 2) for wanted, side in zip(shape, voxels.shape, strict=True)]
    out = np.full(tuple(shape), voxels.flat[0], voxels.dtype)
    to = tuple(slice(max(0, b), max(0, b) + min(side, wanted)) for b, side, wanted in zip(before, voxels.shape, shape, strict=True))
    of = tuple(slice(max(0, -b), max(0, -b) + min(side, wanted)) for b, side, wanted in zip(before, voxels.shape, shape, strict=True))
    out[to] = voxels[of]
    return out
