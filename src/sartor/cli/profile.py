"""`sartor profile show | export | forget | history`: what is kept of one person."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from sartor.cli import _face, _store
from sartor.cli._store import when
from sartor.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="See, export and forget what is kept of a person.")

Person = Annotated[str, typer.Argument(metavar="PERSON", help="The person's id.")]


@app.command()
def show(
    person: Person,
    events: Annotated[int, typer.Option("--events", min=0, help="How many of the newest records.")] = 10,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """What is known of a person, in words: evidence, state, consent, models that saw her."""
    with _store.open_engine(db, tenant, models, master_key) as engine:
        known = engine.profile(person)
        newest = engine.store.evidence(tenant, person, limit=events, newest_first=True) if events else []
    if as_json:
        _face.emit({**dataclasses.asdict(known), "newest": [dataclasses.asdict(one) for one in newest]})
        return
    out = _face.stdout()
    for sentence in known.sentences:
        out.print(sentence, markup=False, highlight=False, soft_wrap=True)
    rows = [
        [
            when(one.time if one.time is not None else one.received),
            one.frame,
            one.kind or "",
            str(one.content.get("item", "")),
            one.source,
            one.id,
        ]
        for one in newest
    ]
    if rows:
        out.print(
            _face.table(f"the newest {len(rows)} of {known.records:,} records", ["time", "frame", "kind", "item", "source", "id"], rows, left=6)
        )


@app.command()
def history(
    person: Person,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Versions of a person's state, newest first."""
    with _store.open_engine(db, tenant, models, master_key) as engine:
        versions = engine.history(person)
    if as_json:
        _face.emit({"person": person, "states": [dataclasses.asdict(one) for one in versions]})
        return
    rows = [
        [str(one.version), when(one.made), one.model[:8], "held" if one.held else "", one.restored_from, one.position, one.nbytes]
        for one in versions
    ]  # fmt: skip
    if not rows:
        _face.say(f"no state of {person} was ever made")
        return
    _face.stdout().print(_face.table(None, ["version", "made", "model", "", "restored from", "seen up to", "bytes"], rows, left=4))


@app.command()
def export(
    person: Person,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for the archive. Default: PERSON.zip.", show_default=False)] = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Everything about a person as one readable archive: evidence, states, consents, and a page that explains them."""
    target = out or Path(f"{''.join(letter if letter.isalnum() or letter in '-_.' else '_' for letter in person)}.zip")
    if target.exists():
        raise ConfigError("this file is there already", fix="name another with --out", file=target)
    with _store.open_engine(db, tenant, models, master_key) as engine:
        engine.export(person, target)
    bytes_ = target.stat().st_size
    if as_json:
        _face.emit({"person": person, "out": str(target), "bytes": bytes_})
    else:
        _face.stdout().print(f"everything about {person}: {target} ({_face.size(bytes_)})", markup=False, highlight=False)


@app.command()
def forget(
    person: Person,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask to type the id.")] = False,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Remove everything about a person, scan the files for what is left, and print the receipt. It cannot be undone.

    Exit code 1 when something was still found.
    """
    with _store.open_engine(db, tenant, models, master_key) as engine:
        if not yes:
            if as_json:
                raise ConfigError("forgetting cannot be undone", fix="add --yes")
            typed = typer.prompt(
                f"This removes {engine.store.count(tenant, person):,} records and every state. Type the person's id to go on", err=True
            )
            if typed != person:
                raise ConfigError("the ids differ; nothing was removed", fix="type the id exactly, or add --yes")
        receipt = engine.forget(person)
    facts = receipt.as_dict()
    if as_json:
        _face.emit(facts)
    else:
        _show_receipt(facts)
    if not receipt.verified and receipt.known:
        raise typer.Exit(1)


def _show_receipt(facts: dict[str, object]) -> None:
    out = _face.stdout()
    removed = facts["removed"]
    assert isinstance(removed, dict)
    if not facts["known"]:
        out.print(f"nothing was kept of {facts['person']}", markup=False, highlight=False)
        return
    rows = [[place, count] for place, count in removed.items() if count]
    out.print(f"{facts['person']} was forgotten at {facts['erased_at']}.", markup=False, highlight=False)
    out.print(_face.table(None, ["removed from", "rows"], rows))
    models = facts["models"]
    assert isinstance(models, list)
    for one in models:
        out.print(f"model {one['fingerprint'][:8]} ({one['status']}) was fitted while she was in the population", markup=False, highlight=False)
    verdict = "The files were scanned: nothing of her is left." if facts["verified"] else "NOT verified: see --json for the whole receipt."
    out.print(f"{verdict} {facts['note']}".strip(), markup=False, highlight=False, soft_wrap=True)
