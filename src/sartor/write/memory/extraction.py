"""What a person says about herself, taken out of what she writes.

`RuleExtractor` needs no language model: it reads first-person statements of likes and dislikes ("I can't stand crowds") and of facts
("my sister is a nurse", "I moved to Lyon", "I no longer work at Acme"). It finds less than a language model would, and invents nothing:
every memory is a sentence that stands in the message. Anything else with the method `extract` can take its place.

Never evidence: questions, quotations, pasted mails and talks, code, suppositions ("if I lived in Rome"), what others say, and text that was
itself recalled from memory and comes back in a message (`masked`), so that a memory cannot confirm itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from sartor.write.memory.polarity import Aspect, aspects, personal
from sartor.write.memory.records import Kind
from sartor.write.memory.words import plain, terms

LONGEST = 100_000
"""Characters of one message that are read."""
SENTENCE = 500
"""Characters of the longest sentence that can be a memory."""


@dataclass(frozen=True, slots=True)
class Found:
    """One statement in a message."""

    text: str
    kind: Kind
    polarity: float = 0.0
    subject: str | None = None
    value: str | None = None
    ended: bool = False
    """It says that something no longer holds: "I no longer live in Rome"."""
    certain: bool = True
    """False where it was said with reserve ("I might like ..."); a policy may want such a memory confirmed."""


class Extractor(Protocol):
    """What finds statements about a person in her own words."""

    name: str
    inferred: bool
    """Whether it may say what the person did not say in these words, as language models do."""

    def extract(self, text: str) -> list[Found]:
        """The statements in one message of hers, in their order."""


_AM = r"\bi(?:'m| am)"
_HAVE = r"\bi(?:'ve| have)?(?: just| recently)?"
_JOBS = (
    "engineer|teacher|nurse|doctor|lawyer|developer|designer|student|accountant|manager|chef|cook|writer|artist|scientist|researcher|professor|"
    "programmer|consultant|architect|dentist|driver|farmer|mechanic|pilot|plumber|electrician|photographer|musician|librarian|analyst|translator|"
    "journalist|therapist|pharmacist|surgeon|veterinarian"
)
_DIETS = "vegan|vegetarian|pescatarian|flexitarian|omnivore|kosher|halal|lactose[- ]intolerant|celiac"
_SLOTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (slot, re.compile(pattern, re.IGNORECASE))
    for slot, pattern in (
        ("name", r"\b(?:my (?:full |first )?name(?:'s| is)|(?:please )?call me|i go by) (?P<v>[^\W\d_][\w'-]*(?: [A-Z][\w'-]*){0,2})"),
        ("age", rf"{_AM}(?: now| already)? (?P<v>\d{{1,3}})(?: years? old)?(?=\s*(?:[.,;!]|and\b|$))"),
        ("age", r"\bi(?: just)? turned (?P<v>\d{1,3})\b"),
        ("home", r"\bi(?: currently| now)? (?:live|reside) (?:in|at) (?P<v>.+)"),
        ("home", rf"{_AM} (?:living|based) (?:in|at) (?P<v>.+)"),
        ("home", rf"{_HAVE} (?:moved|relocated)(?: back)? to (?P<v>.+)"),
        ("origin", rf"{_AM} (?:originally )?from (?P<v>.+)|\bi was born in (?P<v2>.+)|\bi grew up in (?P<v3>.+)"),
        # What somebody does and where: one does not contradict the other.
        ("job", rf"\bi(?: currently| now)?(?: also)? work as (?P<v>.+)|{_AM} (?:working|employed) as (?P<v2>.+)"),
        ("job", rf"{_HAVE} (?:started (?:working|a (?:new )?job)|joined|got a job) as (?P<v>.+)"),
        ("job", rf"{_AM} (?:an?|the) (?P<v>(?:[\w-]+ ){{0,3}}(?:{_JOBS}))\b"),
        ("work", rf"\bi(?: currently| now)?(?: also)? work (?:at|for|in) (?P<v>.+)|{_AM} (?:working|employed) (?:at|for|in) (?P<v2>.+)"),
        ("work", rf"{_HAVE} (?:started (?:working|a (?:new )?job)|joined|got a job)(?: (?:at|for|with|in))? (?P<v>.+)"),
        ("diet", rf"{_AM}(?: now| strictly)? (?:an? )?(?:strict )?(?P<v>{_DIETS})\b|{_AM} on an? (?P<v2>[\w-]+(?: [\w-]+)? diet)\b"),
        ("family", rf"{_AM}(?: now)? (?P<v>married|single|divorced|engaged|widowed|a (?:single )?(?:parent|mother|father|mom|dad))\b"),
        (
            "",
            r"\bmy (?P<slot>(?:(?!is\b|are\b|was\b)[\w'-]+ ){0,3}?[\w'-]+?)"
            r"(?:'s(?! [\w-]+ (?:is|are|isn't)\b)| is| are|(?= (?:isn't|aren't) ))(?: now| called| named)? (?P<v>.+)",
        ),
        ("+", rf"{_HAVE} (?:have|got|have got|adopted|bought|studied) (?P<v>.+)|\bi(?: also)? (?:have|own|speak|play|study) (?P<v2>.+)"),
        ("+", rf"\bi've got (?P<v>.+)|{_AM} (?:learning|studying|training for) (?P<v2>.+)"),
    )
)
"""Slot -> how it is said. The slot "" is named in the sentence; "+" can hold many values at once, so nothing contradicts it."""
_ENDED = re.compile(
    r"\bi (?:no longer|don't|do not|never) (?=(?:live|work|reside|speak|play|have|own|study)\b)"
    r"|\bi(?:'m| am) (?:no longer|not) (?=(?:living|working|based|from|an?|vegan|vegetarian|married|single|on)\b)",
    re.IGNORECASE,
)
_ANYMORE = re.compile(r"\s*\b(?:any ?more|any longer)\b", re.IGNORECASE)
_NO_LONGER = re.compile(r"\bno longer\s+", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not|don't|do not|never)\s+", re.IGNORECASE)
_MUCH = re.compile(r"(?:[\s,]+(?:a (?:lot|bit|great deal|little)|lots|at all))+$", re.IGNORECASE)
"""How much something is liked is not what is liked."""
_SENTENCE = re.compile(r"(?<=[.!?;])(?<!\bSt\.)(?<!\b[DM]r\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\be\.g\.)(?<!\bi\.e\.)[\"'”’)]*\s+|\n+")
_CLAUSES = re.compile(r"(?:,\s*)?\b(?:and|but|so)\s+(?=(?:i|i'm|i've|i'd|my)\b)|,\s+(?=(?:i|i'm|i've|my)\b)", re.IGNORECASE)
_QUOTED = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|[\"“”«][^\"“”«»\n]{2,}[\"”»]|^[ \t]*>.*?$", re.DOTALL | re.MULTILINE)
_PASTED = re.compile(
    r"^[ \t>]*(?:-{2,} ?(?:original message|forwarded message|begin forwarded)|begin forwarded message"
    r"|(?:from|sent|to|subject|date|cc|reply-to|von|betreff):[ \t]|on .{4,80} wrote:|(?:human|user|assistant|system|ai|bot|customer|agent)\s*:[ \t])",
    re.IGNORECASE | re.MULTILINE,
)
"""Where a mail, or a talk, of somebody else begins in what was pasted: nothing from there on is hers."""
_WHOLE = re.compile(r"^\s*[\"“]([^\"“”\n]*)[\"”]\s*$")
_SUPPOSED = re.compile(
    r"\b(?i:if|suppose|imagine|pretend|act as|as if|wish|unless|would i|should i|let's say|assume|hypothetically|in (?:this|the) (?:story|novel|role)"
    r"|(?:he|she|they|someone|somebody|people|(?:my|his|her|our|the) \w+) (?:said|says|told|asked|asks|thinks|claims|wrote)"
    r"|write|rewrite|translate|summari[sz]e|correct"
    # What she wants done now is a request, not a habit.
    r"|i (?:want|need|have|would like|am trying|tried|wanted)(?: you)? to (?!avoid|only)|i'd like(?: you)? to (?!avoid)"
    r"|i (?:want|need) (?:you|help|some help)|can you|could you|please (?!call))\b"
    r"|\b[A-Z][a-z]+ (?:said|says|told|asked|asks|thinks|claims|wrote)\b"
)
_DENIED = re.compile(r"(?:not|no longer|isn't|aren't)\s+", re.IGNORECASE)
_RESERVE = re.compile(r"\b(?:might|maybe|perhaps|probably|possibly|not sure|i guess|i suppose|i think i|kind of|sort of|could be)\b", re.IGNORECASE)
_PASSING = re.compile(
    r"\b(?:questions?|problem|issue|goal|task|code|essay|homework|point|answer|idea|plan|query|guess|understanding|bad|apologies|thanks|response|"
    r"input|text|prompt)\b",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"(?:[\s,;:]+(?:now|currently|right now|these days|at the moment|too|as well|though|actually|and|but|recently|"
    r"last (?:year|month|week|summer|winter|spring|fall)|this (?:year|month|week)|(?:back )?in \d{4}|\w+ (?:years?|months?|weeks?) ago))*[\s.,;:!]*$",
    re.IGNORECASE,
)
_REST = re.compile(
    r"\s*(?:,|;|\(| - |\bbecause\b|\bsince\b|\bwhere\b|\bwhich\b|\bso\b|\bbut\b|\bfor (?:the|about|over|\d+)\b|\bwith my\b).*$",
    re.IGNORECASE | re.DOTALL,
)


class RuleExtractor:
    """First-person statements by rules (English)."""

    name = "rules"
    inferred = False

    def extract(self, text: str) -> list[Found]:
        """See `Extractor`."""
        found: dict[tuple[str, str | None], Found] = {}
        for sentence in sentences(text):
            for one in _statements(sentence):
                found.setdefault((plain(one.text), one.subject), one)
        return list(found.values())


def masked(text: str, recalled: Iterable[str]) -> str:
    """A text without the sentences that were recalled, however they are capitalised, spaced and punctuated."""
    words = list(re.finditer(r"\w+(?:['’]\w+)?", text))
    said = [plain(word.group()) for word in words]
    first: dict[str, list[int]] = {}
    for at, word in enumerate(said):
        first.setdefault(word, []).append(at)
    gone: list[tuple[int, int]] = []
    for one in recalled:
        wanted = plain(one).split()
        if len(wanted) < 2:
            continue
        gone += [(words[at].start(), words[at + len(wanted) - 1].end()) for at in first.get(wanted[0], ()) if said[at : at + len(wanted)] == wanted]
    for start, end in sorted(gone, reverse=True):
        # A stop, so that what stood around it does not become one sentence.
        text = f"{text[:start]} \n {text[end:]}"
    return text


def sentences(text: str) -> list[str]:
    """The sentences of a message in which somebody may say something about herself."""
    text = text[:LONGEST].replace("’", "'")
    if pasted := _PASTED.search(text):
        text = text[: pasted.start()]
    whole = _WHOLE.match(text)
    text = whole[1] if whole else _QUOTED.sub(" \n ", text)
    out = []
    for part in _SENTENCE.split(text):
        part = " ".join(part.split()).strip(" -*•")
        if len(part) <= SENTENCE and personal(part) and not part.endswith("?") and not _SUPPOSED.search(part):
            out.append(part)
    return out


def stated_polarity(text: str) -> float:
    """The sign of the likes and dislikes that somebody states of herself in a message, -1 .. +1; 0 when she states none."""
    signs = [one.polarity for sentence in sentences(text) for one in aspects(sentence)]
    # For and against may add up to nothing, which is not the same as saying nothing.
    return (sum(signs) / len(signs) or 0.01) if signs else 0.0


def _statements(sentence: str) -> list[Found]:
    certain = not _RESERVE.search(sentence)
    out: list[Found] = []
    for clause in _clauses(sentence):
        text = clause.strip(" ,;")
        text = text[:1].upper() + text[1:] + ("" if text[-1:] in ".!" else ".")
        fact, (likes, over) = _fact(text, certain), _likes(text)
        # "I'm on a low-sodium diet" is one statement, not two; "I live in Lyon and love it" has a cue of its own.
        out += (
            [fact]
            if fact is not None
            else []
            if len(likes) != 1
            else [Found(text, "preference", likes[0].polarity, likes[0].phrase, ended=over, certain=certain)]
        )
        if fact is None and len(likes) > 1:
            out += [Found(_said(one), "preference", one.polarity, one.phrase, certain=certain) for one in likes if terms(one.phrase)]
    return out


def _likes(text: str) -> tuple[list[Aspect], bool]:
    """What a clause is for and against, and whether that is over: "I'm not allergic to nuts anymore" is for and against nothing now."""
    said = _ANYMORE.sub("", text)
    if _NO_LONGER.search(said):
        found = aspects(_NO_LONGER.sub("", said))
        # Who no longer hates it need not love it; who no longer loves it has said something.
        over = len(found) == 1 and found[0].polarity < 0
        found = found if over else [replace(one, polarity=-one.polarity, only=False) for one in found]
    else:
        found, over = aspects(said), False
        if not found and said != text:
            found = [one for one in aspects(_NEGATION.sub("", said)) if one.polarity < 0]
            over = len(found) == 1
    return [replace(one, phrase=_MUCH.sub("", one.phrase) or one.phrase) for one in found], over


def _clauses(sentence: str) -> list[str]:
    """Parts that have their own "I" or "my"; "I love hiking, but not alone" stays whole."""
    parts = _CLAUSES.split(sentence)
    return parts if all(personal(part) for part in parts) else [sentence]


def _said(one: Aspect) -> str:
    verb = ("only want" if one.only else "like") if one.polarity > 0 else "dislike"
    return f"I {verb} {one.phrase}."


def _fact(clause: str, certain: bool) -> Found | None:
    ended = _ENDED.search(clause) is not None
    said = (
        _ANYMORE.sub("", _ENDED.sub(lambda hit: "i am " if "'m" in hit[0].lower() or " am " in hit[0].lower() else "i ", clause)) if ended else clause
    )
    for slot, pattern in _SLOTS:
        hit = pattern.search(said)
        if hit is None:
            continue
        groups = hit.groupdict()
        value = _TAIL.sub("", _REST.sub("", next(one for name, one in groups.items() if name.startswith("v") and one))).strip()
        name = plain(groups["slot"]) if slot == "" else slot
        if slot == "" and (denied := _DENIED.match(value)):
            ended, value = True, value[denied.end() :]
        if not terms(value) or _PASSING.search(name) or _PASSING.search(" ".join(value.split()[:3])):
            return None
        favourite = name.startswith(("favorite ", "favourite "))
        if favourite and ended:
            return Found(clause, "fact", subject=name, value=value, ended=True, certain=certain)
        kind: Kind = "preference" if favourite else "fact"
        return Found(clause, kind, 1.0 if favourite else 0.0, None if slot == "+" else name, value, ended, certain)
    return None
