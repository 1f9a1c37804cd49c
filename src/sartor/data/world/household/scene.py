"""A home as symbols: things, places, rooms; what can be done with them, and propositions that are true of them or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sartor.errors import BadValue, ConfigError, UnknownId

Function = Literal["is_on_top", "is_inside", "is_in_room", "is_on_floor", "is_next_to"]
FUNCTIONS: tuple[Function, ...] = ("is_on_top", "is_inside", "is_in_room", "is_on_floor", "is_next_to")
Relation = Literal["on", "in", "floor"]


@dataclass(frozen=True)
class Thing:
    """Something that can be carried."""

    handle: str
    caption: str
    category: str


@dataclass(frozen=True)
class Where:
    """Where a thing is."""

    relation: Relation
    place: str
    """A receptacle's handle; of the floor, the room."""
    room: str = ""


@dataclass(frozen=True)
class Action:
    """One step: "navigate" to a place or thing, "pick" a thing, "place" what is held."""

    name: Literal["navigate", "pick", "place"]
    target: str
    """The thing to pick; the place, or room for the floor, to go or to put to."""
    relation: Relation = "on"
    next_to: tuple[str, ...] = ()
    """Things or places beside which it is put."""

    def __str__(self) -> str:
        beside = f" next to {', '.join(self.next_to)}" if self.next_to else ""
        return f"{self.name} {self.relation + ' ' if self.name == 'place' else ''}{self.target}{beside}"


@dataclass(frozen=True)
class Proposition:
    """Something that may be true of a home. Lists are alternatives: any of the receptacles will do."""

    function: Function
    things: tuple[str, ...]
    among: tuple[str, ...] = ()
    """Receptacles or rooms, one of which it must be; of "is_next_to" the things or places beside which."""
    number: int = 1
    """How many of the things it must hold for."""
    same: bool = False
    """All of them at one and the same place."""

    def holders(self, home: Home) -> list[tuple[str, str]]:
        """Things for which it holds, each with the place that makes it so."""
        if self.function == "is_next_to":
            return [(one, other) for one in self.things for other in self.among if frozenset((one, other)) in home.beside]
        found = []
        for one in self.things:
            where = home.where.get(one)
            if where is None:
                continue
            at = {
                "is_on_top": where.relation == "on" and where.place, "is_inside": where.relation == "in" and where.place,
                "is_in_room": where.room, "is_on_floor": where.relation == "floor" and (where.room or "floor"),
            }[self.function]  # fmt: skip
            if at and (not self.among or at in self.among):
                found.append((one, str(at)))
        return found

    def holds(self, home: Home) -> bool:
        """Whether it is true now."""
        found = self.holders(home)
        if self.same:
            return any(len({one for one, at in found if at == place}) >= self.number for _, place in found)
        return len({one for one, _ in found}) >= self.number


@dataclass(frozen=True)
class After:
    """A proposition that counts only while others are true, or only after they have been."""

    propositions: tuple[int, ...]
    depends_on: tuple[int, ...]
    relation: Literal["while_satisfied", "after_satisfied"]
    mode: Literal["any", "all"] = "any"


@dataclass(frozen=True)
class Goal:
    """Propositions, the order in which they must come true, and which must share their place."""

    propositions: tuple[Proposition, ...]
    after: tuple[After, ...] = ()
    order: tuple[tuple[int, int], ...] = ()
    """The first must have come true no later than the second."""
    last: tuple[int, ...] | None = None
    """Propositions that must be true at the end; None is all. The others may be true at any time."""
    shared: tuple[tuple[int, ...], ...] = ()
    """Propositions that must hold by one and the same place."""

    def __post_init__(self) -> None:
        n = len(self.propositions)
        used = [at for one in self.after for at in (*one.propositions, *one.depends_on)]
        used += [at for pair in self.order for at in pair] + list(self.last or ()) + [at for group in self.shared for at in group]
        if not n or any(not 0 <= at < n for at in used):
            raise BadValue("a goal has no propositions, or speaks of some that it does not have", fix=f"numbers are from 0 to {n - 1}")

    def met(self, homes: Sequence[Home]) -> list[bool]:
        """Which propositions count as true after a course of states, oldest first."""
        n = len(self.propositions)
        counts, first = [[False] * n for _ in homes], [len(homes)] * n
        for time, home in enumerate(homes):
            holds = [one.holds(home) for one in self.propositions]
            for at in range(n):
                rules = [one for one in self.after if at in one.propositions]
                counts[time][at] = holds[at] and all(
                    (any if rule.mode == "any" else all)(
                        holds[other] if rule.relation == "while_satisfied" else first[other] < time for other in rule.depends_on
                    )
                    for rule in rules
                )
            for at in range(n):
                if counts[time][at]:
                    first[at] = min(first[at], time)
        final = range(n) if self.last is None else self.last
        good = [counts[-1][at] if at in final else first[at] < len(homes) for at in range(n)]
        for before, later in self.order:
            good[later] = good[later] and first[before] <= first[later]
        for group in self.shared:
            places = [{place for _, place in self.propositions[at].holders(homes[-1])} for at in group]
            if not set.intersection(*places):
                for at in group:
                    good[at] = False
        return good


@dataclass(frozen=True)
class Home:
    """A home at one moment. Immutable: `do` gives the next moment."""

    things: Mapping[str, Thing]
    places: Mapping[str, str]
    """Receptacle -> its room; an empty room is not known."""
    where: Mapping[str, Where]
    """What is held is nowhere."""
    rooms: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    """Receptacle -> what people call it."""
    held: str = ""
    beside: frozenset[frozenset[str]] = frozenset()
    """Pairs that were put next to each other."""

    def __post_init__(self) -> None:
        for thing, where in self.where.items():
            known = where.place in self.places or where.place in self.rooms or where.relation == "floor"
            if thing not in self.things or not known:
                raise UnknownId("a thing is somewhere that is not in the home", id=thing, fix="name all things and places")

    def do(self, action: Action) -> Home:
        """The home after one action. Raises `BadValue` for what cannot be done: no hand free, nothing in it, no such thing or place."""
        if action.name == "navigate":
            if action.target not in self.places and action.target not in self.things and action.target not in self.rooms:
                raise BadValue(f"there is no {action.target}", fix="go where something is")
            return self
        if action.name == "pick":
            if self.held or action.target not in self.where:
                raise BadValue(f"{action.target} cannot be picked", fix="pick one thing that is there, with an empty hand")
            left = {one: at for one, at in self.where.items() if one != action.target}
            return replace(self, where=left, held=action.target, beside=frozenset(pair for pair in self.beside if action.target not in pair))
        if action.name != "place":
            raise ConfigError(f"there is no action {action.name}", fix="use navigate, pick and place")
        if not self.held:
            raise BadValue("nothing is held", fix="pick something first")
        floor = action.relation == "floor"
        if action.target not in (self.rooms if floor else self.places):
            raise BadValue(f"there is no {action.target} to put something {action.relation}", fix="name a place of the home")
        for other in action.next_to:
            at = self.where.get(other)
            if other not in self.places and (at is None or at.place != action.target):
                raise BadValue(f"{other} is not at {action.target}", fix="put things next to what is there")
        room = action.target if floor else self.places[action.target]
        pairs = frozenset(frozenset((self.held, other)) for other in action.next_to)
        where = dict(self.where) | {self.held: Where(action.relation, action.target, room)}
        return replace(self, where=where, held="", beside=self.beside | pairs)

    def run(self, actions: Sequence[Action], limit: int = 40) -> tuple[list[Home], int]:
        """The course of states, this one first, and how many actions could not be done. Actions beyond `limit` are not tried."""
        homes, failed = [self], 0
        for action in actions[:limit]:
            try:
                homes.append(homes[-1].do(action))
            except BadValue:
                failed += 1
        return homes, failed
