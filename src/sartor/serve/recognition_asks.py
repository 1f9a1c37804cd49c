"""The requests about who somebody is, for both clients."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from sartor.serve.answers import Removed
from sartor.serve.asks import Ask, Id, _get, _person
from sartor.serve.recognition import EnrolledOut, EnrolmentOut, IdentifiedOut, VerifyOut


def enrol(person: Id, images: Sequence[bytes], *, sure: bool = False) -> Ask[EnrolledOut]:
    """Let a person be recognized from now on; she must have agreed to it herself. `images`: bytes of PNG, JPEG or WebP files."""
    return Ask("POST", _person(person, "/enrolment"), EnrolledOut, json={"images": _encoded(images), "sure": sure})


def enrolment(person: Id) -> Ask[EnrolmentOut]:
    """Whether a person has agreed to be recognized, and what is kept of her for it."""
    return _get(_person(person, "/enrolment"), EnrolmentOut)


def unenrol(person: Id) -> Ask[Removed]:
    """Delete the vectors that a person was recognized by, and nothing else of hers."""
    return Ask("DELETE", _person(person, "/enrolment"), Removed, repeat=True)


def identify(images: Sequence[bytes], *, k: int = 1, closest: bool = False) -> Ask[IdentifiedOut]:
    """Who is on each picture, of all who are enrolled; with `closest` also who is most alike where it is nobody."""
    return Ask("POST", "/v1/identify", IdentifiedOut, json={"images": _encoded(images), "k": k, "closest": closest}, repeat=True)


def verify(person: Id, images: Sequence[bytes]) -> Ask[VerifyOut]:
    """Whether each picture shows this person."""
    return Ask("POST", _person(person, "/verify"), VerifyOut, json={"images": _encoded(images)}, repeat=True)


def _encoded(images: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in images]
