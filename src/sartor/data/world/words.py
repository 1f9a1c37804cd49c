"""What people write: reviews whose sentiment follows why the event happened, and whose reasons follow the person."""

from __future__ import annotations

import numpy as np
import polars as pl

from sartor.data.world.behaviour import LABELS, Events
from sartor.data.world.catalogue import Catalogue
from sartor.data.world.draws import Draws, address
from sartor.data.world.taste import Tastes
from sartor.data.world.vocabulary import KINDS, MEDIA, RECIPIENTS

ASPECTS = ("pace", "look", "craft", "ideas", "value", "feeling")
"""What a person judges things by: one each, always the same."""

_OPENINGS = {
    "taste": (
        "Exactly the kind of {wanted} I look for.",
        "I keep coming back to {wanted}, and this is why.",
        "Another of my {wanted}, and a good one.",
        "If you like {wanted} as much as I do, do not miss this.",
    ),
    "random": (
        "Not for me; I had been looking for {usual}.",
        "I ended up with this by mistake, I wanted {usual}.",
        "Wrong one. I will stay with {usual}.",
    ),
    "popular": (
        "Everybody has it, so I tried it. I would rather have {usual}.",
        "I do not see what the fuss is about; give me {usual}.",
        "Fell for the front page. Back to {usual}.",
    ),
    "gift": (
        "Bought for my {recipient}, who loves {wanted}.",
        "A present for my {recipient}. Not my thing, but {wanted} are always right there.",
        "My {recipient} asked for {wanted}, so here we are.",
    ),
    "exploration": (
        "A step away from my usual {usual}, out of curiosity.",
        "I wanted to see what {wanted} are like.",
        "Something other than {usual} for once.",
    ),
}
_REASONS = {
    ("pace", "media", True): ("It takes exactly the time it needs.", "I never once looked at the clock."),
    ("pace", "media", False): ("It drags.", "I looked at the clock all the time."),
    ("pace", "goods", True): ("Ready to use in a minute.", "It saves me time every day."),
    ("pace", "goods", False): ("It takes ages to set up.", "Too slow for every day."),
    ("look", "media", True): ("It is beautiful from beginning to end.", "The cover alone is worth it."),
    ("look", "media", False): ("It looks cheap.", "The cover promised something else."),
    ("look", "goods", True): ("It looks lovely where it stands.", "The colour is just right."),
    ("look", "goods", False): ("It looks wrong in my place.", "The colour is off."),
    ("craft", "media", True): ("Made with real skill.", "Every detail is in its place."),
    ("craft", "media", False): ("Carelessly made.", "The details do not hold."),
    ("craft", "goods", True): ("Solid workmanship.", "Built to last."),
    ("craft", "goods", False): ("Poor workmanship.", "It feels flimsy."),
    ("ideas", "media", True): ("It made me think for days.", "Full of ideas I had not met before."),
    ("ideas", "media", False): ("There is no idea in it.", "I had seen all of it before."),
    ("ideas", "goods", True): ("A clever design.", "Somebody has thought about this."),
    ("ideas", "goods", False): ("Nobody thought this through.", "An odd design."),
    ("value", "media", True): ("Worth every cent.", "A lot for the money."),
    ("value", "media", False): ("Not worth the money.", "Too dear for what it is."),
    ("value", "goods", True): ("Good value.", "I would pay more for it."),
    ("value", "goods", False): ("Overpriced.", "Wait for a sale."),
    ("feeling", "media", True): ("It stayed with me.", "It got under my skin."),
    ("feeling", "media", False): ("It left me cold.", "I felt nothing."),
    ("feeling", "goods", True): ("It makes me happy every time I use it.", "A joy to hold."),
    ("feeling", "goods", False): ("I do not enjoy using it.", "No joy in it."),
}
_CLOSINGS = {
    5: ("More of these, please.", "Highly recommended.", "I will look for more from {brand}.", ""),
    4: ("Recommended.", "Would buy again.", "Good work from {brand}.", ""),
    3: ("Fine, all in all.", "It has its moments.", ""),
    2: ("Not again.", "It went to a friend.", ""),
    1: ("Sent back.", "I want my money back.", ""),
}
_CHANCES = {"taste": (0, 0.03, 0.12, 0.6), "random": (0.4, 0.8, 1, 1), "popular": (0.3, 0.7, 0.95, 1), "gift": (0.02, 0.08, 0.3, 0.75),
            "exploration": (0.1, 0.3, 0.6, 0.9)}  # fmt: skip
"""Running sums of the chances of 1, 2, 3 and 4 stars."""


def ratings(draws: Draws, tastes: Tastes, events: Events) -> np.ndarray:
    """Stars 1..5 of every event, int64: they follow why it happened."""
    chances = np.array([_CHANCES[label] for label in LABELS])[events.label]
    uniform = draws.uniform("stars", address(tastes.people[events.row], events.slot))
    return 1 + (uniform[:, None] >= chances).sum(axis=1)


def aspects(draws: Draws, people: np.ndarray) -> np.ndarray:
    """What each person judges by, int64 numbers in `ASPECTS`."""
    return (draws.uniform("aspect", address(people)) * len(ASPECTS)).astype(np.int64)


def reviews(draws: Draws, tastes: Tastes, catalogue: Catalogue, events: Events, share: float) -> pl.DataFrame:
    """A text about a share of the events: person, item, time, kind, text, rating."""
    events = events.only(draws.uniform("review", address(tastes.people[events.row], events.slot)) < share)
    people = tastes.people[events.row]
    where = address(people, events.slot)
    stars = ratings(draws, tastes, events)
    usual = tastes.interests[np.arange(len(tastes)), tastes.weights.argmax(axis=1)][events.row]
    topic_of_item = catalogue.topic[events.item]
    media = np.array([KINDS[k].department in MEDIA for k in catalogue.topics.kind])[topic_of_item]

    names = pl.Series(catalogue.topics.names)
    recipient = (draws.uniform("recipient", where) < 0.5).astype(np.int64)
    who = (draws.uniform("recipient:who", address(people, recipient)) * len(RECIPIENTS)).astype(np.int64)
    aspect = aspects(draws, people)
    # Opinion, kind of thing and aspect in one number, the order of `_REASONS`.
    reason = (aspect * 2 + ~media) * 2 + (stars < 4)
    frame = pl.DataFrame(
        {
            "person": people, "item": events.item, "time": events.time + DELAY, "rating": stars.astype(np.int8),
            "opening": _phrase(_OPENINGS, list(_OPENINGS), events.label, draws.uniform("words:opening", where)),
            "reason": _phrase(_REASONS, list(_REASONS), reason, draws.uniform("words:reason", where)),
            "closing": _phrase(_CLOSINGS, list(_CLOSINGS), 5 - stars, draws.uniform("words:closing", where)),
            "wanted": names.gather(np.where(events.topic < 0, topic_of_item, events.topic).astype(np.uint32)),
            "usual": names.gather(usual.astype(np.uint32)),
            "recipient": pl.Series(RECIPIENTS).gather(who),
            "brand": catalogue.fields["brand"].gather(events.item),
        }
    )  # fmt: skip
    text = pl.concat_str("opening", pl.lit(" "), "reason", pl.lit(" "), "closing").str.strip_chars_end()
    for name in ("wanted", "usual", "recipient", "brand"):
        text = text.str.replace(f"{{{name}}}", pl.col(name), literal=True)
    return frame.select("person", "item", "time", pl.lit("review").alias("kind"), text.alias("text"), "rating")


DELAY = 2 * 86_400
"""Reviews are written two days after."""


def _phrase(phrases: dict, keys: list, which: np.ndarray, uniform: np.ndarray) -> pl.Series:  # type: ignore[type-arg]
    """One phrase of the chosen list for every row."""
    sizes = np.array([len(phrases[key]) for key in keys])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    flat = pl.Series([phrase for key in keys for phrase in phrases[key]])
    return flat.gather(starts[which] + (uniform * sizes[which]).astype(np.int64))
