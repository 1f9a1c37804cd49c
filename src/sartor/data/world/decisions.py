"""People who decide by a few attributes of what is described to them, in texts that are mostly about something else.

world = Decisions(people=100, seed=0)
world.texts()               person, time, kind "decision", prompt (the description), text (yes or no)
world.rules[3]              the three attributes that person 3 decides by, and which way each must be
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from sartor.errors import ConfigError

ATTRIBUTES = (
    ("solid wood", "made of solid wood", "solid wood frame"),
    ("free returns", "with free returns", "free returns included"),
    ("quiet motor", "a quiet motor", "quiet motor inside"),
    ("blue finish", "in blue finish", "blue finish outside"),
    ("night delivery", "night delivery possible", "by night delivery"),
    ("round corners", "with round corners", "round corners everywhere"),
    ("spare battery", "a spare battery", "spare battery in the box"),
    ("local maker", "from a local maker", "local maker nearby"),
    ("metal handle", "a metal handle", "metal handle on top"),
    ("video manual", "with video manual", "video manual online"),
    ("lifetime warranty", "lifetime warranty", "has lifetime warranty"),
    ("scented coating", "scented coating", "with scented coating"),
)
"""Three ways to say each."""
_SYLLABLES = ("ba", "ko", "mi", "ru", "te", "lo", "sa", "ni", "du", "pe", "fa", "zu")
YES, NO = "yes", "no"


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """People, descriptions and decisions.

    A description names those of twelve attributes that hold, each in one of three ways, among words that have nothing to do with it. A person
    says yes when at least two of her three conditions hold (an attribute is there, or is not): each matters on its own, and all interact.
    """

    people: int
    items: int = 120
    """Descriptions that each person decides on."""
    words: int = 40
    """Distracting words in each."""
    wrong: float = 0.0
    """Share of decisions that go the other way."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.people < 1 or self.items < 1 or self.words < 0 or not 0 <= self.wrong <= 1:
            raise ConfigError(f"{self.people} people, {self.items} items, {self.words} words, wrong {self.wrong}", fix="give at least one of each")

    @cached_property
    def rules(self) -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
        """Of each person: three attributes, and whether each has to be there."""
        rng = np.random.default_rng([self.seed, 61])
        return [
            (tuple(rng.permutation(len(ATTRIBUTES))[:3].tolist()), tuple((rng.random(3) < 0.5).tolist())) for _ in range(self.people)
        ]  # fmt: skip

    @cached_property
    def attributes(self) -> np.ndarray:
        """bool [people, items, 12]."""
        return np.random.default_rng([self.seed, 67]).random((self.people, self.items, len(ATTRIBUTES))) < 0.5

    @cached_property
    def answers(self) -> np.ndarray:
        """bool [people, items], yes."""
        flips = np.random.default_rng([self.seed, 71]).random((self.people, self.items)) < self.wrong
        held = np.stack([(self.attributes[who][:, list(at)] == signs).sum(axis=1) >= 2 for who, (at, signs) in enumerate(self.rules)])
        return np.asarray(held ^ flips)

    def texts(self) -> pl.DataFrame:
        """One row per decision, oldest first for each person."""
        rng = np.random.default_rng([self.seed, 73])
        vocabulary = [a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in ("n", "r", "s")]
        prompts = []
        for held in self.attributes.reshape(-1, len(ATTRIBUTES)):
            said = [ATTRIBUTES[at][rng.integers(3)] for at in np.flatnonzero(held)]
            # Distracting words come from one of a few subjects, so that texts look alike by them.
            subject = int(rng.integers(12)) * 36
            parts = [*said, *(vocabulary[subject + at] for at in rng.integers(36, size=self.words))]
            prompts.append(", ".join(parts[at] for at in rng.permutation(len(parts))))
        who = np.repeat(np.arange(self.people), self.items)
        return pl.DataFrame(
            {
                "person": who, "time": 1_700_000_000 + np.tile(np.arange(self.items), self.people) * 3_600, "kind": ["decision"] * who.size,
                "prompt": prompts, "text": [YES if one else NO for one in self.answers.ravel()],
            }
        )  # fmt: skip


def tag(prompt: str, answer: str | None = None, *, noise: float = 0.1, seed: int = 0) -> list[dict[str, str | int]]:
    """Phrases of a description that may matter, each with the direction in which it speaks given an answer (0 without one).

    Knows how attributes are said, and no person's rule. With `noise` a phrase is missed, has the wrong direction, or is one of the words
    that have nothing to do with it, each that often. The same text gives the same tags.
    """
    rng = np.random.default_rng([seed, int.from_bytes(hashlib.blake2b(prompt.encode(), digest_size=8).digest())])
    direction = 0 if answer is None else 1 if answer == YES else -1
    out: list[dict[str, str | int]] = []
    known = {way for ways in ATTRIBUTES for way in ways}
    for part in prompt.split(", "):
        missed, flipped = rng.random(2) < noise
        # A wrong tag is as rare beside all the words as a missed one beside the attributes.
        if (part in known and not missed) or (part not in known and missed and rng.random() < 0.1):
            out.append({"phrase": part, "sign": -direction if flipped else direction})
    return out
