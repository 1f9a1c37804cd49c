"""What is true of people for a while, what they say about it, and what they like: statements with dates that later ones contradict."""

from __future__ import annotations

import numpy as np
import polars as pl

from sartor.data.world.behaviour import DAY, START
from sartor.data.world.draws import Draws, address
from sartor.data.world.persona.likes import DISLIKED, Likes
from sartor.data.world.persona.words import ANSWER, CHANGED, DISLIKES, FACTS, LIKES, MOOD_WORDS, PAST, STATED, SUBJECTS, UNKNOWN
from sartor.data.world.taste import Tastes

VERSIONS = 3
"""Values that a fact has had at most."""
AGAIN = 0.25
"""Chance that a fact which has changed once changes once more."""
LOVED = 3
"""Interests, the strongest first, that people speak of."""
_SLOT_NAMES = pl.Series([slot.name for slot in FACTS])
_MOST = max(len(slot.values) for slot in FACTS)


def facts(draws: Draws, people: np.ndarray, changes: float, days: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and times of every fact: int64 [n, slots, VERSIONS], value numbers (-1: none) and since when (seconds since 1970)."""
    where = address(people[:, None], np.arange(len(FACTS))[None, :])
    counts = np.array([len(slot.values) for slot in FACTS])[None, :]

    def other(value: np.ndarray, purpose: str) -> np.ndarray:
        return (value + 1 + (draws.uniform(purpose, where) * (counts - 1)).astype(np.int64)) % counts

    first = (draws.uniform("fact", where) * counts).astype(np.int64)
    moved = draws.uniform("fact:moved", where) < changes
    twice = moved & (draws.uniform("fact:again", where) < AGAIN)
    second = other(first, "fact:second")
    values = np.stack([first, np.where(moved, second, -1), np.where(twice, other(second, "fact:third"), -1)], axis=2)
    # A fact is told in the first fifth of the time, changes in the middle, and once more towards the end.
    spans = ((0.0, 0.2), (0.25, 0.4), (0.7, 0.25))
    parts = [low + width * draws.uniform(f"fact:time:{version}", where) for version, (low, width) in enumerate(spans)]
    return values, START + (np.stack(parts, axis=2) * days * DAY).astype(np.int64)


def statements(draws: Draws, tastes: Tastes, likes: Likes, *, changes: float, reminders: float, days: int) -> pl.DataFrame:
    """Everything that people say about themselves, by person and time.

    Columns: person, time, text, kind ("fact", "past", "like", "dislike"), slot (of facts), value (the fact's value, or the subject), mood
    (of likes), polarity (-1, 0, +1), valid_from, valid_to (null while it holds). A "past" statement looks back at a value that has changed:
    it is newer than the change and contradicts nothing.
    """
    people = tastes.people
    values, times = facts(draws, people, changes, days)
    row, slot, version = np.nonzero(values >= 0)
    value, since = values[row, slot, version], times[row, slot, version]
    following = np.minimum(version + 1, VERSIONS - 1)
    replaced = (version + 1 < VERSIONS) & (values[row, slot, following] >= 0)
    until = np.where(replaced, times[row, slot, following], -1)
    text = pl.select(pl.when(pl.Series(version > 0)).then(_fact_texts(CHANGED, slot, value)).otherwise(_fact_texts(STATED, slot, value))).to_series()
    told = _frame(people[row], since, text, "fact", slot=_SLOT_NAMES.gather(slot), value=_values(slot, value), since=since, until=until)
    # Looking back, at some time between the change and the end.
    where = address(people[row], slot * VERSIONS + version)
    back = np.flatnonzero(replaced & (draws.uniform("fact:back", where) < reminders))
    rest = START + days * DAY - until
    later = (until + (rest * draws.uniform("fact:back:time", where)).astype(np.int64))[back]
    row, slot, value, since, until = (array[back] for array in (row, slot, value, since, until))
    past = _frame(
        people[row],
        later,
        _fact_texts(PAST, slot, value),
        "past",
        slot=_SLOT_NAMES.gather(slot),
        value=_values(slot, value),
        since=since,
        until=until,
    )
    return pl.concat([told, past, _loved(draws, tastes, days), _disliked(draws, likes, days)]).sort("person", "time", maintain_order=True)


def questions(draws: Draws, people: np.ndarray, changes: float, days: int, at: float | np.ndarray = 1.0) -> pl.DataFrame:
    """One question about every fact: person, time, slot, question, value (true at that time, null while it is not known yet), answer
    (a sentence).

    `at` is a time between 0 (the start) and 1 (the end), one for all or one per person.
    """
    values, times = facts(draws, people, changes, days)
    when = START + (np.broadcast_to(np.asarray(at, np.float64), people.shape) * days * DAY).astype(np.int64)
    row, slot = np.repeat(np.arange(people.size), len(FACTS)), np.tile(np.arange(len(FACTS)), people.size)
    value, answer = answers(values, times, row, slot, when[row])
    question = pl.Series([one.question for one in FACTS]).gather(slot)
    columns = {"person": people[row], "time": when[row], "slot": _SLOT_NAMES.gather(slot), "question": question, "value": value, "answer": answer}
    return pl.DataFrame(columns)


def answers(values: np.ndarray, times: np.ndarray, row: np.ndarray, slot: np.ndarray, when: np.ndarray) -> tuple[pl.Series, pl.Series]:
    """What is true at a time (null where it is not known yet), and the sentence that says so; `values` and `times` as from `facts`."""
    version = ((values[row, slot] >= 0) & (times[row, slot] <= when[:, None])).sum(axis=1) - 1
    value = values[row, slot, np.maximum(version, 0)]
    frame = pl.DataFrame({"known": version >= 0, "value": _values(slot, value), "answer": _fact_texts(ANSWER, slot, value)})
    said = frame.select(pl.when("known").then("value").alias("value"), pl.when("known").then("answer").otherwise(pl.lit(UNKNOWN)).alias("answer"))
    return said["value"], said["answer"]


def _fact_texts(form: str, slot: np.ndarray, value: np.ndarray) -> pl.Series:
    """A sentence about each fact, in one of the forms of `words`."""
    every = [form.format(said=one.said.format(value=word)) for one in FACTS for word in (*one.values, *[""] * (_MOST - len(one.values)))]
    return pl.Series(every).gather(slot * _MOST + value)


def _values(slot: np.ndarray, value: np.ndarray) -> pl.Series:
    return pl.Series([word for one in FACTS for word in (*one.values, *[""] * (_MOST - len(one.values)))]).gather(slot * _MOST + value)


def _loved(draws: Draws, tastes: Tastes, days: int) -> pl.DataFrame:
    """The strongest interests that people begin with."""
    best = np.argsort(-tastes.weights, axis=1, kind="stable")[:, :LOVED]
    row, column = np.nonzero(np.take_along_axis(tastes.interests, best, axis=1) >= 0)
    topic = tastes.interests[row, best[row, column]]
    subject, mood = pl.Series(SUBJECTS).gather(tastes.topics.kind[topic]), pl.Series(MOOD_WORDS).gather(tastes.topics.mood[topic])
    time = _early(draws, "like", tastes.people[row], column, days)
    text = pl.DataFrame({"m": mood, "s": subject}).select(pl.format(LIKES.replace("{mood}", "{}").replace("{subject}", "{}"), "m", "s")).to_series()
    return _frame(tastes.people[row], time, text, "like", value=subject, mood=mood, polarity=1.0, since=time)


def _disliked(draws: Draws, likes: Likes, days: int) -> pl.DataFrame:
    people = likes.people
    subject = likes.disliked(draws.uniform("dislike", address(people))).ravel()
    row, column = np.repeat(np.arange(people.size), DISLIKED), np.tile(np.arange(DISLIKED), people.size)
    time = _early(draws, "dislike", people[row], column, days)
    texts = pl.Series([DISLIKES.format(subject=word) for word in SUBJECTS]).gather(subject)
    return _frame(people[row], time, texts, "dislike", value=pl.Series(SUBJECTS).gather(subject), polarity=-1.0, since=time)


def _early(draws: Draws, purpose: str, people: np.ndarray, slot: np.ndarray, days: int) -> np.ndarray:
    """A moment of the first half."""
    return START + (draws.uniform(f"{purpose}:time", address(people, slot)) * 0.5 * days * DAY).astype(np.int64)


def _frame(
    person: np.ndarray, time: np.ndarray, text: pl.Series, kind: str, *, value: pl.Series, since: np.ndarray, until: np.ndarray | None = None,
    slot: pl.Series | None = None, mood: pl.Series | None = None, polarity: float = 0.0,
) -> pl.DataFrame:  # fmt: skip
    nothing = pl.repeat(None, person.size, dtype=pl.String, eager=True)
    ends = pl.Series(np.full(person.size, -1) if until is None else until)
    frame = pl.DataFrame(
        {
            "person": person, "time": time, "text": text, "kind": pl.repeat(kind, person.size, dtype=pl.String, eager=True),
            "slot": nothing if slot is None else slot, "value": value, "mood": nothing if mood is None else mood,
            "polarity": pl.repeat(polarity, person.size, dtype=pl.Float64, eager=True), "valid_from": since, "valid_to": ends,
        }
    )  # fmt: skip
    return frame.with_columns(pl.when(pl.col("valid_to") >= 0).then("valid_to").alias("valid_to"))
