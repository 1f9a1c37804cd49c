"""The contract: what every method is, what a personal state is, and the six verbs.

    method.fit(population)              learn what everyone shares
    state = method.adapt(evidence)      learn what is one person's own; call again with new evidence to update it
    method.<verb>(request, state)       recommend | search | write | draw | recognize | decide

`state=None` always works and means the population's own answer: what the method would give somebody it knows nothing about.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from sartor import _fields, _storage
from sartor.errors import CorruptFile, NotFitted, StateMismatch

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.ids import IdMap
    from sartor.data.population import Evidence, Population


@dataclass(frozen=True, eq=False)
class State:
    """All that a method keeps of one person: a few named arrays, kilobytes. Immutable; `adapt` makes a new one.

    A state belongs to the fitted model that made it (`fingerprint`) and is refused by any other.
    """

    arrays: Mapping[str, np.ndarray]
    method: str = ""
    """Class name of the method that made it."""
    fingerprint: str = ""
    """Of the fitted model that made it."""
    version: int = 1
    """1 for the first `adapt`, one more for every update."""
    examples: int = 0
    """How many pieces of evidence it has seen."""
    updated: float = field(default_factory=time.time)
    """When, in seconds since 1970 UTC."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Small JSON facts, e.g. how much of the evidence was unknown to the model."""

    def __post_init__(self) -> None:
        for array in self.arrays.values():
            array.flags.writeable = False

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in self.arrays.items())
        return f"State({self.method} v{self.version}, {self.examples} examples, {self.nbytes} bytes: {shapes})"

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def to_bytes(self) -> bytes:
        """As safetensors bytes, for any store."""
        meta = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "arrays"}
        return _storage.to_bytes(dict(self.arrays), {**meta, "notes": dict(self.notes)})

    @classmethod
    def from_bytes(cls, data: bytes) -> State:
        """The reverse of `to_bytes`; raises `CorruptFile` when the bytes are truncated or are something else."""
        kinds: dict[str, Any] = {"method": str, "fingerprint": str, "version": int, "examples": int, "updated": int | float, "notes": dict}
        arrays, meta = _storage.from_bytes(data, needs=tuple(kinds))
        if wrong := [name for name, kind in kinds.items() if not isinstance(meta[name], kind)]:
            raise CorruptFile(f"the facts {wrong} are not what a state has", fix="fetch or write it again")
        # Facts that a later version of sartor may add are left out.
        return cls(arrays, **{name: meta[name] for name in kinds})


@dataclass(frozen=True, eq=False)
class Ranking:
    """Items for a batch of people, best first."""

    indices: np.ndarray
    """int32 [people, k], item numbers; -1 where there were fewer than k items to give."""
    scores: np.ndarray
    """float32 [people, k], higher is better; -inf where there is no item. Scales differ between methods."""
    items: IdMap
    """What the numbers stand for."""

    def __len__(self) -> int:
        return int(self.indices.shape[0])

    def __iter__(self) -> Iterator[list[Any]]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> list[Any]:
        """Item ids of one person, best first."""
        numbers = self.indices[row]
        return self.items.array[numbers[numbers >= 0]].tolist()

    def to_frame(self, people: Sequence[Any] | None = None) -> pl.DataFrame:
        """Long form: person, rank (1 is best), item, score."""
        import polars as pl

        rows, columns = np.nonzero(self.indices >= 0)
        who = pl.Series("person", list(range(len(self))) if people is None else people)
        return pl.DataFrame(
            {
                "person": who.gather(rows),
                "rank": (columns + 1).astype(np.int32),
                "item": self.items.ids.gather(self.indices[rows, columns]),
                "score": self.scores[rows, columns],
            }
        )


@dataclass(frozen=True)
class Run:
    """How one `fit` runs, beside the hyperparameters."""

    validation: Population | None = None
    progress: bool = False
    checkpoint: Path | None = None
    """Folder for resumable progress."""
    key: str = ""
    """Tells this fit's data and settings from another's, so that a checkpoint is never continued by a different one."""


def learned(default: Any = MISSING) -> Any:
    """Declares an attribute that `fit` sets: typed and documented in the class body, not a hyperparameter."""
    return field(init=False, repr=False) if default is MISSING else field(init=False, repr=False, default=default)


@dataclass(kw_only=True, eq=False)
class Method(ABC):
    """Something that learns what everyone shares once, and a small state per person from that person's own few examples.

    A subclass is a keyword-only dataclass (`@dataclass(kw_only=True, eq=False)`): its fields are its hyperparameters, with the published
    defaults. What it learns lives in attributes that end in an underscore, declared with `learned()`; `save` and `load` keep exactly those
    and the hyperparameters.
    """

    seed: int = 0
    """The same seed on the same machine gives the same numbers."""
    fingerprint_: str = learned("")
    """Differs between any two fitted models; empty before `fit`."""
    fitted_on_: str = learned("")
    """Digest of the events that `fit` saw (`Population.digest`), by which `evaluate` notices a model that was fitted on what it is judged by."""

    population_frames: ClassVar[tuple[str, ...]] = ("events",)
    """Which frames `fit` needs."""

    def fit(
        self, population: Population, *, validation: Population | None = None, progress: bool = True, checkpoint: str | Path | None = None
    ) -> Self:
        """Learn what everyone shares.

        Parameters
        ----------
        population: who did, wrote, rated and showed what.
        validation: held-out events of the same people; iterative methods with `patience` stop by them and keep the best epoch.
        progress: show a bar with rate and time left.
        checkpoint: a folder; iterative methods leave their progress there now and then and on Ctrl-C, and go on from it next time.
        """
        _fields.check(self)
        for name in self.population_frames:
            population.frame(name)  # type: ignore[arg-type]  # raises EmptyData with what is there instead
        self._fit(population, Run(validation, progress, Path(checkpoint) if checkpoint is not None else None))
        self.fitted_on_ = str(population.digest()) if "events" in population else ""
        self._seal()
        return self

    @abstractmethod
    def _fit(self, population: Population, run: Run) -> None:
        """Set the learned attributes."""

    @abstractmethod
    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """One person's state from that person's evidence; with `state`, update it with new evidence."""

    def adapt_all(self, population: Population, *, progress: bool = False) -> dict[Any, State]:
        """States of everybody in a population, by person id. Methods that can do many at once do."""
        from sartor.progress import track

        return {evidence.person: self.adapt(evidence) for evidence in track(population.each(), "adapting", enabled=progress)}

    def _seal(self) -> None:
        self.fingerprint_ = _storage.fingerprint(self)

    def check_fitted(self) -> None:
        """Raise `NotFitted` before `fit` or `load`."""
        if not self.fingerprint_:
            raise NotFitted(f"{type(self).__name__} is not fitted", fix="call fit(population), or sartor.load(folder)")

    def check_state(self, state: State | None) -> None:
        """Raise `StateMismatch` when the state was made by another fitted model."""
        self.check_fitted()
        if state is not None and state.fingerprint != self.fingerprint_:
            raise StateMismatch(
                f"the state was made by {state.method or 'an unknown method'} {state.fingerprint[:8]}, "
                f"this is {type(self).__name__} {self.fingerprint_[:8]}",
                fix="adapt the person again with this model",
            )

    def make_state(
        self, arrays: Mapping[str, np.ndarray], *, before: State | None = None, examples: int = 0, notes: Mapping[str, Any] | None = None
    ) -> State:
        """A state of this fitted model; `before` is the one it updates."""
        if before is None:
            return State(arrays, type(self).__name__, self.fingerprint_, 1, examples, notes=notes or {})
        return replace(before, arrays=arrays, version=before.version + 1, examples=before.examples + examples, updated=time.time(), notes=notes or {})

    def save(self, folder: str | Path) -> Path:
        """Write config.json and safetensors into a folder, all or nothing."""
        self.check_fitted()
        return _storage.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The reverse of `save`; raises `CorruptFile` or `FileProblem`."""
        method = _storage.load(Path(folder))
        if not isinstance(method, cls):
            raise StateMismatch(f"{folder} holds a {type(method).__name__}, not a {cls.__name__}", fix="use sartor.load(folder)")
        return method

    def make_network(self) -> Any:
        """For torch methods: the untrained `network_`, built from the fields and learned sizes; `load` fills it."""
        raise NotFitted(f"{type(self).__name__} has no network")


def load(folder: str | Path) -> Any:
    """Any saved method from its folder."""
    return _storage.load(Path(folder))


States = Sequence[State | None]
Exclude = Literal["seen"] | Sequence[Sequence[Any]] | None


class Recommender(Method):
    """Ranks items for people."""

    @abstractmethod
    def recommend(self, states: States, k: int = 10, *, exclude: Exclude = "seen", candidates: Sequence[Any] | None = None) -> Ranking:
        """The k best items for each state.

        Parameters
        ----------
        states: one per request; None means the population's answer.
        k: how many items; fewer are given when the catalogue or the candidates have fewer left.
        exclude: "seen" leaves out what the state's own evidence holds; None leaves nothing out; or item ids, one list per state.
        candidates: item ids to choose from (a filter, a retrieval stage); either one list for all, or one list per state.
        """


class Searcher(Method):
    """Finds items for a query, for one person."""

    @abstractmethod
    def search(
        self, queries: Sequence[str], states: States, k: int = 10, *, where: Any = None, strength: float | None = None, exclude: Exclude = None,
        candidates: Sequence[Any] | None = None,
    ) -> Ranking:  # fmt: skip
        """The k best items for each query, as the person of each state would want them.

        Parameters
        ----------
        queries: one text each; an empty one is a `ConfigError`.
        states: one per query; None means the population's order.
        k: how many items; fewer are given when fewer are found.
        where: a condition on items' attributes, as text or as a `sartor.retrieve.filters.Filter`.
        strength: how much the person counts, from 0 (the population's order) to 1; None is the method's own measure, which it learned.
        exclude: as in `recommend`, but nothing is left out by default: people also search for what they know.
        candidates: item ids to choose from, one list for all.
        """


class Writer(Method):
    """Writes words for, or as, one person."""

    @abstractmethod
    def write(self, messages: Sequence[Mapping[str, str]], state: State | None = None) -> str:
        """The answer to a conversation of {role, content} messages."""

    def stream(self, messages: Sequence[Mapping[str, str]], state: State | None = None) -> Iterator[str]:
        """The same in pieces as they come."""
        yield self.write(messages, state)


class Illustrator(Method):
    """Draws pictures of one person's things, in this person's taste."""

    @abstractmethod
    def draw(self, prompts: Sequence[str], states: States, *, seeds: Sequence[int] | None = None) -> np.ndarray:
        """uint8 [prompts, height, width, 3]."""


class Recognizer(Method):
    """Tells whose, or which one, something is."""

    @abstractmethod
    def recognize(self, images: np.ndarray, states: Mapping[Any, State], *, k: int = 1) -> list[list[tuple[Any, float]]]:
        """For each image the k likeliest identities with their scores; None stands for "unknown"."""


class Decider(Method):
    """Chooses an action for each person under a shared budget."""

    @abstractmethod
    def decide(
        self, states: Mapping[Any, State | None], *, budget: float, requests: Mapping[Any, Mapping[str, Any]] | None = None
    ) -> Mapping[Any, Any]:  # fmt: skip
        """The action for each person (`sartor.decide.decision.Decisions`).

        Parameters
        ----------
        states: by person; None means the population's answer.
        budget: what all actions may cost together, in the method's own unit.
        requests: what is known of each person's situation now and what is wanted for her; without, what is usual.
        """

    def check_event(self, event: Mapping[str, Any]) -> None:
        """Raise `BadValue` for an event (`value`, `kind` and its context) that cannot be meant, such as feedback outside its scale.

        An engine asks before it keeps one: a single such event would stop its person's state from being made.
        """
