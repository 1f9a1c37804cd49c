"""What a text will be worth when it is finished, foretold from its beginning: a causal language model with a value head for each reward.

model = ValueModel(network, rewards=2)
teach_values(model, samples, pad=0)                          # what the frozen policy wrote, and what each text was worth
generate(policy, prompts, sampling, hooks=[ValueAugmented(Lookahead(model), beta)])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.parts.lora import LoraBank
from sartor.parts.trainer import History, Trainer, seeded
from sartor.parts.value_head import ValueHead, td_lambda, value_loss
from sartor.write.parts.answers import right_padded
from sartor.write.parts.decoding import Step, left_padded

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Sample(NamedTuple):
    """Something that the policy wrote."""

    prompt: Sequence[int]
    """Token numbers, at least one."""
    answer: Sequence[int]
    """Token numbers, the end with them where it came."""
    rewards: np.ndarray
    """float [rewards]: what the finished text is worth."""


class ValueModel(nn.Module):
    """A trunk that stays as it is, LoRA on its linear layers, and a head: values float [B, L, rewards] of the states after each token.

    Parameters
    ----------
    trunk: `CausalLM`, or anything else with its `run` (`write.backends.values.TransformersTrunk`); it must be nobody else's, since the adapter's
        hooks are put on it.
    rewards: how many.
    rank, alpha, targets: of the adapter.
    """

    def __init__(
        self, trunk: Any, *, rewards: int, dim: int, rank: int = 16, alpha: float = 16.0, targets: Sequence[str] = TARGETS, seed: int = 0
    ) -> None:
        super().__init__()
        if rewards < 1:
            raise ConfigError(f"{rewards} rewards", fix="give at least one")
        # Not a submodule: what is saved of a value model is the adapter and the head.
        self._trunk = (trunk,)
        module: nn.Module = getattr(trunk, "module", trunk)
        module.requires_grad_(False)
        self.bank = LoraBank(module, targets=targets, rank=rank, alpha=alpha, slots=1, seed=seed)
        with seeded(seed):
            self.head = ValueHead(dim, rewards)

    def run(self, ids: Tensor, *, mask: Tensor | None = None, past: Any = None) -> tuple[Tensor, Any]:
        """Values float [B, L, rewards] and the cache."""
        with self.bank.use([0] * ids.shape[0]):
            out = self._trunk[0].run(ids, mask=mask, past=past)
        return self.head(out.hidden), out.past


class _Batch(NamedTuple):
    ids: Tensor
    """int64 [B, L]."""
    real: Tensor
    """bool [B, L]."""
    states: Tensor
    """bool [B, L]: before the answer's first token, and after each of its tokens."""
    returns: Tensor
    """float [B, L, rewards]."""


def teach_values(
    model: ValueModel, samples: Sequence[Sample], *, epochs: int = 2, passes: int = 2, batch: int = 32, learning_rate: float = 2e-3,
    gamma: float = 1.0, lam: float = 0.95, seed: int = 0, progress: bool = False, checkpoint: Path | None = None, key: str = "",
) -> History:  # fmt: skip
    """Teach values by TD(lambda) on finished texts, each worth its rewards at its end and nothing before.

    Parameters
    ----------
    epochs: over the samples.
    passes: gradient steps on each batch; the returns are from the values before the first of them.

    Raises `BadValue` when a reward is not finite, `EmptyData` without samples.
    """
    if not samples:
        raise EmptyData("there are no samples to learn values from", fix="let the policy write some")
    if any(not np.isfinite(one.rewards).all() for one in samples):
        raise BadValue("a reward is not finite", fix="give finite rewards")
    if epochs < 1 or passes < 1 or batch < 1:
        raise ConfigError(f"epochs {epochs}, passes {passes}, batch {batch}", fix="use at least 1 of each")

    def batches(rng: np.random.Generator) -> Iterator[_Batch]:
        order = rng.permutation(len(samples))
        for start in range(0, len(samples), batch):
            made = _batch(model, [samples[number] for number in order[start : start + batch]], gamma, lam)
            yield from [made] * passes

    def loss(made: _Batch) -> Tensor:
        return value_loss(model.run(made.ids, mask=made.real)[0], made.returns, made.states)

    trainer = Trainer(epochs=epochs, learning_rate=learning_rate, lr_decay=0.5 ** (4 / max(4, epochs)), clip_norm=1.0, seed=seed)
    return trainer.fit(model, batches, loss, progress=progress, checkpoint=checkpoint, key=key, description="values")


@torch.no_grad()
def _batch(model: ValueModel, samples: Sequence[Sample], gamma: float, lam: float) -> _Batch:
    ids, real = right_padded([[*one.prompt, *one.answer] for one in samples])
    device = model.head.out.weight.device
    ids, real = ids.to(device), real.to(device)
    at = torch.arange(ids.shape[1], device=device)[None]
    first = torch.tensor([len(one.prompt) - 1 for one in samples], device=device)[:, None]
    last = torch.tensor([len(one.prompt) + len(one.answer) - 1 for one in samples], device=device)
    states = real & (at >= first)
    values = model.run(ids, mask=real)[0]
    rewards = torch.zeros_like(values)
    # After the last token is a state, too: that is where decoding looks when the end is a candidate.
    rewards[torch.arange(len(samples), device=device), last] = torch.from_numpy(np.stack([one.rewards for one in samples])).to(values)
    return _Batch(ids, real, states, td_lambda(values, rewards, states, gamma=gamma, lam=lam))


class Lookahead:
    """Values of going on with each candidate: one new token a step and the candidates beside each other, on a cache of its own.

    A hook's `Values` for one batch being decoded (`write.parts.logits.ValueAugmented`); elsewhere `start`, `push` and `look`.
    """

    def __init__(self, model: ValueModel) -> None:
        self.model = model
        self._past: Any = None
        self._rows: list[int] = []

    @torch.no_grad()
    def __call__(self, ids: Tensor, step: Step) -> Tensor:
        """Candidates int64 [b, k] -> values float [b, k, rewards]."""
        rows = step.rows.tolist()
        if self._past is None:
            self.start([[*prompt, *written] for prompt, written in zip(step.prompts, step.written, strict=True)])
        else:
            if rows != self._rows:
                self.keep([self._rows.index(row) for row in rows])
            self.push(torch.tensor([written[-1] for written in step.written], device=ids.device))
        self._rows = rows
        return self.look(ids)

    @torch.no_grad()
    def start(self, prompts: Sequence[Sequence[int]]) -> None:
        """A new batch, with what stands there already."""
        ids, mask = left_padded(prompts)
        device = self.model.head.out.weight.device
        _, self._past = self.model.run(ids.to(device), mask=None if bool(mask.all()) else mask.to(device))

    def keep(self, places: Sequence[int]) -> None:
        """Only these rows go on."""
        self._past = self._past.rows(torch.tensor(places, dtype=torch.int64))

    @torch.no_grad()
    def push(self, tokens: Tensor) -> None:
        """The token that each row went on with, int64 [b]."""
        _, self._past = self.model.run(tokens[:, None], past=self._past)

    @torch.no_grad()
    def look(self, ids: Tensor) -> Tensor:
        """Candidates int64 [b, k] -> values float [b, k, rewards]; changes nothing."""
        rows, k = ids.shape
        past = self._past.rows(torch.arange(rows).repeat_interleave(k))
        return self.model.run(ids.reshape(-1, 1), past=past)[0][:, 0].view(rows, k, -1)
