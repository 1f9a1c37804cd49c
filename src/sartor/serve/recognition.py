"""What the routes of recognition take and answer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StringConstraints

from sartor.engine.recognize import MOST
from sartor.errors import BadImage
from sartor.serve.answers import Out
from sartor.serve.schemas import In

if TYPE_CHECKING:
    from sartor.engine.recognize import Enrolled, Enrolment, Found, VerifiedAs

Picture = Annotated[str, StringConstraints(min_length=1, max_length=15_000_000)]
"""The bytes of a PNG, JPEG or WebP file in base64."""


class FacesIn(In):
    images: Annotated[list[Picture], Field(min_length=1, max_length=MOST)]


class EnrolIn(FacesIn):
    sure: bool = False
    """Also where they do not look like who is enrolled under this name."""


class IdentifyIn(FacesIn):
    k: Annotated[int, Field(ge=1, le=100)] = 1
    closest: bool = False
    """Also who is most alike, of those who agreed, where it is nobody that is known."""


class EnrolledOut(Out):
    person: str
    model: str
    state_version: int
    pictures: int
    """In all, with those of before."""


class EnrolmentOut(Out):
    person: str
    agreed: bool
    """Whether she has said yes herself; a default is not enough."""
    model: str
    state_version: int
    """0: she is not enrolled."""
    pictures: int
    nbytes: int


class LikelyOut(Out):
    person: str
    score: float


class FoundOut(Out):
    people: list[LikelyOut]
    """Best first; empty for nobody that is known."""
    threshold: float
    note: str
    closest: LikelyOut | None
    """Where it is nobody and it was asked for."""


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


def enrolment(given: Enrolment) -> dict[str, Any]:
    """As plain data."""
    return asdict(given)


def identified(given: Sequence[Found]) -> dict[str, Any]:
    """As plain data."""
    return {
        "images": [
            {
                "people": [_likely(one) for one in found.people], "threshold": found.threshold, "note": found.note,
                "closest": None if found.closest is None else _likely(found.closest),
            }
            for found in given
        ]
    }  # fmt: skip


def _likely(given: tuple[str, float]) -> dict[str, Any]:
    return {"person": given[0], "score": given[1]}


def verified(person: str, given: Sequence[VerifiedAs]) -> dict[str, Any]:
    """As plain data."""
    names = ("same", "score", "threshold", "fallback", "note")
    return {"person": person, "images": [{name: getattr(one, name) for name in names} for one in given]}
