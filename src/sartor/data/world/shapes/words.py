"""The closed language of the shapes world: some seventy words, captions with one exact meaning, and how to read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from sartor.errors import ConfigError

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.88, 0.10, 0.12), "green": (0.10, 0.78, 0.15), "blue": (0.12, 0.16, 0.95), "yellow": (0.98, 0.92, 0.10),
    "purple": (0.55, 0.08, 0.72), "cyan": (0.10, 0.88, 0.92), "orange": (1.00, 0.52, 0.05), "pink": (1.00, 0.50, 0.78),
}  # fmt: skip
"""RGB in [0, 1]."""
TEXTURES = ("plain", "striped", "barred", "checked", "dotted")
FIXED = ("square", "circle", "triangle", "cross", "diamond", "ring")
FAMILIES = ("critter", "badge", "flag")
"""Nouns whose individuals differ: each has a random pattern and two colours of its own."""
NOUNS = FIXED + FAMILIES
BACKGROUNDS = ("night", "snow", "sea", "grass", "sand", "brick")
SLOTS = ("top left", "top right", "bottom left", "bottom right", "center")
RELATIONS = ("left of", "right of", "above", "below")
COUNTS = ("a", "two", "three", "four")
PLURALS = {noun: "crosses" if noun == "cross" else f"{noun}s" for noun in NOUNS}
MOST = 4
"""Objects in a picture."""
CONCEPT = re.compile(r"<[^<>\s]+>")
"""A learned word in a prompt: `<mug>`."""

_FUNCTION = ("a", "an", "two", "three", "four", "with", "hat", "hats", "at", "on", "top", "bottom", "center", "left", "right", "of", "above", "below")
VOCABULARY = tuple(dict.fromkeys((*_FUNCTION, *COLOURS, *TEXTURES, *NOUNS, *PLURALS.values(), *BACKGROUNDS)))
"""Every word there is."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What prompts say, row by row; -1 where a prompt leaves something open."""

    count: np.ndarray
    """int8 [n], 1 to 4 objects; 0 where the prompt is empty and asks nothing."""
    background: np.ndarray
    """int8 [n], numbers in `BACKGROUNDS`."""
    position: np.ndarray
    """int8 [n], numbers in `SLOTS`, of a single object."""
    relation: np.ndarray
    """int8 [n], numbers in `RELATIONS`, of the first object to the second."""
    noun: np.ndarray
    """int8 [n, 2]: of the first object (all of them where they are equal), and of the second one of a relation."""
    colour: np.ndarray
    texture: np.ndarray
    hat: np.ndarray
    """int8 [n, 2], a number in `COLOURS`; -1: nothing is said of a hat."""

    def __len__(self) -> int:
        return int(self.count.size)

    def rows(self, rows: np.ndarray) -> Asked:
        """Some of the prompts."""
        return Asked(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def article(word: str) -> str:
    """a or an."""
    return "an" if word[0] in "aeiou" else "a"


def phrase(noun: str, colour: str = "", texture: str = "", hat: str = "", *, count: int = 1) -> str:
    """'a red striped circle with a blue hat', 'three yellow badges'."""
    words = [word for word in (colour, texture, noun if count == 1 else PLURALS.get(noun, noun)) if word]
    words = [article(words[0]) if count == 1 else COUNTS[count - 1], *words]
    if hat:
        words += ["with", article(hat), hat, "hat"] if count == 1 else ["with", hat, "hats"]
    return " ".join(words)


_HAT = rf"(?: with (?:(?:a|an) )?(?P<hat>{'|'.join(COLOURS)}) hats?)?"
_NAMES = "|".join((*PLURALS.values(), *NOUNS))
_OBJECT = rf"(?:(?P<count>an?|two|three|four) )?(?:(?P<colour>{'|'.join(COLOURS)}) )?(?:(?P<texture>{'|'.join(TEXTURES)}) )?(?P<noun>{_NAMES}){_HAT}"
_SECOND = re.sub(r"\?P<(\w+)>", r"?P<\1_>", _OBJECT)
_PLACE = rf"(?: at (?P<position>{'|'.join(SLOTS)}))?(?: on (?P<background>{'|'.join(BACKGROUNDS)}))?"
_PROMPT = re.compile(rf"^{_OBJECT}(?: (?P<relation>{'|'.join(RELATIONS)}) {_SECOND})?{_PLACE}$")
_SINGULAR = {plural: noun for noun, plural in PLURALS.items()}


def plain(prompt: str, concepts: Mapping[str, str] | None = None) -> str:
    """A prompt without its learned words: '<v> critter' is 'critter', and a `<v>` by itself is the class word that `concepts` gives."""

    def word(match: re.Match[str]) -> str:
        rest = prompt[match.end() :].split()
        if rest and (rest[0] in NOUNS or CONCEPT.fullmatch(rest[0])):
            return ""
        if concepts is None or match[0] not in concepts:
            raise ConfigError(f"'{prompt}' does not say what {match[0]} is", fix="write '<v> critter', or give the class word in `concepts`")
        return concepts[match[0]]

    return " ".join(CONCEPT.sub(word, prompt).split())


def parse(prompts: Sequence[str], concepts: Mapping[str, str] | None = None) -> Asked:
    """What prompts ask for; raises `ConfigError` where one is not of this language. `concepts` maps learned words to class words."""
    rows, colours = len(prompts), tuple(COLOURS)
    single = {name: np.full(rows, -1, np.int8) for name in ("count", "background", "position", "relation")}
    double = {name: np.full((rows, 2), -1, np.int8) for name in ("noun", "colour", "texture", "hat")}
    single["count"][:] = 0
    for row, prompt in enumerate(prompts):
        text = plain(prompt, concepts)
        if not text:
            continue
        match = _PROMPT.match(text)
        if match is None:
            strange = sorted({*text.split()} - {*VOCABULARY})
            what = f"'{prompt}' is not a caption of the shapes world" + (f": it has no word {', '.join(strange)}" if strange else "")
            raise ConfigError(what, fix="write e.g. 'a red striped circle with a blue hat at top left on brick'")
        said = match.groupdict()
        count = 1 if said["count"] in ("a", "an", None) else COUNTS.index(said["count"]) + 1
        single["count"][row] = 2 if said["relation"] else count
        for name, known in (("background", BACKGROUNDS), ("position", SLOTS), ("relation", RELATIONS)):
            single[name][row] = known.index(said[name]) if said[name] else -1
        for place, end in enumerate(("", "_")):
            if said[f"noun{end}"]:
                double["noun"][row, place] = NOUNS.index(_SINGULAR.get(said[f"noun{end}"], said[f"noun{end}"]))
            for name, all_ in (("colour", colours), ("texture", TEXTURES), ("hat", colours)):
                double[name][row, place] = all_.index(said[f"{name}{end}"]) if said[f"{name}{end}"] else -1
    return Asked(**single, **double)
