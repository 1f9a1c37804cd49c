"""States as they are encrypted: safetensors, deflated. Half of a small state is its header, which is nearly the same for everybody."""

from __future__ import annotations

import zlib

from sartor.errors import CorruptFile
from sartor.method import State

_PLAIN, _DEFLATED = b"\0", b"\1"
_WORTH = 2**16
"""Bytes up to which deflating costs less than a tenth of a millisecond per 2 KB and saves pages; larger arrays are kept as they are."""
_COMMON = (
    b'"float16","dtype":"BOOL","U8","F16","I64","items":{"dtype":"I32","shape":[,"data_offsets":[0,]},"vector":{"dtype":"F32","shape":[64],'
    b'"data_offsets":[0,256]}}{"__metadata__":{"sartor":"{\\"method\\": \\"\\", \\"fingerprint\\": \\"0123456789abcdef\\", \\"version\\": 1, '
    b'\\"examples\\": 1, \\"updated\\": 179, \\"notes\\": {\\"unknown\\": 0}}"},"'
)
"""What deflate may refer back to. Part of the format: a change needs another first byte."""


def pack(state: State) -> bytes:
    """A state as bytes."""
    data = state.to_bytes()
    if len(data) > _WORTH:
        return _PLAIN + data
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, _COMMON)
    small = deflate.compress(data) + deflate.flush()
    return _DEFLATED + small if len(small) < len(data) else _PLAIN + data


def unpack(data: bytes) -> State:
    """The reverse of `pack`; raises `CorruptFile`."""
    if data[:1] == _PLAIN:
        return State.from_bytes(data[1:])
    if data[:1] != _DEFLATED:
        raise CorruptFile("a stored state is in no form that is known here", fix="update sartor")
    try:
        return State.from_bytes(zlib.decompressobj(-15, _COMMON).decompress(data[1:], _WORTH))
    except zlib.error as cause:
        raise CorruptFile("a stored state cannot be inflated", fix="adapt the person again") from cause
