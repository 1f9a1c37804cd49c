"""Choices of the persona storey for judges: two answers that differ in six habits, and a persona that reveals some of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sartor.data.world.persona import Personas
from sartor.data.world.persona.replies import Following, compose
from sartor.data.world.persona.traits import OPTIONS
from sartor.data.world.persona.words import GROUPS
from sartor.evaluate.judge import Case

DECISIVE = {"opener": 1.0, "closer": 0.9, "mark": 0.8, "length": 0.7, "link": 0.6, "adjective": 0.55}
"""Habits by which people choose, and how much each counts. No sums of them are equal."""
NOISE = 0.1
"""Choices that are the wrong way round."""


@dataclass(frozen=True)
class Choices:
    """Cases with what the people chose."""

    cases: list[Case]
    choices: list[str]
    revealed: np.ndarray
    """int64 [n], how many of the decisive habits the persona tells."""
    swapped: list[Case]
    """The same with another person's profile, as much of it revealed."""


def choices(personas: Personas, people: np.ndarray, n: int, seed: int) -> Choices:
    """`n` choices: of every decisive habit exactly one answer has the person's own option, the other one any other."""
    rng = np.random.default_rng([seed, n])
    who = rng.choice(people, n)
    asked = personas.requests_of(who, rng.integers(1 << 22, 1 << 23, n))
    traits, likes = personas._traits(who), personas._likes(who)
    rows, group = np.arange(n), asked.group
    sides = rng.integers(0, 2, (n, len(DECISIVE))) * 2 - 1
    texts = []
    for sign in (1, -1):
        always, grouped = dict(traits.always), dict(traits.grouped)
        for at, name in enumerate(DECISIVE):
            count = len(OPTIONS[name])
            keeps = sides[:, at] == sign
            if name in always:
                always[name] = np.where(keeps, always[name], (always[name] + rng.integers(1, count, n)) % count)
            else:
                other = (grouped[name] + rng.integers(1, count, (n, 1))) % count
                grouped[name] = np.where(keeps[:, None], grouped[name], other)
        drawn = replace(traits, always=always, grouped=grouped)
        texts.append(compose(personas.world.draws, asked, drawn, likes, rows, Following(1.0, 0.0)).to_list())
    margin = sides @ np.array(list(DECISIVE.values()))
    first = (margin > 0) ^ (rng.random(n) < NOISE)
    revealed = rng.integers(0, len(DECISIVE) + 1, n)
    shown = rng.permuted(np.tile(np.arange(len(DECISIVE)), (n, 1)), axis=1)
    words = personas.traits().frame().to_dicts()
    other = rng.choice(people, n)
    questions = asked.texts().to_list()

    def profile(person: int, row: int) -> dict[str, str]:
        names = [list(DECISIVE)[at] for at in sorted(shown[row, : revealed[row]])]
        own = words[person]
        told = {name: own.get(name) or own[f"{name} in {GROUPS[group[row]]}"] for name in names}
        return {"name": f"person {person % 7}", **told}

    cases = [Case(profile(int(who[row]), row), questions[row], texts[0][row], texts[1][row]) for row in range(n)]
    swapped = [replace(case, persona=profile(int(other[row]), row)) for row, case in enumerate(cases)]
    return Choices(cases, ["A" if one else "B" for one in first], revealed, swapped)
