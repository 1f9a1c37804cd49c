"""Reads a citation graph of the Planetoid splits (Cora, CiteSeer, PubMed), whose files are Python pickles, without running what is in them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import CorruptFile, FileProblem

_ALLOWED = {
    ("scipy.sparse.csr", "csr_matrix"), ("scipy.sparse._csr", "csr_matrix"), ("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"),
    ("numpy", "dtype"), ("collections", "defaultdict"), ("__builtin__", "list"), ("builtins", "list"), ("_codecs", "encode"),
}  # fmt: skip
"""All that these files need; a pickle may name any other function to have it called."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        moved = {"scipy.sparse.csr": "scipy.sparse", "scipy.sparse._csr": "scipy.sparse", "numpy.core.multiarray": "numpy._core.multiarray"}
        if module == "numpy.core.multiarray" and np.lib.NumpyVersion(np.__version__) < "2.0.0":
            moved = {}
        return super().find_class(moved.get(module, module), name)


def read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Node features float32 [n, words], edges int64 [2, m] (each once, first < second), classes int64 [n].

    Raises `FileProblem` when a file is missing and `CorruptFile` when it is not what it should be.
    """
    parts = {}
    for part in ("tx", "ty", "allx", "ally", "graph"):
        file = folder / f"ind.{name}.{part}"
        if not file.is_file():
            raise FileProblem("this file of a Planetoid split is missing", fix="download it again", file=file)
        try:
            parts[part] = _Reader(io.BytesIO(file.read_bytes()), encoding="latin1").load()
        except Exception as cause:
            raise CorruptFile(f"this is not a file of a Planetoid split: {cause}", fix="download it again", file=file) from cause
    order = np.loadtxt(folder / f"ind.{name}.test.index", dtype=np.int64, ndmin=1)
    known = len(parts["ally"])
    nodes = max(int(order.max()) + 1, known + len(order))
    x, y = np.zeros((nodes, parts["allx"].shape[1]), np.float32), np.zeros(nodes, np.int64)
    x[:known], y[:known] = parts["allx"].toarray(), parts["ally"].argmax(1)
    # The test rows come in the order of the index.
    x[order], y[order] = parts["tx"].toarray(), parts["ty"].argmax(1)
    pairs = {(min(one, other), max(one, other)) for one, others in parts["graph"].items() for other in others if one != other}
    return x, np.array(sorted(pairs), np.int64).T, y
