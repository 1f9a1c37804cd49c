"""Three people of the demo: who they are, what anybody would get, what they get, and why."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.data.population import Evidence

if TYPE_CHECKING:
    from sartor.cli.demo.generated import Generated
    from sartor.data.population import Population
    from sartor.data.splits import Split
    from sartor.method import State

LENGTH = 10
"""Items in a list."""
HISTORY = 14
"""Newest events shown."""
REASONS = 2
"""Things of the history that are named for each item."""


@dataclass(frozen=True)
class Reason:
    """A thing of somebody's history that moved an item up."""

    item: Any
    title: str
    contribution: float
    """What the item's score loses without it, in the method's own scale."""


@dataclass(frozen=True)
class Entry:
    """An item as it stands in somebody's history or list."""

    item: Any
    title: str
    note: str = ""
    """What kind of item it is."""
    hit: bool = False
    """Whether the person really went on to choose it (hidden from the model)."""
    because: tuple[Reason, ...] = ()
    """Things of their own history that moved it up, strongest first."""
    rank_without: int | None = None
    """Its place in the list if those things had never happened: measured, by adapting without them."""


@dataclass(frozen=True)
class Person:
    """One of the three."""

    person: Any
    events: int
    history: tuple[Entry, ...]
    """Newest first."""
    population: tuple[Entry, ...]
    own: tuple[Entry, ...]
    hidden: int
    """Items they went on to choose."""
    adapt_seconds: float
    state_bytes: int
    name: str = ""
    """From the `people` frame, where there is one."""
    taste: str = ""
    """What the generator knows of them; empty for real people."""
    liked: tuple[int, int] | None = None
    """How many items of their own list and of everybody's list they truly like; None for real people."""


def unlike(model: Any, split: Split, unseen: pl.Series, seed: int, count: int = 3) -> list[Any]:
    """Kept-out people who are unlike each other, chosen by what the model would give them and never by how well that does.

    Only people with histories of middling length are looked at. The first is the most typical of them, each next the least like those before.
    """
    lengths = split.evidence.only(unseen).events.group_by("person").len().collect().sort("person")
    if lengths.height > 2 * count:
        low, high = np.quantile(lengths["len"].to_numpy(), [0.4, 0.8])
        lengths = lengths.filter(pl.col("len").is_between(low, high))
    drawn = np.random.default_rng([seed, 4]).permutation(lengths.height)[:300]
    people = lengths["person"].gather(np.sort(drawn))
    states = model.adapt_all(split.evidence.only(people))
    if not hasattr(model, "score"):
        return list(states)[:count]
    scores = np.asarray(model.score(list(states.values())), np.float64)
    scores -= scores.mean(0)
    scores /= np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1e-12)
    likeness = scores @ scores.T
    chosen = [int(likeness.sum(1).argmax())]
    while len(chosen) < min(count, len(states)):
        nearest = likeness[:, chosen].max(1)
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
    ids = list(states)
    return [ids[row] for row in chosen]


def introduce(model: Any, split: Split, population: Population, person: Any, truth: Generated | None) -> Person:
    """One person's history, what anybody would get, what they get, and why."""
    evidence = split.evidence[person]
    label = labels(population)
    model.adapt(evidence)  # The first call warms caches and compiles.
    start = time.perf_counter()
    state = model.adapt(evidence)
    seconds = time.perf_counter() - start
    seen = (
        evidence.events.sort("time", maintain_order=True)["item"].to_list()
        if "time" in evidence.events.columns
        else evidence.events["item"].to_list()
    )
    hidden = set(split.test[person].events["item"].to_list()) - set(seen)

    def entries(items: Sequence[Any]) -> tuple[Entry, ...]:
        return tuple(Entry(item, *label(item), item in hidden) for item in items)

    own = model.recommend([state], LENGTH)[0]
    everyone = model.recommend([None], LENGTH, exclude=[seen])[0]
    known: dict[str, Any] = (
        {} if truth is None else {"taste": truth.taste(person), "liked": (truth.liked(person, own), truth.liked(person, everyone))}
    )
    history = tuple(Entry(item, *label(item)) for item in list(dict.fromkeys(reversed(seen)))[:HISTORY])
    why = tuple(explained(model, evidence, state, seen, entry, label) for entry in entries(own))
    name = _name(population, person)
    return Person(person, len(seen), history, entries(everyone), why, len(hidden), seconds, state.nbytes, name, **known)


def _name(population: Population, person: Any) -> str:
    if "people" not in population or "name" not in population.people.collect_schema():
        return ""
    found = population.people.filter(pl.col("person") == person).select("name").head(1).collect()
    return str(found["name"][0]) if found.height and found["name"][0] else ""


def labels(population: Population) -> Callable[[Any], tuple[str, str]]:
    """Title and kind of any item: its title (or id) and its categories."""
    known: dict[Any, tuple[str, str]] = {}
    if "items" in population:
        schema = population.items.collect_schema()
        frame = population.items.unique("item", keep="first").collect()
        names = frame["title"].to_list() if "title" in schema else [None] * frame.height
        kinds = frame["categories"].to_list() if "categories" in schema else [None] * frame.height
        known = {
            item: (name or str(item), ", ".join((kind or [])[:3])) for item, name, kind in zip(frame["item"].to_list(), names, kinds, strict=True)
        }
    return lambda item: known.get(item, (str(item), ""))


def explained(model: Any, evidence: Evidence, state: State, seen: Sequence[Any], entry: Entry, label: Callable[[Any], tuple[str, str]]) -> Entry:
    """The same item with the things of the person's history that moved it up, and where it would stand without them."""
    from sartor.recommend.why import why

    found = why(model, state, entry.item, REASONS)
    if not found:
        return entry
    gone = [one.item for one in found]
    rest = Evidence({"events": evidence.events.filter(~pl.col("item").is_in(gone))}, person=evidence.person)
    order = model.recommend([model.adapt(rest)], len(model.items_), exclude=[seen])[0]
    reasons = tuple(Reason(one.item, label(one.item)[0], one.contribution) for one in found)
    return dataclasses.replace(entry, because=reasons, rank_without=order.index(entry.item) + 1)
