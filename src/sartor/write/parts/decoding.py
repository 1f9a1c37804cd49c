"""From prompts to words: a left-padded batch, one cache, a seed per row, and a list of hooks that may change the logits of every step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from sartor.errors import ConfigError, EmptyData
from sartor.write.parts.causal_lm import CausalLM, Past

Finish = Literal["stop", "length"]


@dataclass
class Generated:
    """What was written for one prompt."""

    ids: list[int] = field(default_factory=list)
    """Without the token that ended it."""
    log_probs: list[float] = field(default_factory=list)
    """Of each of `ids` before hooks and temperature, in nats."""
    finish: Finish = "length"


@dataclass(frozen=True)
class Step:
    """What a hook can see when the next token is chosen."""

    network: CausalLM
    rows: Tensor
    """int64 [b], which of the prompts are still being written: row i of the logits is of prompt `rows[i]`."""
    prompts: list[Sequence[int]]
    """Of these rows."""
    written: list[list[int]]
    """Of these rows, so far."""
    hidden: Tensor
    """float [b, dim]: the last hidden state."""
    past: Past
    """Of everything so far, for hooks that look ahead."""


Hook = Callable[[Tensor, Step], Tensor]
"""From logits float [b, vocabulary] to logits; -inf forbids a token."""


class RowAdapters(Protocol):
    """Something that gives each row of a batch its own weights while it is inside (`parts.lora.LoraBank`)."""

    def use(self, rows: Sequence[int] | Tensor) -> AbstractContextManager[object]: ...


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen."""

    max_tokens: int = 64
    """Per prompt, at most."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Only the likeliest tokens that have this much probability together (Holtzman et al. 2020)."""
    stop: Collection[int] = ()
    """Tokens that end a text."""
    ends: Callable[[Sequence[int]], bool] | None = None
    """Whether what was written so far is the end, e.g. because it holds a stop word."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0 <= self.temperature < float("inf") or not 0 < self.top_p <= 1:
            what = f"max_tokens {self.max_tokens}, temperature {self.temperature}, top_p {self.top_p}"
            raise ConfigError(what, fix="max_tokens >= 1, temperature >= 0, 0 < top_p <= 1")


class Decoder:
    """A batch being written; `step` until nothing comes any more. Rows that are finished leave the batch.

    Parameters
    ----------
    network: the model.
    prompts: token numbers of each, at least one.
    sampling: how tokens are chosen.
    embeddings: per prompt float [tokens, dim] in place of the embeddings of its numbers, or None.
    past: a prefix per prompt (`Past` with as many rows as prompts).
    seeds: one per prompt, for sampling: a row's words then do not depend on the rest of the batch.
    hooks: each changes the logits in turn.
    adapters: per-row weights, and the number of each prompt's own: a bank and one number per prompt.
    limits: tokens of each prompt's text, at most, below `sampling.max_tokens`; None: there is room for all of them.
    """

    def __init__(
        self, network: CausalLM, prompts: Sequence[Sequence[int]], sampling: Sampling, *, embeddings: Sequence[Tensor | None] | None = None,
        past: Past | None = None, seeds: Sequence[int] | None = None, hooks: Sequence[Hook] = (),
        adapters: tuple[RowAdapters, Sequence[int]] | None = None, limits: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        if any(not len(one) for one in prompts):
            raise EmptyData("a prompt has no token", fix="give at least one, e.g. who speaks next")
        for name, given in (("seeds", seeds), ("embeddings", embeddings), ("adapters", adapters[1] if adapters else None), ("limits", limits)):
            if given is not None and len(given) != len(prompts):
                raise ConfigError(f"{len(given)} {name} for {len(prompts)} prompts", fix="give one for each")
        self.network, self.prompts, self.sampling, self.hooks, self.past = network, list(prompts), sampling, list(hooks), past
        self.out = [Generated() for _ in prompts]
        self._embeddings, self._adapters = embeddings, adapters
        self._most = [min(sampling.max_tokens, one) for one in limits] if limits is not None else [sampling.max_tokens] * len(prompts)
        self._rows = torch.arange(len(prompts))
        self._random = [np.random.default_rng(seed) for seed in (seeds if seeds is not None else range(len(prompts)))]
        self._last: list[int] | None = None

    @torch.no_grad()
    def step(self) -> list[tuple[int, int]]:
        """One more token for every row that is not finished: (prompt, token) pairs, tokens that end a text left out; empty at the end."""
        while self._rows.numel():
            hidden = self._forward()
            raw = self.network.words_out(hidden)
            rows = self._rows.tolist()
            assert self.past is not None
            seen = Step(self.network, self._rows, [self.prompts[row] for row in rows], [self.out[row].ids for row in rows], hidden, self.past)
            logits = raw
            for hook in self.hooks:
                logits = hook(logits, seen)
            chosen = self._choose(logits, rows)
            log_probs = raw.log_softmax(-1).gather(1, chosen[:, None])[:, 0].tolist()
            fresh, kept = [], []
            for place, (row, token, log_prob) in enumerate(zip(rows, chosen.tolist(), log_probs, strict=True)):
                if self._take(row, token, log_prob):
                    kept.append(place)
                if token not in self.sampling.stop:
                    fresh.append((row, token))
            self._last = [int(chosen[place]) for place in kept]
            if len(kept) < len(rows):
                places = torch.tensor(kept, dtype=torch.int64)
                self._rows, self.past = self._rows[places], self.past.rows(places)
            if fresh:
                return fresh
        return []

    def _take(self, row: int, token: int, log_prob: float) -> bool:
        """Note a token; whether the row goes on."""
        out = self.out[row]
        if token in self.sampling.stop:
            out.finish = "stop"
            return False
        out.ids.append(token)
        out.log_probs.append(log_prob)
        if self.sampling.ends is not None and self.sampling.ends(out.ids):
            out.finish = "stop"
            return False
        return len(out.ids) < self._most[row]

    def _forward(self) -> Tensor:
        """The last hidden state of every row, float [b, dim]."""
        numbers = [self._adapters[1][row] for row in self._rows.tolist()] if self._adapters else []
        with self._adapters[0].use(numbers) if self._adapters else nullcontext():
            if self._last is not None:
                out = self.network.run(torch.tensor(self._last, device=self._device)[:, None], past=self.past)
            else:
                ids, mask = left_padded(self.prompts)
                ids, mask = ids.to(self._device), mask.to(self._device)
                full = None if bool(mask.all()) else mask
                if self._embeddings is None:
                    out = self.network.run(ids, mask=full, past=self.past)
                else:
                    vectors = self.network.embed(ids)
                    for row, own in enumerate(self._embeddings):
                        if own is not None:
                            vectors[row, mask[row]] = own.to(vectors.dtype)
                    out = self.network.run(embeddings=vectors, mask=full, past=self.past)
        self.past = out.past
        return out.hidden[:, -1]

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _choose(self, logits: Tensor, rows: list[int]) -> Tensor:
        """int64 [b]. One uniform number per row picks the token: whatever else is in the batch, a seed gives the same words."""
        if not self.sampling.temperature:
            return logits.argmax(-1)
        probabilities, order = (logits.double() / self.sampling.temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
        upto = probabilities.cumsum(-1)
        probabilities = probabilities.masked_fill(upto - probabilities >= self.sampling.top_p, 0.0)
        upto = probabilities.cumsum(-1)
        drawn = torch.tensor([self._random[row].random() for row in rows], dtype=upto.dtype, device=upto.device)[:, None] * upto[:, -1:]
        # Rounding must never pick a token of no probability.
        place = torch.minimum(torch.searchsorted(upto, drawn, right=True), (probabilities > 0).sum(-1, keepdim=True) - 1)
        return order.gather(1, place)[:, 0]


def generate(network: CausalLM, prompts: Sequence[Sequence[int]], sampling: Sampling, **more: object) -> list[Generated]:
    """Write to the end; `more` as `Decoder` takes it."""
    was = network.training
    network.eval()
    try:
        decoder = Decoder(network, prompts, sampling, **more)  # type: ignore[arg-type]
        while decoder.step():
            pass
    finally:
        network.train(was)
    return decoder.out


def stream(network: CausalLM, prompt: Sequence[int], sampling: Sampling, **more: object) -> Iterator[int]:
    """The tokens of one prompt as they come."""
    network.eval()
    decoder = Decoder(network, [prompt], sampling, **more)  # type: ignore[arg-type]
    while fresh := decoder.step():
        yield fresh[0][1]


def left_padded(rows: Sequence[Sequence[int]], value: int = 0) -> tuple[Tensor, Tensor]:
    """Token numbers int64 [B, longest], filled up with `value` in front, and bool [B, longest], True where there is a token."""
    longest = max(len(row) for row in rows)
    ids, mask = torch.full((len(rows), longest), value), torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, longest - len(row) :] = torch.as_tensor(row)
        mask[number, longest - len(row) :] = True
    return ids, mask
