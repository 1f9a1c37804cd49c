"""What people with the same attributes like: an answer for somebody of whom nothing else is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.data.ids import IdMap
from sartor.errors import ConfigError, CorruptFile
from sartor.method import Run, State, States, learned
from sartor.parts.fields import FieldCodec, says_something
from sartor.recommend._base import ItemRecommender, PersonalArrays, _after
from sartor.recommend._features import Described, _person_frame, describe

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sartor.data.interactions import Interactions
    from sartor.data.population import Evidence, Population

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Tried on held-out people; 0 is plain popularity."""
SHRINKAGES = (10.0, 30.0, 100.0, 300.0)
FOLDS = 5


@dataclass(kw_only=True, eq=False)
class AttributePopularity(ItemRecommender):
    """Naive Bayes: an item's popularity, times for each attribute how much more often people who share it choose the item.

    For people with attributes (age, gender, occupation, ...) and no events yet. Each ratio is shrunken towards 1 by so many people's worth of
    popularity, since most attributes are shared by few; their product is damped, since attributes say the same thing twice. Both are chosen
    by the likelihood of what held-out people chose, so that attributes that say nothing leave plain popularity. Somebody's own events
    do not change the scores: with events, use another method. Attributes can stand for what the law forbids to act upon: name the ones to use.

    Source: the m-estimate of Cestnik, Estimating probabilities, ECAI 1990; demographic filtering as in Pazzani, A framework for
    collaborative, content-based and demographic filtering, 1999. Differs from them in: the damping.

    State: `attributes` int32 [attributes known], the rows of `lift_` to add; `items` int32 [n].
    """

    columns: Sequence[str] | None = None
    """Of the `people` frame. Default: all that say something (not a different value for nearly everybody)."""
    shrinkage: float | None = None
    """People's worth of popularity added to those who share an attribute. None: chosen on held-out people."""
    strength: float | None = None
    """Power of the product of ratios, 0 to 1. None: chosen on held-out people."""
    bins: int = 6
    """Numbers with more distinct values than this are cut into so many groups of equal size."""
    min_people: int = 5
    """Values shared by fewer are left out."""

    popularity_: np.ndarray = learned()
    """float32 [items]: log of the share of people who chose an item."""
    lift_: csr_matrix = learned()
    """float32 [values, items]: what an attribute adds; what an item that nobody of them chose would add is left out of the row."""
    chosen_strength_: float = learned()
    chosen_shrinkage_: float = learned()
    edges_: dict[str, list[float]] = learned()
    """Column of numbers -> where its groups end."""
    codec_: list[dict[str, Any]] = learned()
    vocabulary_: np.ndarray = learned()

    population_frames = ("events", "people")

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        self._check()
        frame = _person_frame(population.frame("people").collect(), data.people)
        names = [name for name in frame.columns if name != "person" and says_something(frame[name])] if self.columns is None else list(self.columns)
        if missing := [name for name in names if name not in frame.columns]:
            raise ConfigError(f"the people have no column {missing}", fix=f"there are {frame.columns}")
        self.edges_ = {name: edges for name in names if (edges := _edges(frame[name], self.bins))}
        binned = self._binned(frame, names)
        kinds: dict[str, Any] = {name: "categories" if isinstance(binned[name].dtype, pl.List) else "category" for name in names}
        codec = FieldCodec.fit(binned, kinds, min_count=self.min_people)
        self.codec_, self.vocabulary_ = codec.facts(), codec.flat_vocabulary()
        chosen = data.matrix()
        chosen.data[:] = 1
        values = self._values(frame)
        if values.shape[1] and len(data.people) >= 2 * FOLDS and (self.shrinkage is None or self.strength is None):
            shrinkage, strength = self._choose(chosen, values)
        else:
            shrinkage, strength = self.shrinkage or SHRINKAGES[1], 1.0 if self.strength is None else self.strength
        self.chosen_shrinkage_, self.chosen_strength_ = float(shrinkage), float(strength)
        popularity, lift = _estimate(chosen, values, shrinkage)
        lift.data *= np.float32(strength)
        self.popularity_, self.lift_ = popularity, lift

    def _check(self) -> None:
        fits = (self.shrinkage is None or self.shrinkage > 0) and (self.strength is None or 0 <= self.strength <= 1)
        if not fits or self.bins < 2 or self.min_people < 1:
            what = f"shrinkage {self.shrinkage}, strength {self.strength}, bins {self.bins}, min_people {self.min_people}"
            raise ConfigError(what, fix="use shrinkage > 0, strength from 0 to 1, bins >= 2, min_people >= 1")

    def _choose(self, chosen: csr_matrix, values: csr_matrix) -> tuple[float, float]:
        """The pair with the best likelihood of what people chose who were left out, each with her attributes only."""
        fold = np.random.default_rng(self.seed).permutation(chosen.shape[0]) % FOLDS
        shrinkages = SHRINKAGES if self.shrinkage is None else (self.shrinkage,)
        strengths = STRENGTHS if self.strength is None else (self.strength,)
        total = np.zeros((len(shrinkages), len(strengths)))
        for part in range(FOLDS):
            out = fold == part
            for row, shrinkage in enumerate(shrinkages):
                popularity, lift = _estimate(chosen[~out], values[~out], shrinkage)
                for column, strength in enumerate(strengths):
                    total[row, column] += _likelihood(chosen[out], values[out], popularity, lift, strength)
        best = divmod(int(np.argmax(total)), len(strengths))
        return float(shrinkages[best[0]]), float(strengths[best[1]])

    # --- attributes of people as rows of `lift_`

    def _binned(self, frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        """The columns as categories; what is not there or of another kind is null."""
        out: dict[str, pl.Series] = {}
        for name in names:
            column = frame[name] if name in frame.columns else pl.Series(name, [None] * frame.height)
            if name in self.edges_:
                numbers = (
                    column.cast(pl.Float64, strict=False)
                    if not isinstance(column.dtype, pl.List)
                    else pl.Series([None] * frame.height, dtype=pl.Float64)
                )
                group = np.searchsorted(self.edges_[name], numbers.fill_null(np.nan).to_numpy())
                out[name] = pl.Series(
                    name,
                    [None if null else f"group {at}" for at, null in zip(group.tolist(), numbers.is_null().to_list(), strict=True)],
                    dtype=pl.String,
                )
            elif isinstance(column.dtype, pl.List):
                out[name] = column.cast(pl.List(pl.String))
            else:
                out[name] = column.cast(pl.String, strict=False)
        return pl.DataFrame(out) if out else pl.DataFrame({"person": frame["person"]})

    def _values(self, frame: pl.DataFrame) -> csr_matrix:
        """float32 ones [people, values]: who has which value."""
        from scipy.sparse import csr_matrix

        codec = FieldCodec.restore(self.codec_, self.vocabulary_)
        binned = self._binned(frame, codec.names)
        for field in codec.fields:
            if field.kind == "category" and isinstance(binned[field.name].dtype, pl.List):
                binned = binned.with_columns(binned[field.name].list.first())
            if field.kind == "categories" and not isinstance(binned[field.name].dtype, pl.List):
                binned = binned.with_columns(pl.concat_list(field.name).alias(field.name))
        codes = codec.encode(binned, warn=False) if codec.fields else {}
        rows, columns, start = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
        for field in codec.fields:
            own = codes[field.name].reshape(frame.height, -1)
            row, at = np.nonzero((own > 0) & (own <= field.size))
            rows.append(row)
            columns.append(start + own[row, at] - 1)
            start += field.size
        row, column = np.concatenate(rows), np.concatenate(columns)
        return csr_matrix((np.ones(row.size, np.float32), (row, column)), shape=(frame.height, start))

    def _fields_of(self, values: np.ndarray) -> list[str]:
        ends = np.cumsum([field["size"] for field in self.codec_])
        return sorted({str(self.codec_[at]["name"]) for at in np.searchsorted(ends, values, side="right").tolist()})

    # --- people

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        self.check_state(state)
        fresh = evidence.interactions(self.items_)
        own = evidence.frames.get("people")
        if own is not None and own.height:
            values = self._values(own.head(1)).indices.astype(np.int32)
        else:
            values = np.empty(0, np.int32) if state is None else state["attributes"]
        histories = describe(fresh if state is None else _after(state, fresh), {"values": _padded([values])})
        return self._named(next(self._states(histories, [state], [len(fresh)], fresh.unknown)))

    def adapt_all(self, population: Population, *, progress: bool = False) -> dict[Any, State]:
        """States of everybody with events or attributes, by person id."""
        self.check_fitted()
        about = population.frame("people").collect() if "people" in population else None
        events = population.frame("events").select("person").collect()["person"]
        both = events if about is None else pl.concat([events, about["person"].cast(events.dtype, strict=False)])
        histories = population.interactions(items=self.items_, people=IdMap.of(both.rename("person")))
        if about is None:
            rows = [np.empty(0, np.int32)] * len(histories.people)
        else:
            matrix = self._values(_person_frame(about, histories.people))
            rows = np.split(matrix.indices.astype(np.int32), matrix.indptr[1:-1])
        made = self._states(describe(histories, {"values": _padded(rows)}), [None] * len(rows), histories.lengths.tolist(), 0)
        return {person: self._named(state) for person, state in zip(histories.people.ids.to_list(), made, strict=True)}

    def _named(self, state: State) -> State:
        return replace(state, notes={**state.notes, "attributes": self._fields_of(state["attributes"])})

    def _encode(self, histories: Interactions) -> PersonalArrays:
        if not isinstance(histories, Described):
            return {"attributes": [np.empty(0, np.int32)] * len(histories.people)}
        return {"attributes": [row[row >= 0].astype(np.int32) for row in histories.about["values"]]}

    def check_state(self, state: State | None) -> None:
        super().check_state(state)
        if state is not None:
            own = state.arrays.get("attributes")
            if own is None or own.dtype != np.int32 or own.ndim != 1 or (own.size and not 0 <= own.min() <= own.max() < self.lift_.shape[0]):
                raise CorruptFile("the state's attributes are not values that this model knows", fix="adapt the person again")

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        from scipy.sparse import csr_matrix

        own = [np.empty(0, np.int32) if state is None else state["attributes"] for state in states]
        indptr = np.concatenate([[0], np.cumsum([one.size for one in own])])
        indices = np.concatenate([*own, np.empty(0, np.int32)])
        people = csr_matrix((np.ones(indices.size, np.float32), indices, indptr), shape=(len(own), self.lift_.shape[0]))
        lift, popularity = (self.lift_, self.popularity_) if items is None else (self.lift_[:, items], self.popularity_[items])
        return popularity[None] + (people @ lift).toarray()


def _estimate(chosen: csr_matrix, values: csr_matrix, shrinkage: float) -> tuple[np.ndarray, csr_matrix]:
    """Log popularity float32 [items] and log ratios float32 CSR [values, items], without the part that all items of a row share.

    (together + m p) / (people with the value + m) / p is, but for a factor that items share, (together / p + m) / m.
    """
    people = chosen.shape[0]
    share = (np.asarray(chosen.sum(axis=0)).ravel() + 0.5) / (people + 1)
    lift = (values.T @ chosen).tocsr().astype(np.float32)
    lift.data = np.log1p(lift.data / (shrinkage * share[lift.indices])).astype(np.float32)
    return np.log(share).astype(np.float32), lift


def _likelihood(chosen: csr_matrix, values: csr_matrix, popularity: np.ndarray, lift: csr_matrix, strength: float) -> float:
    """Of people's choices under a softmax of the scores, summed over people; each person counts once, however much she chose."""
    total = 0.0
    step = max(1, 4_000_000 // max(1, chosen.shape[1]))
    for start in range(0, chosen.shape[0], step):
        scores = popularity[None] + strength * (values[start : start + step] @ lift).toarray()
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        own = chosen[start : start + step]
        counts = np.asarray(own.sum(axis=1)).ravel()
        total += float((np.asarray(own.multiply(scores).sum(axis=1)).ravel() / np.maximum(counts, 1)).sum())
    return total


def _edges(column: pl.Series, bins: int) -> list[float]:
    """Ends of groups of about equal size; none for what is not numbers or has few of them."""
    if not column.dtype.is_numeric() or column.drop_nulls().n_unique() <= bins:
        return []
    numbers = column.drop_nulls().cast(pl.Float64).drop_nans().to_numpy()
    return np.unique(np.quantile(numbers, np.arange(1, bins) / bins)).tolist()


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """int32 [rows, longest], -1 where a row is shorter."""
    out = np.full((len(rows), max([1, *(row.size for row in rows)])), -1, np.int32)
    for at, row in enumerate(rows):
        out[at, : row.size] = row
    return out
