"""Every word that people of the persona storey write: some 250, so that a language model of 0.1M parameters can learn them.

A reply is one sentence pattern with slots. The words of a slot stand in no other slot and nowhere else, so that a text shows by itself which
habits it follows.
"""

from __future__ import annotations

from dataclasses import dataclass

from sartor.data.world.vocabulary import DEPARTMENTS, KINDS, MOODS, _names
from sartor.data.world.vocabulary import FIRST_NAMES as _FIRST_NAMES
from sartor.data.world.vocabulary import PLACES as _PLACES

SUBJECTS = _names("""
    thrillers comedies westerns documentaries robots romances battles cartoons crimes travels poems histories dragons biographies essays tales
    pianos jazz folk synths quartets soul choirs guitars puzzles strategy cards quests races crosswords expeditions dice
    pans knives teapots brewers tins bowls mills plates lamps blankets cushions clocks vases rugs mirrors candles
    tents rucksacks bedrolls stoves boots jackets hammocks torches forks seeds planters cans feeders chairs trowels lanterns
""")
"""One word for every kind of thing, in the order of `vocabulary.KINDS`: what requests are about, and what people like."""
SHELVES = tuple(name.lower() for name in DEPARTMENTS)
SHELF_OF = tuple(DEPARTMENTS.index(kind.department) for kind in KINDS)
"""Where each kind stands: what a right reply has to know."""
NAMES = tuple(name.lower() for name in _FIRST_NAMES[:12])
"""To whom requests ask to write."""
MOOD_WORDS = tuple(mood.name for mood in MOODS)

GROUPS = ("practical", "personal")


@dataclass(frozen=True)
class Act:
    """A kind of request."""

    name: str
    group: int
    """Number in `GROUPS`."""
    verbs: tuple[str, str, str]
    """What people say for it: each person has one of the three, always the same."""


ACTS = (
    Act("order", 0, ("request", "reserve", "book")),
    Act("repair", 0, ("mend", "fix", "restore")),
    Act("sell", 0, ("trade", "offer", "auction")),
    Act("borrow", 0, ("fetch", "lease", "rent")),
    Act("choose", 0, ("pick", "prefer", "favour")),
    Act("praise", 1, ("admire", "applaud", "cheer")),
    Act("share", 1, ("show", "bring", "lend")),
    Act("miss", 1, ("recall", "mourn", "want")),
    Act("celebrate", 1, ("honour", "toast", "salute")),
    Act("recommend", 1, ("suggest", "propose", "advise")),
)
CHOOSE, RECOMMEND = 4, 9
"""Acts whose right answer depends on what the person likes."""

ALWAYS = {
    "opener": ("hello", "hey", "hi", "yo", "dear", "greetings", "esteemed", "honoured"),
    "closer": ("bye", "cheers", "later", "ciao", "regards", "sincerely", "respectfully", "faithfully"),
    "mark": (".", "!", "..."),
    "length": ("short", "long"),
}
"""Habits that show in every reply. The second halves of openers and closers are formal."""
GROUPED = {
    "link": ("so", "thus", "hence", "therefore"),
    "manner": ("gladly", "surely", "simply", "quickly"),
    "adjective": ("lovely", "fine", "proper", "splendid"),
}
"""Habits that differ between the two groups of requests."""
NOISY = {
    "tick": ("well", "look", "listen", "anyway", "honestly", "right"),
    "sign": ("xo", "hugs", "kisses", "ta", "peace", "amen"),
}
"""Habits that are followed only most of the time."""
CLAUSE = "and it matters a lot to me"
"""What a long reply has in addition."""
LONG_FROM = 20
"""Words from which a reply is long: the longest short one has 19, the shortest long one 22."""

JARGON_SLOTS = 3
_SYLLABLES = tuple(onset + vowel for onset in "bdfgklmnprtvz" for vowel in "aeiou")
JARGON = tuple(first + second + end for end in "nz" for first in _SYLLABLES for second in _SYLLABLES)
"""Words that single people have for themselves: pronounceable, two syllables and an ending; none is in the vocabulary."""


@dataclass(frozen=True)
class FactSlot:
    """Something that is true of a person for a while."""

    name: str
    said: str
    """What follows "i" or "you", with {value}."""
    question: str
    values: tuple[str, ...]


FACTS = (
    FactSlot("city", "live in {value}", "where do i live?", tuple(place.lower() for place in _PLACES[:8])),
    FactSlot("job", "work as a {value}", "what is my job?", ("baker", "nurse", "teacher", "pilot", "painter", "lawyer", "farmer", "plumber")),
    FactSlot("pet", "have a {value}", "which pet do i have?", ("cat", "dog", "parrot", "hamster", "rabbit", "turtle")),
    FactSlot("drink", "drink {value}", "what do i drink?", ("tea", "coffee", "cocoa", "cider", "juice", "milk")),
    FactSlot("sport", "play {value}", "what do i play?", ("tennis", "golf", "hockey", "chess", "darts", "squash")),
)
STATED, CHANGED, PAST = "i {said}.", "now i {said}.", "once i used to {said}."
LIKES, DISLIKES = "i love {mood} {subject}.", "i cannot stand {subject}."
NOTED, RATHER, THANKS = "noted.", "rather: ", "thanks, noted."
ANSWER, UNKNOWN = "you {said}.", "you did not say."


def request_text(act: str, first: str = "", second: str = "", name: str = "{name}") -> str:
    """What is asked: "write to ana: order the lamps."."""
    what = {"choose": f"{first} or {second}", "recommend": "something"}.get(act, f"the {first}")
    return f"write to {name}: {act} {what}."


def vocabulary(kinds: tuple[int, ...] | None = None) -> tuple[str, ...]:
    """All words and marks there are (jargon left out), sorted; with `kinds`, only these subjects."""
    from sartor.data.world.persona.grading import words_of

    subjects = SUBJECTS if kinds is None else tuple(SUBJECTS[kind] for kind in kinds)
    texts = [*subjects, *SHELVES, *NAMES, *MOOD_WORDS, CLAUSE, STATED, CHANGED, PAST, LIKES, DISLIKES, NOTED, RATHER, THANKS, ANSWER, UNKNOWN]
    texts += [word for options in (*ALWAYS.values(), *GROUPED.values(), *NOISY.values()) for word in options if word not in ALWAYS["length"]]
    texts += [word for act in ACTS for word in act.verbs] + [request_text(act.name, "", "") for act in ACTS]
    texts += [text for slot in FACTS for text in (slot.said, slot.question, *slot.values)]
    texts += ["i from the shelf"]
    fields = {"said", "value", "mood", "subject", "name", "{", "}"}
    return tuple(sorted({word for text in texts for word in words_of(text)} - fields))
