"""How well drawn pictures show what was asked, and whose: exact metrics on the shapes world.

Every number comes from `sartor.data.world.shapes.read`, which learns nothing; none can be raised by what a method was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.data.world.shapes.reader import Reading, as_pictures, likeness, read
from sartor.data.world.shapes.scenes import CORNERS, Scenes
from sartor.data.world.shapes.sprites import Subject
from sartor.data.world.shapes.words import RELATIONS, Asked, parse
from sartor.data.world.shapes.world import ShapesWorld

ATTRIBUTES = ("background", "position", "count", "noun", "colour", "texture", "hat", "relation")
STRANGERS = 32
"""Other individuals that a likeness is measured against."""


@dataclass(frozen=True, eq=False)
class Grades:
    """What of each prompt is right in its picture."""

    right: Mapping[str, np.ndarray]
    """Attribute -> bool [n]."""
    asked: Mapping[str, np.ndarray]
    """Attribute -> bool [n]: the prompt says something of it."""

    @property
    def joint(self) -> np.ndarray:
        """bool [n]: everything that was asked is right."""
        return np.logical_and.reduce([self.right[name] | ~self.asked[name] for name in ATTRIBUTES])

    def accuracy(self) -> dict[str, float | None]:
        """Share of right pictures among those where it was asked, per attribute, and of those with everything right as "all"; None: never asked."""
        out: dict[str, float | None] = {
            name: float(self.right[name][self.asked[name]].mean()) if self.asked[name].any() else None for name in ATTRIBUTES
        }  # fmt: skip
        return {**out, "all": float(self.joint.mean()) if len(self.joint) else None}


def grade(shown: Reading, asked: Asked) -> Grades:
    """Compare pictures with their prompts.

    Of one object it is judged by the object of the picture that fits it best; equal objects must all fit; of two objects in a relation, by the two
    that fit best, in their order. `count` judges that there is nothing more. Attributes of objects that are not there are wrong.
    """
    n, names = len(shown), ("noun", "colour", "texture", "hat")
    there = shown.noun >= 0
    said = {name: getattr(asked, name) >= 0 for name in names}
    # [n, 5, 2]: does the object of a slot fit the first, the second description?
    fits = {name: (getattr(shown, name)[:, :, None] == getattr(asked, name)[:, None, :]) & there[:, :, None] for name in names}
    score = sum((fits[name] & said[name][:, None]).astype(np.int64) for name in names) + there[:, :, None]
    related = asked.relation >= 0
    first = np.where(related, 0, score[:, :, 0].argmax(1))
    second, holds = np.zeros(n, np.int64), np.zeros(n, bool)
    best = np.full(n, -1)
    order = _orders()
    for a in range(5):
        for b in range(5):
            both = related & there[:, a] & there[:, b] & (a != b)
            true = order[asked.relation.clip(min=0), a, b]
            value = np.where(both, 2 * (score[:, a, 0] + score[:, b, 1]) + true, -1)
            better = value > best
            best = np.where(better, value, best)
            first, second = np.where(better, a, first), np.where(better, b, second)
            holds = np.where(better, true, holds)
    rows, equal = np.arange(n), ~related & (asked.count > 1)
    right: dict[str, np.ndarray] = {}
    for name in names:
        one = fits[name][rows, first, 0] | ~said[name][:, 0]
        other = fits[name][rows, second, 1] | ~said[name][:, 1]
        every = (fits[name][:, :, 0] | ~there).all(1) & there.any(1)
        right[name] = np.where(equal, every, np.where(related, one & other & (best >= 0), one & there.any(1)))
    right["background"] = shown.background == asked.background
    right["position"] = (asked.position == first) & there.any(1)
    right["count"] = shown.count == asked.count
    right["relation"] = related & holds & (best >= 0)
    is_asked = {name: said[name].any(1) for name in names}
    is_asked |= {"background": asked.background >= 0, "position": asked.position >= 0, "count": asked.count > 0, "relation": related}
    return Grades(right, is_asked)


def _orders() -> np.ndarray:
    """bool [4, 5, 5]: slot a stands in each relation to slot b."""
    row, column = CORNERS[:, 0], CORNERS[:, 1]
    gaps = {"left of": column[None] - column[:, None], "right of": column[:, None] - column[None]}
    gaps |= {"above": row[None] - row[:, None], "below": row[:, None] - row[None]}
    return np.stack([gaps[name] > 0 for name in RELATIONS])


def subject_score(images: np.ndarray, subject: Subject, strangers: Sequence[Subject], shown: Reading | None = None) -> np.ndarray:
    """float64 [n]: 1 where a picture shows the very subject, 0 on average where a stranger of its class, or nothing, stands there.

    The best of the objects that the picture has (`reader.likeness`). `strangers`: `STRANGERS` individuals, none of them the subject.
    """
    there = (shown or read(images)).noun >= 0
    scores = np.where(there, likeness(images, subject, strangers), -np.inf).max(1)
    return np.where(there.any(1), scores, 0.0)


def strangers(world: ShapesWorld, subject: Subject, count: int = STRANGERS) -> list[Subject]:
    """Held-out individuals of the subject's class that stand for everybody else."""
    return [one for one in world.subjects(count + 1, noun=subject.noun, start=500) if one.name != subject.name][:count]


def distances(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float64 [n, m]: root mean squared difference of pictures, in [0, 1]."""
    a, b = (as_pictures(part).reshape(len(part), -1).astype(np.float64) for part in (images, others))
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.sqrt(squares.clip(min=0) / a.shape[1])


def copy_score(images: np.ndarray, references: np.ndarray, others: np.ndarray) -> float:
    """How much nearer pictures are to their subject's own reference pictures than to another subject's, in root mean squared difference.

    About 0.2 when references are pasted; what remains with a perfect method is only what the subject itself fills.
    """
    return float((distances(images, others).min(1) - distances(images, references).min(1)).mean())


def diversity(images: np.ndarray, population: np.ndarray) -> float:
    """Spread of pictures of one prompt over seeds, divided by that of the population's pictures of the same prompt and seeds."""
    spread = [float(one[np.triu_indices(len(one), 1)].mean()) for one in (distances(part, part) for part in (images, population))]
    return spread[0] / max(spread[1], 1e-9)


def drift(images: np.ndarray, population: np.ndarray) -> float:
    """How much pictures of prompts without the concept have changed: root mean squared difference at equal prompts and seeds."""
    return float(np.sqrt(((as_pictures(images) - as_pictures(population)) ** 2).mean((1, 2, 3))).mean())


def unmixed(images: np.ndarray, prompts: Sequence[str], pair: Sequence[Subject], world: ShapesWorld, concepts: Mapping[str, str]) -> float:
    """Two concepts in one picture, kept apart: the score of each at its own place minus that at the other's, both ways, averaged over pictures.

    1 when each is where it should be and nowhere else, 0 when they blend or nothing is there, negative when they are exchanged. Prompts are of
    the form '<a> left of <b>'; places are those of the two largest objects that stand in the asked relation.
    """
    asked, shown = parse(prompts, concepts), read(images)
    alike = [likeness(images, one, strangers(world, one)) for one in pair]
    order, total = _orders(), []
    for row in range(len(prompts)):
        places = np.flatnonzero(shown.noun[row] >= 0)
        fits = [(a, b) for a in places for b in places if asked.relation[row] >= 0 and order[asked.relation[row], a, b]]
        if not fits:
            total.append(0.0)
            continue
        a, b = max(fits, key=lambda two: shown.gain[row, list(two)].sum())
        total.append(float(alike[0][row, a] - alike[0][row, b] + alike[1][row, b] - alike[1][row, a]) / 2)
    return float(np.mean(total)) if total else 0.0


def entanglement(shown: Reading, asked: Asked, references: Scenes) -> float:
    """How often backgrounds and places of the references appear in pictures that ask for others: 0 is never."""
    slots = shown.noun >= 0
    grounds, places = (np.unique(part[part >= 0]) for part in (references.background, references.slot))
    ground = np.flatnonzero((asked.background >= 0) & ~np.isin(asked.background, grounds))
    place = np.flatnonzero((asked.position >= 0) & ~np.isin(asked.position, places))
    found = np.concatenate([np.isin(shown.background[ground], grounds), slots[place][:, places].any(1)])
    return float(found.mean()) if found.size else 0.0


Draw = Callable[[Sequence[str], Sequence[int]], np.ndarray]
"""From prompts and one seed each to pictures uint8 [n, 24, 24, 3]."""


def following(draw: Draw, world: ShapesWorld, *, each: int = 64, seed: int = 100) -> dict[str, dict[str, Any]]:
    """How well something draws what full captions say: accuracy per attribute for pictures of one object, of two in a relation, of several equal
    ones, and of pairs of attributes that training never had; beside chance (pictures of other captions of the same kind) and the ceiling (the
    renderer's own pictures with noise 0.05).

    Returns kind -> {"drawn", "chance", "ceiling"} -> `Grades.accuracy`.
    """
    out: dict[str, dict[str, Any]] = {}
    for number, kind in enumerate(("one", "relation", "equal", "unseen pair")):
        rng = np.random.default_rng([world.seed, seed, number])
        scenes = _of_kind(world, rng, kind, each)
        captions = scenes.captions()
        asked = parse(captions)
        drawn = draw(captions, [seed * 1000 + row for row in range(each)])
        truth = scenes.render(noise=0.05, rng=rng)
        shown = read(truth)
        turned = Reading(*(np.roll(getattr(shown, name), 1, 0) for name in shown.__dataclass_fields__))
        graded = {"drawn": read(drawn), "chance": turned, "ceiling": shown}
        out[kind] = {name: grade(one, asked).accuracy() for name, one in graded.items()}
    return out


def _of_kind(world: ShapesWorld, rng: np.random.Generator, kind: str, count: int) -> Scenes:
    made = world.scenes(rng, 40 * count, unseen=kind == "unseen pair")
    equal = (made.count > 1) & (made.relation < 0)
    fits = {"one": made.count == 1, "unseen pair": made.count == 1, "relation": made.relation >= 0, "equal": equal}[kind]
    return made.rows(np.flatnonzero(fits)[:count])
