"""Titles and skills: learned together, searched with and without skills, for one person; every bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'deep'")
pytest.importorskip("tokenizers", reason="needs the extra 'text'")

import torch

from sartor.errors import BadValue, ConfigError, CorruptFile, DuplicateRows, EmptyData, SpaceMismatch, StateMismatch
from sartor.method import State
from sartor.parts.contrastive import InfoNCE, Views
from sartor.represent.hashed_ngrams import HashedNgrams
from sartor.represent.mentions import Mentions
from sartor.represent.small_encoder import SmallEncoder
from sartor.represent.vacancysbert import TitleEncoder, VacancySBERT, normalised_title
from sartor.retrieve.index import ItemIndex
from sartor.retrieve.title_search import TitleSearch

JOBS = {
    "line cook": ("chef", ["knife", "sauce", "oven", "menu"]),
    "metal welder": ("welder", ["torch", "steel", "mask", "seam"]),
    "web developer": ("programmer", ["python", "linux", "html", "tests"]),
    "night nurse": ("carer", ["ward", "dose", "shift", "triage"]),
}
TITLES = list(JOBS)


def advertisements(rng: np.random.Generator, count: int) -> tuple[list[str], list[list[str]], list[str]]:
    """Titles of which half share no word with the normalised one."""
    truth = rng.integers(0, len(JOBS), count)
    titles = [f"{rng.choice(['Sr.', 'junior', ''])} {rng.choice([TITLES[at], JOBS[TITLES[at]][0]])} {rng.choice(['remote!', ''])}" for at in truth]
    return titles, [rng.permutation(JOBS[TITLES[at]][1]).tolist() for at in truth], [TITLES[at] for at in truth]


def small() -> SmallEncoder:
    words = [*TITLES, *(one for one, _ in JOBS.values()), *(skill for _, own in JOBS.values() for skill in own), "Sr. junior remote!"]
    return SmallEncoder(vocabulary=500, dim=24, layers=2, heads=2, max_tokens=24, dropout=0.0).learn_words(words)


@pytest.fixture(scope="module")
def trained() -> TitleEncoder:
    titles, skills, known = advertisements(np.random.default_rng(0), 400)
    return VacancySBERT(layers=0, batch_size=16, epochs=3, learning_rate=5e-3).fit(small(), titles, skills, normalised=known)


def test_titles_meet_through_their_skills_and_are_never_paired(trained: TitleEncoder) -> None:
    finder = TitleSearch(trained, TITLES)
    asked = ["SR. PROGRAMMER, remote!", "junior chef", "welder", "carer"]
    assert [hits[0] for hits in finder.search(asked, k=1)] == ["web developer", "line cook", "metal welder", "night nurse"]
    # What the title does not tell, the skills do; a title may be missing.
    assert [hits[0] for hits in finder.search(["remote!", ""], [["steel", "seam"], ["dose"]], k=1)] == ["metal welder", "night nurse"]


def test_only_upper_layers_learn_and_duplicates_are_no_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    titles, skills, known = advertisements(np.random.default_rng(1), 40)
    seen: list[Views] = []

    def loss(views: Views) -> torch.Tensor:
        seen.append(views)
        return InfoNCE()(views)

    encoder = small()
    before = {name: weight.detach().clone() for name, weight in encoder.network.named_parameters()}
    VacancySBERT(layers=1, batch_size=20, loss=loss).fit(encoder, titles, skills, normalised=known)
    moved = {name for name, weight in encoder.network.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all(".blocks.1." in name for name in moved)
    assert all(weight.requires_grad for weight in encoder.network.parameters())
    # Advertisements of one normalised title share an id, whatever their own titles say.
    for views in seen:
        assert views.ids is not None
        assert 1 < len(views.ids.unique()) <= len(JOBS) < len(views.ids)
    assert normalised_title("  Ｃ++  Developer! ") == "c++ developer" != normalised_title("C# developer")


def test_some_skills_are_shown_in_another_order_each_time() -> None:
    encoder, shown = small(), []
    tokenize = encoder.tokenize
    encoder.tokenize = lambda texts: shown.extend(texts) or tokenize(texts)  # type: ignore[func-returns-value, method-assign]
    VacancySBERT(batch_size=2, epochs=20).fit(encoder, ["chef", "welder"], [["knife", "sauce", "oven", "menu"], ["torch"]])
    drawn = [text.split(", ") for text in shown if "torch" not in text and text not in ("chef", "welder")]
    assert {len(one) for one in drawn} == {2, 3, 4}
    assert len({tuple(one) for one in drawn}) > 10
    assert all(len(set(one)) == len(one) and set(one) <= {"knife", "sauce", "oven", "menu"} for one in drawn)


def test_a_state_is_the_running_mean_and_moves_the_query_towards_it(trained: TitleEncoder) -> None:
    first = trained.adapt(["chef", "line cook"], [["knife"], []])
    both = trained.adapt(["welder"], state=first)
    vectors = trained.encode(["chef", "line cook", "welder"], [["knife"], [], []])
    np.testing.assert_allclose(both["mean"], vectors.mean(0), atol=2e-3)
    assert (first.examples, both.examples, both.version, both["mean"].nbytes) == (2, 3, 2, 24 * 2)
    query = trained.encode(["remote!"])
    own = trained.personal(query, [both])[0]
    expected = (1 - 3 / 7) * query[0] + 3 / 7 * both["mean"].astype(np.float32)
    np.testing.assert_allclose(own, expected / np.linalg.norm(expected), atol=1e-5)
    finder = TitleSearch(trained, TITLES)
    cook = trained.adapt(["chef"] * 6)
    assert finder.search(["remote!"], None, [State.from_bytes(cook.to_bytes())], k=1)[0] == ["line cook"]
    np.testing.assert_array_equal(finder.search(["remote!"], None, [None]).indices, finder.search(["remote!"]).indices)


def test_a_long_list_of_skills_is_cut_and_the_warning_says_where(trained: TitleEncoder) -> None:
    many = [["knife", "sauce"] * 1000]
    with pytest.warns(UserWarning, match=r"title 0: \d+ of 2000 skills were used") as told:
        text = trained.texts(["chef"], many)[0]
    used = int(str(told[0].message).split()[2])
    assert text.count("knife") + text.count("sauce") == used
    assert 2 <= used < 24
    assert TitleEncoder(HashedNgrams()).texts(["chef"], many)[0].count("knife") == 1000


def test_mistakes_have_names(trained: TitleEncoder) -> None:
    other = TitleEncoder(HashedNgrams())
    state = other.adapt(["chef"])
    forged = State({"mean": np.full(24, np.nan, np.float16)}, "TitleEncoder", trained.fingerprint, 1, 3)
    finder = TitleSearch(trained, TITLES)
    mixed = TitleSearch(other, TITLES)
    mixed.index = ItemIndex.make("exact").build(trained.encode(TITLES), TITLES, space=trained.fingerprint)
    cases: list[tuple[type[Exception], Any]] = [
        (BadValue, lambda: trained.encode(["chef", " "])),
        (BadValue, lambda: trained.encode([""], [[" "]])),
        (ConfigError, lambda: trained.encode("chef")),
        (ConfigError, lambda: trained.encode(["chef"], ["knife"])),
        (ConfigError, lambda: trained.encode(["chef"], [])),
        (DuplicateRows, lambda: TitleSearch(trained, ["Line cook", "welder", "line-cook"])),
        (BadValue, lambda: TitleSearch(trained, ["cook", "!"])),
        (EmptyData, lambda: trained.adapt([])),
        (StateMismatch, lambda: trained.adapt(["chef"], state=state)),
        (StateMismatch, lambda: finder.search(["chef"], None, [state])),
        (CorruptFile, lambda: finder.search(["chef"], None, [forged])),
        (ConfigError, lambda: finder.search(["chef"], None, [None, None])),
        (SpaceMismatch, lambda: mixed.search(["chef"])),
        (ConfigError, lambda: TitleEncoder(HashedNgrams(), prior=0)),
        (ConfigError, lambda: VacancySBERT().fit(small(), ["chef"], [])),
        (BadValue, lambda: VacancySBERT().fit(small(), ["chef", "cook"], [["knife"], []])),
        (BadValue, lambda: VacancySBERT().fit(small(), ["chef", ""], [["knife"], ["knife"]])),
        (ConfigError, lambda: VacancySBERT(keep=0).fit(small(), ["chef"], [["knife"]])),
        (ConfigError, lambda: VacancySBERT(layers=3).fit(small(), ["chef", "cook"], [["knife"], ["oven"]])),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()


def test_names_are_found_in_texts() -> None:
    mentions = Mentions({"python": ["Python", "py"], "c++": "C++", "c": "C", "ml": "machine learning", "learning": "learning", "köln": "Köln"})
    text = "We want PYTHON, C++ and Machine-Learning in KO\u0308LN; C is a plus. Pythonic? No learning."
    assert mentions.keys(text) == ["python", "c++", "ml", "köln", "c", "learning"]
    assert [text[one.start : one.stop] for one in mentions.find(text)] == ["PYTHON", "C++", "Machine-Learning", "KO\u0308LN", "C", "learning"]
    assert Mentions({"a": "one name", "b": "one name"}).keys("one name") == ["a"]
    for names, error in (({"x": "!"}, BadValue), ({}, ConfigError)):
        with pytest.raises(error):
            Mentions(names)  # type: ignore[arg-type]
