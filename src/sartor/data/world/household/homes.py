"""Generated homes with the same two stages as MEMENTO's: first what is personal is said, later it is presupposed. The truth is exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.data.world.household.episodes import Episode
from sartor.data.world.household.scene import After, Goal, Home, Proposition, Thing, Where
from sartor.errors import ConfigError

CATEGORIES = ("vase", "mug", "book", "candle", "cushion", "clock", "basket", "lamp", "bowl", "statue", "toy", "tray")
COLOURS = ("red", "blue", "green", "white", "black", "yellow", "grey", "brown")
SHAPES = ("round", "square", "tall", "flat")
PLACES = {
    "bedroom": ("table", "shelf", "chest"), "kitchen": ("counter", "cabinet", "table"), "office": ("desk", "shelf", "stand"),
    "living room": ("couch", "table", "stand"),
}  # fmt: skip
GIVERS = ("best friend", "sister", "grandmother", "neighbour", "colleague", "brother", "aunt", "teacher")
HABITS = ("morning", "evening", "reading", "working", "calm", "guest", "holiday", "cleaning")


@dataclass(frozen=True, kw_only=True)
class Homes:
    """So many homes, each with episodes of both stages.

    Parameters
    ----------
    homes: how many.
    gifts, habits: pieces of knowledge of each home: which of several like things was whose gift; which things belong where.
    distractors: like things beside each that is meant.
    """

    homes: int = 12
    gifts: int = 4
    habits: int = 4
    distractors: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        most = len(GIVERS) if self.gifts >= self.habits else len(HABITS)
        kinds = self.gifts + 2 * self.habits
        if self.homes < 1 or self.distractors < 0 or min(self.gifts, self.habits) < 0 or max(self.gifts, self.habits) > most or kinds > 12:
            raise ConfigError(f"{self.gifts} gifts and {self.habits} habits in {self.homes} homes", fix="gifts + 2 * habits is at most 12")

    def episodes(self) -> list[Episode]:
        """Acquisition episodes, single ones (the same goals), and joint ones (two pieces of knowledge of one home)."""
        return [one for number in range(self.homes) for one in self._home(number)]

    def _home(self, number: int) -> list[Episode]:
        rng = np.random.default_rng([self.seed, 89, number])
        scene, places = f"home {number}", {f"{room} {name}": room for room, names in PLACES.items() for name in names}
        things, where, like = dict[str, Thing](), dict[str, Where](), dict[str, list[str]]()
        handles = list(places)
        for category in [CATEGORIES[at] for at in rng.permutation(len(CATEGORIES))]:
            looks = [f"{COLOURS[at // 4]} {SHAPES[at % 4]}" for at in rng.permutation(32)[: 1 + self.distractors]]
            start = handles[rng.integers(len(handles))]
            for at, look in enumerate(looks):
                handle = f"{category}_{at}"
                things[handle] = Thing(handle, f"A {look} {category}.", category)
                where[handle] = Where("on", start, places[start])
                like.setdefault(category, []).append(handle)
        home = Home(things, places, where, frozenset(PLACES), {one: one for one in places})
        kinds, out, made = list(like), list[Episode](), list[tuple[Episode, str]]()

        def elsewhere(*handle: str) -> str:
            free = [place for place in handles if all(where[one].place != place for one in handle)]
            return free[rng.integers(len(free))]

        def add(told: str, asked: str, goal: Goal, kind: str, subtype: str, memory: str, targets: tuple[str, ...]) -> None:
            at = len(made)
            ids = (f"{number}-{at}-told", f"{number}-{at}-asked")
            beside = tuple((one, target) for target in targets for one in like[things[target].category] if one != target) if targets else ()
            first = Episode(ids[0], scene, "acquisition", told, home, goal, (ids[1],), kind, (subtype,), (memory,), targets, beside)
            later = Episode(ids[1], scene, "single", asked, home, goal, (ids[0],), kind, (subtype,), (memory,), targets, beside)
            out.extend((first, later))
            made.append((later, memory))

        for at, giver in enumerate([GIVERS[one] for one in rng.permutation(len(GIVERS))[: self.gifts]]):
            target = like[kinds[at]][0]
            look, to, category = things[target].caption.rstrip(".").lower(), elsewhere(target), things[target].category
            goal = Goal((Proposition("is_on_top", (target,), (to,)),))
            told = f"Move {look} to the {to}. It was a gift from my {giver}."
            asked = f"Move the gift {category} from my {giver} to the {to}."
            add(told, asked, goal, "object_semantics", "history", f"{look} was a gift from the user's {giver}", (target,))
        for at, habit in enumerate([HABITS[one] for one in rng.permutation(len(HABITS))[: self.habits]]):
            a, b = (like[kinds[self.gifts + 2 * at + one]][0] for one in range(2))
            to = elsewhere(a, b)
            looks = [things[one].caption.rstrip(".").lower() for one in (a, b)]
            goal = Goal(
                (Proposition("is_on_top", (a,), (to,)), Proposition("is_on_top", (b,), (to,)), Proposition("is_next_to", (a,), (b,))),
                (After((2,), (0, 1), "while_satisfied"),),
            )  # fmt: skip
            told = f"Move {looks[0]} and {looks[1]} to the {to}, next to each other. That is my {habit} setup."
            add(
                told, f"Set up my {habit} setup.", goal, "user_pattern", "routine", f"{looks[0]} and {looks[1]} on the {to} are the {habit} setup", ()
            )
        for at in range(0, len(made) - 1, 2):
            # Of one type, or of both.
            pair = [made[one] for one in rng.permutation(len(made))[:2]]
            first, second = (one for one, _ in pair)
            n = len(first.goal.propositions)
            moved = [After(tuple(i + n for i in one.propositions), tuple(i + n for i in one.depends_on), one.relation) for one in second.goal.after]
            both = (*first.goal.propositions, *second.goal.propositions)
            goal = Goal(both, (*first.goal.after, *moved), tuple((i, n) for i in range(n)))
            out.append(
                Episode(
                    f"{number}-joint-{at // 2}", scene, "joint", f"{first.instruction} Then: {second.instruction}", home, goal,
                    (*first.related, *second.related), "combined", (*first.subtypes, *second.subtypes), tuple(one for _, one in pair),
                    (*first.targets, *second.targets), (*first.distractors, *second.distractors),
                )
            )  # fmt: skip
        return out
