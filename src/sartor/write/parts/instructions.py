"""Whether a text reads like an order to a language model rather than like something a person says of herself.

A memory that does is kept out of prompts until a person has looked at it. This is a net with holes: it catches what is written in known ways, and
misses what is not (`docs/security.md` has the rates, and how often it holds back what is meant well). Delimiting is what must hold.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import threading
import unicodedata
from collections import OrderedDict
from functools import cache
from importlib import resources
from secrets import token_bytes

from sartor.write.parts.data_block import plain

_CODED = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_SPACED = re.compile(r"(?:\b\w[\s._*-]){3,}\w\b")
_SPACE = re.compile(r"\s+")
_DIGITS = str.maketrans("013457@$", "oieastas")
# Letters of other alphabets that look like Latin ones; compatibility forms are handled by NFKC.
_ALIKE = str.maketrans("\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458\u03bf\u03b1\u03b5\u03b9\u03c1\u03bd", "aeopcyxisjoaeipv")


@cache
def _rules() -> dict[str, re.Pattern[str]]:
    known = json.loads(resources.files(__package__).joinpath("instruction_rules.json").read_text("utf-8"))
    return {name: re.compile(rule, re.IGNORECASE | re.DOTALL) for name, rule in known.items()}


def reads_as_instruction(text: str) -> str | None:
    """Why a text reads like an order to a model, or None. Also looks at it without what cannot be seen, unspaced, unmasked and decoded."""
    # Runs of white space as one character: rules that allow for some would look at long ones again and again.
    whole = unicodedata.normalize("NFKC", plain(text))
    seen = _closed(whole)
    looks = [seen, seen.translate(_ALIKE), _closed(_unspaced(whole)), seen.lower().translate(_DIGITS), *map(_closed, _decoded(seen))]
    if plain(text) != text and _hidden(text):
        looks.append(_hidden(text))
    for look in dict.fromkeys(looks):
        for name, rule in _rules().items():
            if rule.search(look):
                return name
    return None


class Verdicts:
    """What `reads_as_instruction` said of texts, for who asks again and again; keeps keyed digests, never texts. Safe to share between threads.

    Parameters
    ----------
    most: texts of which it knows; the ones not asked for longest are given up.
    """

    def __init__(self, most: int = 100_000) -> None:
        self.most = most
        self._key = token_bytes(16)
        self._known: OrderedDict[bytes, str | None] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, text: str) -> str | None:
        """The same as `reads_as_instruction(text)`."""
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = reads_as_instruction(text)
        with self._lock:
            self._known[key] = found
            if len(self._known) > self.most:
                self._known.popitem(last=False)
        return found


def _closed(text: str) -> str:
    return _SPACE.sub(lambda run: "\n" if "\n" in run[0] else " ", text)


def _unspaced(text: str) -> str:
    """ "i g n o r e" as "ignore"."""
    return _SPACED.sub(lambda found: re.sub(r"[\s._*-]", "", found[0]), text)


def _decoded(text: str) -> list[str]:
    """What base64 in it says."""
    out = []
    for found in _CODED.findall(text):
        try:
            out.append(base64.b64decode(found + "=" * (-len(found) % 4), validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue
    return out


def _hidden(text: str) -> str:
    """What the invisible tag characters spell."""
    return "".join(chr(ord(letter) - 0xE0000) for letter in text if 0xE0020 <= ord(letter) <= 0xE007E)
