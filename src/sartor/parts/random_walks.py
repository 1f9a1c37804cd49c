"""Random walks over a graph in compressed sparse rows: uniform or by weight, with restart, decay and without stepping straight back.

Compiled, on all threads. Every walk draws from a stream of its own, named by the seed and the walk's number.
"""

from __future__ import annotations

import numba
import numpy as np

from sartor.errors import ConfigError, UnknownId
from sartor.parts.threads import even, over_rows, threads

GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
_FIRST, _SECOND = np.uint64(0xBF58_476D_1CE4_E5B9), np.uint64(0x94D0_49BB_1331_11EB)
_A, _B, _C = np.uint64(30), np.uint64(27), np.uint64(31)
_BITS, _UNIT = np.uint64(11), 1.0 / (1 << 53)


def random_walks(
    indptr: np.ndarray, indices: np.ndarray, cumulative: np.ndarray, starts: np.ndarray, length: int, *, restart: float = 0.0,
    decay: float = 0.0, backtrack: bool = True, seed: int = 0, numbers: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """One walk from each start, int32 [walks, length + 1]; -1 after its end.

    indptr, indices: the rows. cumulative: float32, running share of each row's weight, 1 at its end; empty without weights. The other
    settings: as `sartor.retrieve.graph.walks.walks` has them. Raises `ConfigError` and `UnknownId`.
    """
    starts = np.asarray(starts, np.int64)
    check_walks(indptr.size - 1, starts, length, restart=restart, decay=decay)
    numbers = np.arange(starts.size) if numbers is None else np.asarray(numbers, np.int64)
    if numbers.shape != starts.shape:
        raise ConfigError(f"{numbers.size} numbers for {starts.size} starts", fix="give one number per walk")
    out = np.full((starts.size, length + 1), -1, np.int32)
    bounds = even(np.ones(starts.size), 8 * threads())
    over_rows(_walks, bounds, starts, numbers, indptr, indices, cumulative, restart, decay, backtrack, np.uint64(seed), out)
    return out


def check_walks(nodes: int, starts: np.ndarray, length: int, *, restart: float = 0.0, decay: float = 0.0) -> None:
    """Raise `ConfigError` for settings that are out of range, `UnknownId` for a start that is no node number."""
    if length < 0 or not 0 <= restart < 1 or not 0 <= decay < 1:
        raise ConfigError(f"length {length}, restart {restart:g}, decay {decay:g}", fix="use length >= 0 and probabilities in [0, 1)")
    if starts.size and not 0 <= starts.min() <= starts.max() < nodes:
        raise UnknownId("a start is no node number of this graph", id=int(starts.max()), fix=f"there are {nodes} nodes")


@numba.njit(nogil=True, cache=True, inline="always")
def mixed(x):  # type: ignore[no-untyped-def]
    """splitmix64's finaliser: one uint64 to another."""
    x = (x ^ (x >> _A)) * _FIRST
    x = (x ^ (x >> _B)) * _SECOND
    return x ^ (x >> _C)


@numba.njit(nogil=True, cache=True, inline="always")
def uniform(x):  # type: ignore[no-untyped-def]
    """A uint64 as a number in [0, 1)."""
    return np.float64(mixed(x) >> _BITS) * _UNIT


@numba.njit(nogil=True, cache=True)
def stream(seed, first, second):  # type: ignore[no-untyped-def]
    """Where the random numbers of one walk start, named by three numbers."""
    return mixed(mixed(mixed(seed + GOLDEN) + np.uint64(first) * GOLDEN) + np.uint64(second) * _FIRST)


@numba.njit(nogil=True, cache=True)
def step(node, draw, indptr, indices, cumulative):  # type: ignore[no-untyped-def]
    """The next node, for a draw in [0, 1); -1 where there is none."""
    start, stop = indptr[node], indptr[node + 1]
    if start == stop:
        return -1
    if cumulative.size == 0:
        return indices[start + int(draw * (stop - start))]
    # The first edge whose running share is above the draw; the last one's is 1.
    low, high = start, stop - 1
    while low < high:
        middle = (low + high) >> 1
        if cumulative[middle] > draw:
            high = middle
        else:
            low = middle + 1
    return indices[low]


@numba.njit(nogil=True, cache=True)
def _walks(first, last, starts, numbers, indptr, indices, cumulative, restart, decay, backtrack, seed, out):  # type: ignore[no-untyped-def]
    for walk in range(first, last):
        state = stream(seed, numbers[walk], 0)
        origin = starts[walk]
        node, before = origin, -1
        out[walk, 0] = origin
        for at in range(1, out.shape[1]):
            state += GOLDEN
            chance = uniform(state)
            if chance < decay:
                break
            # The same draw, stretched to what is left, decides on the restart.
            if chance < decay + (1 - decay) * restart:
                following = origin
                before = -1
            else:
                state += GOLDEN
                following = step(node, uniform(state), indptr, indices, cumulative)
                if following < 0:
                    break
                if not backtrack and following == before:
                    following = _other(node, before, state, indptr, indices, cumulative)
                before = node
            node = following
            out[walk, at] = node


@numba.njit(nogil=True, cache=True)
def _other(node, before, state, indptr, indices, cumulative):  # type: ignore[no-untyped-def]
    """A next node that is not `before`, drawn in proportion to the rest; `before` where it is the only one."""
    start, stop = indptr[node], indptr[node + 1]
    skip = start
    while indices[skip] != before:
        skip += 1
    if stop - start == 1:
        return before
    draw = uniform(state ^ GOLDEN)
    if cumulative.size == 0:
        at = start + int(draw * (stop - start - 1))
        return indices[at + (at >= skip)]
    low = cumulative[skip - 1] if skip > start else np.float32(0.0)
    own = cumulative[skip] - low
    target = draw * (1.0 - own)
    if target >= low:
        target += own
    at = start
    while at < stop - 1 and cumulative[at] <= target:
        at += 1
    if at == skip:
        at = at + 1 if at < stop - 1 else at - 1
    return indices[at]
