"""Other libraries' graphs behind one small face: build, add, search, files. Each is imported when it is first used (the extra `ann`)."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sartor.errors import ConfigError, MissingExtra
from sartor.parts.threads import threads

FILE = "graph"


def imported(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise MissingExtra(package, "ann") from missing


class Engine(ABC):
    """A graph over vectors that are numbered in the order they come. Near means a large inner product, or with `l2` a small distance."""

    storages: ClassVar[tuple[str, ...]]
    grows: ClassVar[bool] = True
    """Whether it takes more vectors after it was built."""

    def __init__(self, storage: str, l2: bool, degree: int, window: int, seed: int) -> None:
        if storage not in self.storages:
            raise ConfigError(f"{type(self).__name__.lower()} does not store {storage}", fix=f"it stores {', '.join(self.storages)}")
        self.storage, self.l2, self.degree, self.window, self.seed = storage, l2, degree, window, seed
        self._index: Any = None

    @abstractmethod
    def build(self, vectors: np.ndarray) -> None:
        """Take float32 [n, dim], and only these."""

    def add(self, vectors: np.ndarray) -> None:
        """More rows; for engines that grow."""
        raise ConfigError(f"{type(self).__name__} cannot grow", fix="build its graph again")

    @abstractmethod
    def search(self, queries: np.ndarray, k: int, window: int) -> np.ndarray:
        """Rows int64 [q, k], -1 where there are fewer."""

    @abstractmethod
    def save(self, folder: Path) -> None: ...

    @abstractmethod
    def load(self, folder: Path, dim: int) -> None: ...

    @property
    @abstractmethod
    def nbytes(self) -> int: ...


class Faiss(Engine):
    """HNSW of faiss-cpu. Its selectors test a filter along a walk that ends as if there were none, and lose what a filter pushes far away."""

    storages = ("float32", "float16", "sq8")

    def build(self, vectors: np.ndarray) -> None:
        faiss = self._module()
        dim, metric = vectors.shape[1], faiss.METRIC_L2 if self.l2 else faiss.METRIC_INNER_PRODUCT
        if self.storage == "float32":
            self._index = faiss.IndexHNSWFlat(dim, self.degree // 2, metric)
        else:
            kind = faiss.ScalarQuantizer.QT_fp16 if self.storage == "float16" else faiss.ScalarQuantizer.QT_8bit
            self._index = faiss.IndexHNSWSQ(dim, kind, self.degree // 2, metric)
        self._index.hnsw.efConstruction = self.window
        self._index.train(vectors)
        self._index.add(vectors)

    def add(self, vectors: np.ndarray) -> None:
        self._module()
        self._index.add(vectors)

    def search(self, queries: np.ndarray, k: int, window: int) -> np.ndarray:
        faiss = self._module()
        return np.asarray(self._index.search(queries, k, params=faiss.SearchParametersHNSW(efSearch=window))[1])

    def save(self, folder: Path) -> None:
        self._module().write_index(self._index, str(folder / FILE))

    def load(self, folder: Path, dim: int) -> None:
        self._index = self._module().read_index(str(folder / FILE))

    @property
    def nbytes(self) -> int:
        graph, stored = self._index.hnsw, self._index.storage
        return int(4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size() + stored.ntotal * stored.sa_code_size())

    @staticmethod
    def _module() -> Any:
        faiss = imported("faiss", "faiss-cpu")
        faiss.omp_set_num_threads(threads())
        return faiss


class Hnswlib(Engine):
    """HNSW of hnswlib."""

    storages = ("float32",)

    def build(self, vectors: np.ndarray) -> None:
        self._index = self._empty(vectors.shape[1])
        self._index.init_index(len(vectors), M=self.degree // 2, ef_construction=self.window, random_seed=self.seed)
        self._index.add_items(vectors, num_threads=threads())

    def add(self, vectors: np.ndarray) -> None:
        first = self._index.element_count
        if first + len(vectors) > self._index.max_elements:
            self._index.resize_index(max(first + len(vectors), first + first // 2))
        self._index.add_items(vectors, np.arange(first, first + len(vectors)), num_threads=threads())

    def search(self, queries: np.ndarray, k: int, window: int) -> np.ndarray:
        self._index.set_ef(max(k, window))
        return np.asarray(self._index.knn_query(queries, k, num_threads=threads())[0]).astype(np.int64)

    def save(self, folder: Path) -> None:
        self._index.save_index(str(folder / FILE))

    def load(self, folder: Path, dim: int) -> None:
        self._index = self._empty(dim)
        self._index.load_index(str(folder / FILE))

    @property
    def nbytes(self) -> int:
        return int(self._index.index_file_size())

    def _empty(self, dim: int) -> Any:
        return imported("hnswlib", "hnswlib").Index("l2" if self.l2 else "ip", dim)


class Usearch(Engine):
    """HNSW of usearch; sq8 rounds coordinates between -1 and 1."""

    storages = ("float32", "float16", "sq8")

    def build(self, vectors: np.ndarray) -> None:
        self._index = self._empty(vectors.shape[1])
        self._index.add(np.arange(len(vectors)), vectors, threads=threads())

    def add(self, vectors: np.ndarray) -> None:
        first = len(self._index)
        self._index.add(np.arange(first, first + len(vectors)), vectors, threads=threads())

    def search(self, queries: np.ndarray, k: int, window: int) -> np.ndarray:
        self._index.expansion_search = max(k, window)
        matches = self._index.search(queries, k, threads=threads())
        found = np.asarray(matches.keys).astype(np.int64).reshape(len(queries), -1)
        short = np.arange(found.shape[1]) >= np.asarray(getattr(matches, "counts", [found.shape[1]])).reshape(-1, 1)
        return np.pad(np.where(short, -1, found), ((0, 0), (0, k - found.shape[1])), constant_values=-1)

    def save(self, folder: Path) -> None:
        self._index.save(str(folder / FILE))

    def load(self, folder: Path, dim: int) -> None:
        self._index = self._empty(dim)
        self._index.load(str(folder / FILE))

    @property
    def nbytes(self) -> int:
        return int(self._index.serialized_length)

    def _empty(self, dim: int) -> Any:
        kind = {"float32": "f32", "float16": "f16", "sq8": "i8"}[self.storage]
        metric = "l2sq" if self.l2 else "cos" if self.storage == "sq8" else "ip"
        return imported("usearch.index", "usearch").Index(
            ndim=dim, metric=metric, dtype=kind, connectivity=self.degree // 2, expansion_add=self.window
        )


class Svs(Engine):
    """Vamana of scalable-vs, its open part: the 8-bit kernels of the package run on Intel's processors alone. It cannot grow in float16."""

    storages = ("float32", "float16")
    grows = False

    def build(self, vectors: np.ndarray) -> None:
        svs = imported("svs", "scalable-vs")
        parameters = svs.VamanaBuildParameters(alpha=1.2 if self.l2 else 0.95, graph_max_degree=self.degree, window_size=self.window)
        self._index = svs.Vamana.build(parameters, vectors.astype(self.storage), self._distance(), threads())
        self._shape = vectors.shape

    def search(self, queries: np.ndarray, k: int, window: int) -> np.ndarray:
        self._index.num_threads = threads()
        self._index.search_window_size = max(k, window)
        return np.asarray(self._index.search(queries, k)[0]).astype(np.int64)

    def save(self, folder: Path) -> None:
        self._index.save(*(str(folder / part) for part in ("config", "graph", "data")))

    def load(self, folder: Path, dim: int) -> None:
        svs = imported("svs", "scalable-vs")
        data = svs.VectorDataLoader(str(folder / "data"), getattr(svs.DataType, self.storage), dims=dim)
        graph = svs.GraphLoader(str(folder / "graph"))
        self._index = svs.Vamana(str(folder / "config"), graph, data, self._distance(), num_threads=threads())
        self._shape = (self._index.size, dim)

    @property
    def nbytes(self) -> int:
        return int(self._shape[0] * (self._shape[1] * np.dtype(self.storage).itemsize + 4 * (self.degree + 1)))

    def _distance(self) -> Any:
        kinds = imported("svs", "scalable-vs").DistanceType
        return kinds.L2 if self.l2 else kinds.MIP


ENGINES: dict[str, type[Engine]] = {"faiss": Faiss, "hnswlib": Hnswlib, "usearch": Usearch, "svs": Svs}
