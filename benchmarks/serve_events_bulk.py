"""Events per second that `POST /v1/events` keeps, 1,000 in a request, each on the disk before it is acknowledged; JSON, and Arrow in `size`.

Beside it what a bare FastAPI route makes of the same bodies that only reads and checks them with pydantic: the ceiling without a store.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import _serve

NAME = "serve-events-bulk"
UNIT = "events per second"
PEER = "fastapi"
HIGHER_IS_BETTER = True
AT_ONCE, BODIES, CONNECTIONS = 1_000, 20, 4

CHECKING = """
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
app = FastAPI()
class Event(BaseModel):
    person: str
    item: str
    time: float | None = None
    kind: str | None = None
class Events(BaseModel):
    events: list[Event]
class Accepted(BaseModel):
    accepted: int
@app.post("/v1/events")
async def observe(given: Events) -> Accepted:
    return Accepted(accepted=len(given.events))
@app.get("/readyz")
async def ready() -> Accepted:
    return Accepted(accepted=0)
uvicorn.run(app, port={port}, log_level="warning", access_log=False)
"""


def rows() -> list[dict[str, list[Any]]]:
    """Bodies as columns; people and items of the promised numbers."""
    draw = random.Random(0)
    return [
        {
            "person": [f"p{draw.randrange(_serve.PEOPLE)}" for _ in range(AT_ONCE)],
            "item": [f"i{draw.randrange(_serve.ITEMS)}" for _ in range(AT_ONCE)],
            "time": [1.7e9 + draw.random() * 1e7 for _ in range(AT_ONCE)],
            "kind": ["click"] * AT_ONCE,
        }
        for _ in range(BODIES)
    ]  # fmt: skip


def as_json(columns: dict[str, list[Any]]) -> bytes:
    return json.dumps({"events": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}).encode()


def as_arrow(columns: dict[str, list[Any]]) -> bytes:
    import polars as pl

    buffer = io.BytesIO()
    pl.DataFrame(columns).write_ipc_stream(buffer)
    return buffer.getvalue()


def ours() -> dict[str, Any]:
    kept = _serve.built()
    folder = Path(tempfile.mkdtemp(prefix="sartor-bench-events-"))
    try:
        # A copy, since this one grows; 100,000 people and their states are there already.
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        secret = _serve.key(folder)
        with _serve.serving(folder) as (url, _, _):
            found = _measured(url, [as_json(one) for one in rows()], secret, "application/json")
            arrow = _measured(url, [as_arrow(one) for one in rows()], secret, "application/vnd.apache.arrow.stream")
        return found | {"size": found["size"] | {"arrow_events_per_second": round(arrow["value"]), "arrow_errors": arrow["size"]["errors"]}}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def peer() -> dict[str, Any]:
    with _serve.process(CHECKING) as (url, _, _):
        return _measured(url, [as_json(one) for one in rows()], "", "application/json")


def _measured(url: str, bodies: list[bytes], secret: str, kind: str) -> dict[str, Any]:
    def send(seconds: float) -> dict[str, float]:
        return _serve.load(url, "/v1/events", connections=CONNECTIONS, seconds=seconds, secret=secret, bodies=bodies, kind=kind)

    send(2)
    found = send(_serve.SECONDS)
    size = {
        "people": _serve.PEOPLE, "at_once": AT_ONCE, "connections": CONNECTIONS, "errors": int(found["errors"]), "p50_ms": round(found["p50"], 1),
        "p99_ms": round(found["p99"], 1), "load": found["tool"],
    }  # fmt: skip
    return {"value": found["rate"] * AT_ONCE, "size": size}


if __name__ == "__main__":
    print(json.dumps({"ours": ours(), "peer": peer()}, indent=2))
