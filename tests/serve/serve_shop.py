"""A small shop behind the real app, served by uvicorn in a thread: two tenants over one store, a fitted model, keys of every kind."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import uvicorn
from fastapi import FastAPI

import sartor
from sartor.engine import Engine
from sartor.serve import Settings, create_app

PEOPLE, ITEMS = 60, 40
SCOPES = ("read", "write", "profile", "erase", "models", "admin")


def shop() -> sartor.Population:
    """Two tastes: even people like the first half of the items, odd ones the second."""
    rng = np.random.default_rng(0)
    rows = [(f"p{person}", f"i{item}") for person in range(PEOPLE) for item in rng.permutation(ITEMS // 2)[:8] + (person % 2) * ITEMS // 2]
    items = {"item": [f"i{n}" for n in range(ITEMS)], "title": [f"Title {n}" for n in range(ITEMS)], "year": [1980 + n for n in range(ITEMS)]}
    return sartor.Population.from_frames(events=pl.DataFrame(rows, schema=["person", "item"], orient="row"), items=pl.DataFrame(items))


@dataclass
class Shop:
    """The engine of tenant `default`, its app, and ways to call it."""

    engine: Engine
    app: FastAPI
    http: httpx.Client
    url: str
    keys: dict[str, str] = field(default_factory=dict)

    def key(self, tenant: str = "default", *, person: str | None = None, scopes: tuple[str, ...] = SCOPES, expires: float | None = None) -> str:
        return self.engine.store.create_key(tenant, label="test", scopes=scopes, person=person, expires=expires)[1]

    def call(self, method: str, path: str, *, key: str | None = None, **given: Any) -> httpx.Response:
        used = self.keys["default"] if key is None else key
        headers = ({"Authorization": f"Bearer {used}"} if used else {}) | given.pop("headers", {})
        return self.http.request(method, path, headers=headers, **given)

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self.call("GET", path, **given)

    def ready(self) -> Any:
        """What `/readyz` says once the server is warm."""
        until = time.monotonic() + 60
        while (said := self.get("/readyz", key="")).status_code != 200 and time.monotonic() < until:
            time.sleep(0.01)
        return said.json()

    def observe(self, person: str, *items: str, key: str | None = None) -> None:
        done = self.call("POST", "/v1/events", key=key, json={"events": [{"person": person, "item": item} for item in items]})
        assert done.status_code == 200, done.text
        assert self.engine.catch_up(30)


@contextlib.contextmanager
def opened(folder: Path, model: Any, *, dev: bool = False, **settings: Any) -> Iterator[Shop]:
    """A shop in a folder, with the server's settings."""
    with Engine(f"sqlite:///{folder}/people.db", memory_encoder="hashed") as engine:
        for tenant in ("default", "other"):
            engine.for_tenant(tenant).install(model, shop())
        app = create_app(engine, dev=dev, settings=Settings(**{"log_requests": False, "key_seconds": 60.0} | settings))
        with listening(app) as url, httpx.Client(base_url=url, timeout=60) as http:
            made = Shop(engine, app, http, url)
            made.keys = {tenant: made.key(tenant) for tenant in ("default", "other")}
            yield made


@contextlib.contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """Serves an app on a free port; gives its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        until = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < until, "the server did not start within a minute"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        server.should_exit = True
        thread.join(60)
