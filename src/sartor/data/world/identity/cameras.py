"""Where pictures are taken: places with a climate and a fashion, their cameras, and what a camera makes of what it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numba
import numpy as np

from sartor.data.world.draws import Draws, address
from sartor.data.world.identity.people import SEASON, rgb

HEIGHT, WIDTH = 64, 32
"""Pixels of a figure's picture."""
DOMAINS, CAMERAS = 10, 6
"""Places that are usual, and cameras of each. Any other number of a place is one, too."""


@dataclass(frozen=True)
class Cameras:
    """The camera of each of n pictures."""

    matrix: np.ndarray
    """float32 [n, 3, 3], of colours."""
    gain: np.ndarray
    """float32 [n]."""
    gamma: np.ndarray
    """float32 [n]."""
    blur: np.ndarray
    """float32 [n], 0 to 1."""
    noise: np.ndarray
    """float32 [n], standard deviation."""
    pitch: np.ndarray
    """float32 [n], radians from above."""
    zoom: np.ndarray
    """float32 [n]."""
    path: np.ndarray
    """float32 [n], radians: along which way people mostly walk."""
    ground: np.ndarray
    """float32 [n, 2, 3], RGB of the backdrop, upper and lower."""
    marks: np.ndarray
    """float32 [n, 4]: kind, period, shift and strength of what is on the backdrop."""

    def at(self, rows: np.ndarray) -> Cameras:
        """Some of the rows."""
        return Cameras(*(getattr(self, f.name)[rows] for f in fields(self)))


def cameras(draws: Draws, domain: np.ndarray, camera: np.ndarray) -> Cameras:
    """Camera `camera` (0 ...) of place `domain`, for each picture."""
    place = draws.uniform("identity place", address(domain[:, None], np.arange(32))).astype(np.float32)
    own = draws.uniform("identity camera", address(domain[:, None], camera[:, None] * 32 + np.arange(32))).astype(np.float32)
    cast = 0.24 * (place[:, :9] - 0.5) + 0.12 * (own[:, :9] - 0.5)
    return Cameras(
        matrix=np.eye(3, dtype=np.float32) + cast.reshape(-1, 3, 3),
        gain=0.75 + 0.25 * place[:, 9] + 0.25 * own[:, 9],
        gamma=0.8 + 0.3 * place[:, 10] + 0.2 * own[:, 10],
        blur=0.5 * place[:, 11] * own[:, 11] + 0.4 * own[:, 11],
        noise=0.008 + 0.03 * place[:, 12] * own[:, 12],
        pitch=0.05 + 0.2 * place[:, 13] + 0.2 * own[:, 13],
        zoom=0.94 + 0.08 * own[:, 14],
        path=2 * np.pi * own[:, 15],
        ground=rgb(
            place[:, 14:15] + 0.3 * own[:, 16:18], 0.1 + 0.4 * place[:, 15:16] * own[:, 18:20], 0.25 + 0.3 * place[:, 16:17] + 0.4 * own[:, 20:22]
        ),
        marks=np.stack([np.floor(4 * own[:, 22]), 3 + 6 * own[:, 23], 20 * own[:, 24], 0.05 + 0.15 * own[:, 25]], 1),
    )


def palettes(draws: Draws, domain: np.ndarray) -> np.ndarray:
    """float32 [n, 4], fashion of each place: hue centre, hue spread, saturation and value, as `people.outfits` has them."""
    u = draws.uniform("identity fashion", address(domain[:, None], np.arange(4))).astype(np.float32)
    return np.stack([u[:, 0], 0.35 + 0.65 * u[:, 1], 0.55 + 0.6 * u[:, 2], 0.65 + 0.5 * u[:, 3]], 1)


def coldness(draws: Draws, domain: np.ndarray, day: np.ndarray) -> np.ndarray:
    """float32 [n], 0 to 1: by place and season."""
    climate = draws.uniform("identity climate", address(domain)).astype(np.float32)
    winter = np.array([1.0, 0.55, 0.0, 0.55], np.float32)[(day // SEASON) % 4]
    return climate * winter


def backdrops(seen: Cameras, shift: np.ndarray) -> np.ndarray:
    """float32 [n, 64, 32, 3], what stands behind people; `shift` [n] in pixels, where before it they are."""
    out = np.empty((len(shift), HEIGHT, WIDTH, 3), np.float32)
    _backdrops(out, seen.ground.astype(np.float32), seen.marks.astype(np.float32), (shift + seen.marks[:, 2]).astype(np.float32))
    return out


def take(pictures: np.ndarray, seen: Cameras, night: np.ndarray, noise: np.ndarray, light: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w, 3]: what the cameras make of float pictures; `noise` is uniform in [0, 1) like them, `light` [n] a factor of each picture."""
    # By night colours fade, and what light there is comes from lamps.
    grey = np.full((3, 3), 1 / 3, np.float32) * np.array([[1.1], [0.95], [0.8]], np.float32)
    matrix = np.where(night[:, None, None], 0.4 * seen.matrix + 0.6 * grey, seen.matrix)
    matrix = matrix * (np.where(night, 0.5, 1.0) * light * seen.gain)[:, None, None]
    grain = np.sqrt(12) * seen.noise * np.where(night, 1.5, 1.0)
    out = np.empty(pictures.shape, np.uint8)
    _take(out, pictures, matrix.astype(np.float32), seen.gamma.astype(np.float32), seen.blur.astype(np.float32), grain.astype(np.float32), noise)
    return out


@numba.njit(cache=True, nogil=True)
def _backdrops(out, ground, marks, shift):  # type: ignore[no-untyped-def]
    height, width = out.shape[1], out.shape[2]
    for n in range(out.shape[0]):
        kind, period = int(marks[n, 0]), marks[n, 1]
        for x in range(width):
            column = math.floor((x + shift[n]) / period)
            roof = 12 + 6 * ((int(column) * 7919) % 5)
            for y in range(height):
                row = math.floor(y / period)
                if kind == 0:
                    mark = row % 2
                elif kind == 1:
                    mark = column % 2
                elif kind == 2:
                    mark = (row + column) % 2
                else:
                    mark = 1.0 if y > roof else 0.0
                low = np.float32(y) / np.float32(height - 1)
                for c in range(3):
                    out[n, y, x, c] = ground[n, 0, c] * (1 - low) + ground[n, 1, c] * low + marks[n, 3] * np.float32(mark - 0.5)


@numba.njit(cache=True, nogil=True)
def _take(out, pictures, matrix, gamma, blur, grain, noise):  # type: ignore[no-untyped-def]
    height, width = out.shape[1], out.shape[2]
    one, soft = np.empty((height, width, 3), np.float32), np.empty((height, width, 3), np.float32)
    for n in range(out.shape[0]):
        for y in range(height):
            for x in range(width):
                for c in range(3):
                    value = np.float32(0)
                    for d in range(3):
                        value += matrix[n, c, d] * pictures[n, y, x, d]
                    one[y, x, c] = min(max(value, np.float32(0)), np.float32(1)) ** gamma[n]
        for y in range(height):
            for x in range(width):
                for c in range(3):
                    beside = np.float32(0.5) * (one[y, max(x - 1, 0), c] + one[y, min(x + 1, width - 1), c])
                    soft[y, x, c] = one[y, x, c] + blur[n] * np.float32(0.5) * (beside - one[y, x, c])
        for y in range(height):
            for x in range(width):
                for c in range(3):
                    beside = np.float32(0.5) * (soft[max(y - 1, 0), x, c] + soft[min(y + 1, height - 1), x, c])
                    value = soft[y, x, c] + blur[n] * np.float32(0.5) * (beside - soft[y, x, c])
                    value += grain[n] * (noise[n, y, x, c] - np.float32(0.5))
                    out[n, y, x, c] = np.uint8(min(max(255 * value + 0.5, 0.0), 255.0))
