"""A real server over a small generated world, and a real browser in front of it."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

import uvicorn

from sartor.data.world import World
from sartor.engine import Engine
from sartor.profile.records import Record
from sartor.serve.app import create_app
from sartor.serve.settings import Settings

PEOPLE, ITEMS = 45, 90  # fewer people than the studio shows on a page
NASTY = "<img src=x onerror=\"document.title='broken into'\"> & 'ç/100%"
"""A person's id that would show if any text became markup."""

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-domain-reliability", "--disable-sync", "--no-first-run", "--no-default-browser-check",
]  # fmt: skip


@dataclass
class Site:
    """A running server."""

    url: str
    engine: Engine


@dataclass
class Seen:
    """What a page asked for and complained about."""

    hosts: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Answers of 400 and above, as "404 /v1/people/nobody"."""


def _world(folder: Path) -> Engine:
    engine = Engine(f"sqlite:///{folder / 'people.db'}", memory_encoder="hashed")
    population = World(people=PEOPLE, items=ITEMS, seed=3).population()
    items = population.items.select("item", "title", "categories").collect().to_dicts()
    items[0]["title"] = "<b>Bold</b> & <script>alert(1)</script>"
    store, tenant = engine.store, engine.tenant
    store.set_default_consent(tenant, ["recommend", "search", "write", "draw", "recognize", "decide", "train"])
    store.put_items(tenant, items)
    events = population.events.collect().iter_rows(named=True)
    records = [
        Record(person=f"person-{row['person']:03}", time=float(row["time"]), kind="click", content={"item": row["item"]}, source="import:world")
        for row in events
    ]
    engine.observe_many([*records, Record(person=NASTY, kind="click", content={"item": 1}, source="import:<i>world</i>")])
    engine.fit("ease", {"regularization": 50.0}, holdout=0.3, progress=False)
    engine.fit("popularity", holdout=0.3, progress=False)
    engine.catch_up(30)
    return engine


@contextmanager
def serve(engine: Engine, *, dev: bool = True) -> Iterator[Site]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = create_app(engine, dev=dev, settings=Settings(log_requests=False))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the server ended while it started"
        assert time.monotonic() < deadline, "the server did not start within 20 s"
        time.sleep(0.02)
    try:
        yield Site(f"http://127.0.0.1:{port}", engine)
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with _world(tmp_path_factory.mktemp("studio")) as engine:
        yield engine


@pytest.fixture(scope="session")
def site(engine: Engine) -> Iterator[Site]:
    with serve(engine) as site:
        yield site


@pytest.fixture(scope="session")
def locked(engine: Engine) -> Iterator[Site]:
    """The same with keys."""
    with serve(engine, dev=False) as site:
        yield site


@pytest.fixture
def nasty() -> str:
    return NASTY


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Closed with its module: playwright's own event loop counts as running in this thread until then, and no other test could start one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A fresh browser context; afterwards it must have asked nobody else and complained of nothing."""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.url = url
        self.context = browser.new_context(base_url=url, reduced_motion="reduce", accept_downloads=True, **context)
        self.context.set_default_timeout(30_000)  # for machines that are busy with something else
        self.page = self.context.new_page()
        self.seen = Seen()
        self.page.on("request", lambda request: self.seen.hosts.add(urlsplit(request.url).netloc))
        self.page.on("pageerror", lambda error: self.seen.errors.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("response", self._response)

    def _console(self, message: Any) -> None:
        # Answers of 400 and above are kept by themselves; Chromium writes a line for each.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.seen.errors.append(message.text)

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.seen.refused.append(f"{response.status} {urlsplit(response.url).path}")

    def check(self, *, refused: tuple[str, ...] = ()) -> None:
        assert self.seen.hosts <= {urlsplit(self.url).netloc, ""}
        assert self.seen.errors == []
        assert [one for one in self.seen.refused if not one.startswith(refused or "none")] == []


@pytest.fixture
def visiting(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Open a site with a fresh browser; closed after the test."""
    open_now: list[Visit] = []

    def start(url: str, **context: Any) -> Visit:
        open_now.append(Visit(browser, url, **context))
        return open_now[-1]

    yield start
    for visit in open_now:
        visit.context.close()


@pytest.fixture
def visit(visiting: Callable[..., Visit], site: Site) -> Visit:
    return visiting(site.url, viewport={"width": 1280, "height": 900})


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Site]:
    """A server that knows nothing yet."""
    with Engine(f"sqlite:///{tmp_path / 'empty.db'}") as engine, serve(engine) as site:
        yield site
