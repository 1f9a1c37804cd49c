"""Search, measured: who was asked to find what (qrels), what was found (a run), and how good it is, per query.

    qrels = read_qrels("qrels/test.tsv")                       # query, document, relevance
    run = read_run("bm25.trec")                                # query, document, score
    measure(run, qrels).means                                  # {"ndcg@10": 0.68, "recall@100": 0.93}

Both are tables. Documents of a query are ordered by score, highest first; equal scores by document id, the later id first, which is trec_eval's
rule. Gains of NDCG are the relevance itself. A query with a relevant document for which a run gives nothing counts as 0; a query without a
relevant document is left out, and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sartor._storage import write_atomically
from sartor.data.ids import IdMap
from sartor.errors import BadValue, ConfigError, DuplicateRows, EmptyData, FileProblem, MissingColumn
from sartor.evaluate.metrics.ranking import GRADED, Truth, ranking

OFFICIAL = ("ndcg@10", "recall@100")
"""BEIR's pair."""
KERNEL = {"ndcg": GRADED, "recall": "recall", "mrr": "mrr", "map": "map_ref", "precision": "precision", "hit_rate": "hit_rate"}
"""Name here -> name in `metrics.ranking`; `map` divides by all relevant documents, as trec_eval does."""
_METRIC = re.compile(r"([a-z_]+)@([1-9]\d*)")


@dataclass(frozen=True, eq=False)
class Measured:
    """What a run is worth."""

    per_query: pl.DataFrame
    """query, then one column per metric; every query with a relevant document."""
    excluded: int
    """Queries of the qrels without a relevant document."""
    missing: int
    """Queries with a relevant document for which the run has nothing: they count as 0."""
    strangers: int
    """Queries of the run that the qrels do not know."""

    @property
    def means(self) -> dict[str, float]:
        """metric -> mean over queries."""
        return {name: float(self.per_query[name].mean()) for name in self.per_query.columns[1:]}  # type: ignore[arg-type]


def measure(run: Any, qrels: Any, metrics: Sequence[str] = OFFICIAL) -> Measured:
    """Metrics of a run for each query.

    Parameters
    ----------
    run: query, document, score: polars, pandas, Arrow, or a dict of columns.
    qrels: query, document, relevance; 0 or less is irrelevant.
    metrics: "ndcg@10" and the like, of ndcg, recall, mrr, map, precision, hit_rate.

    Raises `ConfigError` (metric), `MissingColumn`, `BadValue` (a score that is no number), `DuplicateRows` (a document twice for one query),
    `EmptyData` (nothing to judge by).
    """
    wanted = [_parsed(name) for name in metrics]
    found, judged = checked_run(run), checked_qrels(qrels)
    relevant = judged.filter(pl.col("relevance") > 0)
    if relevant.is_empty():
        raise EmptyData("no query has a relevant document", fix="give qrels with a relevance above 0")
    queries = IdMap.of(relevant["query"])
    documents = IdMap.of(pl.concat([relevant["document"], found["document"]]))
    truth = Truth.from_pairs(
        queries.numbers(relevant["query"]), documents.numbers(relevant["document"]), len(queries), relevance=relevant["relevance"].to_numpy()
    )
    rows = queries.numbers(found["query"])
    own = found.with_columns(row=pl.Series(rows, dtype=pl.Int64)).filter(pl.col("row") >= 0)
    deepest = max(k for _, k in wanted)
    place = own.select(pl.int_range(pl.len()).over("row").alias("place"))["place"].to_numpy()
    near = place < deepest
    best = np.full((len(queries), min(deepest, int(place.max(initial=-1)) + 1) or 1), -1, np.int32)
    best[own["row"].to_numpy()[near], place[near]] = documents.numbers(own["document"].filter(pl.Series(near)))
    ks = sorted({k for _, k in wanted})
    values = ranking(best, truth, ks, gain="linear")
    columns = {name: values[KERNEL[kind]][:, ks.index(k)] for name, (kind, k) in zip(metrics, wanted, strict=True)}
    asked = int(judged["query"].n_unique())
    return Measured(
        pl.DataFrame({"query": list(queries.ids), **columns}, schema_overrides={"query": pl.String}),
        asked - len(queries), len(queries) - int(np.unique(rows[rows >= 0]).size), int(found["query"].filter(pl.Series(rows < 0)).n_unique()),
    )  # fmt: skip


def ordered(run: pl.DataFrame) -> pl.DataFrame:
    """A run by query, best document first."""
    return run.sort("query", "score", "document", descending=[False, True, True])


def checked_run(run: Any) -> pl.DataFrame:
    """query and document as text, score as float64, in order; see `measure` for what it raises."""
    frame = _frame(run, ("query", "document", "score"), "run")
    if frame["score"].is_null().any() or not frame["score"].is_finite().all():
        bad = int((~frame["score"].is_finite().fill_null(False)).arg_true()[0])
        raise BadValue("a score of the run is not a finite number", fix="give every document a number", query=frame["query"][bad], row=bad + 1)
    _once(frame, "run")
    return ordered(frame)


def checked_qrels(qrels: Any) -> pl.DataFrame:
    """query and document as text, relevance as float64."""
    frame = _frame(qrels, ("query", "document", "relevance"), "qrels")
    if frame["relevance"].is_null().any() or not frame["relevance"].is_finite().all():
        raise BadValue("a relevance is missing or no number", fix="give every judged document a grade", frame="qrels")
    _once(frame, "qrels")
    return frame


def _frame(table: Any, names: tuple[str, str, str], what: str) -> pl.DataFrame:
    from sartor.data.population import _as_lazy

    frame = _as_lazy(table).collect()
    for name in names:
        if name not in frame.columns:
            raise MissingColumn(f"the {what} has no column '{name}'", fix=f"it needs {', '.join(names)}; this has {frame.columns}", column=name)
    try:
        return frame.select(pl.col(names[:2]).cast(pl.String), pl.col(names[2]).cast(pl.Float64))
    except pl.exceptions.PolarsError as cause:
        raise BadValue(f"the column '{names[2]}' of the {what} is not made of numbers", fix="give numbers", column=names[2]) from cause


def _once(frame: pl.DataFrame, what: str) -> None:
    twice = frame.filter(pl.struct("query", "document").is_duplicated())
    if twice.height:
        query, document = twice["query"][0], twice["document"][0]
        raise DuplicateRows(
            f"{twice.height} rows of the {what} name a document that the same query has already", fix="keep one", query=query, document=document
        )


def _parsed(metric: str) -> tuple[str, int]:
    match = _METRIC.fullmatch(metric)
    if match is None or match[1] not in KERNEL:
        raise ConfigError(f"there is no metric '{metric}'", fix=f"write for example ndcg@10; there are {', '.join(KERNEL)}")
    return match[1], int(match[2])


# --- files


def read_qrels(path: str | Path) -> pl.DataFrame:
    """Qrels of a file: BEIR's (query-id, corpus-id, score, with a header) or TREC's (query, iteration, document, relevance)."""
    rows = []
    for number, parts in _lines(Path(path)):
        if number == 1 and parts[-1].lower() in ("score", "relevance", "rel"):
            continue
        if len(parts) not in (3, 4):
            raise BadValue(f"a line of qrels has {len(parts)} fields", fix="3 as BEIR has them, or 4 as TREC", file=path, row=number)
        rows.append((parts[0], parts[-2], _number(parts[-1], path, number)))
    return checked_qrels(pl.DataFrame(rows, schema={"query": pl.String, "document": pl.String, "relevance": pl.Float64}, orient="row"))


def read_run(path: str | Path) -> pl.DataFrame:
    """A run in TREC's form: query Q0 document rank score tag. The rank is not read; the order follows from the scores."""
    rows = []
    for number, parts in _lines(Path(path)):
        if len(parts) != 6:
            raise BadValue(f"a line of a run has {len(parts)} fields", fix="query Q0 document rank score tag", file=path, row=number)
        rows.append((parts[0], parts[2], _number(parts[4], path, number)))
    return checked_run(pl.DataFrame(rows, schema={"query": pl.String, "document": pl.String, "score": pl.Float64}, orient="row"))


def write_run(run: Any, path: str | Path, tag: str) -> Path:
    """Write a run in TREC's form; scores keep all their digits."""
    frame = checked_run(run)
    for name in ("query", "document"):
        if frame[name].str.contains(r"\s").any() or (frame[name] == "").any():
            raise BadValue(f"a {name} id is empty or has a space in it, which a run file cannot hold", fix="use other ids", column=name)
    place = frame.select(pl.int_range(1, pl.len() + 1).over("query").alias("rank"))["rank"].to_list()
    tag = re.sub(r"\s+", "-", tag) or "run"
    rows = zip(frame["query"].to_list(), frame["document"].to_list(), place, frame["score"].to_list(), strict=True)
    write_atomically(Path(path), "".join(f"{query} Q0 {document} {rank} {score!r} {tag}\n" for query, document, rank, score in rows).encode())
    return Path(path)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise FileProblem(f"this cannot be read as text ({cause})", fix="give a UTF-8 text file", file=path) from cause
    for number, line in enumerate(text.splitlines(), 1):
        if parts := line.split():
            yield number, parts


def _number(text: str, path: str | Path, row: int) -> float:
    try:
        return float(text)
    except ValueError as cause:
        raise BadValue(f"'{text[:40]}' is not a number", fix="give a number", file=path, row=row) from cause


def as_run(queries: Sequence[str], found: Sequence[Sequence[Any]], scores: Sequence[Sequence[float]] | np.ndarray) -> pl.DataFrame:
    """A run from lists of document ids and their scores, one list per query."""
    lengths = [len(own) for own in found]
    flat: Mapping[str, Any] = {
        "query": np.repeat(np.array(list(map(str, queries)), object), lengths).tolist(),
        "document": [str(one) for own in found for one in own],
        "score": [float(value) for own, values in zip(found, scores, strict=True) for _, value in zip(own, values, strict=False)],
    }
    return pl.DataFrame(flat, schema={"query": pl.String, "document": pl.String, "score": pl.Float64})
