"""How the command line draws: with a bar and previews, onto contact sheets, and what a picture's file says of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from sartor.draw.concepts import Opened
    from sartor.draw.parts.prior import Prior
    from sartor.method import State


def facts_of(opened: Opened, prompt: str, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """What goes into a picture's file: no path, no photo, nothing of a person but her words."""
    from sartor.draw.concepts import hashes, slug_of

    method = opened.method
    return {
        "prompt": prompt, "seed": seed, "method": slug_of(method), "prior": method.prior_fingerprint_, "concepts": hashes(opened.state),
        "steps": method.sampling_steps,
        "guidance": method.bundle.guidance if method.guidance is None else method.guidance, **options,
    }  # fmt: skip


class Growing:
    """The pictures that are being drawn side by side in one file, which is written again at every look."""

    def __init__(self, path: Path, every: int, count: int) -> None:
        self.path, self.every = path, every
        self.now: list[np.ndarray | None] = [None] * count

    def see(self, step: int, rows: list[int], pictures: np.ndarray) -> None:
        from sartor import _storage
        from sartor.draw.parts.picture_files import png, sheet

        for row, one in zip(rows, pictures, strict=True):
            self.now[row] = one
        wide = min(4, len(self.now))
        lines = [self.now[start : start + wide] for start in range(0, len(self.now), wide)]
        lines[-1] += [None] * (wide - len(lines[-1]))
        page = sheet(lines, [""] * wide, [f"step {step}"] + [""] * (len(lines) - 1), side=max(192, pictures.shape[1]))
        _storage.write_atomically(self.path, png(page, {"prompt": "", "preview": step}))


def told(options: dict[str, Any]) -> dict[str, Any]:
    """Request options as a picture's file can say them: of a mask, how much of the picture it is."""
    import numpy as np

    def plain(one: Any) -> Any:
        return {"mask": round(float(np.mean(one)), 3)} if isinstance(one, np.ndarray) else list(one) if isinstance(one, tuple) else one

    return {key: {name: plain(one) for name, one in value.items()} if isinstance(value, dict) else value for key, value in options.items()}


def draw(
    opened: Opened, texts: list[str], seeds: list[int], state: State | None, options: dict[str, Any], classes: dict[str, str] | None = None,
    preview: Growing | None = None,
) -> np.ndarray:  # fmt: skip
    """uint8 [n, H, W, 3], with a bar that counts steps of drawing."""
    from sartor.draw._base import DRAWN_AT_ONCE
    from sartor.draw.parts.previews import Preview
    from sartor.progress import bar, reporting

    total = -(-len(texts) // DRAWN_AT_ONCE) * opened.method.sampling_steps
    seen = None if preview is None else Preview(preview.every, preview.see)
    with bar("drawing", total, unit="steps") as shown, reporting(lambda *_: shown.advance()):
        return opened.method.draw(texts, [state] * len(texts), seeds=seeds, classes=classes, preview=seen, **(options if state is not None else {}))


def contact_sheet(
    prior: Prior, opened: Opened, texts: list[str], seeds: list[int], drawn: np.ndarray, photos: dict[str, np.ndarray], words: dict[str, str],
    other: dict[str, Path], options: dict[str, Any], settings: dict[str, Any],
) -> bytes:  # fmt: skip
    """PNG: a row for each picture, a column for each of reference, population, personalised and someone else's."""
    from sartor.draw.concepts import open_concepts, slug_of
    from sartor.draw.parts.picture_files import png, sheet

    classes = {name: facts["class_word"] for name, facts in opened.state.notes["concepts"].items()}
    columns: dict[str, list[np.ndarray | None]] = {}
    if photos:
        references = [[image for name, images in photos.items() if name in text for image in images] for text in texts]
        columns["reference"] = [own[number % len(own)] if own else None for number, own in enumerate(references)]
    columns["population"] = list(draw(opened, texts, seeds, None, {}, classes))
    columns["personalised"] = list(drawn)
    if other:
        theirs = open_concepts(prior, other, classes={name: word for name, word in words.items() if name in other}, **settings)
        columns["someone else's"] = list(draw(theirs, texts, seeds, theirs.state, options))
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    page = sheet(rows, list(columns), [f"{text}   seed {number}" for text, number in zip(texts, seeds, strict=True)], side=max(192, prior.size))
    return png(
        page,
        {
            "prompt": "; ".join(dict.fromkeys(texts)),
            "method": slug_of(opened.method),
            "prior": opened.method.prior_fingerprint_,
            "sheet": list(columns),
        },
    )
