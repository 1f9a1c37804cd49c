"""What the routes of recognition take and answer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StringConstraints

from sartor.engine.recognize import MOST
from sartor.errors import BadImage
from sartor.serve.answers import Out
from sartor.serve.schemas import In

if TYPE_CHECKING:
    from sartor.engine.recognize import Enrolled, Found, VerifiedAs

Picture = Annotated[str, StringConstraints(min_length=1, max_length=15_000_000)]
"""The bytes of a PNG, JPEG or WebP file in base64."""


class FacesIn(In):
    images: Annotated[list[Picture], Field(min_length=1, max_length=MOST)]


class EnrolIn(FacesIn):
    sure: bool = False
    """Also where they do not look like who is enrolled under this name."""


class IdentifyIn(FacesIn):
    k: Annotated[int, Field(ge=1, le=100)] = 1


class EnrolledOut(Out):
    person: str
    model: str
    state_version: int
    pictures: int
    """In all, with those of before."""


class LikelyOut(Out):
    person: str
    score: float


class FoundOut(Out):
    people: list[LikelyOut]
    """Best first; empty for nobody that is known."""
    threshold: float
    note: str


class IdentifiedOut(Out):
    images: list[FoundOut]
    """In the order of the request."""


class VerifiedOut(Out):
    same: bool
    score: float | None
    threshold: float
    fallback: str | None
    note: str


class VerifyOut(Out):
    person: str
    images: list[VerifiedOut]


def files(images: Sequence[str]) -> list[bytes]:
    """Bytes of pictures; raises `BadImage` with the number of the first that is not base64."""
    out = []
    for number, one in enumerate(images):
        try:
            out.append(base64.b64decode(one, validate=True))
        except (binascii.Error, ValueError) as cause:
            raise BadImage("the picture is not base64", fix="encode the file's bytes", image=number) from cause
    return out


def enrolled(given: Enrolled) -> dict[str, Any]:
    """As plain data."""
    return {"person": given.person, "model": given.model, "state_version": given.state_version, "pictures": given.pictures}


def identified(given: Sequence[Found]) -> dict[str, Any]:
    """As plain data."""
    images = [
        {"people": [{"person": who, "score": score} for who, score in one.people], "threshold": one.threshold, "note": one.note} for one in given
    ]
    return {"images": images}


def verified(person: str, given: Sequence[VerifiedAs]) -> dict[str, Any]:
    """As plain data."""
    names = ("same", "score", "threshold", "fallback", "note")
    return {"person": person, "images": [{name: getattr(one, name) for name in names} for one in given]}
