"""What to choose for several people under a shared budget, and what was chosen for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from sartor.serve import decisions as shapes
from sartor.serve import mapping
from sartor.serve.auth import check_people
from sartor.serve.gate import Guarded, Here, needs
from sartor.serve.schemas import PersonPath

router = APIRouter(prefix="/v1", tags=["decide"], route_class=Guarded)


@router.post("/decisions", response_model=shapes.DecisionsOut, **needs("write", cost=5, anybody=True))
def decide(call: Here, asked: shapes.DecideIn) -> Response:
    """An action for each person under a shared budget, from her own state where she allows it, with what the population's would have been.

    What is decided from a person's own state is kept among her records, unless `log` is false: with the state's version, the price and the
    alternative.
    """
    check_people(call.caller, [one.person for one in asked.people])
    with call.server.span("decide"):
        people: dict[str | int, Mapping[str, Any]] = {one.person: one.request() for one in asked.people}
        answer = call.engine.decide(people, budget=asked.budget, personal=asked.personal, log=asked.log)
    for one in answer.people:
        call.server.fallback(one.fallback)
    return mapping.json_response(shapes.answered(answer, mapping.state_of))


@router.get("/people/{person}/decisions", response_model=shapes.LogOut, **needs("read"))
def decisions(call: Here, person: PersonPath, limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> Response:
    """What was decided for a person, newest first."""
    return mapping.json_response(shapes.logged(call.engine.decisions(person, limit)))
