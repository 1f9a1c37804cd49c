"""A generated world of dialogues over two dependent sources: what a person told of herself, and documents about what she told.

Four turns in ten need nothing, a quarter one fact of hers, and the rest a document that can be found only when the fact is known: "what should i
see near my home?" has no answer before it is known where that is. Facts of relatives and of the past share the words of the true ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sartor.data.population import Population

NOTHING, OWN, BOTH = (), ("PERSONA",), ("PERSONA", "DOCUMENTS")
SHARES = {NOTHING: 0.40, OWN: 0.25, BOTH: 0.35}


class Aspect(NamedTuple):
    """Something that documents say of a fact's value."""

    document: str
    answer: str
    questions: tuple[str, str]


class Kind(NamedTuple):
    """A kind of fact."""

    values: tuple[str, ...]
    fact: str
    former: str
    relative: str
    answer: str
    questions: tuple[str, str]
    aspects: tuple[Aspect, Aspect]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


KINDS = (
    Kind(_words("oslo rome lima cairo"), "i live in {}.", "i used to live in {}.", "my sister lives in {}.",
         "you live in {}.", ("where do i live?", "which town am i at home in?"), (
        Aspect("in {} visitors see the {} tower.", "in {} see the {} tower.",
               ("what is worth a look near my home?", "what do tourists see where i live?")),
        Aspect("markets in {} sell {} cakes.", "in {} buy {} cakes.", ("what do markets sell near my home?", "which cakes are sold where i live?")))),
    Kind(_words("tennis golf hockey chess"), "i play {}.", "i used to play {}.", "my brother plays {}.",
         "you play {}.", ("what do i play?", "what is my sport?"), (
        Aspect("{} needs {} shoes.", "for {} wear {} shoes.", ("what should i wear for my sport?", "which shoes does my game need?")),
        Aspect("{} fans read the {} paper.", "for {} read the {} paper.", ("where do i read about my sport?", "which paper covers my game?")))),
    Kind(_words("cats dogs parrots hamsters"), "i keep {}.", "i used to keep {}.", "my aunt keeps {}.",
         "you keep {}.", ("which animals do i keep?", "what are my pets?"), (
        Aspect("{} like {} seeds.", "give {} some {} seeds.", ("what should i feed my pets?", "which seeds do my animals like?")),
        Aspect("{} sleep in a {} box.", "give {} a {} box.", ("where should my pets sleep?", "which box do my animals need?")))),
    Kind(_words("tea coffee cocoa cider"), "i drink {}.", "i used to drink {}.", "my father drinks {}.",
         "you drink {}.", ("what do i drink?", "what is in my cup?"), (
        Aspect("{} tastes best from a {} cup.", "drink {} from a {} cup.", ("which cup suits my drink?", "from what should i sip my drink?")),
        Aspect("{} goes with {} bread.", "with {} eat {} bread.", ("what should i eat with my drink?", "which bread goes with what i drink?")))),
)  # fmt: skip
SMALL_TALK = (
    ("good morning!", "good morning to you."), ("how are you?", "i am well, thanks."), ("thanks a lot.", "you are welcome."),
    ("do you like towns?", "i like quiet ones."), ("do animals dream?", "some of them do."), ("is sport healthy?", "mostly, yes."),
    ("what does cold mean?", "the opposite of warm."), ("tell me a joke.", "i know only old ones."), ("which day is it?", "a good one."),
    ("can you sing?", "not very well."), ("what is a drink?", "something to sip."), ("good night.", "sleep well."),
)  # fmt: skip
_MAKERS = tuple(a + b for a in ("ka", "zo", "mi", "tu", "ve", "ro") for b in ("ran", "lek", "vos", "dim", "pal", "nus", "gor", "sif"))
"""What documents name: a document is the only place to learn it."""


class Turn(NamedTuple):
    """One request, and what is right."""

    person: int
    context: list[dict[str, str]]
    sources: tuple[str, ...]
    evidence: tuple[str, ...]
    response: str
    slots: tuple[str, ...]
    """Words that a right response has, hers first."""


class Sources:
    """The world. Documents are drawn anew for every seed and collection, so that no model can know those of another one."""

    def __init__(self, seed: int, *, people: int, collection: int = 0, turns: int = 8, relatives: int = 4) -> None:
        rng = np.random.default_rng([seed, collection, 53])
        self.documents: list[str] = []
        self._said: dict[tuple[int, int, int], tuple[str, str]] = {}
        for number, kind in enumerate(KINDS):
            for value, word in enumerate(kind.values):
                for place, aspect in enumerate(kind.aspects):
                    maker = _MAKERS[int(rng.integers(len(_MAKERS)))]
                    self.documents.append(aspect.document.format(word, maker))
                    self._said[number, value, place] = self.documents[-1], maker
        self.facts: list[list[str]] = []
        self.turns: list[Turn] = []
        for person in range(people):
            own = [int(rng.integers(len(kind.values))) for kind in KINDS]
            told = [kind.fact.format(kind.values[value]) for kind, value in zip(KINDS, own, strict=True)]
            for _ in range(relatives):
                kind = KINDS[int(rng.integers(len(KINDS)))]
                form = (kind.former, kind.relative)[int(rng.integers(2))]
                told.append(form.format(kind.values[int(rng.integers(len(kind.values)))]))
            self.facts.append([told[at] for at in rng.permutation(len(told))])
            self.turns += [self._turn(person, own, rng) for _ in range(turns)]

    def _turn(self, person: int, own: list[int], rng: np.random.Generator) -> Turn:
        before = [SMALL_TALK[int(at)] for at in rng.integers(len(SMALL_TALK), size=int(rng.integers(0, 2)))]
        context = [{"role": role, "content": text} for pair in before for role, text in zip(("user", "assistant"), pair, strict=True)]
        sources = list(SHARES)[int(rng.choice(len(SHARES), p=list(SHARES.values())))]
        number = int(rng.integers(len(KINDS)))
        kind, value = KINDS[number], own[number]
        fact, word = kind.fact.format(kind.values[value]), kind.values[value]
        place, form = int(rng.integers(2)), int(rng.integers(2))
        if sources == NOTHING:
            question, response = SMALL_TALK[int(rng.integers(len(SMALL_TALK)))]
            made: tuple[tuple[str, ...], tuple[str, ...]] = (), ()
        elif sources == OWN:
            question, response, made = kind.questions[form], kind.answer.format(word), ((fact,), (word,))
        else:
            document, maker = self._said[number, value, place]
            question, made = kind.aspects[place].questions[form], ((fact, document), (word, maker))
            response = kind.aspects[place].answer.format(word, maker)
        return Turn(person, [*context, {"role": "user", "content": question}], sources, made[0], response, made[1])

    def texts(self, first: int = 0) -> pl.DataFrame:
        """Facts and annotated dialogues, as `UniMSRAG.fit` takes them; `first` is the first person's number."""
        rows: list[tuple[int, str, str, str | None, int | None, int | None, list[str] | None, list[str] | None, list[str] | None]] = []
        for person, facts in enumerate(self.facts):
            rows += [(first + person, "fact", fact, None, None, None, None, None, None) for fact in facts]
        for dialogue, turn in enumerate(self.turns):
            who = first + turn.person
            for place, one in enumerate(turn.context):
                rows.append((who, "turn", one["content"], one["role"], dialogue, place, None, None, None))
            more = list(turn.sources), list(turn.evidence), self.documents if turn.sources == BOTH else None
            rows.append((who, "turn", turn.response, "assistant", dialogue, len(turn.context), *more))
        names = ("person", "kind", "text", "role", "dialogue", "turn")
        schema: dict[str, Any] = dict(zip(names, (pl.Int64, pl.String, pl.String, pl.String, pl.Int64, pl.Int64), strict=True))
        lists = dict.fromkeys(("sources", "evidence", "candidates"), pl.List(pl.String))
        return pl.DataFrame(rows, schema=schema | lists, orient="row")

    def items(self) -> pl.DataFrame:
        """The documents."""
        return pl.DataFrame({"item": list(range(len(self.documents))), "text": self.documents})


def taught(seed: int, people: int, collections: int) -> list[Sources]:
    """People to learn from, in groups that have documents of their own, so that what a document says has to be read in it."""
    return [Sources(seed, people=people // collections, collection=2 + number) for number in range(collections)]


def population(worlds: list[Sources]) -> Population:
    """All of them, with the documents of the first where a turn names none."""
    starts = [sum(len(one.facts) for one in worlds[:at]) for at in range(len(worlds))]
    return Population({"texts": pl.concat([one.texts(at) for one, at in zip(worlds, starts, strict=True)]), "items": worlds[0].items()})
