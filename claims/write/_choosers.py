"""People who choose between two answers by a taste that nobody is told: how formal, how long, and which mark at the end of which kind of request;
and the frame of a claim about people who choose: one world and one language model, some seeds, three arms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.data.world import World
from sartor.data.world.persona import Personas, Requests
from sartor.data.world.persona.grading import shown
from sartor.data.world.persona.personas import STRANGERS
from sartor.data.world.persona.words import ALWAYS
from sartor.evaluate.claim import Outcome
from sartor.parts.statistics import bootstrap
from sartor.progress import bar
from sartor.write.population_lm import PopulationLM, population_lm

CONDITIONAL = 0.25
"""Weight of the mark, whose liking is opposite in the two groups of requests."""
WEIGHTS = np.array([1.0, 1.0, CONDITIONAL])
FIRST = 3 << 20
"""Numbers of the requests that are chosen about begin here; no other text of the world answers them."""

WORLD, PEOPLE, REPLIES = 17, 1_600, 16


def compared(
    slug: str, seeds: Sequence[int], run: Callable[[int, PopulationLM, Personas], dict[str, Any]], *, told: Sequence[str], notes: str, progress: bool
) -> Outcome:
    """What `run` measured at every seed, as one outcome; it passes when every condition holds at every seed.

    Parameters
    ----------
    run: from a seed, a language model fitted on the world's people and the world to `conditions` (name -> bool), `people` (one number per person
        for each of the arms own, none and swapped), `others` (baseline -> figures), `bytes` and `adapt` (seconds) of a state, and more.
    told: what else of it the outcome has, seed by seed.
    """
    personas = World(people=PEOPLE, items=200, seed=WORLD).personas(replies_each=REPLIES)
    lm = population_lm(personas.population(personas.fit_people), seed=0)
    runs = []
    with bar(slug, len(seeds), enabled=progress, unit="seed") as shown:
        for seed in seeds:
            runs.append(run(seed, lm, personas))
            shown.advance(note=str(sum(runs[-1]["conditions"].values())))
    people = {arm: np.concatenate([one["people"][arm] for one in runs]) for arm in ("own", "none", "swapped")}
    gain, gap = people["own"] - people["none"], people["own"] - people["swapped"]
    return Outcome(
        passed=all(all(one["conditions"].values()) for one in runs),
        measured={"seeds": [{name: one[name] for name in ("conditions", *told)} for one in runs]},
        baseline={name: [one["others"][name] for one in runs] for name in runs[0]["others"]},
        gain=float(gain.mean()), gain_interval=bootstrap(gain).tolist(), swap_gap=float(gap.mean()), swap_gap_interval=bootstrap(gap).tolist(),
        state_bytes=float(np.mean([one["bytes"] for one in runs])), adapt_seconds=float(np.mean([one["adapt"] for one in runs])),
        notes=notes,
    )  # fmt: skip


@dataclass(frozen=True)
class Choosers:
    """Some people of a world with hidden tastes, drawn from a seed."""

    personas: Personas
    people: np.ndarray
    """int64 [n]."""
    taste: np.ndarray
    """float64 [n, 3] of -1 and 1: formal or not, long or short, "!" or another mark in practical requests (the reverse in personal ones)."""

    @classmethod
    def draw(cls, personas: Personas, people: np.ndarray, seed: int) -> Choosers:
        return cls(personas, people, np.random.default_rng([seed, 21]).choice([-1.0, 1.0], (people.size, 3)))

    def parts(self, texts: Sequence[str] | pl.Series, requests: Requests, taste: np.ndarray) -> np.ndarray:
        """float64 [n, 3] in -1..1: how well each text suits each part of a taste (one row each); what shows nothing counts 0, a wrong mark -1."""
        found, _ = shown(texts)
        half = len(ALWAYS["opener"]) // 2
        formal = sum(np.where(found[name] < 0, 0, np.where(found[name] >= half, 0.5, -0.5)) for name in ("opener", "closer"))
        long = np.where(found["length"] < 0, 0, 2 * found["length"] - 1)
        mark = np.where(found["mark"] == ALWAYS["mark"].index("!"), 1.0, -1.0) * np.where(requests.group == 0, 1, -1)
        return np.stack([formal, long, mark], 1) * taste

    def score(self, texts: Sequence[str] | pl.Series, requests: Requests, taste: np.ndarray) -> np.ndarray:
        """float64 [n]: how much each text is liked."""
        return self.parts(texts, requests, taste) @ WEIGHTS

    def choices(self, each: int, seed: int, *, tastes: np.ndarray | None = None, start: int = FIRST) -> Population:
        """`each` choices of each person between what two strangers answer, as `preferences`; the first ones among which formality and length decide:
        of those that are equal in both nobody is asked.

        `tastes` float64 [n * 2 * each, 3]: by whose taste each choice is made; default the person's own.
        """
        drawn = 2 * each
        asked = self.personas.requests(self.people, drawn, start=start)
        rng = np.random.default_rng([seed, 22])
        two = [self.personas.replies_of(asked, STRANGERS + rng.integers(1 << 20, size=len(asked)), None) for _ in range(2)]
        taste = self.taste.repeat(drawn, 0) if tastes is None else tastes
        parts = [self.parts(texts, asked, taste) for texts in two]
        ahead = (parts[0] - parts[1]) @ WEIGHTS
        matters = ahead - CONDITIONAL * (parts[0] - parts[1])[:, 2]
        frame = pl.DataFrame({"person": asked.person, "prompt": asked.texts(), "a": two[0], "b": two[1], "first": ahead > 0, "time": asked.time})
        chosen, rejected = (pl.when("first").then(x).otherwise(y).alias(name) for x, y, name in (("a", "b", "chosen"), ("b", "a", "rejected")))
        kept = (
            frame.filter(pl.Series(np.abs(matters) > 1e-9))
            .select("person", "prompt", chosen, rejected, "time")
            .group_by("person", maintain_order=True)
            .head(each)
        )
        return Population({"preferences": kept})
