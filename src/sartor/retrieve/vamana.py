"""A graph over coded vectors that a query walks towards its nearest: built by inserting, pruned so that few links lead far.

Links are int32 [n, degree], -1 behind the last. The walk keeps a window of the best so far and looks at the links of the best one not yet
looked at, until there is none. With a filter, it walks over everything and collects what is allowed.

Source: Subramanya et al., DiskANN: Fast Accurate Billion-point Nearest Neighbor Search on a Single Node, NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np

from sartor.retrieve.codes import best_of, decode, inner, prefetch
from sartor.retrieve.exact import offer

SLACK = 1.3
"""While it is built a vector may have so many times as many links as in the end: pruning is rarer."""
RELAX = np.float32(1.2)
"""Between rounds of pruning, as in the source."""


def build(codes: np.ndarray, facts: np.ndarray, among: np.ndarray, degree: int, window: int, alpha: float, seed: int) -> tuple[np.ndarray, int]:
    """Links int32 [n, degree] of a graph over some rows, and where walks start: the one of them nearest to the mean."""
    half = halves(codes, facts)
    mean = sum((part.sum(0, dtype=np.float64) for part in _decoded(codes, facts)), np.zeros(codes.shape[1])).astype(np.float32) / len(codes)
    central = np.concatenate([part @ mean for part in _decoded(codes, facts)]) - half
    entry = int(among[central[among].argmax()])
    order = np.random.default_rng(seed).permutation(among).astype(np.int32)
    links = np.full((len(codes), max(degree + 1, int(degree * SLACK))), -1, np.int32)
    insert(order[order != entry], codes, facts, half, links, entry, degree, window, np.float32(alpha))
    trim(codes, facts, half, links, degree, np.float32(alpha))
    return np.ascontiguousarray(links[:, :degree]), entry


def halves(codes: np.ndarray, facts: np.ndarray) -> np.ndarray:
    """float32 [n]: half of each coded vector's squared length."""
    return np.concatenate([np.einsum("nd,nd->n", part, part) / 2 for part in _decoded(codes, facts)]).astype(np.float32)


def _decoded(codes: np.ndarray, facts: np.ndarray) -> Iterator[np.ndarray]:
    for at in range(0, len(codes), 4096):
        yield decode(codes[at : at + 4096], facts[at : at + 4096])


@numba.njit(nogil=True, cache=True)
def as_query(codes, facts, row, whole):  # type: ignore[no-untyped-def]
    """A coded vector as a query, exactly; returns the sum of its coordinates."""
    zero = np.int16(round(facts[row, 1] / facts[row, 0]))
    total = np.int32(0)
    for at in range(whole.size):
        whole[at] = np.int16(codes[row, at]) + zero
        total = np.int32(total + whole[at])
    return facts[row, 0] * np.float32(total)


@numba.njit(nogil=True, cache=True)
def _meet(link, seen, fresh, new):  # type: ignore[no-untyped-def]
    """Note a row that is met; 1 when for the first time. Without a branch, as nothing is harder to predict."""
    fresh[new] = link
    word, bit = link >> 6, np.uint64(link & 63)
    first = (~seen[word] >> bit) & np.uint64(1)
    seen[word] |= np.uint64(1) << bit
    return np.int64(first)


@numba.njit(nogil=True, cache=True)
def walk(  # type: ignore[no-untyped-def]
    whole, step, total, codes, facts, biases, links, entry, window, rows, scores, fresh, seen, trail
):  # fmt: skip
    """Fill `rows` and `scores` with the best `window` that the walk meets. `rows` holds row << 1, plus 1 while its links are not looked at.

    `seen` is cleared here. `trail`, when it has room, gets every row whose links were looked at. Returns how many rows there are, how many
    vectors were compared, and how long the trail is.
    """
    seen[:] = 0
    seen[entry >> 6] |= np.uint64(1) << np.uint64(entry & 63)
    first = inner(whole, step, total, codes, facts, entry)
    if biases.size:
        first += biases[entry]
    rows[0], scores[0] = (entry << 1) | 1, first
    count, at, compared, steps = 1, 0, 1, 0
    while at < count:
        if not rows[at] & 1:
            at += 1
            continue
        row = rows[at] >> 1
        rows[at] -= 1
        if steps < trail.size:
            trail[steps] = row
        steps += 1
        new = 0
        for number in range(links.shape[1]):
            link = links[row, number]
            if link < 0:
                break
            new += _meet(link, seen, fresh, new)
        for number in range(new):
            prefetch(codes, fresh[number])
            prefetch(facts, fresh[number])
        compared += new
        at += 1
        for number in range(new):
            link = fresh[number]
            score = inner(whole, step, total, codes, facts, link)
            if biases.size:
                score += biases[link]
            if count == window and score <= scores[count - 1]:
                continue
            place = count if count < window else count - 1
            if count < window:
                count += 1
            while place > 0 and scores[place - 1] < score:
                rows[place], scores[place] = rows[place - 1], scores[place - 1]
                place -= 1
            rows[place], scores[place] = (link << 1) | 1, score
            if place < at:
                at = place
        if at < count:
            prefetch(links, rows[at] >> 1)
    return count, compared, min(steps, trail.size)


@numba.njit(nogil=True, cache=True)
def _push(score, row, keys, heap, size):  # type: ignore[no-untyped-def]
    at = size
    while at > 0:
        up = (at - 1) >> 1
        if keys[up] >= score:
            break
        keys[at], heap[at] = keys[up], heap[up]
        at = up
    keys[at], heap[at] = score, row
    return size + 1


@numba.njit(nogil=True, cache=True)
def _pop(keys, heap, size):  # type: ignore[no-untyped-def]
    """Take the largest away; returns how many are left."""
    size -= 1
    score, row = keys[size], heap[size]
    at = 0
    while True:
        down = 2 * at + 1
        if down >= size:
            break
        if down + 1 < size and keys[down + 1] > keys[down]:
            down += 1
        if keys[down] <= score:
            break
        keys[at], heap[at] = keys[down], heap[down]
        at = down
    keys[at], heap[at] = score, row
    return size


@numba.njit(nogil=True, cache=True)
def walk_allowed(  # type: ignore[no-untyped-def]
    whole, step, total, codes, facts, biases, links, entry, window, words, most, rows, scores, fresh, seen, keys, heap
):  # fmt: skip
    """The best `window` allowed rows, walking over all; `rows` holds rows. Ends when what is left to look at is worse than all of them.

    Returns how many there are and how many vectors were compared; -1 when `most` would be exceeded: the filter goes against the query.
    """
    seen[:] = 0
    count, size, compared = 0, 0, 0
    fresh[0], new = entry, 1
    seen[entry >> 6] |= np.uint64(1) << np.uint64(entry & 63)
    while True:
        for number in range(new):
            link = fresh[number]
            score = inner(whole, step, total, codes, facts, link)
            if biases.size:
                score += biases[link]
            if count == window and score <= scores[count - 1]:
                continue
            size = _push(score, link, keys, heap, size)
            if (words[link >> 6] >> np.uint64(link & 63)) & np.uint64(1):
                count = offer(link, score, count, rows, scores)
        compared += new
        if not size or (count == window and keys[0] < scores[count - 1]):
            return count, compared
        if compared > most:
            return -1, compared
        row = heap[0]
        size = _pop(keys, heap, size)
        if size:
            prefetch(links, heap[0])
        new = 0
        for number in range(links.shape[1]):
            link = links[row, number]
            if link < 0:
                break
            new += _meet(link, seen, fresh, new)
        for number in range(new):
            prefetch(codes, fresh[number])
            prefetch(facts, fresh[number])


@numba.njit(nogil=True, cache=True)
def prune(pool, far, count, codes, facts, half, degree, alpha, factor, whole, kept):  # type: ignore[no-untyped-def]
    """Choose at most `degree` of `count` rows in `pool`, sorted by squared distance `far`, into `kept`; returns how many.

    One is left out when a chosen one is nearer to it than it is to the vector whose links these are, by the factor `alpha`.
    """
    chosen = 0
    for at in range(count):
        factor[at] = np.float32(0)
    limit = np.float32(1)
    while chosen < degree:
        for at in range(count):
            if chosen == degree:
                break
            if factor[at] > limit:
                continue
            factor[at] = np.inf
            row = pool[at]
            kept[chosen] = row
            chosen += 1
            total = as_query(codes, facts, row, whole)
            for other in range(at + 1, count):
                if factor[other] > alpha:
                    continue
                that = pool[other]
                apart = 2 * (half[row] + half[that] - inner(whole, facts[row, 0], total, codes, facts, that))
                factor[other] = np.inf if apart <= 0 else max(factor[other], far[other] / apart)
        if limit >= alpha:
            break
        limit = min(limit * RELAX, alpha)
    return chosen


@numba.njit(nogil=True, cache=True)
def _prune_links(row, extra, links, codes, facts, half, degree, alpha, pool, far, factor, whole, kept):  # type: ignore[no-untyped-def]
    """Choose anew among the links of a row and one more (-1: none)."""
    total = as_query(codes, facts, row, whole)
    count = 0
    for at in range(links.shape[1] + 1):
        link = links[row, at] if at < links.shape[1] else extra
        if link < 0:
            continue
        count = _near(link, 2 * (half[row] + half[link] - inner(whole, facts[row, 0], total, codes, facts, link)), pool, far, count)
    count = prune(pool, far, count, codes, facts, half, degree, alpha, factor, whole, kept)
    for at in range(links.shape[1]):
        links[row, at] = kept[at] if at < count else -1


@numba.njit(nogil=True, cache=True)
def _near(row, distance, pool, far, count):  # type: ignore[no-untyped-def]
    """Put a row into a pool sorted by distance."""
    place = count
    while place > 0 and far[place - 1] > distance:
        pool[place], far[place] = pool[place - 1], far[place - 1]
        place -= 1
    pool[place], far[place] = row, distance
    return count + 1


@numba.njit(nogil=True, cache=True)
def insert(order, codes, facts, half, links, entry, degree, window, alpha):  # type: ignore[no-untyped-def]
    """Give rows links, one after the other: out to what their walk met, and back."""
    dim, width, most, biases = codes.shape[1], links.shape[1], 4 * window + 64, -half
    rows, scores, trail = np.empty(window, np.int64), np.empty(window, np.float32), np.empty(most, np.int32)
    fresh, seen = np.empty(width, np.int32), np.zeros(len(codes) // 64 + 1, np.uint64)
    pool, far, factor = np.empty(most + width, np.int32), np.empty(most + width, np.float32), np.empty(most + width, np.float32)
    whole, kept, other = np.empty(dim, np.int16), np.empty(width, np.int32), np.empty(width, np.int32)
    for row in order:
        step, total = facts[row, 0], as_query(codes, facts, row, whole)
        _, _, steps = walk(whole, step, total, codes, facts, biases, links, entry, window, rows, scores, fresh, seen, trail)
        count = 0
        for at in range(steps):
            that = trail[at]
            count = _near(that, 2 * (half[row] + half[that] - inner(whole, step, total, codes, facts, that)), pool, far, count)
        count = prune(pool, far, count, codes, facts, half, degree, alpha, factor, whole, kept)
        for at in range(count):
            links[row, at] = kept[at]
            prefetch(links, kept[at])
        for at in range(count):
            that, number = kept[at], 0
            while number < width and links[that, number] >= 0:
                number += 1
            if number < width:
                links[that, number] = row
            else:
                _prune_links(that, row, links, codes, facts, half, degree, alpha, pool, far, factor, whole, other)


@numba.njit(nogil=True, cache=True)
def trim(codes, facts, half, links, degree, alpha):  # type: ignore[no-untyped-def]
    """Leave at most `degree` links to each row."""
    width, dim = links.shape[1], codes.shape[1]
    pool, far, factor = np.empty(width + 1, np.int32), np.empty(width + 1, np.float32), np.empty(width + 1, np.float32)
    whole, kept = np.empty(dim, np.int16), np.empty(width, np.int32)
    for row in range(len(links)):
        if links[row, degree] >= 0:
            _prune_links(row, -1, links, codes, facts, half, degree, alpha, pool, far, factor, whole, kept)


@numba.njit(nogil=True, cache=True)
def search(  # type: ignore[no-untyped-def]
    start, stop, whole, given, codes, facts, biases, links, entry, window, words, most,
    full_whole, full_given, full_codes, full_facts, full_rest, full_biases, found, scores, work
):  # fmt: skip
    """Walk for each query, then compare the window again in full codes. `work` gets how many were compared, -1 for a walk that gave up."""
    n = len(codes)
    rows, near = np.empty(window, np.int64), np.empty(window, np.float32)
    fresh, seen, trail = np.empty(links.shape[1], np.int32), np.zeros(n // 64 + 1, np.uint64), np.empty(0, np.int32)
    room = most + links.shape[1] + 2 if words.size else 0
    keys, heap = np.empty(room, np.float32), np.empty(room, np.int32)
    for query in range(start, stop):
        if words.size:
            count, compared = walk_allowed(
                whole[query], given[query, 0], given[query, 1], codes, facts, biases, links, entry, window, words, most, rows, near, fresh, seen,
                keys, heap,
            )  # fmt: skip
            if count < 0:
                work[query] = -1
                continue
        else:
            count, compared, _ = walk(
                whole[query], given[query, 0], given[query, 1], codes, facts, biases, links, entry, window, rows, near, fresh, seen, trail
            )
            for at in range(count):
                rows[at] >>= 1
        work[query] = compared
        best_of(
            rows, count, full_whole[query], full_given[query, 0], full_given[query, 1], full_codes, full_facts, full_rest, full_biases,
            found[query], scores[query],
        )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def scan(  # type: ignore[no-untyped-def]
    start, stop, whole, given, codes, facts, biases, numbers, window,
    full_whole, full_given, full_codes, full_facts, full_rest, full_biases, found, scores
):  # fmt: skip
    """The same without a graph: all of `numbers` are compared."""
    rows, near = np.empty(window, np.int64), np.empty(window, np.float32)
    for query in range(start, stop):
        count = best_of(
            numbers, numbers.size, whole[query], given[query, 0], given[query, 1], codes, facts, full_rest[:0], biases, rows, near
        )  # fmt: skip
        best_of(
            rows, count, full_whole[query], full_given[query, 0], full_given[query, 1], full_codes, full_facts, full_rest, full_biases,
            found[query], scores[query],
        )  # fmt: skip
