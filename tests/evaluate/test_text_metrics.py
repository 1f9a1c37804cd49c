"""Text metrics equal their reference implementations, closed forms and hand counts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import BadValue, ConfigError, EmptyData, UnknownId
from sartor.evaluate import text as metrics

WORDS = st.lists(st.sampled_from(["tea", "cup", "cat", "sat", "mat", "hat", "on"]), max_size=14)
FORMS = st.lists(st.sampled_from(["tea", "teas", "run", "running", "runs", "cat", "on"]), max_size=12)
SOME = st.lists(st.sampled_from(["tea", "cup", "cat", "sat", "mat", "hat", "on"]), min_size=1, max_size=14)


@settings(max_examples=150, deadline=None)
@given(candidate=SOME, references=st.lists(SOME, min_size=1, max_size=3))
def test_sentence_bleu_is_sacrebleus(candidate: list[str], references: list[list[str]]) -> None:
    import sacrebleu

    theirs = sacrebleu.sentence_bleu(" ".join(candidate), [" ".join(one) for one in references], tokenize="none")
    assert metrics.bleu(candidate, references) == pytest.approx(theirs.score / 100, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(pairs=st.lists(st.tuples(SOME, SOME), min_size=1, max_size=6))
def test_corpus_bleu_is_sacrebleus(pairs: list[tuple[list[str], list[str]]]) -> None:
    import sacrebleu

    theirs = sacrebleu.corpus_bleu([" ".join(a) for a, _ in pairs], [[" ".join(b) for _, b in pairs]], tokenize="none")
    ours = metrics.corpus_bleu([a for a, _ in pairs], [[b] for _, b in pairs])
    assert ours == pytest.approx(theirs.score / 100, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(candidate=WORDS, reference=WORDS)
def test_rouge_is_googles(candidate: list[str], reference: list[str]) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(" ".join(reference), " ".join(candidate))
    assert metrics.rouge_n(candidate, reference, 1) == pytest.approx(theirs["rouge1"].fmeasure, abs=1e-9)
    assert metrics.rouge_n(candidate, reference, 2) == pytest.approx(theirs["rouge2"].fmeasure, abs=1e-9)
    assert metrics.rouge_l(candidate, reference) == pytest.approx(theirs["rougeL"].fmeasure, abs=1e-9)


class _NoSynonyms:
    """In place of WordNet, which is a download."""

    def synsets(self, word: str) -> list[str]:
        return []


@settings(max_examples=150, deadline=None)
@given(candidate=FORMS, references=st.lists(FORMS, min_size=1, max_size=3))
def test_meteor_is_nltks(candidate: list[str], references: list[list[str]]) -> None:
    from nltk.stem.porter import PorterStemmer
    from nltk.translate.meteor_score import meteor_score

    theirs = meteor_score(references, candidate, wordnet=_NoSynonyms())  # type: ignore[arg-type]
    assert metrics.meteor(candidate, references, stem=PorterStemmer().stem) == pytest.approx(theirs, abs=1e-12)


def test_meteor_by_hand() -> None:
    # Four words in two runs of a reference of four: P = R = 1, penalty (2 / 4)^3 / 2.
    assert metrics.meteor(["on", "mat", "cat", "sat"], [["cat", "sat", "on", "mat"]]) == pytest.approx(1 - 1 / 16)
    assert metrics.meteor(["the", "cat"], [["the", "cat", "sat"]]) == pytest.approx((2 / 3) / (0.9 + 0.1 * 2 / 3) * (1 - 1 / 16))
    assert metrics.meteor(["cats"], [["cat"]]) == 0
    assert metrics.meteor(["cats"], [["cat"]], stem=lambda word: word[:3]) == 0.5
    with pytest.raises(ConfigError):
        metrics.meteor(["a"], [])
    with pytest.raises(ConfigError):
        metrics.meteor(["a"], [["a"]], alpha=1.0)


def test_rouge_su_by_hand() -> None:
    # Of the example of Lin and Och: 6 pairs and 4 words each; "police ... gunman", "the gunman" and "police the" are shared, and 3 words.
    reference, candidate = ["police", "killed", "the", "gunman"], ["police", "kill", "the", "gunman"]
    assert metrics.rouge_su(candidate, reference) == pytest.approx((3 + 3) / (6 + 4))
    # Six words apart is too far for a skip of four.
    far = ["a", "b", "c", "d", "e", "f"]
    assert metrics.rouge_su(["a", "f"], far) == pytest.approx(2 * 3 / (21 + 3))
    assert metrics.rouge_su(["a", "f"], far, skip=3) == pytest.approx(2 * 2 / (20 + 3))


@settings(max_examples=60, deadline=None)
@given(a=SOME, b=SOME)
def test_divergence_is_scipys(a: list[str], b: list[str]) -> None:
    from scipy.spatial.distance import jensenshannon

    every = sorted({*a, *b})
    p, q = ([one.count(word) for word in every] for one in (a, b))
    assert metrics.divergence(a, b) == pytest.approx(float(jensenshannon(p, q, base=2)) ** 2, abs=1e-9)
    assert metrics.divergence(a, b) == pytest.approx(metrics.divergence(b, a))


@settings(max_examples=60, deadline=None)
@given(a=SOME, b=SOME, name=st.sampled_from(sorted(metrics.DISTANCES)))
def test_distances_lie_between_0_and_1_and_are_least_from_itself(a: list[str], b: list[str], name: str) -> None:
    table = metrics.distance_matrix([a, b, []], [a, b], name)
    assert (table >= 0).all()
    assert (table <= 1).all()
    # METEOR counts every text as one piece at least.
    assert table[0, 0] == pytest.approx(0.5 / len(a) ** 3 if name == "meteor" else 0, abs=1e-9)
    assert (table[2] == 1).all()


def test_distances_that_are_none() -> None:
    with pytest.raises(UnknownId, match="infolm"):
        metrics.distance_matrix([["a"]], [["b"]], "infolm")
    with pytest.raises(BadValue, match=r"gave 2\.0"):
        metrics.distance_matrix([["a"]], [["b"]], lambda a, b: 2.0)
    with pytest.raises(ConfigError, match="no reference"):
        metrics.bleu(["a"], [])


def test_variety_and_likelihood() -> None:
    assert metrics.distinct([["a", "b", "a"], ["a", "b"]]) == pytest.approx(2 / 5)
    assert metrics.distinct([["a", "b", "a"], ["a", "b"]], 2) == pytest.approx(2 / 3)
    assert metrics.distinct([[]]) == 0
    scores = metrics.likelihood_score([np.log([0.5, 0.25]), np.empty(0)])
    assert scores[0] == pytest.approx(math.log(0.5 * 0.25) / 2)
    assert np.isnan(scores[1])
    with pytest.raises(ConfigError):
        metrics.likelihood_score([np.array([np.nan])])


def test_own_words() -> None:
    histories = [[["the", "zorn"], ["the", "lamp"]]] + [[["the", "lamp"]]] * 19
    own = metrics.OwnWords.of(histories)
    assert own.coverage(["a", "zorn", "the"], histories[0]) == pytest.approx((math.log(21 / 2) + 0) / 2)
    assert own.coverage(["lamp"], histories[0]) == 0
    assert own.coverage(["cup"], histories[0]) == 0
    assert own.f1(["zorn", "x"], histories[0], ["my", "zorn"]) == 1
    assert own.f1(["x"], histories[0], ["my", "zorn"]) == 0
    with pytest.raises(EmptyData):
        metrics.OwnWords.of([])


def test_words() -> None:
    assert metrics.words("Hello, Ana: it's 5!") == ["hello", "ana", "it", "s", "5"]
    assert metrics.content_words("The cats of Ana", lemma=lambda word: word.rstrip("s")) == ["cat", "ana"]
