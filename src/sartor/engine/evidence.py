"""From the store's records to what methods read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sartor.engine.ids import Id, ItemIds

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.population import Evidence, Population
    from sartor.data.schema import FrameName
    from sartor.profile.records import Record
    from sartor.profile.retention import Rule
    from sartor.profile.store import ProfileStore

NEWEST = 2_000
"""Events of one person that a state is made from, the newest ones; and so many records of her attributes."""

READS: dict[str, tuple[FrameName, ...]] = {
    "recommend": ("events", "people"),
    "search": ("events", "people"),
    "decide": ("events",),
    "draw": ("images",),
}
"""Which frames of a person's evidence a verb may read, each for the purpose of the verb's own name."""


def read(store: ProfileStore, tenant: str, people: Sequence[str], verb: str) -> dict[str, list[Record]]:
    """What states of these people are made from: `newest`, with weights faded by age where the tenant's retention says so."""
    from sartor.profile import retention

    found = newest(store, tenant, people, verb)
    rules = [rule for rule in retention.rules(store, tenant) if rule.half_life is not None]
    return {person: faded(records, rules) for person, records in found.items()} if rules else found


def newest(store: ProfileStore, tenant: str, people: Sequence[str], verb: str) -> dict[str, list[Record]]:
    """Of each person the newest `NEWEST` records of every frame that the verb may use, oldest first: events do not push attributes out.

    Their weights are those of their kinds (`by_kind`).
    """
    from sartor.profile import kinds

    found: dict[str, list[Record]] = {person: [] for person in people}
    for frame in READS[verb]:
        for person, records in store.evidence_of(tenant, people, purpose=verb, frames=[frame], limit=NEWEST).items():
            found[person] = sorted(found[person] + records, key=lambda record: record.position) if found[person] else records
    weights = kinds.weights(store, tenant)
    return {person: by_kind(records, weights) for person, records in found.items()}


def by_kind(records: Sequence[Record], weights: Mapping[str, float]) -> list[Record]:
    """Records whose events weigh what they say (1 where they say nothing) times what the tenant gives to their kind (`sartor.profile.kinds`)."""

    def weighed(record: Record) -> Record:
        factor = 1.0 if record.frame != "events" or record.kind is None else weights.get(record.kind, 1.0)
        if factor == 1:
            return record
        weight = _finite(record.content.get("weight"))
        return replace(record, content={**record.content, "weight": factor * (1.0 if weight is None or weight < 0 else weight)})

    return [weighed(record) for record in records]


def faded(records: Sequence[Record], rules: Sequence[Rule]) -> list[Record]:
    """Records whose weights are what is left of them, counted back from the person's newest one."""
    from sartor.profile import retention

    newest = max((record.time if record.time is not None else record.received or 0.0 for record in records), default=0.0)

    def weighed(record: Record) -> Record:
        left = retention.faded(rules, record, newest) if record.frame == "events" else 1.0
        weight = _finite(record.content.get("weight"))
        return record if left == 1 else replace(record, content={**record.content, "weight": left * (1.0 if weight is None else weight)})

    return [weighed(record) for record in records]


def attributes(records: Iterable[Record]) -> dict[str, Any]:
    """A person's attributes: of each, what was said last."""
    out: dict[str, Any] = {}
    for record in records:
        if record.frame == "people":
            out |= record.content
    return {name: value for name, value in out.items() if value is not None}


def counts(record: Record) -> bool:
    """Whether something is learned from an event. One of weight 0 (disliked, returned) says only that she need not see the item again."""
    return _finite(record.content.get("weight")) != 0


def known(records: Iterable[Record], ids: ItemIds) -> tuple[int, int]:
    """How many events there are, and how many of them are with items that the model knows and count."""
    events = [record for record in records if record.frame == "events"]
    return len(events), sum(counts(record) and ids.number(record.content.get("item")) >= 0 for record in events)


def passed(records: Iterable[Record], ids: ItemIds) -> list[Id]:
    """Items that the model knows of events that do not count: nothing is learned from them, and they do not come back."""
    items = {ids.own(record.content.get("item")) for record in records if record.frame == "events" and not counts(record)}
    return sorted((item for item in items if ids.number(item) >= 0), key=ids.number)


def as_evidence(records: Sequence[Record], ids: ItemIds, person: str, also: Sequence[str] = ()) -> Evidence:
    """One person's records, oldest first, as methods read them: item ids of the model's kind, every event with a time.

    `also` are further columns that the method reads: the kind of an event, and words of its context.
    """
    from sartor.data.population import Evidence

    return Evidence(_frames({person: records}, ids, also), person=person)


def as_population(by_person: Mapping[str, Sequence[Record]], ids: ItemIds, also: Sequence[str] = ()) -> Population:
    """Records of several people as a population; those of one person stay in their order. `also` as in `as_evidence`."""
    from sartor.data.population import Population

    return Population(_frames(by_person, ids, also), name="records")


def _frames(by_person: Mapping[str, Sequence[Record]], ids: ItemIds, also: Sequence[str] = ()) -> dict[FrameName, pl.DataFrame]:
    import polars as pl

    who: list[str] = []
    items: list[Any] = []
    times: list[int] = []
    values: list[float | None] = []
    weights: list[float] = []
    more: dict[str, list[Any]] = {name: [] for name in also}
    about: dict[str, dict[str, Any]] = {}
    for person, records in by_person.items():
        clock = 0.0
        for record in records:
            if record.frame == "events" and record.content.get("item") is not None and counts(record):
                # Without a time of its own an event came when it was received; a clock that was set back does not reorder them.
                clock = max(clock, record.received or 0.0)
                who.append(person)
                items.append(ids.own(record.content["item"]))
                times.append(int(clock if record.time is None else record.time))
                values.append(_finite(record.content.get("value")))
                weight = _finite(record.content.get("weight"))
                weights.append(1.0 if weight is None or weight < 0 else weight)
                context = record.content.get("context") or {}
                for name, column in more.items():
                    column.append(record.kind if name == "kind" else context.get(name))
        if own := attributes(records):
            about[person] = own
    kind = pl.Int64 if ids.integers else pl.String
    columns = {
        "person": pl.Series(who, dtype=pl.String),
        "item": pl.Series(items, dtype=kind),
        "time": pl.Series(times, dtype=pl.Int64),
        "value": pl.Series(values, dtype=pl.Float32),
        "weight": pl.Series(weights, dtype=pl.Float32),
        **{name: _column(column) for name, column in more.items()},
    }
    frames: dict[FrameName, pl.DataFrame] = {"events": pl.DataFrame(columns)}
    if about:
        frames["people"] = people_frame(about)
    return frames


def _column(values: Sequence[Any]) -> pl.Series:
    """Numbers where all that is there are numbers, otherwise texts."""
    import polars as pl

    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return pl.Series([None if value is None else float(value) for value in values], dtype=pl.Float64)
    return pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)


def people_frame(about: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    """Attributes of people as one frame: a column per attribute, of lists, numbers or texts, whatever most generally holds its values."""
    import polars as pl

    names = sorted({name for own in about.values() for name in own} - {"person"})
    columns: dict[str, Any] = {"person": pl.Series(list(about), dtype=pl.String)}
    for name in names:
        column = [own.get(name) for own in about.values()]
        present = [one for one in column if one is not None]
        if any(isinstance(one, list | tuple) for one in present):
            lists = [None if one is None else [str(part) for part in (one if isinstance(one, list | tuple) else [one])] for one in column]
            columns[name] = pl.Series(lists, dtype=pl.List(pl.String))
        elif all(isinstance(one, int | float) and not isinstance(one, bool) for one in present):
            whole = all(isinstance(one, int) and abs(one) < 2**63 for one in present)
            columns[name] = pl.Series(
                [one if one is None else (one if whole else float(one)) for one in column], dtype=pl.Int64 if whole else pl.Float64
            )
        else:
            columns[name] = pl.Series([None if one is None else str(one) for one in column], dtype=pl.String)
    return pl.DataFrame(columns)


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
