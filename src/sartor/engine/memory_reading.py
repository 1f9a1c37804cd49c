"""From what somebody writes to memories that may be kept: which words are read, what waits for confirmation, how a message is named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sartor.engine.records import seconds
from sartor.errors import BadValue, ConfigError, WrongType
from sartor.write.memory import Extractor, Found, Memory, RuleExtractor, masked
from sartor.write.memory.extraction import stated_polarity
from sartor.write.memory.records import KINDS, Kind, checked_text

Confirm = Literal["never", "inferred", "always"]
CONFIRM: tuple[Confirm, ...] = ("never", "inferred", "always")
"""Which extracted memories wait for the person's word: none; those that she did not say plainly herself; all of them."""
MOST = 500
"""Messages of one call, or memories of one transaction."""


def from_messages(
    what: Sequence[str | Mapping[str, Any]], kind: Kind | None, id: str | None, said: float, words: Sequence[str], recalled: tuple[str, ...],
    confirm: Confirm, extractor: Extractor, source: str,
) -> list[tuple[Memory, bool]]:  # fmt: skip
    """New memories in messages, and whether each says that something is over."""
    if isinstance(what, Mapping) or not isinstance(what, Sequence):
        raise WrongType(f"what is a {type(what).__name__}", fix="give a sentence, or a list of messages")
    if len(what) > MOST:
        raise BadValue(f"there are {len(what)} messages, at most {MOST} are read at once", fix="give them in several calls")
    out: list[tuple[Memory, bool]] = []
    for number, one in enumerate(what):
        message = one if isinstance(one, Mapping) else {"role": "user", "content": one}
        text = message.get("content")
        if message.get("role", "user") != "user" or text is None:
            continue  # what others say is no evidence of her
        try:
            text = _message_text(text)
            when = said if message.get("time") is None else seconds(message["time"]) or 0.0
            name = str(message.get("id") or (f"{id}.{number}" if id else _digest(text, when)))
            checked_id(name)
        except (BadValue, WrongType) as wrong:
            raise type(wrong)(wrong.what, fix=wrong.fix, message=number) from None
        if not text.strip():
            continue
        if kind == "message":
            sign = stated_polarity(text)
            out.append((Memory(name, checked_text(text, "message"), when, "message", sign, source, recalled_from=recalled), False))
            continue
        found = extractor.extract(masked(text, words))
        out += [made(statement, f"{name}.{place}", when, source, recalled, confirm, extractor) for place, statement in enumerate(found)]
    return out


def made(
    found: Found, ident: str, when: float, source: str, recalled: tuple[str, ...], confirm: Confirm, extractor: Extractor
) -> tuple[Memory, bool]:
    plain = found.certain and not extractor.inferred
    memory = Memory(
        ident, found.text, when, found.kind, found.polarity, source, found.subject, found.value, valid_from=when, recalled_from=recalled,
        confirmed=confirm == "never" or (confirm == "inferred" and plain),
    )  # fmt: skip
    return memory, found.ended


def stated(text: str, kind: Kind | None, ident: str, when: float, source: str, recalled: tuple[str, ...]) -> tuple[Memory, bool]:
    """A sentence that is kept as it is: its sign and what it is about are looked up, its words stay."""
    found = RuleExtractor().extract(text) if kind != "message" else []
    # Several statements in one text are about no single thing.
    one = found[0] if len(found) == 1 else Found(text, "fact")
    memory = Memory(ident, text, when, kind or one.kind, one.polarity, source, one.subject, one.value, valid_from=when, recalled_from=recalled)
    return memory, one.ended


def _message_text(content: Any) -> str:
    """The words of a message: a text, or the text parts of a list."""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text")
        content = "\n".join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str):
        raise WrongType(f"the content is a {type(content).__name__}", fix="give text")
    try:
        content.encode()
    except UnicodeEncodeError as cause:
        raise BadValue("the content is not valid Unicode", fix="give text without lone surrogates") from cause
    return content.replace("\0", " ")


def checked_kind(kind: Any) -> None:
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}", fix=f"use one of {', '.join(KINDS)}")


def checked_id(ident: Any) -> None:
    if not isinstance(ident, str) or not 0 < len(ident) <= 300 or not ident.isprintable():
        raise BadValue("the id is not a short text", fix="give 1 to 300 printable characters")


def _digest(text: str, when: float) -> str:
    """An id for a message that has none: the same words at the same second are the same message."""
    return hashlib.blake2b(f"{int(when)}\0{text}".encode(), digest_size=12).hexdigest()
