"""One table of several methods that learn things from pictures: the same held-out subjects, prompts and optimisation budget, once per seed.

    board = DrawingBoard("drawings", Prior.shapes(), DrawingTask(steps=150))
    measured = [board.run("perfusion", lambda: Perfusion(), seed) for seed in (0, 1, 2)]
    pooled(measured)

A seed is other subjects, other references and other noise. What was measured is kept, one file per method and seed, so that an interrupted board
goes on and a further method joins without the others being run again.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sartor import _storage
from sartor.data.world.shapes.others import population
from sartor.data.world.shapes.prompts import Prompts, concept_prompts
from sartor.data.world.shapes.sprites import Subject
from sartor.data.world.shapes.words import BACKGROUNDS, RELATIONS
from sartor.data.world.shapes.world import ShapesWorld
from sartor.draw._base import ConceptMethod
from sartor.draw._scene import SceneMethod
from sartor.draw._shown import Shown
from sartor.draw.parts.prior import Prior
from sartor.errors import ConfigError, CorruptFile
from sartor.evaluate.claim import plain
from sartor.evaluate.drawing import NAME, concepts, mean, pasted, score, shown
from sartor.evaluate.pictures import unmixed
from sartor.method import State

POPULATION, PASTED = "population", "paste the reference"
CONTROLS = (POPULATION, PASTED)
PARTNER = "<b>"
KIND, PARTNER_KIND = "critter", "badge"
SHOWN = 6
"""Prompts of the first subject whose pictures are kept for contact sheets."""
FIGURES = (
    "subject", "prompt", "edit", "unmixed", "gain", "swap_gap", "copy", "steps", "adapt_seconds", "bytes", "draw_seconds", "once_seconds",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DrawingTask:
    """What methods are judged on.

    Parameters
    ----------
    subjects: held-out critters at each seed, others at every one.
    references: pictures of each.
    prompts: of the 48 of `concept_prompts`, half of them edits.
    pairs: prompts with the first critter and a held-out badge in one picture; 0 leaves them out.
    steps: of optimisation for each thing; a method that learns two things from one picture has twice as many for both.
    start: number of the first subject of seed 0.
    others: training individuals that methods which learn from others see once, in pictures of their own and in pairs.
    once: steps of optimisation on those; a new thing takes such a method none.
    """

    subjects: int = 2
    references: int = 4
    prompts: int = 24
    pairs: int = 8
    steps: int = 150
    start: int = 0
    others: int = 300
    once: int = 600

    def __post_init__(self) -> None:
        for name, least, most in (("subjects", 2, 200), ("references", 1, 20), ("prompts", 2, 48), ("pairs", 0, 24), ("steps", 1, 100_000),
                                  ("others", 2, 10_000), ("once", 1, 1_000_000)):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"{name} is {getattr(self, name)}", fix=f"use {least} to {most}")

    def chosen(self) -> Prompts:
        """The prompts, evenly out of both halves of all."""
        every = concept_prompts(NAME)
        halves = (np.flatnonzero(every.edits == part) for part in (False, True))
        rows = np.concatenate([
            half[np.linspace(0, len(half) - 1, count).round().astype(int)]
            for half, count in zip(halves, (self.prompts - self.prompts // 2, self.prompts // 2), strict=True)
        ])  # fmt: skip
        return Prompts([every.texts[row] for row in rows], every.edits[rows])

    def together(self) -> list[str]:
        """Prompts with two things, in every relation."""
        return [f"a {NAME} {RELATIONS[n % 4]} a {PARTNER} on {BACKGROUNDS[(n + n // 4) % 6]}" for n in range(self.pairs)]


@dataclass(frozen=True)
class Measured:
    """One method, or one control, at one seed."""

    method: str
    seed: int
    figures: Mapping[str, float]
    """`FIGURES` and those of `drawing.score`: means over subjects; bytes, steps and processor seconds of one thing; NaN where there is none."""
    each: Mapping[str, list[float]]
    """The same of every subject, where it has them."""
    settings: Mapping[str, Any]
    pictures: np.ndarray = field(repr=False)
    """uint8 [SHOWN, H, W, 3], of the first subject; of the control `PASTED` its references."""


class DrawingBoard:
    """Measurements of drawing methods in a folder.

    Parameters
    ----------
    folder: made if it is not there.
    prior: that all stand on; measurements on another one in the folder are left alone.
    """

    def __init__(self, folder: str | Path, prior: Prior, task: DrawingTask | None = None) -> None:
        self.folder, self.prior, self.task = Path(folder), prior, task or DrawingTask()
        self.world = ShapesWorld(**prior.card.get("world", {}))
        self._population: dict[Any, np.ndarray] = {}
        self._once: dict[str, tuple[ConceptMethod, float]] = {}

    def subjects(self, seed: int) -> tuple[list[Subject], Subject]:
        """The critters of a seed, and the badge that stands beside the first one."""
        first = self.task.start + seed * self.task.subjects
        return self.world.subjects(self.task.subjects, noun=KIND, start=first), self.world.subjects(1, noun=PARTNER_KIND, start=first)[0]

    def get(self, method: str, seed: int, settings: Mapping[str, Any]) -> Measured | None:
        """What was measured before; None when it was not. Raises `CorruptFile`."""
        path = self._path(method, seed, settings)
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            figures = {name: _number(value) for name, value in found["figures"].items()}
            each = {name: [_number(one) for one in values] for name, values in found["each"].items()}
            return Measured(method, seed, figures, each, found["settings"], np.load(path.with_suffix(".npy"), allow_pickle=False))
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as cause:
            raise CorruptFile("this measurement cannot be read", fix="delete it: it is measured again", file=path) from cause

    def run(self, method: str, make: Callable[[], ConceptMethod], seed: int, settings: Mapping[str, Any] | None = None) -> Measured:
        """Measure a method at a seed, or give what was measured before with the same settings.

        Parameters
        ----------
        make: gives the method, not fitted; its steps are set to the budget.
        settings: whatever makes it another one than its defaults do.
        """
        settings = settings or {}
        if (known := self.get(method, seed, settings)) is not None:
            return known
        if method in CONTROLS:
            figures, each, pictures = self._control(method, make, seed)
        else:
            figures, each, pictures = self._method(make, seed, f"{method} {plain(settings)}")
        made = Measured(method, seed, figures, each, dict(settings), pictures)
        path, data = self._path(method, seed, settings), io.BytesIO()
        np.save(data, pictures, allow_pickle=False)
        kept = {"method": method, "seed": seed, "figures": figures, "each": each, "settings": settings, "task": asdict(self.task)}
        _storage.write_atomically(path.with_suffix(".npy"), data.getvalue())
        _storage.write_atomically(path, json.dumps(plain(kept), indent=1).encode())
        return made

    def _method(self, make: Callable[[], ConceptMethod], seed: int, key: str) -> tuple[dict[str, float], dict[str, list[float]], np.ndarray]:
        own, partner = self.subjects(seed)
        method = make()
        if method.population_frames:
            method, once = self._learned_once(method, key)
            steps = 0
        else:
            steps, once = budgeted(method, self.task.steps), 0.0
            method.fit(on=self.prior)
        scene = isinstance(method, SceneMethod)

        order = iter(own)

        def teach(asked: ConceptMethod, _: Shown, seed: int) -> State:
            return asked.learn(self._scene(next(order), partner, seed), seed=seed)

        found = concepts(
            method, self.world, own, references=self.task.references, prompts=self.task.chosen(), seed=seed, kept=self._population,
            teach=teach if scene else None,
        )  # fmt: skip
        for one in found:
            things = len(one.state.notes["concepts"])
            one.figures.update(bytes=one.figures["bytes"] / things, adapt_seconds=one.figures["adapt_seconds"] / things)
        figures = mean(found) | {"unmixed": float("nan"), "steps": float(steps), "once_seconds": once}
        if self.task.pairs and not method.alone:
            state = found[0].state
            if not scene:
                second = shown(self.world, partner, count=self.task.references, seed=seed)
                state = method.learn(_named(second, PARTNER), state, seed=seed)
            figures["unmixed"] = self._unmixed(method, state, own[0], partner, seed)
        each = {name: [one.figures[name] for one in found] for name in found[0].figures}
        return figures, each, found[0].pictures[self._rows()]

    def _learned_once(self, method: ConceptMethod, key: str) -> tuple[ConceptMethod, float]:
        """Fitted on others' things, and the processor seconds that took; the same one at every seed, since what differs is whose things come."""
        if key not in self._once:
            budgeted(method, self.task.once)
            method.seed = 0
            before = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                known = population(self.world, Path(folder), things=self.task.others, each=self.task.references + 1, pairs=self.task.others)
                method.fit(known, on=self.prior, progress=False)
            self._once[key] = method, time.process_time() - before
        return self._once[key]

    def _control(self, name: str, make: Callable[[], ConceptMethod], seed: int) -> tuple[dict[str, float], dict[str, list[float]], np.ndarray]:
        own, partner = self.subjects(seed)
        chosen, nothing = self.task.chosen(), {"steps": 0.0, "adapt_seconds": 0.0, "bytes": 0.0, "once_seconds": 0.0}
        if name == PASTED:
            figures = pasted(self.world, own, references=self.task.references, prompts=chosen, seed=seed)
            images = shown(self.world, own[0], count=self.task.references, seed=seed).images
            return {**figures, **nothing, "unmixed": float("nan")}, {}, images[np.arange(len(self._rows())) % len(images)]
        method = make().fit(on=self.prior)
        seeds = [seed * 10_000 + number for number in range(len(chosen.texts))]
        pictures = method.draw(chosen.texts, [None] * len(seeds), seeds=seeds, classes={NAME: KIND})
        rows = [score(self.world, pictures, chosen, one) for one in own]
        figures = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} | nothing | {"gain": 0.0, "swap_gap": 0.0}
        figures["unmixed"] = self._unmixed(method, None, own[0], partner, seed) if self.task.pairs else float("nan")
        return figures, {key: [row[key] for row in rows] for key in rows[0]}, pictures[self._rows()]

    def _unmixed(self, method: ConceptMethod, state: State | None, first: Subject, partner: Subject, seed: int) -> float:
        texts, classes = self.task.together(), {NAME: KIND, PARTNER: PARTNER_KIND}
        seeds = [seed * 10_000 + 5_000 + number for number in range(len(texts))]
        pictures = method.draw(texts, [state] * len(texts), seeds=seeds, classes=classes)
        return unmixed(pictures, texts, (first, partner), self.world, classes)

    def _scene(self, subject: Subject, partner: Subject, seed: int) -> list[Shown]:
        """Pictures that show both, for methods that learn things out of one picture."""
        scenes = self.world.together((subject, partner), self.task.references, seed=seed)
        images = scenes.render()
        captions = scenes.captions(names=(f"{NAME} {KIND}", f"{PARTNER} {PARTNER_KIND}"))
        return [
            Shown(name=name, class_word=one.noun, images=images, masks=scenes.masks(place), captions=captions)
            for place, (name, one) in enumerate(((NAME, subject), (PARTNER, partner)))
        ]

    def _rows(self) -> np.ndarray:
        """Of the prompts whose pictures are kept."""
        return np.unique(np.linspace(0, self.task.prompts - 1, min(SHOWN, self.task.prompts)).round().astype(int))

    def sheet(self, measured: Sequence[Measured], seed: int, *, side: int = 96) -> np.ndarray:
        """A contact sheet uint8 [H, W, 3] of what was measured at a seed: a column for each method, a row for each kept prompt."""
        from sartor.draw.parts.picture_files import sheet

        chosen = [one for one in measured if one.seed == seed]
        texts = [self.task.chosen().texts[row] for row in self._rows()]
        rows = [[one.pictures[row] for one in chosen] for row in range(len(texts))]
        names = ["reference" if one.method == PASTED else one.method for one in chosen]
        return sheet(rows, names, [text.replace(NAME, f"{NAME} ({KIND})") for text in texts], side=side)

    def _path(self, method: str, seed: int, settings: Mapping[str, Any]) -> Path:
        facts = json.dumps([asdict(self.task), self.prior.fingerprint, plain(settings)], sort_keys=True, default=repr)
        name = method.replace(" ", "-")
        return self.folder / f"{name}-{seed}-{hashlib.blake2b(facts.encode(), digest_size=6).hexdigest()}.json"


def budgeted(method: ConceptMethod, steps: int) -> int:
    """Set a method's steps of optimisation, all phases together, for one thing, and return it; 0 for methods that take none."""
    owner: Any = getattr(method, "base", method)
    total = 2 * steps if isinstance(owner, SceneMethod) else steps
    phases = [name for name in ("encoder_steps", "decoder_steps", "word_steps", "steps") if hasattr(owner, name)]
    for number, name in enumerate(phases):
        setattr(owner, name, total // len(phases) + (number < total % len(phases)))
    return steps if phases else 0


def pooled(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row for each method: the mean of every figure over seeds, those without it left out; and `seeds`."""
    rows = []
    for method in dict.fromkeys(one.method for one in measured):
        own = [one for one in measured if one.method == method]
        row: dict[str, Any] = {"method": method, "seeds": len(own)}
        for name in FIGURES:
            values = [one.figures[name] for one in own if not np.isnan(one.figures.get(name, float("nan")))]
            row[name] = float(np.mean(values)) if values else None
        rows.append(row)
    return rows


def front(rows: Sequence[Mapping[str, Any]], x: str = "prompt", y: str = "subject") -> list[str]:
    """The methods that no other one beats in both figures, by x (Pareto front); controls are none."""
    own = [row for row in rows if row["method"] not in CONTROLS]
    best = [row for row in own if not any(other[x] >= row[x] and other[y] >= row[y] and (other[x], other[y]) != (row[x], row[y]) for other in own)]
    return [row["method"] for row in sorted(best, key=lambda row: row[x])]


def _named(one: Shown, name: str) -> Shown:
    return Shown(name=name, class_word=one.class_word, images=one.images, masks=one.masks)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
