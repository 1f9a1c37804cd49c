"""One embedding table for all categorical fields: several salted hashes per value (feature multiplexing)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.hashing import FIRST, MISSING, SECOND, offset


class UnifiedTable(nn.Module):
    """Embeds the values of all fields from one table of `rows` vectors.

    A field with c chunks looks every value up in c rows, row = hash(value, salt of field and chunk) mod rows, and concatenates them: the
    salts make two fields collide at random instead of identically, several chunks make a full collision of two values unlikely, and
    how wide a field is follows from its number of chunks, not from a table of its own. It keeps no vocabulary.

    Why sharing works: the first layer behind it has weights of its own for every field, and training turns these apart, so that a shared
    row can act as a sum of one part per field (`block_angles` measures it).

    Parameters
    ----------
    chunks: field -> how many rows are concatenated for it.
    rows, dim: of the table.
    seed: of the salts; the table's start values come from torch's generator, uniform within `init`.
    values: how many values will share it, if known, for the error message.

    Source: Coleman et al., Unified Embedding, NeurIPS 2023.
    """

    def __init__(self, chunks: Mapping[str, int], *, rows: int, dim: int, seed: int = 0, init: float = 0.05, values: int | None = None) -> None:
        super().__init__()
        if rows < 8:
            raise ConfigError(f"table of {rows} rows for {f'{values:,}' if values is not None else 'all'} values", fix="use at least 8 rows")
        if dim < 1 or not chunks or min(chunks.values()) < 1:
            raise ConfigError(f"dim {dim}, chunks {dict(chunks)}", fix="at least 1 each")
        self.chunks = dict(chunks)
        self.rows, self.dim, self.seed = rows, dim, seed
        self.weight = nn.Parameter(torch.empty(rows, dim).uniform_(-init, init))

    @property
    def widths(self) -> dict[str, int]:
        """Field -> width of its vector."""
        return {name: count * self.dim for name, count in self.chunks.items()}

    @property
    def width(self) -> int:
        """Width of all fields together."""
        return sum(self.widths.values())

    def rows_of(self, field: str, keys: Tensor) -> Tensor:
        """int64 [..., chunks]: the rows of values of a field, from their keys (int64 bits, `sartor.parts.hashing.keys`)."""
        if field not in self.chunks:
            raise ConfigError(f"field '{field}' not declared; known: {list(self.chunks)}", fix="declare it when the table is made")
        number = list(self.chunks).index(field)
        return torch.stack([hashed_rows(keys, self.rows, salt(self.seed, number, chunk)) for chunk in range(self.chunks[field])], -1)

    def embed(self, field: str, keys: Tensor) -> Tensor:
        """float [n, chunks * dim] of one field: keys [n], or bags [n, m] whose mean is taken over the entries that are not `MISSING`.

        A missing value, or an empty bag, has a reserved vector per field.
        """
        if keys.dim() == 1:
            return nn.functional.embedding(self.rows_of(field, keys), self.weight).flatten(-2)
        present = keys != MISSING
        # An empty bag is a bag of the one reserved value.
        present = torch.cat([present[:, :1] | ~present.any(1, keepdim=True), present[:, 1:]], 1)
        shares = (present / present.sum(1, keepdim=True)).to(self.weight.dtype)
        out = [
            nn.functional.embedding_bag(self.rows_of(field, keys)[..., chunk], self.weight, mode="sum", per_sample_weights=shares)
            for chunk in range(self.chunks[field])
        ]
        return torch.cat(out, 1)

    def forward(self, keys: Mapping[str, Tensor]) -> Tensor:
        """float [n, width]: all fields, in the order of their declaration."""
        if missing := [name for name in self.chunks if name not in keys]:
            raise ConfigError(f"fields {missing} are not given", fix=f"give all of {list(self.chunks)}; a missing value has key {MISSING}")
        return self.some(keys)

    def some(self, keys: Mapping[str, Tensor]) -> Tensor:
        """float [n, width of the given fields], in the order of their declaration."""
        if unknown := [name for name in keys if name not in self.chunks]:
            raise ConfigError(f"field '{unknown[0]}' not declared; known: {list(self.chunks)}", fix="declare it when the table is made")
        return torch.cat([self.embed(name, keys[name]) for name in self.chunks if name in keys], 1)


def salt(seed: int, field: int, chunk: int) -> int:
    """One number for every seed, field and chunk."""
    return (seed << 32) + (field << 8) + chunk


def hashed_rows(keys: Tensor, size: int, salt: int = 0) -> Tensor:
    """int64, the shape of `keys`: `sartor.parts.hashing.rows` for tensors that hold the bits of the keys as int64."""
    x = keys + _signed(offset(salt))
    x = (x ^ _shift(x, 30)) * _signed(FIRST)
    x = (x ^ _shift(x, 27)) * _signed(SECOND)
    return torch.remainder(_shift(x ^ _shift(x, 31), 1), size)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _shift(x: Tensor, bits: int) -> Tensor:
    """A logical right shift: torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def block_angles(weight: Tensor, widths: Sequence[int]) -> Tensor:
    """Degrees [pairs of fields] between the parts of a first layer [out, sum of widths] that read two different fields.

    0 means that two fields are read alike, 90 that what is good for one does not touch the other. Fields of equal width only.
    """
    if len(set(widths)) > 1:
        raise ConfigError(f"fields of widths {list(widths)} cannot be compared", fix="give all fields the same number of chunks")
    blocks = torch.stack([block.flatten() for block in weight.detach().double().split(list(widths), 1)])
    cosines = nn.functional.normalize(blocks, dim=1) @ nn.functional.normalize(blocks, dim=1).T
    first, second = torch.triu_indices(len(widths), len(widths), 1)
    return torch.rad2deg(torch.acos(cosines[first, second].clamp(-1, 1)))


def row_norm(weight: Tensor) -> float:
    """Mean squared length of a table's rows: sharing makes rows carry several values' parts, so it grows like values per row."""
    return float(weight.detach().square().sum(1).mean())


def chunk_rows(values: int, share: float) -> int:
    """Rows of a table that holds `share` of what a row per value would need; at least 8."""
    return max(8, math.ceil(values * share))
