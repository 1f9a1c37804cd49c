"""A short summary of what a person's past says about one task, written beforehand, and one or two past pieces beside it in the prompt.

method = SummaryRetrieval(k=1).fit(population)
state = method.adapt(population["ana"])               # the history, and a summary of it
method.write(messages, state)                         # never waits for a summary
state = method.refresh(state)                         # a new one, when method.due(state) says why
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError, EndpointFailed, SartorError
from sartor.method import Run, State, learned
from sartor.write.backends import backend
from sartor.write.parts.causal_lm import CausalLM
from sartor.write.parts.habits import Habits
from sartor.write.parts.lm_training import Lesson, teach
from sartor.write.parts.piece_search import Ranker
from sartor.write.parts.pieces import Piece, packed, pieces_of, population_pieces
from sartor.write.parts.summary_lessons import SummaryLessons
from sartor.write.parts.summary_prompts import asked_for_summary, summary_by, written_together
from sartor.write.parts.summary_slot import Refresh, SummarySlot, piece_id
from sartor.write.parts.tasks import task
from sartor.write.summary_writing import OWN, SummaryWriter

COUNTS = "counts"
DOWN = 3
"""An endpoint that has failed so often in a row is asked no more for the others of the same call."""


@dataclass(kw_only=True, eq=False)
class SummaryRetrieval(SummaryWriter):
    """A person is a summary for one task and her past pieces; a prompt carries the summary and the k pieces that go best with the request.

    For short prompts: the summary says what all pieces show together, where one piece that was looked up shows what fits this request. It
    does not pay where k pieces say all there is to say, or for people of one or two pieces.

    Source: Richardson et al., Integrating Summarization and Retrieval for Enhanced Personalization via Large Language Models, 2023. Differs
    from the paper in: the small language model learns to summarise from counts (`parts.habits`), since it cannot be told to; it reads a long
    past in parts and writes one summary for all of them (`parts.logits.Together`). The sizes of summary and refresh are our reading.

    State: `pieces` uint8 (texts), `lengths` int32 [pieces, 2], oldest first; `slot` uint8, the summary, the one before, what they were made
    from and by what, below 2 kB; `vectors` float16 [pieces, dim] for "dense".
    """

    task: str = "reply"
    """Of `parts.tasks.TASKS`: which fields are searched, and what the summary has to say."""
    k: int = 1
    """Past pieces in a prompt; with 0, the summary alone."""
    ranker: Ranker = "bm25"
    encoder: str = "hashed:128"
    """For "dense", as `represent.text.text_encoder` takes it."""
    summarised: bool = True
    """Without: past pieces alone, which is the baseline; nothing of a summary is learned."""
    writer: str = OWN
    """Who writes: "lm", the population's model trained on such prompts, or the name of a backend (`write.backends.backend`)."""
    summariser: str = OWN
    """Who summarises: "lm", "counts" (no language model), or the name of a backend."""
    limit: int = 128
    """Tokens of a summary, at most."""
    refresh_items: int = 16
    """New pieces after which a summary is due again."""
    refresh_days: float = 30.0
    """Age from which one new piece is enough."""
    keep: int = 1_000
    """Pieces in a state: the newest."""
    sample: int = 64
    """Pieces that a summary is made of: the newest."""
    part: int = 5
    """Pieces that the language model reads at once, when it summarises."""
    context: int = 2_000
    """Tokens of a backend's prompt, request and answer included."""
    dropped: float = 0.2
    """Share of training prompts without a summary, so that one may be missing."""
    summaries: float = 0.3
    """Share of training examples that are summaries."""
    most: int = 4
    """Past pieces in a training prompt: 0 to so many."""
    tokens: int = 800_000
    """To train on."""
    learning_rate: float = 2e-3
    rows: int = 8
    """Of the model's longest prompt, in a batch."""

    network_: CausalLM | None = learned(None)
    habits_: np.ndarray = learned()
    """uint8, the counts (`Habits.to_bytes`)."""

    # --- fit

    def _fit(self, population: Population, run: Run) -> None:
        self._check()
        everybody = list(population_pieces(population).values())
        self.__dict__.pop("_habits", None)
        self.habits_ = np.frombuffer(Habits.learn(everybody).to_bytes(), np.uint8).copy()
        self.network_ = None
        if OWN in (self.writer, self.summariser):
            super()._fit(population, run)

    def _check(self) -> None:
        task(self.task)
        if min(self.limit, self.keep, self.sample, self.part, self.tokens, self.rows, self.max_new) < 1 or min(self.k, self.most) < 0:
            raise ConfigError("k or most is below 0, or a size below 1", fix="k and most >= 0, all other sizes >= 1")
        if not 0 <= self.dropped <= 1 or not 0 <= self.summaries < 1:
            raise ConfigError(f"dropped {self.dropped}, summaries {self.summaries}", fix="shares from 0 to 1, summaries below 1")
        self._policy  # noqa: B018  raises for what cannot be
        for name in {self.writer, self.summariser} - {OWN, COUNTS}:
            backend(name)
        if self.writer == COUNTS:
            raise ConfigError("counts cannot write", fix="let lm or a backend write")

    def _learn(self, population: Population, run: Run) -> None:
        tokenizer = self.lm.model.tokenizer
        lessons = SummaryLessons(
            tokenizer=tokenizer, task=self._task, rank=self._ranked, asked=self._asked, longest=self.lm.max_tokens,
            summarised=self.summarised, dropped=self.dropped, summaries=self.summaries, most=self.most, part=self.part,
        )  # fmt: skip
        people = [lessons.person(own, self._counted) for own in population_pieces(population).values()]
        network = copy.deepcopy(self.lm.model.network).requires_grad_(True)
        teach(
            Lesson(network, soft=tokenizer.soft, seed=self.seed), lambda rng: lessons.example(people, rng), tokens=self.tokens,
            width=self.lm.max_tokens, rows=self.rows,
            learning_rate=self.learning_rate, seed=self.seed, progress=run.progress, checkpoint=run.checkpoint, key=run.key,
        )  # fmt: skip
        self.network_ = network.eval()

    def make_network(self) -> CausalLM:
        return self.lm.make_network()

    @cached_property
    def _habits(self) -> Habits:
        return Habits.from_bytes(self.habits_.tobytes())

    def _counted(self, pieces: Sequence[Piece]) -> str:
        """What the small language model learns to write for these pieces."""
        return self._habits.summary(pieces, limit=self.limit, count=lambda text: len(self.lm.model.tokenizer.encode(text)))

    @property
    def _policy(self) -> Refresh:
        return Refresh(items=self.refresh_items, seconds=self.refresh_days * 86_400)

    # --- people

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """Keep the new pieces, and fill the summary where it is due. A summariser that fails costs no piece, and nobody else her summary: the last
        one stays, the notes name the error, and the summary stays due. Raises `BadValue` for another person's pieces.
        """
        return self._adapted([(evidence, state)])[0]

    def adapt_all(self, population: Population, *, progress: bool = False) -> dict[Any, State]:
        evidences = list(population.each())
        made = self._adapted([(one, None) for one in evidences])
        return {one.person: state for one, state in zip(evidences, made, strict=True)}

    def refresh(self, state: State) -> State:
        """The state with a new summary, due or not; the one before is kept. Raises what the summariser raises."""
        self.check_state(state)
        slot, pieces = self.slot(state), self.pieces(state)
        if not pieces:
            return state
        made = self._summaries([pieces[-self.sample :]])[0]
        return self._made(state, pieces, self._put(slot, pieces, made, time.time()), 0, {})

    def due(self, state: State, now: float | None = None) -> str:
        """Why the summary should be refreshed; empty when it should not."""
        self.check_state(state)
        return self._policy.due(self.slot(state), time.time() if now is None else now) if self.summarised else ""

    def edit(self, state: State, summary: str) -> State:
        """The state with a summary in the person's own words. Raises `TooLarge` when it does not fit into its slot."""
        self.check_state(state)
        slot = self.slot(state).put(summary, (), "the person", time.time(), self._count)
        return self._made(state, self.pieces(state), slot, 0, {})

    def _adapted(self, given: Sequence[tuple[Evidence, State | None]]) -> list[State]:
        now = time.time()
        work: list[tuple[int, list[Piece], SummarySlot]] = []
        for evidence, state in given:
            self.check_state(state)
            fresh = pieces_of(evidence)
            old, slot = ([], SummarySlot(task=self.task, limit=self.limit)) if state is None else (self.pieces(state), self.slot(state))
            work.append((len(fresh), [*old, *fresh][-self.keep :], slot.arrived(len(fresh))))
        due = [at for at, (_, _, slot) in enumerate(work) if self.summarised and self._policy.due(slot, now)]
        try:
            texts = self._summaries([work[at][1][-self.sample :] for at in due])
        except SartorError as error:
            texts = [error] * len(due)
        made = dict(zip(due, texts, strict=True))
        out = []
        for at, ((_, state), (fresh_pieces, pieces, slot)) in enumerate(zip(given, work, strict=True)):
            notes: dict[str, Any] = {} if pieces else {"population": True}
            if at in made:
                try:
                    slot = self._put(slot, pieces, made[at], now)
                except SartorError as error:
                    notes["summary_failed"] = type(error).__name__
            out.append(self._made(state, pieces, slot, fresh_pieces, notes))
        return out

    def _put(self, slot: SummarySlot, pieces: Sequence[Piece], text: str | SartorError, now: float) -> SummarySlot:
        if isinstance(text, SartorError):
            raise text
        return slot.put(text, [piece_id(one) for one in pieces[-self.sample :]], self.summariser, now, self._count)

    def _made(self, state: State | None, pieces: Sequence[Piece], slot: SummarySlot, fresh: int, notes: Mapping[str, Any]) -> State:
        arrays = {**packed(pieces), "slot": slot.to_array()}
        if self.ranker == "dense":
            arrays["vectors"] = self._vectors([self._task.document(one) for one in pieces]).astype(np.float16)
        return self.make_state(arrays, before=state, examples=fresh, notes=notes)

    # --- summaries

    def _summaries(self, pasts: Sequence[Sequence[Piece]]) -> list[str | SartorError]:
        """A summary of each past, none of them empty, or why there is none: one that fails is no reason to make no others."""
        if self.summariser == COUNTS:
            return [self._habits.summary(past, limit=self.limit, count=self._count) for past in pasts]
        if self.summariser == OWN:
            asked = [[self._asked(past[at : at + self.part]) for at in range(0, len(past), self.part)] for past in pasts]
            return list(written_together(self.model, asked, self.limit))
        asker, what = self._opened(self.summariser), self._task
        made = list[str | SartorError]()
        for past in pasts:
            if len(made) >= DOWN and all(isinstance(one, EndpointFailed) for one in made[-DOWN:]):
                made.append(made[-1])
                continue
            try:
                made.append(summary_by(asker, what, past, limit=self.limit, count=self._count, context=self.context, seed=self.seed))
            except SartorError as error:
                made.append(error)
        return made

    def _asked(self, pieces: Sequence[Piece]) -> list[int]:
        tokenizer = self.lm.model.tokenizer
        room = self.lm.max_tokens - min(self.limit, self.lm.max_tokens // 4)
        return asked_for_summary(tokenizer, self.task, pieces, room)
