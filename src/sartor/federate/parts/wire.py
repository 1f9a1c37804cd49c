"""What travels between a device and the server: named arrays as safetensors, so that bytes are counted on what is really sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from sartor import _storage
from sartor.errors import StateMismatch

Message = dict[str, Tensor]
"""Named tensors of k clients at once, each [k, ...]; one client's message is one row of each."""


def encode(message: Mapping[str, Tensor | np.ndarray]) -> bytes:
    """One client's message as bytes."""
    return _storage.to_bytes({name: np.asarray(one) for name, one in message.items()}, {})


def decode(data: bytes) -> dict[str, np.ndarray]:
    """The reverse; raises `CorruptFile`."""
    return _storage.from_bytes(data)[0]


def row(message: Message, number: int) -> dict[str, Tensor]:
    """One client's message."""
    return {name: one[number] for name, one in message.items()}


def size(message: Message) -> int:
    """Bytes of one client's message; 0 when nothing is sent. All clients' are alike: they depend on names and shapes alone."""
    return len(encode(row(message, 0))) if message else 0


def stack(rows: Sequence[Message], ragged: Sequence[str] = ()) -> Message:
    """Messages of one client each as one of all; shorter ones of the names in `ragged` (one row per sample) are filled with zeros."""
    import torch

    out = {}
    for name in rows[0]:
        parts = [one[name][0] for one in rows]
        if name in ragged and len({one.shape[1:] for one in parts}) == 1:
            out[name] = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
        elif len({one.shape for one in parts}) > 1:
            raise StateMismatch(f"replies' {name} are {sorted({tuple(one.shape) for one in parts})}", fix="let every client run the same network")
        else:
            out[name] = torch.stack(parts)
    return out


def pack_bits(mask: Tensor) -> Tensor:
    """bool [k, n] -> uint8 [k, ceil(n / 8)]."""
    import torch

    return torch.from_numpy(np.packbits(mask.numpy(), axis=1))


def unpack_bits(bits: Tensor, count: int) -> Tensor:
    """The reverse of `pack_bits`: bool [k, count]."""
    import torch

    return torch.from_numpy(np.unpackbits(bits.numpy(), axis=1, count=count).astype(bool))
