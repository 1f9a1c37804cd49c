"""What people answer: every reply is put together from the request, the person's taste and her habits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sartor.data.world.draws import Draws, address
from sartor.data.world.persona.likes import Likes
from sartor.data.world.persona.requests import Requests
from sartor.data.world.persona.traits import OPTIONS, Traits
from sartor.data.world.persona.words import (
    ACTS,
    ALWAYS,
    CHOOSE,
    CLAUSE,
    GROUPED,
    JARGON,
    NAMES,
    NOISY,
    RECOMMEND,
    SHELF_OF,
    SHELVES,
    SUBJECTS,
)  # fmt: skip


@dataclass(frozen=True)
class Following:
    """How often habits are followed."""

    follow: float
    noisy: float


def compose(
    draws: Draws, requests: Requests, traits: Traits, likes: Likes, rows: np.ndarray, following: Following, *, wrong: np.ndarray | None = None
) -> pl.Series:
    """Replies to requests in the habits and taste of `rows` of traits and likes (int64 [n]); what is written is right.

    `wrong` (bool [n]) asks for the wrong thing: another subject, or in requests that depend on her taste something she does not like.
    """
    where = address(requests.person, requests.number)
    subject = answered(draws, requests, likes, rows, where, wrong)
    uniform = draws.uniform

    def chosen(name: str, own: np.ndarray, often: float) -> np.ndarray:
        """Her option, or now and then any other one."""
        count = len(OPTIONS[name])
        other = (own + 1 + (uniform(f"reply:{name}:other", where) * (count - 1)).astype(np.int64)) % count
        return np.where(uniform(f"reply:{name}", where) < often, own, other)

    group, act = requests.group, requests.act
    always = {name: chosen(name, traits.always[name][rows], following.follow) for name in ALWAYS}
    noisy = {name: chosen(name, traits.noisy[name][rows], following.noisy) for name in NOISY}
    grouped = {name: chosen(name, traits.grouped[name][rows, group], following.follow) for name in GROUPED}
    verb = traits.verbs[rows, act]
    slip = uniform("reply:verb", where) >= following.follow
    verb = np.where(slip, (verb + 1 + (uniform("reply:verb:other", where) * 2).astype(np.int64)) % 3, verb)

    def words(options: tuple[str, ...], numbers: np.ndarray, form: str = "{}") -> pl.Series:
        return pl.Series([form.format(word) for word in options]).gather(numbers)

    def own_word(place: int) -> pl.Series:
        if place >= traits.jargon.shape[1]:
            return nothing
        said = uniform(f"reply:jargon:{place}", where) < following.follow
        return pl.Series([f"{word} " for word in JARGON] + [""]).gather(np.where(said, traits.jargon[rows, place, group], len(JARGON)))

    nothing = pl.repeat("", len(requests), dtype=pl.String, eager=True)
    verbs = tuple(verb for act in ACTS for verb in act.verbs)
    # The words before the verb have their own spaces, so that absent ones leave no gap.
    columns = [
        words(ALWAYS["opener"], always["opener"], "{} "), own_word(0), words(NAMES, requests.name), words(NOISY["tick"], noisy["tick"], ", {}, "),
        words(GROUPED["link"], grouped["link"], "{} i "), words(GROUPED["manner"], grouped["manner"], "{} "), words(verbs, act * 3 + verb, "{} the "),
        words(GROUPED["adjective"], grouped["adjective"], "{} "), own_word(1), words(SUBJECTS, subject, "{} from the "),
        words(SHELVES, np.array(SHELF_OF)[subject], "{} shelf"), pl.Series(["", f" {CLAUSE}"]).gather(always["length"]),
        words(ALWAYS["mark"], always["mark"], "{} "), own_word(2), words(ALWAYS["closer"], always["closer"]),
        words(NOISY["sign"], noisy["sign"], " {}"),
    ]  # fmt: skip
    frame = pl.DataFrame([column.alias(str(number)) for number, column in enumerate(columns)])
    return frame.select(pl.concat_str(pl.all()).alias("text"))["text"]


def answered(draws: Draws, requests: Requests, likes: Likes, rows: np.ndarray, where: np.ndarray, wrong: np.ndarray | None) -> np.ndarray:
    """The subject of every reply: as asked; of two the one she likes; something she likes."""
    first, second = requests.first, requests.second
    hers, theirs = likes.holds(rows, first), likes.holds(rows, second)
    even = draws.uniform("reply:choice", where) < 0.5
    takes_first = np.where(hers == theirs, even, hers)
    wrong = np.zeros(len(requests), bool) if wrong is None else wrong
    of_two = np.where(takes_first ^ wrong, first, second)
    uniform = draws.uniform("reply:recommend", where)
    free = np.where(wrong, likes.other(rows, uniform), likes.one(rows, uniform))
    # Any other subject than the one asked for.
    kinds = likes.kinds
    place = np.searchsorted(kinds, np.maximum(first, kinds[0]))
    beside = kinds[(place + 1 + (uniform * (kinds.size - 1)).astype(np.int64)) % kinds.size]
    plain = np.where(wrong, beside, first)
    return np.where(requests.act == CHOOSE, of_two, np.where(requests.act == RECOMMEND, free, plain))
