"""Vectors as codes of 8 or 4 bits, each with a step and a zero of its own, and products of them with a query in whole numbers.

    codes, facts = encode(vectors - mean)                 # int8 [n, dim], float32 [n, 2]: vector = step * code + offset
    codes, facts = encode(vectors - mean, bits=4)         # uint8 [n, dim / 2]: byte j holds the numbers j (its low half) and j + dim / 2
    whole, given = quantize(queries)                      # int16 [q, dim], float32 [q, 2]: query = step * whole, and the sum of its coordinates

A query has 16 bits: that costs nothing, because a processor multiplies 8-bit codes as 16-bit numbers anyway.

Source: locally-adaptive vector quantization, Aguerrebere et al., Similarity Search in the Blink of an Eye with Compressed Indices, VLDB 2023.
"""

from __future__ import annotations

from typing import Any, Literal

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from sartor.retrieve.exact import offer

LINE, AHEAD = 64, 8
"""Bytes that memory gives at once, and how many vectors ahead of the one that is compared are asked for."""
NOTHING = np.float32(1e-30)
"""Coordinates below this are coded as zero: a 256th of their step would be no number of 32 bits any more."""
SHRINKS = (1.0, 0.94, 0.88, 0.82)
"""Parts of a vector's range that 16 levels are tried on: fewer levels lie where there is hardly a coordinate."""


def encode(vectors: np.ndarray, bits: Literal[4, 8] = 8) -> tuple[np.ndarray, np.ndarray]:
    """Codes, int8 [n, dim] or uint8 [n, dim / 2], and facts float32 [n, 2], the step and the offset of each vector.

    The offset is a whole number of steps, so that a coded vector is itself a query: see `as_query`. With 4 bits, `dim` must be even.
    """
    if bits == 4:
        return _encode_4(vectors)
    codes, facts = np.empty(vectors.shape, np.int8), np.empty((len(vectors), 2), np.float32)
    for at in range(0, len(vectors), 4096):
        part = vectors[at : at + 4096]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        step = np.where(high - low > NOTHING, (high - low) / np.float32(255), np.float32(1))
        zero = np.round(low / step) + 128
        codes[at : at + 4096] = np.clip(np.round(part / step[:, None]) - zero[:, None], -128, 127)
        facts[at : at + 4096] = np.stack([step, step * zero], 1)
    return codes, facts


def _encode_4(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the ranges that are tried, each vector gets the one with the least error, and then the step that fits its codes best."""
    half = vectors.shape[1] // 2
    packed, facts = np.empty((len(vectors), half), np.uint8), np.empty((len(vectors), 2), np.float32)
    for at in range(0, len(vectors), 4096):
        part = vectors[at : at + 4096]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        least, codes = np.full(len(part), np.inf, np.float32), np.empty(part.shape, np.uint8)
        for shrink in SHRINKS:
            step = np.where(high - low > NOTHING, np.float32(shrink / 15) * (high - low), np.float32(1))
            zero = np.round(np.float32(shrink) * low / step)
            tried = np.clip(np.round(part / step[:, None]) - zero[:, None], 0, 15)
            whole = (tried + zero[:, None]) * step[:, None]
            both, own = np.einsum("nd,nd->n", part, whole), np.einsum("nd,nd->n", whole, whole)
            fit = np.where((both > 0) & (own > 0), both / np.where(own > 0, own, 1), 1)
            error = fit * fit * own - 2 * fit * both
            better = error < least
            least[better], codes[better] = error[better], tried[better]
            facts[at : at + 4096][better] = np.stack([step * fit, step * fit * zero], 1)[better]
        packed[at : at + 4096] = codes[:, :half] | (codes[:, half:] << 4)
    return packed, facts


def unpacked(codes: np.ndarray) -> np.ndarray:
    """The whole numbers of codes of either kind, [n, dim]."""
    return np.concatenate([codes & 15, codes >> 4], 1) if codes.dtype == np.uint8 else codes


def remainder(vectors: np.ndarray, codes: np.ndarray, facts: np.ndarray) -> np.ndarray:
    """What `encode` left over, int8 [n, dim]: in steps of a 256th."""
    fine = facts[:, :1] / np.float32(256)
    return np.clip(np.round((vectors - decode(codes, facts)) / fine), -128, 127).astype(np.int8)


def decode(codes: np.ndarray, facts: np.ndarray) -> np.ndarray:
    """float32 [n, dim]: what `encode` was given, but for half a step."""
    return np.asarray(unpacked(codes) * facts[:, :1] + facts[:, 1:])


def quantize(queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Queries as whole numbers int16 [q, dim], as large as products with codes can be summed in 32 bits; float32 [q, 2]: step and sum."""
    size = np.abs(queries)
    most = np.maximum(size.max(1), np.float32(1e-30))
    largest = np.minimum(32_767, (2**31 - 1) / 128 / np.maximum(size.sum(1, dtype=np.float64) / most + queries.shape[1] / 2 / 32_767, 1) - 1)
    step = (most / largest).astype(np.float32)
    whole = np.round(queries / step[:, None]).astype(np.int16)
    return whole, np.stack([step, queries.sum(1)], 1).astype(np.float32)


def _prefetch(typing: Any, array: Any, row: Any) -> Any:
    """Ask for the memory of one row of a two-dimensional array, without waiting for it."""

    def make(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, given[0])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        stride = cgutils.unpack_tuple(builder, view.strides)[0]
        start = builder.gep(builder.bitcast(view.data, byte), [builder.mul(given[1], stride)])
        ask = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0")
        with cgutils.for_range(builder, builder.sdiv(builder.add(stride, stride.type(LINE - 1)), stride.type(LINE))) as loop:
            builder.call(ask, [builder.gep(start, [builder.mul(loop.index, stride.type(LINE))]), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), make


prefetch: Any = intrinsic(_prefetch)


def product(whole: np.ndarray, codes: np.ndarray, row: int) -> int:
    """Of a query and a code, int32. Rows are given by number: a view of one would cost as much as the product."""
    return int(unpacked(codes[row : row + 1])[0].astype(np.int64) @ whole)


@overload(product, inline="always")
def _product(whole, codes, row):  # type: ignore[no-untyped-def]
    def of_8(whole, codes, row):  # type: ignore[no-untyped-def]
        total = np.int32(0)
        for at in range(whole.size):
            total = np.int32(total + np.int32(whole[at]) * np.int32(codes[row, at]))
        return total

    def of_4(whole, codes, row):  # type: ignore[no-untyped-def]
        half, total = whole.size >> 1, np.int32(0)
        for at in range(half):
            two = codes[row, at]
            low, high = np.int32(two & np.uint8(15)), np.int32(two >> np.uint8(4))
            total = np.int32(total + np.int32(whole[at]) * low + np.int32(whole[half + at]) * high)
        return total

    return of_4 if codes.dtype == types.uint8 else of_8


def dims(codes: np.ndarray) -> int:
    """How many numbers a code has."""
    return unpacked(codes[:0]).shape[1]


@overload(dims)
def _dims(codes):  # type: ignore[no-untyped-def]
    return (lambda codes: 2 * codes.shape[1]) if codes.dtype == types.uint8 else (lambda codes: codes.shape[1])


def number(codes: np.ndarray, row: int, at: int) -> int:
    """One of the numbers of a code."""
    return int(unpacked(codes[row : row + 1])[0, at])


@overload(number)
def _number(codes, row, at):  # type: ignore[no-untyped-def]
    def of_4(codes, row, at):  # type: ignore[no-untyped-def]
        half = codes.shape[1]
        return np.int16(codes[row, at] & np.uint8(15)) if at < half else np.int16(codes[row, at - half] >> np.uint8(4))

    return of_4 if codes.dtype == types.uint8 else lambda codes, row, at: np.int16(codes[row, at])


@numba.njit(nogil=True, cache=True)
def inner(whole, step, total, codes, facts, row):  # type: ignore[no-untyped-def]
    """Inner product of a query and a coded vector, float32."""
    return step * facts[row, 0] * np.float32(product(whole, codes, row)) + facts[row, 1] * total


@numba.njit(nogil=True, cache=True)
def best_of(rows, count, whole, step, total, codes, facts, rest, biases, found, scores):  # type: ignore[no-untyped-def]
    """The best of `count` rows, sorted into `found` and `scores`; returns how many. `rest` is of `remainder`, or empty."""
    filled, k = 0, found.size
    for at in range(min(AHEAD, count)):
        prefetch(codes, rows[at])
    for at in range(count):
        if at + AHEAD < count:
            prefetch(codes, rows[at + AHEAD])
            if rest.size:
                prefetch(rest, rows[at + AHEAD])
        row = rows[at]
        score = inner(whole, step, total, codes, facts, row)
        if rest.size:
            score += step * facts[row, 0] * np.float32(product(whole, rest, row)) / np.float32(256)
        if biases.size:
            score += biases[row]
        if filled < k or score > scores[k - 1]:
            filled = offer(row, score, filled, found, scores)
    return filled
