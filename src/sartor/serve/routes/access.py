"""API keys, and the newest requests."""

from __future__ import annotations

import time

from fastapi import APIRouter, Response

from sartor import __version__
from sartor.errors import BadValue
from sartor.serve import mapping
from sartor.serve.auth import check_scope
from sartor.serve.gate import Guarded, Here, needs
from sartor.serve.overview import KeysOut, MeOut, NewKeyOut, RequestsOut
from sartor.serve.schemas import KeyIn, KeyPath, Limit

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


@router.get("/requests", response_model=RequestsOut, **needs("admin"))
def requests(call: Here, limit: Limit = 100) -> Response:
    """The newest requests of the tenant that this process answered: routes, not addresses."""
    own = [one for one in reversed(call.server.log.ring) if one.tenant == call.caller.tenant]
    return mapping.page([mapping.request(one) for one in own[:limit]], None)
