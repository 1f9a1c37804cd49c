"""Compiled loops over ranges of rows, on several threads.

Kernels are `numba.njit(nogil=True)` functions `kernel(start, stop, *arguments)` that write only to their own rows, so results do not depend
on how many threads there are. Plain threads rather than numba's parallel loops: they compile several times faster, hand out work as
threads become free, and may be used from many threads of a server at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Lock
from typing import Any

import numba
import numpy as np

_pools: dict[int, ThreadPoolExecutor] = {}
# A forked child has none of its parent's threads.
os.register_at_fork(after_in_child=_pools.clear)


_limit: ContextVar[int | None] = ContextVar("sartor_threads", default=None)


def threads() -> int:
    """How many threads to use: NUMBA_NUM_THREADS, by default all processors this process may use, or what `limit` says."""
    return _limit.get() or int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


@contextmanager
def limit(count: int) -> Iterator[None]:
    """While inside, so many threads at most (BLAS has its own)."""
    token = _limit.set(count)
    try:
        yield
    finally:
        _limit.reset(token)


@contextmanager
def blas_alone() -> Iterator[None]:
    """While inside, BLAS stays in the thread that calls it.

    Its own threads wait for more work by spinning, for tens of milliseconds after every product: on the processors that ours need.
    """
    global _depth, _limiter
    with _lock:
        if not _depth:
            _limiter = _owned(lambda: _blas().limit(limits=1, user_api="blas"))
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                _owned(_limiter.restore_original_limits)


_lock = Lock()
_depth = 0
_limiter: Any = None


def _owned(change: Callable[[], Any]) -> Any:
    """Change limits from whichever thread this is.

    threadpoolctl 3.8 obeys one thread alone, the first that set a limit, and silently ignores all others as long as that one lives. We count
    who wants limits under a lock of our own, and a server's threads come and go: any of them may.
    """
    from threadpoolctl import OpenBLASController

    free = getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)
    free(force=True)
    try:
        return change()
    finally:
        free(force=True)


@cache
def _blas() -> Any:
    import scipy.linalg  # noqa: F401  brings its own BLAS, which must be there to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def even(costs: np.ndarray, parts: int) -> np.ndarray:
    """int64 bounds that cut rows into at most `parts` consecutive ranges of about equal cost."""
    total = np.cumsum(costs)
    if not total.size or not total[-1]:
        return np.array([0, costs.size], np.int64)
    inner = np.searchsorted(total, total[-1] * np.arange(1, parts) / parts)
    return np.unique(np.concatenate([[0], inner, [costs.size]])).astype(np.int64)


def over_rows(kernel: Callable[..., None], bounds: np.ndarray, *arguments: Any) -> None:
    """Run `kernel(start, stop, *arguments)` for every range of rows."""
    ranges = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    count = min(threads(), len(ranges))
    if count < 2:
        for start, stop in ranges:
            kernel(start, stop, *arguments)
        return
    if count not in _pools:
        _pools[count] = ThreadPoolExecutor(count, thread_name_prefix="sartor")
    for future in [_pools[count].submit(kernel, start, stop, *arguments) for start, stop in ranges]:
        future.result()
