"""The contract of every index of item vectors: build, add, remove, search with filters, save and load.

    index = ItemIndex.make("planned", metric="cosine").build(vectors, ids, attributes=frame, space=encoder.fingerprint)
    hits = index.search(encoder.encode(["quiet thriller"]), 10, where="year >= 1990 and genre = 'noir'", space=encoder.fingerprint)
    hits[0]                                  # ids, best first; hits.plan says how they were found

Rows are numbered 0..rows-1 in the order they came; a removed row keeps its number and is never returned again.
"""

from __future__ import annotations

import importlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from sartor.data.ids import as_ids, id_column
from sartor.errors import BadValue, ConfigError, DuplicateRows, EmptyData, NotFitted, SpaceMismatch, StateMismatch, UnknownId, WrongType
from sartor.method import learned
from sartor.parts.topk import checked_k
from sartor.retrieve.bitmaps import Bitmap, Standing
from sartor.retrieve.checks import Metric, attribute_table, checked_vectors, new_ids
from sartor.retrieve.filters import Filter
from sartor.retrieve.hits import Hits

if TYPE_CHECKING:
    from sartor.retrieve.attributes import Attributes

Allowed = Bitmap | Standing | np.ndarray | Sequence[Any]
KINDS = {
    "exact": "sartor.retrieve.exact:ExactIndex",
    "binary": "sartor.retrieve.binary:BinaryIndex",
    "inverted": "sartor.retrieve.inverted:InvertedIndex",
    "planned": "sartor.retrieve.planner:PlannedIndex",
    "graph": "sartor.retrieve.graph_index:GraphIndex",
    "leanvec": "sartor.retrieve.leanvec:LeanVecIndex",
}  # fmt: skip


@dataclass(kw_only=True, eq=False)
class ItemIndex(ABC):
    """Vectors of items, to be found by inner product, cosine or distance. Subclasses are dataclasses whose fields are their settings."""

    metric: Metric = "cosine"
    kind: ClassVar[str]

    space: str = learned("")
    """Fingerprint of the encoder that the vectors come from."""
    version: int = learned(0)
    """One more for every change."""
    numbering: str = learned("")
    """Names this numbering of rows; standing filters belong to one."""
    dim: int = learned(0)

    @staticmethod
    def make(kind: str, **settings: Any) -> ItemIndex:
        """An index by its kind: "exact", "binary", "inverted" (approximate), "planned" (chooses), "graph" (another library's) or "leanvec"."""
        if kind not in KINDS:
            raise ConfigError(f"there is no index '{kind}'", fix=f"there are {', '.join(KINDS)}")
        module, _, name = KINDS[kind].partition(":")
        try:
            return getattr(importlib.import_module(module), name)(**settings)
        except TypeError as cause:
            raise ConfigError(f"the settings do not fit an index of kind {kind}: {cause}", fix="see its fields") from cause

    def __post_init__(self) -> None:
        if self.metric not in ("ip", "cosine", "l2"):
            raise ConfigError(f"there is no metric '{self.metric}'", fix="use ip, cosine or l2")

    # --- what there is

    @property
    def size(self) -> int:
        """How many items can be found."""
        return self._live if self.dim else 0

    @property
    def rows(self) -> int:
        """How many rows are numbered, removed ones included."""
        return len(self.ids) if self.dim else 0

    @property
    def ids(self) -> Sequence[Any]:
        """Ids by row number."""
        self._check_built()
        return self._ids

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of vectors and search structure; ids and attributes come on top."""

    # --- changes

    def build(self, vectors: np.ndarray, ids: Sequence[Any] | None = None, *, attributes: pl.DataFrame | None = None, space: str = "") -> Self:
        """Index these vectors, and only these.

        Parameters
        ----------
        vectors: float [n, dim].
        ids: texts or whole numbers, all different; 0..n-1 when left out.
        attributes: one row per vector, for filters.
        space: fingerprint of the encoder.

        Raises `BadValue` (not finite; for cosine, of length zero), `DuplicateRows`, `EmptyData`, `ConfigError`.
        """
        vectors = np.asarray(vectors)
        if vectors.ndim != 2 or not vectors.size:
            raise EmptyData(f"vectors of shape {list(vectors.shape)} are nothing to index", fix="give float [n, dim], with at least one row")
        made, biases = checked_vectors(vectors, vectors.shape[1], self.metric)
        made = made.copy() if np.may_share_memory(made, vectors) else made
        given = id_column(range(len(made)) if ids is None else ids)
        id_type: pl.DataType = pl.Int64() if given.dtype.is_integer() else pl.String()
        names = new_ids(given, len(made), id_type)
        table = attribute_table(attributes, len(made))
        self._build(made, biases)
        self.dim, self.space, self.version, self.numbering = made.shape[1], space, self.version + 1, uuid.uuid4().hex
        self._id_type = id_type
        self._ids, self._row = names, {name: row for row, name in enumerate(names)}
        self._set_attributes(table)
        self._alive, self._live = Bitmap.full(len(made)), len(made)
        self._ready()
        return self

    def add(self, vectors: np.ndarray, ids: Sequence[Any] | None = None, attributes: pl.DataFrame | None = None, *, space: str | None = None) -> None:
        """More items, at once findable, nothing rebuilt. An id that is there already is a `DuplicateRows`: remove it first."""
        self._check_space(space)
        vectors = np.atleast_2d(np.asarray(vectors))
        if not vectors.shape[0]:
            return
        made, biases = checked_vectors(vectors, self.dim, self.metric)
        names = new_ids(range(self.rows, self.rows + len(made)) if ids is None else ids, len(made), self._id_type)
        if taken := [name for name in names if name in self._row]:
            raise DuplicateRows(f"{len(taken)} ids are in the index already", fix="remove them first", id=repr(taken[0]))
        old = self._attributes.frame
        if attributes is None and old.width:
            attributes = old.clear(len(made))
        table = attribute_table(attributes, len(made))
        if table.schema != old.schema:
            try:
                table = table.select(old.columns).cast(dict(old.schema))  # type: ignore[arg-type]
            except pl.exceptions.PolarsError as cause:
                what = f"the attributes do not fit those of the index: {str(cause).splitlines()[0][:200]}"
                raise WrongType(what, fix=f"give {dict(old.schema)}") from cause
        first = self.rows
        self._add(made, biases)
        self._ids = [*self._ids, *names]
        self._row |= {name: first + at for at, name in enumerate(names)}
        self._set_attributes(pl.concat([old, table]) if old.width else pl.DataFrame())
        self._alive = self._alive.grown(first + len(made), True)
        self._live, self.version = self._live + len(made), self.version + 1

    def remove(self, ids: Sequence[Any]) -> int:
        """Take items out by id, nothing rebuilt; unknown ids are left alone. Returns how many went."""
        self._check_built()
        gone = [row for name in self._coerced(ids) if (row := self._row.pop(name, None)) is not None]
        if gone:
            self._alive = self._alive & ~Bitmap.of_rows(np.array(gone), self.rows)
            self._live, self.version = self._live - len(gone), self.version + 1
        return len(gone)

    # --- search

    def search(
        self, queries: np.ndarray, k: int = 10, *, where: Filter | str | None = None, allowed: Allowed | None = None,
        budget: float | None = None, space: str | None = None,
    ) -> Hits:  # fmt: skip
        """The k best items for each query, among those that the filter and `allowed` both leave.

        Parameters
        ----------
        queries: float [q, dim], or [dim] for one.
        k: how many; when fewer are left, all of them are given and the rest is -1.
        where: a condition on attributes, as a `Filter` or as text (see `filter_text.parse`).
        allowed: a person's standing filter, a bitmap, bool [rows], or ids.
        budget: 0..1, how much of the index an approximate search looks at; None means what gives the recall it was calibrated for.
        space: fingerprint of the queries' encoder; another one than the index's is a `SpaceMismatch`.
        """
        self._check_space(space)
        if budget is not None and not 0 <= budget <= 1:
            raise ConfigError(f"a budget of {budget}", fix="give a share from 0 to 1, or None")
        if not self.size:
            raise EmptyData("the index holds no item any more", fix="add some")
        asked = np.atleast_2d(np.asarray(queries))
        k = checked_k(k, len(asked), self.rows)
        made, _ = checked_vectors(asked, self.dim, self.metric, what="query")
        bits = self._bits(where, allowed)
        count = self.size if bits is None else len(bits)
        n = min(k, count)
        if n and len(made):
            found, scores, plan = self._search(made, n, bits, count, budget)
        else:
            found, scores, plan = np.empty((len(made), 0), np.int32), np.empty((len(made), 0), np.float32), "nothing to search"
        if n < k:
            plan += f"; {count} of {self.size} items are allowed, fewer than the {k} asked for"
            found = np.pad(found, ((0, 0), (0, k - n)), constant_values=-1)
            scores = np.pad(scores, ((0, 0), (0, k - n)), constant_values=-np.inf)
        if self.metric == "l2":
            scores = np.minimum(2 * scores - np.einsum("qd,qd->q", made, made)[:, None], 0)
        return Hits(found, scores, self.ids, plan)

    def bitmap(self, where: Filter | str) -> Bitmap:
        """The items for which a filter holds."""
        self._check_built()
        return self._attributes.bitmap(where)

    def standing(self, where: Filter | str | None = None, *, blocked: Sequence[Any] = (), later: bool = True) -> Standing:
        """One person's standing filter: what fits `where` and is not `blocked` (ids; unknown ones are left alone).

        `later` says whether items that are added afterwards are allowed.
        """
        self._check_built()
        bits = Bitmap.full(self.rows) if where is None else self.bitmap(where)
        rows = [row for name in self._coerced(blocked) if (row := self._row.get(name)) is not None]
        return Standing(bits & ~Bitmap.of_rows(np.array(rows, np.int64), self.rows), self.numbering, later)

    def _bits(self, where: Filter | str | None, allowed: Allowed | None) -> Bitmap | None:
        """What may be returned; None when everything may."""
        bits = None if self._live == self.rows else self._alive
        for one in (None if where is None else self.bitmap(where), None if allowed is None else self._allowed(allowed)):
            if one is not None:
                bits = one if bits is None else bits & one
        return bits

    def _allowed(self, allowed: Allowed) -> Bitmap:
        if isinstance(allowed, Standing):
            if allowed.numbering != self.numbering:
                raise StateMismatch("the standing filter counts the rows of another index", fix="make it again with this index's standing()")
            return allowed.bitmap.grown(self.rows, allowed.later)
        if isinstance(allowed, Bitmap) or (isinstance(allowed, np.ndarray) and allowed.dtype == bool):
            if allowed.size != self.rows:
                raise BadValue(f"what is allowed covers {allowed.size} rows, the index has {self.rows}", fix="make it for this version of the index")
            return allowed if isinstance(allowed, Bitmap) else Bitmap.of(allowed.reshape(-1))
        names = self._coerced(allowed)
        if unknown := [name for name in names if name not in self._row]:
            raise UnknownId(f"{len(unknown)} of the allowed ids are not in the index", id=repr(unknown[0]), fix="leave them out")
        return Bitmap.of_rows(np.array([self._row[name] for name in names], np.int64), self.rows)

    # --- what subclasses do; vectors come checked, of unit length for cosine

    @abstractmethod
    def _build(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        """Take float32 [n, dim]. `biases` float32 [n] is added to inner products: so distances become inner products."""

    @abstractmethod
    def _add(self, vectors: np.ndarray, biases: np.ndarray | None) -> None: ...

    @abstractmethod
    def _search(self, queries: np.ndarray, k: int, allowed: Bitmap | None, count: int, budget: float | None) -> tuple[np.ndarray, np.ndarray, str]:
        """Rows int32 [q, k], inner products plus biases float32 [q, k], and the plan. `count` >= k is exactly how many are allowed."""

    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]:
        """To be saved; `_restore` takes them back."""

    @abstractmethod
    def _restore(self, arrays: dict[str, np.ndarray]) -> None: ...

    def _ready(self) -> None:  # noqa: B027  most indexes need none
        """Called at the end of `build`: calibration, where there is any."""

    def save(self, folder: str | Path) -> Path:
        """Write the index into a folder: one file, replaced whole or not at all."""
        from sartor.retrieve.store import save

        self._check_built()
        return save(self, Path(folder))

    @staticmethod
    def load(folder: str | Path, *, mmap: bool = True, space: str | None = None) -> ItemIndex:
        """Any saved index; with `mmap` the vectors stay in the file and processes share them.

        Raises `CorruptFile`, `FileProblem`, `SpaceMismatch`.
        """
        from sartor.retrieve.store import load

        index = load(Path(folder), mmap=mmap)
        index._check_space(space)
        return index

    # --- checks

    def _check_built(self) -> None:
        if not self.dim:
            raise NotFitted("the index is not built", fix="call build(vectors), or ItemIndex.load(folder)")

    def _check_space(self, space: str | None) -> None:
        self._check_built()
        if space is not None and space != self.space:
            raise SpaceMismatch(
                f"these vectors are of the space {space[:8] or '(unnamed)'}, the index is of {self.space[:8] or '(unnamed)'}",
                fix="encode with the index's own encoder, or build the index again",
            )

    def _coerced(self, ids: Sequence[Any] | np.ndarray) -> list[Any]:
        """In the index's kind of ids (60 and "60" are the same); None for what can be none of them."""
        return as_ids(ids, self._id_type).to_list()

    def _set_attributes(self, frame: pl.DataFrame) -> None:
        from sartor.retrieve.attributes import Attributes

        self._attributes: Attributes = Attributes(frame)

    _ids: Sequence[Any] = learned()
    _id_type: Any = learned()
    """Int64 or String."""
    _row: dict[Any, int] = learned()
    _alive: Bitmap = learned()
    _live: int = learned()
