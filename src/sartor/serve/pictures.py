"""What the picture routes take and answer: OpenAI's image API as far as it fits, and photos of a person's own things."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, FiniteFloat, StrictBool, StringConstraints

from sartor.engine.draw import LONGEST, MOST
from sartor.serve.answers import Out, StateRef
from sartor.serve.schemas import In, Passing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sartor.engine.draw import Drawn, KnownThing

SHOWN = 10
"""Photos of one request."""


Strength = Annotated[FiniteFloat, Field(ge=0, le=2)]
Thing = Annotated[str, StringConstraints(min_length=1, max_length=66, pattern=r"^<?[^<>\s]+>?$")]
Side = Literal["left", "right", "top", "bottom", "top-left", "top-right", "bottom-left", "bottom-right", "center"]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Box = tuple[Share, Share, Share, Share]


class PictureOptions(In):
    """What a client may say to this server beside what OpenAI's API has."""

    personal: StrictBool = True
    """False: everybody's pictures; nothing of the person is looked at."""
    strength: Strength | dict[Thing, Strength] | None = None
    """How much what was learned counts, where it has weights, of all things or of each by its word; 1 is as learned."""
    regions: dict[Thing, Side | Box] | None = None
    """Where things that the prompt says may stand: a side, or a box (left, top, right, bottom) in shares of the picture."""


class ImagesIn(Passing):
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]
    """What to draw; the person's things by their words: "a <mug> on a beach"."""
    n: Annotated[int, Field(ge=1, le=MOST)] | None = None
    size: Annotated[str, StringConstraints(pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")] | None = None
    """"auto", or the one size that the model draws."""
    seed: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    """Of the first picture; the others have the next numbers. Without one, each request has its own."""
    response_format: Literal["b64_json", "url"] | None = None
    """b64_json, also where nothing is said; "url" is refused: nothing that was drawn stays here."""
    output_format: Literal["png"] | None = None
    sartor: PictureOptions = PictureOptions()


class ImageOut(Out):
    b64_json: str
    """A PNG file that says inside that it was generated, and from what."""
    seed: int


class DrawnOut(Out):
    """From what it was drawn."""

    personal: bool
    things: list[str]
    """Things of the person's own that the prompt says."""
    model: str | None
    state: StateRef | None
    fallback: str | None
    note: str
    seconds: float


class ImagesOut(Out):
    created: int
    data: list[ImageOut]
    output_format: str
    size: str
    sartor: DrawnOut


class PhotoIn(In):
    data: Annotated[str, StringConstraints(min_length=1, max_length=15_000_000)]
    """The bytes of a PNG, JPEG or WebP file in base64."""
    id: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """Your own: the same again is a duplicate."""


class PhotosIn(In):
    item: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^<?[^<>\s]+>?$")]
    """The word that prompts will say: "mug"."""
    class_word: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    """What it is, in a word that the model knows; the item itself where nothing is said."""
    images: Annotated[list[PhotoIn], Field(min_length=1, max_length=SHOWN)]


class ThingOut(Out):
    item: str
    """The word that prompts say, without brackets."""
    class_word: str
    photos: int
    learned: bool
    """Whether the person's present state has it."""
    references: list[str]
    """Small PNG files in base64, the newest first; none while drawing is not allowed."""


class ThingsOut(Out):
    items: list[ThingOut]
    allowed: bool
    """Whether the person allows drawing."""


class PhotosOut(Out):
    accepted: int
    duplicates: int
    position: int


def things(known: Sequence[KnownThing], allowed: bool) -> dict[str, Any]:
    """What a person has shown."""
    items = [
        {
            "item": one.item, "class_word": one.class_word, "photos": len(one.photos), "learned": one.learned,
            "references": [base64.b64encode(data).decode() for data in one.thumbnails],
        }
        for one in known
    ]  # fmt: skip
    return {"items": items, "allowed": allowed}


def drawn(given: Drawn, state: dict[str, Any] | None) -> dict[str, Any]:
    """Pictures as OpenAI's API gives them."""
    assert given.pictures is not None
    height, width = given.pictures.shape[1:3]
    return {
        "created": int(time.time()), "output_format": "png", "size": f"{width}x{height}",
        "data": [{"b64_json": base64.b64encode(given.png(number)).decode(), "seed": seed} for number, seed in enumerate(given.seeds)],
        "sartor": {
            "personal": bool(given.things), "things": list(given.things), "model": given.model, "state": state, "fallback": given.fallback,
            "note": given.note, "seconds": given.seconds,
        },
    }  # fmt: skip
