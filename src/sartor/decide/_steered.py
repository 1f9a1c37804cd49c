"""What steers through twins, whatever their equations: fit the population's, adapt a person's, predict, decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.decide._trajectories import Trajectories
from sartor.decide.decision import Alternative, Decision, Decisions
from sartor.decide.parts import twin as twins
from sartor.decide.zone_of_tolerance import check_budget, check_requests
from sartor.errors import ConfigError, Infeasible
from sartor.method import Decider, Run, State, learned
from sartor.progress import bar

if TYPE_CHECKING:
    from sartor.data.ids import IdMap
    from sartor.data.population import Evidence, Population
    from sartor.decide.parts.controller import Course
    from sartor.decide.parts.equations import Equations
    from sartor.decide.parts.simulator import Simulator

ADVICE = "a research estimate, not medical advice"
LATE = 0.5
"""The last part of a predicted course, by which it is judged."""


@dataclass(kw_only=True, eq=False)
class Steered(Decider):
    """A twin of one's own process and a controller trained through it; a method says which equations twins follow.

    Events are one per tick: `time` counts ticks, and there is a column for each of `seen` (counts after it) and of `controls` (rates during it).
    A request holds the counts now.
    """

    seen: Sequence[str] = ()
    """What is counted."""
    controls: Sequence[str] = ()
    """Rates per tick."""
    target: Sequence[float] = ()
    """Wanted counts, one for each control."""
    limit: float = 0.08
    """Highest rate."""
    horizon: int = 300
    """Ticks of a rollout."""
    burn_in: int = 100
    """Ticks after which the distance to the target counts."""
    effort: float = 0.01
    """What a mean rate of 1 costs, beside squared log distances."""
    learning_rate: float = 0.01
    starts: int = 8
    """Rollouts per step of training."""
    fit_steps: int = 150
    """Of the population's controller."""
    adapt_steps: int = 60
    """Of a person's own, which begins as the population's."""
    window: int = 10
    """Ticks that are averaged to identify a twin."""
    draws: int = 64
    """Courses that a prediction is made of."""
    reference_: np.ndarray = learned()
    """float64 [m]: geometric means of counts over the population."""
    mean_: np.ndarray = learned()
    """float64 [blocks, size], parameters of the population's twin, of counts relative to the reference."""
    spread_: np.ndarray = learned()
    """float64 [blocks, size], how far people differ in them."""
    noise_: np.ndarray = learned()
    controller_: np.ndarray = learned()
    items_: IdMap = learned()

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of events beyond the usual ones that states are made from."""
        return (*self.seen, *self.controls)

    def _fit(self, population: Population, run: Run) -> None:
        from sartor.data.ids import IdMap
        from sartor.decide.parts import controller

        self._check()
        raw = population.events.collect()
        found = [self._columns.of(rows, f"{population.name}, {person!r}") for (person,), rows in raw.partition_by("person", as_dict=True).items()]
        if len(found) < 2:
            raise ConfigError(f"there are {len(found)} people", fix="give at least 2: how far people differ is learned from them")
        self.items_ = IdMap.of(raw["item"])
        counts = np.concatenate([x for one in found for x, _ in one])
        self.reference_ = np.exp(np.log(counts).mean(0))
        shared = twins.pooled([self._identified(one) for one in found], self._equations.least)
        self.mean_, self.noise_ = shared.mean, shared.noise
        self.spread_ = np.sqrt(np.diagonal(shared.covariance, axis1=1, axis2=2))
        self._held(self.mean_)
        course = self._course
        with bar("population's controller", self.fit_steps, enabled=run.progress) as step:
            first = controller.fresh(course)[None]
            (self.controller_,) = controller.trained(self.mean_[None], first, course, self.fit_steps, progress=step.advance)

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """One person's twin and controller; with `state`, after what was measured since. No events: the population's.

        Raises `TooLittleEvidence` for a run that is too short or was hardly moved, `BadValue` with the tick for what cannot be a count or a rate.
        """
        self.check_state(state)
        return self._adapted([(evidence, state)], progress=False)[0]

    def check_event(self, event: Mapping[str, Any]) -> None:
        """Raise `BadValue` for a tick whose counts or rates cannot be, or in which something has died out."""
        if all(isinstance(event.get(name), int | float) for name in self.reads):
            self._columns.check(np.array([[event[name] for name in self.seen]]), np.array([[event[name] for name in self.controls]]))

    def adapt_all(self, population: Population, *, progress: bool = False) -> dict[Any, State]:
        """States of everybody; their controllers are trained as one batch."""
        self.check_fitted()
        every = list(population.each())
        return {one.person: made for one, made in zip(every, self._adapted([(one, None) for one in every], progress=progress), strict=True)}

    def informed(
        self, states: Mapping[Any, State], simulator: Callable[[int], Simulator], steps: int = 20, *, starts: int = 4, progress: bool = False
    ) -> dict[Any, State]:  # fmt: skip
        """The same people with controllers trained further on the process itself: it is what happens, the twin says which way is better.

        Parameters
        ----------
        simulator: makes the process for a step of training: `starts` runs of each person, one person after the other (`parts.simulator`).

        For where a twin and its process disagree, and the process can be run at will.
        """
        from dataclasses import replace

        from sartor.decide.parts import controller

        for state in states.values():
            self.check_state(state)
        own = list(states.values())
        course = replace(self._course, starts=starts)
        with bar("dynamics-informed", steps, enabled=progress) as step:
            weights = controller.trained(
                np.stack([self.twin(one).mean for one in own]), np.stack([one["controller"] for one in own]), course, steps, simulator, step.advance
            )
        return {
            person: self.make_state({**one.arrays, "controller": weight.copy()}, before=one, notes=one.notes)
            for (person, one), weight in zip(states.items(), weights, strict=True)
        }

    def twin(self, state: State | None) -> twins.Twin:
        """What is believed of a process, of counts relative to the reference; the population's for None."""
        self.check_state(state)
        if state is not None:
            return twins.Twin.unpacked(state.arrays, self._equations.terms)
        return twins.Twin(self.mean_, self.spread_[:, :, None] ** 2 * np.eye(self.mean_.shape[1]), self.noise_)

    def parameters(self, state: State | None) -> np.ndarray:
        """float64 [blocks, size]: what the twin's equations hold, of counts."""
        return self._equations.absolute(self.twin(state).mean)

    def rates(self, states: Sequence[State | None], counts: np.ndarray) -> np.ndarray:
        """What each one's controller answers at counts [people, m]: float64 [people, q], rates per tick. For control loops."""
        import torch

        from sartor.decide.parts import controller

        for one in states:
            self.check_state(one)
        course = self._course
        return (
            controller.policy(torch.from_numpy(self._weights(states)), torch.from_numpy(course.logs(np.asarray(counts)))[:, None], course)[:, 0]
            .numpy()
            .astype(np.float64)
        )

    def predict(self, states: Sequence[State | None], counts: np.ndarray, controllers: Sequence[State | None] | None = None) -> np.ndarray:
        """Courses that each one's twin expects under control, float64 [people, draws, horizon, m], by its parameters' uncertainty and its noise.

        Parameters
        ----------
        counts: float [people, m], of now.
        controllers: whose are used; None is each one's own.
        """
        from sartor.decide.parts import controller

        # The same chances for everybody: what is expected of one person hangs on nobody else.
        known = [self.twin(one) for one in states]
        parameters = np.stack([one.draws(self.draws, np.random.default_rng([self.seed, 109])) for one in known])
        weights = self._weights(states if controllers is None else controllers)
        return controller.courses(parameters, np.stack([one.noise for one in known]), weights, np.asarray(counts), self._course)

    def distance(self, counts: np.ndarray) -> np.ndarray:
        """Mean |ln(count / target)| over what is controlled, [...] of counts [..., m]."""
        return np.asarray(np.abs(np.log((counts @ self._equations.aims) / np.asarray(self.target))).mean(-1))

    def decide(
        self, states: Mapping[Any, State | None], *, budget: float = np.inf, requests: Mapping[Any, Mapping[str, Any]] | None = None
    ) -> Decisions:
        """Rates for the next tick, and how far from the target they lead: a request holds the counts now.

        `expected` is the mean |ln(count / target)| of the later half of the horizon, by the person's own twin: to be kept low. `cost` is the sum of
        rates. Raises `Infeasible` with the least budget when all rates together are more than `budget`.
        """
        self.check_fitted()
        check_budget(budget)
        people, own = list(states), list(states.values())
        counts = np.array([self._columns.now(one, person) for one, person in zip(check_requests(requests, people), people, strict=True)])
        chosen, usual = self.rates(own, counts), self.rates([None] * len(own), counts)
        late = slice(int(self.horizon * (1 - LATE)), None)
        ahead, theirs = (self.distance(self.predict(own, counts, who)[:, :, late].mean(2)) for who in (own, [None] * len(own)))  # [people, draws]
        low, high = np.quantile(ahead, (0.05, 0.95), axis=1)
        total = float(chosen.sum())
        if total > budget:
            what = f"the budget {budget:g} is below {total:g}, the sum of all rates"
            raise Infeasible(what, fix="give more, or steer fewer people", least=total)
        decisions = {}
        for row, person in enumerate(people):
            state = own[row]
            binding = ["limit"] if chosen[row].max() > 0.99 * self.limit else []
            nearest = "" if state is None else state.notes.get("nearest", "")
            decisions[person] = Decision(
                action=dict(zip(self.controls, chosen[row].tolist(), strict=True)), unit="per tick", cost=float(chosen[row].sum()),
                expected=float(ahead[row].mean()), interval=(float(low[row]), float(high[row])), target=0.0,
                binding=tuple(binding + (["target"] if nearest else [])), state_version=None if state is None else state.version,
                population=Alternative(
                    action=dict(zip(self.controls, usual[row].tolist(), strict=True)), cost=float(usual[row].sum()),
                    expected=float(theirs[row].mean()),
                ),
                note="; ".join(filter(None, (nearest, ADVICE))),
            )  # fmt: skip
        return Decisions(decisions, float(budget), total, "rate per tick")

    def constant(self, state: State | None) -> np.ndarray:
        """Rates float64 [q] that would hold the target at rest, by the twin; raises `Infeasible` with the nearest target that can be held."""
        return self._held(self.twin(state).mean)

    def _weights(self, states: Sequence[State | None]) -> np.ndarray:
        return np.stack([self.controller_ if one is None else one["controller"] for one in states])

    @property
    def _columns(self) -> Trajectories:
        return Trajectories(tuple(self.seen), tuple(self.controls), self._most)

    @property
    def _equations(self) -> Equations:
        """What twins follow, about `reference_`."""
        raise NotImplementedError

    @property
    def _most(self) -> float:
        """What no measured rate reaches."""
        return 1.0

    @property
    def _course(self) -> Course:
        from sartor.decide.parts.controller import Course

        return Course(
            reference=self.reference_, equations=self._equations, target=np.asarray(self.target, np.float64), limit=self.limit, horizon=self.horizon,
            burn_in=self.burn_in, effort=self.effort, learning_rate=self.learning_rate, starts=self.starts, seed=self.seed,
        )  # fmt: skip

    def _check(self) -> None:
        if len(self.target) != len(self.controls) or not self.controls or min(self.target) <= 0:
            raise ConfigError(f"the target is {list(self.target)}", fix=f"give a count above 0 for each of {list(self.controls)}")
        if not 0 < self.limit < self._most or not 0 <= self.burn_in < self.horizon:
            raise ConfigError(
                f"limit is {self.limit}, burn_in {self.burn_in} of {self.horizon}",
                fix=f"use a rate above 0{'' if np.isinf(self._most) else f' and below {self._most:g}'}, and a burn-in below the horizon",
            )
        if min(self.starts, self.window, self.draws) < 1 or min(self.fit_steps, self.adapt_steps, self.effort) < 0 or not self.learning_rate > 0:
            raise ConfigError("a number of starts, steps, draws or ticks is too small, or a rate is not above 0", fix="see the fields' defaults")

    def _identified(self, pieces: Sequence[tuple[np.ndarray, np.ndarray]], prior: twins.Twin | None = None) -> twins.Twin:
        return self._equations.identify([(x / self.reference_, rates) for x, rates in pieces], prior, self.window)

    def _adapted(self, each: Sequence[tuple[Evidence, State | None]], *, progress: bool) -> list[State]:
        from sartor.decide.parts import controller

        known, ticks = [], []
        for evidence, state in each:
            pieces = self._columns.of(evidence.events, f"evidence of {evidence.person!r}") if evidence.events.height else []
            before = self.twin(state)
            known.append(self._identified(pieces, before) if pieces else before)
            ticks.append(sum(len(x) for x, _ in pieces))
        weights = self._weights([state for _, state in each])
        if news := [row for row, one in enumerate(ticks) if one]:
            with bar("own controllers", self.adapt_steps, enabled=progress) as step:
                parameters = np.stack([known[row].mean for row in news])
                weights[news] = controller.trained(parameters, weights[news], self._course, self.adapt_steps, progress=step.advance)
        return [
            self.make_state(
                {**one.packed(self._equations.terms), "controller": weight.copy()}, before=state, examples=count, notes=self._nearest(one)
            )
            for (_, state), one, weight, count in zip(each, known, weights, ticks, strict=True)
        ]

    def _held(self, parameters: np.ndarray) -> np.ndarray:
        return self._equations.steady(self._equations.absolute(parameters), np.asarray(self.target, np.float64), self.limit)

    def _nearest(self, known: twins.Twin) -> dict[str, str]:
        """A note where a person's twin cannot be held at the target at rest."""
        try:
            self._held(known.mean)
        except Infeasible as cause:
            return {"nearest": f"by this twin, {cause.what}: {cause.fix}"}
        return {}
