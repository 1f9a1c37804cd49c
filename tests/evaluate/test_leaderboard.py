"""Collections in BEIR's layout, reference runs over them, and a leaderboard whose rows must stand."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from sartor.cli import app
from sartor.errors import BadValue, ConfigError, CorruptFile, DuplicateRows, EmptyData, FileProblem, UnknownId
from sartor.evaluate.collections import Collection, read_collection
from sartor.evaluate.ir import measure
from sartor.evaluate.leaderboard import Leaderboard
from sartor.evaluate.personal_retrieval import personal
from sartor.evaluate.retrievers import run
from sartor.represent.text import text_encoder
from sartor.retrieve.learned_sparse import LearnedSparse

TOPICS = ("rivers and lakes", "trains on rails", "bread from rye", "stars at night")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 documents on four topics; two people who each ask about two of them, with ambiguous queries in the test part."""
    out = tmp_path / "small"
    (out / "qrels").mkdir(parents=True)
    rng = np.random.default_rng(0)
    documents = [
        {"_id": f"d{at}", "title": f"Notes {at}", "text": f"{TOPICS[at % 4]} {' '.join(rng.choice(TOPICS[at % 4].split(), 5))}"} for at in range(40)
    ]
    queries = [{"_id": f"q{at}", "text": f"notes {TOPICS[at % 4]}", "metadata": {"person": "ana" if at % 4 < 2 else "ben"}} for at in range(8)]
    queries += [{"_id": f"open{at}", "text": f"more notes {at}", "metadata": {"person": ("ana", "ben")[at % 2]}} for at in range(8)]
    (out / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in documents))
    (out / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries))
    head = "query-id\tcorpus-id\tscore\n"
    train = [f"q{at}\td{at % 4 + 4 * step}\t1\n" for at in range(8) for step in range(2)]
    # What a person means by an open query is on one of her own topics.
    test = [f"open{at}\td{document}\t{1 + document % 2}\n" for at in range(8) for document in range(20, 40) if document % 4 // 2 == at % 2]
    (out / "qrels" / "train.tsv").write_text(head + "".join(train))
    (out / "qrels" / "test.tsv").write_text(head + "".join(test) + "open0\td0\t0\n")
    return out


def test_a_folder_and_its_zip_are_the_same_collection(folder: Path, tmp_path: Path) -> None:
    collection = read_collection(folder)
    assert (collection.documents.height, collection.queries.height, collection.qrels.height) == (40, 8, 81)
    assert collection.queries["person"].to_list()[:2] == ["ana", "ben"]
    shutil.make_archive(str(tmp_path / "packed"), "zip", folder.parent, "small")
    assert read_collection(tmp_path / "packed.zip").documents.equals(collection.documents)
    with pytest.raises(FileProblem, match="splits there are: test, train"):
        read_collection(folder, split="dev")


def test_scifacts_own_release_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "release.zip", "w") as archive:
        archive.writestr("corpus_train.csv", "doc_id,title,abstract,structured\n7,Cells,\"['One sentence.'\n 'Another.']\",False\n")
        archive.writestr("claims_validation.csv", "id,claim,cited_doc_ids\n1,Cells divide,[7]\n1,Cells divide,[7]\n")
    collection = read_collection(tmp_path / "release.zip")
    assert collection.documents.row(0) == ("7", "Cells", "One sentence. Another.")
    assert collection.qrels.rows() == [("1", "7", 1.0)]


@pytest.mark.parametrize("name", ["bm25", "bm25-multi", "dense:hashed", "hybrid:hashed", "late:hashed"])
def test_reference_runs_find_what_is_meant(folder: Path, name: str) -> None:
    found = run(name, read_collection(folder, split="train"))
    assert measure(found.table, read_collection(folder, split="train").qrels, ["ndcg@10"]).means["ndcg@10"] > 0.4
    assert found.index_bytes > 0
    assert found.queries_per_second > 0
    assert found.table.group_by("query").len()["len"].max() <= 100


def test_learned_sparse_search_is_the_product_of_term_weights(folder: Path, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    collection, model = read_collection(folder, split="train"), tmp_path / "masked"
    words = sorted({word for text in [*collection.texts(), *collection.queries["text"]] for word in text.lower().split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizerFast(vocab_file=str(tmp_path / "vocab.txt")).save_pretrained(model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(model)
    texts, queries = collection.texts().to_list(), collection.queries["text"].to_list()
    index = LearnedSparse(model, batch_size=7, keep=0).build(texts)
    # One text at a time, straight from the definition: no padding, no order to lose.
    network, tokenizer = transformers.AutoModelForMaskedLM.from_pretrained(model).eval(), transformers.AutoTokenizer.from_pretrained(model)

    def weights(text: str) -> np.ndarray:
        with torch.inference_mode():
            return torch.log1p(torch.relu(network(**tokenizer(text, return_tensors="pt")).logits)).amax(1)[0].numpy()

    expected = np.stack([weights(query) for query in queries]) @ np.stack([weights(text) for text in texts]).T
    hits = index.search(queries, len(texts))
    assert (hits.indices >= 0).all()
    np.testing.assert_allclose(np.take_along_axis(expected, hits.indices, 1), hits.scores, rtol=1e-4)
    assert (np.diff(hits.scores, axis=1) <= 1e-5).all()
    assert LearnedSparse(model, keep=3).build(texts).weigh(texts[:2]).getnnz(axis=1).max() <= 3
    assert run(f"sparse:{model}", collection).table["query"].n_unique() == len(queries)


def test_a_row_stands_until_something_is_changed(folder: Path, tmp_path: Path) -> None:
    collection, board = read_collection(folder), Leaderboard(tmp_path / "board.jsonl")
    for name in ("bm25", "dense:hashed"):
        row = board.add(run(name, collection), collection)
    assert board.verify([collection]) == []
    assert board.table().height == 2
    radar = board.radar([collection])
    assert radar["method"].to_list() == ["dense:hashed"]
    # One document changes places with another in the kept run: the row falls.
    file = tmp_path / row["run"]
    lines = file.read_text().splitlines()
    relevant = set(collection.qrels.filter(pl.col("relevance") > 0)["document"])
    first = next(at for at, line in enumerate(lines) if line.split()[2] in relevant)
    words = lines[first].split()
    lines[first] = " ".join([words[0], "Q0", words[2], words[3], "-9999.0", words[5]])
    file.write_text("\n".join(lines) + "\n")
    ((fallen, why),) = board.verify([collection])
    assert fallen["method"] == "dense:hashed"
    assert "measured again" in why
    assert board.radar([collection]).is_empty()
    file.unlink()
    assert board.verify([collection])[0][0]["method"] == "dense:hashed"
    file.write_text("no run at all\n")
    assert "fields" in board.verify([collection])[0][1]


def test_no_number_is_no_figure(folder: Path, tmp_path: Path) -> None:
    collection, board = read_collection(folder), Leaderboard(tmp_path / "board.jsonl")
    row = board.add(run("bm25", collection), collection)
    for figures in ({"ndcg@10": float("nan")}, {"beauty@10": 1.0}):
        board.path.write_text(json.dumps({**row, "metrics": figures}) + "\n")
        assert [fallen["method"] for fallen, _ in board.verify([collection])] == ["bm25"]
    board.path.write_text(json.dumps({**row, "metrics": {}}) + "\n")
    with pytest.raises(CorruptFile):
        board.rows()


def test_a_row_cannot_point_outside_its_folder(folder: Path, tmp_path: Path) -> None:
    collection, board = read_collection(folder), Leaderboard(tmp_path / "here" / "board.jsonl")
    row = board.add(run("bm25", collection), collection)
    shutil.copy(tmp_path / "here" / row["run"], tmp_path / "outside.trec")
    board.path.write_text(json.dumps({**row, "run": "../outside.trec"}) + "\n")
    assert "outside" in board.verify([collection])[0][1]
    board.path.write_text("{}\n")
    with pytest.raises(CorruptFile):
        board.rows()


def test_runs_of_like_names_have_files_of_their_own(folder: Path, tmp_path: Path) -> None:
    collection, board = read_collection(folder), Leaderboard(tmp_path / "board.jsonl")
    made = run("bm25", collection)
    rows = [board.add(replace(made, name=name), collection) for name in ("a:b", "a-b", "a/b", "a b")]
    assert len({row["run"] for row in rows}) == 4
    assert all((tmp_path / row["run"]).is_file() for row in rows)


def test_a_query_leans_towards_what_its_person_found(folder: Path) -> None:
    encoder = text_encoder("hashed")
    found, columns = personal(encoder, read_collection(folder), read_collection(folder, split="train"))
    assert columns["gain_interval"][0] > 0
    assert columns["swap_gap_interval"][0] > columns["gain"]
    assert (columns["personal_queries"], columns["state_bytes"]) == (8, 512 * 4 + 4)
    assert found.table["query"].n_unique() == 8
    with pytest.raises(ConfigError, match="both splits"):
        personal(encoder, read_collection(folder), read_collection(folder))


def test_the_command_prints_a_leaderboard(folder: Path, tmp_path: Path) -> None:
    board = tmp_path / "board.jsonl"
    asked = ["leaderboard", str(folder), "--board", str(board), "-m", "bm25", "-m", "dense:hashed", "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {row["method"] for row in told["rows"]} == {"bm25", "dense:hashed"}
    assert told["refused"] == []
    (tmp_path / "runs" / "small-test-bm25-0.trec").write_text("")
    again = CliRunner().invoke(app, [*asked, "--verify"])
    assert again.exit_code == 1
    assert json.loads(again.stdout)["refused"][0]["method"] == "bm25"


def test_mistakes_are_named(folder: Path, tmp_path: Path) -> None:
    documents = {"document": ["a", "b"], "text": ["one", "two"]}
    queries = {"query": ["q"], "text": ["one"]}
    qrels = {"query": ["q"], "document": ["a"], "relevance": [1]}
    assert repr(Collection.of("tiny", documents, queries, qrels)) == "Collection(tiny: 2 documents, 1 queries, 1 judgements)"
    with pytest.raises(UnknownId, match="1 documents that are not there, such as z"):
        Collection.of("tiny", documents, queries, {**qrels, "document": ["z"]})
    with pytest.raises(EmptyData, match="has a text"):
        run("bm25", Collection.of("tiny", documents, {**queries, "text": [" "]}, qrels))
    with pytest.raises(DuplicateRows):
        Collection.of("tiny", {**documents, "document": ["a", "a"]}, queries, qrels)
    with pytest.raises(EmptyData):
        Collection.of("tiny", documents, queries, {**qrels, "relevance": [0]})
    with pytest.raises(ConfigError, match="no reference run"):
        run("bm26", read_collection(folder))
    (folder / "corpus.jsonl").write_text('{"_id": "d0", "text": "x"}\n{broken\n')
    with pytest.raises(BadValue, match=r"corpus\.jsonl"):
        read_collection(folder)
