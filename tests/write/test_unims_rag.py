"""Decisions as tokens, evidence with scores, answers that are looked at again; by a small model and by a chat model under a schema."""

from __future__ import annotations

import copy
import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sartor
from _upstream import serving
from sartor.data.population import Evidence, Population
from sartor.errors import (
    BadAnswer,
    BadValue,
    BudgetTooSmall,
    ConfigError,
    CorruptFile,
    EmptyData,
    FileProblem,
    MissingColumn,
    StateMismatch,
    TooLarge,
    UnknownId,
)
from sartor.method import State
from sartor.write.parts.causal_lm import CausalLM, LMConfig
from sartor.write.parts.control_adapter import ControlledModel
from sartor.write.parts.control_tokens import EOS, EVIDENCE, JUDGE, NULL, ControlTokens
from sartor.write.parts.language_model import LanguageModel
from sartor.write.parts.lm_training import copying
from sartor.write.parts.refine import Draft, refine
from sartor.write.parts.source_lessons import SourceLessons, annotated
from sartor.write.parts.tokenizer import Tokenizer
from sartor.write.unims_minds import Scored, TokenMind
from sartor.write.unims_rag import UniMSRAG

TOWNS, TOWERS = ("oslo", "rome", "lima", "cairo"), ("karan", "zolek", "mivos", "tudim")
TALK = (("good morning!", "good morning to you."), ("thanks a lot.", "you are welcome."), ("tell me a joke.", "i know only old ones."))
CONTROL = ControlTokens(("PERSONA", "DOCUMENTS"), {"DOCUMENTS": "PERSONA"})


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def population(people: int = 24, seed: int = 0) -> Population:
    """Everybody lives somewhere, drinks something and has a sister elsewhere; three turns each: small talk, her town, its tower."""
    rng, rows = np.random.default_rng(seed), []
    for person in range(people):
        town, other = (int(one) for one in rng.choice(4, 2, replace=False))
        home = f"i live in {TOWNS[town]}."
        rows += [(person, "fact", text, None, None, None, None, None) for text in (home, f"my sister lives in {TOWNS[other]}.", "i drink tea.")]
        document = f"in {TOWNS[town]} visitors see the {TOWERS[town]} tower."
        turns = [
            (*TALK[int(rng.integers(3))], [], []),
            ("where do i live?", f"you live in {TOWNS[town]}.", ["PERSONA"], [home]),
            ("what should i see near my home?", f"see the {TOWERS[town]} tower.", ["PERSONA", "DOCUMENTS"], [home, document]),
        ]
        for number, (question, response, sources, evidence) in enumerate(turns):
            rows.append((person, "turn", question, "user", 3 * person + number, 0, None, None))
            rows.append((person, "turn", response, "assistant", 3 * person + number, 1, sources, evidence))
    names = ["person", "kind", "text", "role", "dialogue", "turn", "sources", "evidence"]
    lists = {"sources": pl.List(pl.String), "evidence": pl.List(pl.String)}
    texts = pl.DataFrame(rows, schema=names, orient="row", schema_overrides=lists, infer_schema_length=None)
    documents = [f"in {town} visitors see the {tower} tower." for town, tower in zip(TOWNS, TOWERS, strict=True)]
    return Population({"texts": texts, "items": pl.DataFrame({"item": range(5), "text": [*documents, "shoes are for walking."]})})


PEOPLE = population()


@pytest.fixture(scope="module")
def method() -> UniMSRAG:
    return UniMSRAG(tokens=60_000, dim=32, layers=2, max_tokens=128, slot=16, max_new=12, rows=2, learning_rate=8e-3).fit(PEOPLE, progress=False)


# --- tokens


@given(st.floats(0, 1), st.integers(2, 12))
def test_a_score_is_shared_by_two_bins_whose_expectation_it_is(score: float, bins: int) -> None:
    control = ControlTokens(("PERSONA",), bins=bins)
    soft = control.soft(score)
    assert soft @ control.values == pytest.approx(score, abs=1e-5)
    assert (soft > 0).sum() <= 2
    assert abs(control.values[control.nearest(score)] - score) <= 0.5 / (bins - 1) + 1e-6
    logits = torch.full((1, bins + 3), 5.0)
    logits[0, 2 : 2 + bins] = torch.from_numpy(np.log(soft + 1e-30))
    assert control.expected(logits, range(2, 2 + bins))[0] == pytest.approx(score, abs=1e-5)


def test_a_plan_asks_what_is_there_in_an_order_that_can_be() -> None:
    persona, documents = map(CONTROL.source, CONTROL.sources)
    both = ("PERSONA", "DOCUMENTS")
    assert CONTROL.next([], both) == [persona, NULL]
    assert CONTROL.next([persona], both) == [documents, EOS]
    assert CONTROL.next([persona, documents], both) == [EOS]
    assert CONTROL.next([NULL], both) == [EOS]
    assert CONTROL.next([persona, EOS], both) == []
    # An empty persona cannot be asked, nor what hangs on it.
    assert CONTROL.next([], ["DOCUMENTS"]) == [NULL]
    assert CONTROL.next([], ()) == [NULL]
    assert len({*CONTROL.names}) == len(CONTROL.names)
    for bad in (
        {"sources": ()}, {"sources": ("A", "A")}, {"sources": ("A b",)}, {"sources": ("A",), "bins": 1},
        {"sources": ("A",), "depends": {"A": "B"}}, {"sources": ("A", "B"), "depends": {"A": "B", "B": "A"}},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            ControlTokens(**bad)  # type: ignore[arg-type]


def test_copying_is_learned_from_sequences_that_come_twice() -> None:
    rng = np.random.default_rng(0)
    for one in (copying(50, 10, rng, longest=6) for _ in range(40)):
        half = one.ids.size // 2
        assert 2 <= half <= 6
        assert (one.ids[:half] == one.ids[half:]).all()
        assert (one.ids >= 10).all()
        assert one.learn.tolist() == [False] * half + [True] * half


def test_a_document_is_graded_behind_the_fact_it_is_looked_up_by_with_and_without_what_was_asked(method: UniMSRAG) -> None:
    layout, turns = method._speaker.layout, [turn for turn in annotated(PEOPLE, CONTROL) if len(turn.sources) == 2]
    lessons = SourceLessons(layout=layout, end=method._speaker.end, room=method._room, longest=128)
    prepared = [lessons.prepared(turn, method._labelled(turn)) for turn in turns]
    rng, seen = np.random.default_rng(0), {True: 0, False: 0}
    for one in (lessons.example(prepared, rng) for _ in range(300)):
        judged = [at for at, number in enumerate(one.ids.tolist()) if number == layout.number(JUDGE)]
        if len(judged) < 2:
            continue
        alone = int(one.ids[0]) == layout.number(EVIDENCE)
        seen[alone] += 1
        # Every evaluation is learned; in front of documents stands the fact, and nothing else when nothing was asked.
        assert all(one.learn[at + 1] and int(one.ids[at + 1]) in layout.bins for at in judged)
        if alone:
            assert one.ids[: judged[0] + 1].tolist() in [own.right[0] for own in prepared]
            assert int(one.learn.sum()) == len(judged)
    assert min(seen.values()) > 30


# --- refining


def drafts(*scores: float) -> Any:
    """Writes drafts with these scores, from evidence 0, 1, 2, ..."""
    return lambda found: Draft(f"answer {found[0]}", found, (scores[found[0]],), (1.0,))


def test_refining_stops_when_it_is_good_when_rounds_are_used_up_and_when_nothing_is_left() -> None:
    def following(last: Draft[int]) -> tuple[int, ...]:
        return (last.evidence[0] + 1,)

    good = refine((0,), drafts(0.9), following)
    assert (good.stopped, good.revisions, good.best.response) == ("good", 0, "answer 0")
    second = refine((0,), drafts(0.1, 0.8, 0.9), following)
    assert (second.stopped, second.revisions, second.best.response) == ("good", 1, "answer 1")
    used = refine((0,), drafts(0.1, 0.3, 0.2, 0.9), following, rounds=2)
    assert (used.stopped, used.revisions, used.best.response) == ("rounds", 2, "answer 1")
    # No better: the first stays. The same evidence again, or none: it ends.
    assert refine((0,), drafts(0.2, 0.2, 0.2), following).best.response == "answer 0"
    assert refine((0,), drafts(0.2), lambda last: last.evidence).stopped == "nothing"
    assert refine((0,), drafts(0.2), lambda _: None).stopped == "nothing"
    assert refine((0,), drafts(0.1, 0.9), following, rounds=0).revisions == 0
    assert Draft("no evidence", (), (), ()).score == 1.0
    for bad in ({"rounds": -1}, {"enough": 2.0}):
        with pytest.raises(ConfigError):
            refine((0,), drafts(0.5), following, **bad)  # type: ignore[arg-type]


# --- annotations


def test_annotated_turns_have_their_context_and_mistakes_are_named() -> None:
    turns = annotated(PEOPLE, CONTROL)
    assert len(turns) == 72
    assert turns[2].sources == ("PERSONA", "DOCUMENTS")
    assert turns[2].evidence[0] in turns[2].facts
    assert (turns[2].context, len(turns[2].facts)) == (ask("what should i see near my home?"), 3)
    texts = PEOPLE.texts.collect()
    with pytest.raises(MissingColumn, match="evidence"):
        annotated(Population({"texts": texts.drop("evidence")}), CONTROL)
    with pytest.raises(BadValue, match="'DOCUMENTS'"):
        annotated(PEOPLE, ControlTokens(("PERSONA",)))
    for broken in (texts.with_columns(evidence=pl.lit([], pl.List(pl.String))), texts.filter(pl.col("role").fill_null("") != "user")):
        with pytest.raises(BadValue, match="dialogue"):
            annotated(Population({"texts": broken}), CONTROL)
    with pytest.raises(EmptyData):
        UniMSRAG().fit(Population({"texts": texts.with_columns(sources=pl.lit(None, pl.List(pl.String)))}), progress=False)


# --- the small model


def test_what_the_method_promises(method: UniMSRAG, tmp_path: Path) -> None:
    ana, ben = method.adapt(PEOPLE[0]), method.adapt(PEOPLE[1])
    assert method.facts(ana) == PEOPLE[0].frames["texts"].filter(pl.col("kind") == "fact")["text"].to_list()
    assert ana["vectors"].shape == (3, 128)
    # The same fact again is kept once; other facts are added.
    more = method.adapt(Evidence({"texts": pl.DataFrame({"text": ["i drink tea.", "i play golf."]})}, person=0), ana)
    assert (method.facts(more)[2:], more.version, more.examples) == (["i drink tea.", "i play golf."], 2, 5)
    chats = [ask("where do i live?"), ask("what should i see near my home?"), ask("thanks a lot."), ask("where do i live?")]
    states = [ana, ben, None, None]
    mixed = method.answer(chats, states)
    alone = [method.answer([chat], [state])[0] for chat, state in zip(chats, states, strict=True)]
    assert [(one.plan, one.response) for one in mixed] == [(one.plan, one.response) for one in alone]
    assert method.write_all(chats, states) == [one.response for one in mixed]
    # Who is not known has no facts, so that nothing which needs one is asked.
    nobody = method.adapt(Evidence({}, person=5))
    assert (nobody.examples, nobody.notes) == (0, {"population": True})
    assert [one.plan for one in method.answer(chats, [None] * 4)] == [()] * 4 == [one.plan for one in method.answer(chats, [nobody] * 4)]
    again = sartor.load(method.save(tmp_path / "unims"))
    assert again.write_all(chats, [State.from_bytes(ana.to_bytes()), ben, None, None]) == method.write_all(chats, states)
    with pytest.raises(BadValue, match="texts of 1 among those of 0"):
        method.adapt(Evidence(PEOPLE[1].frames, person=0))
    with pytest.raises(StateMismatch):
        method.write(chats[0], State({}, "UniMSRAG", "0" * 32))
    with pytest.raises(ConfigError, match="2 states for 4"):
        method.answer(chats, [ana, ben])
    with pytest.raises(UnknownId, match="SECRETS"):
        method.answer(chats[:1], [ana], documents={"SECRETS": ["x"]})
    with pytest.raises(UnknownId, match="SECRETS"):
        method.answer(chats[:1], [ana], evidence=[[("SECRETS", "x")]])
    with pytest.raises(TooLarge, match="last message"):
        method.answer([ask("where do i live? " * 40)], [ana])


def test_it_learns_when_to_ask_which_source(method: UniMSRAG) -> None:
    test = population(12, seed=9)
    turns = annotated(test, CONTROL)
    states = [state for person in range(12) for state in [method.adapt(test[person])] * 3]
    replies = method.answer([turn.context for turn in turns], states)
    assert np.mean([reply.plan == turn.sources for reply, turn in zip(replies, turns, strict=True)]) > 0.8
    assert all(0 <= one.score <= 1 for reply in replies for one in reply.evidence)
    assert all([one.source for one in reply.evidence] == list(reply.plan) for reply in replies)


def test_a_relevance_is_the_expectation_over_bins_where_it_is_due(method: UniMSRAG) -> None:
    mind = method._mind
    assert isinstance(mind, TokenMind)
    layout, found = mind.layout, [Scored("PERSONA", "i live in oslo.", 0.93)]
    asked = [(ask("where do i live?"), [], "PERSONA", "i drink tea."), (ask("what should i see near my home?"), found, "DOCUMENTS", "in oslo ...")]
    scores = mind.relevance(asked)
    for (context, before, source, text), score in zip(asked, scores, strict=True):
        plan = [*(one.source for one in before), source]
        ids = [*layout.prompt(context), *layout.numbers(["<|act|>", *layout.plan(plan)]), *layout.found(before), *layout.judged(source, text)]
        with torch.no_grad():
            chances = mind.network(torch.tensor([ids]))[0, -1, layout.bins].double().softmax(0).numpy()
        assert score == pytest.approx(float(chances @ layout.control.values), abs=1e-5)
    assert layout.number(CONTROL.bin(9)) in layout.found(found)
    assert mind.relevance([]).size == 0


class Fixed:
    """Decides as it is told: to see what the method does with it."""

    def __init__(self, plan: tuple[str, ...], scores: dict[str, float], agrees: float = 1.0) -> None:
        self.plan, self.scores, self.agrees = plan, scores, agrees

    def plans(self, contexts: Sequence[Any], there: Sequence[Any]) -> list[tuple[str, ...]]:
        return [self.plan for _ in contexts]

    def relevance(self, asked: Sequence[Any]) -> np.ndarray:
        return np.array([self.scores.get(text, 0.1) for *_, text in asked])

    def responses(self, asked: Sequence[Any]) -> list[str]:
        return [" + ".join(one.text for one in found) for _, found in asked]

    def consistency(self, asked: Sequence[Any]) -> np.ndarray:
        return np.array([self.agrees for _ in asked])


def test_wrong_evidence_is_replaced_with_everything_that_was_looked_up_by_it(method: UniMSRAG) -> None:
    fixed, state = copy.copy(method), method.adapt(PEOPLE[0])
    home, sister, tea = method.facts(state)
    right = "in oslo visitors see the karan tower."
    fixed._mind = Fixed(("PERSONA", "DOCUMENTS"), {home: 0.9, right: 0.8, sister: 0.4})
    found = fixed.answer([ask("q")], [state])[0]
    assert ([one.text for one in found.evidence], found.revisions, found.stopped) == ([home, right], 0, "good")
    given_ = [("PERSONA", sister), ("DOCUMENTS", "shoes are for walking.")]
    mended = fixed.answer([ask("q")], [state], evidence=[given_])[0]
    assert ([one.text for one in mended.evidence], mended.revisions, mended.stopped) == ([home, right], 1, "good")
    assert mended.response == f"{home} + {right}"
    # Only the document is wrong: the fact stays.
    kept = fixed.answer([ask("q")], [state], evidence=[[("PERSONA", home), ("DOCUMENTS", "shoes are for walking.")]])[0]
    assert [one.text for one in kept.evidence] == [home, right]
    # Nothing fits: it ends, and the best of all drafts is given.
    fixed._mind = Fixed(("PERSONA",), {tea: 0.3})
    none = fixed.answer([ask("q")], [state])[0]
    assert ([one.text for one in none.evidence], none.revisions, none.stopped) == ([tea], 2, "rounds")
    fixed.rounds = 5
    assert fixed.answer([ask("q")], [state])[0].stopped == "nothing"
    # An answer that is at odds with relevant evidence is written from something else, too.
    fixed._mind = Fixed(("PERSONA",), {home: 0.9, sister: 0.8}, agrees=0.2)
    fixed.rounds = 1
    assert fixed.answer([ask("q")], [state])[0].revisions == 1


def test_long_evidence_is_cut_at_a_sentence_and_said_so(method: UniMSRAG) -> None:
    fixed = copy.copy(method)
    long = "i live in oslo. i drink tea. my sister lives in rome, in lima, in cairo, and where i live."
    state = method.adapt(Evidence({"texts": pl.DataFrame({"text": [long, "tea " * 30]})}, person=0))
    fixed._mind = Fixed(("PERSONA",), {"i live in oslo. i drink tea.": 0.9})
    reply = fixed.answer([ask("where do i live?")], [state])[0]
    assert reply.evidence[0].text == "i live in oslo. i drink tea."
    assert reply.notices == ("a text of PERSONA was cut to 16 tokens",)
    assert [one.text for one in fixed.answer([ask("q")], [state], evidence=[[("PERSONA", "tea " * 30)]])[0].evidence] != ["tea " * 30]
    fixed._mind = Fixed((), {})
    assert fixed.answer([ask("hi")], [state])[0].notices == ()


def test_settings_that_cannot_be() -> None:
    for bad in ({"top": 0}, {"rounds": -1}, {"enough": 1.5}, {"sources": ["A", "A"]}, {"depends": {"DOCUMENTS": "X"}}, {"writer": "gpt"},
                {"max_tokens": 64}, {"bins": 1}):  # fmt: skip
        with pytest.raises(ConfigError):
            UniMSRAG(tokens=100, **bad).fit(PEOPLE, progress=False)  # type: ignore[arg-type]
    with pytest.raises(UnknownId, match="'OTHER'"):
        UniMSRAG(tokens=100).fit(PEOPLE.replace(items=pl.DataFrame({"item": [1], "text": ["x"], "source": ["OTHER"]})), progress=False)


@pytest.mark.parametrize("tied", [True, False])
def test_control_tokens_are_learned_on_a_model_of_the_transformers_library(tmp_path: Path, tied: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    words = Tokenizer.learn([text for turn in annotated(PEOPLE, CONTROL) for text in turn.texts()], kind="word")
    lm = LanguageModel(CausalLM(LMConfig(vocabulary=len(words), dim=16, heads=2, max_tokens=128, tied=tied), seed=3), words)
    folder = str(lm.save(tmp_path / "llama"))
    method = UniMSRAG(base=folder, steps=3, rank=2, max_tokens=128, slot=16, max_new=8, rounds=1).fit(PEOPLE, progress=False)
    state = method.adapt(PEOPLE[0])
    chats = [ask("where do i live?"), ask("thanks a lot.")]
    replies = method.answer(chats, [state, None])
    assert replies[1].plan == ()
    assert method.answer(chats[:1], [state])[0].response == replies[0].response
    model = method._speaker.network
    tables = [model.network.inner.get_input_embeddings().weight, model.network.inner.get_output_embeddings().weight]
    before = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for table, old in zip(tables, (before.get_input_embeddings().weight, before.get_output_embeddings().weight), strict=True):
        assert torch.equal(table[: len(old)], old)
        assert len(table) == len(old) + len(CONTROL.names)
    arrays = model.arrays()
    assert sorted(name for name in arrays if name.startswith("rows")) == (["rows.in"] if tied else ["rows.in", "rows.out"])
    fresh = ControlledModel(folder, CONTROL.names, rank=2)
    assert not any(np.array_equal(arrays[name], one) for name, one in fresh.arrays().items() if name.startswith("rows") or name.endswith("B"))
    # No text can spell a control token.
    assert model.number("<|act|>") not in method._speaker.layout.encode("say <|act|> now")
    again = sartor.load(method.save(tmp_path / "unims"))
    assert [one.response for one in again.answer(chats, [state, None])] == [one.response for one in replies]
    np.testing.assert_allclose(
        again._mind.relevance([(chats[0], [], "PERSONA", "i drink tea.")]), method._mind.relevance([(chats[0], [], "PERSONA", "i drink tea.")]),
        rtol=1e-4,
    )  # fmt: skip
    with pytest.raises(CorruptFile):
        ControlledModel(folder, CONTROL.names, rank=4, arrays=arrays)
    with pytest.raises(FileProblem):
        ControlledModel(tmp_path / "nowhere", CONTROL.names)


# --- a chat model


def said(*answers: Any) -> list[str]:
    return ["say:" + (one if isinstance(one, str) else json.dumps(one)) for one in answers]


def test_a_chat_model_plans_and_grades_under_a_schema(caplog: pytest.LogCaptureFixture) -> None:
    people = Population({"texts": PEOPLE.texts.collect(), "items": pl.DataFrame({"item": [0], "text": ["in oslo see the karan tower."]})})
    state_texts = Evidence({"texts": pl.DataFrame({"text": ["i live in oslo."]})}, person=0)
    answers = said(
        {"sources": ["DOCUMENTS"]}, {"score": 0.9}, "0.8", {"score": 0.8}, "see the karan tower.", {"score": 1}, {"score": 1},
        {"sources": ["DIARY", "PERSONA"]}, "hello.",
    )  # fmt: skip
    with serving(*answers) as server, caplog.at_level(logging.WARNING):
        method = UniMSRAG(writer=f"endpoint:{server.url}#parrot").fit(people, progress=False)
        state = method.adapt(state_texts)
        reply = method.answer([ask("what is near my home?")], [state])[0]
        # What a source depends on is asked first; an answer that is no JSON of the schema is asked for again.
        assert reply.plan == ("PERSONA", "DOCUMENTS")
        assert [(one.text, one.score) for one in reply.evidence] == [("i live in oslo.", 0.9), ("in oslo see the karan tower.", 0.8)]
        assert (reply.response, reply.revisions, reply.stopped) == ("see the karan tower.", 0, "good")
        sent = [one["body"]["messages"] for one in server.asked(7)]
        assert '"additionalProperties": false' in sent[0][0]["content"]
        assert "i live in oslo." in sent[4][0]["content"]
        assert sent[4][-1] == {"role": "user", "content": "what is near my home?"}
        # A source that is none: nothing is asked, and it is logged without a word of what was said.
        strange = method.answer([ask("my secret")], [state])[0]
        assert (strange.plan, strange.evidence, strange.response) == ((), (), "hello.")
        assert "sources that are none" in caplog.text
        assert not {"secret", "DIARY", "oslo"} & {*caplog.text.replace(",", " ").split()}
        with pytest.raises(BudgetTooSmall):
            method._mind.responses([(ask("long " * 3_000), [])])
    with serving(*said("no", "no", "no", {"sources": ["PERSONA"]}, "x", "y", "z")) as server:
        method = UniMSRAG(writer=f"endpoint:{server.url}#parrot").fit(people, progress=False)
        state = method.adapt(state_texts)
        assert method._mind.plans([ask("q")], [["PERSONA"]]) == [()]
        # Without facts nobody is asked at all.
        assert method._mind.plans([ask("q")], [["DOCUMENTS"]]) == [()]
        with pytest.raises(BadAnswer):
            method.answer([ask("where do i live?")], [state])


def test_soft_labels_may_come_from_a_chat_model() -> None:
    few = Population({"texts": PEOPLE.texts.collect().filter(pl.col("person") == 0), "items": PEOPLE.items.collect().head(2)})
    grades = [{"score": 0.25}] * 40
    with serving(*said(*grades)) as server:
        method = UniMSRAG(tokens=200, dim=16, max_tokens=128, slot=16, max_new=8, labels=f"endpoint:{server.url}#parrot").fit(few, progress=False)
        labels = method._labelled(annotated(few, CONTROL)[1])
        assert {label for own in labels for _, label in own} == {0.25}
        assert "How relevant" in server.asked(1)[0]["body"]["messages"][0]["content"]
    cosine = UniMSRAG(tokens=200, dim=16, max_tokens=128, slot=16, max_new=8).fit(few, progress=False)._labelled(annotated(few, CONTROL)[1])[0]
    assert [label for _, label in cosine] == sorted((label for _, label in cosine), reverse=True)
    assert cosine[0][1] == 0.5
    assert cosine[-1][1] == 0.0
    assert all(a[1] >= b[1] for a, b in itertools.pairwise(cosine))
