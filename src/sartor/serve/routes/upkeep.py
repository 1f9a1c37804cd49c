"""What an administrator looks after: what is here, how long it is kept, what this server allows, what was done."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field, FiniteFloat, StringConstraints

from sartor.engine.evidence import NEWEST
from sartor.profile import append, audit, describe, jobs, retention, states
from sartor.serve import mapping
from sartor.serve.answers import iso
from sartor.serve.gate import Guarded, Here, needs
from sartor.serve.overview import AuditsOut, DataOut, LimitsOut, RulesOut
from sartor.serve.schemas import In, Limit
from sartor.serve.settings import Settings

router = APIRouter(prefix="/v1", tags=["upkeep"], route_class=Guarded)

FEWEST = 5
"""A kind of events that fewer people have is not described further: its first and last time would be somebody's."""
_Age = Annotated[FiniteFloat, Field(gt=0, le=3.2e9)] | None


class RuleIn(In):
    """One rule in the place of the one for the same frame and kind; without both times the rule is taken away."""

    frame: Annotated[str, StringConstraints(max_length=32)] = ""
    kind: Annotated[str, StringConstraints(max_length=64)] = ""
    seconds: _Age = None
    half_life: _Age = None


@router.get("/data", response_model=DataOut, **needs("models", cost=20))
def data(call: Here) -> Response:
    """What there is: counts, kinds of evidence with their first and last time, attributes of the catalogue."""
    store, tenant = call.engine.store, call.caller.tenant
    found, items = describe.describe(store, tenant), store.items(tenant)
    firsts, lasts = [one.first for one in found if one.first is not None], [one.last for one in found if one.last is not None]
    attributes = [
        {"name": name, "kind": str(items.schema[name]), "items": items.height - items[name].null_count()}
        for name in items.columns
        if name not in ("item", "hidden")
    ]
    out: dict[str, Any] = {
        "counts": store.counts(tenant), "hidden": int(items["hidden"].sum()), "first": iso(min(firsts, default=None)),
        "last": iso(max(lasts, default=None)), "kinds": [_kind(one) for one in found],
        "attributes": sorted(attributes, key=lambda one: (-int(one["items"]), str(one["name"]))),
    }  # fmt: skip
    return mapping.json_response(out)


@router.get("/retention", response_model=RulesOut, **needs("admin"))
def rules(call: Here) -> Response:
    """How long evidence is kept and how fast it fades, the most special rule first; a purge every week holds the store to it."""
    return _rules(retention.rules(call.engine.store, call.caller.tenant), None)


@router.put("/retention", response_model=RulesOut, **needs("admin", cost=20))
def set_rule(call: Here, given: RuleIn, dry: Annotated[bool, Query()] = False) -> Response:
    """Set or take away one rule; the answer says how many records the next purge would delete. With `dry=true` nothing is changed."""
    store, tenant = call.engine.store, call.caller.tenant
    rule = retention.Rule(given.seconds, given.half_life, given.frame, given.kind)
    before = retention.rules(store, tenant)
    after = retention.replaced(before, rule)
    if not dry:
        retention.set_rule(store, tenant, rule)
        if [one.half_life for one in before] != [one.half_life for one in after]:
            # What counts how much has changed, so states are to be made again.
            store.mark_stale(tenant, None)
    return _rules(after, retention.too_old(store, tenant, after))


@router.get("/limits", response_model=LimitsOut, **needs("admin"))
def limits(call: Here) -> Response:
    """What this server and its store allow; a server's own limits are changed where it is started."""
    own: Settings = call.server.settings
    kept = {
        "record_bytes": append.LARGEST, "state_versions": states.KEPT, "events_per_state": NEWEST, "audit_lines": audit.KEPT,
        "waiting_jobs": jobs.WAITING, "finished_jobs": jobs.KEPT, "purge_seconds": retention.WEEK, "database": call.engine.store.dialect,
    }  # fmt: skip
    return mapping.json_response({"server": asdict(own) | {"dev": call.server.dev}, "store": kept})


@router.get("/audit", response_model=AuditsOut, **needs("admin", cost=5))
def lines(call: Here, limit: Limit = 100) -> Response:
    """What was done, newest first: which action, when, whether it was about a person; never about whom, never what it held."""
    found = call.engine.store.audits(call.caller.tenant, limit=limit)
    shown = [{"time": iso(one.time), "action": one.action, "about": one.person, "detail": dict(one.detail)} for one in found]
    return mapping.page(shown, None)


def _kind(one: describe.KindCount) -> dict[str, Any]:
    told = one.people >= FEWEST
    return {
        "frame": one.frame, "kind": one.kind, "records": one.records, "people": one.people if told else None,
        "first": iso(one.first) if told else None, "last": iso(one.last) if told else None, "untimed": one.untimed,
    }  # fmt: skip


def _rules(found: list[retention.Rule], count: int | None) -> Response:
    return mapping.json_response({"items": [asdict(one) for one in found], "next": None, "would_delete": count})
