"""Walks stored for every node, and queries answered from them: the compiled loops of PowerWalk's index."""

from __future__ import annotations

import numba
import numpy as np

from sartor.parts.random_walks import GOLDEN, step, stream, uniform
from sartor.parts.threads import even, over_rows, threads
from sartor.retrieve.graph.csr import Graph
from sartor.retrieve.graph.ppr import SeedBatch

_LEAST_STRIDE, _SECOND_STRIDE = 0.7548776662466927, 0.5698402909980532
"""Of the additive sequence that covers the unit square most evenly (powers of the inverse plastic number)."""


def walk_ends(walks: int, restart: float) -> np.ndarray:
    """int64 [walks + 1]: where each walk's visits begin and end in a row. The same for every node; the start itself is not stored.

    Lengths are quantiles of the geometric distribution, so ordered that consecutive ones are spread over all of it.
    """
    order = np.argsort(np.argsort((0.5 + np.arange(walks) * _SECOND_STRIDE) % 1, kind="stable"), kind="stable")
    lengths = np.floor(np.log1p(-(order + 0.5) / walks) / np.log1p(-restart)).astype(np.int64)
    return np.concatenate([[0], np.cumsum(lengths)])


def stored_walks(graph: Graph, ends: np.ndarray, seed: int, nodes: np.ndarray | None = None) -> np.ndarray:
    """Visits int32 [nodes, ends[-1]] of all nodes' walks, or of some nodes', in their order: the same rows either way.

    ends: from `walk_ends`. The number of nodes stands where a walk has ended at a node without edges.
    """
    origins = np.arange(len(graph)) if nodes is None else np.asarray(nodes, np.int64)
    visits = np.empty((origins.size, int(ends[-1])), np.int32)
    rows = np.arange(origins.size)
    over_rows(_fill, even(np.ones(rows.size), 8 * threads()), rows, origins, *_walkers(graph), ends, np.uint64(seed), visits)
    return visits


def repair_walks(graph: Graph, ends: np.ndarray, seed: int, changed: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """Walk again, in place, from the nodes whose walks leave a changed one; returns these nodes int64.

    changed: bool [nodes]. visits: int32 [nodes, ends[-1]], of the graph before.
    """
    n = len(graph)
    touched = np.zeros(n, np.bool_)
    over_rows(_touched, even(np.ones(n), 8 * threads()), visits, ends, changed, touched)
    nodes = np.flatnonzero(touched)
    over_rows(_fill, even(np.ones(nodes.size), 8 * threads()), nodes, nodes, *_walkers(graph), ends, np.uint64(seed), visits)
    return nodes


def answers(
    graph: Graph, batch: SeedBatch, visits: np.ndarray, ends: np.ndarray, *, restart: float, rounds: int, budget: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 [queries, nodes], and how many edges and visits were read int64 [queries]."""
    n = len(graph)
    out, read = np.zeros((len(batch), n + 1), np.float32), np.zeros(len(batch), np.int64)
    arrays = (batch.indptr, batch.nodes, batch.weights, graph.indptr, graph.indices, graph.shares, visits, ends)
    over_rows(_answer, even(np.ones(len(batch)), 4 * threads()), *arrays, restart, rounds, budget, out, read)
    return out[:, :n], read


def _walkers(graph: Graph) -> tuple[np.ndarray, ...]:
    return graph.indptr, graph.indices, graph.cumulative


@numba.njit(nogil=True, cache=True)
def _fill(first, last, rows, origins, indptr, indices, cumulative, ends, seed, visits):  # type: ignore[no-untyped-def]
    n = indptr.size - 1
    for number in range(first, last):
        row, origin = rows[number], origins[number]
        # The first steps of a node's walks go round its edges evenly, from a random beginning.
        turn = uniform(stream(seed, origin, -1))
        for walk in range(ends.size - 1):
            state = stream(seed, origin, walk)
            node = origin
            draw = (turn + walk * _LEAST_STRIDE) % 1.0
            for at in range(ends[walk], ends[walk + 1]):
                if node < n:
                    node = step(node, draw, indptr, indices, cumulative)
                    if node < 0:
                        node = n
                visits[row, at] = node
                state += GOLDEN
                draw = uniform(state)


@numba.njit(nogil=True, cache=True)
def _touched(first, last, visits, ends, changed, out):  # type: ignore[no-untyped-def]
    """Which nodes have a walk that leaves a changed node."""
    n = changed.size
    for origin in range(first, last):
        found = changed[origin]
        if not found:
            for walk in range(ends.size - 1):
                for at in range(ends[walk], ends[walk + 1] - 1):
                    node = visits[origin, at]
                    if node < n and changed[node]:
                        found = True
                        break
                if found:
                    break
        out[origin] = found


@numba.njit(nogil=True, cache=True)
def _answer(first, last, seed_indptr, seeds, weights, indptr, indices, shares, visits, ends, restart, rounds, budget, out, read):  # type: ignore[no-untyped-def]
    n = indptr.size - 1
    walks = ends.size - 1
    mass, arriving = np.zeros(n, np.float32), np.zeros(n, np.float32)
    now, following = np.empty(n, np.int32), np.empty(n, np.int32)
    for query in range(first, last):
        score = out[query]
        count = 0
        for at in range(seed_indptr[query], seed_indptr[query + 1]):
            if mass[seeds[at]] == 0:
                now[count] = seeds[at]
                count += 1
            mass[seeds[at]] += weights[at]
        turn, carried, work, total = 0, 0.5, 0, 0.0
        for turn_of in range(rounds + 1):
            arrived = 0
            for place in range(count):
                node = now[place]
                own = mass[node]
                mass[node] = 0
                score[node] += restart * own
                total += restart * own
                start, stop = indptr[node], indptr[node + 1]
                if start == stop:
                    continue
                wanted = own * budget
                if turn_of < rounds and stop - start <= wanted:
                    work += stop - start
                    if shares.size == 0:
                        share = np.float32((1 - restart) * own / (stop - start))
                        for at in range(start, stop):
                            target = indices[at]
                            if arriving[target] == 0:
                                following[arrived] = target
                                arrived += 1
                            arriving[target] += share
                    else:
                        for at in range(start, stop):
                            target = indices[at]
                            if arriving[target] == 0:
                                following[arrived] = target
                                arrived += 1
                            arriving[target] += np.float32((1 - restart) * own) * shares[at]
                    continue
                # Whole walks only: what is left over is carried to the next node, so that about `budget` are read in all.
                if wanted >= walks:
                    number, each = walks, np.float32(restart * own / walks)
                else:
                    carried += wanted
                    number, each = int(carried), np.float32(restart / budget)
                    carried -= number
                for _ in range(number):
                    length = ends[turn + 1] - ends[turn]
                    for at in range(ends[turn], ends[turn + 1]):
                        score[visits[node, at]] += each
                    work += length
                    total += each * length
                    turn = turn + 1 if turn + 1 < walks else 0
            mass, arriving = arriving, mass
            now, following = following, now
            count = arrived
        # What stands at n was not anywhere.
        scale = np.float32(1 / (total - score[n]))
        for node in range(n):
            score[node] *= scale
        read[query] = work
