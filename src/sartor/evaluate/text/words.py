"""Texts as words, for metrics that count them."""

from __future__ import annotations

import re
from collections.abc import Callable

STOP_WORDS = frozenset(
    """
    a about after again all also am an and any are as at be because been before but by can could did do does for from had has have he her here hers
    him his how i if in into is it its just me more most my no not of off on once only or other our out over own same she should so some such than
    that the their them then there these they this those through to too under until up very was we were what when where which while who whom why
    will with would you your
    """.split()  # noqa: SIM905
)
"""English words that carry no content."""


def words(text: str) -> list[str]:
    """Lower-case words, marks left out."""
    return re.findall(r"\w+", text.lower())


def content_words(text: str, *, stop_words: frozenset[str] = STOP_WORDS, lemma: Callable[[str], str] | None = None) -> list[str]:
    """Words without stop words, each as `lemma` has it (such as a lemmatiser of the text's language; default as it stands)."""
    kept = [word for word in words(text) if word not in stop_words]
    return kept if lemma is None else [lemma(word) for word in kept]
