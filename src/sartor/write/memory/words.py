"""Words as memories are compared by: without endings and without those that every sentence has."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+(?:'\w+)?")
_COMMON = """
a an the and or but if of in on at by for with about to from up as is are was were be been being am do does did have has had
having i me my mine we our us you your he him his she her it its they them their this that these those what which who whom when
where why how will would can could should shall may might must not no so than too very just also there here then some any all i'm
i've i'd i'll it's that's don't let let's get got really
"""
COMMON = frozenset(_COMMON.split())


def plain(text: str) -> str:
    """A text as it is compared for equality: compatibility form, lower case, words only."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).replace("’", "'").casefold()))


def stem(word: str) -> str:
    """A word without an English plural, -ing or -ed: "studies", "studied" and "studying" become "study"."""
    if len(word) > 4 and word.endswith(("ies", "ied")):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-2] if word.endswith(("sses", "shes", "ches", "xes")) else word[:-1]
    for ending in ("ing", "ed"):
        root = word.removesuffix(ending)
        if root != word and len(root) >= 3 and re.search("[aeiouy]", root):
            word = root[:-1] if len(root) > 3 and root[-1] == root[-2] and root[-1] not in "lsz" else root
            break
    return word.removesuffix("e") if len(word) > 4 else word


def terms(text: str) -> list[str]:
    """The stems of a text's own words, in order; all its words when it has none but common ones."""
    words = [word.removesuffix("'s") for word in plain(text).split()]
    return [stem(word) for word in words if word not in COMMON] or [stem(word) for word in words]
