"""Sequence encoders: vectors in, vectors out. They never own a table of ids.

Both have the same face: `encoder(x, mask)` for padded batches (x float [B, L, d], mask bool [B, L], True where there is an element) and
`encoder.ragged(x, lengths)` for the same without padding (x float [N, d], the sequences one after another; lengths int64 [B], each at
least 1). The padded form closes gaps first, so that padding may stand anywhere and never changes a result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import ConfigError

MaskFunction = Callable[[Tensor], Tensor]
"""From valid bool [B, L] (elements first, padding last) to what may be attended to: bool, broadcastable to [B, heads, L queries, L keys]."""


def causal(valid: Tensor) -> Tensor:
    """Every element sees itself and those before it."""
    length = valid.shape[1]
    return torch.ones(length, length, dtype=torch.bool, device=valid.device).tril()


def bidirectional(valid: Tensor) -> Tensor:
    """Every element sees all elements."""
    return valid[:, None, None, :]


def windowed(width: int, *, globals_: int = 0) -> MaskFunction:
    """Every element sees itself, `width` neighbours on each side, and the first `globals_` elements, which see all."""

    def allowed(valid: Tensor) -> Tensor:
        at = torch.arange(valid.shape[1], device=valid.device)
        near = (at[:, None] - at[None, :]).abs() <= width
        return (near | (at < globals_)[:, None] | (at < globals_)[None, :]) & valid[:, None, None, :]

    return allowed


class Group(NamedTuple):
    """Some consecutive sequences of a ragged batch, to be attended to in one rectangle."""

    rows: slice
    """Their elements in the ragged batch."""
    batch: int
    width: int
    slot: Tensor | None
    """int64 [N], where each element stands in the flattened rectangle; None when there is no padding at all."""
    lengths: Tensor

    def pad(self, x: Tensor) -> Tensor:
        """[N, d] of the whole ragged batch -> [batch, width, d], zeros where there is no element."""
        x = x[self.rows]
        if self.slot is not None:
            x = x.new_zeros(self.batch * self.width, x.shape[1]).index_copy(0, self.slot, x)
        return x.view(self.batch, self.width, -1)

    def unpad(self, x: Tensor) -> Tensor:
        """[batch, width, d] -> [N of this group, d]."""
        flat = x.reshape(self.batch * self.width, -1)
        return flat if self.slot is None else flat[self.slot]

    def valid(self) -> Tensor:
        """bool [batch, width]."""
        return torch.arange(self.width, device=self.lengths.device)[None, :] < self.lengths[:, None]


class Layout(NamedTuple):
    """Where the elements of a ragged batch stand."""

    rank: Tensor
    """int64 [N]: 0 for the first element of a sequence."""
    from_end: Tensor
    """int64 [N]: 0 for the last element of a sequence."""
    width: int
    """The longest length."""
    groups: list[Group]
    """Consecutive sequences of like length; attention costs width squared, so that one long sequence should not widen all."""

    @classmethod
    def of(cls, lengths: Tensor, *, grouped: bool = True) -> Layout:
        """The layout of sequences of these lengths; with several groups where the sequences come in order of length."""
        ends = lengths.cumsum(0)
        count = int(ends[-1])
        every = torch.arange(count, device=lengths.device)
        rank = every - (ends - lengths).repeat_interleave(lengths, output_size=count)
        from_end = (ends - 1).repeat_interleave(lengths, output_size=count) - every
        bucket = torch.log2(lengths.clamp(min=4).float()).ceil()
        borders = [0, *((bucket[1:] != bucket[:-1]).nonzero().flatten() + 1).tolist(), lengths.numel()]
        if not grouped or len(borders) > _MOST_GROUPS + 1:
            borders = [0, lengths.numel()]
        groups = []
        for start, stop in pairwise(borders):
            own = lengths[start:stop]
            first, last, width = int(ends[start] - lengths[start]), int(ends[stop - 1]), int(own.max())
            slot = None
            if last - first != own.numel() * width:
                left = torch.arange(own.numel(), device=lengths.device) * width
                slot = rank[first:last] + left.repeat_interleave(own, output_size=last - first)
            groups.append(Group(slice(first, last), own.numel(), width, slot, own))
        return cls(rank, from_end, int(lengths.max()), groups)


_MOST_GROUPS = 8


class _Encoder(nn.Module, ABC):
    """The shared face."""

    @abstractmethod
    def ragged(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[N, d] -> [N, d]."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, L, d] -> [B, L, d], zeros where the mask is False."""
        out = torch.zeros_like(x)
        filled = mask.any(1)
        if not bool(filled.any()):
            return out
        out[mask] = self.ragged(x[mask], mask.sum(1)[filled])
        return out

    def last(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The output at the newest element of each sequence of a ragged batch: [B, d]."""
        return self.ragged(x, lengths)[lengths.cumsum(0) - 1]


class SequenceEncoder(_Encoder):
    """A stack of transformer blocks over vectors.

    Parameters
    ----------
    dim: of the vectors, in and out.
    blocks, heads, dropout: as usual; dropout also on the sum of input and position, and inside attention.
    max_length: longest sequence, for learned positions.
    feedforward: hidden width of the feed-forward part; `dim` by default.
    activation: "relu" or "gelu".
    positions: "learned" vectors, "rotary" (Su et al. 2021), or "none".
    count_from: learned positions are counted from the "end" (the newest element is always 0, as in left-padded models) or the "start".
    attention: "causal", "bidirectional", or a `MaskFunction`; every element must be allowed to see at least one.
    residual: what a block adds to: "raw" is the pre-norm block, x + f(norm(x)); "normed" is SASRec's published one, norm(x) + f(norm(x)),
        whose keys and values come from x itself.
    """

    def __init__(
        self,
        dim: int,
        *,
        blocks: int = 2,
        heads: int = 2,
        dropout: float = 0.2,
        max_length: int = 50,
        feedforward: int | None = None,
        activation: Literal["relu", "gelu"] = "relu",
        positions: Literal["learned", "rotary", "none"] = "learned",
        count_from: Literal["end", "start"] = "end",
        attention: Literal["causal", "bidirectional"] | MaskFunction = "causal",
        residual: Literal["raw", "normed"] = "raw",
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"{dim} dimensions cannot be split among {heads} heads", fix="choose a multiple")
        if positions == "rotary" and (dim // heads) % 2:
            raise ConfigError(f"rotary positions need an even number of dimensions per head, not {dim // heads}", fix="change the number of heads")
        self.max_length, self.count_from, self.attention = max_length, count_from, attention
        self.position = nn.Embedding(max_length, dim) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            _Block(dim, heads, dropout, feedforward or dim, activation, positions == "rotary", residual == "normed") for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(dim)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                nn.init.xavier_normal_(weight) if name != "position.weight" else nn.init.normal_(weight, std=0.02)

    def ragged(self, x: Tensor, lengths: Tensor) -> Tensor:
        *_, last = self._depths(x, lengths)
        return self.norm(last)

    def states(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """What an encoder cut after 0, 1, ... blocks would put out: blocks + 1 of [N, d], the last one equal to `ragged`."""
        return [self.norm(state) for state in self._depths(x, lengths)]

    def _depths(self, x: Tensor, lengths: Tensor) -> Iterator[Tensor]:
        layout = Layout.of(lengths)
        if self.position is not None:
            if layout.width > self.max_length:
                raise ConfigError(f"a sequence has {layout.width} elements, the encoder takes {self.max_length}", fix="keep the newest")
            x = x + self.position(layout.from_end if self.count_from == "end" else layout.rank)
        x = self.dropout(x)
        masks = [self._allowed(group) for group in layout.groups]
        yield x
        for block in self.blocks:
            x = block(x, layout, masks)
            yield x

    def _allowed(self, group: Group) -> Tensor | None:
        """None for causal attention: padding stands behind every element, so that a causal pattern alone keeps it out."""
        if self.attention == "causal":
            return None
        valid = group.valid()
        function = bidirectional if self.attention == "bidirectional" else self.attention
        # A query that may see nothing would be NaN: padding, whose output is dropped, may see everything.
        return function(valid) | ~valid[:, None, :, None]


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float, feedforward: int, activation: str, rotary: bool, normed: bool) -> None:
        super().__init__()
        self.heads, self.rate, self.rotary, self.normed = heads, dropout, rotary, normed
        self.before_attention, self.before_feedforward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key_value, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, feedforward), nn.Linear(feedforward, dim)
        self.activation = F.relu if activation == "relu" else F.gelu
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, layout: Layout, masks: list[Tensor | None]) -> Tensor:
        h = self.before_attention(x)
        attended = self._attend(h, x if self.normed else h, layout, masks)
        x = h + attended if self.normed else x + self.dropout(attended)
        h = self.before_feedforward(x)
        inner = self.down(self.dropout(self.activation(self.up(h))))
        return (h if self.normed else x) + self.dropout(inner)

    def _attend(self, of: Tensor, to: Tensor, layout: Layout, masks: list[Tensor | None]) -> Tensor:
        query, key_value = self.query(of), self.key_value(to)
        rate = self.rate if self.training else 0.0
        out = []
        for group, allowed in zip(layout.groups, masks, strict=True):
            shape = (group.batch, group.width, self.heads, -1)
            q, (k, v) = group.pad(query), group.pad(key_value).chunk(2, 2)
            q, k, v = (part.reshape(shape).transpose(1, 2) for part in (q, k, v))
            if self.rotary:
                q, k = _rotated(q), _rotated(k)
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=rate, is_causal=allowed is None)
            out.append(group.unpad(seen.transpose(1, 2)))
        return self.out(torch.cat(out))


def _rotated(x: Tensor) -> Tensor:
    """Each pair of dimensions turned by an angle that grows with the position: products then depend on distances only. x [B, H, L, d]."""
    length, dim = x.shape[-2:]
    speed = 10_000.0 ** (-torch.arange(0, dim, 2, device=x.device, dtype=torch.float32) / dim)
    angle = torch.arange(length, device=x.device, dtype=torch.float32)[:, None] * speed
    sine, cosine = angle.sin().to(x.dtype), angle.cos().to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cosine - b * sine, a * sine + b * cosine], -1).flatten(-2)


class RecurrentEncoder(_Encoder):
    """Gated recurrent units over vectors; the output at an element depends on it and those before it.

    Parameters
    ----------
    dim: of the vectors, in and out.
    layers, dropout: of the GRU; dropout between layers and on the output.
    """

    def __init__(self, dim: int, *, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.gru = nn.GRU(dim, dim, num_layers=layers, dropout=dropout if layers > 1 else 0.0, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def ragged(self, x: Tensor, lengths: Tensor) -> Tensor:
        group = Layout.of(lengths, grouped=False).groups[0]
        out, _ = self.gru(group.pad(x))
        return self.dropout(group.unpad(out))
