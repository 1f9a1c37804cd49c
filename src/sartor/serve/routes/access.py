"""API keys, and the newest requests."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Response

from sartor import __version__
from sartor.errors import BadValue
from sartor.profile.records import PURPOSES
from sartor.serve import mapping
from sartor.serve.auth import check_scope
from sartor.serve.gate import Call, Guarded, Here, needs
from sartor.serve.overview import DefaultsOut, KeysOut, MeOut, NewKeyOut, RequestsOut
from sartor.serve.schemas import DefaultsIn, KeyIn, KeyPath, Limit

router = APIRouter(prefix="/v1", tags=["access"], route_class=Guarded)

DAY = 86_400.0


@router.get("/me", response_model=MeOut, **needs(None, anybody=True))
def me(call: Here) -> Response:
    """Whose key this is and what it may do."""
    caller = call.caller
    return mapping.json_response(
        {
            "tenant": caller.tenant, "label": caller.label, "scopes": sorted(caller.scopes), "person": caller.person, "dev": call.server.dev,
            "version": __version__,
        }
    )  # fmt: skip


@router.get("/keys", response_model=KeysOut, **needs("admin"))
def keys(call: Here) -> Response:
    """All keys of the tenant, without their secrets."""
    return mapping.page([mapping.key(card) for card in call.engine.store.keys(call.caller.tenant)], None)


@router.post("/keys", response_model=NewKeyOut, status_code=201, **needs("admin"))
def create(call: Here, asked: KeyIn) -> Response:
    """Make a key. Its secret is in this answer and nowhere else."""
    for scope in asked.scopes:
        check_scope(call.caller, scope)
    expires = asked.expires if asked.days is None else time.time() + asked.days * DAY
    if expires is not None and expires <= time.time():
        raise BadValue("the key would have expired already", fix="give a time to come", field="expires")
    card, secret = call.engine.store.create_key(call.caller.tenant, label=asked.label, scopes=asked.scopes, person=asked.person, expires=expires)
    return mapping.json_response({"key": mapping.key(card), "secret": secret}, 201)


@router.delete("/keys/{key}", status_code=204, **needs("admin"))
def revoke(call: Here, key: KeyPath) -> Response:
    """End a key: at once in this process, within `key_seconds` in the others."""
    call.engine.store.revoke_key(call.caller.tenant, key)
    call.server.keys.forget()
    return Response(status_code=204)


@router.get("/consents", response_model=DefaultsOut, **needs("admin"))
def defaults(call: Here) -> Response:
    """What is assumed of everybody who has not said anything, for every purpose."""
    return mapping.json_response(_defaults(call))


@router.put("/consents", response_model=DefaultsOut, **needs("admin", cost=20))
def assume(call: Here, given: DefaultsIn) -> Response:
    """Change that; purposes that are not named stay. What a person said herself always counts before it."""
    assumed = _defaults(call)["purposes"] | given.purposes
    call.engine.store.set_default_consent(call.caller.tenant, [purpose for purpose, granted in assumed.items() if granted])
    return mapping.json_response({"purposes": assumed})


@router.get("/requests", response_model=RequestsOut, **needs("admin"))
def requests(call: Here, limit: Limit = 100) -> Response:
    """The newest requests of the tenant that this process answered: routes, not addresses."""
    own = [one for one in reversed(call.server.log.ring) if one.tenant == call.caller.tenant]
    return mapping.page([mapping.request(one) for one in own[:limit]], None)


def _defaults(call: Call) -> dict[str, Any]:
    assumed = call.engine.store.default_consent(call.caller.tenant)
    return {"purposes": {purpose: purpose in assumed for purpose in PURPOSES}}
