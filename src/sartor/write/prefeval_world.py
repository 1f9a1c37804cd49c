"""Generated cases of PrefEval with an exact judge: things with known properties, so that whether an answer goes against a preference is no opinion.

    world = PrefEvalWorld(cases=200, seed=0)
    PrefEval(world.cases, pool=world.pool).run(writer, world.judge)

The natural answer to every question is the thing that most people take, and it always goes against the preference. A reply is read as it is
written: which things it names, and which preference it says it follows ("since you ...").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sartor.errors import ConfigError
from sartor.write.backends.backend import Message
from sartor.write.prefeval import Judgement
from sartor.write.prefeval_data import ACKNOWLEDGED, Case, Form, case

KINDS: dict[str, tuple[str, ...]] = {
    "restaurant": ("spicy", "loud", "vegan", "crowded", "expensive"), "film": ("animated", "violent", "silent", "long", "foreign"),
    "hotel": ("remote", "modern", "noisy", "large", "rustic"), "phone": ("heavy", "foldable", "cheap", "bright", "rugged"),
    "sofa": ("leather", "red", "low", "modular", "antique"), "course": ("online", "theoretical", "weekend", "advanced", "solitary"),
    "game": ("competitive", "scary", "turn-based", "endless", "cooperative"), "trip": ("coastal", "snowy", "guided", "urban", "wild"),
}  # fmt: skip
EACH = 3
"""Things of each kind with each property; every thing has one."""
_SYLLABLES = ("ba", "co", "di", "fe", "ga", "ho", "ji", "ka", "lu", "mo", "ne", "pi", "qua", "ro", "su", "ta", "vi", "wo", "xa", "ze")
_CLAIM = re.compile(r"since you (avoid|only want) ([\w-]+) (\w+?)s\b", re.IGNORECASE)


@dataclass(frozen=True)
class Thing:
    """Something that can be recommended."""

    name: str
    kind: str
    property: str


class PrefEvalWorld:
    """Cases, unrelated turns, and the judge that knows.

    Parameters
    ----------
    cases: how many.
    form: how the preference is shown.
    turns: unrelated turns in the pool.
    popular: whether the natural answer is the same for all who ask for a kind, so that a model can learn it; preferences then go against it.
    """

    def __init__(self, *, cases: int = 200, form: Form = "explicit", turns: int = 400, popular: bool = False, seed: int = 0) -> None:
        if cases < 1 or turns < 0:
            raise ConfigError(f"{cases} cases, {turns} turns", fix="ask for at least one case")
        rng = np.random.default_rng([seed, 31])
        names = iter(_names(len(KINDS) * 5 * EACH, rng))
        self.things = [Thing(next(names), kind, own) for kind, properties in KINDS.items() for own in properties for _ in range(EACH)]
        self.by_name = {one.name: one for one in self.things}
        self.truth: dict[str, tuple[str, str, str]] = {}
        """Case -> "avoid" or "only want", property, kind."""
        self.natural: dict[str, Thing] = {}
        """Case -> what most people take."""
        draw = np.random.default_rng([seed, 37])
        self.popular = {kind: self._of(kind)[int(draw.integers(5 * EACH))] for kind in KINDS} if popular else {}
        self.cases = [self._case(f"world/{number}", form, rng) for number in range(cases)]
        self.pool = _chatter(turns, rng)

    def suits(self, case: Case, thing: Thing) -> bool:
        """Whether a thing is what the question asks for, and not against the preference."""
        sign, own, kind = self.truth[case.id]
        return thing.kind == kind and (thing.property == own) == (sign == "only want")

    def fitting(self, case: Case) -> list[Thing]:
        """All that suit."""
        return [one for one in self.things if self.suits(case, one)]

    def judge(self, case: Case, answer: str) -> Judgement:
        """Exact: by the things that an answer names, and the preference that it says it follows."""
        named = [self.by_name[word] for word in re.findall(r"\b[A-Z]\w+\b", answer) if word in self.by_name]
        asked = [one for one in named if one.kind == self.truth[case.id][2]]
        said = _CLAIM.search(answer)
        claimed = None if said is None else tuple(part.lower() for part in said.groups())
        return Judgement(
            violates=any(not self.suits(case, one) for one in asked), acknowledges=said is not None,
            hallucinated=claimed is not None and claimed != self.truth[case.id], helpful=bool(asked),
        )  # fmt: skip

    def statement(self, case: Case) -> str:
        """What the person is known to want, as an answer would repeat it: "avoid spicy restaurants"."""
        sign, own, kind = self.truth[case.id]
        return f"{sign} {own} {kind}s"

    def _of(self, kind: str) -> list[Thing]:
        return [one for one in self.things if one.kind == kind]

    def _case(self, ident: str, form: Form, rng: np.random.Generator) -> Case:
        kind = str(rng.choice(list(KINDS)))
        own = str(rng.choice(KINDS[kind]))
        sign = "avoid" if rng.random() < 0.5 else "only want"
        taken = self.popular.get(kind)
        if taken is not None and sign == "avoid":
            own = taken.property
        elif taken is not None and own == taken.property:
            own = KINDS[kind][(KINDS[kind].index(own) + 1 + int(rng.integers(4))) % 5]
        self.truth[ident] = sign, own, kind
        mine = self._of(kind)
        against = [one for one in mine if (one.property == own) != (sign == "only want")]
        right = [one for one in mine if (one.property == own) == (sign == "only want")]
        self.natural[ident] = taken or against[int(rng.integers(len(against)))]
        options = [right[int(rng.integers(len(right)))], *(against[int(at)] for at in rng.permutation(len(against))[:3])]
        texts = [f"{one.name}, a {one.property} {kind}." for one in options]
        preference = f"I {sign} {own} {kind}s."
        reveal = self._reveal(form, preference, sign, own, kind, rng)
        return case(ident, kind, form, preference, f"Which {kind} would you recommend to me?", reveal, texts, order=rng.permutation(4).tolist())

    def _reveal(self, form: Form, preference: str, sign: str, own: str, kind: str, rng: np.random.Generator) -> list[Message]:
        if form == "explicit":
            return [{"role": "user", "content": preference}, {"role": "assistant", "content": ACKNOWLEDGED}]
        others = [one for one in KINDS[kind] if one != own]
        if form == "choice":
            shown = [str(one) for one in rng.permutation([own, *others[:3]])]
            listed = "\n".join(f"{at}. a {one} {kind}" for at, one in enumerate(shown, 1))
            taken = own if sign == "only want" else others[0]
            why = f"{'Only' if sign == 'only want' else 'Nothing'} {own} {'will do' if sign == 'only want' else 'for me'}."
            talk = ((f"What {kind}s are there?"), listed, f"I take the {taken} one. {why}", ACKNOWLEDGED)
        elif form == "persona":
            first, second = (
                f"I am getting to know {kind}s.",
                f"A friend took me to a {own} one. {'I want no other now.' if sign == 'only want' else 'Never again.'}",
            )
            talk = (first, "How is it going?", second, "I see.")
        else:
            raise ConfigError(f"there is no form '{form}'", fix="use explicit, choice or persona")
        return [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, talk, strict=True)]


def _names(count: int, rng: np.random.Generator) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(rng.choice(_SYLLABLES, 3)).capitalize()] = None
    return list(found)


def _chatter(turns: int, rng: np.random.Generator) -> list[Sequence[Message]]:
    """Talks of eight turns about sums, words and dates; no two turns are alike."""
    flat: dict[str, str] = {}
    while len(flat) < turns:
        a, b = (int(one) for one in rng.integers(11, 999, 2))
        word = "".join(rng.choice(_SYLLABLES, 4))
        asked, told = (
            (f"What is {a} times {b}?", f"{a} times {b} is {a * b}."),
            (f"How many letters has the word {word}?", f"The word {word} has {len(word)} letters."),
            (f"Is {a} more than {b}?", f"{'Yes' if a > b else 'No'}: the difference is {abs(a - b)}."),
            (f"Write {word} backwards and add {a}.", f"{word[::-1]}{a}"),
        )[int(rng.integers(4))]
        flat[asked] = told
    said = [({"role": "user", "content": asked}, {"role": "assistant", "content": told}) for asked, told in flat.items()]
    return [[one for turn in said[start : start + 8] for one in turn] for start in range(0, len(said), 8)]
