"""The half of `Engine` that answers: what is next, what is alike, what was meant, whose order, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sartor.engine.answers import Answer
from sartor.engine.decide import Deciding, DecisionsAnswer, Logged, ids_of
from sartor.engine.draw import Drawing, Drawn, KnownThing
from sartor.engine.ids import Id, item_id, person_id
from sartor.engine.rerank import RerankAsk, Reranked, Reranking
from sartor.engine.search import SearchAnswer, SearchAsk, Searching
from sartor.engine.serving import Ask, Serving
from sartor.errors import ConfigError

if TYPE_CHECKING:
    from sartor.engine.explain import Explanation
    from sartor.engine.rules import Rules
    from sartor.engine.what_if import WhatIf
    from sartor.profile.store import ProfileStore


class Answering:
    """What can be asked of an engine."""

    tenant: str
    store: ProfileStore
    _serving: Serving
    _searching: Searching
    _reranking: Reranking
    _deciding: Deciding
    _drawing: Drawing

    def recommend(
        self,
        person: Id,
        k: int = 10,
        *,
        candidates: Sequence[Id] | None = None,
        exclude: Literal["seen"] | Sequence[Id] | None = "seen",
        where: str | None = None,
        rules: Rules | None = None,
        diversity: float = 0.0,
        personal: bool = True,
        attributes: bool = False,
    ) -> Answer:
        """The k best items for a person, from her newest consistent state; the answer says which, how old, and what it fell back to.

        Parameters
        ----------
        candidates: the only items to choose from; unknown ones are left out.
        exclude: "seen" leaves out what the person has events with, also those that are not in her state yet; None nothing; or item ids.
        where: condition over the items' attributes: "year > 1990 AND array_contains(categories, 'Comedy')".
        rules: pins, boosts, limits; see `Rules`.
        diversity: 0 the method's order .. 1 as unlike each other as can be (maximal marginal relevance).
        personal: False is the population's answer; nothing of the person is looked at.
        attributes: give the items' attributes along.

        Raises `ConfigError`, and `BadValue` or `WrongType` for what is no id. An unknown person is no error.
        """
        ask = Ask(
            k=k, candidates=candidates, exclude=exclude, where=where, rules=rules, diversity=diversity, personal=personal, attributes=attributes
        )  # fmt: skip
        return self._serving.recommend(self.tenant, [person_id(person)], ask)[0]

    def recommend_many(self, people: Sequence[Id], k: int = 10, **same: Any) -> list[Answer]:
        """`recommend` for several people as one batch, in their order."""
        if isinstance(people, str):
            raise ConfigError("people is a single text", fix="give a list of ids")
        return self._serving.recommend(self.tenant, [person_id(one) for one in people], Ask(k=k, **same))

    def similar(self, item: Id, k: int = 10, **same: Any) -> Answer:
        """The k items most like one item; filters as in `recommend`. Raises `UnknownId` for an item that the model does not know."""
        return self._serving.similar(self.tenant, item_id(item), Ask(k=k, **same))

    def search(
        self, person: Id | None, query: str, k: int = 10, *, where: str | None = None, strength: float | None = None, personal: bool = True,
        explain: bool = True, attributes: bool = False,
    ) -> SearchAnswer:  # fmt: skip
        """The k best items for some words, as this person would want them; needs a model that was fitted or installed with `verb="search"`.

        Parameters
        ----------
        person: None is nobody: everybody's order.
        query: a few words.
        where: condition over the items' attributes.
        strength: how much the person counts, from 0 (everybody's order) to 1; None is as much as was learned.
        personal: False is everybody's order; nothing of the person is looked at.
        explain: give reasons from her own events along.
        attributes: give the items' attributes along.

        Raises `ConfigError`, and `BadValue` or `WrongType` for what is no id. An unknown person is no error, nor are words that find nothing.
        """
        ask = SearchAsk(query=query, k=k, where=where, strength=strength, personal=personal, explain=explain, attributes=attributes)
        return self._searching.search(self.tenant, None if person is None else person_id(person), ask)

    def rerank(
        self, person: Id | None, items: Sequence[Id] | None = None, *, texts: Sequence[str] | None = None, scores: Sequence[float] | None = None,
        k: int | None = None, strength: float = 1.0, personal: bool = True,
    ) -> Reranked:  # fmt: skip
        """Any list in this person's order: what another search, another service or a hand-made page gave, moved by her state.

        Parameters
        ----------
        person: None is nobody: the list stays as it is.
        items: ids, best first, each once; those that the model does not know are moved by nothing. They are taken as they are given: what is
            hidden is not taken out.
        texts: instead of items: texts of anything, which are moved by what she took that reads alike. Needs a model for the verb "search".
        scores: of the items or texts, where they have any; the list is then sorted by them first.
        k: how many to give back; None is all of them.
        strength: how much the person counts, from 0 (the list as it is) to 1.
        personal: False leaves the list as it is; nothing of the person is looked at.

        Raises `ConfigError`, and `BadValue` or `WrongType` for what is no id. An unknown person is no error.
        """
        ask = RerankAsk(items=items, texts=texts, scores=scores, k=k, strength=strength, personal=personal)
        return self._reranking.rerank(self.tenant, None if person is None else person_id(person), ask)

    def decide(
        self, people: Mapping[Id, Mapping[str, Any]] | Sequence[Id], *, budget: float | None = None, personal: bool = True, log: bool = True
    ) -> DecisionsAnswer:
        """An action for each of several people under a shared budget; needs a model that was installed with `verb="decide"`.

        Parameters
        ----------
        people: ids, or ids with what is known of each one's situation and wanted for her, as the method has it: `{"ana": {"target": 0.8}}`.
        budget: what all actions may cost together, in the method's unit; None where nothing is shared.
        personal: False is the population's answer for all; nothing of anybody is looked at, nothing is kept.
        log: keep what was decided from a person's own state among her records, with state version, price and the population's answer.

        Raises `ConfigError`, `Infeasible` with the least budget, and `BadValue` or `WrongType` for what is no id. Unknown people are no error.
        """
        names, asked = ids_of(people)
        return self._deciding.decide(self.tenant, names, budget, asked, personal=personal, log=log)

    def draw(
        self, person: Id | None, prompts: str | Sequence[str], *, seed: int = 0, strength: float | Mapping[str, float] | None = None,
        personal: bool = True, size: tuple[int, ...] | None = None, regions: Mapping[str, Any] | None = None,
    ) -> Drawn:  # fmt: skip
        """Pictures of a person's own things, as she has shown them (`show`); needs a model that was installed with `verb="draw"`.

        Parameters
        ----------
        person: None is nobody: everybody's pictures, in which "<mug>" is any mug.
        prompts: what to draw, her things by their words: "a <mug> on a beach".
        seed: of the first picture; the next ones have the next numbers. The same seed and state draw the same picture.
        strength: how much what was learned counts, where it has weights, of all things or of each by its word; 1 is as learned.
        regions: where things may stand, by their words: "left", (0, 0, 0.5, 1) or a mask (`draw.parts.regions`).
        personal: False is everybody's pictures; nothing of the person is looked at.
        size: width and height that are wanted; None is what the model draws, and another than that a `ConfigError`.

        Raises `BadPrompt` for a thing that she has not shown, and `ConfigError`. Unknown people, and who does not allow "draw", get everybody's
        pictures; `fallback` and `note` say so.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ConfigError(f"the seed is {seed!r}", fix="give a whole number")
        who = None if person is None else person_id(person)
        seeds = [seed + number for number in range(len(texts))]
        return self._drawing.draw(self.tenant, who, texts, seeds, strength, personal=personal, size=size, regions=regions)

    def things(self, person: Id) -> list[KnownThing]:
        """What a person has shown (`show`): each thing with its photos, as thumbnails while she allows drawing, and whether it has been learned."""
        return self._drawing.things(self.tenant, person_id(person))

    def decisions(self, person: Id, limit: int = 100) -> list[Logged]:
        """What was decided for a person, newest first."""
        return self._deciding.log(self.tenant, person_id(person), limit)

    def explain(self, person: Id, item: Id, top: int = 5) -> Explanation:
        """Which of the person's own events moved an item up, by how much, checked by taking them away."""
        from sartor.engine.explain import explain

        return explain(self, person_id(person), item_id(item), top)  # type: ignore[arg-type]

    def what_if(self, person: Id, *, add: Sequence[Any] = (), remove: Sequence[str] = (), k: int = 10) -> WhatIf:
        """The person's list before and after events were added or records (by id) removed; nothing is stored."""
        from sartor.engine.what_if import what_if

        return what_if(self, person_id(person), add=add, remove=remove, k=k)  # type: ignore[arg-type]
