"""Requests per second of `GET recommendations` over a store of 100,000 people and 50,000 items, beside a bare FastAPI "hello".

The hello is the ceiling: the same uvicorn, no key, no store, no model. A request of ours checks a key, counts a rate limit, reads consent
and the person's encrypted state from SQLite, ranks all items and writes the list. Load comes from another process on the same machine;
`size` has the latencies at half of the highest rate, and the errors.
"""

from __future__ import annotations

from typing import Any

import _serve

NAME = "serve-recommend-vs-hello"
UNIT = "requests per second"
PEER = "fastapi"
HIGHER_IS_BETTER = True


def ours() -> dict[str, Any]:
    folder = _serve.built()
    secret = _serve.key(folder)
    with _serve.serving(folder) as (url, _, _):
        return _measured(url, "/v1/people/p{}/recommendations?k=10", secret) | {"quality": None}


def peer() -> dict[str, Any]:
    with _serve.process(_serve.HELLO) as (url, _, _):
        return _measured(url, "/hello/p{}", "")


def _measured(url: str, path: str, secret: str) -> dict[str, Any]:
    rate, connections, errors = _serve.highest(url, path, secret)
    half = _serve.at_rate(url, path, rate / 2, secret)
    size = {
        "people": _serve.PEOPLE,
        "items": _serve.ITEMS,
        "factors": _serve.FACTORS,
        "workers": _serve.WORKERS,
        "connections": connections,
        "errors": errors + int(half["errors"]),
        "at_half": {name: round(half[name], 2) for name in ("rate", "p50", "p99")},
        "load": half["tool"],
    }
    return {"value": rate, "size": size}


if __name__ == "__main__":
    import json

    print(json.dumps({"ours": ours(), "peer": peer()}, indent=2))
