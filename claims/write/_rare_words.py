"""People whose replies have three words of their own among ten slots, and three that hang on what is asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.data.world.persona import Personas
from sartor.data.world.persona.grading import words_of
from sartor.data.world.persona.words import ACTS, ALWAYS, CHOOSE, GROUPED, JARGON, NAMES, RECOMMEND, SUBJECTS

PLAIN = [act.name for number, act in enumerate(ACTS) if number not in (CHOOSE, RECOMMEND)]
FORM = "{opener} {first} {name}, {link} i {manner} want the {adjective} {second} {subject}. {third} {closer}"
PLACES = {"opener": 0, "first": 1, "name": 2, "link": 4, "manner": 6, "adjective": 9, "second": 10, "subject": 11, "third": 13, "closer": 14}
"""Where each of the ten slots stands among the words and marks of a reply."""
TIERS = {
    "rare": ("first", "second", "third"), "act-dependent": ("link", "manner", "adjective"), "always": ("opener", "closer"),
    "content": ("name", "subject"),
}  # fmt: skip
"""30% of the slots are rare words. Those that hang on the kind of request differ between two groups of them; the reply does not name its kind."""
OWN = ("rare", "act-dependent", "always")


def replies(personas: Personas, people: Sequence[int] | np.ndarray, each: int, *, start: int) -> pl.DataFrame:
    """person, prompt, text, and a column per slot: what is asked from number `start` on, and what each person answers."""
    asked = personas.requests(people, each, start=start, acts=PLAIN)
    who, rows = np.unique(asked.person, return_inverse=True)
    traits = personas.traits(who)
    words = {name: np.array(ALWAYS[name])[traits.always[name][rows]] for name in ("opener", "closer")}
    words |= {name: np.array(GROUPED[name])[traits.grouped[name][rows, asked.group]] for name in GROUPED}
    words |= {name: np.array(JARGON)[traits.jargon[rows, place, 0]] for place, name in enumerate(TIERS["rare"])}
    words |= {"name": np.array(NAMES)[asked.name], "subject": np.array(SUBJECTS)[asked.first]}
    said = [FORM.format(**{name: str(own[row]) for name, own in words.items()}) for row in range(len(asked))]
    return pl.DataFrame({"person": asked.person, "prompt": asked.texts(), "text": said, **words})


def population(told: pl.DataFrame) -> Population:
    """What a model may see of them."""
    return Population({"texts": told.select("person", "prompt", "text", kind=pl.lit("reply"))}, name="rare words")


def common(told: pl.DataFrame, least: int = 40) -> int:
    """How many words and marks are in general use; the rare ones are of one or two people each."""
    counts = Counter(word for text in [*told["text"], *told["prompt"]] for word in re.findall(r"\w+|[^\w\s]", text))
    return sum(count >= least for count in counts.values())


def shown(texts: Sequence[str], told: pl.DataFrame) -> pl.DataFrame:
    """Per text the share of each tier's slots that hold the right word, and of all that are the person's `own`."""
    found = [words_of(text) for text in texts]
    right = {
        name: np.array([len(words) > at and words[at] == true for words, true in zip(found, told[name], strict=True)], float)
        for name, at in PLACES.items()
    }
    tiers = {tier: np.mean([right[name] for name in names], 0) for tier, names in TIERS.items()}
    own = np.mean([right[name] for tier in OWN for name in TIERS[tier]], 0)
    return pl.DataFrame({"person": told["person"], **tiers, "own": own})
