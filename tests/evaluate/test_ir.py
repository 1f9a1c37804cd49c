"""Metrics of search equal trec_eval's, ties and all; runs and qrels are read, written and checked."""

from __future__ import annotations

from pathlib import Path

import ir_measures
import numpy as np
import polars as pl
import pytest
from ir_measures import AP, RR, P, R, nDCG

from sartor.errors import BadValue, ConfigError, DuplicateRows, EmptyData, FileProblem, MissingColumn
from sartor.evaluate.ir import as_run, checked_run, measure, read_qrels, read_run, write_run

METRICS = {
    "ndcg@10": nDCG @ 10,
    "recall@100": R @ 100,
    "mrr@100": RR,  # trec_eval's; with a cut-off ir-measures takes another tool, which has other ties
    "map@100": AP @ 100,
    "precision@5": P @ 5,
}


def tables(seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A run with many equal scores, and graded judgements of some documents."""
    rng = np.random.default_rng(seed)
    run, qrels = [], []
    for query in range(rng.integers(2, 6)):
        found, judged = (rng.choice(60, rng.integers(1, most), replace=False) for most in (40, 12))
        run += [(f"q{query}", f"d{document}", float(rng.integers(0, 6))) for document in found]
        qrels += [(f"q{query}", f"d{document}", float(rng.integers(0, 4))) for document in judged]
        qrels.append((f"q{query}", "d-relevant", 1.0))
    return (
        pl.DataFrame(run, schema=["query", "document", "score"], orient="row"),
        pl.DataFrame(qrels, schema=["query", "document", "relevance"], orient="row"),
    )


@pytest.mark.parametrize("seed", range(40))
def test_every_metric_equals_trec_evals(seed: int) -> None:
    run, qrels = tables(seed)
    judged = [ir_measures.Qrel(query, document, int(grade)) for query, document, grade in qrels.iter_rows()]
    scored = [ir_measures.ScoredDoc(*row) for row in run.iter_rows()]
    theirs = {(str(one.measure), one.query_id): one.value for one in ir_measures.iter_calc(list(METRICS.values()), judged, scored)}
    ours = measure(run, qrels, list(METRICS)).per_query
    for row in ours.iter_rows(named=True):
        for name, peer in METRICS.items():
            assert row[name] == pytest.approx(theirs[str(peer), row["query"]], abs=1e-12), (name, row["query"])


def test_queries_without_an_answer_count_and_those_without_a_truth_do_not() -> None:
    qrels = {"query": ["a", "b", "c"], "document": ["1", "1", "1"], "relevance": [1, 1, 0]}
    found = measure({"query": ["a", "x"], "document": ["1", "1"], "score": [2.0, 1.0]}, qrels)
    assert found.means == {"ndcg@10": 0.5, "recall@100": 0.5}
    assert (found.excluded, found.missing, found.strangers) == (1, 1, 1)


def test_runs_and_qrels_survive_their_files(tmp_path: Path) -> None:
    run, qrels = tables(3)
    run = run.with_columns(score=pl.col("score") / 3)
    path = write_run(run, tmp_path / "run.trec", "a method")
    assert read_run(path).equals(checked_run(run))
    beir, trec = tmp_path / "beir.tsv", tmp_path / "trec.txt"
    beir.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{int(r)}\n" for q, d, r in qrels.iter_rows()))
    trec.write_text("".join(f"{q} 0 {d} {int(r)}\n" for q, d, r in qrels.iter_rows()))
    assert read_qrels(beir).equals(read_qrels(trec))
    assert measure(read_run(path), read_qrels(beir)).means == measure(run, qrels).means


def test_lists_become_a_run() -> None:
    run = as_run(["a", "b"], [[1, 2], []], [[0.5, 0.25], []])
    assert run.rows() == [("a", "1", 0.5), ("a", "2", 0.25)]


def test_mistakes_are_named(tmp_path: Path) -> None:
    run = {"query": ["a", "a"], "document": ["1", "2"], "score": [1.0, 0.5]}
    qrels = {"query": ["a"], "document": ["1"], "relevance": [1]}
    with pytest.raises(DuplicateRows, match="same query"):
        measure({**run, "document": ["1", "1"]}, qrels)
    with pytest.raises(BadValue, match="finite"):
        measure({**run, "score": [1.0, float("nan")]}, qrels)
    with pytest.raises(MissingColumn):
        measure({"query": ["a"], "document": ["1"]}, qrels)
    with pytest.raises(EmptyData):
        measure(run, {**qrels, "relevance": [0]})
    with pytest.raises(ConfigError, match="ndgc"):
        measure(run, qrels, ["ndgc@10"])
    bad = tmp_path / "bad.trec"
    bad.write_text("a Q0 1 1 high tag\n")
    with pytest.raises(BadValue, match="high"):
        read_run(bad)
    with pytest.raises(FileProblem):
        read_run(tmp_path / "none")
    with pytest.raises(BadValue, match="space"):
        write_run({**run, "document": ["1 2", "3"]}, tmp_path / "run.trec", "x")
