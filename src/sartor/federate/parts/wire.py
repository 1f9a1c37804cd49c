"""What travels between a device and the server: named arrays as safetensors, so that bytes are counted on what is really sent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from sartor import _storage

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


def pack_bits(mask: Tensor) -> Tensor:
    """bool [k, n] -> uint8 [k, ceil(n / 8)]."""
    import torch

    return torch.from_numpy(np.packbits(mask.numpy(), axis=1))


def unpack_bits(bits: Tensor, count: int) -> Tensor:
    """The reverse of `pack_bits`: bool [k, count]."""
    import torch

    return torch.from_numpy(np.unpackbits(bits.numpy(), axis=1, count=count).astype(bool))
