"""The language model of a population of projects: trained on their files, and on their pairs of a method and its test where there are any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor._run_key import keyed
from sartor.data.population import Population
from sartor.errors import ConfigError
from sartor.method import Run, States
from sartor.parts.trainer import Trainer
from sartor.write.backends.backend import check_messages, text_of
from sartor.write.parts.causal_lm import CausalLM
from sartor.write.parts.pieces import Piece, Turn, population_pieces, turns
from sartor.write.parts.soft_prefix import KeyValuePrefix, stacked_past
from sartor.write.parts.tokenizer import ASSISTANT, Kind, Tokenizer
from sartor.write.population_lm import PopulationLM


@dataclass(kw_only=True, eq=False)
class CodeLM(PopulationLM):
    """A small Llama trained from nothing on projects' files: texts without a prompt are files, those with one are pairs of a task.

    Files come first, pairs after them, both in windows of `width` tokens. In a share of the batches each project has learned keys and values
    in front of every layer, which are thrown away afterwards: prefixes steer only a model that has met such conditioning.

    State: empty; it only counts what was given.
    """

    kind: Kind = "bpe"
    vocabulary: int = 1_024
    dim: int = 128
    layers: int = 4
    tokens: int = 2_000_000
    """Of files, to train on: some five CPU-minutes at the default size."""
    task_tokens: int = 400_000
    """Of pairs, after them, where there are any."""
    width: int = 128
    """Tokens of a window; `max_tokens` must hold it with a prefix."""
    rows: int = 16
    """Windows in a batch."""
    soft: float = 0.3
    """Share of batches with prefixes."""
    places: int = 32
    """Of a prefix."""
    history: int = 0
    """Not used: a window stands alone."""
    learning_rate: float = 3e-3

    def _fit(self, population: Population, run: Run) -> None:
        if not 0 <= self.soft <= 1 or self.places < 1 or not 8 <= self.width <= self.max_tokens - self.places or self.rows < 1 or self.tokens < 1:
            what = f"soft {self.soft}, places {self.places}, width {self.width} of {self.max_tokens}, rows {self.rows}, tokens {self.tokens}"
            raise ConfigError(what, fix="soft from 0 to 1, places, rows and tokens >= 1, 8 <= width <= max_tokens - places")
        projects = list(population_pieces(population).values())
        every = [text for own in projects for piece in own for text in piece if text]
        self.words_ = Tokenizer.learn(every, kind=self.kind, vocabulary=self.vocabulary).to_text()
        tokenizer = Tokenizer(self.words_)
        self.network_ = self.make_network()
        own = [windows(tokenizer, pieces, self.width) for pieces in projects]
        key = keyed(self, population, run).key
        for stage, budget in (("files", self.tokens), ("pairs", self.task_tokens)):
            kept = [[turn for turn, piece in part if bool(piece.prompt) == (stage == "pairs")] for part in own]
            if any(kept) and budget:
                checkpoint = run.checkpoint / stage if run.checkpoint else None
                self._teach([one for one in kept if one], budget, Run(None, run.progress, checkpoint, f"{key} {stage}"))
        self.network_.eval()

    def _teach(self, projects: Sequence[Sequence[Turn]], tokens: int, run: Run) -> None:
        lesson = _Lesson(self.network_, [first_tokens(own, self.places) for own in projects])
        total = np.cumsum([len(own) for own in projects])
        steps = max(_STAGES, round(tokens / (self.rows * self.width)))

        def batches(rng: np.random.Generator) -> Iterator[_Batch]:
            for _ in range(round(steps / _STAGES)):
                chosen = rng.integers(total[-1], size=self.rows)
                who = np.searchsorted(total, chosen, side="right")
                picked = [projects[one][int(place - total[one])] for one, place in zip(who, chosen, strict=True)]
                yield _Batch(rectangle(picked), torch.from_numpy(who) if rng.random() < self.soft else None)

        trainer = Trainer(
            epochs=_STAGES, learning_rate=self.learning_rate, lr_decay=0.05 ** (1 / _STAGES), optimizer="adamw", weight_decay=0.01, betas=(0.9, 0.98),
            clip_norm=1.0, seed=self.seed,
        )  # fmt: skip
        trainer.fit(lesson, batches, lesson.loss, progress=run.progress, checkpoint=run.checkpoint, key=run.key, description="code model")

    def prompt(self, conversation: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens to go on from: a last message of the assistant is code begun, anything else is asked and answered from the start."""
        check_messages(conversation)
        tokenizer = self.model.tokenizer
        if conversation[-1]["role"] != "assistant":
            return tokenizer.chat(conversation)
        before = [number for one in conversation[:-1] for number in tokenizer.message(one["role"], text_of(one))]
        return [*before, tokenizer.special[ASSISTANT], *tokenizer.encode(text_of(conversation[-1]))]

    def write_all(self, conversations: Sequence[Sequence[Mapping[str, str]]], states: States, *, max_new: int = 48) -> list[str]:
        """How each conversation goes on; states change nothing."""
        for state in states:
            self.check_state(state)
        done = self.model.generate([self.prompt(one) for one in conversations], self.model.sampling(max_tokens=max_new))
        return [self.model.tokenizer.decode(one.ids) for one in done]


_STAGES = 20


def windows(tokenizer: Tokenizer, pieces: Sequence[Piece], width: int) -> list[tuple[Turn, Piece]]:
    """Pieces as sequences of at most `width` tokens, each with the piece that it is of: a file is cut into several that follow one another,
    a pair into one, its prompt's beginning kept and its text's."""
    out = []
    for piece, whole in zip(pieces, turns(tokenizer, pieces), strict=True):
        if piece.prompt:
            asked = int(np.argmax(whole.own)) - 1
            kept = np.r_[np.arange(min(asked, width // 2)), np.arange(asked, whole.ids.size)][:width]
            out.append((Turn(whole.ids[kept], whole.own[kept]), piece))
            continue
        head, body = whole.ids[:1], whole.ids[1:]
        for start in range(0, body.size, width - 1):
            ids = np.concatenate([head, body[start : start + width - 1]])
            out.append((Turn(ids, np.arange(ids.size) > 0), piece))
    return out


def first_tokens(own: Sequence[Turn], places: int) -> np.ndarray:
    """int32 [places]: real tokens of a project's own, for its prefix to begin as; repeated where there are too few."""
    ids = np.concatenate([one.ids[one.own] for one in own[: max(1, places)]])
    return np.resize(ids, places)


class Rectangle(NamedTuple):
    """Windows side by side."""

    ids: Tensor
    """int64 [rows, longest]."""
    own: Tensor
    """bool [rows, longest]: what is to be foretold."""
    mask: Tensor | None
    """bool [rows, longest], False where there is filler; None where there is none."""


def rectangle(chosen: Sequence[Turn]) -> Rectangle:
    """Windows of any lengths as one batch."""
    longest = max(one.ids.size for one in chosen)
    ids, own, mask = (torch.zeros(len(chosen), longest, dtype=kind) for kind in (torch.int64, torch.bool, torch.bool))
    for row, one in enumerate(chosen):
        size = one.ids.size
        ids[row, :size], own[row, :size], mask[row, :size] = torch.from_numpy(one.ids), torch.from_numpy(one.own), True
    return Rectangle(ids, own, None if bool(mask.all()) else mask)


def next_word_loss(network: CausalLM, hidden: Tensor, batch: Rectangle) -> Tensor:
    """Cross-entropy in nats of each wanted token, float [wanted], from last hidden states [rows, longest, dim]."""
    wanted = batch.own[:, 1:]
    return F.cross_entropy(network.words_out(hidden[:, :-1][wanted]), batch.ids[:, 1:][wanted], reduction="none")


class _Batch(NamedTuple):
    rows: Rectangle
    projects: Tensor | None
    """int64 [rows], whose prefix each row has; None where there is none."""


class _Lesson(nn.Module):
    """The network, and a prefix for each project that is thrown away afterwards."""

    def __init__(self, network: CausalLM, starts: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.network = network
        self.prefixes = nn.ModuleList(KeyValuePrefix(network, len(one), start=one.tolist()) for one in starts)

    def loss(self, batch: _Batch) -> Tensor:
        past = None
        if batch.projects is not None:
            flat = torch.stack([one.flat() for one in self.prefixes])  # type: ignore[operator]
            past = stacked_past(self.network, flat[batch.projects])
        hidden = self.network.run(batch.rows.ids, mask=batch.rows.mask, past=past).hidden
        return next_word_loss(self.network, hidden, batch.rows).mean()
