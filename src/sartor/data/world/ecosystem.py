"""Grass, sheep and wolves, each an agent: a process with a mind of its own, to be fitted, controlled and judged on.

world = Ecosystem.generated(4, whose=0)         four generated patients: the same model, each with rates of its own
counts = world.step(rates)                      float64 [runs, 3]: grass, sheep and wolves, scaled to the published size
world.measured(PULSES)                          person, item, time, grass, sheep, wolves, remove_sheep, remove_wolves: one row per run and tick

Every tick: sheep turn, step, lose energy, eat the grass under them, die or give birth; wolves do the same and eat one sheep on their patch; eaten
grass grows again after some ticks. Controls remove each sheep and each wolf with a probability per tick. All runs are simulated at once.

Source: the wolf-sheep predation model (Wilensky, 1997) with the settings of the study on control of medical digital twins, 2024: a torus of
255 x 255, 2,500 sheep and 1,250 wolves at the start. A smaller torus starts with as many per patch, and its counts are scaled up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from sartor.errors import ConfigError

SIDE = 255
"""Patches along one side of the published torus."""
SHEEP, WOLVES = 2_500, 1_250
SPECIES = ("grass", "sheep", "wolves")
CONTROLS = ("remove_sheep", "remove_wolves")
RANGES = {"gain_sheep": (3.6, 4.8), "gain_wolf": (17.0, 23.0), "birth_sheep": (0.036, 0.048), "birth_wolf": (0.045, 0.056), "regrow": (25.0, 36.0)}
"""Of generated patients' rates: about the published ones, 4, 20, 0.04, 0.05 and 30."""
PULSES = np.zeros((600, 2))
"""float64 [600, 2]: rates that excite a run so that it can be identified, each control for 100 ticks."""
PULSES[200:300, 0], PULSES[400:500, 1] = 0.02, 0.02
PULSES.flags.writeable = False


@dataclass
class _Animals:
    """All animals of one kind, of all runs."""

    run: np.ndarray
    place: np.ndarray
    """float64 [n, 2], in patches."""
    heading: np.ndarray
    """Degrees."""
    energy: np.ndarray

    def only(self, kept: np.ndarray) -> _Animals:
        return _Animals(self.run[kept], self.place[kept], self.heading[kept], self.energy[kept])

    def and_(self, more: _Animals) -> _Animals:
        pairs = ((self.run, more.run), (self.place, more.place), (self.heading, more.heading), (self.energy, more.energy))
        return _Animals(*(np.concatenate(pair) for pair in pairs))


@dataclass(kw_only=True)
class Ecosystem:
    """Several runs of the model, each with rates of its own: a generated patient is such a set of rates."""

    runs: int
    side: int = 96
    gain_sheep: Sequence[float] = (4.0,)
    """Energy of one patch of grass; one for all, or one for each run, as all below."""
    gain_wolf: Sequence[float] = (20.0,)
    birth_sheep: Sequence[float] = (0.04,)
    birth_wolf: Sequence[float] = (0.05,)
    regrow: Sequence[float] = (30.0,)
    """Ticks."""
    seed: int = 0
    _rates: dict[str, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.runs < 1 or self.side < 8:
            raise ConfigError(f"{self.runs} runs on a side of {self.side}", fix="give at least one run, on at least 8 x 8 patches")
        self._rates = {}
        for name in ("gain_sheep", "gain_wolf", "birth_sheep", "birth_wolf", "regrow"):
            given = np.asarray(getattr(self, name), np.float64)
            if given.shape not in ((1,), (self.runs,)) or not (np.isfinite(given) & (given > 0)).all():
                raise ConfigError(f"{name} is {getattr(self, name)}", fix=f"give 1 or {self.runs} numbers above 0")
            self._rates[name] = np.broadcast_to(given, self.runs)
        self._rng = np.random.default_rng([self.seed, 101])
        self.scale = (SIDE / self.side) ** 2
        """What one agent counts."""
        patches = self.side * self.side
        # 0 is green, otherwise ticks until it is.
        self._wait = np.where(
            self._rng.random(self.runs * patches) < 0.5, 0.0, np.repeat(self._rates["regrow"], patches) * self._rng.random(self.runs * patches)
        )
        self._sheep = self._first(round(SHEEP / self.scale), "gain_sheep")
        self._wolves = self._first(round(WOLVES / self.scale), "gain_wolf")

    @classmethod
    def generated(cls, runs: int, *, whose: int = 0, patients: int | None = None, seed: int = 0, side: int = 96) -> Ecosystem:
        """Generated patients.

        Parameters
        ----------
        whose: seed of their rates; `seed` is that of what happens to them.
        patients: how many different ones; each has `runs / patients` runs, one after the other. None: as many as runs.
        """
        patients = runs if patients is None else patients
        if patients < 1 or runs % patients:
            raise ConfigError(f"{runs} runs of {patients} patients", fix="give the same number of runs to each")
        rng = np.random.default_rng([whose, 107])
        rates = {name: np.repeat(rng.uniform(*between, patients), runs // patients) for name, between in RANGES.items()}
        return cls(runs=runs, side=side, seed=seed, **rates)  # type: ignore[arg-type]

    def _first(self, each: int, gain: str) -> _Animals:
        n, rng = each * self.runs, self._rng
        run = np.repeat(np.arange(self.runs), each)
        return _Animals(run, rng.random((n, 2)) * self.side, rng.random(n) * 360, rng.random(n) * 2 * self._rates[gain][run])

    @property
    def counts(self) -> np.ndarray:
        """float64 [runs, 3]: green patches, sheep, wolves, at the published size."""
        green = (self._wait <= 0).reshape(self.runs, -1).sum(1)
        animals = (np.bincount(one.run, minlength=self.runs) for one in (self._sheep, self._wolves))
        return self.scale * np.stack([green, *animals], 1)

    def step(self, rates: np.ndarray | None = None) -> np.ndarray:
        """One tick; `rates` float [runs, 2] remove sheep and wolves. Returns `counts`."""
        if rates is not None:
            rates = np.asarray(rates, np.float64)
            if rates.shape != (self.runs, 2) or not ((rates >= 0) & (rates <= 1)).all():
                raise ConfigError("the rates are not probabilities for every run", fix=f"give [{self.runs}, 2] numbers from 0 to 1")
        self._sheep = self._lives(self._graze(self._moved(self._sheep)), "birth_sheep")
        wolves, eaten = self._hunt(self._moved(self._wolves))
        self._sheep = self._sheep.only(~eaten)
        self._wolves = self._lives(wolves, "birth_wolf")
        self._wait = np.maximum(self._wait - 1, 0.0)
        if rates is not None:
            self._sheep, self._wolves = (
                one.only(self._rng.random(one.run.size) >= rates[one.run, column]) for column, one in enumerate((self._sheep, self._wolves))
            )
        return self.counts

    def run(self, ticks: int, rates: np.ndarray | None = None) -> np.ndarray:
        """float64 [ticks, runs, 3], with rates [runs, 2] all the time, or [ticks, runs, 2]."""
        each = np.zeros((self.runs, 2)) if rates is None else np.asarray(rates, np.float64)
        return np.stack([self.step(each if each.ndim == 2 else each[tick]) for tick in range(ticks)])

    def measured(self, rates: np.ndarray) -> pl.DataFrame:
        """Events of the next ticks of every run under rates [ticks, 2], the same for all: a person is the number of a run, her item a tick."""
        ticks = rates.shape[0]
        counts = self.run(ticks, np.repeat(rates[:, None, :], self.runs, 1)).transpose(1, 0, 2).reshape(-1, 3)
        who, given = np.repeat(np.arange(self.runs), ticks), np.tile(rates, (self.runs, 1))
        return pl.DataFrame(
            {
                "person": who, "item": ["tick"] * who.size, "time": np.tile(np.arange(ticks), self.runs),
                **{name: counts[:, at] for at, name in enumerate(SPECIES)}, **{name: given[:, at] for at, name in enumerate(CONTROLS)},
            }
        )  # fmt: skip

    def _moved(self, some: _Animals) -> _Animals:
        heading = some.heading + self._rng.random(some.run.size) * 50 - self._rng.random(some.run.size) * 50
        return _Animals(some.run, self._stepped(some.place, heading), heading, some.energy - 1)

    def _stepped(self, place: np.ndarray, heading: np.ndarray) -> np.ndarray:
        turn = np.deg2rad(heading)
        return (place + np.stack([np.sin(turn), np.cos(turn)], 1)) % self.side

    def _patch(self, some: _Animals) -> np.ndarray:
        """Number of the patch each stands on, over all runs."""
        cell = np.minimum(some.place.astype(np.int64), self.side - 1)
        return (some.run * self.side + cell[:, 0]) * self.side + cell[:, 1]

    def _graze(self, sheep: _Animals) -> _Animals:
        """One sheep eats a green patch, whichever comes first."""
        order = self._rng.permutation(sheep.run.size)
        patch, first = np.unique(self._patch(sheep)[order], return_index=True)
        fed = order[first[self._wait[patch] <= 0]]
        sheep.energy[fed] += self._rates["gain_sheep"][sheep.run[fed]]
        eaten = patch[self._wait[patch] <= 0]
        self._wait[eaten] = self._rates["regrow"][eaten // (self.side * self.side)]
        return sheep

    def _hunt(self, wolves: _Animals) -> tuple[_Animals, np.ndarray]:
        """Every wolf eats a sheep of its patch, no sheep is eaten twice: the k-th wolf there gets the k-th sheep."""
        herd, pack = self._patch(self._sheep), self._patch(wolves)
        sheep, order = self._rng.permutation(herd.size), self._rng.permutation(pack.size)
        sheep, order = sheep[np.argsort(herd[sheep], kind="stable")], order[np.argsort(pack[order], kind="stable")]
        there, here = herd[sheep], pack[order]
        place = np.searchsorted(there, here) + np.arange(here.size) - np.searchsorted(here, here)
        found = place < there.size
        found[found] = there[place[found]] == here[found]
        eaten = np.zeros(herd.size, bool)
        eaten[sheep[place[found]]] = True
        wolves.energy[order[found]] += self._rates["gain_wolf"][wolves.run[order[found]]]
        return wolves, eaten

    def _lives(self, some: _Animals, birth: str) -> _Animals:
        """Those with energy, and their young: born a step away, with half of it."""
        some = some.only(some.energy >= 0)
        bears = self._rng.random(some.run.size) < self._rates[birth][some.run]
        some.energy[bears] /= 2
        young = some.only(bears)
        heading = self._rng.random(young.run.size) * 360
        return some.and_(_Animals(young.run, self._stepped(young.place, heading), heading, young.energy))
