"""Node vectors of BlogCatalog (10,312 nodes, 333,983 edges), 128 dimensions: FastRP against node2vec by pecanpy's walks and gensim's skip-gram.

In CPU-seconds of the process, compilation outside. node2vec at its published settings: 10 walks of 80 from every node, window 10, p = q = 0.25,
one pass. `quality` is micro-F1 of the 39 groups from a logistic probe trained on 10% of the nodes, its C chosen within these from 0.1, 1
and 10 on both sides alike.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

NAME = "fastrp-blogcatalog"
UNIT = "CPU seconds"
PEER = "pecanpy"
DIM, SHUFFLES = 128, 3
WALKS, LENGTH, WINDOW, P, Q = 10, 80, 10, 0.25, 0.25


def blogcatalog() -> tuple[Any, np.ndarray]:
    """Adjacency CSR and bool labels [nodes, groups]."""
    from scipy.io import loadmat

    from sartor.data.datasets import find

    found = loadmat(find("blogcatalog") / "blogcatalog.mat")
    return found["network"].tocsr(), found["group"].toarray().astype(bool)


def quality(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Micro-F1, mean over shuffles."""
    from sartor.evaluate.probe import multilabel_f1

    return float(np.mean([multilabel_f1(vectors, labels, strengths=(0.1, 1.0, 10.0), seed=seed)["micro"] for seed in range(SHUFFLES)]))


def ours() -> dict[str, Any]:
    from sartor.represent.fastrp import FastRP

    matrix, labels = blogcatalog()
    FastRP(DIM).fit(matrix)
    start = time.process_time()
    vectors = FastRP(DIM).fit(matrix)
    seconds = time.process_time() - start
    return {"value": seconds, "quality": quality(vectors, labels), "size": size(matrix)}


def peer() -> dict[str, Any]:
    from gensim.models import Word2Vec
    from pecanpy.pecanpy import SparseOTF

    threads = int(os.environ.get("SARTOR_BENCH_THREADS", "1"))
    matrix, labels = blogcatalog()

    def graph() -> Any:
        made = SparseOTF(p=P, q=Q, workers=threads, verbose=False)
        made.set_node_ids([str(node) for node in range(matrix.shape[0])])
        made.indptr, made.indices = matrix.indptr.astype(np.uint32), matrix.indices.astype(np.uint32)
        made.data = matrix.data.astype(np.float32)
        return made

    # Compiled before it is timed.
    graph().simulate_walks(1, 2)
    walker = graph()
    start = time.process_time()
    walks = walker.simulate_walks(WALKS, LENGTH)
    model = Word2Vec(walks, vector_size=DIM, window=WINDOW, min_count=0, sg=1, workers=threads, epochs=1)
    seconds = time.process_time() - start
    vectors = np.stack([model.wv[str(node)] for node in range(matrix.shape[0])])
    return {"value": seconds, "quality": quality(vectors, labels), "size": size(matrix)}


def size(matrix: Any) -> dict[str, int]:
    return {"nodes": matrix.shape[0], "edges": matrix.nnz // 2, "dim": DIM}
