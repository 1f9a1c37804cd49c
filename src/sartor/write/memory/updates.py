"""What a new memory means for those that are there: a repetition, a correction, or something new.

Of two statements about the same thing the one said later holds; the other stays, as history, with the time until which it held. Nothing
is decided by likeness of vectors alone: "I have two cats" and "I have three cats" lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sartor.write.memory.records import Memory
from sartor.write.memory.words import plain, terms

NEAR = 0.92
"""Cosine from which two memories may say the same; their words must agree, too."""
SHARED = 0.6
"""Share of their different words that two near memories must have in common (Jaccard)."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DENIALS = _words("not no never without isn't aren't don't doesn't didn't can't cannot longer dislike hate avoid")


@dataclass(frozen=True)
class Settled:
    """What becomes of a new memory."""

    memory: Memory | None
    """As it is to be kept (it may be history from the start, when something newer is known); None: it is known already."""
    known: Memory | None = None
    """The one that says it already."""
    over: tuple[Memory, ...] = ()
    """Memories that no longer hold, as they are to be kept."""


def settle(
    new: Memory, there: Sequence[Memory], *, ended: bool = False, vector: np.ndarray | None = None, vectors: np.ndarray | None = None
) -> Settled:
    """Compare a new memory with those that hold now.

    Parameters
    ----------
    there: current memories of the same person; history is not looked at.
    ended: the new one says that something is over ("I no longer live in Rome").
    vector, vectors: unit vectors, [dim] and [len(there), dim]: near repetitions are found only with them.
    """
    holding = [(at, one) for at, one in enumerate(there) if one.valid_to is None and one.id != new.id]
    same_text = plain(new.text)
    for _, one in holding:
        if plain(one.text) == same_text:
            return Settled(None, one)
    rivals = [one for _, one in holding if about_the_same(new, one)]
    if ended:
        gone = [one for one in rivals if _same_value(one, new) and since(one) <= since(new)]
        # It says nothing that is the case now, so it is kept as history.
        return Settled(replace(new, valid_to=since(new)), over=tuple(_until(one, since(new)) for one in gone))
    if repeated := next((one for one in rivals if _agree(new, one)), None):
        return Settled(None, repeated)
    if rivals:
        newer = [since(one) for one in rivals if since(one) > since(new)]
        if newer:
            return Settled(replace(new, valid_to=min(newer)))
        # An unconfirmed statement replaces nothing; it does so when it is confirmed.
        return Settled(new, over=tuple(_until(one, since(new)) for one in rivals) if new.confirmed else ())
    if vector is not None and vectors is not None and holding:
        rows = np.array([at for at, _ in holding])
        alike = vectors[rows] @ vector
        for place in np.flatnonzero(alike >= NEAR).tolist():
            if _says_the_same(new, holding[place][1]):
                return Settled(None, holding[place][1])
    return Settled(new)


def subject_key(memory: Memory) -> str | None:
    """What a memory is about, so that "spicy foods" and "spicy food" are one; None: nothing can contradict it."""
    if memory.subject is None:
        return None
    return " ".join(sorted(set(terms(memory.subject)))) or None


def since(memory: Memory) -> float:
    """From when a memory holds: when it was said, or when the person corrected or confirmed it."""
    return memory.time if memory.valid_from is None else memory.valid_from


def about_the_same(one: Memory, other: Memory) -> bool:
    """Whether only one of two memories can hold."""
    key = subject_key(one)
    if key is None or key != subject_key(other):
        return False
    # "I like Rome" does not contradict "my home is Rome"; two facts of one slot, or two feelings about one thing, may.
    return (one.value is None) == (other.value is None)


def _agree(one: Memory, other: Memory) -> bool:
    if one.value is not None:
        return _same_value(one, other) and one.polarity * other.polarity >= 0
    return one.kind == other.kind == "preference" and one.polarity * other.polarity > 0


def _same_value(one: Memory, other: Memory) -> bool:
    if one.value is None or other.value is None:
        return one.value is None and other.value is None
    mine, yours = set(terms(one.value)), set(terms(other.value))
    return mine <= yours or yours <= mine


def _says_the_same(new: Memory, old: Memory) -> bool:
    if new.kind != old.kind or new.polarity * old.polarity < 0 or (new.polarity == 0) != (old.polarity == 0):
        return False
    one, other = set(plain(new.text).split()), set(plain(old.text).split())
    if one & _DENIALS != other & _DENIALS or _numbers(one) != _numbers(other):
        return False
    mine, yours = set(terms(new.text)), set(terms(old.text))
    return len(mine & yours) >= SHARED * len(mine | yours)


_COUNTED = _words("one two three four five six seven eight nine ten eleven twelve first second third")


def _numbers(words: set[str]) -> set[str]:
    return {word for word in words if any(letter.isdigit() for letter in word)} | (words & _COUNTED)


def _until(one: Memory, when: float) -> Memory:
    return replace(one, valid_to=when, version=one.version + 1, change="replaced")
