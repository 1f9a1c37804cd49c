"""The catalogue: what there is to recommend."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from sartor.errors import TooLarge, UnknownId
from sartor.serve import mapping
from sartor.serve.answers import Catalogued, ItemOut, ItemsOut
from sartor.serve.gate import Call, Guarded, Here, needs
from sartor.serve.schemas import ID_LENGTH, ItemPatch, ItemPath, ItemsIn, Limit, Search

router = APIRouter(prefix="/v1/items", tags=["items"], route_class=Guarded)


@router.put("", response_model=Catalogued, **needs("write", cost=5))
def put_items(call: Here, given: ItemsIn) -> Response:
    """Add items, or replace what was said of them."""
    most = call.server.settings.bulk_rows
    if len(given.items) > most:
        raise TooLarge(f"more than {most} items", fix="send them in several requests")
    store, tenant = call.engine.store, call.caller.tenant
    rows = [one.model_dump(exclude_none=True) for one in given.items]
    return mapping.json_response({"items": store.put_items(tenant, rows), "version": store.items_version(tenant)})


@router.get("", response_model=ItemsOut, **needs("read"))
def items(call: Here, query: Search = None, limit: Limit = 100, after: Annotated[str, Query(max_length=ID_LENGTH)] = "") -> Response:
    """The catalogue in the order of the ids, a page at a time; with `query`, items whose id or title holds it."""
    call.search(query)
    found = call.engine.store.items(call.caller.tenant, after=after, limit=limit + 1, query=query)
    rows = [_shown(row) for row in found.head(limit).iter_rows(named=True)]
    return mapping.page(rows, str(rows[-1]["item"]) if found.height > limit else None)


@router.get("/{item}", response_model=ItemOut, **needs("read"))
def item(call: Here, item: ItemPath) -> Response:
    """One item."""
    return mapping.json_response(_one(call, item))


@router.patch("/{item}", response_model=ItemOut, **needs("write"))
def hide_item(call: Here, item: ItemPath, given: ItemPatch) -> Response:
    """Stop showing an item, from the next answer on; or show it again."""
    if not call.engine.store.hide_items(call.caller.tenant, [item], given.hidden):
        raise _unknown()
    return mapping.json_response(_one(call, item))


@router.delete("/{item}", status_code=204, **needs("write"))
def delete_item(call: Here, item: ItemPath) -> Response:
    """Take an item out of the catalogue, and out of every answer from the next one on, also of models that were fitted with it."""
    if not call.engine.store.delete_items(call.caller.tenant, [item]):
        raise _unknown()
    return Response(status_code=204)


def _one(call: Call, item: str) -> dict[str, Any]:
    found = call.engine.store.items(call.caller.tenant, [item])
    if not found.height:
        raise _unknown()
    return _shown(found.row(0, named=True))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {"title": None} | {name: value for name, value in row.items() if value is not None}


def _unknown() -> UnknownId:
    return UnknownId("the catalogue has no such item", fix="PUT /v1/items adds it; GET /v1/items?query= finds others")
