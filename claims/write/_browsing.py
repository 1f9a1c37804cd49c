"""A world of pages, people and questions: who is asked about what follows from what a person knows and cares about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

ENTITIES, TOPICS, PEOPLE, SESSIONS = 2_000, 40, 150, 40
KINDS = ("place", "person", "dish", "game", "band", "river", "tool", "book")
ABOUT = {
    "place": (
        "how do i get to {0}",
        "where is {0} on the map",
        "best season to visit {0}",
        "who founded {0}",
        "hotels in {0}",
        "is {0} safe at night",
    ),
    "person": ("how old is {0}", "what did {0} do before", "where does {0} live now", "is {0} married", "prizes won by {0}", "who taught {0}"),
    "dish": ("how is {0} cooked", "is {0} very spicy", "which wine goes with {0}", "calories of {0}", "who invented {0}", "can {0} be frozen"),
    "game": ("rules of {0}", "how long does a round of {0} take", "is {0} good for two", "how to win {0}", "price of {0}", "newest edition of {0}"),
    "band": ("next concert of {0}", "first record of {0}", "who sings in {0}", "lyrics by {0}", "where was {0} founded", "is {0} still together"),
    "river": ("how deep is {0}", "can i swim in {0}", "where does {0} begin", "fish in {0}", "bridges over {0}", "floods of {0}"),
    "tool": ("how do i repair {0}", "is {0} worth its price", "what is {0} used for", "spare parts for {0}", "how heavy is {0}", "who sells {0}"),
    "book": ("who wrote {0}", "is {0} hard to read", "how does {0} end", "films of {0}", "first edition of {0}", "what is {0} about"),
}
FRAMES = ("could you please tell me {}", "i would like to know now {}", "tell me in a few words {}", "i keep wondering these days {}")
"""Questions as they are put to an assistant, some ten words long."""
BETWEEN = ("what links {0} and {1}", "is {0} like {1}", "{0} compared with {1}", "from {0} to {1}", "{0} or {1}")
SENTENCES = ("{0} is a {1} near {2}.", "Many come to {2} because of the {1} {0}.", "There is a {1} called {0}, and {2} is not far.")
INTERESTS, EACH, NAMED = 3, 6, 10
START = 1_700_000_000
OWN, LINKED = 0.65, 0.25
"""How often a question is about something of the person's own on the page, and about what links the page with something of hers beside it."""


class Asked(NamedTuple):
    """A page, what was asked before on it, and the question that followed."""

    person: int
    page: str
    before: str
    time: int
    query: str
    wanted: int
    """The entity that the person is after: in a question about two, her own one beside the page."""


class Browsing:
    """Entities of eight kinds in forty topics, linked within them; people with six interests in each of three topics."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng([seed, 51])
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        self.names = list(dict.fromkeys("".join(rng.choice(syllables, rng.integers(2, 4))) + rng.choice(list("nrsl")) for _ in range(6_000)))[
            :ENTITIES
        ]
        self.kind = rng.integers(0, len(KINDS), ENTITIES)
        self.topic = rng.permutation(np.arange(ENTITIES) % TOPICS)
        members = [np.flatnonzero(self.topic == topic) for topic in range(TOPICS)]
        self.linked = [rng.permutation(members[self.topic[one]][members[self.topic[one]] != one])[:14] for one in range(ENTITIES)]
        self.members = members
        self.interests = [
            [rng.permutation(members[topic])[:EACH] for topic in rng.permutation(TOPICS)[:INTERESTS]] for _ in range(PEOPLE)
        ]  # fmt: skip
        self.rows: list[tuple[int, int, str, str, int]] = []
        self.asked: list[Asked] = []
        self.said: set[tuple[int, str]] = set()
        for person in range(PEOPLE):
            for number in range(SESSIONS):
                self._session(person, START + number * 86_400 * 2 + int(rng.integers(0, 40_000)), number)

    def _session(self, person: int, time: int, number: int) -> None:
        rng = self.rng
        for _ in range(2):
            own = self.interests[person][rng.integers(INTERESTS)]
            main = int(rng.choice(own) if rng.random() < 0.7 else rng.choice(self.members[self.topic[own[0]]]) if rng.random() < 0.6
                       else rng.integers(ENTITIES))  # fmt: skip
            named = rng.permutation([main, *rng.permutation(self.linked[main])[: NAMED - 1]])
            page = " ".join(
                rng.choice(SENTENCES).format(self.names[one], KINDS[self.kind[one]], self.names[other]) for one, other in named.reshape(-1, 2)
            )
            self.rows.append((person, time, "page", page, number))
            before = ""
            for _ in range(1):
                time += 60
                query, about = self._question(person, named)
                self.rows.append((person, time, "query", query, number))
                self.asked.append(Asked(person, page, before, time, query, about))
                before = query
            time += 60

    def _question(self, person: int, named: np.ndarray) -> tuple[str, int]:
        rng = self.rng
        hers = {int(one) for own in self.interests[person] for one in own}
        here, drawn = [int(one) for one in named], rng.random()
        known = [one for one in here if one in hers]
        beside = [(one, other) for one in hers - set(here) for other in here if self.topic[one] == self.topic[other]]
        if drawn < OWN and known:
            about = [int(rng.choice(known))]
        elif OWN <= drawn < OWN + LINKED and beside:
            about = [int(one) for one in beside[rng.integers(len(beside))]]
        else:
            about = [int(rng.choice(here))]
        patterns: Sequence[str] = BETWEEN if len(about) > 1 else ABOUT[KINDS[self.kind[about[0]]]]
        frame = str(rng.choice(FRAMES))
        queries = [frame.format(one.format(*(self.names[entity] for entity in about))) for one in rng.permutation(patterns)]
        # Nobody asks the same again while there is something else to ask.
        query = next((one for one in queries if (person, one) not in self.said), queries[0])
        self.said.add((person, query))
        return query, about[0]

    def items(self) -> pl.DataFrame:
        told = [f"a {KINDS[kind]} among " + " ".join(self.names[other] for other in self.linked[one][:6]) for one, kind in enumerate(self.kind)]
        kinds = [[KINDS[kind]] for kind in self.kind]
        return pl.DataFrame({"item": list(range(ENTITIES)), "title": self.names, "categories": kinds, "text": told})

    def texts(self) -> pl.DataFrame:
        return pl.DataFrame(self.rows, ["person", "time", "kind", "text", "dialogue"], orient="row")
