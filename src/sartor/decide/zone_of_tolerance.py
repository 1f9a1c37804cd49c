"""How much quality each person really needs, learned from quiet feedback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.decide import _situations as situations
from sartor.decide.decision import Alternative, Decision, Decisions
from sartor.decide.parts import response
from sartor.errors import ConfigError, Infeasible
from sartor.method import Decider, Run, State, learned

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.ids import IdMap
    from sartor.data.population import Evidence, Population

DAY = 86_400.0


@dataclass(kw_only=True, eq=False)
class ZoneOfTolerance(Decider):
    """A satisfaction curve per person and situation, between the level she finds adequate and the one she desires; gives enough, and not more.

    For services that have a level (bit rate, latency, resolution, minutes of staff) and hear now and then how it was. Where nobody differs, or
    feedback says nothing, it gives what the population's curve gives.

    Source: the framework for personalization in wireless networks with zones of tolerance, 2020 (magazine article). The curve and how it is learned
    are ours (`parts.response`): the article names the zone, and no formula.

    Events have `level` (what was given, in `unit`), `value` (feedback on `scale`) and maybe `time`, `weight`, `kind` and context columns. Those of
    the kind "rating", or of none, are explicit; every other kind is a signal whose offset, gain and noise are measured against ratings, and that
    is dropped where it does not go with them.

    State: `mean` float32 [2 p] and `covariance` float32 [p (2 p + 1)], the lower triangle, of midpoint and log slope in each of p features of the
    situation; `time` float64 [1], of the newest event. 28 bytes without context.
    """

    context: Sequence[str] = ()
    """Columns of events that say what the situation was: numbers, or words."""
    target: float = 0.8
    """Satisfaction that is to be reached where a request names none."""
    scale: Sequence[float] = (0.0, 1.0)
    """Lowest and highest feedback, such as (-1, 1) for thumbs."""
    unit: str = "Mbps"
    """Of levels."""
    half_life: float = 30 * DAY
    """Seconds after which feedback counts half: people drift."""
    levels: int = 400
    """How many levels are chosen among, from 0 to the highest that was ever given."""
    mean_: np.ndarray = learned()
    covariance_: np.ndarray = learned()
    offset_: np.ndarray = learned()
    gain_: np.ndarray = learned()
    noise_: np.ndarray = learned()
    correlation_: np.ndarray = learned()
    """Of every signal with what ratings say, on people it was not fitted on."""
    signals_: list[str] = learned()
    facts_: dict[str, Any] = learned()
    """What is known of the context columns; see `_situations`."""
    highest_: float = learned()
    items_: IdMap = learned()
    """What people were given levels of."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of events beyond the usual ones that states are made from."""
        return ("level", "kind", *self.context)

    @property
    def prior(self) -> response.Prior:
        """What people have in common."""
        return response.Prior(self.mean_, self.covariance_, self.offset_, self.gain_, self.noise_)

    @property
    def grid(self) -> np.ndarray:
        """float64 [levels], in `unit`."""
        return np.linspace(0.0, self.highest_, self.levels)

    def _fit(self, population: Population, run: Run) -> None:
        from sartor.data.ids import IdMap

        if len(self.scale) != 2 or not self.scale[0] < self.scale[1]:
            raise ConfigError(f"scale is {tuple(self.scale)}", fix="give the lowest and the highest feedback, such as (0, 1)")
        if not self.unit:
            raise ConfigError("there is no unit", fix="say what levels are measured in, such as 'Mbps'")
        if self.half_life <= 0 or self.levels < 2:
            raise ConfigError(f"half_life is {self.half_life}, levels {self.levels}", fix="use a half-life above 0 and at least 2 levels")
        check_target(self.target)
        raw = population.events.collect()
        events = self._checked(raw, population.name)
        self.items_ = IdMap.of(raw["item"])
        self.facts_ = situations.learn(events, self.context)
        kinds = events["kind"].drop_nulls().unique().sort().to_list() if "kind" in events.columns else []
        self.signals_ = [situations.RATING, *(kind for kind in kinds if kind != situations.RATING)]
        people = events["person"].unique().sort().to_list()
        if not people:
            raise ConfigError("no event has a level and a value", fix="give events with what was given and what was said of it")
        found, _ = situations.feedback(events, people, self.facts_, self.signals_, self.half_life)
        self.highest_ = float(found.level.max())
        if self.highest_ <= 0:
            raise ConfigError("every level is 0", fix="give feedback at several levels")
        prior, correlation = response.calibrated(response.fit(found, len(self.signals_)), found)
        self.mean_, self.covariance_, self.correlation_ = prior.mean, prior.covariance, correlation
        self.offset_, self.gain_, self.noise_ = prior.offset, prior.gain, prior.noise

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """What is believed of one person; with `state`, after what is new, of which the old fades by its age. No feedback: the population's."""
        self.check_state(state)
        return self._adapted([(evidence, state)])[0]

    def check_event(self, event: Mapping[str, Any]) -> None:
        """Raise `BadValue` for feedback outside its scale, a level that is negative or not finite, and context that should be a number."""
        level, value = situations.plain(event.get("level")), situations.plain(event.get("value"))
        if level is not None and value is not None:
            situations.check(level, value, (float(self.scale[0]), float(self.scale[1])))
            situations.features(self.facts_, {name: [event.get(name)] for name in self.facts_}, 1)

    def adapt_all(self, population: Population, *, progress: bool = False) -> dict[Any, State]:
        """States of everybody, as one batch."""
        self.check_fitted()
        every = list(population.each())
        return {one.person: made for one, made in zip(every, self._adapted([(one, None) for one in every]), strict=True)}

    def _checked(self, events: pl.DataFrame, where: str) -> pl.DataFrame:
        return situations.checked(events, (float(self.scale[0]), float(self.scale[1])), where)

    def _adapted(self, each: Sequence[tuple[Evidence, State | None]]) -> list[State]:
        import polars as pl

        frames = [
            self._checked(one.events, f"evidence of {one.person!r}").with_columns(person=pl.lit(number, dtype=pl.Int64))
            if one.events.height
            else pl.DataFrame({"person": pl.Series([], dtype=pl.Int64), "level": pl.Series([], dtype=pl.Float64)})
            for number, (one, _) in enumerate(each)
        ]
        events = pl.concat(frames, how="diagonal_relaxed")
        if "value" not in events.columns:
            events = events.with_columns(value=pl.lit(None, dtype=pl.Float64))
        before = [0.0 if state is None else float(state["time"][0]) for _, state in each]
        given, newest = situations.feedback(events, range(len(each)), self.facts_, self.signals_, self.half_life, before)
        latest = np.maximum(newest, before)
        old = self.believed([state for _, state in each])
        kept = np.where(np.array(before) > 0, 0.5 ** ((latest - np.array(before)) / self.half_life), 1.0)
        start = response.forgotten(self.prior, old, kept)
        believed = response.posterior(self.prior, given, start)
        one_level = response.same_level(given)
        lower = np.tril_indices(self.mean_.size)
        states = []
        for row, (_, state) in enumerate(each):
            count = int((given.weight[row] > 0).sum())
            notes = {"slope": "not identifiable from one level: the population's"} if count and one_level[row] else {}
            arrays = {
                "mean": believed.mean[row].astype(np.float32), "covariance": believed.covariance[row][lower].astype(np.float32),
                "time": np.array([latest[row]]),
            }  # fmt: skip
            states.append(self.make_state(arrays, before=state, examples=count, notes=notes))
        return states

    def believed(self, states: Sequence[State | None]) -> response.Posterior:
        """Mean and covariance of each; the population's for None."""
        size = self.mean_.size
        mean, covariance = np.tile(self.mean_, (len(states), 1)), np.tile(self.covariance_, (len(states), 1, 1))
        lower = np.tril_indices(size)
        for row, state in enumerate(states):
            if state is not None:
                mean[row] = state["mean"]
                covariance[row][lower] = state["covariance"]
                covariance[row].T[lower] = state["covariance"]
        return response.Posterior(mean, covariance)

    def satisfaction(
        self, states: Sequence[State | None], levels: np.ndarray, features: np.ndarray | None = None, *, sure: float = 0.0
    ) -> np.ndarray:  # fmt: skip
        """Expected satisfaction [people, L] at levels [L] or [people, L]; with `sure`, what it exceeds with that probability."""
        for state in states:
            self.check_state(state)
        if features is None:
            features = situations.features(self.facts_, {}, len(states))
        believed = self.believed(states)
        return response.expected(believed.mean, believed.covariance, features, levels, sure=sure)

    def decide(
        self, states: Mapping[Any, State | None], *, budget: float = np.inf, requests: Mapping[Any, Mapping[str, Any]] | None = None
    ) -> Decisions:
        """For each the lowest level that is expected to reach the target of her request (`target`; else the method's own).

        Raises `Infeasible` with the least budget when these levels are more than `budget` together: `WirelessAllocation` shares what there is.
        """
        self.check_fitted()
        check_budget(budget)
        people, own = list(states), list(states.values())
        asked = check_requests(requests, people)
        features = situations.asked(self.facts_, asked, people)
        targets = np.array([check_target(situations.number(one, "target", self.target, person), person) for one, person in zip(asked, people)])
        nobody: list[State | None] = [None] * len(people)
        rows, levels = np.arange(len(people)), self.grid
        expected, usual = self.satisfaction(own, levels, features), self.satisfaction(nobody, levels, features)
        chosen, theirs = (_lowest(curves, targets) for curves in (expected, usual))
        low, high = (self.satisfaction(own, levels, features, sure=one)[rows, chosen] for one in (0.95, 0.05))
        total = float(levels[chosen].sum())
        if total > budget:
            what = f"the budget {budget:g} {self.unit} is below {total:g}, the least that meets all targets"
            raise Infeasible(what, fix="give more, lower the targets, or share it with WirelessAllocation", least=total)
        decisions = {}
        for row, person in enumerate(people):
            level, state = float(levels[chosen[row]]), own[row]
            there = bool(expected[row, chosen[row]] >= targets[row])
            usual_level = float(levels[theirs[row]])
            decisions[person] = Decision(
                action=level, unit=self.unit, cost=level, expected=float(expected[row, chosen[row]]), interval=(float(low[row]), float(high[row])),
                target=float(targets[row]), binding=("target",) if there else ("highest level",),
                state_version=None if state is None else state.version,
                population=Alternative(action=usual_level, cost=usual_level, expected=float(expected[row, theirs[row]])),
                note="" if there else f"{targets[row]:g} is not expected at any level up to {self.highest_:g} {self.unit}",
            )  # fmt: skip
        return Decisions(decisions, float(budget), total, self.unit)

    def probes(self, states: Mapping[Any, State], decisions: Decisions, *, share: float = 0.05, seed: int = 0) -> dict[Any, float]:
        """Lower levels to try on a few people whose need is not known well, to learn more; never below the lower 90 % bound of what is adequate.

        Parameters
        ----------
        share: of people, at most.

        Who is known to 10 % of her midpoint is left alone. In the usual situation.
        """
        people = [person for person in decisions if states.get(person) is not None]
        believed = self.believed([states[person] for person in people])
        usual = situations.features(self.facts_, {}, len(people))
        middle, slope = response.curve(believed.mean, usual)
        p = usual.shape[1]
        by = np.concatenate([usual, (response.LN4 / slope)[:, None] * usual], 1)
        spread = np.sqrt(np.einsum("id,ide,ie->i", by, believed.covariance, by))
        floor = middle - response.LN4 / slope - 1.645 * spread
        unsure = 1.645 * np.sqrt(np.einsum("ip,ipq,iq->i", usual, believed.covariance[:, :p, :p], usual))
        current = np.array([decisions[person].action for person in people])
        lower = np.maximum(np.maximum(current - unsure, floor), 0.0)
        candidates = np.flatnonzero((2 * unsure > 0.1 * np.abs(middle)) & (lower < current))
        few = np.random.default_rng([seed, len(people)]).permutation(candidates)[: int(share * len(decisions))]
        return {people[one]: float(lower[one]) for one in few}

    def in_words(self, state: State | None, situation: Mapping[str, Any] | None = None) -> str:
        """What is believed, to be read: "needs about 3.1 Mbps (2.8 to 3.4), adequate from 2.2, desires 4.0"."""
        self.check_state(state)
        features = situations.asked(self.facts_, [situation or {}], ["this person"])
        believed = self.believed([state])
        (middle,), _ = response.curve(believed.mean, features)
        (adequate,), (desired,) = response.zone(believed.mean, features)
        p = features.shape[1]
        half = 1.645 * float(np.sqrt(features[0] @ believed.covariance[0, :p, :p] @ features[0]))
        return (
            f"needs about {middle:.1f} {self.unit} ({max(0.0, middle - half):.1f} to {middle + half:.1f}), "
            f"adequate from {max(0.0, adequate):.1f}, desires {desired:.1f}"
        )


def check_target(target: float, person: Any = None) -> float:
    """A satisfaction that can be promised; raises `ConfigError`."""
    if not 0 < target < 1:
        raise ConfigError(f"the target is {target:g}: unreachable, the curve's asymptotes are 0 and 1", person=person, fix="use one between 0 and 1")
    return target


def check_budget(budget: float) -> None:
    """Raise `ConfigError` for a budget that is none."""
    if not budget >= 0:
        raise ConfigError(f"the budget is {budget}", fix="give a number not below 0")


def check_requests(requests: Mapping[Any, Mapping[str, Any]] | None, people: Sequence[Any]) -> list[Mapping[str, Any]]:
    """One request per person, empty where none is given; raises `ConfigError` without people, and for requests of somebody without a state."""
    if not people:
        raise ConfigError("there is nobody to decide for", fix="give a state for each person, None for the population's answer")
    requests = requests or {}
    if strange := sorted(map(str, set(requests) - set(people))):
        raise ConfigError(f"there are requests of {strange[:3]}, and no states", fix="give a state of each, None for the population's answer")
    return [requests.get(person, {}) for person in people]


def _lowest(expected: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The first level that reaches the target, else the last."""
    there = expected >= targets[:, None]
    return np.asarray(np.where(there.any(1), there.argmax(1), expected.shape[1] - 1))
