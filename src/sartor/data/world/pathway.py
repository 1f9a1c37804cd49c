"""A metabolic pathway, every molecule and every enzyme an agent: a process of one control, to be fitted, steered and judged on.

world = Pathway.generated(4, whose=0)           four generated patients: the same pathway, each with as many enzymes as she has
counts = world.step(inflow)                     float64 [runs, 5]: S, P, Q, R, T that are free, scaled to the published size
world.measured(PULSES)                          person, item, time, S, P, Q, R, T, inflow: one row per run and step

Enzyme A turns S into P, E turns P into Q, I turns Q into R, and O turns P into T, many times as fast while it holds an R; products keep enzymes
busy, and R blocks A. Every tick molecules step in a random direction and enzymes creep; a free enzyme binds a molecule of its patch with some
chance; a complex lets go of it, or turns it into the next. S flows in, and what is free flows out with a small chance. All runs go at once.

Source: the metabolic pathway model of the study on control of medical digital twins, 2024: its rules and chances, on a torus of 100 x 100 with 200
enzymes of each kind and an outflow of 0.0005 per tick. A smaller torus holds as many per patch, and its counts are scaled up. Ours: it begins
empty but for a few molecules instead of with 120,000, since that is where its inflow keeps it, and one step is several ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from sartor.errors import ConfigError

SIDE = 100
"""Patches along one side of the published torus."""
ENZYMES = 200
OUTFLOW = 0.0005
MOLECULES = ("S", "P", "Q", "R", "T")
CONTROLS = ("inflow",)
FAMILIES = ("A", "E", "I", "O")
BINDS = {
    ("A", "S"): ("AS", 0.04), ("A", "P"): ("AP", 0.02), ("A", "R"): ("AR", 0.08), ("E", "P"): ("EP", 0.08), ("E", "Q"): ("EQ", 0.02),
    ("I", "Q"): ("IQ", 0.02), ("I", "R"): ("IR", 0.02), ("O", "P"): ("OP", 0.04), ("O", "T"): ("OT", 0.02), ("O", "R"): ("OR", 0.16),
    ("OR", "P"): ("ORP", 0.32), ("OR", "T"): ("ORT", 0.01), ("OP", "R"): ("ORP", 0.16), ("OT", "R"): ("ORT", 0.16),
}  # fmt: skip
"""What an enzyme becomes with a molecule of its patch, and the chance of it per tick."""
TURNS = {
    "AS": (("A", "S", 0.02), ("AP", "", 0.02)), "AP": (("A", "P", 0.04),), "AR": (("A", "R", 0.01),), "EP": (("E", "P", 0.02), ("EQ", "", 0.03)),
    "EQ": (("E", "Q", 0.04),), "IQ": (("I", "Q", 0.005), ("IR", "", 0.02)), "IR": (("I", "R", 0.04),),
    "OP": (("O", "P", 0.02), ("OT", "", 0.02)), "OT": (("O", "T", 0.04),), "OR": (("O", "R", 0.01),),
    "ORP": (("OR", "P", 0.01), ("ORT", "", 0.10), ("OP", "R", 0.01)), "ORT": (("OR", "T", 0.08), ("OT", "R", 0.01)),
}  # fmt: skip
"""What a complex may become, which molecule it lets go of, and the chance of each per tick."""
RANGE = (100.0, 300.0)
"""Generated patients' enzymes of each family: about the published 200."""
PULSES = np.full((320, 1), 0.6)
"""float64 [320, 1]: inflow per tick that excites a run so that it can be identified."""
PULSES[80:160], PULSES[240:] = 1.6, 1.0
PULSES.flags.writeable = False
_STATES = (*FAMILIES, *TURNS)
_NO = len(MOLECULES)


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """By state and molecule: chance to bind and what comes of it. By state and turn: chances added up, what comes of it, and what is let go."""
    chance, bound = np.zeros((len(_STATES), _NO)), np.zeros((len(_STATES), _NO), np.int64)
    for (enzyme, molecule), (complex_, often) in BINDS.items():
        at = _STATES.index(enzyme), MOLECULES.index(molecule)
        chance[at], bound[at] = often, _STATES.index(complex_)
    turn, made, freed = np.ones((len(_STATES), 4)), np.zeros((len(_STATES), 4), np.int64), np.full((len(_STATES), 4), _NO)
    made[:] = np.arange(len(_STATES))[:, None]
    for state, ways in TURNS.items():
        row = _STATES.index(state)
        for number, (then, molecule, _) in enumerate(ways):
            made[row, number] = _STATES.index(then)
            freed[row, number] = MOLECULES.index(molecule) if molecule else _NO
        turn[row, : len(ways)] = np.cumsum([often for _, _, often in ways])
    return chance, bound, turn, made, freed


_CHANCE, _BOUND, _TURN, _MADE, _FREED = _tables()


@dataclass(kw_only=True)
class Pathway:
    """Several runs of the model, each with enzymes of its own: a generated patient is such a set of four numbers."""

    runs: int
    side: int = SIDE
    enzymes: Sequence[Sequence[float]] | np.ndarray = ((ENZYMES,) * 4,)
    """Of A, E, I and O at the published size; one row for all, or one for each run."""
    every: int = 25
    """Ticks of one step."""
    start: Sequence[float] = (1_000.0, 200.0, 200.0, 100.0, 300.0)
    """Molecules of each kind at the published size."""
    seed: int = 0
    scale: float = field(init=False)
    """What one molecule counts."""

    def __post_init__(self) -> None:
        given = np.asarray(self.enzymes, np.float64)
        if self.runs < 1 or self.side < 8 or self.every < 1:
            raise ConfigError(f"{self.runs} runs on a side of {self.side}, {self.every} ticks a step", fix="give at least one run on 8 x 8 patches")
        if given.ndim != 2 or given.shape not in ((1, 4), (self.runs, 4)) or not (np.isfinite(given) & (given > 0)).all():
            raise ConfigError(f"enzymes are {list(given.shape)}", fix=f"give 1 or {self.runs} rows of four numbers above 0")
        self.scale = (SIDE / self.side) ** 2
        self._rng = np.random.default_rng([self.seed, 131])
        numbers = np.broadcast_to(np.maximum(np.round(given / self.scale), 1).astype(np.int64), (self.runs, 4)).ravel()
        self._state = np.repeat(np.tile(np.arange(4), self.runs), numbers)
        self._home = np.repeat(np.repeat(np.arange(self.runs), 4), numbers)
        self._site = self._rng.random((self._state.size, 2)) * self.side
        kinds = np.repeat(np.arange(_NO), np.round(np.asarray(self.start) / self.scale).astype(np.int64))
        self._kind, self._run = np.tile(kinds, self.runs), np.repeat(np.arange(self.runs), kinds.size)
        self._place = self._rng.random((self._kind.size, 2)) * self.side
        self._rest = np.zeros(self.runs)

    @classmethod
    def generated(cls, runs: int, *, whose: int = 0, patients: int | None = None, seed: int = 0, side: int = SIDE) -> Pathway:
        """Generated patients.

        Parameters
        ----------
        whose: seed of their enzymes; `seed` is that of what happens to them.
        patients: how many different ones; each has `runs / patients` runs, one after the other. None: as many as runs.
        """
        patients = runs if patients is None else patients
        if patients < 1 or runs % patients:
            raise ConfigError(f"{runs} runs of {patients} patients", fix="give the same number of runs to each")
        drawn = np.random.default_rng([whose, 137]).uniform(*RANGE, (patients, 4))
        return cls(runs=runs, side=side, seed=seed, enzymes=np.repeat(drawn, runs // patients, 0))

    @property
    def counts(self) -> np.ndarray:
        """float64 [runs, 5]: free molecules of each kind, at the published size."""
        return self.scale * np.bincount(self._run * _NO + self._kind, minlength=self.runs * _NO).reshape(self.runs, _NO).astype(np.float64)

    @property
    def held(self) -> np.ndarray:
        """float64 [runs, 5]: molecules of each kind in complexes, at the published size."""
        inside = np.array([[state[1:].count(kind) for kind in MOLECULES] for state in _STATES])
        out = np.zeros((self.runs, _NO))
        np.add.at(out, self._home, inside[self._state])
        return self.scale * out

    def step(self, inflow: np.ndarray | None = None) -> np.ndarray:
        """Some ticks under an inflow float [runs, 1] of S per tick at the published size; None for none. Returns `counts`."""
        flow = np.zeros(self.runs) if inflow is None else np.asarray(inflow, np.float64)
        if (inflow is not None and flow.shape != (self.runs, 1)) or not (np.isfinite(flow) & (flow >= 0)).all():
            raise ConfigError("the inflow is not a number from 0 for every run", fix=f"give [{self.runs}, 1] of them")
        for _ in range(self.every):
            self._tick(flow.ravel() / self.scale)
        return self.counts

    def measured(self, inflow: np.ndarray) -> pl.DataFrame:
        """Events of the next steps of every run under inflow [steps, 1], the same for all: a person is the number of a run, her item a step."""
        counts = np.stack([self.step(np.tile(one, (self.runs, 1))) for one in inflow], 1).reshape(-1, _NO)
        return pl.DataFrame(
            {
                "person": np.repeat(np.arange(self.runs), len(inflow)), "item": ["step"] * len(counts),
                "time": np.tile(np.arange(len(inflow)), self.runs),
                **{name: counts[:, at] for at, name in enumerate(MOLECULES)}, CONTROLS[0]: np.tile(inflow[:, 0], self.runs),
            }
        )  # fmt: skip

    def _tick(self, flow: np.ndarray) -> None:
        self._place = self._moved(self._place, 1.0)
        self._site = self._moved(self._site, 0.1)
        before = self._state.copy()
        self._bind()
        self._turn(np.flatnonzero((self._state == before) & (before >= len(FAMILIES))))
        self._rest += flow
        new = np.floor(self._rest).astype(np.int64)
        self._rest -= new
        run = np.repeat(np.arange(self.runs), new)
        stays = self._rng.random(self._kind.size) >= OUTFLOW
        self._only(stays, np.zeros(run.size, np.int64), run, self._rng.random((run.size, 2)) * self.side)

    def _moved(self, place: np.ndarray, far: float) -> np.ndarray:
        turn = self._rng.random(len(place)) * (2 * np.pi)
        return (place + far * np.stack([np.cos(turn), np.sin(turn)], 1)) % self.side

    def _patch(self, run: np.ndarray, place: np.ndarray) -> np.ndarray:
        cell = np.minimum(place.astype(np.int64), self.side - 1)
        return (run * self.side + cell[:, 0]) * self.side + cell[:, 1]

    def _bind(self) -> None:
        """Enzymes and molecules of a patch meet in any order; an enzyme takes one molecule, and no molecule is taken twice."""
        there = self._patch(self._run, self._place)
        order = np.argsort(there, kind="stable")
        here, there = self._patch(self._home, self._site), there[order]
        first, last = np.searchsorted(there, here), np.searchsorted(there, here, side="right")
        many = last - first
        enzyme = np.repeat(np.arange(here.size), many)
        molecule = order[np.arange(enzyme.size) - np.repeat(np.cumsum(many) - many, many) + np.repeat(first, many)]
        met = self._rng.random(enzyme.size) < _CHANCE[self._state[enzyme], self._kind[molecule]]
        enzyme, molecule = enzyme[met], molecule[met]
        order = self._rng.permutation(enzyme.size)
        enzyme, molecule = enzyme[order], molecule[order]
        taken = np.zeros(self._kind.size, bool)
        # Pairs are few, and two that share a molecule fewer: whichever comes first.
        while enzyme.size:
            pair = np.intersect1d(np.unique(enzyme, return_index=True)[1], np.unique(molecule, return_index=True)[1])
            self._state[enzyme[pair]] = _BOUND[self._state[enzyme[pair]], self._kind[molecule[pair]]]
            taken[molecule[pair]] = True
            left = ~(np.isin(enzyme, enzyme[pair]) | taken[molecule])
            enzyme, molecule = enzyme[left], molecule[left]
        self._only(~taken)

    def _turn(self, some: np.ndarray) -> None:
        """What complexes become; those that were made in this tick wait for the next."""
        state = self._state[some]
        way = (self._rng.random(some.size)[:, None] >= _TURN[state]).sum(1)
        self._state[some], freed = _MADE[state, way], _FREED[state, way]
        gone = freed < _NO
        self._only(slice(None), freed[gone], self._home[some[gone]], self._site[some[gone]])

    def _only(self, kept: np.ndarray | slice, *more: np.ndarray) -> None:
        """Some of the molecules, and new ones: their kind, run and place."""
        parts = more or (np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 2)))
        self._kind, self._run, self._place = (
            np.concatenate([one[kept], new]) for one, new in zip((self._kind, self._run, self._place), parts, strict=True)
        )
