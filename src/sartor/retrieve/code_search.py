"""Search by binary codes that were learned elsewhere: by bits that differ, and the nearest again by the cosine of their vectors."""

from __future__ import annotations

import numpy as np

from sartor.errors import ConfigError
from sartor.parts.unit import unit
from sartor.retrieve.binary import nearest_codes


def hamming(queries: np.ndarray, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k rows whose codes differ in the fewest bits, nearest first: rows int32 [q, k] and how many bits, int32 [q, k].

    queries, codes: uint8 [q, bytes], [n, bytes]. Raises `ConfigError` for other shapes or types, or k > n.
    """
    for one in (queries, codes):
        if one.ndim != 2 or one.dtype != np.uint8 or one.shape[1] != codes.shape[1]:
            raise ConfigError(f"codes {one.dtype}{list(one.shape)} with {codes.dtype}{list(codes.shape)}", fix="give uint8 codes of one length")
    if not 0 < k <= len(codes):
        raise ConfigError(f"k = {k} of {len(codes)} codes", fix="use 1 to as many as there are")
    return nearest_codes(_words(queries), _words(codes), k)


def hamming_then_cosine(
    queries: tuple[np.ndarray, np.ndarray], library: tuple[np.ndarray, np.ndarray], k: int = 10, *, candidates: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of the largest cosine among the `candidates` whose codes are nearest.

    queries, library: codes uint8 and vectors float of each. Returns rows int32 [q, k], best first, and their cosines, float32 [q, k].
    """
    if candidates < k:
        raise ConfigError(f"{candidates} candidates for k = {k}", fix="look at no fewer than are wanted")
    near = hamming(queries[0], library[0], min(candidates, len(library[0])))[0]
    units, own = unit(np.asarray(library[1], np.float32)), unit(np.asarray(queries[1], np.float32))
    cosines = np.einsum("qd,qcd->qc", own, units[near])
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(near, best, 1), np.take_along_axis(cosines, best, 1)


def _words(codes: np.ndarray) -> np.ndarray:
    padded = np.zeros((len(codes), -(-codes.shape[1] // 8) * 8), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view(np.uint64)
