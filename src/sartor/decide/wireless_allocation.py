"""A scarce budget shared by need: each just as much as brings her the satisfaction she was promised, and what each more would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sartor.decide import _situations as situations
from sartor.decide.decision import Alternative, Decision, Decisions
from sartor.decide.zone_of_tolerance import ZoneOfTolerance, check_requests, check_target
from sartor.errors import BadValue, ConfigError, Infeasible
from sartor.method import Decider, Run, State
from sartor.parts.allocation import Allocation, Allocator, cheapest

if TYPE_CHECKING:
    from sartor.data.ids import IdMap
    from sartor.data.population import Evidence, Population

PRICES = 120
"""Of a front."""
MOST = 1e100
"""Efficiencies and weights lie below it, and above what it is the inverse of: sums of what they make are numbers."""


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is to be decided on."""

    people: list[Any]
    states: list[State | None]
    features: np.ndarray
    """float64 [people, p]."""
    targets: np.ndarray
    """float64 [people], 0 where nothing is promised."""
    efficiency: np.ndarray
    weight: np.ndarray
    cost: np.ndarray
    """float64 [people, L], of every level."""
    rates: np.ndarray
    """float64 [L]."""


@dataclass(kw_only=True, eq=False)
class WirelessAllocation(Decider):
    """Shares a budget (bandwidth, GPU seconds, minutes of staff) so that the people's total expected satisfaction is greatest.

    A level r costs r / efficiency of the budget. What it is worth comes from each person's own satisfaction curve (`ZoneOfTolerance`), the
    allocation from an exact solver (`parts.allocation`), or from NSGA-II where what one costs depends on what the others get.

    Source: personalized resource allocation in wireless networks, IEEE Access 2020: the two objectives (saved resources, satisfaction) and the
    evolutionary search are the paper's; the exact solver, the promises with a lower bound, and prices are ours.

    A request may name `target` (the satisfaction promised), `efficiency` (level per unit of the budget, such as bit/s/Hz; 1), `weight` (how much the
    person counts; 1) and the context of `response`. States are those of `response`, under this model's name.
    """

    response: ZoneOfTolerance = field(default_factory=ZoneOfTolerance)
    """What people are believed to need."""
    target: float = 0.0
    """Satisfaction promised to everybody whose request names none; 0 promises nothing."""
    sure: float = 0.0
    """Probability with which satisfaction is to be at least what is counted on, such as 0.95; 0 counts on the mean."""
    solver: Literal["exact", "nsga2"] = "exact"
    unit: str = "MHz"
    """Of the budget."""
    interference: float = 0.0
    """How much more everybody's level costs when the others use the whole budget; above 0 only NSGA-II applies."""
    refuse: bool = False
    """Whether, when promises exceed the budget, those who need most of it get nothing; otherwise that is an error."""
    tolerance: float = 1e-7
    """Relative gap to the best allocation that is none; see `Allocator.within`."""

    @property
    def items_(self) -> IdMap:
        """What people were given levels of."""
        return self.response.items_

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of events that states are made from."""
        return self.response.reads

    def _fit(self, population: Population, run: Run) -> None:
        if not self.unit:
            raise ConfigError("there is no unit", fix="say what the budget is measured in, such as 'MHz'")
        if self.target and not 0 < self.target < 1:
            check_target(self.target)
        if not 0 <= self.sure < 1 or self.interference < 0:
            raise ConfigError(f"sure is {self.sure}, interference {self.interference}", fix="use a probability below 1, and nothing negative")
        if self.interference and self.solver == "exact":
            raise ConfigError("with interference people are not separate, so no price separates them", fix='use solver="nsga2"')
        self.response.fit(population, progress=run.progress)

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """As `response` does."""
        return self._ours(self.response.adapt(evidence, self._theirs(state)))

    def adapt_all(self, population: Population, *, progress: bool = False) -> dict[Any, State]:
        """As `response` does, as one batch."""
        self.check_fitted()
        return {person: self._ours(state) for person, state in self.response.adapt_all(population, progress=progress).items()}

    def check_event(self, event: Mapping[str, Any]) -> None:
        """As `response` does."""
        self.response.check_event(event)

    def _ours(self, state: State) -> State:
        return replace(state, method=type(self).__name__, fingerprint=self.fingerprint_)

    def _theirs(self, state: State | None) -> State | None:
        """The state as `response` takes it; its own are taken too."""
        self.check_fitted()
        if state is None or state.fingerprint == self.response.fingerprint_:
            return state
        self.check_state(state)
        return replace(state, method=type(self.response).__name__, fingerprint=self.response.fingerprint_)

    def decide(
        self, states: Mapping[Any, State | None], *, budget: float, requests: Mapping[Any, Mapping[str, Any]] | None = None,
        price: float | None = None,
    ) -> Decisions:  # fmt: skip
        """The allocation of greatest total expected satisfaction within the budget.

        Parameters
        ----------
        price: of a moment ago, to begin at: answers come sooner, and are the same.

        Raises `Infeasible` with the least budget that meets all promises and who is beyond it (unless `refuse`).
        """
        asked = self._asked(states, requests)
        if not budget > 0:
            raise ConfigError(f"the budget is {budget}", fix=f"give a number of {self.unit} above 0")
        curves = self._curves(asked, asked.states)
        allowed, out, notes = self._promised(asked, curves, budget)
        found = self._solved(asked, curves, allowed, budget, price)
        # The population's answer keeps its promises by its own curves, as far as the budget goes.
        usual = self._curves(asked, [None] * len(asked.people))
        least = self._reached(asked, usual)
        least = least if np.where(least, asked.cost, np.inf).min(1).sum() <= budget else np.ones_like(least)
        theirs = Allocator(asked.cost, asked.weight[:, None] * usual, least).within(budget, tolerance=1e-4)
        return self._told(asked, curves, allowed, found, theirs, budget, out, notes)

    def least(
        self, states: Mapping[Any, State | None], *, mean: float, requests: Mapping[Any, Mapping[str, Any]] | None = None
    ) -> Decisions:  # fmt: skip
        """The cheapest allocation whose mean expected satisfaction is at least `mean`: how much can be saved.

        Raises `Infeasible` with the most that can be reached.
        """
        asked = self._asked(states, requests)
        check_target(mean)
        curves = self._curves(asked, asked.states)
        weight, usual = asked.weight[:, None] / asked.weight.sum(), self._curves(asked, [None] * len(asked.people))
        allowed = self._reached(asked, curves)
        found = cheapest(asked.cost, weight * curves, mean, allowed, tolerance=self.tolerance)
        most = float((weight * usual).max(1).sum())
        theirs = cheapest(asked.cost, weight * usual, min(mean, most), self._reached(asked, usual), tolerance=1e-4)
        return self._told(asked, curves, allowed, found, theirs, found.spent, {}, self._beyond(asked, curves))

    def front(self, states: Mapping[Any, State | None], requests: Mapping[Any, Mapping[str, Any]] | None = None, prices: int = PRICES) -> np.ndarray:
        """The whole trade-off: float64 [prices, 3] of cost, mean and worst expected satisfaction, from the dearest to the cheapest."""
        asked = self._asked(states, requests)
        curves = self._curves(asked, asked.states)
        allocator = Allocator(asked.cost, asked.weight[:, None] * curves, self._reached(asked, curves))
        rows, out = np.arange(len(asked.people)), []
        for price in np.geomspace(1e-4, 10.0, prices):
            choice = allocator.at_price(float(price))
            out.append((asked.cost[rows, choice].sum(), curves[rows, choice].mean(), curves[rows, choice].min()))
        return np.array(out)

    def in_words(self, state: State | None, situation: Mapping[str, Any] | None = None) -> str:
        """What is believed of a person's needs, to be read."""
        return self.response.in_words(self._theirs(state), situation)

    def _asked(self, states: Mapping[Any, State | None], requests: Mapping[Any, Mapping[str, Any]] | None) -> _Asked:
        self.check_fitted()
        people = list(states)
        given = check_requests(requests, people)

        def numbers(name: str, default: float) -> np.ndarray:
            return np.array([situations.number(one, name, default, person) for one, person in zip(given, people, strict=True)])

        targets, efficiency, weight = numbers("target", self.target), numbers("efficiency", 1.0), numbers("weight", 1.0)
        for person, target, one, much in zip(people, targets, efficiency, weight, strict=True):
            if not (1 / MOST < one < MOST and 1 / MOST < much < MOST):
                raise BadValue(f"efficiency is {one:g}, weight {much:g}", person=person, fix="both are above 0, and neither is beyond all measure")
            if target:
                check_target(float(target), person)
        rates = self.response.grid
        features = situations.asked(self.response.facts_, given, people)
        own = [self._theirs(states[person]) for person in people]
        return _Asked(people, own, features, targets, efficiency, weight, rates[None, :] / efficiency[:, None], rates)

    def _curves(self, asked: _Asked, states: Sequence[State | None]) -> np.ndarray:
        return self.response.satisfaction(states, asked.rates, asked.features, sure=self.sure)

    def _reached(self, asked: _Asked, curves: np.ndarray) -> np.ndarray:
        """bool [people, L]: levels that keep the promise; all of them where none does."""
        reached = curves >= asked.targets[:, None]
        return np.where(reached.any(1, keepdims=True), reached, True)

    def _beyond(self, asked: _Asked, curves: np.ndarray) -> dict[int, str]:
        """What is said, by row, of promises that no level keeps."""
        return {
            int(row): f"{asked.targets[row]:g} is not expected at any level up to {asked.rates[-1]:g} {self.response.unit}"
            for row in np.flatnonzero((asked.targets > 0) & (curves.max(1) < asked.targets))
        }

    def _promised(self, asked: _Asked, curves: np.ndarray, budget: float) -> tuple[np.ndarray, dict[Any, str], dict[int, str]]:
        """Levels that may be given, who is refused and why, and what else is to be said by row."""
        allowed = self._reached(asked, curves)
        notes = self._beyond(asked, curves)
        needs = np.where(allowed, asked.cost, np.inf).min(1)
        if needs.sum() <= budget:
            return allowed, {}, notes
        # Those who need least for their weight come first: as many promises are kept as can be.
        order = np.argsort(needs / asked.weight, kind="stable")
        over = order[np.cumsum(needs[order]) > budget]
        names = [asked.people[row] for row in over]
        if not self.refuse:
            raise Infeasible(
                f"the budget {budget:g} {self.unit} is below {needs.sum():g}, the least that meets all targets; it does not reach for {names[:5]}"
                + (f" and {len(names) - 5} more" if len(names) > 5 else ""),
                fix="give more, lower the targets, or set refuse=True", least=float(needs.sum()), people=names,
            )  # fmt: skip
        allowed[over] = False
        allowed[over, 0] = True
        why = {asked.people[row]: f"needs {needs[row]:.3g} {self.unit} for {asked.targets[row]:g}, which is not left" for row in over}
        return allowed, why, notes

    def _solved(self, asked: _Asked, curves: np.ndarray, allowed: np.ndarray, budget: float, price: float | None) -> Allocation:
        allocator = Allocator(asked.cost, asked.weight[:, None] * curves, allowed)
        if self.solver == "exact":
            return allocator.within(budget, start=price, tolerance=self.tolerance)
        from sartor.decide.parts.evolution import nsga2

        rows, top = np.arange(len(asked.people)), asked.rates.size - 1
        starts = [allocator.at_price(float(one)) for one in np.geomspace(1e-3, 3.0, 30)]
        # Alone, the levels of the exact answer fit; with interference, those of a smaller budget do.
        starts += [
            allocator.within(share * budget, tolerance=1e-4).choice
            for share in (1.0, 1 / (1 + self.interference))
            if share * budget >= allocator.least
        ]

        def levels(solutions: np.ndarray) -> np.ndarray:
            choice = np.rint(solutions).astype(np.int64)
            return np.where(allowed[rows, choice], choice, np.argmax(allowed, 1))

        def objectives(solutions: np.ndarray) -> np.ndarray:
            choice = levels(solutions)
            used = self._used(asked, choice, budget).sum(1)
            # What exceeds the budget is worse than all that does not: the best within it is then an end of the front, which crowding keeps.
            return np.stack([used, np.where(used > budget, used / budget, -(asked.weight * curves[rows, choice]).mean(1))], 1)

        lower, upper = np.zeros(rows.size), np.full(rows.size, float(top))
        solutions, found = nsga2(objectives, lower, upper, starts=np.array(starts, np.float64), seed=self.seed)
        fits = np.flatnonzero(found[:, 0] <= budget)
        if not fits.size:
            raise Infeasible(
                f"no allocation within {budget:g} {self.unit} was found", fix="give more, or lower the targets", least=float(found[0, 0])
            )
        choice = levels(solutions[fits[np.argmin(found[fits, 1])]][None])[0]
        value = float((asked.weight * curves[rows, choice]).sum())
        return Allocation(choice, value, float(self._used(asked, choice[None], budget).sum()), 0.0, float("inf"), self.tolerance)

    def _used(self, asked: _Asked, choice: np.ndarray, budget: float) -> np.ndarray:
        """What each person uses of the budget, [..., people]: more when the others use much."""
        alone = asked.cost[np.arange(len(asked.people)), choice]
        return alone * (1 + self.interference * (alone.sum(-1, keepdims=True) - alone) / budget)

    def _told(
        self, asked: _Asked, curves: np.ndarray, allowed: np.ndarray, found: Allocation, theirs: Allocation, budget: float, out: Mapping[Any, str],
        notes: Mapping[int, str],
    ) -> Decisions:  # fmt: skip
        rows = np.arange(len(asked.people))
        low, mean, high = (
            self.response.satisfaction(asked.states, asked.rates, asked.features, sure=one)[rows, found.choice] for one in (0.95, 0.0, 0.05)
        )
        used = self._used(asked, found.choice[None], budget)[0]
        decisions = {}
        for row, person in enumerate(asked.people):
            choice, other, state = int(found.choice[row]), int(theirs.choice[row]), asked.states[row]
            binding = [
                *(["target"] if asked.targets[row] and choice == np.flatnonzero(allowed[row])[0] and person not in out else []),
                *(["highest level"] if choice == asked.rates.size - 1 else ["budget"] if found.price > 0 else []),
            ]
            decisions[person] = Decision(
                action=float(asked.rates[choice]), unit=self.response.unit, cost=float(used[row]), expected=float(mean[row]),
                interval=(float(low[row]), float(high[row])), target=float(asked.targets[row]) or None, binding=tuple(binding),
                state_version=None if state is None else state.version,
                population=Alternative(action=float(asked.rates[other]), cost=float(asked.cost[row, other]), expected=float(curves[row, other])),
                note=out.get(person, notes.get(row, "")),
            )  # fmt: skip
        return Decisions(decisions, float(budget), float(used.sum()), self.unit, found.price, found.gap if np.isfinite(found.gap) else None, out)
