"""What a sentence is for and what it is against, by rules: cue words set the sign, and the words after them are what it is about.

    aspects("I dislike dry textbooks and prefer stories over lists, because lists bore me")
    # dry textbooks: -1, stories: +1, lists: -1

Vectors of sentences hardly show a negation: "I avoid leather" lies beside every leather bag. So the sign is kept beside the vector.
English only. Reasons ("because ...", "due to ...") are not what is liked; a negation inside what is liked turns its rest around.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aspect:
    """Something a sentence is for or against."""

    phrase: str
    polarity: float
    """-1 against .. +1 for; nearer to 0 where it is said with less force."""
    only: bool = False
    """Nothing else will do: "I only eat kosher food"."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_AGAINST = _words(
    "dislike dislikes disliked disliking hate hates hated hating loathe loathes detest detests despise despises avoid avoids avoided "
    "avoiding aversion averse opposed opposition oppose objection objections object distaste disdain hatred phobia fear afraid scared "
    "terrified wary skeptical sceptical allergic allergy allergies intolerant intolerance uninterested disinterested uncomfortable refuse "
    "refuses boycott against unable prejudice bias biased sensitive sensitivity overwhelmed annoyed bored irritated struggle struggles "
    "unwilling tired ineffective unappealing boring overwhelming frustrating distracting distrust resent abhor"
)
_FOR = _words(
    "prefer prefers preferred preferring preference like likes liked love loves loved enjoy enjoys enjoyed adore adores favor favors favour "
    "favours favorite favourite fond fan passionate passion advocate believe believer committed want wants need needs require requires value "
    "values insist appreciate appreciates thrive thrives support supports obsessed addicted exclusively only solely strictly always drawn "
    "interested interest keen follow adhere comfortable desire patience tolerance willing open prioritize prioritise dedicated loyal"
)
_ONLY = _words("only exclusively solely strictly always")
# Verbs that say nothing alone, and much after "do not" or "only".
_DOING = _words(
    "eat drink wear use watch read play trust consider buy purchase own keep stay travel fly drive listen attend consume cook shop engage "
    "participate work learn visit respond accept agree tolerate stand bear handle connect take feed allow go have do be see hear rely deal "
    "ride support spend live share try choose get make plan book eating using watching wearing playing reading owning having going dine "
    "visiting traveling travelling buying believe care find purchasing consuming feel want suit appeal invest include involve contain focus"
)
_NOT = _words(
    "not never no cannot can't cant don't dont doesn't didn't won't wouldn't isn't aren't nothing neither nor hardly rarely seldom without lack zero"
)
_INSIDE = _words("not without don't doesn't no aren't isn't never lack lacks lacking")
_SOFT = _words("rarely seldom sometimes somewhat slightly usually generally hardly")
_REASON = _words("because since due owing although though unless regardless which when while especially particularly")
_ALONE = _words("no without zero")
_CLAUSE = _words("i i'm it they this that")
_CHOOSE = _words("prefer prefers choose chose try tend like")
_AILMENT = _words("allergy allergies phobia intolerance sensitivity")
_FAULT = _words(
    "boring difficult hard slow distressing disorienting ineffective overwhelming distracting uncomfortable unappealing frustrating "
    "confusing restrictive"
)
_NOUN = _words("like open interest value need support follow fan favor favorite needs values preference best better")
_SUBJECT = _words("i we really also do just strongly always still")
_STOP = _words(". ; : ! ? but however") | {"\n"}
_NEUTRAL = _words(
    "a an the to of in on for with and or any all some my i i'm i've it that this is are be been am was were do does did has have not very "
    "really strongly strong much more most as by at from me them those these such also just will would can could into than then so too who "
    "strict extreme extremely absolutely deep intense severe certain people idea type types kind kinds form forms activities toward towards "
    "about up even personally going their its his her our your own find having being make makes feel feels think thought there might may "
    "maybe perhaps probably guess honestly actually quite pretty now always please"
) | _DOING | _ONLY | _AGAINST | _FOR  # fmt: skip
_TOKEN = re.compile(r"[A-Za-z0-9][\w’'./&+-]*[\w+]|[A-Za-z0-9]|[.;:!?,\n]")
_FIRST = re.compile(r"\b(?:i|i'm|i've|i'd|i'll|my|me|mine|myself)\b", re.IGNORECASE)
_FAR = 4
"""Words between a negation and the verb that it turns."""
LONGEST = 20_000
"""Characters of a text that are read."""


def personal(text: str) -> bool:
    """Whether somebody speaks of herself."""
    return _FIRST.search(text.replace("’", "'")) is not None


def aspects(text: str) -> list[Aspect]:
    """What a text is for and against, in its order; an empty list for one without a cue."""
    out: list[Aspect] = []
    reader = _Reader(out)
    for token in _TOKEN.findall(text[:LONGEST]):
        reader.take(token.replace("’", "'"))
    reader.close()
    return out


class _Reader:
    """Goes through the words of a text once, with the sign that holds where it is."""

    def __init__(self, out: list[Aspect]) -> None:
        self.out = out
        self.before: list[str] = []
        self._clear()

    def _clear(self) -> None:
        self.words: list[str] = []
        self.held = False
        """Whether one of the words says something."""
        self.loose = ""
        self.sign, self.force, self.only, self.since, self.reason = 0.0, 1.0, False, _FAR + 1, False

    def close(self) -> None:
        """What was collected is one aspect; without a sign, it waits for one ("I find lists boring and avoid them")."""
        phrase = _trimmed(self.words)
        if self.sign and (phrase or self.loose):
            self.out.append(Aspect(phrase or self.loose, self.sign * self.force, self.only and self.sign > 0))
            self.loose = ""
        elif phrase:
            self.loose = phrase
        self.words, self.held = [], False

    def turn(self, sign: float, *, only: bool = False) -> None:
        """From here on it is about something else, with this sign."""
        if self.held:
            self.close()
        self.words, self.held = [], False
        self.sign, self.only, self.since = sign, only and sign > 0, _FAR + 1

    def take(self, token: str) -> None:
        word = token.lower()
        before, self.before = self.before, [*self.before[-2:], word]
        last = before[-1] if before else ""
        held = self.held
        self.since += 1
        if word in _STOP:
            self.close()
            self._clear()
        elif word == ",":
            if self.reason:
                self.reason = False
            elif held:
                self.words.append(",")
        elif word in _REASON or (last == "as" and word in _CLAUSE):
            self.close()
            self.sign, self.only, self.reason = 0.0, False, True
        elif self.reason:
            return
        elif self.sign > 0 and (word in ("over", "versus", "than") or (word == "of" and last == "instead") or (word == "to" and last == "opposed")):
            self.turn(-1.0)
        elif word in _NOT:
            # "products that are not cruelty-free": the rest is meant the other way round.
            inside = held and word in _INSIDE and self.sign != 0
            refused = word in _ALONE or (word == "not" and last in _CHOOSE)
            self.turn(-self.sign if inside else -1.0 if refused else 0.0)
            self.since = _FAR + 1 if inside else 0
        elif word in _SOFT:
            self.force = 0.6
        elif word in _AILMENT and held and not self.sign:
            # "a severe peanut allergy"
            self.sign = -1.0
            self.close()
            self.sign = 0.0
        elif word in _AGAINST and not (word == "tired" and last == "not"):
            # "do not mind", "not opposed to": neither for nor against.
            self.turn(0.0 if self.since <= 3 else -1.0)
        elif (word in _FOR and not (held and word in _NOUN and last not in _SUBJECT)) or (
            word in ("best", "better") and last in ("learn", "work", "respond")
        ):
            sign = -1.0 if self.since <= _FAR or (self.sign < 0 and not held and word in ("like", "want", "need")) else 1.0
            self.turn(sign, only=word in _ONLY or (self.only and not held))
        elif self.since <= _FAR and (word == "into" or (word in _DOING and not held)):
            self.turn(-1.0)
        elif word in _FAULT and held and not self.sign:
            # "I find horror movies too distressing"
            self.sign = -1.0
            self.close()
            self.sign = 0.0
        else:
            self.words.append(token)
            self.held = held or word not in _NEUTRAL


def polarity(text: str) -> float:
    """The sign of a whole text, -1 .. +1: that of its aspects together; 0 without any."""
    found = aspects(text)
    return sum(one.polarity for one in found) / len(found) if found else 0.0


def _trimmed(words: list[str]) -> str:
    first, last = 0, len(words)
    while first < last and (words[first] == "," or words[first].lower() in _NEUTRAL):
        first += 1
    while last > first and (words[last - 1] == "," or words[last - 1].lower() in _NEUTRAL):
        last -= 1
    return " ".join(words[first:last]).replace(" ,", ",")
