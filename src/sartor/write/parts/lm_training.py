"""Teaching a causal language model: packed rows, learning on responses only, vectors in soft places, through the one training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import ConfigError, TooLarge
from sartor.parts.trainer import History, Trainer, seeded
from sartor.write.parts.causal_lm import CausalLM
from sartor.write.parts.pieces import Turn


class Example(NamedTuple):
    """One sequence to learn from."""

    ids: np.ndarray
    """int32 [tokens]."""
    learn: np.ndarray
    """bool [tokens]: which of them are to be foretold from those before; the rest is only read."""
    author: int = -1
    """Whose learned vectors stand in the soft places; -1 puts noise of the words' own scale there."""


def copying(tokens: int, first: int, rng: np.random.Generator, *, longest: int = 16) -> Example:
    """A random sequence twice, to be foretold the second time.

    For a model that is trained from nothing and has to read what stands in its prompt: heads that find an earlier token and what followed it
    (Olsson et al., In-context Learning and Induction Heads, 2022) form on such sequences within some hundred batches, and take about two
    million tokens of ordinary text. Tokens are numbers from `first` to below `tokens`.
    """
    part = rng.integers(first, tokens, int(rng.integers(2, longest + 1))).astype(np.int32)
    return Example(np.concatenate([part, part]), np.arange(2 * part.size) >= part.size)


class Packed(NamedTuple):
    """Several examples per row, one behind the other; none sees another."""

    ids: Tensor
    """int64 [R, W]."""
    segments: Tensor
    """int64 [R, W], from 1 within each row; 0 is filler."""
    learn: Tensor
    """bool [R, W]."""
    authors: Tensor
    """int64 [R, W], of the example that each token is of."""


def pack(examples: Sequence[Example], width: int, rows: int) -> Iterator[Packed]:
    """Batches of at most `rows` rows of `width` tokens; every example goes to the first row that still has room for it."""
    open_: list[tuple[int, list[Example]]] = []
    full: list[list[Example]] = []
    for one in examples:
        size = one.ids.size
        if size > width:
            raise TooLarge(f"an example has {size} tokens, a row {width}", fix="shorten it, or use wider rows")
        place = next((number for number, (left, _) in enumerate(open_) if left >= size), None)
        left, own = (width, []) if place is None else open_.pop(place)
        open_.append((left - size, [*own, one]))
        # Few stay open: looking through them must not become the work.
        if len(open_) > 64:
            open_.sort(key=lambda row: -row[0])
            full.append(open_.pop()[1])
            if len(full) == rows:
                yield _packed(full)
                full = []
    full += [row[1] for row in open_]
    for start in range(0, len(full), rows):
        yield _packed(full[start : start + rows])


def _packed(rows: Sequence[Sequence[Example]]) -> Packed:
    width = max(sum(one.ids.size for one in row) for row in rows)
    ids, segments, authors = (np.full((len(rows), width), value, np.int64) for value in (0, 0, -1))
    learn = np.zeros((len(rows), width), bool)
    for number, row in enumerate(rows):
        at = 0
        for segment, one in enumerate(row, 1):
            span = slice(at, at + one.ids.size)
            ids[number, span], segments[number, span], learn[number, span], authors[number, span] = one.ids, segment, one.learn, one.author
            at += one.ids.size
    return Packed(*(torch.from_numpy(array) for array in (ids, segments, learn, authors)))


def padded_turns(rows: Sequence[Turn], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Turns as a batch, filled up on the right: ids int64, mask (True where there is a token) and own, bool, all [B, longest]."""
    ids = torch.full((len(rows), max(one.ids.size for one in rows)), pad)
    mask, own = torch.zeros(ids.shape, dtype=torch.bool), torch.zeros(ids.shape, dtype=torch.bool)
    for row, one in enumerate(rows):
        span = slice(one.ids.size)
        ids[row, span], own[row, span], mask[row, span] = torch.from_numpy(one.ids), torch.from_numpy(one.own), True
    return ids, mask, own


class Lesson(nn.Module):
    """A model being taught, with a learned vector for every author and soft place, which are thrown away afterwards.

    The authors' vectors teach the model to read how to write from what stands in front of a prompt: soft prefixes steer only a model that
    has seen such conditioning in its own training.
    """

    def __init__(self, network: CausalLM, *, soft: int, authors: int = 0, places: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.network, self.soft, self.places = network, soft, places
        with seeded(seed):
            self.authors = nn.Embedding(max(1, authors * places), network.config.dim)
            nn.init.normal_(self.authors.weight, std=float(network.model.embed_tokens.weight.detach().std()))

    def loss(self, batch: Packed) -> Tensor:
        """Mean cross-entropy in nats of the tokens that are to be learned, each from those before it in its own example."""
        device = self.authors.weight.device
        ids, segments, learn, authors = (part.to(device) for part in batch)
        embeddings = self.network.embed(ids)
        if bool((soft := ids == self.soft).any()):
            embeddings = torch.where(soft[:, :, None], self._soft(ids, soft, segments, authors), embeddings)
        hidden = self.network.run(embeddings=embeddings, segments=segments).hidden
        wanted = learn[:, 1:] & (segments[:, 1:] == segments[:, :-1])
        return F.cross_entropy(self.network.words_out(hidden[:, :-1][wanted]), ids[:, 1:][wanted])

    def _soft(self, ids: Tensor, soft: Tensor, segments: Tensor, authors: Tensor) -> Tensor:
        """float [R, W, dim]; only soft places count. Soft places stand at the front of an example, so that a running count numbers them."""
        first = segments != F.pad(segments, (1, 0), value=-1)[:, :-1]
        at = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        place = at - torch.where(first, at, 0).cummax(1).values
        own = self.authors((authors.clamp(min=0) * self.places + place.clamp(max=self.places - 1)).clamp(max=self.authors.num_embeddings - 1))
        scale = self.network.model.embed_tokens.weight.detach().std()
        return torch.where((authors >= 0)[:, :, None], own, torch.randn_like(own) * scale)


Maker = Callable[[np.random.Generator], Example]
"""Makes one example."""


def teach(
    lesson: Lesson, make: Maker, *, tokens: int, width: int, rows: int = 32, chunk: int = 100_000, learning_rate: float = 3e-3,
    final: float = 0.05, seed: int = 0, progress: bool = False, checkpoint: Path | None = None, key: str = "", device: str = "cpu",
) -> History:  # fmt: skip
    """Train on about so many tokens; the budget is counted in tokens and not in seconds, so that it means the same on every machine.

    Parameters
    ----------
    make: draws one example.
    tokens: in all. Progress is kept after every `chunk` of them, in `checkpoint`.
    width, rows: of a batch.
    learning_rate, final: the rate falls geometrically to `final` times the first one.
    """
    if tokens < 1 or chunk < 1 or not 0 < final <= 1:
        raise ConfigError(f"tokens {tokens}, chunk {chunk}, final {final}", fix="tokens and chunk >= 1, 0 < final <= 1")
    chunks = max(1, round(tokens / chunk))
    each = tokens / chunks

    def batches(rng: np.random.Generator) -> Iterator[Packed]:
        made, count = [], 0
        while count < each:
            made.append(make(rng))
            count += made[-1].ids.size
        yield from pack(made, width, rows)

    trainer = Trainer(
        epochs=chunks, learning_rate=learning_rate, lr_decay=final ** (1 / chunks), optimizer="adamw", weight_decay=0.01, betas=(0.9, 0.98),
        clip_norm=1.0, seed=seed, device=device,
    )  # fmt: skip
    return trainer.fit(lesson, batches, lesson.loss, progress=progress, checkpoint=checkpoint, key=key, description="language model")
