"""How far behind the states are, and how far people have moved away from what the model was fitted on; when to fit again."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import _storage
from sartor.engine.evidence import as_population, read
from sartor.engine.ids import ItemIds
from sartor.engine.models import REFERENCE
from sartor.engine.validation import FLOOR

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.population import Population
    from sartor.engine.engine import Engine
    from sartor.engine.models import Loaded
    from sartor.method import Recommender
    from sartor.profile.records import Record

BINS = 10
"""Groups of items, of equally many training events each."""
THRESHOLD = 0.25
"""Population stability index above which a distribution counts as another one; from 0.1 on it is on its way (Siddiqi, 2006)."""
MOST_UNKNOWN = 0.1
"""Share of new events with items the model does not know, above which to fit again."""
MOST_EVENTS = 100_000
"""New records that are looked at, the newest ones: some seconds of reading."""
LEAST_EVENTS = 200
"""New events below which nothing is said of drift."""
POPULAR = 100
"""Most popular items that are compared."""
SAMPLE = 300
"""People whose lists before and after are compared."""
LISTED = 10
KEPT_SECONDS = 60.0
"""How long an answer is kept: looking at new evidence costs a read of it."""


@dataclass(frozen=True)
class Staleness:
    """How far states lag behind evidence."""

    people: int
    """Who wait for their states."""
    oldest_seconds: float
    failing: int
    sampled: int
    """People whose states were looked at for the ages."""
    median_age_seconds: float | None
    oldest_age_seconds: float | None
    """Of states; a state is as old as its person's last event, so age alone is no fault."""


@dataclass(frozen=True)
class Drift:
    """The evidence since the model was fitted, against what it was fitted on."""

    model: str
    events: int
    """New ones, since the model's training evidence; at most the newest `MOST_EVENTS` are looked at."""
    trained_events: int | None
    value: float | None
    """Population stability index of item popularity, over groups of items; None with too few new events."""
    threshold: float
    unknown_share: float | None
    """Of the new events, those with items that the model does not know."""
    still_popular: float | None
    """Of the items most popular now, the share that were among the most popular in training."""
    list_change: float | None
    """Mean share of the top 10 of people with new evidence that the new evidence replaced; None for fewer than 5 people."""
    people_compared: int
    model_age_seconds: float
    alarm: bool
    """Whether to fit again."""
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


_kept: dict[tuple[int, str, str], tuple[float, Drift]] = {}


def remember(folder: Path, method: Recommender, population: Population) -> None:
    """Keep how many training events each of the model's items has, beside the model's folder."""
    counts = population.interactions(items=method.items_).counts() if hasattr(method, "items_") else np.empty(0, np.int64)
    _storage.write_atomically(folder / f"{method.fingerprint_}{REFERENCE}", _storage.to_bytes({"counts": counts.astype(np.int64)}, {}))


def staleness(engine: Engine, *, verb: str = "recommend", sample: int = 500) -> Staleness:
    """What waits, and how old states are, by a look at some people."""
    waiting = engine.store.stale(engine.tenant)
    people = [card.person for card in engine.store.people(engine.tenant, limit=sample)]
    ages = [time.time() - one.made for one in engine.store.states(engine.tenant, people, verb).values()]
    return Staleness(
        waiting.people, waiting.oldest_seconds, waiting.failing, len(ages), float(np.median(ages)) if ages else None, max(ages, default=None)
    )


def drift(engine: Engine, *, verb: str = "recommend", fresh: bool = False) -> Drift | None:
    """The active model's drift, at most a minute old unless asked for `fresh`; None when no model serves."""
    loaded = engine._models.active(engine.tenant, verb)
    if loaded is None:
        return None
    key = (id(engine.store), engine.tenant, loaded.fingerprint)
    kept = _kept.get(key)
    if kept is not None and not fresh and time.monotonic() - kept[0] < KEPT_SECONDS:
        return kept[1]
    found = _drift(engine, loaded, verb)
    if len(_kept) > 64:
        _kept.clear()
    _kept[key] = time.monotonic(), found
    return found


def _drift(engine: Engine, loaded: Loaded, verb: str) -> Drift:
    ids = engine._serving.shelves.ids(loaded.method)
    counts, unknown = np.zeros(len(ids), np.int64), 0
    position = engine.store.position(engine.tenant)
    after = max(loaded.card.position, position - MOST_EVENTS)
    for frame in engine.store.scan(engine.tenant, purpose=verb, frames=("events",), after=after):
        known, strange = _count(frame, ids)
        counts += known
        unknown += strange
    events = int(counts.sum()) + unknown
    before = _reference(engine._models.folder, loaded)
    trained = None if before is None else int(before.sum())
    age = time.time() - loaded.card.made
    if events < LEAST_EVENTS:
        note = f"{events:,} new events since the model was fitted: too few to tell whether people have changed."
        return Drift(loaded.fingerprint, events, trained, None, THRESHOLD, None, None, None, 0, age, False, note)
    value = stability(before, counts) if before is not None else None
    popular = _still_popular(before, counts) if before is not None else None
    change, compared = _list_change(engine, loaded, ids, verb)
    share = unknown / events
    reasons = []
    if value is not None and value > THRESHOLD:
        reasons.append(f"what people choose has changed (stability index {value:.2f}, above {THRESHOLD})")
    if share > MOST_UNKNOWN:
        reasons.append(f"{share:.0%} of the new events are with items the model does not know")
    if trained is not None and position - loaded.card.position > trained:
        reasons.append("there is more new evidence than it was fitted on")
    note = f"Fit again: {'; '.join(reasons)}." if reasons else f"{events:,} new events; people choose as they did when the model was fitted."
    return Drift(loaded.fingerprint, events, trained, value, THRESHOLD, share, popular, change, compared, age, bool(reasons), note)


def _count(frame: pl.DataFrame, ids: ItemIds) -> tuple[np.ndarray, int]:
    """Events per item of the model, and how many are with others."""
    sizes = frame.group_by("item").len()
    counts, unknown = np.zeros(len(ids), np.int64), 0
    for item, size in sizes.iter_rows():
        number = ids.number(item) if item is not None else -1
        if number >= 0:
            counts[number] += size
        else:
            unknown += size
    return counts, unknown


def _reference(folder: Path, loaded: Loaded) -> np.ndarray | None:
    """Training events per item, None for a model of which nothing was kept."""
    file = folder / f"{loaded.fingerprint}{REFERENCE}"
    if not file.is_file():
        return None
    counts = _storage.from_bytes(file.read_bytes())[0]["counts"]
    return counts if counts.size and counts.sum() else None


def stability(before: np.ndarray, now: np.ndarray, bins: int = BINS) -> float:
    """Population stability index between two counts over the same items: sum of (p - q) ln(p / q) over groups of items.

    Items are grouped by how popular they were, so that each group had about equally many events; half an event is added to each group, so
    that an empty one stays finite.
    """
    order = np.argsort(-before, kind="stable")
    total = np.cumsum(before[order])
    group = np.minimum((total - before[order]) * bins // max(1, int(total[-1])), bins - 1)
    shares = []
    for counts in (before, now):
        sums = np.bincount(group, counts[order], bins) + 0.5
        shares.append(sums / sums.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _still_popular(before: np.ndarray, now: np.ndarray) -> float:
    size = min(POPULAR, int((now > 0).sum()))
    return float(np.isin(np.argsort(-now, kind="stable")[:size], np.argsort(-before, kind="stable")[:size]).mean())


def _list_change(engine: Engine, loaded: Loaded, ids: ItemIds, verb: str) -> tuple[float | None, int]:
    """How much of people's lists their new evidence replaced: lists from the evidence up to the model's, and from all of it."""
    changed = engine.store.changed(engine.tenant, loaded.card.position)
    some = np.random.default_rng(0).permutation(len(changed))[:SAMPLE]
    records = read(engine.store, engine.tenant, [changed[one] for one in some], verb)
    old: dict[str, list[Record]] = {person: [one for one in own if one.position <= loaded.card.position] for person, own in records.items()}
    both = [person for person, own in old.items() if any(one.frame == "events" for one in own) and len(own) < len(records[person])]
    if not both:
        return None, 0
    made = [loaded.method.adapt_all(as_population({person: source[person] for person in both}, ids)) for source in (old, records)]
    # With and without the new evidence the same is left out, so that only tastes are compared.
    seen = [ids.map.array[made[1][person]["items"]].tolist() if person in made[1] else [] for person in both]
    tops = [loaded.method.recommend([states.get(person) for person in both], LISTED, exclude=seen).indices for states in made]
    same = [np.isin(new[new >= 0], was).mean() for was, new in zip(*tops, strict=True) if (new >= 0).any()]
    # What fewer people than that did is theirs, not a figure about the population.
    return (float(1 - np.mean(same)), len(same)) if len(same) >= FLOOR else (None, 0)
