"""`sartor serve`: the API and the studio over one store."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from sartor.cli import _face, _store
from sartor.errors import MissingExtra

SCOPES = ("read", "write", "profile", "erase", "models", "admin")


def serve(
    db: _store.Db = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes that share the store.")] = 1,
    dev: Annotated[bool, typer.Option("--dev", help="No keys, on this machine only.")] = False,
    upstream: Annotated[
        str | None, typer.Option("--upstream", help="Who answers chats: endpoint:URL#MODEL, transformers:FOLDER or tiny:FOLDER.")
    ] = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Serve the API, its documentation (/docs) and the studio (/) until Ctrl-C.

    The first start makes the store and prints an admin key, once. Programs send it as `Authorization: Bearer ...`.

        sartor serve --db people.db --workers 2
        sartor serve --upstream endpoint:https://api.openai.com/v1#gpt-5-mini     # its key in SARTOR_UPSTREAM_KEY

    With an upstream it also speaks OpenAI's chat API, personal for whom the field `user` names (docs/chat.md).
    """  # fmt: skip
    engine = _store.engine_class()
    try:
        from sartor.serve.run import run
        from sartor.serve.settings import Settings
    except ImportError as missing:
        raise MissingExtra(str(missing.name), "serve") from missing
    settings = Settings.from_environment()
    if upstream is not None:
        settings = replace(settings, upstream=upstream)
    url = _store.url(db)
    place = _store.folder(url, models)
    secret = None
    with engine(url, tenant=tenant, models=place, master_key=master_key, background=False) as opened:
        if not dev and not opened.store.keys(tenant):
            _, secret = opened.store.create_key(tenant, label="first admin key", scopes=SCOPES)
        facts = {"db": opened.store.url, "tenant": tenant, "models": str(opened._models.folder)}
    where = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"
    if as_json:
        _face.emit({"url": where, "workers": workers, "dev": dev, "key": secret, "pid": os.getpid(), **facts})
    else:
        out = _face.stdout()
        out.print(f"studio  [bold]{where}/[/]\nAPI     {where}/docs\nstore   {facts['db']}, tenant {tenant}", highlight=False, soft_wrap=True)
        if settings.upstream is not None:
            out.print(f"chat    {where}/v1, answered by {settings.upstream}", highlight=False, soft_wrap=True)
        if secret is not None:
            out.print(f"\nAdmin key, shown this once: [bold]{secret}[/]", highlight=False, soft_wrap=True)
            out.print("[dim]More keys, with fewer rights: sartor keys create[/]", highlight=False)
        elif dev:
            out.print("[dim]No keys are asked for: only this machine is listened to.[/]", highlight=False)
    run(url, host, port, workers, dev, tenant=tenant, master_key=master_key, models=place, settings=settings)
