"""What `/v1/decisions` takes and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, FiniteFloat, model_validator

from sartor.serve.answers import Out, StateRef, iso
from sartor.serve.schemas import In, PersonId

if TYPE_CHECKING:
    from sartor.decide.decision import Decision
    from sartor.engine.answers import Answered
    from sartor.engine.decide import DecisionsAnswer, Logged

MOST = 1_000
"""People of one request."""


class DecideFor(In):
    person: PersonId
    target: Annotated[FiniteFloat, Field(gt=0, lt=1)] | None = None
    """The satisfaction to be reached."""
    efficiency: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Level per unit of the budget; 1 where none is given."""
    weight: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """How much the person counts."""
    context: Annotated[dict[Annotated[str, Field(max_length=100)], str | FiniteFloat], Field(max_length=32)] = {}
    """The situation, in the model's words."""

    @model_validator(mode="after")
    def _no_mixture(self) -> DecideFor:
        if self.context.keys() & {"target", "efficiency", "weight"}:
            raise ValueError("target, efficiency and weight are no context: give them beside it")
        return self

    def request(self) -> dict[str, Any]:
        """As the engine takes it."""
        own = {"target": self.target, "efficiency": self.efficiency, "weight": self.weight}
        return {**self.context, **{name: value for name, value in own.items() if value is not None}}


class DecideIn(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"people": [{"person": "ana", "target": 0.7}, {"person": "ben"}], "budget": 12.0}]})

    people: Annotated[list[DecideFor], Field(min_length=1, max_length=MOST)]
    budget: Annotated[FiniteFloat, Field(ge=0)] | None = None
    """What all may have together; null where nothing is shared."""
    personal: bool = True
    log: bool = True
    """Whether what was decided is kept among each person's records."""

    @model_validator(mode="after")
    def _each_once(self) -> DecideIn:
        if len({one.person for one in self.people}) < len(self.people):
            raise ValueError("a person is there twice")
        return self


class AlternativeOut(Out):
    action: Any
    cost: float
    expected: float


class DecidedOut(Out):
    person: str
    action: Any
    unit: str
    cost: float
    expected: float
    interval: list[float]
    """Of what is expected, 90 %."""
    target: float | None
    binding: list[str]
    population: AlternativeOut | None
    """What the population's answer would have been, and what it would have cost."""
    id: str | None
    """Of the record that keeps it."""
    state: StateRef | None
    fallback: str | None
    note: str


class DecisionsOut(Out):
    people: list[DecidedOut]
    budget: float | None
    spent: float
    unit: str
    price: float
    gap: float | None
    refused: dict[str, str]
    model: str | None
    note: str
    seconds: float


class LoggedOut(Out):
    id: str
    time: str
    about: dict[str, Any]


class LogOut(Out):
    items: list[LoggedOut]


def answered(given: DecisionsAnswer, state_of: Any) -> dict[str, Any]:
    """An answer as plain data."""
    return {
        **{name: getattr(given, name) for name in ("budget", "spent", "unit", "price", "gap", "model", "note", "seconds")},
        "refused": dict(given.refused), "people": [_one(one, one.decision, one.id, state_of) for one in given.people if one.decision is not None],
    }  # fmt: skip


def _one(given: Answered, decision: Decision, ident: str | None, state_of: Any) -> dict[str, Any]:
    other = decision.population
    return {
        "person": given.person, "id": ident, "state": state_of(given), "fallback": given.fallback,
        "note": "; ".join(filter(None, (given.note, decision.note))),
        **{name: getattr(decision, name) for name in ("action", "unit", "cost", "expected", "target")}, "interval": list(decision.interval),
        "binding": list(decision.binding), "population": other and {"action": other.action, "cost": other.cost, "expected": other.expected},
    }  # fmt: skip


def logged(given: list[Logged]) -> dict[str, Any]:
    """A person's log as plain data."""
    return {"items": [{"id": one.id, "time": iso(one.time), "about": dict(one.about)} for one in given]}
