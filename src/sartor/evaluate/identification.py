"""How well somebody is found again: ranks with the camera rule that is asked for, verification at a false-accept rate, and people nobody knows.

    found = identification(scores, query, gallery, query_camera=..., gallery_camera=..., junk="camera")
    found.cmc(1), found.mean_ap, found.mean_inp, found.excluded
    verified = verification(genuine, impostor)
    verified.eer, verified.tar(0.01)
    open_set(known, truth, unknown).rate(0.01)

Scores are similarities, higher is more alike. A wrong one with the same score as a right one stands before it, so that nothing is won by ties.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData

Junk = Literal["camera", "none"]
"""What of the gallery does not count for a query: "camera", pictures of the same person by the same camera (Market-1501, most of the
field); "none", everything counts (LaST)."""
_CELLS = 8_000_000


@dataclass(frozen=True, eq=False)
class Identified:
    """Ranks of all queries."""

    average_precision: np.ndarray
    """float64 [counted queries], over all ranks."""
    inverse_penalty: np.ndarray
    """float64 [counted queries]: positives / rank of the last one (Ye et al., TPAMI 2021)."""
    first: np.ndarray
    """int64 [counted queries], rank of the best positive, from 1."""
    rows: np.ndarray
    """int64 [counted queries], which queries these are."""
    excluded: int
    """Queries without a positive in the gallery, after the junk rule: they count nowhere else."""
    junk: Junk
    """The rule that was used."""

    @property
    def mean_ap(self) -> float:
        """Mean average precision."""
        return float(self.average_precision.mean())

    @property
    def mean_inp(self) -> float:
        """Mean inverse negative penalty."""
        return float(self.inverse_penalty.mean())

    def cmc(self, k: int) -> float:
        """Share of queries with a positive among the first k."""
        return float((self.first <= k).mean())

    def to_dict(self) -> dict[str, Any]:
        """What a report shows."""
        return {
            **{f"rank-{k}": self.cmc(k) for k in (1, 5, 10)}, "mAP": self.mean_ap, "mINP": self.mean_inp, "queries": int(self.rows.size),
            "excluded": self.excluded, "junk": self.junk,
        }  # fmt: skip


def identification(
    scores: np.ndarray, query: np.ndarray, gallery: np.ndarray, *, query_camera: np.ndarray | None = None, gallery_camera: np.ndarray | None = None,
    junk: Junk = "camera", itself: np.ndarray | None = None,
) -> Identified:  # fmt: skip
    """Rank the gallery for every query.

    Parameters
    ----------
    scores: float [queries, gallery].
    query, gallery: who is on each picture, [queries] and [gallery]; numbers or texts.
    query_camera, gallery_camera: which camera took it; needed for the junk rule "camera".
    itself: int [queries], the row of the gallery that is the query's own picture, which never counts; -1 where there is none.

    Raises `ConfigError` for lengths that do not fit and for a rule without its cameras, `BadValue` for scores that are not numbers, `EmptyData`
    where no query has a positive.
    """
    scores = np.asarray(scores)
    if scores.shape != (len(query), len(gallery)):
        raise ConfigError(f"scores of shape {list(scores.shape)} for {len(query)} queries and {len(gallery)} others", fix="give [queries, gallery]")
    return _gathered([scores], query, gallery, query_camera, gallery_camera, junk, itself)


def identification_by_vectors(
    queries: np.ndarray, vectors: np.ndarray, query: np.ndarray, gallery: np.ndarray, *, query_camera: np.ndarray | None = None,
    gallery_camera: np.ndarray | None = None, junk: Junk = "camera", itself: np.ndarray | None = None,
) -> Identified:  # fmt: skip
    """`identification` by the cosine of vectors [queries, d] and [gallery, d], without ever holding all scores."""
    if queries.shape[0] != len(query) or vectors.shape[0] != len(gallery):
        raise ConfigError(f"{queries.shape[0]} and {vectors.shape[0]} vectors for {len(query)} queries and {len(gallery)} others", fix="one each")
    a, b = unit(queries), unit(vectors)
    step = max(1, _CELLS // max(1, len(b)))
    blocks = (a[at : at + step] @ b.T for at in range(0, len(a), step))
    return _gathered(blocks, query, gallery, query_camera, gallery_camera, junk, itself)


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32 vectors of length 1; one of length 0 stays so. Raises `BadValue` where one is not finite."""
    vectors = np.asarray(vectors, np.float32)
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(-1))[0])
        raise BadValue("a vector has values that are no numbers", fix="look at its picture", row=row)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _gathered(blocks: Any, query: Any, gallery: Any, query_camera: Any, gallery_camera: Any, junk: Junk, itself: Any) -> Identified:
    if junk not in ("camera", "none"):
        raise ConfigError(f"there is no junk rule '{junk}'", fix="use camera or none")
    if junk == "camera" and (query_camera is None or gallery_camera is None):
        raise ConfigError("the rule that leaves out the same camera needs to know the cameras", fix="give them, or junk='none'")
    who, others = _numbered(query, gallery)
    at, theirs = _numbered(query_camera, gallery_camera) if junk == "camera" else (np.full(who.size, -1), np.full(others.size, -2))
    if at.size != who.size or theirs.size != others.size:
        raise ConfigError(f"{at.size} and {theirs.size} cameras for {who.size} queries and {others.size} others", fix="one for each picture")
    own = np.full(who.size, -1) if itself is None else np.asarray(itself, np.int64)
    parts = list(_ranked(iter(blocks), who, others, at.astype(np.int64), theirs.astype(np.int64), own))
    precision, penalty, first = (np.concatenate(part) for part in zip(*parts, strict=True))
    rows = np.flatnonzero(first > 0)
    if not rows.size:
        raise EmptyData("no query has anybody to be found", fix="put other pictures of the same people into the gallery")
    return Identified(precision[rows], penalty[rows], first[rows], rows, int(who.size - rows.size), junk)


def _numbered(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """Names as numbers, the same for both."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind != b.dtype.kind and not {a.dtype.kind, b.dtype.kind} <= set("iub"):
        raise ConfigError(f"names of kinds {a.dtype} and {b.dtype}", fix="give numbers for both, or texts for both")
    _, numbers = np.unique(np.concatenate([a, b]), return_inverse=True)
    return numbers[: a.size].astype(np.int64), numbers[a.size :].astype(np.int64)


def _ranked(
    blocks: Iterator[np.ndarray], who: np.ndarray, others: np.ndarray, at: np.ndarray, theirs: np.ndarray, own: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    start = 0
    for block in blocks:
        stop = start + len(block)
        if not np.isfinite(block).all():
            row, column = (int(one[0]) for one in np.nonzero(~np.isfinite(block)))
            raise BadValue("a score is no number", fix="look at the vectors of these two", query=start + row, gallery=column)
        out = np.zeros(len(block)), np.zeros(len(block)), np.zeros(len(block), np.int64)
        _rank(np.ascontiguousarray(block, np.float64), who[start:stop], others, at[start:stop], theirs, own[start:stop], *out)
        yield out
        start = stop


@numba.njit(cache=True, nogil=True)
def _sort(values):  # type: ignore[no-untyped-def]
    """Shell's sort in place: positives are few, and numba's own sort takes long to compile."""
    gap = values.size // 2
    while gap > 0:
        for at in range(gap, values.size):
            value, place = values[at], at
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value
        gap //= 2


@numba.njit(cache=True, nogil=True)
def _rank(scores, who, others, at, theirs, own, precision, penalty, first):  # type: ignore[no-untyped-def]
    right = np.empty(others.size, scores.dtype)
    for q in range(who.size):
        count = 0
        for g in range(others.size):
            if others[g] == who[q] and theirs[g] != at[q] and g != own[q]:
                right[count] = -scores[q, g]
                count += 1
        if not count:
            continue
        best = right[:count]
        _sort(best)
        before = np.zeros(count + 1, np.int64)
        for g in range(others.size):
            if others[g] != who[q] and g != own[q]:
                # Where the positives begin that this one stands before, ties included.
                low, high, value = 0, count, -scores[q, g]
                while low < high:
                    middle = (low + high) // 2
                    if best[middle] >= value:
                        high = middle
                    else:
                        low = middle + 1
                before[low] += 1
        wrong, total, rank = 0, 0.0, 0
        for i in range(count):
            wrong += before[i]
            rank = i + 1 + wrong
            if i == 0:
                first[q] = rank
            total += (i + 1) / rank
        precision[q], penalty[q] = total / count, count / rank


@dataclass(frozen=True, eq=False)
class Verified:
    """Error rates of "is this the same one?" at every threshold; a pair is accepted when its score is at least the threshold."""

    thresholds: np.ndarray
    """float [t], falling."""
    false_accept: np.ndarray
    """float64 [t], share of impostors accepted."""
    true_accept: np.ndarray
    """float64 [t], share of genuine pairs accepted."""

    @property
    def eer(self) -> float:
        """Where false accepts and false rejects are equal, straight between the two thresholds around it."""
        gap = self.false_accept - (1 - self.true_accept)
        after = int(np.argmax(gap >= 0))
        if after == 0:
            return float(self.false_accept[0])
        share = -gap[after - 1] / (gap[after] - gap[after - 1])
        return float(self.false_accept[after - 1] + share * (self.false_accept[after] - self.false_accept[after - 1]))

    def tar(self, far: float) -> float:
        """Share of genuine pairs accepted at the lowest threshold that accepts at most `far` of the impostors."""
        return float(self.true_accept[self._at(far)])

    def threshold(self, far: float) -> float:
        """That threshold."""
        return float(self.thresholds[self._at(far)])

    def _at(self, far: float) -> int:
        if not 0 <= far <= 1:
            raise ConfigError(f"a false-accept rate of {far}", fix="give a share from 0 to 1")
        return int(np.flatnonzero(self.false_accept <= far)[-1])


def verification(genuine: np.ndarray, impostor: np.ndarray) -> Verified:
    """From the scores of pairs of one person, and of pairs of two; raises `EmptyData` and `BadValue`."""
    genuine, impostor = np.sort(np.ravel(genuine).astype(np.float64)), np.sort(np.ravel(impostor).astype(np.float64))
    if not genuine.size or not impostor.size:
        raise EmptyData(f"{genuine.size} genuine and {impostor.size} impostor pairs", fix="give some of both")
    if not (np.isfinite(genuine).all() and np.isfinite(impostor).all()):
        raise BadValue("a score is no number", fix="look at the vectors of that pair")
    # Above everything, nobody is accepted.
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([genuine, impostor]))[::-1]])
    accepted = [(one.size - np.searchsorted(one, thresholds, side="left")) / one.size for one in (impostor, genuine)]
    return Verified(thresholds, *accepted)


@dataclass(frozen=True, eq=False)
class OpenSet:
    """Known people to be named, unknown ones to be turned away."""

    known: np.ndarray
    """float64 [known probes], best score; -inf where the best is not the right one."""
    unknown: np.ndarray
    """float64 [unknown probes], best score, rising."""

    def rate(self, far: float) -> float:
        """Detection and identification rate: share of known probes that are named rightly at that threshold (Phillips et al., 2011)."""
        return float((self.known >= self.threshold(far)).mean())

    def threshold(self, far: float) -> float:
        """Just above the highest unknown score that must be turned away: known ones between it and the next unknown one are named."""
        turned = self.unknown.size - int(np.floor(far * self.unknown.size + 1e-9))
        return -np.inf if turned == 0 else float(np.nextafter(self.unknown[turned - 1], np.inf))


def open_set(known: np.ndarray, truth: np.ndarray, unknown: np.ndarray) -> OpenSet:
    """From scores float [known probes, people] whose right columns are `truth`, and float [unknown probes, people] of whom nobody is right."""
    known, unknown, truth = np.asarray(known, np.float64), np.asarray(unknown, np.float64), np.asarray(truth, np.int64)
    if not known.size or not unknown.size:
        raise EmptyData(f"{len(known)} known and {len(unknown)} unknown probes", fix="give some of both")
    if not (np.isfinite(known).all() and np.isfinite(unknown).all()):
        raise BadValue("a score is no number", fix="look at the vectors")
    own = known[np.arange(len(known)), truth]
    others = known.copy()
    others[np.arange(len(known)), truth] = -np.inf
    return OpenSet(np.where(own > others.max(1), own, -np.inf), np.sort(unknown.max(1)))


def identity_density(vectors: np.ndarray, people: np.ndarray) -> float:
    """ID2: mean squared distance of unit vectors [n, d] to the mean of their person's, averaged over people; lower is denser.

    Source: Yuan et al., From Poses to Identity, CVPR 2025.
    """
    a = unit(vectors).astype(np.float64)
    names, number = np.unique(people, return_inverse=True)
    counts = np.bincount(number)
    means = np.zeros((names.size, a.shape[1]))
    np.add.at(means, number, a)
    means /= counts[:, None]
    apart = ((a - means[number]) ** 2).sum(1)
    return float((np.bincount(number, apart) / counts).mean())
