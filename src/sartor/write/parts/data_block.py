"""What people wrote, shown to a model as data: quoted line by line between two marks that nothing inside can spell.

Delimiting is spotlighting (Hines et al., Defending Against Indirect Prompt Injection Attacks With Spotlighting, 2024): it tells the model where
data begins and ends. Quoting sees to it that data cannot pretend to end.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable

# Marks of chat formats that are not made of angle brackets, which go anyway.
_BRACKETED = re.compile(r"\[(\s*/?\s*(?:INST|SYS|SYSTEM|USER|ASSISTANT|TOOL\w*)\s*)\]", re.IGNORECASE)
_KEPT_CONTROLS = "\n\t"


def plain(text: str) -> str:
    """A text without what cannot be seen: control, format and private characters (also the tag characters that spell hidden text), and without
    lone surrogates. Joiners inside words of scripts that need them stay."""
    if text.isprintable():
        return text
    out = []
    for at, letter in enumerate(text):
        kind = unicodedata.category(letter)
        if kind in ("Cc", "Cf", "Co", "Cn", "Cs") and letter not in _KEPT_CONTROLS and not _joins(text, at):
            continue
        out.append(letter)
    return "".join(out)


def _joins(text: str, at: int) -> bool:
    """Whether this is a (non-)joiner between two letters or symbols that are not Latin, where it means something."""
    if text[at] not in "\u200c\u200d" or not 0 < at < len(text) - 1:
        return False
    return all(text[near] > "\u02ff" for near in (at - 1, at + 1))


def quoted(text: str) -> str:
    """One line, a JSON string, in which no mark of any chat format can be spelled: angle brackets become single guillemets."""
    text = _BRACKETED.sub(r"(\1)", plain(text)).replace("<", "\u2039").replace(">", "\u203a")
    return json.dumps(text, ensure_ascii=False)


def block(name: str, lines: Iterable[str]) -> str:
    """Quoted lines between <name> and </name>."""
    return "\n".join((f"<{name}>", *lines, f"</{name}>"))
