"""A person's states over time: what is kept, going back, going on."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path, Response

from sartor.errors import UnknownId, Unreadable
from sartor.serve import mapping
from sartor.serve.answers import StateOut, StatesOut
from sartor.serve.gate import Call, Guarded, Here, needs
from sartor.serve.schemas import PersonPath

router = APIRouter(prefix="/v1/people/{person}", tags=["states"], route_class=Guarded)

VersionPath = Annotated[int, Path(ge=1, lt=2**31)]
VERB = "recommend"


@router.get("/states", response_model=StatesOut, **needs("profile", cost=2))
def states(call: Here, person: PersonPath) -> Response:
    """All kept versions that can be read, newest first."""
    store, tenant = call.engine.store, call.caller.tenant
    cards = call.engine.history(person)
    serves = next((card.version for card in cards if card.held), cards[0].version if cards else None)
    shown = []
    for card in cards:
        with suppress(Unreadable):
            if (one := store.state(tenant, person, VERB, version=card.version)) is not None:
                shown.append(mapping.state(one, current=card.version == serves, lag=None))
    return mapping.page(sorted(shown, key=lambda one: -one["version"]), None)


@router.get("/states/{version}", response_model=StateOut, **needs("profile"))
def state(call: Here, person: PersonPath, version: VersionPath) -> Response:
    """One version in words: which arrays, how large, from how much evidence."""
    return _state(call, person, version)


@router.post("/states/{version}/restore", response_model=StateOut, **needs("profile"))
def restore(call: Here, person: PersonPath, version: VersionPath) -> Response:
    """Answer from an old version, until it is released."""
    return _state(call, person, call.engine.restore(person, version).version)


@router.post("/release", response_model=StateOut, **needs("profile"))
def release(call: Here, person: PersonPath) -> Response:
    """Answer from the newest version again."""
    call.engine.release(person)
    return _state(call, person, None)


def _state(call: Call, person: str, version: int | None) -> Response:
    store, tenant = call.engine.store, call.caller.tenant
    current = store.state(tenant, person, VERB)
    found = current if version is None else store.state(tenant, person, VERB, version=version)
    if found is None:
        raise UnknownId("there is no such state", fix="GET .../states lists those there are")
    return mapping.json_response(mapping.state(found, current=current is not None and found.version == current.version, lag=None))
