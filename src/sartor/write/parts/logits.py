"""Hooks on the logits of every step: what may be written, and what is made likelier, without touching the model.

Each is called with logits float [b, vocabulary] and the `Step`, and gives logits; row i is of prompt `step.rows[i]`. They compose in the
order of the list that a decoder gets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sartor.errors import ConfigError
from sartor.write.parts.decoding import Step

Values = Callable[[Tensor, Step], Tensor]
"""From candidates int64 [b, k] to how good it would be to go on with each: float [b, k], or [b, k, rewards] for several rewards at once."""


@dataclass
class ValueAugmented:
    """Logits of the k likeliest tokens plus beta times their centred values: pi proportional to pi_0 exp(beta Q) among them.

    Source: Han et al., Value Augmented Sampling for Language Model Alignment and Personalization, 2024.
    """

    values: Sequence[Values] | Values
    """One per reward, or one of all rewards."""
    beta: Tensor
    """float [prompts, rewards]: how much each person wants of each."""
    k: int = 20

    def __post_init__(self) -> None:
        if not callable(self.values):
            self._check(len(self.values))

    def _check(self, rewards: int) -> None:
        if self.beta.ndim != 2 or self.beta.shape[1] != rewards:
            raise ConfigError(f"weights of shape {list(self.beta.shape)} for {rewards} rewards", fix="give [prompts, rewards]")

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        best = logits.topk(min(self.k, logits.shape[-1]), -1).indices
        beta = self.beta[step.rows.to(self.beta.device)].to(logits)
        if not bool(beta.any()):
            return logits
        if callable(self.values):
            values = self.values(best, step)
            self._check(values.shape[-1])
        else:
            values = torch.stack([value(best, step) for value in self.values], -1)
        return logits.scatter_add(1, best, tilt(values, beta).to(logits.dtype))


def tilt(values: Tensor, beta: Tensor) -> Tensor:
    """What is added to the candidates' logits, float [b, k]: beta [b, rewards] times values [b, k, rewards], centred over the candidates."""
    return ((values - values.mean(1, keepdim=True)) * beta[:, None]).sum(-1)


@dataclass
class CopyHead:
    """Mixes in words of the person's own history: p = g p_gen + (1 - g) p_copy, duplicates summed (See et al., 2017)."""

    source: Callable[[Step], tuple[Tensor, Tensor, Tensor]]
    """Tokens int64 [b, T] that may be copied, weights float [b, T] that sum to 1 in each row (all 0: nothing to copy), and g float [b]."""

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        ids, weights, gate = self.source(step)
        return mixed(logits, ids, weights, gate)


def mixed(logits: Tensor, ids: Tensor, weights: Tensor, gate: Tensor) -> Tensor:
    """Log-probabilities of a copy mixture, float [b, vocabulary]: logits [b, vocabulary], ids and weights [b, T], gate [b]."""
    copied = torch.zeros_like(logits).scatter_add(1, ids, weights.to(logits.dtype))
    # Where there is nothing to copy, everything is generated.
    gate = torch.where(weights.sum(1) > 0, gate, torch.ones_like(gate))[:, None].to(logits.dtype)
    return (gate * logits.softmax(-1) + (1 - gate) * copied).clamp(min=1e-12).log()


@dataclass
class PersonaBias:
    """Logits drawn towards a person's own words: (1 - b) logits + b bias, b = min(1, strength (1 - a)).

    Source: the persona-aware bias of Zheng et al., Personalized Dialogue Generation with Diversified Traits, 2019, with a dial.
    """

    bias: Tensor | Callable[[Step], Tensor]
    """float [prompts, vocabulary], or what gives [b, vocabulary] at every step."""
    gate: Callable[[Tensor], Tensor]
    """a float [b] in 0..1 from hidden states [b, dim]: how much of the word is the model's own."""
    strength: float | Tensor = 1.0
    """0 is exactly the model without it; one for all, or float [prompts]."""

    def __post_init__(self) -> None:
        each = torch.as_tensor(self.strength, dtype=torch.float64)
        if not bool(((each >= 0) & (each < math.inf)).all()):
            raise ConfigError(f"strength is {self.strength}", fix="use a number from 0")

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        strength = self.strength[step.rows.to(self.strength.device)].to(logits) if isinstance(self.strength, Tensor) else self.strength
        bias = self.bias(step) if callable(self.bias) else self.bias[step.rows.to(self.bias.device)]
        return drawn(logits, bias.to(logits), strength * (1 - self.gate(step.hidden).to(logits)))


def drawn(logits: Tensor, bias: Tensor, share: Tensor) -> Tensor:
    """Logits [..., vocabulary] drawn towards others of the same shape by a share [...], 1 at most; a share of 0 leaves them as they are."""
    share = share.clamp(max=1.0)[..., None]
    return (1 - share) * logits + share * bias


@dataclass
class OnlyTokens:
    """Only these tokens may be written, or all but these."""

    tokens: Collection[int]
    forbidden: bool = False

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        chosen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        chosen[torch.tensor(sorted(self.tokens), dtype=torch.int64, device=logits.device)] = True
        return logits.masked_fill(chosen if self.forbidden else ~chosen, -torch.inf)


@dataclass
class Together:
    """Several prompts write one text: all rows of a group get the mean of their log-probabilities, so that they choose the same tokens.

    For what does not fit into one prompt: each row sees a part, and a word that many parts speak for outweighs what single ones suggest
    (a product of experts; Hinton 2002, with the mean in the exponent).
    """

    groups: Tensor
    """int64 [prompts], from 0."""

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        own = self.groups[step.rows.to(self.groups.device)].to(logits.device)
        said = logits.log_softmax(-1)
        total = torch.zeros(int(own.max()) + 1, logits.shape[-1], dtype=said.dtype, device=said.device).index_add(0, own, said)
        return (total / own.bincount()[:, None].clamp(min=1))[own]


@dataclass
class Grammar:
    """Only tokens that a rule allows after what is written so far; where it allows none, only the end."""

    allowed: Callable[[Sequence[int]], Iterable[int]]
    end: int

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        out = torch.full_like(logits, -torch.inf)
        for row, written in enumerate(step.written):
            tokens = list(self.allowed(written)) or [self.end]
            out[row, tokens] = logits[row, tokens]
        return out


@dataclass
class Trie:
    """Some legal sequences, e.g. the names of what there is: `Grammar(trie.next, end)` writes exactly one of them."""

    sequences: Iterable[Sequence[int]]
    end: int
    _root: dict[int, dict[int, object]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.sequences:
            node: dict[int, object] = self._root  # type: ignore[assignment]
            for token in [*one, self.end]:
                node = node.setdefault(token, {})  # type: ignore[assignment]

    def next(self, written: Sequence[int]) -> list[int]:
        """What may come after these tokens; nothing when no sequence begins with them."""
        node: object = self._root
        for token in written:
            node = node.get(token, {}) if isinstance(node, dict) else {}
        return list(node) if isinstance(node, dict) else []
