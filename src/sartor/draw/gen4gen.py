"""Gen4Gen: pictures of several of a person's things together, with captions that say what is where, made of pictures of each alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sartor.draw._shown import Shown, listed
from sartor.draw.parts.cutouts import alone, foreground
from sartor.draw.parts.masks import resized
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.sampler import noise, sample, times
from sartor.errors import BadValue, ConfigError

Size = tuple[int, int]
"""Height and width, in pixels."""
Place = tuple[int, int]
"""Row and column of the upper left corner."""
Layout = Callable[[Sequence[str], Sequence[Size], int, np.random.Generator], Sequence[Place]]
"""(names, sizes, side of the picture, random numbers) -> a place for each."""
TRIES = 3
"""Of a language model: once, and again twice."""
_SIDES = {"left of": (1, -1), "right of": (1, 1), "above": (0, -1), "below": (0, 1)}


@dataclass(frozen=True, eq=False)
class Composed:
    """Scenes of the same things."""

    images: np.ndarray
    """uint8 [n, H, W, 3]."""
    captions: list[str]
    boxes: np.ndarray
    """int64 [n, things, 4]: top, left, bottom, right, the last two behind the last pixel."""
    masks: np.ndarray
    """bool [n, things, H, W]."""
    sources: list[list[str]]
    """Of each scene, the hash of the picture that each thing was cut out of: whoever withdraws one withdraws the scene."""

    def without(self, source: str) -> Composed:
        """What is left when a picture is withdrawn."""
        kept = [row for row, own in enumerate(self.sources) if source not in own]
        parts: dict[str, Any] = {name: getattr(self, name)[kept] for name in ("images", "boxes", "masks")}
        return Composed(captions=[self.captions[row] for row in kept], sources=[self.sources[row] for row in kept], **parts)


def compose(
    prior: Prior, things: Sequence[Shown], count: int, *, backgrounds: Sequence[str], layout: Layout | None = None, share: float = 0.4,
    captions: Literal["full", "short"] = "full", repaint: bool = True, steps: int = 20, seed: int = 0,
) -> Composed:  # fmt: skip
    """Cut things out, lay them out, paint a background around them, and say what is there.

    Parameters
    ----------
    things: two or more, each in pictures of it alone (masks, or `cutouts.foreground`).
    backgrounds: what a caption may end on: "on sand", "in a garden"; in turn.
    layout: where they stand; by default each in a cell of its own (`in_cells`). Places outside of the picture or over each other are refused.
    share: largest side of a thing, of the picture's.
    captions: full ones say where each thing is and on what, in the order in which they stand; short ones only name them.
    repaint: the prior paints what is around the things (inpainting); else grey is left there.

    Raises `ConfigError`, `BadImage` for a picture without foreground, and `BadValue` for a layout that cannot be.

    Source: Yeh et al., Gen4Gen, BMVC 2025, and its code. Differs from it in: layouts by rule where no language model is given, captions by grammar;
    sizes are those of the pictures.
    """
    shown = listed(things)
    if len(shown) < 2 or count < 1 or not backgrounds:
        raise ConfigError(f"{len(shown)} things, {count} scenes, {len(backgrounds)} backgrounds", fix="at least 2 things, 1 scene and 1 background")
    rng, size, place = np.random.default_rng(seed), prior.size, layout or in_cells
    references = [References.of(prior, one.images, masks=one.masks) for one in shown]
    masks = [foreground(one.images) if one.masks is None else np.asarray(one.masks) > 0.5 for one in shown]
    pictures, there = np.full((count, size, size, 3), 128, np.uint8), np.zeros((count, len(shown), size, size), bool)
    boxes, sources, said, asked = np.zeros((count, len(shown), 4), np.int64), [], [], []
    for row in range(count):
        which = [int(rng.integers(len(one.images))) for one in shown]
        cut = [
            alone(one.images[number], mask[number], round(share * size), number=number) for one, mask, number in zip(shown, masks, which, strict=True)
        ]
        sizes = [(mask.shape[0], mask.shape[1]) for _, mask in cut]
        places = place([one.class_word for one in shown], sizes, size, rng)
        check_layout(places, sizes, size)
        for number, ((pixels, mask), (top, left)) in enumerate(zip(cut, places, strict=True)):
            boxes[row, number] = top, left, top + mask.shape[0], left + mask.shape[1]
            box = (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1]))
            pictures[row][box][mask] = pixels[mask]
            there[row, number][box] = mask
        sources.append([part.hashes[number] for part, number in zip(references, which, strict=True)])
        ground = backgrounds[row % len(backgrounds)]
        said.append(caption([f"{one.name} {one.class_word}" for one in shown], boxes[row], ground, captions))
        asked.append(caption([one.class_word for one in shown], boxes[row], ground, "full"))
    if repaint:
        pictures = repainted(prior, pictures, np.asarray(there.any(1)), asked, steps=steps, seed=seed)
    return Composed(pictures, said, boxes, there, sources)


# --- where things stand


def in_cells(names: Sequence[str], sizes: Sequence[Size], side: int, rng: np.random.Generator) -> list[Place]:
    """Each thing somewhere in a cell of its own of the smallest square grid that has enough; raises `ConfigError` when one is too large for it."""
    grid = int(np.ceil(len(sizes) ** 0.5))
    cell = side // grid
    if (largest := max(max(one) for one in sizes)) > cell:
        what = f"{len(sizes)} things do not fit: the largest has {largest} pixels, a cell {cell}"
        raise ConfigError(what, fix="compose fewer, or make them smaller (share)")
    cells = rng.permutation(grid * grid)[: len(sizes)]
    return [
        (int(number // grid * cell + rng.integers(cell - height + 1)), int(number % grid * cell + rng.integers(cell - width + 1)))
        for number, (height, width) in zip(cells, sizes, strict=True)
    ]


def by_model(ask: Callable[[str], str]) -> Layout:
    """Layouts by a language model: `ask` takes a text and gives its reply, which must hold one [row, column] for each thing, as JSON.

    A reply that is not that, or not possible, is asked for again twice; then `BadValue` with the reply.
    """

    def layout(names: Sequence[str], sizes: Sequence[Size], side: int, rng: np.random.Generator) -> list[Place]:
        parts = "; ".join(f"{name}, {height} high and {width} wide" for name, (height, width) in zip(names, sizes, strict=True))
        text = (
            f"A picture is {side} x {side} pixels. Place these things in it as they might stand, inside of it and not over each other: {parts}. "
            "Reply with a JSON list alone, one [row, column] of the upper left corner for each, in this order."
        )
        reply = ""
        for _ in range(TRIES):
            reply = ask(text)
            try:
                places = [(int(row), int(column)) for row, column in json.loads(reply)]
                check_layout(places, sizes, side)
            except (ValueError, TypeError, BadValue):
                continue
            return places
        raise BadValue(f"{TRIES} replies were no layout, the last one: {reply[:200]!r}", fix="use another model, or in_cells")

    return layout


def check_layout(places: Sequence[Place], sizes: Sequence[Size], side: int) -> None:
    """Raise `BadValue` for a number of places other than that of the things, one outside of the picture, or two over each other."""
    if len(places) != len(sizes):
        raise BadValue(f"{len(places)} places for {len(sizes)} things", fix="give one each")
    taken = np.zeros((side, side), bool)
    for number, ((top, left), (height, width)) in enumerate(zip(places, sizes, strict=True)):
        if min(top, left) < 0 or top + height > side or left + width > side:
            raise BadValue(f"thing {number} is outside of the picture", fix=f"stay within {side} x {side}")
        box = taken[top : top + height, left : left + width]
        if box.any():
            raise BadValue(f"thing {number} stands over another", fix="leave each its own place")
        box[:] = True


# --- what is said


def caption(names: Sequence[str], boxes: np.ndarray, background: str, kind: Literal["full", "short"]) -> str:
    """Of two things "a <a> cat left of a <b> dog on sand", of more "a <a> cat, a <b> dog and a <c> cup arranged from left to right on sand"; short:
    "a <a> cat a <b> dog". Full captions name things in the order in which they stand."""
    if kind == "short":
        return " ".join(f"a {name}" for name in names)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    if len(names) == 2:
        apart = middle[0] - middle[1]
        axis = int(np.abs(apart).argmax())
        word = next(one for one, (own, sign) in _SIDES.items() if own == axis and sign == -1)
        first, second = (names[0], names[1]) if apart[axis] <= 0 else (names[1], names[0])
        return f"a {first} {word} a {second} {background}"
    order = [f"a {names[number]}" for number in middle[:, 1].argsort(kind="stable")]
    return f"{', '.join(order[:-1])} and {order[-1]} arranged from left to right {background}"


# --- what is around them


@torch.no_grad()
def repainted(prior: Prior, images: np.ndarray, kept: np.ndarray, prompts: Sequence[str], *, steps: int = 20, seed: int = 0) -> np.ndarray:
    """uint8 like `images`: what is outside of `kept` bool [n, H, W] is drawn anew, as the prompts say; inside every pixel is as it was.

    After every step of drawing, kept latents are put back with as much noise as the rest has (Lugmayr et al., RePaint, 2022, without its jumps).
    """
    clean = prior.latents(images)
    inside = (resized(torch.from_numpy(kept)[:, None].float(), *clean.shape[-2:]) > 0).to(clean)
    seeds = [seed * 1_000_003 + number for number in range(len(images))]
    fixed, at = noise(prior, seeds), times(prior, steps)

    def put_back(number: int, _time: Tensor, x: Tensor) -> Tensor:
        if number + 1 == len(at):
            return x
        known = prior.noised(clean, fixed, torch.full((len(x),), at[number + 1], device=x.device))
        return torch.where(inside > 0, known, x)

    drawn = prior.images(sample(prior, prior.encode(prompts), seeds, steps=steps, callback=put_back))
    return np.where(kept[..., None], images, drawn)
