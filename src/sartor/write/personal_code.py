"""A code model made one project's own, in five ways that differ in what they cost and what they keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError, StateMismatch, TooLarge, TooLittleEvidence
from sartor.method import Run, State, States
from sartor.parts.cost_meter import CostMeter
from sartor.parts.trainer import Trainer
from sartor.write._base import Conversation, LMWriter
from sartor.write.code_lm import CodeLM, Rectangle, first_tokens, next_word_loss, rectangle, windows
from sartor.write.parts.decoding import Generated
from sartor.write.parts.language_model import LanguageModel
from sartor.write.parts.peft_files import read_tuned, save_factors, save_prefix
from sartor.write.parts.pieces import Turn, pieces_of
from sartor.write.parts.tuning import Technique, Tuned, TunedWeights, Untuned, factor_bank, multiplied, open_tuned, prefixes_past

RATES: dict[Technique, float] = {"full": 1.5e-4, "light-embed": 4e-4, "light-last": 5e-4, "prefix": 2e-3, "lora": 2e-3}
"""Learning rates, found on packages that no claim uses."""


@dataclass(kw_only=True, eq=False)
class PersonalCode(LMWriter):
    """Personalises a `CodeLM` to one project's files, or to its pairs of a method and its test.

    `technique` names what is learned of a project: "full" all weights (the quality reference), "light-embed" the table of tokens,
    "light-last" the last block, "prefix" keys and values in front of every layer, begun as the project's own tokens, "lora" low-rank factors
    on attention. All take the same number of steps; a tenth of the files, whole ones, is held out to keep the best of them. Not for projects
    of a few kilobytes: put their files into the prompt, found by search.

    Source: Zlotchevski et al., Exploring and Evaluating Personalized Models for Code Generation, ESEC/FSE 2022; LoRA (Hu et al., 2021) is
    added. Differs from the paper in: the model is small and trained here; a state holds differences from it in float16.

    State: float16. full, light-embed, light-last: `<parameter>` of its shape, what is added to it; prefix: `prefix` [places, layers * 2 * dim];
    lora: `<linear>.A` [rank, in], `<linear>.B` [out, rank]. At the default sizes 1,968,384, 262,144, 426,496, 65,536 and 65,536 bytes. Notes: `cost`
    (tokens, FLOPs by the 6N rule, seconds), `held_out` nats per token of the held-out files, `windows` learned from.

    Reads `texts` (text: a whole file, or with `prompt` the answer to it; item: the file that it is of).
    """

    lm: CodeLM = field(default_factory=CodeLM)
    """The population's own model."""
    technique: Technique = "lora"
    steps: int = 48
    batch: int = 4
    """Windows in a step."""
    learning_rate: float = 0.0
    """0 is the technique's own (`RATES`)."""
    rank: int = 8
    """Of LoRA."""
    places: int = 32
    """Of a prefix."""
    hidden: int = 128
    """Width of the network that a prefix is learned behind."""
    held_out: float = 0.1
    """Share of the windows, in whole files, to keep the best weights by; nothing of a single file."""
    least: int = 4_096
    """Bytes of text that a project must have."""
    most: int = 1_000_000
    """Bytes of a state: a technique that keeps more is refused."""
    max_new: int = 32

    def _learn(self, population: Population, run: Run) -> None:
        if min(self.steps, self.batch, self.rank, self.places) < 1 or min(self.hidden, self.least) < 0 or not 0 <= self.held_out < 1:
            what = f"steps {self.steps}, batch {self.batch}, rank {self.rank}, places {self.places}, hidden {self.hidden}, held_out {self.held_out}"
            raise ConfigError(what, fix="steps, batch, rank and places >= 1, hidden and least >= 0, held_out from 0 to below 1")
        tuned = self._open(None)
        size = sum(one.nbytes for one in tuned.arrays().values())
        tuned.close()
        if size > self.most:
            what = f"a state of technique '{self.technique}' has {size} bytes, the limit is {self.most}"
            raise TooLarge(what, fix="use prefix or lora, or raise `most`")

    def _open(self, arrays: Any, start: Sequence[int] | None = None, *, learning: bool = False) -> Tuned:
        return open_tuned(
            self.lm.model.network, self.technique, arrays, rank=self.rank, places=self.places, hidden=self.hidden if learning else 0, start=start,
            seed=self.seed,
        )  # fmt: skip

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """Learn a project's files; raises `TooLittleEvidence` when there are some, but fewer bytes than `least` and nothing from before."""
        self.check_state(state)
        files = self._files(evidence)
        old = dict(state.arrays) if state is not None and state.examples else None
        if not files:
            return self.make_state(old or {}, before=state)
        size = sum(len(text.encode()) for text in evidence.frames["texts"]["text"].drop_nulls())
        if size < self.least and old is None:
            what = f"the project has {size} bytes of text, {self.least} are needed to learn from"
            raise TooLittleEvidence(what, fix="give more files, or search them and put what is found into the prompt", person=evidence.person)
        taught, held = self._parted(files)
        # From the middle: files begin with what says least of the project.
        start = first_tokens(taught[len(taught) // 2 :], self.places).tolist() if self.technique == "prefix" else None
        tuned = self._open(old, start, learning=True)
        try:
            notes = self._teach(tuned, taught, held)
            arrays = tuned.arrays()
        finally:
            tuned.close()
        return self.make_state(arrays, before=state, examples=len(files), notes=notes)

    def _files(self, evidence: Evidence) -> list[list[Turn]]:
        """The windows of each file."""
        if "texts" not in evidence.frames:
            return []
        frame = evidence.frames["texts"]
        # A text of no file is one by itself.
        alone = pl.int_range(pl.len()).cast(pl.String)
        name = pl.coalesce(pl.col("item").cast(pl.String), alone) if "item" in frame.columns else alone
        parts = frame.with_columns(name.alias("item")).partition_by("item", maintain_order=True)
        tokenizer, width = self.lm.model.tokenizer, self.lm.width
        found = [windows(tokenizer, pieces_of(Evidence({"texts": part}, person=evidence.person)), width) for part in parts]
        return [[turn for turn, _ in own] for own in found if own]

    def _parted(self, files: Sequence[list[Turn]]) -> tuple[list[Turn], list[Turn]]:
        """Windows to learn from and windows held out, of different files."""
        order = np.random.default_rng(self.seed).permutation(len(files)).tolist()
        total = sum(map(len, files))
        held: list[Turn] = []
        while self.held_out and len(order) > 1 and len(held) < self.held_out * total:
            held += files[order.pop()]
        return [turn for place in sorted(order) for turn in files[place]], held[:_HELD]

    def _teach(self, tuned: Tuned, taught: Sequence[Turn], held: Sequence[Turn]) -> dict[str, Any]:
        each = -(-self.steps // _STAGES)
        meter = CostMeter(weights=multiplied(self.lm.model.network), trained=sum(one.numel() for one in tuned.trained), passed=tuned.passed)
        # Every window is met before any is met again.
        rng, wanted = np.random.default_rng(self.seed), each * _STAGES * self.batch
        order = iter(np.concatenate([rng.permutation(len(taught)) for _ in range(-(-wanted // len(taught)))]))

        def batches(_rng: np.random.Generator) -> Iterator[Rectangle]:
            for _ in range(each):
                yield rectangle([taught[next(order)] for _ in range(self.batch)])

        def loss(rows: Rectangle) -> torch.Tensor:
            meter.train(rows.ids.numel())
            return next_word_loss(tuned.network, tuned.run(rows.ids, rows.mask), rows).mean()

        def validate() -> float:
            meter.read(sum(one.ids.size for one in held))
            return -self._nats(tuned, held)

        trainer = Trainer(epochs=_STAGES, learning_rate=self.learning_rate or RATES[self.technique], lr_decay=0.7, clip_norm=1.0, seed=self.seed)
        with meter.running():
            past = trainer.fit(tuned.module, batches, loss, validate=validate if held else None, parameters=tuned.trained)
        best = {"held_out": -max(past.scores)} if past.scores else {}
        return {"cost": meter.cost.to_dict(), "windows": len(taught), **best}

    @torch.no_grad()
    def _nats(self, tuned: Tuned, turns: Sequence[Turn]) -> float:
        parts = [rectangle(turns[start : start + 16]) for start in range(0, len(turns), 16)]
        return float(torch.cat([next_word_loss(tuned.network, tuned.run(one.ids, one.mask), one) for one in parts]).mean())

    def nats(self, evidence: Evidence, state: State | None) -> float:
        """Mean cross-entropy per token of somebody's files, in nats, with a state or with none."""
        self.check_state(state)
        turns = [turn for own in self._files(evidence) for turn in own]
        if not turns:
            return float("nan")
        tuned = self._open(dict(state.arrays)) if state is not None and state.examples else Untuned(self.lm.model.network)
        try:
            return self._nats(tuned, turns)
        finally:
            tuned.close()

    def _prompt(self, conversation: Conversation, state: State) -> list[int]:
        return self.lm.prompt(conversation)

    def prompt_tokens(self, conversations: Sequence[Conversation], states: States) -> list[int]:
        ahead = self.places if self.technique == "prefix" else 0
        own = zip(conversations, self._own(conversations, states), strict=True)
        return [len(self.lm.prompt(one)) + (0 if state is None else ahead) for one, state in own]

    def _answers(self, conversations: Sequence[Conversation], prompts: Sequence[list[int]], states: Sequence[State]) -> list[str]:
        model, sampling = self.lm.model, self.lm.model.sampling(max_tokens=self.max_new)
        different = {id(state): state for state in states}
        numbers = {key: number for number, key in enumerate(different)}
        if self.technique == "prefix":
            done = model.generate(prompts, sampling, past=prefixes_past(model.network, [state.arrays for state in states], self.places))
        elif self.technique == "lora":
            bank = factor_bank(model.network, self.rank)
            try:
                bank.fill([dict(state.arrays) for state in different.values()])
                done = model.generate(prompts, sampling, adapters=(bank, [numbers[id(state)] for state in states]))
            finally:
                bank.detach()
        else:
            # Other weights are another model: the rows of each person by themselves.
            written: dict[int, Generated] = {}
            for key, state in different.items():
                rows = [row for row, one in enumerate(states) if id(one) == key]
                written |= dict(zip(rows, self.model(state).generate([prompts[row] for row in rows], sampling), strict=True))
            done = [written[row] for row in range(len(prompts))]
        return [model.tokenizer.decode(one.ids) for one in done]

    def model(self, state: State) -> LanguageModel:
        """The project's own model, where the technique changes weights; `save` writes what transformers opens."""
        self.check_state(state)
        tuned = self._open(dict(state.arrays))
        if not isinstance(tuned, TunedWeights):
            tuned.close()
            raise ConfigError(f"the technique '{self.technique}' leaves the weights as they are", fix="use export(), which writes peft's files")
        return LanguageModel(tuned.network.requires_grad_(False).eval(), self.lm.model.tokenizer)

    def export(self, state: State, folder: str | Path) -> Path:
        """Write a state as what transformers and peft read: peft's files for "prefix" and "lora", a whole model for the others."""
        self.check_state(state)
        network, base = self.lm.model.network, self._base()
        if self.technique == "prefix":
            return save_prefix(folder, network, state["prefix"], base=base)
        if self.technique == "lora":
            return save_factors(folder, factor_bank(network, self.rank), state.arrays, base=base)
        return self.model(state).save(folder)

    def read(self, folder: str | Path) -> State:
        """The state of a folder that `export` wrote for this very model; raises `StateMismatch` for a prefix or factors of another."""
        self.check_fitted()
        technique, arrays, base = read_tuned(folder)
        if technique != self.technique or base != self._base():
            what = f"this is '{technique}' of {base or 'an unknown model'}; this model is {self._base()}, its technique '{self.technique}'"
            raise StateMismatch(what, fix="use what was exported from this model, or adapt again", folder=folder)
        tuned = self._open(arrays)
        tuned.close()
        return self.make_state({name: np.asarray(one, np.float16) for name, one in arrays.items()}, examples=1)

    def _base(self) -> str:
        return f"sartor:{self.lm.model.fingerprint}"


_STAGES = 6
_HELD = 16
"""Held-out windows, at most: they are read after every stage."""
