"""What every recognizer has that keeps vectors of the people it knows: enrolment, answers, and a threshold that turns strangers away."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from sartor import _fields
from sartor.data.population import Evidence, Population
from sartor.errors import BadImage, BadValue, ConfigError, Conflict, EmptyData
from sartor.method import Recognizer, Run, State, learned
from sartor.progress import track
from sartor.recognize.parts.images import checked
from sartor.recognize.parts.pictures import pictures_of
from sartor.recognize.parts.threshold import Impostors

FLAT = 2.0
"""Standard deviation of grey values, of 255, under which a picture shows nothing."""


@dataclass(kw_only=True, eq=False)
class VectorRecognizer(Recognizer):
    """Knows people by the mean of their pictures' vectors, and says "unknown" where nobody is like enough.

        method.fit_pictures(images, people)               # everybody: what tells people apart, and how alike strangers are
        ana = method.enrol(images_of_ana)                 # a few pictures
        ana = method.enrol(more, ana)                     # enrolled twice: examples are added
        method.recognize(images, {"ana": ana, "ben": ben})
        method.verify(images, ana)

    State: `sum` float32 [dim] of unit vectors, `count` int64 [1]; about 300 bytes. Nothing of a picture itself is kept.

    An image that shows nothing (one flat colour) is refused when enrolling and unknown when recognizing. An image of something else is turned away
    as strangers are: by the threshold, which lets `false_accepts` of them through.
    """

    false_accepts: float = 0.01
    """Share of strangers that may be taken for somebody, whoever many are enrolled."""
    held_out: float = 0.2
    """Share of the identities that `fit` learns nothing from, to set the threshold by."""
    height: int = 64
    """Pixels to which picture files are brought; pictures given as arrays stay as they are."""
    width: int = 64
    shape_: list[int] = learned()
    """Height, width and colours of the pictures."""
    impostors_: np.ndarray = learned()
    """float32, scores of held-out strangers, rising."""
    alone_: np.ndarray = learned()
    """float32, the same where each person is compared alone; empty for methods whose scores do not depend on who else is compared."""
    gallery_: int = learned(0)
    """Identities that were compared at once to set the threshold."""
    calibrated_on_: int = learned(0)
    """Identities that the threshold was set by. With too few to hold any out, methods that learn quickly do so from parts of them in turn, each
    judged on the others; for the rest it is 0 then, and the threshold was set by those that were learned from."""

    population_frames: ClassVar[tuple[str, ...]] = ("images",)

    # --- learning

    def _fit(self, population: Population, run: Run) -> None:
        images, people = pictures_of(population.frames["images"], population.folder, (self.height, self.width))
        self._learn_all(images, people, {}, run.progress)

    def fit_pictures(self, images: np.ndarray, people: Sequence[Any] | np.ndarray, *, progress: bool = False, **more: np.ndarray) -> Self:
        """Like `fit`, from pictures uint8 [n, h, w, 3] and who is on each; `more`: other columns [n] that the method learns from (cameras, outfits).

        Raises `BadImage`, `EmptyData` for fewer than two identities, `ConfigError`, `Diverged`.
        """
        _fields.check(self)
        self._learn_all(images, np.asarray(people), more, progress)
        self._seal()
        return self

    def _learn_all(self, images: np.ndarray, people: np.ndarray, more: Mapping[str, np.ndarray], progress: bool) -> None:
        if not 0 < self.false_accepts < 1 or not 0 <= self.held_out < 1:
            raise ConfigError(f"false_accepts {self.false_accepts}, held_out {self.held_out}", fix="both are shares, below 1")
        images = checked(images)
        if any(len(column) != len(images) for column in (people, *more.values())):
            raise ConfigError(f"{len(people)} labels for {len(images)} pictures", fix="give one of each column for each picture")
        names = np.unique(people)
        if names.size < 2:
            raise EmptyData(f"{names.size} identities to tell apart", fix="give pictures of at least two")
        self.shape_ = [int(one) for one in images.shape[1:]]
        count = int(self.held_out * names.size)
        # Fewer than five strangers say nothing about strangers.
        held = np.random.default_rng([self.seed, 17]).permutation(names)[: count if count >= 5 else 0]
        if held.size or names.size < 4 or not self._folds:
            out = np.isin(people, held)
            self._learn(images[~out], people[~out], {name: column[~out] for name, column in more.items()}, progress)
            self.calibrated_on_ = int(held.size)
            judged = out if held.size else np.ones(len(people), bool)
            self._calibrate(images[judged], people[judged])
            if self.held_out and not held.size:
                what = f"{names.size} identities are too few to hold some out: the threshold is set by those that were learned from, and lets more in"
                warnings.warn(f"{what}; look at it with `sartor recognize evaluate`", UserWarning, stacklevel=3)
            return
        # Too few to hold any out: each fold is scored by a model that has not learned from it.
        scores = []
        for part in np.array_split(np.random.default_rng([self.seed, 19]).permutation(names), min(self._folds, names.size)):
            rest = ~np.isin(people, part)
            self._learn(images[rest], people[rest], {name: column[rest] for name, column in more.items()}, progress)
            # Strangers are to be strangers to the model too, and those they are compared with.
            among = ~rest if part.size > 1 else np.ones(len(people), bool)
            scores.append(self._stranger_scores(images[among], people[among], part))
        self._learn(images, people, more, progress)
        self.calibrated_on_ = self.gallery_ = int(names.size)
        self.impostors_, self.alone_ = (Impostors.sample(np.concatenate(one), seed=self.seed) for one in zip(*scores, strict=True))

    @property
    def _folds(self) -> int:
        """Into how many parts a few identities are divided to set the threshold, learning once more for each; 0 where that takes too long."""
        return 0

    @abstractmethod
    def _learn(self, images: np.ndarray, people: np.ndarray, more: Mapping[str, np.ndarray], progress: bool) -> None:
        """Set the learned attributes from checked pictures."""

    @abstractmethod
    def _encode(self, images: np.ndarray) -> np.ndarray:
        """float32 [n, dim] of checked pictures; any length."""

    def _calibrate(self, images: np.ndarray, people: np.ndarray) -> None:
        """Set the threshold by identities that nothing was learned from."""
        names = np.unique(people)
        together, alone = self._stranger_scores(images, people, names)
        self.gallery_ = int(names.size)
        self.impostors_, self.alone_ = Impostors.sample(together, seed=self.seed), Impostors.sample(alone, seed=self.seed)

    def _stranger_scores(self, images: np.ndarray, people: np.ndarray, asking: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Half of each one's pictures are enrolled, and the others of those who are `asking` scored against everybody else: compared with all
        together, and each alone (none, where that is the same)."""
        names, number = np.unique(people, return_inverse=True)
        turn = np.empty(len(number), np.int64)
        for one in range(names.size):
            turn[number == one] = np.arange((number == one).sum())
        first = turn % 2 == 0
        probes = (~first if not first.all() else first) & np.isin(people, asking)
        states = [State(self._enrolled(images[first & (number == one)], None)) for one in range(names.size)]
        others = number[probes][:, None] != np.arange(names.size)[None]
        alone = self._alone(images[probes], states)[others] if self.together else np.zeros(0, np.float32)
        return self._compare(images[probes], states)[others], alone

    # --- people

    def _checked(self, images: np.ndarray) -> np.ndarray:
        height, width, channels = self.shape_
        return checked(images, (height, width, channels))

    def _blank(self, images: np.ndarray) -> np.ndarray:
        """bool [n]: checked pictures that show nothing."""
        return shows_nothing(images)

    def vectors(self, images: np.ndarray) -> np.ndarray:
        """float32 [n, dim] of length 1. Raises `BadImage` for another size or mode than the model was fitted on, `BadValue` for what is no number."""
        self.check_fitted()
        return self._units(self._checked(images))

    def _units(self, images: np.ndarray) -> np.ndarray:
        made = np.asarray(self._encode(images), np.float32)
        if not np.isfinite(made).all():
            row = int(np.flatnonzero(~np.isfinite(made).all(1))[0])
            raise BadValue("the encoder gives values that are no numbers", fix="look at this picture and at the encoder", image=row)
        return np.asarray(made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12), np.float32)

    def enrol(self, images: np.ndarray, state: State | None = None, *, sure: bool = True) -> State:
        """The state of who is on all of these pictures; with `state`, they are added to what is enrolled already.

        `sure`: False refuses pictures none of which looks like who is enrolled, as if they were somebody else's.

        Raises `BadImage` where a picture shows nothing or does not fit, `Conflict` for somebody else's, `EmptyData` for no picture, `StateMismatch`.
        """
        self.check_state(state)
        images = self._checked(images)
        if not len(images):
            raise EmptyData("there is no picture to enrol", fix="give at least one")
        if (blank := np.flatnonzero(self._blank(images))).size:
            raise BadImage("this picture shows nothing: it is of one colour", fix="give another one", image=int(blank[0]))
        if not sure and state is not None and not any(same for same, _ in self.verify(images, state)):
            what = "these pictures do not look like who is enrolled under this name"
            raise Conflict(what, fix="use another name, or say that you are sure")
        arrays = self._enrolled(images, state)
        return self.make_state(arrays, before=state, examples=len(images))

    def _enrolled(self, images: np.ndarray, state: State | None) -> dict[str, np.ndarray]:
        """Arrays of the new state; `images` are checked."""
        total = self._units(images).sum(0)
        count = np.array([len(images)], np.int64)
        return {"sum": total, "count": count} if state is None else {"sum": state["sum"] + total, "count": state["count"] + count}

    def withdraw(self, images: np.ndarray, state: State) -> State:
        """The state without these pictures, which were enrolled before; exact up to rounding. Raises `EmptyData` where nothing would be left."""
        self.check_state(state)
        vectors = self.vectors(images)
        if len(vectors) >= int(state["count"][0]):
            raise EmptyData("no picture would be left", fix="forget the person instead")
        arrays = {"sum": state["sum"] - vectors.sum(0), "count": state["count"] - len(vectors)}
        return self.make_state(arrays, before=state, examples=-len(vectors))

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """A person's state from the pictures of that person's evidence; paths are taken as they are."""
        return self._adapted(evidence, None, state)

    def adapt_all(self, population: Population, *, progress: bool = False) -> dict[Any, State]:
        """States of everybody, by person; paths are relative to the population's folder."""
        each = track(population.each(), "enrolling", enabled=progress)
        return {evidence.person: self._adapted(evidence, population.folder, None) for evidence in each}

    def _adapted(self, evidence: Evidence, folder: Path | None, state: State | None) -> State:
        self.check_state(state)
        images, _ = pictures_of(evidence.frames["images"], folder, (self.shape_[0], self.shape_[1]))
        return self.enrol(images, state)

    # --- answers

    def threshold(self, enrolled: int = 1) -> float:
        """The score from which somebody is recognized, when so many are enrolled: more people are more chances to look like one of them."""
        self.check_fitted()
        return Impostors(self.alone_ if self._one_by_one(enrolled) else self.impostors_).threshold(self.false_accepts, enrolled)

    @property
    def together(self) -> bool:
        """Whether scores depend on who else is compared: on neighbours, for one."""
        return type(self)._compare is not VectorRecognizer._compare

    def _one_by_one(self, enrolled: int) -> bool:
        """Whether too few are compared for neighbourhoods to mean what they meant when the threshold was set: then each is compared alone."""
        return self.together and enrolled < max(3, self.gallery_ // 2)

    def compare(self, images: np.ndarray, states: Mapping[Any, State]) -> np.ndarray:
        """float32 [images, people]: how alike, in the order of `states`; 1 is most."""
        for state in states.values():
            self.check_state(state)
        how = self._alone if self._one_by_one(len(states)) else self._compare
        return how(self._checked(images), list(states.values()))

    def _compare(self, images: np.ndarray, states: Sequence[State]) -> np.ndarray:
        return self._alone(images, states)

    def _alone(self, images: np.ndarray, states: Sequence[State]) -> np.ndarray:
        """float32 [images, people], cosines."""
        return np.asarray(self._units(images) @ self._centres(states).T, np.float32)

    def _centres(self, states: Sequence[State]) -> np.ndarray:
        """float32 [people, dim] of length 1."""
        return centres(states)

    def recognize(self, images: np.ndarray, states: Mapping[Any, State | None], *, k: int = 1) -> list[list[tuple[Any, float]]]:
        """For each image at most k people whose score is above the threshold, best first; [(None, threshold)] where it is nobody that is known.

        A state of None is somebody of whom nothing is known: nobody is recognized as her.
        """
        self.check_fitted()
        if k < 1:
            raise ConfigError(f"k is {k}", fix="use at least 1")
        known = {name: state for name, state in states.items() if state is not None}
        self._checked(images)
        least = self.threshold(max(1, len(known)))
        if not known:
            return [[(None, least)] for _ in range(len(images))]
        scores = self.compare(images, known)
        scores[self._blank(self._checked(images))] = -np.inf
        names = list(known)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        out = []
        for row, best in enumerate(order):
            found = [(names[one], float(scores[row, one])) for one in best if scores[row, one] >= least]
            out.append(found or [(None, least)])
        return out

    def verify(self, images: np.ndarray, state: State | None) -> list[tuple[bool, float]]:
        """For each image whether it is this person, and the score; nobody is a person of whom nothing is known."""
        self.check_fitted()
        self._checked(images)
        if state is None:
            return [(False, -1.0) for _ in range(len(images))]
        scores = self.compare(images, {"": state})[:, 0]
        scores[self._blank(self._checked(images))] = -1.0
        least = self.threshold(1)
        return [(bool(one >= least), float(one)) for one in scores]


def centres(states: Sequence[State]) -> np.ndarray:
    """float32 [people, dim] of length 1: the mean direction of what each has enrolled."""
    sums = np.stack([state["sum"] for state in states])
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), np.float32)


def shows_nothing(images: np.ndarray) -> np.ndarray:
    """bool [n]: pictures of one flat colour."""
    grey = images.astype(np.float32).mean(-1)
    return np.asarray(grey.std((1, 2)) < FLAT)
