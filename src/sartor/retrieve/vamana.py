"""Walks through a graph over coded vectors, towards what is nearest to a query.

Links are int32 [n, degree], -1 behind the last. A walk keeps a window of the best so far and looks at the links of the best one not yet looked at,
until there is none. It starts from some rows that lie far apart: from a single one it would not find its way into every cluster. With a filter, it
walks over everything and collects what is allowed. The graph is made in `vamana_build`.

Source: Subramanya et al., DiskANN: Fast Accurate Billion-point Nearest Neighbor Search on a Single Node, NeurIPS 2019.
"""

from __future__ import annotations

import numba
import numpy as np

from sartor.retrieve.codes import best_of, inner, prefetch
from sartor.retrieve.exact import offer


@numba.njit(nogil=True, cache=True)
def _meet(link, seen, fresh, new):  # type: ignore[no-untyped-def]
    """Note a row that is met; 1 when for the first time. Without a branch, as nothing is harder to predict."""
    fresh[new] = link
    word, bit = link >> 6, np.uint64(link & 63)
    first = (~seen[word] >> bit) & np.uint64(1)
    seen[word] |= np.uint64(1) << bit
    return np.int64(first)


@numba.njit(nogil=True, cache=True)
def _neighbours(row, links, seen, fresh, codes, facts):  # type: ignore[no-untyped-def]
    """Put a row's neighbours that are met for the first time into `fresh`, and their codes on the way to the cache; returns how many."""
    new = 0
    for number in range(links.shape[1]):
        link = links[row, number]
        if link < 0:
            break
        new += _meet(link, seen, fresh, new)
    for number in range(new):
        prefetch(codes, fresh[number])
        prefetch(facts, fresh[number])
    return new


@numba.njit(nogil=True, cache=True)
def walk(  # type: ignore[no-untyped-def]
    whole, step, total, codes, facts, biases, links, entries, window, rows, scores, fresh, seen, trail
):  # fmt: skip
    """Fill `rows` and `scores` with the best `window` that the walk meets. `rows` holds row << 1, plus 1 while its links are not looked at.

    `seen` is cleared here. `trail`, when it has room, gets every row whose links were looked at. Returns how many rows there are, how many
    vectors were compared, and how long the trail is.
    """
    seen[:] = 0
    count, at, compared, steps = 0, 0, entries.size, 0
    for entry in entries:
        seen[entry >> 6] |= np.uint64(1) << np.uint64(entry & 63)
        score = inner(whole, step, total, codes, facts, entry)
        if biases.size:
            score += biases[entry]
        if count < window or score > scores[count - 1]:
            count = offer((np.int64(entry) << 1) | 1, score, count, rows, scores)
    while at < count:
        if not rows[at] & 1:
            at += 1
            continue
        row = rows[at] >> 1
        rows[at] -= 1
        if steps < trail.size:
            trail[steps] = row
        steps += 1
        new = _neighbours(row, links, seen, fresh, codes, facts)
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
    whole, step, total, codes, facts, biases, links, entries, window, words, most, rows, scores, fresh, seen, keys, heap
):  # fmt: skip
    """The best `window` allowed rows, walking over all; `rows` holds rows. Ends when what is left to look at is worse than all of them.

    Returns how many there are and how many vectors were compared; -1 when `most` would be exceeded: the filter goes against the query.
    """
    seen[:] = 0
    count, size, compared, new = 0, 0, 0, entries.size
    for number in range(new):
        fresh[number] = entries[number]
        seen[entries[number] >> 6] |= np.uint64(1) << np.uint64(entries[number] & 63)
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
        new = _neighbours(row, links, seen, fresh, codes, facts)


@numba.njit(nogil=True, cache=True)
def search(  # type: ignore[no-untyped-def]
    start, stop, whole, given, codes, facts, biases, links, entries, window, words, most,
    full_whole, full_given, full_codes, full_facts, full_rest, full_biases, found, scores, work
):  # fmt: skip
    """Walk for each query, then compare the window again in full codes. `work` gets how many were compared, -1 for a walk that gave up."""
    n = len(codes)
    rows, near = np.empty(window, np.int64), np.empty(window, np.float32)
    fresh, seen, trail = np.empty(max(links.shape[1], entries.size), np.int32), np.zeros(n // 64 + 1, np.uint64), np.empty(0, np.int32)
    room = most + links.shape[1] + entries.size + 2 if words.size else 0
    keys, heap = np.empty(room, np.float32), np.empty(room, np.int32)
    for query in range(start, stop):
        if words.size:
            count, compared = walk_allowed(
                whole[query], given[query, 0], given[query, 1], codes, facts, biases, links, entries, window, words, most, rows, near, fresh, seen,
                keys, heap,
            )  # fmt: skip
            if count < 0:
                work[query] = -1
                continue
        else:
            count, compared, _ = walk(
                whole[query], given[query, 0], given[query, 1], codes, facts, biases, links, entries, window, rows, near, fresh, seen, trail
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
