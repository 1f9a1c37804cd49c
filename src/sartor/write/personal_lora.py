"""A small change of the shared model's weights for each person, and many persons in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError
from sartor.method import Run, State, learned
from sartor.parts.lora import LoraBank
from sartor.parts.trainer import Trainer
from sartor.write._base import Conversation, LMWriter
from sartor.write.parts.pieces import Piece, Turn, pieces_of, population_pieces, turns


@dataclass(kw_only=True, eq=False)
class PersonalLora(LMWriter):
    """Low-rank adapters, a few gradient steps per person on the person's own pieces; each row of a batch is written with its own.

    For habits that hang on what is asked: the only thing we have measured to get them from a small model. From two pieces, pieces in the
    prompt show always visible habits better. What the person never wrote about must stay as it was: at every step the adapter is also held
    to the shared model's own words for other people's pieces, wherever that model is sure of them (what is asked for), and is free where it
    is not (how it is said).

    A fitted one holds those pieces of some people of the population as tokens, word for word: whose texts may not be in a model must not be
    in `fit`.

    Source: Hu et al., LoRA, 2021; one adapter per person: Tan et al., Democratizing LLMs via Personalized PEFT, 2024. Differs from them in:
    the hold to the shared model.

    State: `<linear>.A` [rank, in], `<linear>.B` [out, rank] float16 for each of the targets; 15,360 bytes at the default sizes.
    """

    rank: int = 3
    targets: Sequence[str] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    steps: int = 32
    """Gradient steps per person, in four stages of half the rate of the one before."""
    batch: int = 8
    """Pieces in a step; all where there are fewer."""
    learning_rate: float = 2e-2
    hold: float = 1.0
    """Weight of the divergence from the shared model where it is sure."""
    replay: int = 4
    """Other people's pieces in a step."""

    replay_: np.ndarray = learned()
    """int32 [pieces, longest]: other people's pieces to be held to, as tokens; -1 behind their ends."""
    replayed_: np.ndarray = learned()
    """bool [pieces, longest]: which tokens are their writers'."""

    def _learn(self, population: Population, run: Run) -> None:
        if self.steps < 1 or self.batch < 1 or self.replay < 0 or self.hold < 0:
            what = f"steps {self.steps}, batch {self.batch}, replay {self.replay}, hold {self.hold}"
            raise ConfigError(what, fix="steps and batch >= 1, replay and hold >= 0")
        everybody = [piece for own in population_pieces(population).values() for piece in own]
        chosen = np.random.default_rng(self.seed).permutation(len(everybody))[: 32 * max(1, self.replay)]
        kept = self._turns([everybody[number] for number in sorted(chosen)])
        self.replay_, self.replayed_ = _rectangle(kept)

    def _turns(self, pieces: Sequence[Piece]) -> list[Turn]:
        most = self.lm.max_tokens
        return [Turn(one.ids[:most], one.own[:most]) for one in turns(self.lm.model.tokenizer, pieces)]

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        return self._adapt([pieces_of(evidence)], [state])[0]

    def adapt_all(self, population: Population, *, progress: bool = False, together: int = 32) -> dict[Any, State]:
        """States of everybody in a population, trained side by side; each is what `adapt` alone would give, but for rounding."""
        people = [(evidence.person, pieces_of(evidence)) for evidence in population.each()]
        out: dict[Any, State] = {}
        for start in range(0, len(people), together):
            part = people[start : start + together]
            out |= dict(zip([who for who, _ in part], self._adapt([own for _, own in part], [None] * len(part)), strict=True))
        return out

    def export(self, state: State, folder: str | Path) -> Path:
        """Write a person's adapter as peft's files, for the folder that `lm.model.save` wrote."""
        self.check_state(state)
        with _attached(self) as bank:
            return bank.save(folder, bank.add(dict(state.arrays)))

    def _adapt(self, pieces: Sequence[Sequence[Piece]], before: Sequence[State | None]) -> list[State]:
        for state in before:
            self.check_state(state)
        taught = [row for row, own in enumerate(pieces) if own]
        with _attached(self) as bank:
            fresh = bank.get(bank.add(), np.float32)
            starts = [dict(state.arrays) if state is not None and state.examples else fresh for state in before]
            made: list[Mapping[str, np.ndarray]] = list(starts)
            if taught:
                bank.fill([starts[row] for row in taught])
                self._teach(bank, [self._turns(pieces[row]) for row in taught])
                for number, row in enumerate(taught):
                    made[row] = bank.get(number)
        return [
            self.make_state({key: np.asarray(array, np.float16) for key, array in arrays.items()}, before=old, examples=len(own))
            for arrays, old, own in zip(made, before, pieces, strict=True)
        ]

    def _teach(self, bank: LoraBank, people: Sequence[Sequence[Turn]]) -> None:
        def batches(rng: np.random.Generator) -> Iterator[_Batch]:
            for _ in range(-(-self.steps // _STAGES)):
                # Drawn from a number, not from the batch: a person's state does not depend on who else is adapted at the time.
                drawn = int(rng.integers(1 << 31))
                yield self._batch(people, drawn)

        trainer = Trainer(epochs=_STAGES, learning_rate=self.learning_rate, lr_decay=0.5, seed=self.seed)
        trainer.fit(bank, batches, lambda batch: self._loss(bank, batch), parameters=list(bank.parameters()))

    def _batch(self, people: Sequence[Sequence[Turn]], drawn: int) -> _Batch:
        chosen: list[Turn] = []
        rows: list[int] = []
        for number, own in enumerate(people):
            picked = np.random.default_rng(drawn).permutation(len(own))[: self.batch]
            chosen += [own[place] for place in picked]
            rows += [number] * picked.size
        ids, own_ = _rectangle(chosen)
        replay = np.random.default_rng(drawn).permutation(len(self.replay_))[: self.replay] if self.hold else np.empty(0, np.int64)
        return _Batch(torch.from_numpy(ids), torch.from_numpy(own_), rows, replay)

    def _loss(self, bank: LoraBank, batch: _Batch) -> Tensor:
        """Summed over people, so that each learns as if alone."""
        network = self.lm.model.network
        people = len(bank)
        with bank.use(batch.rows):
            ids, mask = batch.ids.clamp(min=0), batch.ids >= 0
            hidden = network.run(ids, mask=mask).hidden
        wanted = batch.own[:, 1:]
        losses = F.cross_entropy(network.words_out(hidden[:, :-1][wanted]), ids[:, 1:][wanted].long(), reduction="none")
        who = torch.tensor(batch.rows)[:, None].expand_as(wanted)[wanted]
        counts = torch.bincount(who, minlength=people)
        total = (losses / counts[who]).sum()
        if batch.replay.size:
            total = total + self.hold * self._divergence(bank, batch.replay)
        return total

    def _divergence(self, bank: LoraBank, replay: np.ndarray) -> Tensor:
        """Of everybody's adapter from the shared model on other people's pieces, summed over people: the mean KL divergence in nats, each
        token weighted by how sure the shared model is of the likeliest word."""
        network = self.lm.model.network
        ids = torch.from_numpy(self.replay_[replay])
        width = int((ids >= 0).sum(1).max())
        ids, own = ids[:, :width], torch.from_numpy(self.replayed_[replay])[:, :width]
        mask, ids, wanted = ids >= 0, ids.clamp(min=0), own[:, 1:]
        with torch.no_grad():
            base = network.words_out(network.run(ids, mask=mask).hidden[:, :-1][wanted]).log_softmax(-1)
            sure = base.max(-1).values.exp() ** 2
        people = len(bank)
        with bank.use([number for number in range(people) for _ in range(len(ids))]):
            hidden = network.run(ids.repeat(people, 1), mask=mask.repeat(people, 1)).hidden
        changed = network.words_out(hidden[:, :-1][wanted.repeat(people, 1)]).log_softmax(-1).view(people, *base.shape)
        return ((base.exp() * (base - changed)).sum(-1) * sure).sum(1).sum() / sure.sum()

    def _answers(self, conversations: Sequence[Conversation], prompts: Sequence[list[int]], states: Sequence[State]) -> list[str]:
        model = self.lm.model
        different = {id(state): state for state in states}
        numbers = {key: number for number, key in enumerate(different)}
        with _attached(self) as bank:
            bank.fill([dict(state.arrays) for state in different.values()])
            adapters = (bank, [numbers[id(state)] for state in states])
            done = model.generate(prompts, model.sampling(max_tokens=self.max_new), adapters=adapters)
        return [model.tokenizer.decode(one.ids) for one in done]


_STAGES = 4


class _Batch(NamedTuple):
    """Pieces of several people."""

    ids: Tensor
    """int32 [pieces, longest], -1 behind the end."""
    own: Tensor
    """bool [pieces, longest]."""
    rows: list[int]
    """Whose each piece is: a number in the bank."""
    replay: np.ndarray
    """Which of everybody's pieces to be held to."""


@contextmanager
def _attached(method: PersonalLora) -> Iterator[LoraBank]:
    bank = LoraBank(method.lm.model.network, targets=method.targets, rank=method.rank, alpha=2.0 * method.rank, seed=method.seed)
    try:
        yield bank
    finally:
        bank.detach()


def _rectangle(pieces: Sequence[Turn]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [pieces, longest], -1 behind the ends, and bool of the same shape: which are their writers' own."""
    longest = max((one.ids.size for one in pieces), default=1)
    ids, own = np.full((len(pieces), longest), -1, np.int32), np.zeros((len(pieces), longest), bool)
    for row, one in enumerate(pieces):
        ids[row, : one.ids.size], own[row, : one.ids.size] = one.ids, one.own
    return ids, own
