"""Who somebody is: enrolment with her own consent, identification, verification. No picture is kept."""

from __future__ import annotations

from fastapi import APIRouter, Response

from sartor.serve import mapping
from sartor.serve import recognition as shapes
from sartor.serve.answers import Removed
from sartor.serve.gate import Guarded, Here, needs
from sartor.serve.schemas import PersonPath

router = APIRouter(prefix="/v1", tags=["recognize"], route_class=Guarded)


@router.post("/people/{person}/enrolment", response_model=shapes.EnrolledOut, **needs("write", cost=5))
def enrol(call: Here, person: PersonPath, given: shapes.EnrolIn) -> Response:
    """Let a person be recognized from now on, by the model that was installed with the verb `recognize`.

    She must have agreed to "recognize" herself: a default is not enough for biometric data (403). Kept is the mean of the pictures' vectors,
    encrypted with all else of hers. Pictures that do not look like who is enrolled under this name are a conflict (409) unless `sure`.
    """
    with call.server.span("recognize"):
        made = call.engine.enrol(person, shapes.files(given.images), sure=given.sure, source=f"api:{call.caller.label}")
    return mapping.json_response(shapes.enrolled(made))


@router.get("/people/{person}/enrolment", response_model=shapes.EnrolmentOut, **needs("profile"))
def enrolment(call: Here, person: PersonPath) -> Response:
    """Whether she has agreed to be recognized, and what is kept of her for it; somebody unknown is simply not enrolled."""
    return mapping.json_response(shapes.enrolment(call.engine.enrolment(person)))


@router.delete("/people/{person}/enrolment", response_model=Removed, **needs("profile"))
def unenrol(call: Here, person: PersonPath) -> Response:
    """Delete the vectors that she was recognized by, of every model, and nothing else of hers."""
    return mapping.json_response({"removed": call.engine.unenrol(person)})


@router.post("/identify", response_model=shapes.IdentifiedOut, **needs("read", cost=5))
def identify(call: Here, asked: shapes.IdentifyIn) -> Response:
    """Who is on each picture, of all who are enrolled; or nobody that is known. Keys of one person may not ask.

    Who has not agreed, or has taken it back, is named neither as found nor as closest.
    """
    with call.server.span("recognize"):
        found = call.engine.identify(shapes.files(asked.images), asked.k, closest=asked.closest)
    return mapping.json_response(shapes.identified(found))


@router.post("/people/{person}/verify", response_model=shapes.VerifyOut, **needs("read", cost=2))
def verify(call: Here, person: PersonPath, asked: shapes.FacesIn) -> Response:
    """Whether each picture shows this person; who is not enrolled, or has not agreed, is on none, and `fallback` says why."""
    with call.server.span("recognize"):
        made = call.engine.verify(person, shapes.files(asked.images))
    return mapping.json_response(shapes.verified(person, made))
