"""Titles and descriptions of items, written from their attributes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from sartor.data.world.vocabulary import BRANDS, COLOURS, FIRST_NAMES, KINDS, MEDIA, MOODS, PLACES, Kind, Mood

_ABOUT = {
    "Films": "{a_mood} {sub} {singular} about {one} and {two}, set in {place}.",
    "Books": "{a_mood} {sub} {singular} about {one} and {two}, written in {place}.",
    "Music": "{a_mood} {sub} {singular} around {one} and {two}, recorded in {place}.",
    "Games": "{a_mood} {sub} {singular} of {one} and {two}, designed in {place}.",
}
_GOODS = "{a_mood} {sub} {singular} in {colour}, made in {place}, with {one} and {two}."
_BLENDED = "There is something {other} about it too."


@dataclass(frozen=True)
class Names:
    """What items are called and how they are described."""

    titles: list[str]
    texts: list[str]


def describe(
    rng: np.random.Generator,
    kind: np.ndarray,
    mood: np.ndarray,
    second_mood: np.ndarray,
    sub: np.ndarray,
    brand: np.ndarray,
    colour: np.ndarray,
    origin: np.ndarray,
) -> Names:
    """Titles (all different) and descriptions of items with these attributes."""
    dice = rng.integers(0, 2**31, (kind.size, 8)).tolist()
    titles, texts = [], []
    seen: Counter[str] = Counter()
    columns = (array.tolist() for array in (kind, mood, second_mood, sub, brand, colour, origin))
    for (k, m, other, s, b, c, o), d in zip(zip(*columns, strict=True), dice, strict=True):
        what, how, place = KINDS[k], MOODS[m], PLACES[o]
        media = what.department in MEDIA
        title = _media_title(what, how, place, d) if media else _goods_title(what, how, what.subs[s], BRANDS[b], COLOURS[c], d)
        seen[title] += 1
        if seen[title] > 1:
            title = f"{title} {seen[title]}" if media else f"{title}, no. {seen[title]}"
        titles.append(title)
        words = how.media if media else how.goods
        first = d[4] % len(what.nouns)
        one, two = what.nouns[first], what.nouns[(first + 1 + d[5] % (len(what.nouns) - 1)) % len(what.nouns)]
        if media:
            one, two = (a(one), a(two)) if what.department in ("Films", "Books") else (f"the {one}", f"the {two}")
        pattern = _ABOUT.get(what.department, _GOODS)
        sentence = pattern.format(
            a_mood=a(words[d[6] % len(words)]).capitalize(), sub=what.subs[s], singular=what.singular, one=one, two=two,
            place=place, colour=COLOURS[c],
        )  # fmt: skip
        parts = [sentence, how.line]
        if other != m:
            parts.append(_BLENDED.format(other=(MOODS[other].media if media else MOODS[other].goods)[0]))
        texts.append(" ".join(parts))
    return Names(titles, texts)


def a(words: str) -> str:
    """With "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _media_title(what: Kind, how: Mood, place: str, d: list[int]) -> str:
    noun, feeling, name = what.nouns[d[1] % len(what.nouns)], how.nouns[d[2] % len(how.nouns)], FIRST_NAMES[d[3] % len(FIRST_NAMES)]
    adjective = how.media[d[2] % len(how.media)]
    patterns = (
        f"The {adjective.title()} {noun.title()}",
        f"{noun.title()} in {place}",
        f"The {noun.title()} of {feeling.title()}",
        f"{feeling.title()} and {noun.title()}",
        f"{name}'s {noun.title()}",
        f"{a(noun).title()} for {name}",
        f"{feeling.title()} over {place}",
    )
    return patterns[d[0] % len(patterns)]


def _goods_title(what: Kind, how: Mood, sub: str, brand: str, colour: str, d: list[int]) -> str:
    singular = what.singular
    patterns = (
        f"{brand} {how.nouns[d[1] % len(how.nouns)].title()} {sub} {singular}, {colour}",
        f"{brand} {how.goods[d[2] % len(how.goods)]} {sub} {singular}, {colour}",
        f"{how.nouns[d[1] % len(how.nouns)].title()} {sub} {singular} by {brand}, {colour}",
    )
    return patterns[d[0] % len(patterns)]
