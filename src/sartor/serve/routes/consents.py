"""What a person allows her evidence to be used for."""

from __future__ import annotations

from fastapi import APIRouter, Response

from sartor.serve import mapping
from sartor.serve.answers import ConsentsOut
from sartor.serve.gate import Guarded, Here, needs
from sartor.serve.schemas import ConsentsIn, PersonPath

router = APIRouter(prefix="/v1/people/{person}", tags=["consents"], route_class=Guarded)


@router.get("/consents", response_model=ConsentsOut, **needs("profile"))
def consents(call: Here, person: PersonPath) -> Response:
    """For every purpose whether it is allowed, since when and by which words."""
    return mapping.json_response(mapping.consents(call.engine, person))


@router.put("/consents", response_model=ConsentsOut, **needs("profile"))
def consent(call: Here, person: PersonPath, given: ConsentsIn) -> Response:
    """Allow or refuse purposes; it counts from the next request on."""
    for purpose, granted in given.purposes.items():
        call.engine.consent(person, purpose, granted, text=given.text, version=given.version, source=given.source)
    return mapping.json_response(mapping.consents(call.engine, person))
