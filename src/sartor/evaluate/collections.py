"""Collections to search in: documents, queries and who judged what, from a folder or archive in BEIR's layout.

    collection = read_collection("scifact")                    # corpus.jsonl, queries.jsonl, qrels/test.tsv
    collection.documents                                       # document, title, text
    collection.queries                                         # query, text, and person where queries are somebody's

Source: Thakur et al., BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models, NeurIPS 2021.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sartor.data.loaders import Source, open_source
from sartor.errors import BadValue, DuplicateRows, EmptyData, FileProblem, MissingColumn, UnknownId
from sartor.evaluate.ir import checked_qrels, read_qrels

PERSON = ("person", "user", "user_id")
"""Names under which a query says whose it is."""


@dataclass(frozen=True, eq=False)
class Collection:
    """One search task."""

    name: str
    documents: pl.DataFrame
    """document, title, text; ids are texts, all different."""
    queries: pl.DataFrame
    """query, text, person (null where it is nobody's); only those that the qrels judge."""
    qrels: pl.DataFrame
    """query, document, relevance."""
    split: str = "test"

    @classmethod
    def of(cls, name: str, documents: Any, queries: Any, qrels: Any, *, split: str = "test") -> Collection:
        """From tables, checked.

        Raises `DuplicateRows` (an id twice), `UnknownId` (qrels that name a document or a query that is not there: how many, and three of
        them), `EmptyData` (no document, no query, or no query with a relevant document).
        """
        corpus = _table(documents, "document", ("title", "text"))
        asked = _table(queries, "query", ("text", "person"))
        judged = checked_qrels(qrels)
        if corpus.is_empty() or asked.is_empty():
            raise EmptyData(f"{name} has no {'documents' if corpus.is_empty() else 'queries'}", fix="give at least one")
        for column, known in (("document", corpus["document"]), ("query", asked["query"])):
            lost = judged.filter(~pl.col(column).is_in(known.implode()))[column].unique(maintain_order=True)
            if lost.len():
                shown = ", ".join(lost.head(3).to_list())
                raise UnknownId(
                    f"the qrels of {name} name {lost.len()} {'queries' if column == 'query' else 'documents'} that are not there, such as {shown}",
                    fix="take the qrels and the files of one version", column=column, id=lost[0],
                )  # fmt: skip
        wanted = judged.filter(pl.col("relevance") > 0)["query"]
        if wanted.is_empty():
            raise EmptyData(f"no query of {name} has a relevant document", fix="give qrels with a relevance above 0")
        return cls(name, corpus, asked.filter(pl.col("query").is_in(judged["query"].implode())), judged, split)

    def texts(self) -> pl.Series:
        """Title and text of each document as one text."""
        return self.documents.select(pl.concat_str(pl.col("title", "text").fill_null(""), separator=" ").str.strip_chars().alias("text"))["text"]

    def __repr__(self) -> str:
        return f"Collection({self.name}: {self.documents.height:,} documents, {self.queries.height:,} queries, {self.qrels.height:,} judgements)"


def read_collection(path: str | Path, *, split: str | None = None) -> Collection:
    """A collection from a folder or an archive in BEIR's layout, or from SciFact's own release.

    Parameters
    ----------
    path: holds corpus.jsonl (_id, title, text), queries.jsonl (_id, text, optionally a person, also inside `metadata`) and qrels/<split>.tsv.
    split: which qrels; "test" by default (of SciFact "validation", whose claims BEIR takes).

    Raises `FileProblem`, `BadValue` (with file and row), and what `Collection.of` raises.
    """
    source = open_source(path)
    if source.matching("corpus_train.csv") and not source.matching("corpus.jsonl"):
        return _scifact(source, split or "validation")
    split = split or "test"
    if not source.matching(f"{split}.tsv"):
        there = ", ".join(sorted(one.stem for one in source.matching("*.tsv"))) or "none"
        raise FileProblem(f"there are no qrels '{split}.tsv'", fix=f"splits there are: {there}", file=source.path)
    documents = _read_lines(source.need("corpus.jsonl"), ("title", "text"))
    queries = _read_lines(source.need("queries.jsonl"), ("text", *PERSON))
    for name in PERSON:
        if name in queries.columns and queries[name].is_not_null().any():
            queries = queries.with_columns(person=pl.col(name))
            break
    qrels = read_qrels(_qrels(source, split))
    return Collection.of(source.name, documents.rename({"_id": "document"}), queries.rename({"_id": "query"}), qrels, split=split)


def _scifact(source: Source, split: str) -> Collection:
    """Claims as queries, the abstracts that they cite as relevant documents.

    Source: Wadden et al., Fact or Fiction: Verifying Scientific Claims, EMNLP 2020.
    """
    try:
        corpus, claims = (pl.read_csv(source.need(f"{name}.csv"), infer_schema=False) for name in ("corpus_train", f"claims_{split}"))
        # Abstracts are lists of sentences, written as Python writes them.
        sentences = pl.col("abstract").str.strip_chars("[]").str.replace_all(r"['\"]\s+['\"]", " ").str.strip_chars("'\"")
        documents = corpus.select(document="doc_id", title="title", text=sentences)
        cited = claims.select(query="id", document=pl.col("cited_doc_ids").str.extract_all(r"\d+")).explode("document")
        asked = claims.select(query="id", text="claim").unique("query", maintain_order=True)
    except pl.exceptions.PolarsError as cause:
        raise FileProblem(f"this is not SciFact's release ({cause})", fix="it holds corpus_train.csv and claims_*.csv", file=source.path) from cause
    qrels = cited.drop_nulls().unique(maintain_order=True).with_columns(relevance=pl.lit(1.0))
    return Collection.of("scifact", documents, asked, qrels, split=split)


def _qrels(source: Source, split: str) -> Path:
    inside = [file for name, file in source.files.items() if name.endswith(f"qrels/{split}.tsv")]
    return inside[0] if inside else source.need(f"{split}.tsv")


def _read_lines(path: Path, names: tuple[str, ...]) -> pl.DataFrame:
    """JSON lines as text columns: _id and those of `names` that occur, of the row itself or of its `metadata`."""
    rows: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict) or row.get("_id") in (None, ""):
                    raise BadValue("a line has no _id", fix='write {"_id": "...", "text": "..."}', file=path, row=number)
                beside = row["metadata"] if isinstance(row.get("metadata"), dict) else {}
                values = {name: row.get(name, beside.get(name)) for name in names}
                rows.append({"_id": str(row["_id"]), **{name: None if value is None else str(value) for name, value in values.items()}})
    except json.JSONDecodeError as cause:
        raise BadValue(f"a line is not JSON ({cause.msg})", fix="one JSON object per line", file=path, row=number) from cause
    except (OSError, UnicodeDecodeError) as cause:
        raise FileProblem(f"this cannot be read as text ({cause})", fix="give UTF-8", file=path) from cause
    if not rows:
        raise EmptyData("the file holds no line", fix="one JSON object per line", file=path)
    return pl.DataFrame(rows, schema={"_id": pl.String, **dict.fromkeys(names, pl.String)})


def _table(table: Any, key: str, names: tuple[str, ...]) -> pl.DataFrame:
    from sartor.data.population import _as_lazy

    frame = _as_lazy(table).collect()
    if key not in frame.columns or "text" not in frame.columns:
        raise MissingColumn(f"there is no column '{key if key not in frame.columns else 'text'}'", fix=f"this has {frame.columns}")
    missing = [name for name in names if name not in frame.columns]
    made = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in missing).select(pl.col(key, *names).cast(pl.String))
    if made[key].is_null().any():
        raise BadValue(f"a {key} has no id", fix="give each an id", column=key, row=int(made[key].is_null().arg_true()[0]) + 1)
    twice = made.filter(pl.col(key).is_duplicated())
    if twice.height:
        raise DuplicateRows(f"{twice.height} rows share their {key} id with another", fix="give each an id of its own", id=twice[key][0])
    if key == "document" and (blank := made.filter(pl.all_horizontal(pl.col("title", "text").fill_null("").str.strip_chars() == "")).height):
        warnings.warn(f"{blank} documents have neither title nor text: only a filter can find them", stacklevel=4)
    return made
