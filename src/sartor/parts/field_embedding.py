"""Codes of fields to one vector per row, inside a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.fields import DEFAULT, Field, FieldCodec
from sartor.parts.unified_table import UnifiedTable


class FieldEmbedding(nn.Module):
    """Concatenates one vector per field: float [n, width].

    Categorical fields look a row up; multi-valued and text fields take the mean of their values' rows; numbers are a learned line.
    A value that is missing, unknown or hidden gets the field's default vector.

    Parameters
    ----------
    fields: as a `FieldCodec` has them.
    dim: width of every field's vector, or field -> width.
    share: rows of one `UnifiedTable` for all values of all fields instead of a table per field; `chunks` rows per value. `dim` is then
        a single width, a multiple of `chunks`. Needs the codec's vocabularies as `codec`.
    init: standard deviation of the start values.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dim: int | Mapping[str, int] = 16,
        *,
        share: int = 0,
        chunks: int = 2,
        codec: FieldCodec | None = None,
        init: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not fields:
            raise ConfigError("there is no field to embed", fix="give at least one")
        self.fields = tuple(fields)
        self.widths = [dim if isinstance(dim, int) else dim[field.name] for field in fields]
        self.width = sum(self.widths)
        self.defaults = nn.ParameterList([nn.Parameter(init * torch.randn(width)) for width in self.widths])
        self.shared = self._share(dim, share, chunks, codec, seed) if share else None
        tables: list[nn.Module] = []
        for field, width in zip(self.fields, self.widths, strict=True):
            if field.kind == "number":
                tables.append(nn.Linear(1, width))
            elif self.shared is not None:
                tables.append(nn.Identity())
            else:
                # Row 0 stays unused: defaults live in `defaults`, where numbers can have one too.
                table: nn.Embedding | nn.EmbeddingBag
                if field.is_bag:
                    table = nn.EmbeddingBag(field.size + 2, width, mode="mean", padding_idx=field.padding)
                else:
                    table = nn.Embedding(field.size + 1, width)
                nn.init.normal_(table.weight, std=init)
                tables.append(table)
        self.tables = nn.ModuleList(tables)

    def _share(self, dim: int | Mapping[str, int], rows: int, chunks: int, codec: FieldCodec | None, seed: int) -> UnifiedTable:
        if not isinstance(dim, int) or dim % chunks or codec is None:
            raise ConfigError(f"a shared table with dim {dim} and {chunks} chunks", fix="dim must be one multiple of chunks; give the codec too")
        hashed = [field for field in self.fields if field.kind != "number"]
        for field in hashed:
            keys = np.concatenate([np.zeros(1, np.uint64), codec.vocabularies[field.name], np.zeros(1, np.uint64)]).view(np.int64)
            self.register_buffer(f"keys{self.fields.index(field)}", torch.from_numpy(keys))
        return UnifiedTable({field.name: chunks for field in hashed}, rows=rows, dim=dim // chunks, seed=seed)

    def forward(self, codes: Mapping[str, Tensor], *, hidden: Tensor | None = None, drop: float = 0.0) -> Tensor:
        """float [n, width].

        codes: one row per row of the result. hidden: bool [n, fields] or [fields], values to be replaced by the default. drop: in
        training, the probability with which every single value of a bag is left out.
        """
        return torch.cat([self.vector(number, codes, hidden=hidden, drop=drop) for number in range(len(self.fields))], 1)

    def vector(self, number: int, codes: Mapping[str, Tensor], *, hidden: Tensor | None = None, drop: float = 0.0) -> Tensor:
        """float [n, width of field `number`]."""
        field, own = self.fields[number], codes[self.fields[number].name]
        absent = torch.isnan(own) if field.kind == "number" else (own[:, 0] if field.is_bag else own) == DEFAULT
        if field.is_bag:
            if drop and self.training:
                own = own.masked_fill(torch.rand(own.shape, device=own.device) < drop, field.padding)
                absent = absent | (own == field.padding).all(1)
            own = own.masked_fill(absent[:, None], field.padding)
        if field.kind == "number":
            out = self.tables[number](torch.nan_to_num(own)[:, None])
        elif self.shared is not None:
            out = self.shared.embed(field.name, self.get_buffer(f"keys{number}")[own])
        else:
            out = self.tables[number](own)
        if hidden is not None:
            absent = absent | (hidden[..., number] if hidden.dim() == 2 else hidden[number])
        return torch.where(absent[:, None], self.defaults[number], out)


def tensors(codes: Mapping[str, np.ndarray], device: str = "cpu") -> dict[str, Tensor]:
    """Codes as tensors."""
    return {name: torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device) for name, array in codes.items()}
