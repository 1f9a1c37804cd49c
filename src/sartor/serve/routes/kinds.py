"""What an event of each kind counts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from sartor.profile import kinds
from sartor.serve import mapping
from sartor.serve.answers import KindsOut
from sartor.serve.gate import Call, Guarded, Here, needs
from sartor.serve.schemas import In

router = APIRouter(prefix="/v1", tags=["models"], route_class=Guarded)


class KindsIn(In):
    """Weights by kind of event."""

    weights: dict[str, Annotated[float, Field(ge=0, le=kinds.HEAVIEST)]] | None
    """Replaces all that were set; null goes back to the default. Kinds not named count 1, 0 teaches nothing."""


@router.get("/kinds", response_model=KindsOut, **needs("models"))
def weights(call: Here) -> Response:
    """What events of a kind count when states are made and models are fitted; those not named count 1."""
    return _told(call)


@router.put("/kinds", response_model=KindsOut, **needs("models", cost=20))
def put(call: Here, given: KindsIn) -> Response:
    """Set them for all kinds at once. Everybody's state is made again; models learn of it with their next fit."""
    kinds.put(call.engine.store, call.caller.tenant, given.weights)
    return _told(call)


def _told(call: Call) -> Response:
    own = kinds.own(call.engine.store, call.caller.tenant)
    return mapping.json_response({"weights": kinds.DEFAULT if own is None else own, "default": own is None})
