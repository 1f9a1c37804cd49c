"""What is remembered of a person, as plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sartor.errors import BadValue, TooLarge

Kind = Literal["fact", "preference", "summary", "message"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LONGEST = 8_000
"""Characters of one memory: it is a statement, not a document."""


@dataclass(frozen=True, slots=True)
class Memory:
    """One thing that is remembered. A change makes another one with the same id; the older ones are its history."""

    id: str
    text: str
    """A sentence that stands for itself."""
    time: float = 0.0
    """When it was said, in seconds since 1970 UTC."""
    kind: Kind = "fact"
    """message: somebody's words as they were, nothing having been understood."""
    polarity: float = 0.0
    """-1 dislikes .. +1 likes, 0 neither."""
    source: str = ""
    """Who said it where: `api:<key>`, `python`, `mem0`, ..."""
    subject: str | None = None
    """What it is about: the liked or disliked thing, or the slot of a fact (home, name, dog); of two about the same the newer one wins."""
    value: str | None = None
    """What fills the slot of a fact."""
    valid_from: float | None = None
    valid_to: float | None = None
    """Since when something newer holds; such memories are history and are never recalled."""
    confirmed: bool = True
    """Others wait until the person confirms them, and are never recalled before."""
    recalled_from: tuple[str, ...] = ()
    """Memories that were in front of the speaker when this was said; what merely repeats one of them is not kept."""
    made_from: tuple[str, ...] = ()
    """Memories that a summary was made from."""
    version: int = 1
    change: str = "added"
    """What made this version: added, edited, confirmed, replaced."""

    def holds(self, now: float) -> bool:
        """Whether it may be used: confirmed, and neither over nor yet to come."""
        return self.confirmed and (self.valid_to is None or self.valid_to > now) and (self.valid_from is None or self.valid_from <= now)


def checked_text(text: object, what: str = "memory") -> str:
    """A text that can be stored, without white space around; raises `BadValue`, `TooLarge`."""
    if not isinstance(text, str):
        raise BadValue(f"the {what} is a {type(text).__name__}", fix="give text")
    text = text.strip()
    if not text or "\0" in text:
        raise BadValue(f"the {what} is empty or holds a zero byte", fix="give a sentence")
    try:
        text.encode()
    except UnicodeEncodeError as cause:
        raise BadValue(f"the {what} is not valid Unicode", fix="give text without lone surrogates") from cause
    if len(text) > LONGEST:
        raise TooLarge(f"the {what} has {len(text):,} characters, at most {LONGEST:,} are kept", fix="keep what it says in a sentence or two")
    return text


def checked_polarity(value: object) -> float:
    """A sign from -1 to 1; raises `BadValue`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not -1 <= value <= 1:
        raise BadValue("the polarity is not a number from -1 to 1", fix="give -1 for dislikes, 1 for likes, 0 for neither")
    return float(value)


def count_tokens(text: str) -> int:
    """About how many tokens a language model makes of a text: four characters of Latin script each, one of others (Chinese, Thai, ...)."""
    latin = sum(letter < "\u0500" for letter in text)
    return max(1, -(-latin // 4) + len(text) - latin)


def within(memories: Iterable[Memory], budget: int, count: Callable[[str], int] = count_tokens) -> list[Memory]:
    """The first ones that fit into so many tokens; one that does not fit is left out, and shorter ones after it may still come."""
    out: list[Memory] = []
    for one in memories:
        need = count(one.text)
        if need <= budget:
            out.append(one)
            budget -= need
    return out


def live(memories: Sequence[Memory], now: float) -> list[Memory]:
    """Those that may be used."""
    return [one for one in memories if one.holds(now)]
