"""Teaching a causal language model by what people chose: on the chosen answers alone, or on pairs against a reference (DPO, IPO)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sartor.errors import ConfigError
from sartor.parts.preference_losses import dpo, ipo, margin, sft
from sartor.parts.trainer import History, Trainer
from sartor.write.parts.answers import Branch, answer_log_probs
from sartor.write.parts.causal_lm import CausalLM

Objective = Literal["sft", "dpo", "ipo"]


class Pair(NamedTuple):
    """Two answers to a question, token numbers with their ends."""

    question: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]


class Lessons(NamedTuple):
    """Questions behind one context, each on its own."""

    context: Sequence[int]
    """Token numbers, at least one: what is read before every question."""
    pairs: Sequence[Pair]


def pair_log_probs(network: CausalLM, lessons: Sequence[Lessons], *, rejected: bool = True) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the chosen and of the rejected answers, float [pairs] each, lessons one after another; the latter empty if not wanted."""
    kinds = (1, 2) if rejected else (1,)
    rows = [(number, pair) for number, own in enumerate(lessons) for pair in own.pairs]
    branches = [Branch(number, [*pair.question, *pair[kind]], len(pair.question)) for kind in kinds for number, pair in rows]
    found = answer_log_probs(network, [one.context for one in lessons], branches)
    return found[: len(rows)], found[len(rows) :]


def tune(
    network: CausalLM, stream: Callable[[np.random.Generator], Iterator[Lessons]], objective: Objective, *, steps: int, batch: int,
    learning_rate: float, reference: CausalLM | None = None, beta: float = 0.1, anchor: float = 0.0, stages: int = 5, seed: int = 0,
    progress: bool = False, checkpoint: Path | None = None, key: str = "",
) -> History:  # fmt: skip
    """Train in place.

    Parameters
    ----------
    stream: lessons without end; called once for every stage.
    objective: "sft" learns the chosen answers; "dpo" and "ipo" compare how much the network prefers them with how much the reference does.
    steps, batch: gradient steps, and lessons in each.
    learning_rate: falls by half from the first to the last of `stages` stages.
    anchor: weight of the chosen answers' own loss beside "dpo" or "ipo", which alone may lower both answers' probabilities (Pang et al., Iterative
        Reasoning Preference Optimization, 2024).
    reference: what the network was before; it is not changed. Needed by "dpo" and "ipo".
    """
    if min(steps, batch, stages) < 1:
        raise ConfigError(f"steps {steps}, batch {batch}, stages {stages}", fix="use at least 1 of each")
    if objective != "sft" and reference is None:
        raise ConfigError(f"{objective} has no reference", fix="give the model as it was before")

    def batches(rng: np.random.Generator) -> Iterator[list[Lessons]]:
        drawn = stream(rng)
        for _ in range(-(-steps // stages)):
            yield list(islice(drawn, batch))

    def loss(lessons: list[Lessons]) -> Tensor:
        if objective == "sft":
            return sft(pair_log_probs(network, lessons, rejected=False)[0])
        assert reference is not None
        with torch.no_grad():
            before = pair_log_probs(reference, lessons)
        chosen, rejected = pair_log_probs(network, lessons)
        margins = margin(chosen, rejected, *before)
        return (dpo(margins, beta=beta) if objective == "dpo" else ipo(margins, beta=beta)) + anchor * sft(chosen)

    trainer = Trainer(
        epochs=stages, learning_rate=learning_rate, lr_decay=0.5 ** (1 / max(1, stages - 1)), optimizer="adamw", clip_norm=1.0, seed=seed
    )
    return trainer.fit(network, batches, loss, progress=progress, checkpoint=checkpoint, key=key, description=objective)
