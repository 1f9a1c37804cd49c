"""What is known of one person, in words and numbers."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from sartor.engine import evidence as ev
from sartor.engine.answers import Profile
from sartor.engine.serving import VERB
from sartor.errors import UnknownId, Unreadable

if TYPE_CHECKING:
    from sartor.engine.engine import Engine


def profile(engine: Engine, person: str) -> Profile:
    """See `Engine.profile`."""
    from sartor.profile import kinds

    store, tenant = engine.store, engine.tenant
    records = store.evidence(tenant, person)
    consents = store.consents(tenant, person)
    cards = engine.history(person)
    if not records and not cards and all(one.default for one in consents.values()):
        raise UnknownId("nothing is known of this person", id=repr(person), fix="observe something first")
    loaded = engine._models.active(tenant, VERB)
    events = [record for record in records if record.frame == "events"]
    # What may be used for nothing, such as the log of decisions, says nothing of her taste and waits for no state.
    usable = [record for record in records if record.purposes is None or record.purposes]
    given = [record for record in usable if record.frame == "events"]
    chosen = [record for record in ev.by_kind(given, kinds.weights(store, tenant)) if ev.counts(record)]
    items = Counter(str(record.content.get("item")) for record in chosen)
    titles: dict[str, str | None] = {}
    categories: Counter[str] = Counter()
    if loaded is not None:
        shelf = engine._shelf(loaded)
        for item, count in items.items():
            if (number := shelf.ids.number(item)) >= 0:
                titles[item] = shelf.titles[number]
                categories.update(dict.fromkeys(shelf.categories[number], count))
    times = [record.time if record.time is not None else record.received or 0.0 for record in records]
    stored = None
    with suppress(Unreadable):  # said by the answers, and made anew
        stored = None if loaded is None else store.state(tenant, person, VERB, model=loaded.fingerprint)
    after = stored.position if stored is not None else 0
    lag = sum(record.position > after for record in usable if record.frame in ev.READS[VERB])
    found = Profile(
        person, len(records), dict(Counter(record.frame for record in records)), min(times, default=None), max(times, default=None),
        dict(Counter(record.kind or "event" for record in events)), [(item, titles.get(item), count) for item, count in items.most_common(10)],
        categories.most_common(10), ev.attributes(records), stored, lag, consents, sorted({card.model for card in cards}), [],
    )  # fmt: skip
    found.sentences.extend(_sentences(found))
    return found


def _sentences(profile: Profile) -> list[str]:
    out = [
        f"{profile.records} records" + (f": {', '.join(f'{count} {frame}' for frame, count in profile.frames.items())}." if profile.records else ".")
    ]
    if profile.top_items:
        named = ", ".join(f"{title or item} ({count})" if count > 1 else str(title or item) for item, title, count in profile.top_items[:5])
        out.append(f"Most often: {named}.")
    if profile.top_categories:
        out.append(f"Mostly {', '.join(category for category, _ in profile.top_categories[:5])}.")
    if profile.attributes:
        out.append(f"Said about this person: {', '.join(f'{name} {value}' for name, value in profile.attributes.items())}.")
    if profile.state is None:
        out.append("No state of the model that serves now: answers are the population's.")
    else:
        held = ", held" if profile.state.held else ""
        out.append(f"State version {profile.state.version}: {profile.state.nbytes} bytes{held}, {profile.lag} newer records not in it yet.")
    withheld = [purpose for purpose, one in profile.consents.items() if not one.granted]
    out.append(f"Not allowed: {', '.join(withheld)}." if withheld else "Everything is allowed.")
    return out
