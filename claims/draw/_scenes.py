"""One picture with a held-out critter left of a held-out badge on sand, and what is measured of a method that learns both of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sartor.data.world.shapes import BACKGROUNDS, NOUNS, RELATIONS, ShapesWorld, Subject, parse, read
from sartor.data.world.shapes.scenes import SIDES, Scenes
from sartor.draw._base import ConceptMethod
from sartor.draw._shown import Shown
from sartor.evaluate.claim import Outcome
from sartor.evaluate.pictures import grade, strangers, subject_score, unmixed
from sartor.method import State
from sartor.parts.statistics import bootstrap

NAMES = ("<a>", "<b>")
KINDS = {"<a>": "critter", "<b>": "badge"}
BOTH = [f"a <a> {relation} a <b> on {ground}" for relation in RELATIONS for ground in BACKGROUNDS]
ALONE = [f"a {name} on {ground}" for name in NAMES for ground in BACKGROUNDS]
PROMPTS = [*BOTH, *ALONE]
Teach = Callable[["Scene", int], tuple[ConceptMethod, State]]


@dataclass(frozen=True, eq=False)
class Scene:
    """What a person hands over: one picture."""

    world: ShapesWorld
    pair: tuple[Subject, Subject]
    truth: Scenes
    picture: np.ndarray
    """uint8 [1, 24, 24, 3]."""
    masks: tuple[np.ndarray, np.ndarray]
    """bool [1, 24, 24] each."""

    @classmethod
    def of(cls, world: ShapesWorld, number: int) -> Scene:
        """The scene of the number-th held-out critter and badge."""
        pair = (world.subjects(1, noun="critter", start=number)[0], world.subjects(1, noun="badge", start=number)[0])
        truth = _placed(pair, SIDES[0][number % 2])
        return cls(world, pair, truth, truth.render(), (truth.masks(0), truth.masks(1)))

    def shown(self, *, masks: bool = True, captions: bool = False) -> list[Shown]:
        """Both things of the picture."""
        text = ["a <a> critter left of a <b> badge on sand"] if captions else None
        return [
            Shown(name=name, class_word=KINDS[name], images=self.picture, masks=own if masks else None, captions=text)
            for name, own in zip(NAMES, self.masks, strict=True)
        ]

    def cut(self, place: int) -> Shown:
        """One thing by itself: the picture with the other one painted over by the true background, which is kinder than any crop."""
        single = _placed(self.pair[place : place + 1], SIDES[0][int(self.truth.slot[0, 0]) // 2][place : place + 1])
        return Shown(name=NAMES[place], class_word=KINDS[NAMES[place]], images=single.render(), masks=single.masks())


def _placed(things: Sequence[Subject], slots: Sequence[int]) -> Scenes:
    made = Scenes.empty(1, tuple(things))
    made.background[:] = BACKGROUNDS.index("sand")
    made.relation[:] = 0 if len(things) == 2 else -1
    for place, (one, slot) in enumerate(zip(things, slots, strict=True)):
        made.noun[:, place], made.subject[:, place], made.slot[:, place] = NOUNS.index(one.noun), place, slot
    return made


@dataclass(frozen=True, eq=False)
class Measured:
    """What one arm did with one scene."""

    figures: dict[str, float]
    pictures: np.ndarray
    state: State
    method: ConceptMethod
    scene: Scene = field(repr=False)


def measure(teach: Teach, scene: Scene, seed: int, population: np.ndarray) -> Measured:
    """confusion: each thing's score at its own place less that at the other's, of pictures that ask for both. isolation: 1 less what pictures of one
    thing show of the other, above what the population's pictures of the class show of it. subject: of each thing alone. prompt: share of what was
    asked that is right, relation and all: of pictures with both."""
    start = time.process_time()
    method, state = teach(scene, seed)
    learned = time.process_time() - start
    pictures = draw(method, state, seed)
    return Measured(judge(scene, pictures, population) | {"bytes": float(state.nbytes), "adapt_seconds": learned}, pictures, state, method, scene)


def draw(method: ConceptMethod, state: State | None, seed: int) -> np.ndarray:
    """All prompts, with noise that follows from the seed."""
    return method.draw(PROMPTS, [state] * len(PROMPTS), seeds=[seed * 10_000 + one for one in range(len(PROMPTS))], classes=KINDS)


def judge(scene: Scene, pictures: np.ndarray, population: np.ndarray) -> dict[str, float]:
    """The figures of `measure` that pictures alone have."""
    half, each = len(BOTH), len(BACKGROUNDS)
    leaks, subjects = [], []
    for place in (0, 1):
        own, other = (slice(half + each * one, half + each * (one + 1)) for one in (place, 1 - place))
        known = strangers(scene.world, scene.pair[place])
        subjects.append(float(subject_score(pictures[own], scene.pair[place], known).mean()))
        chance = float(subject_score(population[other], scene.pair[place], known).mean())
        leaks.append(float(subject_score(pictures[other], scene.pair[place], known).mean()) - chance)
    graded = grade(read(pictures), parse(PROMPTS, KINDS))
    asked, right = (np.stack([part[name] for name in graded.right]) for part in (graded.asked, graded.right))
    return {
        "confusion": unmixed(pictures[:half], BOTH, scene.pair, scene.world, KINDS), "isolation": 1 - float(np.mean(leaks)),
        "worst leak": max(leaks), "subject": float(np.mean(subjects)), "prompt": float((asked & right).sum() / asked.sum()),
        "relation": float(graded.right["relation"][:half].mean()), "all of two": float(graded.joint[:half].mean()),
        "all of one": float(graded.joint[half:].mean()),
    }  # fmt: skip


def over(made: Sequence[Measured], figure: str) -> np.ndarray:
    """One figure of each scene."""
    return np.array([one.figures[figure] for one in made])


def table(arms: Mapping[str, Sequence[Measured]]) -> dict[str, dict[str, list[float]]]:
    """Arm -> figure -> its value for each scene."""
    return {arm: {name: over(made, name).round(4).tolist() for name in made[0].figures} for arm, made in arms.items()}


def gains(made: Sequence[Measured], populations: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of the mean score of both things alone, scene by scene: own state less none, and own state less that of the next scene."""
    own = over(made, "subject")
    none = np.array([judge(one.scene, drawn, drawn)["subject"] for one, drawn in zip(made, populations, strict=True)])
    following = [*made[1:], made[0]]
    other = np.array([judge(one.scene, next_.pictures, drawn)["subject"] for one, next_, drawn in zip(made, following, populations, strict=True)])
    return own - none, own - other


def outcome(
    own: str, arms: Mapping[str, Sequence[Measured]], populations: Sequence[np.ndarray], ceilings: Sequence[Mapping[str, float]],
    conditions: Mapping[str, bool], notes: str = "",
) -> Outcome:  # fmt: skip
    """What a check of several things in one picture says: the arm `own` beside all others, and what the prior itself can draw."""
    gain, swap = gains(arms[own], populations)
    figures = table(arms)
    ceiling = {name: float(np.mean([one[name] for one in ceilings])) for name in ("prompt", "relation", "all of two", "all of one")}
    about = (
        "Gain and swap gap are of the subject score of each thing asked alone. Confusion is bounded by how the prior draws two things in a relation."
    )
    return Outcome(
        passed=all(conditions.values()),
        measured={own: figures.pop(own), "conditions": dict(conditions), "the prior's own ceiling, both class words": ceiling},
        baseline=figures,
        gain=float(gain.mean()),
        gain_interval=bootstrap(gain).tolist(),
        swap_gap=float(swap.mean()),
        swap_gap_interval=bootstrap(swap).tolist(),
        state_bytes=float(over(arms[own], "bytes").mean()),
        adapt_seconds=float(over(arms[own], "adapt_seconds").mean()),
        notes=f"{about} {notes}".strip(),
    )
