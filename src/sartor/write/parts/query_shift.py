"""A person in the attention scores: what a model looks at in its first layer depends on whom it speaks as."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

Shift = Callable[[Tensor], Tensor]
"""From the inputs of a layer's attention, float [B, L, dim], to what is added to its queries, float [B, L, queries' width]."""


class QueryShift:
    """Persona-aware attention: W_c v joins the queries of the first layer, so that every score over the words gets its share of the person.

    For any model with Llama's names (`model.layers.0.self_attn.q_proj`), here or in transformers. As `adapters` of a `Decoder` each row of
    a batch has its own: `(QueryShift(network, shift), range(people))`.

    Source: Zheng et al., Personalized Dialogue Generation with Diversified Traits, 2019, whose scores are additive:
    e_i = V tanh(W_a s + W_b h_i + W_c v). In a product of queries and keys the same term is (W_c v) h_i.

    Parameters
    ----------
    network: the model; its weights stay as they are.
    shift: gives, for some rows, what is added to their queries: rows int64 [B] -> `Shift`.
    """

    def __init__(self, network: Any, shift: Callable[[Tensor], Shift]) -> None:
        self.shift = shift
        self.layer: nn.Module = network.get_submodule("model.layers.0.self_attn.q_proj")
        # Per thread and task: two requests may be inside at once, each with people of its own.
        self._now: ContextVar[Shift | None] = ContextVar("sartor_query_shift", default=None)

    @contextmanager
    def use(self, rows: Sequence[int] | Tensor) -> Iterator[None]:
        """Row i of what the network reads inside is of person `rows[i]`."""
        shift = self.shift(torch.as_tensor(rows))

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return output + shift(inputs[0]).to(output) if self._now.get() is shift else output

        handle, token = self.layer.register_forward_hook(add), self._now.set(shift)
        try:
            yield
        finally:
            self._now.reset(token)
            handle.remove()
