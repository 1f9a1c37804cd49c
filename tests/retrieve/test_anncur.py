"""Search with expensive scorers: counted and checked calls, completion from anchors, cross-encoders against their libraries."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, FileProblem, NotFitted, SpaceMismatch, StateMismatch, UnknownId
from sartor.method import State
from sartor.retrieve.anncur import ANNCUR
from sartor.retrieve.pair_scorer import CountedScorer, Nondeterministic

ITEMS = [f"item {row}" for row in range(120)]


def low_rank(rank: int = 6, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Scores [60 queries, 120 items]."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(60, rank)) @ rng.normal(size=(rank, 120)) + noise * rng.normal(size=(60, 120))).astype(np.float32)


def scorer_of(scores: np.ndarray, **settings: Any) -> CountedScorer:
    return CountedScorer(lambda queries, items: scores[np.array(queries), [int(item.split()[1]) for item in items]], **settings)


# --- the black box


def test_pairs_are_counted_and_come_in_order_whatever_the_batches() -> None:
    scores = low_rank()
    scorer = scorer_of(scores, batch_size=7)
    np.testing.assert_array_equal(scorer.matrix(range(5, 9), ITEMS[:30]), scores[5:9, :30])
    assert scorer.calls == 120
    assert scorer.pairs([3, 4], [ITEMS[9], ITEMS[0]]).tolist() == [scores[3, 9], scores[4, 0]]
    assert scorer.calls == 122


def test_a_score_that_is_not_finite_names_its_pair() -> None:
    scores = low_rank()
    scores[4, 11] = np.nan
    with pytest.raises(BadValue, match="query 4, item 'item 11'"):
        scorer_of(scores).matrix(range(10), ITEMS)
    with pytest.raises(BadValue, match=r"shape \[1\]"):
        CountedScorer(lambda queries, items: np.zeros(1)).pairs([1, 2], ["a", "b"])


def test_a_scorer_that_changes_its_mind_is_warned_of_with_its_variance() -> None:
    rng, scores = np.random.default_rng(0), low_rank()
    moody = CountedScorer(lambda queries, items: scores[0, : len(queries)] * 0 + rng.normal(scale=0.5, size=len(queries)).astype(np.float32))
    with pytest.warns(Nondeterministic, match="variance"):
        found = moody.probe(range(60), ITEMS, pairs=64)
    assert 0.15 < found.variance < 0.4
    assert moody.calls == 128
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scorer_of(scores).probe(range(60), ITEMS).variance == 0


# --- completion


def test_scores_of_low_rank_are_completed_exactly_and_the_calls_are_as_allowed() -> None:
    scores = low_rank()
    scorer = scorer_of(scores)
    index = ANNCUR(anchor_items=12, anchor_queries=30).build(scorer, range(40), ITEMS, probe=False, progress=False)
    assert scorer.calls == 30 * 120
    answers = index.answers(scorer, range(40, 60))
    np.testing.assert_allclose(index.approximate(answers), scores[40:], atol=1e-3)
    scorer.calls = 0
    hits = index.search(scorer, range(40, 60), 10, calls=22)
    assert scorer.calls == 20 * 22
    np.testing.assert_array_equal(hits.indices, np.argsort(-scores[40:], 1)[:, :10])
    np.testing.assert_array_equal(hits.scores, -np.sort(-scores[40:], 1)[:, :10])
    report = index.rank_report()
    assert report.rank(0.9999) <= 6 < report.singular_values.size
    assert 1 < report.effective < 7


def test_it_is_the_published_formula() -> None:
    scores = low_rank(rank=60, noise=0.3)
    index = ANNCUR(anchor_items=10, rcond=0.0).build_from(scores[:40], ITEMS)
    published = scores[40:, index.anchors_] @ np.linalg.pinv(scores[:40, index.anchors_]) @ scores[:40]
    np.testing.assert_allclose(index.approximate(scores[40:, index.anchors_]), published, rtol=1e-3, atol=1e-3)
    ridge = ANNCUR(anchor_items=10, ridge=0.2).build_from(scores[:40], ITEMS)
    a = scores[:40, ridge.anchors_].astype(float)
    damped = np.linalg.solve(a.T @ a + (0.2 * np.linalg.norm(a, 2)) ** 2 * np.eye(10), a.T)
    np.testing.assert_allclose(ridge._inverse(), damped, rtol=1e-6, atol=1e-9)


def test_noise_is_worst_where_anchor_queries_are_as_many_as_anchor_items_and_damping_helps() -> None:
    scores = low_rank(noise=0.2, seed=3)

    def error(queries: int, **settings: Any) -> float:
        index = ANNCUR(anchor_items=20, **settings).build_from(scores[:queries], ITEMS)
        return float(np.abs(index.approximate(scores[45:, index.anchors_]) - scores[45:]).mean())

    assert error(45) < error(20) / 2
    assert error(20, ridge=0.1) < error(20) / 2


def test_only_exact_scores_are_given_and_filters_hold() -> None:
    scores = low_rank(rank=40, noise=1.0)
    scorer = scorer_of(scores)
    attributes = pl.DataFrame({"odd": [row % 2 == 1 for row in range(120)]})
    index = ANNCUR(anchor_items=10).build(scorer, range(40), ITEMS, ITEMS, attributes=attributes, progress=False)
    hits = index.search(scorer, [50, 51], 15, calls=40, where="odd")
    for row, query in enumerate((50, 51)):
        assert all(int(name.split()[1]) % 2 for name in hits[row])
        np.testing.assert_array_equal(hits.scores[row], scores[query, hits.indices[row]])
    # An anchor that has been removed is asked about still, but not given.
    gone = index.questions[0]
    index.remove([gone])
    assert gone not in index.search(scorer, [50], 100, calls=120)[0]
    few = index.search(scorer, [50], 5, calls=20, allowed=["item 1", "item 2"])
    assert set(few[0]) == {"item 1", "item 2"}
    assert (few.indices[0, 2:] == -1).all()


def test_answers_known_already_cost_no_calls_and_may_have_gaps() -> None:
    scores = low_rank()
    scorer = scorer_of(scores)
    index = ANNCUR(anchor_items=20).build_from(scores[:40], ITEMS)
    answers = scores[50:52][:, index.anchors_].astype(np.float16)
    assert answers[0].nbytes == 40
    hits = index.search(scorer, [50, 51], 5, calls=10, answers=answers)
    assert scorer.calls == 20
    assert (hits.indices == np.argsort(-scores[50:52], 1)[:, :5]).mean() > 0.8
    # Six known answers hold all there is to know in a matrix of rank six.
    known = scores[50, index.anchors_].copy()
    known[8:] = np.nan
    np.testing.assert_allclose(index.complete(known)[0], scores[50, index.anchors_], atol=0.05)
    assert not index.complete(np.full(20, np.nan)).any()
    with pytest.raises(BadValue, match="20 anchors"):
        index.complete(np.zeros(7))
    with pytest.raises(BadValue, match="infinite"):
        index.complete(np.full(20, np.inf))


def test_a_person_is_her_answers() -> None:
    scores = low_rank(seed=4)
    index = ANNCUR(anchor_items=20).build_from(scores[:40], ITEMS, ITEMS)
    own = {name: float(scores[50, int(name.split()[1])]) for name in index.questions}
    state = index.state({name: own[name] for name in index.questions[:5]})
    assert state.nbytes == 40
    assert np.isnan(state["answers"]).sum() == 15
    later = index.state({name: own[name] for name in index.questions[5:]}, State.from_bytes(state.to_bytes()))
    assert (later.version, later.examples) == (2, 20)
    best = np.argsort(-scores[50])[:10]
    approximate = index.approximate(index.stacked([later, None]))
    assert np.isin(np.argsort(-approximate[0])[:10], best).sum() >= 9
    np.testing.assert_allclose(index.stacked([None])[0], scores[:40, index.anchors_].mean(0), rtol=1e-5)
    assert index.stacked([]).shape == (0, 20)
    other = ANNCUR(anchor_items=20, seed=1).build_from(scores[:40], ITEMS, ITEMS)
    with pytest.raises(StateMismatch):
        other.stacked([state])
    with pytest.raises(UnknownId, match="item 999"):
        index.state({"item 999": 1.0})
    with pytest.raises(BadValue, match="an answer is inf"):
        index.state({index.questions[0]: np.inf})


def test_items_come_later_and_the_files_hold_everything(tmp_path: Path) -> None:
    scores = low_rank()
    scorer = scorer_of(scores, name="table")
    index = ANNCUR(anchor_items=12).build(scorer, range(40), ITEMS[:100], probe=False, progress=False)
    index.add(scorer, ITEMS[100:])
    best = np.argsort(-scores[50:], 1)[:, :5]
    np.testing.assert_array_equal(index.search(scorer, range(50, 60), 5, calls=30).indices, best)
    index.save(tmp_path / "index")
    again = ANNCUR.load(tmp_path / "index", ITEMS)
    assert again.fingerprint == index.fingerprint
    assert again.questions == index.questions
    np.testing.assert_array_equal(again.search(scorer, range(50, 60), 5, calls=30).indices, best)
    with pytest.raises(SpaceMismatch, match="'other'"):
        again.search(scorer_of(scores, name="other"), [50])
    with pytest.raises(ConfigError, match="anchor queries"):
        again.add(scorer, ["item 3"])
    with pytest.raises(BadValue, match="120"):
        ANNCUR.load(tmp_path / "index", ITEMS[:5])
    with pytest.raises(FileProblem):
        ANNCUR.load(tmp_path / "nothing", ITEMS)


def test_bad_settings_are_refused() -> None:
    scores = low_rank()
    with pytest.raises(ConfigError, match="1 anchor items"):
        ANNCUR(anchor_items=1).build_from(scores, ITEMS)
    with pytest.raises(ConfigError, match="121 anchor items of 120"):
        ANNCUR(anchor_items=121).build_from(scores, ITEMS)
    with pytest.raises(ConfigError, match="anchor queries"):
        ANNCUR(anchor_items=5).build_from(scores[:1], ITEMS)
    with pytest.raises(ConfigError, match="calls"):
        ANNCUR(anchor_items=20).build_from(scores, ITEMS).search(scorer_of(scores), [0], 5, calls=20)
    with pytest.raises(NotFitted):
        ANNCUR().questions  # noqa: B018
    bad = scores.copy()
    bad[2, 3] = np.inf
    with pytest.raises(BadValue, match="query 2, item 'item 3'"):
        ANNCUR(anchor_items=5).build_from(bad, ITEMS)


# --- cross-encoders


WORDS = ["red", "green", "blue", "cat", "dog", "bird", "big", "small"]


@pytest.mark.parametrize("head", ["pair", "mark"])
def test_a_cross_encoder_learns_which_texts_share_a_word(head: str, tmp_path: Path) -> None:
    from sartor.retrieve.cross_encoder import CrossEncoder

    rng = np.random.default_rng(0)
    items = [" ".join(rng.choice(WORDS, 2, replace=False)) for _ in range(40)]
    positives = np.array([(q, i) for q, word in enumerate(WORDS) for i, text in enumerate(items) if word in text.split()])
    encoder = CrossEncoder(
        dim=16, heads=2, head=head, epochs=24, negatives=3, batch_size=16, learning_rate=1e-2, dropout=0.0, buckets=512, max_words=(4, 4)  # type: ignore[arg-type]
    ).fit(WORDS, items, positives, progress=False)  # fmt: skip
    scorer = CountedScorer(encoder)
    scores = scorer.matrix(WORDS, items)
    relevant = np.zeros(scores.shape, bool)
    relevant[positives[:, 0], positives[:, 1]] = True
    right = [(one[own][:, None] > one[~own][None]).mean() for one, own in zip(scores, relevant, strict=True)]
    assert np.mean(right) > 0.9
    # Neither the batch nor the order of pairs changes a score, and the file holds all.
    np.testing.assert_allclose(encoder(["red"], [items[7]])[0], scores[0, 7], atol=1e-5)
    again = CrossEncoder.load(encoder.save(tmp_path / "encoder.safetensors"))
    np.testing.assert_array_equal(again(WORDS, items[:8]), encoder(WORDS, items[:8]))
    assert encoder([], []).shape == (0,)
    assert np.isfinite(encoder([""], ["unheard of words only"])).all()
    (tmp_path / "broken").write_bytes((tmp_path / "encoder.safetensors").read_bytes()[:900])
    with pytest.raises(CorruptFile):
        CrossEncoder.load(tmp_path / "broken")


def test_a_cross_encoder_says_what_it_cannot_learn_from() -> None:
    from sartor.retrieve.cross_encoder import CrossEncoder

    with pytest.raises(NotFitted):
        CrossEncoder()(["a"], ["b"])
    with pytest.raises(EmptyData):
        CrossEncoder().fit(["a"], ["b"], np.empty((0, 2), int), progress=False)
    with pytest.raises(BadValue):
        CrossEncoder().fit(["a"], ["b"], np.array([[0, 1]]), progress=False)
    with pytest.raises(ConfigError):
        CrossEncoder(head="cls")  # type: ignore[arg-type]


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_transformers_folder_scores_as_its_own_library_does(outputs: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from sartor.retrieve.cross_encoder import TransformersCrossEncoder

    folder = tmp_path / "model"
    folder.mkdir()
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    tokenizer = transformers.BertTokenizerFast(str(vocabulary))
    tokenizer.save_pretrained(folder)
    settings = transformers.BertConfig(
        vocab_size=13,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=outputs,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.BertForSequenceClassification(settings).eval()
    model.save_pretrained(folder)
    queries: Sequence[str] = ["red", "big dog", "small", "green cat"]
    items: Sequence[str] = ["red bird dog", "blue", "dog dog cat red", "green"]
    scores = TransformersCrossEncoder(folder, batch_size=2)(queries, items)
    with torch.inference_mode():
        each = [model(**tokenizer(query, item, return_tensors="pt")).logits[0].numpy() for query, item in zip(queries, items, strict=True)]
    expected = [own[0] if outputs == 1 else own[1] - own[0] for own in each]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="label 5"):
        TransformersCrossEncoder(folder, label=5)
    with pytest.raises(FileProblem):
        TransformersCrossEncoder(tmp_path)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("BertForSequenceClassification", "BertModel"))
    with pytest.raises(ConfigError, match="BertModel"):
        TransformersCrossEncoder(folder)
