"""A prompt made of named slots within a budget of tokens.

    prompt = Composer(template("personal"), count=backend.count_tokens).compose({"memories": ["I hate olives", "I have two cats"]}, budget=200)
    prompt.text, prompt.pieces, prompt.left_out

Slots whose texts were written by people are data: they come quoted between marks (`data_block`). When not everything fits, the room that is left
by what must be there is shared among the texts of data slots by LaMP's rule (Salemi et al., LaMP, 2023): each gets an even share, and what one does
not need is handed to the next. What must be there (the template's own words, and slots that are not data) is never cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from sartor.errors import BudgetTooSmall, ConfigError
from sartor.write.parts.data_block import block, quoted

LEAST = 16
"""Tokens of the smallest share: where even shares would be smaller, the last texts are left out."""
_SLOT = re.compile(r"\{([a-z_]+)\}")
ELLIPSIS = " \u2026"


@dataclass(frozen=True)
class Slot:
    """A place in a template."""

    data: bool = False
    """Texts that people wrote: quoted, delimited, and cut when there is no room."""
    share: float = 1.0
    """Of the room that data slots share, against the other ones."""


@dataclass(frozen=True)
class Template:
    """Words with places for others. Plain data: `from_dict(json.loads(...))`."""

    text: str
    """{name} is the place of a slot; each has exactly one."""
    slots: Mapping[str, Slot] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = _SLOT.findall(self.text)
        if sorted(places) != sorted(self.slots):
            raise ConfigError(f"the template has places for {sorted(places)} and slots {sorted(self.slots)}", fix="give each slot exactly one place")
        if any(not slot.share > 0 for slot in self.slots.values()):
            raise ConfigError("a slot's share is not above 0", fix="give shares like 1 and 2")

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Template:
        """From {"text": ..., "slots": {name: {"data": true, "share": 1}}}; raises `ConfigError`."""
        try:
            return cls(facts["text"], {name: Slot(**given) for name, given in facts.get("slots", {}).items()})
        except (KeyError, TypeError, AttributeError) as cause:
            raise ConfigError("this is no template", fix='write {"text": "... {name} ...", "slots": {"name": {"data": true}}}') from cause


@cache
def template(name: str) -> Template:
    """A template that comes with sartor: personal, extract, summarise, rewrite, repair."""
    known = json.loads(resources.files(__package__).joinpath("templates.json").read_text("utf-8"))
    if name not in known:
        raise ConfigError(f"there is no template '{name}'", fix=f"use one of {', '.join(known)}")
    return Template.from_dict(known[name])


@dataclass(frozen=True)
class Piece:
    """One text of a data slot that is in the prompt."""

    slot: str
    number: int
    """Its place among the texts given for the slot."""
    text: str
    """As it is there, before quoting."""
    tokens: int
    cut: bool


@dataclass(frozen=True)
class Prompt:
    """What came of it."""

    text: str
    tokens: int
    pieces: tuple[Piece, ...]
    left_out: Mapping[str, tuple[int, ...]]
    """Per data slot the numbers of texts for which there was no room."""


@dataclass(frozen=True)
class Composer:
    """Fills a template.

    Parameters
    ----------
    template: what to fill.
    count: how many tokens a text has (`Backend.count_tokens`).
    """

    template: Template
    count: Callable[[str], int]

    def compose(self, fill: Mapping[str, str | Sequence[str]], *, budget: int | None = None) -> Prompt:
        """The prompt, of no more than `budget` tokens; None has no limit.

        Parameters
        ----------
        fill: a text, or for data slots any number of them, most important first, per slot of the template.

        Raises `ConfigError` for a slot that is missing or unknown, `BudgetTooSmall` when what must be there does not fit.
        """
        slots = self.template.slots
        if sorted(fill) != sorted(slots):
            raise ConfigError(f"the template has the slots {sorted(slots)}, given are {sorted(fill)}", fix="fill each slot")
        fixed = {name: value for name, value in fill.items() if not slots[name].data}
        for name, value in fixed.items():
            if not isinstance(value, str):
                raise ConfigError(f"the slot {name} takes one text", fix="give a text")
        given = {name: [value] if isinstance(value, str) else list(value) for name, value in fill.items() if slots[name].data}
        bare = self._text(fixed, {name: [] for name in given})
        need = self.count(bare)
        if budget is not None and need > budget:
            raise BudgetTooSmall(f"the prompt has {need:,} tokens before anything is added, the budget is {budget:,}", fix="raise the budget")
        pieces = self._shared(given, None if budget is None else budget - need)
        text = self._text(fixed, {name: [quoted(one.text) for one in pieces if one.slot == name] for name in given})
        tokens = self.count(text)
        while budget is not None and tokens > budget and pieces:
            # Tokens of parts do not add up exactly; what is least important goes until the whole fits.
            pieces = pieces[:-1]
            text = self._text(fixed, {name: [quoted(one.text) for one in pieces if one.slot == name] for name in given})
            tokens = self.count(text)
        there = {(one.slot, one.number) for one in pieces}
        left = {name: tuple(at for at in range(len(texts)) if (name, at) not in there) for name, texts in given.items()}
        return Prompt(text, tokens, tuple(pieces), left)

    def _text(self, fixed: Mapping[str, Any], lines: Mapping[str, list[str]]) -> str:
        # One pass: what is filled in is never searched for places.
        return _SLOT.sub(lambda found: fixed[found[1]] if found[1] in fixed else block(found[1], lines[found[1]]), self.template.text)

    def _shared(self, given: Mapping[str, list[str]], room: int | None) -> list[Piece]:
        """Each text's share of the room; slots get theirs in proportion, texts of a slot evenly, and both hand on what they do not need."""
        names, pieces = [name for name, texts in given.items() if texts], []
        weight = sum(self.template.slots[name].share for name in names)
        for name in names:
            slot = self.template.slots[name]
            own = None if room is None else int(room * slot.share / weight)
            weight -= slot.share
            used, texts = 0, given[name] if own is None else given[name][: max(1, own // LEAST)]
            for number, text in enumerate(texts):
                share = None if own is None else (own - used) // (len(texts) - number)
                piece = self._fitted(name, number, text, share)
                if piece is not None:
                    pieces.append(piece)
                    used += piece.tokens
            room = None if room is None else room - used
        return pieces

    def _fitted(self, slot: str, number: int, text: str, share: int | None) -> Piece | None:
        """A text, cut between words when it is longer than its share; None when not one word fits."""
        need = self._line(text)
        if share is None or need <= share:
            return Piece(slot, number, text, need, False)
        words = text.split()
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            if self._line(" ".join(words[:middle]) + ELLIPSIS) <= share:
                low = middle
            else:
                high = middle - 1
        if not low:
            return None
        kept = " ".join(words[:low]) + ELLIPSIS
        return Piece(slot, number, kept, self._line(kept), True)

    def _line(self, text: str) -> int:
        return self.count(f"\n{quoted(text)}")
