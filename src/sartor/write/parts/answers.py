"""How likely whole answers are, with gradients: a context is read once, however many answers stand behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sartor.errors import EmptyData
from sartor.write.parts.causal_lm import CausalLM
from sartor.write.parts.decoding import left_padded


def right_padded(rows: Sequence[Sequence[int]], value: int = 0) -> tuple[Tensor, Tensor]:
    """Token numbers int64 [B, longest], filled up with `value` behind, and bool [B, longest], True where there is a token."""
    longest = max(len(row) for row in rows)
    ids, mask = torch.full((len(rows), longest), value), torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.as_tensor(row, dtype=torch.int64)
        mask[number, : len(row)] = True
    return ids, mask


class Branch(NamedTuple):
    """One way of going on behind a context."""

    context: int
    """Number of what stands before."""
    ids: Sequence[int]
    """Token numbers, at least one."""
    read: int = 0
    """How many of them are only read, e.g. a question; the others are the answer."""


def answer_log_probs(network: CausalLM, contexts: Sequence[Sequence[int]], branches: Sequence[Branch]) -> Tensor:
    """Log-probabilities in nats, float [branches], of whole answers; a context is read once, whatever the number of its branches.

    Raises `EmptyData` for a context or a branch without a token, `TooLarge` when both do not fit into the model.
    """
    if not contexts or not branches or any(not len(one) for one in contexts) or any(not len(one.ids) for one in branches):
        raise EmptyData("a context or an answer has no token", fix="give at least one, e.g. who speaks next")
    device = next(network.parameters()).device
    ids, mask = (one.to(device) for one in left_padded(contexts))
    before = network.run(ids, mask=None if bool(mask.all()) else mask)
    rows = torch.tensor([one.context for one in branches], device=device)
    said, there = (one.to(device) for one in right_padded([one.ids for one in branches]))
    going = network.run(said, mask=there, past=before.past.rows(rows)).hidden
    states = torch.cat([before.hidden[rows, -1:], going[:, :-1]], 1)
    own = there & (torch.arange(said.shape[1], device=device) >= torch.tensor([one.read for one in branches], device=device)[:, None])
    found = network.words_out(states[own]).log_softmax(-1).gather(1, said[own][:, None])[:, 0]
    return found.new_zeros(len(branches)).index_add(0, own.nonzero()[:, 0], found)
