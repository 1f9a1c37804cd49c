"""`sartor keys create | list | revoke`: who may use the API."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _store
from sartor.cli._store import when
from sartor.cli.serve import SCOPES

if TYPE_CHECKING:
    from sartor.profile.records import KeyCard

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


@app.command()
def create(
    label: Annotated[str, typer.Argument(help="What it is for: shop web server, nightly import, ...")],
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", "-s", help=f"{', '.join(SCOPES)}; repeat. Default: read and write.", show_default=False)
    ] = None,
    person: Annotated[str | None, typer.Option("--person", help="Only this person's data can be reached with it.")] = None,
    days: Annotated[float | None, typer.Option("--days", min=0, help="Until it expires. Default: never.", show_default=False)] = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Make a key; its secret is shown this once and kept nowhere."""
    expires = None if days is None else time.time() + days * 86_400
    with _store.open_store(db, master_key) as store:
        card, secret = store.create_key(tenant, label=label, scopes=tuple(scopes or ("read", "write")), person=person, expires=expires)
    if as_json:
        _face.emit({"key": _plain(card), "secret": secret})
        return
    _face.stdout().print(f"[bold]{secret}[/]", highlight=False, soft_wrap=True)
    _face.say(f"key {card.id} ({label}) may {', '.join(sorted(card.scopes))}; this is the only time it is shown")


@app.command("list")
def list_all(
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """All keys, the revoked ones too; never their secrets."""
    with _store.open_store(db, master_key) as store:
        cards = store.keys(tenant)
    if as_json:
        _face.emit({"keys": [_plain(one) for one in cards]})
        return
    rows = [
        [
            one.id,
            one.label,
            ", ".join(sorted(one.scopes)),
            one.person or "everybody",
            when(one.created),
            _state(one),
            when(one.last_used),
        ]
        for one in cards
    ]
    _face.stdout().print(_face.table(None, ["id", "label", "may", "person", "made", "state", "last used"], rows, left=7))


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, from `sartor keys list`.")],
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """From now on the key opens nothing; running servers notice within seconds."""
    with _store.open_store(db, master_key) as store:
        store.revoke_key(tenant, key)
    if as_json:
        _face.emit({"revoked": key})
    else:
        _face.stdout().print(f"key {key} is revoked", highlight=False)


def _plain(card: KeyCard) -> dict[str, Any]:
    return {**dataclasses.asdict(card), "scopes": sorted(card.scopes)}


def _state(card: KeyCard) -> str:
    if card.revoked is not None:
        return "revoked"
    return (
        "expired" if card.expires is not None and card.expires <= time.time() else "open" if card.expires is None else f"until {when(card.expires)}"
    )
