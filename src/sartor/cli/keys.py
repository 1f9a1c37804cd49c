"""`sartor keys create | list | revoke`: who may use the API; `sartor keys rotate-master`: what everything is encrypted with."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _store
from sartor.cli._store import when
from sartor.cli.serve import SCOPES
from sartor.errors import ConfigError, StoreProblem

if TYPE_CHECKING:
    from sartor.profile.records import KeyCard
    from sartor.profile.store import ProfileStore

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys; change the master key.")


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


@app.command("rotate-master")
def rotate_master(
    new: Annotated[
        Path | None,
        typer.Option("--new", help="File with the new key: 32 random bytes, or their base64. Default: made, in the place of the key file."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: _store.Db = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Change the master key of a store. Nobody's content is written again: only the keys of people are.

    Refuses while another process changes it. Stopped at any point, the same command goes on. Servers that run must be started again afterwards;
    backups that were made before still need the old key, and are unreadable without it.

        openssl rand -base64 32 > new.key && sartor keys rotate-master --new new.key
    """  # fmt: skip
    from sartor.profile.keyring import ENVIRONMENT
    from sartor.profile.rotate import rotate_master as change
    from sartor.profile.rotate_person import Rotation

    _face.session().resume = lambda: "the same command goes on"
    store = _opened(db, master_key, new)
    if store is None:
        done = Rotation(0, 0, 0.0, resumed=True)
    else:
        with store:
            if not yes:
                if as_json:
                    raise ConfigError("processes that run with the old key are refused from then on", fix="add --yes")
                typer.confirm(
                    f"Change the master key of {store.url}? Servers must be started again, older backups need the old key", abort=True, err=True
                )
            done = change(store, new, old=master_key)
    replaced = new is None or (master_key is None and not os.environ.get(ENVIRONMENT) and _store.url(db).startswith("sqlite:"))
    if as_json:
        _face.emit({**dataclasses.asdict(done), "key_file_replaced": replaced})
        return
    out = _face.stdout()
    out.print(f"{done.keys:,} keys of people are under the new master key{' (some of them before)' if done.resumed else ''}", highlight=False)
    where = (
        "It is in the key file beside the database: keep a copy elsewhere."
        if replaced
        else "Give it to every process from now on, by SARTOR_MASTER_KEY."
    )
    _face.say(f"{where} Start running servers again, and make a new backup: older ones need the old key.")


def _opened(db: str | None, master_key: Path | None, new: Path | None) -> ProfileStore | None:
    """The store under the old key; None when it is under the new one already: an earlier call came as far as that."""
    try:
        store = _store.open_store(db, master_key)
    except StoreProblem:
        if new is None:
            raise
        try:
            _store.open_store(db, new).close()
        except StoreProblem:
            pass
        else:
            return None
        raise
    return store


def _plain(card: KeyCard) -> dict[str, Any]:
    return {**dataclasses.asdict(card), "scopes": sorted(card.scopes)}


def _state(card: KeyCard) -> str:
    if card.revoked is not None:
        return "revoked"
    return (
        "expired" if card.expires is not None and card.expires <= time.time() else "open" if card.expires is None else f"until {when(card.expires)}"
    )
