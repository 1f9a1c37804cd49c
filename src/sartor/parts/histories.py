"""Histories of many people as flat arrays, cut and batched for sequence models without a loop over events or people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sartor.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Histories:
    """Who did what, oldest first: person p's events are `items[indptr[p]:indptr[p + 1]]`."""

    indptr: np.ndarray
    """int64 [people + 1]."""
    items: np.ndarray
    """int32 [events]."""
    times: np.ndarray | None = None
    """int64 [events], not decreasing inside a person; needed only to cut by time."""

    def __len__(self) -> int:
        return int(self.indptr.size - 1)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [people]."""
        return np.diff(self.indptr)

    def before(self, cut: int | np.ndarray) -> Histories:
        """Only events strictly earlier than the cut time, which is one for all or int64 [people]."""
        if self.times is None:
            raise ConfigError("these histories have no times to cut by", fix="give times")
        keep = self.times < np.repeat(np.broadcast_to(cut, len(self)), self.lengths)
        upto = np.concatenate([[0], np.cumsum(keep)])
        return Histories(upto[self.indptr].astype(np.int64), self.items[keep], self.times[keep])

    def newest(self, most: int) -> Histories:
        """Only the newest `most` events of each person."""
        if most < 1:
            raise ConfigError(f"a history of {most} events is none", fix="keep at least 1")
        lengths = np.minimum(self.lengths, most)
        flat = spans(self.indptr[1:] - lengths, lengths)
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Histories(indptr, self.items[flat], None if self.times is None else self.times[flat])

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Some people's histories one after another: items int32 [N] and lengths int64 [B]."""
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        return self.items[spans(self.indptr[rows], lengths)], lengths

    def next_items(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training examples: every event but the first is asked for from those before it.

        Returns inputs int32 [N], targets int32 [N] and the inputs' lengths int64 [B]; each person needs at least two events.
        """
        lengths = self.indptr[rows + 1] - self.indptr[rows] - 1
        flat = spans(self.indptr[rows], lengths)
        return self.items[flat], self.items[flat + 1], lengths

    def padded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Some people's histories as a rectangle: items int32 [B, L] with 0 after the last event, and mask bool [B, L], True for events."""
        items, lengths = self.take(rows)
        mask = np.arange(int(lengths.max(initial=0)))[None, :] < lengths[:, None]
        out = np.zeros(mask.shape, np.int32)
        out[mask] = items
        return out, mask

    def batches(self, batch_size: int, *, rng: np.random.Generator | None = None, at_least: int = 1, window: int = 1) -> Iterator[np.ndarray]:
        """Person numbers int64 [b] of one epoch, everybody with `at_least` events exactly once.

        Without `rng` the people come in order of length, for encoding. With it in random order: `window` batches at a time are sorted by
        length and dealt out in random order, so that a batch holds histories of similar length; `window=1` mixes freely. Inside a batch
        the shorter histories always come first.
        """
        if batch_size < 1 or window < 1:
            raise ConfigError(f"batch_size is {batch_size} and window {window}", fix="use at least 1")
        lengths = self.lengths
        rows = np.flatnonzero(lengths >= at_least)
        if rng is None:
            window = max(1, -(-rows.size // batch_size))
        else:
            rng.shuffle(rows)
        for start in range(0, rows.size, batch_size * window):
            group = rows[start : start + batch_size * window]
            group = group[np.argsort(lengths[group], kind="stable")]
            starts = np.arange(0, group.size, batch_size)
            for at in starts if rng is None else rng.permutation(starts):
                yield group[at : at + batch_size]


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers starts[i] ... starts[i] + lengths[i] - 1 of all i, one after another."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - (ends - lengths), lengths)
