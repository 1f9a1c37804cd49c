"""How the whole is doing: what personalising does for people, what waits, what has changed, what is here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response

from sartor import __version__
from sartor.engine.drift import drift
from sartor.errors import FileProblem
from sartor.serve import mapping
from sartor.serve.answers import iso
from sartor.serve.gate import Guarded, Here, needs
from sartor.serve.overview import EvaluationOut, StatusOut, SystemsOut

router = APIRouter(prefix="/v1", tags=["insight"], route_class=Guarded)

VERB = "recommend"
_EMPTY: dict[str, Any] = {"metric": None, "people": 0, "gain": None, "swap_gap": None, "hurt": None, "slices": [], "note": ""}
_CLAIM = (
    "passed", "gain", "gain_interval", "swap_gap", "swap_gap_interval", "state_bytes", "adapt_seconds",
    "seeds", "data", "claim", "passes", "version", "date",
)  # fmt: skip


@router.get("/evaluation", response_model=EvaluationOut, **needs("models"))
def evaluation(call: Here) -> Response:
    """Gain and swap gap of the active model over people who were held out of its fit. Groups of fewer than five people are never shown alone."""
    card = call.engine.store.active_model(call.caller.tenant, VERB)
    if card is None or "metric" not in card.report:
        note = "no model serves yet" if card is None else "this model was installed without being measured"
        return mapping.json_response(_EMPTY | {"model": card and card.fingerprint, "note": note})
    return mapping.json_response(_EMPTY | {name: card.report[name] for name in _EMPTY if name in card.report} | {"model": card.fingerprint})


@router.get("/status", response_model=StatusOut, **needs("models", cost=5))
def status(call: Here) -> Response:
    """What waits, how states are made, how far people have moved away from what the model was fitted on, and how much is kept."""
    now, found = call.engine.status(), drift(call.engine)
    adapting = {name: getattr(now.adapting, name) for name in ("running", "adapted", "failed", "busy_seconds", "last_error")}
    out: dict[str, Any] = {
        "version": __version__, "started": iso(call.server.started), "uptime_seconds": time.time() - call.server.started, "tenant": now.tenant,
        "model": now.models.get(VERB), "queue": {"people": now.stale, "oldest_seconds": now.oldest_seconds, "failing": now.failing},
        "adapting": adapting, "drift": found and found.to_dict(), "counts": dict(now.counts), "models": len(call.engine.models()),
        "fallbacks": call.server.fallbacks(),
    }  # fmt: skip
    return mapping.json_response(out)


@router.get("/systems", response_model=SystemsOut, **needs("read"))
def systems(call: Here) -> Response:
    """The methods that are here, and what the last check of each one's claim showed (where there is a checkout with results)."""
    from sartor.evaluate import claim
    from sartor.systems import SYSTEMS

    try:
        last = claim.last_results()
    except FileProblem:
        last = {}
    rows = [
        {
            "slug": one.slug, "title": one.title, "authors": one.authors, "year": one.year, "venue": one.venue, "room": one.room, "kind": one.kind,
            "implemented": True, "claim": _claim(last[one.slug]) if one.slug in last else None,
        }
        for one in SYSTEMS.values()
    ]  # fmt: skip
    return mapping.page(rows, None)


def _claim(line: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader needs of a result's line: also which of its conditions held."""
    measured = line.get("measured")
    return {name: line.get(name) for name in _CLAIM} | {"conditions": measured.get("conditions") if isinstance(measured, dict) else None}
