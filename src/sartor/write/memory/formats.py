"""Memories in and out in the forms of others: mem0's list of memories, and the conversations of a ChatGPT export.

mem0: what `get_all` and the platform's export give: a list, or {"results": [...]}, of {"id", "memory", "created_at", "updated_at",
"metadata", "categories", "user_id", ...}.

ChatGPT: `conversations.json` of a data export: a list of conversations, each with a `mapping` of messages. A saved memory is a message of the
assistant with the recipient "bio"; what the person wrote herself comes as messages, to be read by an extractor.

Raises `BadValue`, `WrongType`, `MissingColumn` that name record and field; nothing is given back then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sartor.data.schema import LATEST_TIME
from sartor.errors import BadValue, MissingColumn, SartorError, TooLarge, UnknownFormat, WrongType
from sartor.write.memory.records import LONGEST, Memory, checked_text

FORMATS = ("mem0", "chatgpt")
ABOUT = 500
"""Characters of a subject or a value."""


@dataclass(frozen=True)
class Message:
    """Something the person wrote."""

    id: str
    text: str
    time: float


@dataclass(frozen=True)
class Import:
    """What a file holds."""

    memories: list[Memory]
    messages: list[Message]


def read(data: str | bytes | Any, form: str | None = None) -> Import:
    """Memories of a file's contents or of parsed JSON; `form` is "mem0" or "chatgpt", None looks."""
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as cause:
            raise BadValue("the file is not UTF-8 text", fix="export it again", byte=cause.start) from cause
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError) as cause:
            raise UnknownFormat("the file is not JSON", fix="give mem0's list of memories, or conversations.json of a ChatGPT export") from cause
    found = form or _looks_like(data)
    if found == "mem0":
        return Import(_mem0(data), [])
    if found == "chatgpt":
        return _chatgpt(data)
    raise UnknownFormat(f"'{found}' is no format of memories", fix=f"use one of {', '.join(FORMATS)}")


def write(memories: Sequence[Memory], form: str, *, person: str = "") -> Any:
    """Memories as plain data for JSON, in mem0's or ChatGPT's form; `read` takes them in again."""
    if form == "mem0":
        return {"results": [_as_mem0(one, person) for one in memories]}
    if form == "chatgpt":
        return [_as_conversation(memories)] if memories else []
    raise UnknownFormat(f"'{form}' is no format of memories", fix=f"use one of {', '.join(FORMATS)}")


def _looks_like(data: Any) -> str:
    rows = data.get("results", data.get("memories")) if isinstance(data, dict) else data
    if isinstance(rows, list):
        if all(isinstance(one, dict) and "mapping" in one for one in rows) and rows:
            return "chatgpt"
        return "mem0"
    raise UnknownFormat("these are not memories that are known here", fix='give {"results": [{"memory": ...}]}, or a list of conversations')


# --- mem0


def _mem0(data: Any) -> list[Memory]:
    rows = data.get("results", data.get("memories")) if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise WrongType("there is no list of memories", fix='mem0 writes {"results": [...]}', field="results")
    out = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise WrongType("a memory is not an object", fix='mem0 writes {"id": ..., "memory": ...}', record=number)
        if "memory" not in row:
            raise MissingColumn("a memory has no text", fix="mem0 writes it as 'memory'", record=number, field="memory")
        text = _field(row, "memory", number, checked_text)
        ident = _field(row, "id", number, _ident) if row.get("id") is not None else _made_id("mem0", text)
        about = row.get("metadata") or {}
        if not isinstance(about, dict):
            raise WrongType("the metadata is not an object", fix="leave it away, or write an object", record=number, field="metadata")
        own = about.get("sartor") if isinstance(about.get("sartor"), dict) else {}
        said = next((_field(row, name, number, seconds) for name in ("updated_at", "created_at") if row.get(name) is not None), 0.0)
        over = _field(row, "expiration_date", number, seconds) if row.get("expiration_date") is not None else None
        out.append(_with_own(Memory(f"mem0:{ident}", text, said, source="mem0", valid_to=over), own, number))
    return out


def _as_mem0(one: Memory, person: str) -> dict[str, Any]:
    own = {
        "kind": one.kind, "polarity": one.polarity, "subject": one.subject, "value": one.value, "valid_from": one.valid_from,
        "valid_to": one.valid_to,
        "confirmed": one.confirmed, "source": one.source, "made_from": list(one.made_from),
    }  # fmt: skip
    when = datetime.fromtimestamp(one.time, UTC).isoformat()
    row = {"id": one.id.removeprefix("mem0:"), "memory": one.text, "hash": hashlib.md5(one.text.encode(), usedforsecurity=False).hexdigest()}
    return {**row, "created_at": when, "updated_at": when, "user_id": person, "metadata": {"sartor": own}}


def _with_own(memory: Memory, own: Any, number: int) -> Memory:
    """What our own export said beside the text; ignored where it is of another shape, since it is somebody else's file."""
    from dataclasses import replace

    from sartor.write.memory.records import KINDS

    def text(name: str) -> str | None:
        value = own.get(name)
        if not isinstance(value, str) or not value.strip():
            return None
        if len(value) > ABOUT:
            raise TooLarge(f"it has more than {ABOUT} characters", fix="shorten it", record=number, field=f"metadata.sartor.{name}")
        checked: str = _field(own, name, number, checked_text)
        return checked

    def number_of(name: str) -> float | None:
        value = own.get(name)
        plain = isinstance(value, int | float) and not isinstance(value, bool) and -1 <= value <= LATEST_TIME
        return float(value) if plain and value is not None else None

    if not own:
        return memory
    polarity = number_of("polarity") or 0.0
    return replace(
        memory, kind=own["kind"] if own.get("kind") in KINDS else memory.kind, polarity=max(-1.0, min(1.0, polarity)), subject=text("subject"),
        value=text("value"), valid_from=number_of("valid_from"), valid_to=number_of("valid_to") or memory.valid_to,
        confirmed=own.get("confirmed") is not False,
    )  # fmt: skip


# --- ChatGPT


def _chatgpt(data: Any) -> Import:
    if not isinstance(data, list):
        raise WrongType("there is no list of conversations", fix="give conversations.json of the export")
    memories, messages = [], []
    for number, talk in enumerate(data, 1):
        mapping = talk.get("mapping") if isinstance(talk, dict) else None
        if not isinstance(mapping, dict):
            raise MissingColumn("a conversation has no messages", fix="ChatGPT writes them as 'mapping'", record=number, field="mapping")
        started = _field(talk, "create_time", number, seconds) if talk.get("create_time") is not None else 0.0
        for name, node in mapping.items():
            said = node.get("message") if isinstance(node, dict) else None
            if said is None:
                continue  # the root of the tree
            one = _said(said, f"{number}.{name}", started)
            if one is None:
                continue
            message, is_memory = one
            if is_memory:
                memories.append(Memory(f"chatgpt:{message.id}", message.text, message.time, source="chatgpt", confirmed=False))
            else:
                messages.append(message)
    return Import(memories, messages)


def _said(said: Any, record: str, started: float) -> tuple[Message, bool] | None:
    """A message of the person, or a saved memory; None for everything else."""
    if not isinstance(said, dict):
        raise WrongType("a message is not an object", fix="export it again", record=record, field="message")
    author, content = said.get("author"), said.get("content")
    if not isinstance(author, dict) or not isinstance(author.get("role"), str):
        raise MissingColumn("a message has no author", fix="ChatGPT writes author.role", record=record, field="author")
    memory = author["role"] == "assistant" and said.get("recipient") == "bio"
    if author["role"] != "user" and not memory:
        return None
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list):
        return None  # images, code and files have no words of hers
    text = "\n".join(part for part in parts if isinstance(part, str)).replace("\0", " ").strip()
    if not text:
        return None
    try:
        text.encode()
    except UnicodeEncodeError as cause:
        raise BadValue("a message is not valid Unicode", fix="export it again", record=record, field="content") from cause
    when = _field(said, "create_time", record, seconds) if said.get("create_time") is not None else started
    if memory:
        text = checked_text(text[:LONGEST])
    ident = _field(said, "id", record, _ident) if said.get("id") else record[:200]
    return Message(ident, text, when), memory


def _as_conversation(memories: Iterable[Memory]) -> dict[str, Any]:
    mapping: dict[str, Any] = {"root": {"id": "root", "message": None, "parent": None, "children": []}}
    last, times = "root", []
    for one in memories:
        ident = one.id.removeprefix("chatgpt:")
        message = {
            "id": ident, "author": {"role": "assistant", "name": None, "metadata": {}}, "create_time": one.time, "update_time": None,
            "content": {"content_type": "text", "parts": [one.text]}, "status": "finished_successfully", "recipient": "bio", "metadata": {},
        }  # fmt: skip
        mapping[ident] = {"id": ident, "message": message, "parent": last, "children": []}
        mapping[last]["children"].append(ident)
        last = ident
        times.append(one.time)
    return {
        "title": "Memories",
        "create_time": min(times),
        "update_time": max(times),
        "mapping": mapping,
        "current_node": last,
        "conversation_id": "memories",
    }


# --- fields


def seconds(value: Any) -> float:
    """Seconds since 1970 UTC of a number or an ISO 8601 text; raises `BadValue`, `WrongType`."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as cause:
            raise BadValue("the time is not ISO 8601", fix="write 2026-05-01T12:00:00Z") from cause
        value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongType(f"the time is a {type(value).__name__}", fix="write seconds since 1970, or ISO 8601")
    # Compared as it is: a whole number of hundreds of digits is no float.
    if not 0 <= value <= LATEST_TIME:
        raise BadValue("the time is before 1970 or after 2100", fix="times are seconds since 1970 UTC; are these milliseconds?")
    return float(value)


def _ident(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise BadValue("the id is not a short text", fix="give at most 200 printable characters")
    return value


def _made_id(source: str, text: str) -> str:
    return hashlib.blake2b(f"{source}\0{text}".encode(), digest_size=12).hexdigest()


def _field(row: dict[str, Any], name: str, record: Any, check: Any) -> Any:
    try:
        return check(row[name])
    except SartorError as wrong:
        raise type(wrong)(wrong.what, fix=wrong.fix, record=record, field=name) from None
