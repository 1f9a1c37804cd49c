"""K-LaMP: what somebody might ask next while reading a page, from counts of what she has met before.

method = KLaMP().fit(population)                               # entities (items), and what people read and asked (texts)
state = method.adapt(population["ana"])                        # counts of entities, no text
answer = method.suggest([Context(page="...")], [state])[0]
answer[0].text, answer[0].entities                             # and which entities caused it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from sartor.data.ids import IdMap
from sartor.data.population import Evidence, Population
from sartor.errors import BadValue, ConfigError, EmptyData, MissingColumn, UnknownId
from sartor.method import Run, State, States, Writer, learned
from sartor.parts.unit import unit
from sartor.represent.encoder import TextEncoder
from sartor.represent.text import text_encoder, uncached
from sartor.write.backends import Backend, check_messages, text_of
from sartor.write.entity_focus import UNTAUGHT, Entities
from sartor.write.entity_store import EntityStore, Visit, query_hash, sessions
from sartor.write.parts.data_block import plain
from sartor.write.parts.instructions import reads_as_instruction
from sartor.write.query_writers import Draft, Pattern, Patterns, Slots, from_backend, mixed
from sartor.write.suggestions import OTHER, Context, Focus, Suggestion, Suggestions, note

OWN, EVERYBODY = "own", "everybody"
TEACHING = 30
"""People whose queries teach the weights."""
LONGEST = 200
"""Letters of a suggestion."""


@dataclass(kw_only=True, eq=False)
class KLaMP(Writer):
    """Suggests queries about what is on a page and what the person knows and cares about, without any of her texts in a prompt.

    Entities of pages and queries are linked by their names. A person is counts of them with decay, and of pairs in one session. For a page
    each entity e scores

        w1 [e on page] log(1 + n_e) + w2 sum_c s_ec / sqrt(s_e s_c) + w3 max_c cos(v_e, v_c),   c on the page

    with n decayed counts and s sessions, and the best on the page (familiar) and beside it (related interests) go to what writes: patterns
    of the population's own queries, a small language model trained on them, or any other language model. What was asked before, what is off
    the page's subject, names none of these entities, or names a blocked one is left out. Not for people whom nothing is known of: they get
    everybody's suggestions.

    Source: Baek et al., Knowledge-Augmented Large Language Models for Personalized Contextual Query Suggestion, WWW 2024. The scoring is our
    reading of it; the weights are learned by a listwise ranker, and pairs are weighed by sessions, which do not decay, on both sides.

    State: an `EntityStore`, 25 kB at most: entities, counts, days, sessions, pairs; hashes of past queries; blocked entities.

    Reads `items` (item, title, and where there are: aliases, a list of further names; categories, of which the first is its kind; text) and
    `texts` (person, time, kind "page" or "query", text, and dialogue where sessions have names).
    """

    weights: Sequence[float] = ()
    """Of the three terms; empty learns them from what the population asked."""
    decay: float = 30.0
    """Days."""
    most: int = 6
    """Entities of each kind in a prompt."""
    off_subject: float = 0.05
    """Least cosine of a suggestion and its context."""
    encoder: str = "hashed:128"
    """Of entities, contexts and suggestions, as `represent.text.text_encoder` takes it."""
    lm: Writer | None = None
    """A `PopulationLM`, fitted here on the population's queries; None writes by patterns alone."""
    drafts: int = 24
    """Queries that a language model writes for each context, before they are filtered."""
    shared: int = 2
    """People who must have asked a query, but for its entities, in the same words: what one asks alone may say who she is."""
    earlier_share: float = 0.0
    """Share of the language model's examples with full earlier queries in the prompt, for comparison."""

    weights_: np.ndarray = learned()
    """float64 [3]."""
    entities_: IdMap = learned()
    names_: list[list[str]] = learned()
    """Names of each entity, the first of which is written."""
    kinds_: list[str] = learned()
    vectors_: np.ndarray = learned()
    """float16 [entities, dim], of their texts."""
    patterns_: dict[str, list[Any]] = learned()
    """For people of whom something is known, and for everybody: [text, kinds, roles, how often] of `query_writers.Pattern`."""

    population_frames = ("texts", "items")

    # --- fit

    def _fit(self, population: Population, run: Run) -> None:
        self._check()
        items = population.items.collect()
        if "title" not in items.columns:
            raise MissingColumn("the items have no column title", fix=f"they have {items.columns}", frame="items", column="title")
        items = items.filter(pl.col("title").is_not_null())
        if not items.height:
            raise EmptyData("no item has a title", fix="give the entities' names", frame="items")
        self.entities_ = IdMap.of(items["item"])
        more: list[Any] = items["aliases"].to_list() if "aliases" in items.columns else [None] * items.height
        self.names_ = [[title, *(one or ())] for title, one in zip(items["title"].to_list(), more, strict=True)]
        kinds: list[Any] = items["categories"].to_list() if "categories" in items.columns else [None] * items.height
        self.kinds_ = [one[0] if one else "" for one in kinds]
        texts = items["text"].fill_null("").to_list() if "text" in items.columns else [""] * items.height
        for made in ("_known", "_patterns", "_encoder"):
            self.__dict__.pop(made, None)
        told = [f"{names[0]}. {text}" for names, text in zip(self.names_, texts, strict=True)]
        self.vectors_ = text_encoder(self.encoder).encode(told).astype(np.float16)
        people = list(self._people(population))
        self.weights_ = np.array(self.weights or UNTAUGHT, np.float64)
        if not self.weights:
            self.weights_ = self._known.learned_weights(people[:TEACHING], self.decay)
            del self.__dict__["_known"]
        examples = [(number, *one) for number, own in enumerate(people) for one in self._known.examples(own, self.decay)]
        # What one person alone asks may say who she is: only what several ask is kept, or taught.
        askers: dict[str, set[int]] = {}
        for person, _, _, query in examples:
            askers.setdefault(self._known.cut(query)[0], set()).add(person)
        shared = [one[1:] for one in examples if len(askers[self._known.cut(one[3])[0]]) >= self.shared]
        if not shared:
            what = f"no query on a page was asked by {self.shared} people in the same words"
            raise EmptyData(what, fix='give texts of kind "page" and "query", of more people', frame="texts")
        self.patterns_ = {}
        for who, focuses in ((OWN, [focus for _, focus, _ in shared]), (EVERYBODY, [Focus(focus.page) for _, focus, _ in shared])):
            counts = Counter(self._known.pattern(query, focus) for focus, (_, _, query) in zip(focuses, shared, strict=True))
            self.patterns_[who] = [[*pattern, count] for pattern, count in counts.most_common() if OTHER not in pattern.roles]
        if self.lm is not None:
            self.lm.fit(self._slots.lessons(mixed(shared, self.earlier_share, self.seed)), progress=run.progress)

    def _check(self) -> None:
        if len(self.weights) not in (0, 3) or min(self.weights, default=0) < 0:
            raise ConfigError(f"weights are {list(self.weights)}", fix="give three that are at least 0, or none")
        if min(self.most, self.drafts, self.shared) < 1 or self.decay <= 0 or not 0 <= self.earlier_share < 1:
            what = f"most {self.most}, drafts {self.drafts}, shared {self.shared}, decay {self.decay}, earlier_share {self.earlier_share}"
            raise ConfigError(what, fix="most, drafts and shared >= 1, decay > 0, earlier_share from 0 to below 1")

    def _people(self, population: Population) -> Iterator[list[list[Visit]]]:
        frame = population.texts.collect()
        if "person" not in frame.columns:
            raise MissingColumn("the texts have no column person", fix=f"they have {frame.columns}", frame="texts", column="person")
        for part in frame.filter(pl.col("person").is_not_null()).partition_by("person", maintain_order=True):
            yield sessions(part)[0]

    # --- entities

    @cached_property
    def _known(self) -> Entities:
        return Entities(self.names_, self.kinds_, self.vectors_, self.weights_, self.most)

    @cached_property
    def _encoder(self) -> TextEncoder:
        # What people look at is theirs: nothing of it is kept on disk.
        return uncached(text_encoder(self.encoder))

    @cached_property
    def _patterns(self) -> dict[str, Patterns]:
        return {
            who: Patterns({Pattern(text, tuple(kinds), tuple(roles)): count for text, kinds, roles, count in known})
            for who, known in self.patterns_.items()
        }

    @property
    def _slots(self) -> Slots:
        return Slots(self._known.cut, self.kinds_)

    def link(self, text: str) -> list[int]:
        """Numbers of the entities that a text names, each once, in order."""
        return self._known.link(text)

    def focus(self, context: Context, store: EntityStore | None) -> Focus:
        """Which entities matter; without a store those of the page, in their order."""
        return self._known.focus(context, store)

    # --- people

    def store(self, state: State) -> EntityStore:
        """What a state says, to be looked at."""
        self.check_state(state)
        return EntityStore.of(state.arrays, len(self.entities_), self.decay)

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        store = EntityStore(self.decay) if state is None else self.store(state)
        self.check_fitted()
        own, backwards = sessions(evidence.frames["texts"]) if "texts" in evidence.frames else ([], 0)
        for visits in own:
            store.add(visits, self.link)
        notes = {"out_of_order": backwards} if backwards else {}
        return self.make_state(store.arrays(), before=state, examples=sum(map(len, own)), notes=notes)

    def edit(self, state: State, *, forget: Sequence[Any] = (), block: Sequence[Any] = (), unblock: Sequence[Any] = ()) -> State:
        """The state without some entities, or with some that must never be suggested (they are forgotten, too, and not counted any more).

        Raises `UnknownId`.
        """
        store = self.store(state)
        gone, blocked, free = (set(self._numbers(ids)) for ids in (forget, block, unblock))
        store.forget(gone | blocked)
        store.blocked = (store.blocked | blocked) - free
        return self.make_state(store.arrays(), before=state, notes=state.notes)

    def describe(self, state: State) -> pl.DataFrame:
        """What is kept of a person: item, title, count (decayed to its last day), day, sessions; the most frequent first."""
        store = self.store(state)
        rows = sorted(store.counts, key=lambda one: -store.count(one, store.last_day))
        days = pl.Series("day", [store.days[one] for one in rows], dtype=pl.Int32).cast(pl.Date)
        return pl.DataFrame(
            {"item": self.entities_.ids.gather(rows), "title": [self.names_[one][0] for one in rows], "count": [store.counts[one] for one in rows],
             "day": days, "sessions": [store.sessions[one] for one in rows]}
        )  # fmt: skip

    def _numbers(self, ids: Sequence[Any]) -> list[int]:
        numbers = self.entities_.numbers(list(ids)) if len(ids) else np.empty(0, np.int32)
        if (numbers < 0).any():
            raise UnknownId("there is no such entity", id=repr(ids[int(np.argmax(numbers < 0))]), fix="use ids of the items that were fitted on")
        return [int(one) for one in numbers]

    # --- suggesting

    def suggest(self, contexts: Sequence[Context], states: States, k: int = 5, *, writer: Backend | None = None) -> list[Suggestions]:
        """Up to k queries for each context and person, best first; None is everybody.

        Parameters
        ----------
        writer: any language model, instead of what the method writes with. The page goes to it as quoted data, and what it answers is
            filtered as everything is.

        Raises `ConfigError`, `BadValue` for a context without page and query, `StateMismatch`, `CorruptFile`.
        """
        self.check_fitted()
        if isinstance(contexts, Context) or len(contexts) != len(states):
            raise ConfigError(
                "contexts and states are not lists of one length", fix="give a list of contexts and one state for each; None is everybody"
            )
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ConfigError(f"k is {k!r}", fix="ask for a whole number of suggestions, at least 1")
        if blank := [row for row, one in enumerate(contexts) if not (one.page.strip() or one.query.strip())]:
            raise BadValue("a context has neither page nor query", fix="give what the person is looking at", row=blank[0])
        stores = [None if state is None else self.store(state) for state in states]
        focuses = [self.focus(context, store) for context, store in zip(contexts, stores, strict=True)]
        if writer is not None:
            made = [from_backend(writer, *one, self.names_, 2 * k, seed=self.seed) for one in zip(contexts, focuses, strict=True)]
            drafts, sizes = [one for one, _ in made], [size for _, size in made]
        elif self.lm is not None:
            drafts, sizes = self._slots.drafts(self.lm, list(zip(contexts, focuses, strict=True)), self.names_, self.drafts, self.seed)
        else:
            known = [OWN if focus.familiar or focus.related else EVERYBODY for focus in focuses]
            drafts = [self._patterns[who].drafts(focus, self.kinds_, self.names_) for who, focus in zip(known, focuses, strict=True)]
            sizes = [0] * len(contexts)
        out = []
        for context, store, focus, own, size in zip(contexts, stores, focuses, drafts, sizes, strict=True):
            found = self._kept(own, context, store, focus, k)
            out.append(Suggestions(tuple(found), note(store, focus, len(found), k), size))
        return out

    def _kept(self, drafts: Sequence[Draft], context: Context, store: EntityStore | None, focus: Focus, k: int) -> list[Suggestion]:
        """The best drafts that may be shown; those about other entities than the ones before them come first."""
        asked = {query_hash(one) for one in (context.query, *context.earlier) if one} | (set() if store is None else set(store.asked))
        blocked = set() if store is None else store.blocked
        chosen: list[tuple[Suggestion, frozenset[int]]] = []
        for draft in sorted(drafts, key=lambda one: -one.score)[: 20 * k]:
            text = " ".join(plain(draft.text).split())
            mark, entities = query_hash(text), self.link(text)
            # What a page says beside its entities may be an order to whoever reads it: a suggestion is about an entity, where there is one.
            about = any(focus.role(one) != OTHER for one in entities) or not focus.page
            if not text or len(text) > LONGEST or mark in asked or not about or blocked & set(entities) or reads_as_instruction(text):
                continue
            asked.add(mark)
            ids = {self.entities_.array[one]: focus.role(one) for one in entities}
            chosen.append((Suggestion(text, ids, draft.score), frozenset(entities)))
        if chosen:
            names = " ".join(self.names_[one][0] for one in (*focus.page, *focus.familiar, *focus.related))
            vectors = unit(self._encoder.encode([f"{context.page} {context.query} {names}", *(one.text for one, _ in chosen)]))
            chosen = [one for one, cosine in zip(chosen, vectors[1:] @ vectors[0], strict=True) if cosine >= self.off_subject]
        seen: set[frozenset[int]] = set()
        again = [not (about not in seen and not seen.add(about)) for _, about in chosen]  # type: ignore[func-returns-value]
        order = sorted(range(len(chosen)), key=lambda at: again[at])
        return [chosen[at][0] for at in order[:k]]

    def write(self, messages: Sequence[Mapping[str, str]], state: State | None = None) -> str:
        """Suggestions for the last message of the user, which is the page; one per line."""
        check_messages(messages)
        page = next((text_of(one) for one in reversed(messages) if one["role"] == "user"), "")
        return "\n".join(one.text for one in self.suggest([Context(page)], [state])[0])
