"""The engine behind HTTP: a FastAPI app, its runner and a typed client.

    sartor serve --url sqlite:///people.db          the command
    create_app(engine)                              the ASGI app, to mount elsewhere
    Client("http://localhost:8000", key="sk_...")   the same from another process

Nothing heavy is imported before it is used: the client needs httpx alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sartor.serve.app import create_app
    from sartor.serve.client import AsyncClient, Client
    from sartor.serve.settings import Settings

__all__ = ["AsyncClient", "Client", "Settings", "create_app"]

_WHERE = {"create_app": "app", "Client": "client", "AsyncClient": "client", "Settings": "settings"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'sartor.serve' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"sartor.serve.{_WHERE[name]}"), name)
