"""How a process opens the engine: what travels to workers and jobs through their start-up pipe, never through environment or command line."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sartor.serve.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from sartor.engine import Engine


SWITCH = 0.0005
"""Seconds; the interpreter's own 0.005 is most of an answer's time under load."""


@dataclass(frozen=True)
class Opening:
    """Everything that is needed to open a server's engine again."""

    url: str
    tenant: str = "default"
    master_key: bytes | str | Path | None = field(default=None, repr=False)
    models: str | Path | None = None
    dev: bool = False
    settings: Settings = field(default_factory=Settings)
    rates: Path | None = None
    """File through which workers share their rate limits (`rate.table`)."""

    def engine(self, *, background: bool = True) -> Engine:
        """The engine, open."""
        from sartor.engine import Engine

        return Engine(self.url, tenant=self.tenant, master_key=self.master_key, models=self.models, background=background)

    def __call__(self) -> FastAPI:
        """The app of one worker; closing it closes its engine."""
        from sartor.serve.app import create_app
        from sartor.serve.logs import quiet_libraries

        quiet_libraries()
        # The loop and the thread that answers hand the interpreter to each other several times per request, each time after at most this long.
        sys.setswitchinterval(SWITCH)
        engine = self.engine()
        app = create_app(engine, dev=self.dev, settings=self.settings, opening=self)
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            try:
                async with inner(app):
                    yield
            finally:
                engine.close()

        app.router.lifespan_context = lifespan
        return app
