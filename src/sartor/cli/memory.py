"""`sartor memory add | list | recall | edit | confirm | forget | history | summarise | import | export`: what is remembered of a person in words."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _store
from sartor.cli._store import when
from sartor.errors import ConfigError, FileProblem, TooLarge

if TYPE_CHECKING:
    from sartor.engine import Engine
    from sartor.write.memory import Memory

app = typer.Typer(no_args_is_help=True, help="What is remembered of a person in words: tell, recall, correct, forget, take along.")

Person = Annotated[str, typer.Argument(metavar="PERSON", help="The person's id.")]
Ident = Annotated[str, typer.Argument(metavar="MEMORY", help="The memory's id, as `list` shows it.")]
Encoder = Annotated[
    str | None,
    typer.Option("--encoder", help="Text encoder. Default: $SARTOR_MEMORY_ENCODER, else minilm where installed, else hashed.", show_default=False),
]
LARGEST = 512 * 2**20


@app.command()
def add(
    person: Person,
    text: Annotated[str, typer.Argument(help="A sentence; '-' reads standard input.")],
    extract: Annotated[
        bool, typer.Option("--extract", help="Take out what the person says of herself, instead of keeping the text as it is.")
    ] = False,
    ident: Annotated[str | None, typer.Option("--id", help="The same id again adds nothing.", show_default=False)] = None,
    confirm: Annotated[str, typer.Option("--confirm", help="What waits for the person's word: never, inferred, always.")] = "inferred",
    encoder: Encoder = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Remember a sentence, or with --extract the statements in a message."""
    said = _standard_input() if text == "-" else text
    with _opened(db, tenant, models, master_key, encoder) as engine:
        told = engine.remember(person, [said] if extract else said, id=ident, confirm=confirm, source="cli")  # type: ignore[arg-type]  # checked there
    _told(told, as_json)


@app.command(name="list")
def list_(
    person: Person,
    kind: Annotated[str | None, typer.Option("--kind", help="fact, preference, summary or message.", show_default=False)] = None,
    history: Annotated[bool, typer.Option("--history", help="Also what no longer holds.")] = False,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only what waits for confirmation.")] = False,
    encoder: Encoder = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """What is remembered, newest first."""
    with _opened(db, tenant, models, master_key, encoder) as engine:
        found = engine.memories(person, kind=kind, history=history, waiting=True if waiting else None)  # type: ignore[arg-type]
    _shown(person, found, as_json)


@app.command()
def recall(
    person: Person,
    query: Annotated[str, typer.Argument(help="What is asked now.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")] = 5,
    budget: Annotated[int | None, typer.Option("--budget", min=1, help="At most so many tokens in all.", show_default=False)] = None,
    encoder: Encoder = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """The memories that matter most for a question, and what made them matter."""
    with _opened(db, tenant, models, master_key, encoder) as engine:
        found = engine.recall(person, query, k, budget_tokens=budget)
    if as_json:
        told = [{"memory": dataclasses.asdict(one.memory), "score": one.score, "parts": one.parts} for one in found.memories]
        _face.emit({"person": person, "query": query, "memories": told, "fallback": found.fallback, "seconds": found.seconds})
        return
    if not found.memories:
        _face.say(found.fallback or "nothing fits")
        return
    names = list(found.memories[0].parts)
    rows = [[one.memory.text, one.score, *(one.parts[name] for name in names)] for one in found.memories]
    _face.stdout().print(_face.table(None, ["memory", "score", *names], rows))


@app.command()
def edit(
    person: Person,
    memory: Ident,
    text: Annotated[str, typer.Argument(help="What it should say.")],
    encoder: Encoder = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Correct a memory; what it said before stays in its history."""
    with _opened(db, tenant, models, master_key, encoder) as engine:
        _shown(person, [engine.edit_memory(person, memory, text)], as_json)


@app.command()
def confirm(
    person: Person,
    memory: Ident,
    wrong: Annotated[bool, typer.Option("--wrong", help="It is wrong: delete it.")] = False,
    encoder: Encoder = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Say that a memory is right, so that it is used; or wrong, and it is deleted."""
    with _opened(db, tenant, models, master_key, encoder) as engine:
        kept = engine.confirm(person, memory, not wrong)
    _shown(person, [] if kept is None else [kept], as_json)


@app.command()
def forget(
    person: Person,
    memory: Annotated[list[str], typer.Argument(metavar="MEMORY...", help="Ids, as `list` shows them.")],
    encoder: Encoder = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Delete memories for good, all their versions, and the summaries that were made from them."""
    with _opened(db, tenant, models, master_key, encoder) as engine:
        gone = engine.forget_memory(person, *memory)
    if as_json:
        _face.emit({"person": person, "removed": gone})
    else:
        _face.stdout().print(f"{gone} memories are gone")


@app.command()
def history(
    person: Person,
    memory: Ident,
    encoder: Encoder = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """All versions of a memory, newest first."""
    with _opened(db, tenant, models, master_key, encoder) as engine:
        _shown(person, engine.memory_history(person, memory), as_json)


@app.command()
def summarise(
    person: Person,
    encoder: Encoder = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Keep a short text of what holds now, with the memories it was made from."""
    with _opened(db, tenant, models, master_key, encoder) as engine:
        _shown(person, [engine.summarise(person)], as_json)


@app.command(name="import")
def import_(
    person: Person,
    file: Annotated[Path, typer.Argument(help="mem0's list of memories, or conversations.json of a ChatGPT export.")],
    form: Annotated[str | None, typer.Option("--form", help="mem0 or chatgpt. Default: looks.", show_default=False)] = None,
    confirm: Annotated[str, typer.Option("--confirm", help="What waits for the person's word: never, inferred, always.")] = "inferred",
    encoder: Encoder = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Take memories of another system in; everything is checked first, and again it adds nothing."""
    if not file.is_file():
        raise FileProblem("there is no such file", fix="give a JSON file", file=file)
    if file.stat().st_size > LARGEST:
        raise TooLarge(f"the file has more than {_face.size(LARGEST)}", fix="split it", file=file)
    with _opened(db, tenant, models, master_key, encoder) as engine:
        told = engine.import_memories(person, file.read_bytes(), form, confirm=confirm)  # type: ignore[arg-type]  # checked there
    _told(told, as_json)


@app.command()
def export(
    person: Person,
    form: Annotated[str, typer.Option("--form", help="mem0 or chatgpt.")] = "mem0",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File. Default: standard output.", show_default=False)] = None,
    encoder: Encoder = None,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Everything that is remembered, history too, in another system's form."""
    if out is not None and out.exists():
        raise ConfigError("this file is there already", fix="name another with --out", file=out)
    with _opened(db, tenant, models, master_key, encoder) as engine:
        text = engine.export_memories(person, form)
    if out is None and as_json:
        _face.emit({"person": person, "form": form, "data": json.loads(text)})
        return
    if out is None:
        sys.stdout.write(text + "\n")
        return
    _face.write(out, text + "\n")
    if as_json:
        _face.emit({"person": person, "form": form, "out": str(out), "bytes": out.stat().st_size})
    else:
        _face.stdout().print(f"what is remembered of {person}: {out}", markup=False, highlight=False)


def _opened(db: str | None, tenant: str, models: Path | None, master_key: Path | None, encoder: str | None) -> Engine:
    return _store.open_engine(db, tenant, models, master_key, memory_encoder=encoder)


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read(LARGEST).decode()
    except UnicodeDecodeError as cause:
        raise FileProblem("standard input is not UTF-8 text", fix="convert it first", byte=cause.start) from cause


def _told(told: Any, as_json: bool) -> None:
    if as_json:
        _face.emit({name: [dataclasses.asdict(one) for one in getattr(told, name)] for name in ("added", "known", "replaced", "waiting")})
        return
    out = _face.stdout()
    for name, mark in (("added", "+"), ("known", "="), ("replaced", "-")):
        for one in getattr(told, name):
            waits = "" if one.confirmed else "   (waits for confirmation)"
            out.print(f"{mark} {one.text}   {one.id}{waits}", markup=False, highlight=False, soft_wrap=True)
    if not (told.added or told.known):
        _face.say("nothing in it is a statement of hers")


def _shown(person: str, found: list[Memory], as_json: bool) -> None:
    if as_json:
        _face.emit({"person": person, "memories": [dataclasses.asdict(one) for one in found]})
        return
    if not found:
        _face.say(f"nothing is remembered of {person}")
        return
    rows = [[one.id, when(one.time), one.kind, _state(one), one.text, one.source] for one in found]
    _face.stdout().print(_face.table(None, ["memory", "said", "kind", "", "text", "source"], rows, left=6))


def _state(one: Memory) -> str:
    if one.valid_to is not None:
        return f"until {when(one.valid_to)}"
    return ("likes" if one.polarity > 0 else "dislikes" if one.polarity < 0 else "") if one.confirmed else "waits"
