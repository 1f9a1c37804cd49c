"""`sartor mcp`: tools for agents over standard input and output, for one person."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from sartor.cli import _store
from sartor.errors import ConfigError, MissingExtra

KEY = "SARTOR_API_KEY"


def mcp(
    db: _store.Db = None,
    person: Annotated[str | None, typer.Option("--person", help="Whom the tools are about; a key of one person says it by itself.")] = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
) -> None:
    """Serve remember, recall, recommend, search and forget to an agent (Model Context Protocol, stdio).

    With an API key in SARTOR_API_KEY the agent has that key's rights and person; without one, those of whoever started it.

        sartor mcp --db people.db --person ana
    """  # fmt: skip
    engine = _store.engine_class()
    try:
        from sartor.serve.auth import SCOPES, Caller
        from sartor.serve.mcp import Connection, tools
    except ImportError as missing:
        raise MissingExtra(str(missing.name or "mcp"), "mcp") from missing
    secret = os.environ.get(KEY, "").strip()
    url = _store.url(db)
    with engine(url, tenant=tenant, models=_store.folder(url, models), master_key=master_key, background=False) as opened:
        if secret:
            card = opened.store.check_key(secret)
            if card.person is not None and person not in (None, card.person):
                raise ConfigError("the key belongs to another person", fix="leave --person out")
            caller = Caller(card.tenant, card.id, card.label, frozenset(card.scopes), card.person, card.expires)
            person = card.person if card.person is not None else person
        else:
            caller = Caller(tenant, "stdio", "stdio", frozenset(SCOPES), person)
        if person is None:
            raise ConfigError("it is not said whom this is about", fix=f"give --person, or a key of one person in {KEY}")
        connection = Connection(opened.for_tenant(caller.tenant), person, caller)
        tools(lambda _: connection).run("stdio")
