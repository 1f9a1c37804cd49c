"""One model decides which sources an answer needs, grades what it finds there, answers, and looks again where the answer does not hold.

method = UniMSRAG().fit(population)              # facts and annotated dialogues (texts), documents (items)
state = method.adapt(population["ana"])          # her facts
reply = method.answer([messages], [state])[0]
reply.plan, reply.evidence, reply.response, reply.revisions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from sartor import _storage
from sartor._run_key import keyed
from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError, EmptyData, UnknownId
from sartor.method import Run, State, States, Writer, learned
from sartor.represent.text import text_encoder, uncached
from sartor.write.backends import Backend, backend
from sartor.write.parts.causal_lm import CausalLM, LMConfig
from sartor.write.parts.control_adapter import ControlledModel
from sartor.write.parts.control_tokens import ControlTokens
from sartor.write.parts.lm_training import Example, Lesson, teach
from sartor.write.parts.piece_search import ranked
from sartor.write.parts.pieces import FACTS, facts_of, packed, unpacked
from sartor.write.parts.source_lessons import Annotated, SourceLessons, annotated
from sartor.write.parts.tokenizer import Tokenizer
from sartor.write.unims_answering import Answering, Reply
from sartor.write.unims_minds import Conversation, Layout, Mind, SchemaMind, Speaker, TokenMind

OWN = "lm"


@dataclass(kw_only=True, eq=False)
class UniMSRAG(Writer):
    """Acting tokens say which sources to ask, evaluation tokens how relevant a text is, and the same model answers and checks its answer.

    For dialogues in which some turns need the person's facts, some need documents that can be found only with such a fact, and many need
    nothing. It has to be taught with annotated dialogues; a chat model (`writer`) does without, under a JSON schema. Where every turn needs
    the same source, plain retrieval is as good.

    Source: Wang et al., UniMS-RAG: A Unified Multi-source Retrieval-Augmented Generation for Personalized Dialogue Systems, 2024. The names of
    tokens, 11 bins and thresholds are our reading. Differs from the paper in: a small causal model in place of a sequence-to-sequence one; all
    decisions of a turn stand in one sequence; consistency is graded by the same model, taught on right and swapped pairs.

    State: `pieces` uint8 and `lengths` int32 [facts, 1], the newest facts; `vectors` float16 [facts, dim], about 300 bytes each.

    Reads `texts`: facts (kind "fact", "statement" or "memory") and dialogues (role, dialogue, turn), whose assistant turns may have the
    columns `sources` and `evidence`, lists of equal length: what they were written from; and `candidates`, other texts that were at hand.
    Reads `items` (text, and source where there are more than two sources): the documents.
    """

    sources: Sequence[str] = ("PERSONA", "DOCUMENTS")
    """The first is the person's own facts."""
    depends: Mapping[str, str] = field(default_factory=lambda: {"DOCUMENTS": "PERSONA"})
    """Source -> the one whose finds it is looked up by."""
    kinds: Sequence[str] = FACTS
    """Of texts that are the person's own source. With "reply", what she wrote before is looked up like a fact, to write like it."""
    bins: int = 11
    """Of evaluations."""
    top: int = 1
    """Texts of each source in a prompt, at most."""
    first: int = 50
    """Texts of a source that are graded: the best by words, where there are more."""
    rounds: int = 2
    """Times an answer is written again, at most."""
    enough: float = 0.5
    """Relevance times consistency from which an answer is good."""
    slot: int = 48
    """Tokens of a text in a prompt."""
    keep: int = 50
    """Facts in a state: the newest."""
    labels: str = "cosine"
    """Soft relevance of texts that are not the right ones, in training: "cosine" of `encoder`, or the name of a backend that is asked."""
    encoder: str = "hashed:128"
    writer: str = OWN
    """"lm", a small model taught here, or the name of a backend that decides under a JSON schema."""
    base: str = ""
    """Folder of a causal model of the transformers library, which is taught control tokens (new rows of its tables, and LoRA) in place of a
    small model from nothing."""
    rank: int = 8
    """Of that LoRA."""
    steps: int = 500
    """Batches of 8 turns that a `base` is taught on."""
    context: int = 2_000
    """Tokens of a backend's prompt."""
    vocabulary: int = 2_000
    dim: int = 64
    layers: int = 3
    """To tell whether a document speaks of what a fact says takes one more than to copy."""
    heads: int = 2
    max_tokens: int = 256
    max_new: int = 32
    tokens: int = 2_000_000
    """To train on."""
    learning_rate: float = 3e-3
    rows: int = 2
    """Of `max_tokens` tokens, in a batch: it takes some thousand steps until words are compared, however large they are."""

    network_: CausalLM | None = learned(None)
    words_: str = learned("")
    adapted_: np.ndarray | None = learned(None)
    """uint8, what a `base` learned (`ControlledModel.arrays`), as safetensors."""
    documents_: dict[str, list[str]] = learned()

    population_frames = ("texts",)

    # --- fit

    def _fit(self, population: Population, run: Run) -> None:
        control = self._control
        if min(self.top, self.first, self.slot, self.keep, self.max_new, self.tokens, self.rows) < 1 or self.rounds < 0:
            raise ConfigError("a size is below 1, or rounds below 0", fix="use at least 1")
        if not 0 <= self.enough <= 1:
            raise ConfigError(f"enough is {self.enough}", fix="use a number from 0 to 1")
        self.documents_, self.network_, self.words_, self.adapted_ = self._documents(population), None, "", None
        for made in ("_mind", "_speaker"):
            self.__dict__.pop(made, None)
        if self.writer != OWN:
            backend(self.writer)
            return
        turns = annotated(population, control, self.kinds)
        if not turns:
            raise EmptyData("no assistant's turn has sources", fix="give texts with role, dialogue, turn, sources and evidence", frame="texts")
        if not self.base:
            every = [*(text for own in self.documents_.values() for text in own), *(text for turn in turns for text in turn.texts())]
            self.words_ = Tokenizer.learn(every, kind="word", vocabulary=self.vocabulary, more=control.names).to_text()
            self.network_ = self.make_network()
        speaker = self._speaker
        words = None if self.base else self._words
        lessons = SourceLessons(layout=speaker.layout, end=speaker.end, room=self._room, longest=self.max_tokens, words=words)
        prepared = [lessons.prepared(turn, self._labelled(turn)) for turn in turns]

        def make(rng: np.random.Generator) -> Example:
            return lessons.example(prepared, rng)

        if self.base:
            speaker.network.learn(make, steps=self.steps, seed=self.seed, progress=run.progress)
            self.adapted_ = np.frombuffer(_storage.to_bytes(speaker.network.arrays(), {}), np.uint8).copy()
            return
        teach(
            Lesson(speaker.network, soft=Tokenizer(self.words_).soft, seed=self.seed), make, tokens=self.tokens, width=self.max_tokens,
            rows=self.rows, learning_rate=self.learning_rate, final=FINAL, seed=self.seed, progress=run.progress, checkpoint=run.checkpoint,
            key=keyed(self, population, run).key,
        )  # fmt: skip
        speaker.network.eval().requires_grad_(False)

    def _documents(self, population: Population) -> dict[str, list[str]]:
        out: dict[str, list[str]] = {name: [] for name in self.sources[1:]}
        if "items" in population and len(self.sources) > 1:
            items = population.items.filter(pl.col("text").is_not_null()).collect()
            names = items["source"].to_list() if "source" in items.columns else [self.sources[1]] * items.height
            for name, text in zip(names, items["text"].to_list(), strict=True):
                if name not in out:
                    raise UnknownId("there is no such source", fix=f"there are {', '.join(out)}", id=repr(name), frame="items")
                out[name].append(text)
        return out

    def _labelled(self, turn: Annotated) -> list[list[tuple[str, float]]]:
        """For each source of a turn's plan some texts that are not the right one, with their soft relevance, the highest first."""
        out: list[list[tuple[str, float]]] = []
        asked = turn.question
        for source, right in zip(turn.sources, turn.evidence, strict=True):
            texts = [one for one in (turn.facts if source == self.sources[0] else turn.candidates or self.documents_[source]) if one != right]
            if len(texts) > POOL:
                # Half of them are the ones most like the right text, which are told from it by a word or two; half are anything.
                order = ranked("bm25", [right], texts)[0]
                rest = np.random.default_rng([self.seed, len(asked)]).permutation(order[POOL // 2 :])[: POOL - POOL // 2]
                texts = [texts[at] for at in (*order[: POOL // 2], *rest)]
            if not texts:
                out.append([])
            elif self.labels == "cosine":
                vectors = self._vectors([asked, *texts])
                cosine = vectors[1:] @ vectors[0]
                scale = (cosine - cosine.min()) / max(float(np.ptp(cosine)), 1e-6)
                out.append(sorted(zip(texts, (WRONG * scale).tolist(), strict=True), key=lambda one: -one[1]))
            else:
                asker = SchemaMind(self._opened(self.labels), self._control, self.context, self.max_new, self.seed)
                scores = asker.relevance([(turn.context, [], source, text) for text in texts])
                out.append(sorted(zip(texts, scores.tolist(), strict=True), key=lambda one: -one[1]))
            asked = f"{asked} {right}"
        return out

    def make_network(self) -> CausalLM:
        config = LMConfig(
            vocabulary=len(Tokenizer(self.words_)), dim=self.dim, layers=self.layers, heads=self.heads, max_tokens=self.max_tokens
        )  # fmt: skip
        return CausalLM(config, seed=self.seed)

    @property
    def _control(self) -> ControlTokens:
        return ControlTokens(tuple(self.sources), dict(self.depends), self.bins)

    @property
    def _room(self) -> int:
        """Tokens of a conversation: what the rest of the sequence leaves."""
        sources = len(self.sources)
        left = self.max_tokens - self.max_new - (sources + 4) - self.top * sources * (self.slot + 4)
        if left < 8:
            raise ConfigError(f"{left} tokens are left for the conversation", fix="raise max_tokens, or lower slot, top or max_new")
        return left

    @cached_property
    def _speaker(self) -> Speaker:
        """The model with control tokens, and how it is talked to."""
        if self.base:
            found = None if self.adapted_ is None else _storage.from_bytes(self.adapted_.tobytes())[0]
            model = ControlledModel(self.base, self._control.names, rank=self.rank, seed=self.seed, arrays=found)
            layout = Layout(self._control, model.words.prompt, model.words.ids, model.number)
            return Speaker(model, layout, min(model.words.end), model.words.text)
        tokenizer = Tokenizer(self.words_)
        layout = Layout(self._control, tokenizer.chat, tokenizer.encode, tokenizer.number)
        return Speaker(self.network_, layout, tokenizer.end, tokenizer.decode)

    @property
    def _words(self) -> tuple[int, int]:
        """Numbers of the small model's whole words: behind the special tokens and the bytes."""
        tokenizer = Tokenizer(self.words_)
        return 6 + len(self._control.names) + 256, len(tokenizer)

    @cached_property
    def _mind(self) -> Mind:
        if self.writer != OWN:
            return SchemaMind(self._opened(self.writer), self._control, self.context, self.max_new, self.seed)
        return TokenMind(*self._speaker, self._room, self.max_new)

    def _opened(self, name: str) -> Backend:
        if name not in self._backends:
            self._backends[name] = backend(name)
        return self._backends[name]

    @cached_property
    def _backends(self) -> dict[str, Backend]:
        return {}

    def _count(self, text: str) -> int:
        """Tokens of a text for whoever reads it."""
        return len(self._speaker.layout.encode(text)) if self.writer == OWN else self._opened(self.writer).count_tokens(text)

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        # What people said is encoded in memory and left in no cache.
        encoder = uncached(text_encoder(self.encoder))
        return encoder.encode(list(texts)) if texts else np.empty((0, encoder.dim), np.float32)

    # --- people

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """Keep the person's facts; the same fact is kept once, as the newest. Raises `BadValue` for another person's texts."""
        self.check_state(state)
        fresh = facts_of(evidence, self.kinds)
        every = [*(self.facts(state) if state is not None else []), *fresh]
        kept = list(dict.fromkeys(every[::-1]))[::-1][-self.keep :]
        arrays = packed([(one,) for one in kept]) | {"vectors": self._vectors(kept).astype(np.float16)}
        return self.make_state(arrays, before=state, examples=len(fresh), notes={} if kept else {"population": True})

    def facts(self, state: State) -> list[str]:
        """The facts of a state, oldest first; raises `CorruptFile`."""
        return unpacked(state.arrays, str)

    # --- answering

    def write(self, messages: Conversation, state: State | None = None) -> str:
        return self.write_all([messages], [state])[0]

    def write_all(self, conversations: Sequence[Conversation], states: States) -> list[str]:
        """The answer to each conversation with its own state; None has no facts, so that nothing which needs one is asked for."""
        return [one.response for one in self.answer(conversations, states)]

    def answer(
        self, conversations: Sequence[Conversation], states: States, *, documents: Mapping[str, Sequence[str]] | None = None,
        evidence: Sequence[Sequence[tuple[str, str]]] | None = None,
    ) -> list[Reply]:  # fmt: skip
        """Answer with everything that led to it.

        Parameters
        ----------
        documents: texts of the sources beside the person's own, in place of those of `fit`.
        evidence: what another retriever found for each conversation, (source, text) pairs in order, in place of plan and first retrieval; it
            is graded all the same, and replaced where it does not hold.

        Raises `ConfigError`, `UnknownId` for a source that is none, `StateMismatch`, `TooLarge` for a last message that leaves no room.
        """
        self.check_fitted()
        for name, given in (("states", states), ("evidence", evidence)):
            if given is not None and len(given) != len(conversations):
                raise ConfigError(f"{len(given)} {name} for {len(conversations)} conversations", fix="give one for each")
        shelves = [self._shelves(state, documents) for state in states]
        answering = Answering(
            mind=self._mind, count=self._count, slot=self.slot, top=self.top, first=self.first, rounds=self.rounds, enough=self.enough
        )
        if evidence is None:
            return answering.planned(conversations, shelves)
        if strange := {source for own in evidence for source, _ in own} - {*self.sources}:
            raise UnknownId("there is no such source", fix=f"there are {', '.join(self.sources)}", id=repr(sorted(strange)[0]))
        return answering.given(conversations, shelves, evidence)

    def _shelves(self, state: State | None, documents: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
        """The texts of each source for one person."""
        self.check_state(state)
        given = self.documents_ if documents is None else documents
        if strange := {*given} - {*self.sources[1:]}:
            raise UnknownId("there is no such source", fix=f"there are {', '.join(self.sources[1:])}", id=repr(sorted(strange)[0]))
        return {self.sources[0]: [] if state is None else self.facts(state), **{name: list(given.get(name, ())) for name in self.sources[1:]}}


POOL = 6
"""Wrong texts of a source that a turn is taught with. With many of them few are like the right one, and the rest teach no telling apart."""
FINAL = 0.15
"""Of the learning rate, at the end."""
WRONG = 0.5
"""Soft relevance of the wrong text with the highest cosine; the right one has 1."""
