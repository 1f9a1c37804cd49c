"""Names in a text: a dictionary of things and what they are called, matched word by word, the longest name first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

from sartor.errors import BadValue, ConfigError

_WORD = re.compile(r"[\w\u0300-\u036f]+[+#]*")
"""C, C++ and C# are different words; an accent may be a character of its own."""


class Mention(NamedTuple):
    """Where a text names a thing."""

    key: Any
    start: int
    """Of characters of the text."""
    stop: int


class Mentions:
    """Finds skills in advertisements, entities on pages, ...: whatever has names.

    Case, punctuation and Unicode's compatibility forms do not matter; parts of words do not match. Names that overlap: the first and
    longest counts.

    Parameters
    ----------
    names: thing -> its names, one or several. A name of two things stands for the one that was given first.

    Raises `BadValue` for a name without a letter or digit.
    """

    def __init__(self, names: Mapping[Any, str | Iterable[str]]) -> None:
        self._names: dict[str, list[tuple[tuple[str, ...], Hashable]]] = {}
        known: set[tuple[str, ...]] = set()
        for key, given in names.items():
            for name in [given] if isinstance(given, str) else given:
                words = tuple(_folded(found[0]) for found in _WORD.finditer(name))
                if not words:
                    raise BadValue(f"the name {name!r} has no letter and no digit", fix="leave it out", id=repr(key))
                if words not in known:
                    known.add(words)
                    self._names.setdefault(words[0], []).append((words, key))
        if not known:
            raise ConfigError("there is no name", fix="give at least one thing and its name")
        for own in self._names.values():
            own.sort(key=lambda one: -len(one[0]))

    def find(self, text: str) -> list[Mention]:
        """Every mention, in the order of the text."""
        found = list(_WORD.finditer(text))
        words = [_folded(one[0]) for one in found]
        out, at = [], 0
        while at < len(words):
            for name, key in self._names.get(words[at], ()):
                if tuple(words[at : at + len(name)]) == name:
                    out.append(Mention(key, found[at].start(), found[at + len(name) - 1].end()))
                    at += len(name)
                    break
            else:
                at += 1
        return out

    def keys(self, text: str) -> list[Any]:
        """The things that a text names, each once, in order."""
        return list(dict.fromkeys(one.key for one in self.find(text)))


def _folded(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold()
