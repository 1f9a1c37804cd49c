"""A summary and a few pieces in the prompt: the slot and when it is due, tasks and their fields, counts, and the writer over any model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sartor
from _upstream import serving
from sartor.data.population import Evidence, Population
from sartor.data.world import World
from sartor.errors import BadValue, BudgetTooSmall, ConfigError, CorruptFile, EmptyData, EndpointFailed, MissingColumn, NotFitted, TooLarge
from sartor.method import State
from sartor.write.parts.causal_lm import CausalLM, LMConfig
from sartor.write.parts.habits import Habits
from sartor.write.parts.language_model import LanguageModel
from sartor.write.parts.logits import Together
from sartor.write.parts.piece_search import ranked
from sartor.write.parts.pieces import Piece, packed, pieces_of, population_pieces, unpacked
from sartor.write.parts.summary_prompts import as_turns
from sartor.write.parts.summary_slot import Refresh, SummarySlot, piece_id
from sartor.write.parts.tasks import lamp_texts, task
from sartor.write.population_lm import PopulationLM
from sartor.write.summary_retrieval import DOWN, SummaryRetrieval

PERSONAS = World(people=60, items=100, seed=7).personas(replies_each=12, dialogues=0, pairs=0)
PEOPLE, NEW = PERSONAS.population(PERSONAS.fit_people), PERSONAS.population(PERSONAS.new_people)
ANA, BEN = (int(one) for one in PERSONAS.new_people[:2])
CHATS = [[{"role": "user", "content": text}] for text in PERSONAS.requests([ANA], 4).texts()]


def words(text: str) -> int:
    return len(text.split())


def of(texts: Sequence[tuple[str, str]], person: str = "ana") -> Evidence:
    frame = {"person": [person] * len(texts), "prompt": [one for one, _ in texts], "text": [one for _, one in texts]}
    return Population.from_frames(texts=frame)[person]


@pytest.fixture(scope="module")
def lm() -> PopulationLM:
    return PopulationLM(tokens=15_000, dim=32, vocabulary=600, rows=2, learning_rate=1e-2, seed=1).fit(PEOPLE, progress=False)


@pytest.fixture(scope="module")
def writer(lm: PopulationLM) -> SummaryRetrieval:
    return SummaryRetrieval(lm=lm, tokens=40_000, rows=2, learning_rate=1e-2, summaries=0.6, limit=24, max_new=16, refresh_items=4).fit(
        PEOPLE, progress=False
    )


# --- the slot


def test_a_slot_keeps_the_version_before_and_says_when_it_is_due() -> None:
    policy, empty = Refresh(items=3, seconds=100), SummarySlot(task="reply", limit=4)
    assert policy.due(empty, 0) == ""
    assert policy.due(empty.arrived(1), 0) == "there is no summary"
    first = empty.arrived(1).put("says hello", ["a"], "counts", 1_000, words)
    second = first.arrived(3).put("says hi", ["b", "c"], "lm", 2_000, words)
    assert first.current is not None
    assert second.current is not None
    assert (second.text, second.before, second.current.version, second.fresh) == ("says hi", first.current, 2, 0)
    assert second.current.sources == ("b", "c")
    # No new piece: never due, however old; few: when it is too old; many: at once.
    assert policy.due(second, 1e9) == ""
    assert policy.due(second.arrived(2), 2_100) == ""
    assert policy.due(second.arrived(2), 2_101) == "too old"
    assert policy.due(second.arrived(3), 2_000) == "3 new pieces"
    assert SummarySlot.of(second.to_array()) == second
    with pytest.raises(TooLarge, match=r"5 tokens, the slot for 'reply' takes 4.*summarise again"):
        second.put("one two three four five", [], "lm", 3_000, words)
    for array in (None, np.zeros(3, np.uint8), np.frombuffer(b'{"task": "x"}', np.uint8)):
        with pytest.raises(CorruptFile):
            SummarySlot.of(array)
    for bad in ({"items": 0}, {"seconds": 0.0}, {"seconds": float("nan")}):
        with pytest.raises(ConfigError):
            Refresh(**bad)  # type: ignore[arg-type]


# --- tasks


@pytest.mark.parametrize(
    ("name", "request_", "query", "document"),
    [
        ("LaMP-1", 'For the paper "own", which reference is related? [1]: "first one" [2]: "second"', "first one second", "a title an input"),
        ("LaMP-2", "Which tag? Tags: [comedy, action] description: A ship: it sinks.", "A ship: it sinks.", "an input"),
        ("LaMP-3", "What is the score? review: Broke at once.", "Broke at once.", "an input"),
        ("LaMP-4", "Generate a headline for the following article: Rain again.", "Rain again.", "a title an input"),
        ("LaMP-5", "Generate a title for the following abstract of a paper: We show.", "We show.", "a title an input"),
        ("LaMP-7", "Paraphrase the following tweet without any explanation: nice day", "nice day", "a title"),
        ("LaMP-4", "no field here", "no field here", "a title an input"),
    ],
)
def test_tasks_search_the_fields_that_the_benchmark_searches(name: str, request_: str, query: str, document: str) -> None:
    assert task(name).searched(request_) == query
    assert task(name).document(Piece("an input", "a title")) == document
    assert "a title" in task(name).shown(Piece("an input", "a title"))


def test_profiles_of_the_benchmark_become_a_persons_past() -> None:
    question = {"id": "10", "input": "headline for the article: c", "profile": [{"id": "1", "text": "an article", "title": "Its title"}]}
    frame = lamp_texts([question], "LaMP-4", answers={"10": "C!"})
    assert frame.rows() == [("10", "an article", "Its title", "post"), ("10", "headline for the article: c", "C!", "answer")]
    assert pieces_of(Population.from_frames(texts=frame)["10"]) == [("an article", "Its title"), ("headline for the article: c", "C!")]
    with pytest.raises(MissingColumn, match="description"):
        lamp_texts([question], "LaMP-2")
    with pytest.raises(BadValue, match="row 0"):
        lamp_texts([{"id": "1"}], "LaMP-4")
    with pytest.raises(ConfigError, match="LaMP-9"):
        task("LaMP-9")


# --- counts, search, writing together


def test_counts_find_what_people_do_and_not_what_they_were_asked_for() -> None:
    rng, everybody, truth = np.random.default_rng(0), [], []
    for _ in range(120):
        hello, verb = ("hi", "yo", "dear")[rng.integers(3)], {"mend": ("fix", "sew")[rng.integers(2)], "order": ("buy", "get")[rng.integers(2)]}
        long, own = rng.random() < 0.5, []
        for _ in range(16):
            act, thing = ("mend", "order")[rng.integers(2)], ("lamp", "chair", "clock", "vase")[rng.integers(4)]
            own.append(Piece(f"{act} the {thing}", f"{hello} i {verb[act]} the {thing}" + " with a great deal of joy" * long))
        everybody.append(own)
        truth.append(("long" if long else "short", hello, f"mend {verb['mend']}", f"order {verb['order']}"))
    habits = Habits.from_bytes(Habits.learn(everybody[:100]).to_bytes())
    for own, wanted in zip(everybody[100:], truth[100:], strict=True):
        made = habits.summary(own, limit=30, count=words)
        assert all(one in made for one in wanted), (made, wanted)
        assert not {"lamp", "chair", "clock", "vase", "the", "i"} & set(made.split())
        assert words(habits.summary(own, limit=3, count=words)) <= 3
    assert habits.summary([], limit=30, count=words) == ""
    with pytest.raises(EmptyData):
        Habits.learn([[]])


def test_pieces_are_ranked_by_words_by_meaning_or_by_age() -> None:
    documents = ["mend the lamp", "order a chair", "mend a clock", "sell the vase"]
    assert ranked("recency", ["x", ""], documents) == [[3, 2, 1, 0]] * 2
    assert ranked("bm25", ["order the chair now"], documents)[0][0] == 1
    # What nothing speaks for comes last, the newest first; so it is for a request without words.
    assert ranked("bm25", ["clock", " "], documents) == [[2, 3, 1, 0], [3, 2, 1, 0]]
    assert ranked("bm25", ["clock"], ["", " "]) == [[1, 0]]
    vectors = np.eye(4, dtype=np.float32)
    assert ranked("dense", ["q"], documents, asked=vectors[[1]], vectors=vectors) == [[1, 3, 2, 0]]
    assert ranked("dense", ["q"], [], asked=vectors[:1], vectors=vectors[:0]) == [[]]


def test_rows_that_write_together_choose_what_their_mean_prefers(lm: PopulationLM) -> None:
    tokenizer = lm.model.tokenizer
    model = LanguageModel(CausalLM(LMConfig(vocabulary=len(tokenizer), dim=16, max_tokens=64), seed=3).eval(), tokenizer)
    prompts = [tokenizer.encode(text) for text in ("hello ben", "write to ana", "dear, so it is", "praise the jackets")]
    groups = torch.tensor([0, 1, 0, 1])
    done = model.generate(prompts, model.sampling(max_tokens=6), hooks=[Together(groups)])
    assert done[0].ids == done[2].ids != done[1].ids == done[3].ids
    written: list[int] = []
    for token in done[0].ids:
        with torch.no_grad():
            both = [model.network(torch.tensor([prompts[row] + written]))[0, -1].log_softmax(-1) for row in (0, 2)]
        assert token == int(torch.stack(both).mean(0).argmax())
        written.append(token)


def test_room_is_shared_as_the_benchmark_shares_it(lm: PopulationLM) -> None:
    tokenizer = lm.model.tokenizer
    long, short = Piece("praise the jackets. " * 10, "hello ben bye"), Piece("miss the tents.", "hi ana cheers")
    needs = [len(as_turns(tokenizer, [one], 1_000)) for one in (long, short)]
    # The short one's rest goes to the long one behind it, of which what was asked is cut and what was written is not.
    ids = as_turns(tokenizer, [short, long], needs[1] + 20)
    assert len(ids) == needs[1] + 20
    assert tokenizer.decode(ids).endswith("hello ben bye")
    assert as_turns(tokenizer, [long], 3) == []
    assert unpacked(packed([long, short]), Piece) == [long, short]
    assert unpacked(packed([]), Piece) == []


# --- the writer


def test_what_the_writer_promises(writer: SummaryRetrieval, lm: PopulationLM, tmp_path: Path) -> None:
    before = lm.model.fingerprint
    ana, ben = writer.adapt(NEW[ANA]), writer.adapt(NEW[BEN])
    slot = writer.slot(ana)
    assert slot.current is not None
    assert ana.examples == 12
    assert slot.current.sources == tuple(piece_id(one) for one in pieces_of(NEW[ANA]))
    assert (slot.current.generator, slot.current.version, slot.before, slot.fresh) == ("lm", 1, None, 0)
    assert 0 < len(lm.model.tokenizer.encode(slot.text)) <= 24
    nobody = writer.adapt(Evidence({}, person=ANA))
    assert (nobody.examples, nobody.notes) == (0, {"population": True})
    plain = writer.write_all(CHATS, [None] * 4)
    assert plain == writer.write_all(CHATS, [nobody] * 4)
    mixed = writer.write_all(CHATS, [ana, ben, None, ana])
    assert mixed == [writer.write(chat, state) for chat, state in zip(CHATS, [ana, ben, None, ana], strict=True)]
    assert mixed[2] == plain[2]
    again = sartor.load(writer.save(tmp_path / "writer"))
    assert again.write_all(CHATS, [State.from_bytes(ana.to_bytes()), ben, None, ana]) == mixed
    assert lm.model.fingerprint == before
    assert {ANA, BEN} <= writer.adapt_all(NEW).keys()
    assert writer.slot(writer.adapt_all(NEW)[ANA]).text == slot.text
    with pytest.raises(BadValue, match=rf"texts of {BEN} among those of {ANA}"):
        writer.adapt(Evidence(NEW[BEN].frames, person=ANA))
    with pytest.raises(ConfigError, match="2 states for 4"):
        writer.write_all(CHATS, [None, None])
    with pytest.raises(CorruptFile):
        writer.write(CHATS[0], State({}, "SummaryRetrieval", writer.fingerprint_, examples=1))


def test_the_prompt_has_the_summary_and_the_pieces_that_go_with_the_request(writer: SummaryRetrieval, lm: PopulationLM) -> None:
    state, tokenizer = writer.adapt(NEW[ANA]), lm.model.tokenizer
    pieces = pieces_of(NEW[ANA])
    for piece in pieces[:3]:
        asked = [{"role": "user", "content": piece.prompt}]
        ids = writer._prompts([asked], [state])[0]
        assert ids == [*tokenizer.message("system", writer.slot(state).text), *as_turns(tokenizer, [piece], 200), *tokenizer.chat(asked)]
        assert writer.prompt_tokens([asked], [state]) == [len(ids)]
    bare, four = copy.copy(writer), copy.copy(writer)
    bare.k, four.k = 0, 4
    assert bare.prompt_tokens(CHATS, [state] * 4) < writer.prompt_tokens(CHATS, [state] * 4) < four.prompt_tokens(CHATS, [state] * 4)
    # A request that leaves no room for more is never cut.
    long = [{"role": "user", "content": "praise the jackets. " * 38}]
    assert writer._prompts([long], [state])[0] == tokenizer.chat(long)


def test_a_summary_is_refreshed_when_it_is_due_and_never_by_a_request(writer: SummaryRetrieval) -> None:
    own = pieces_of(NEW[ANA])
    ana = str(ANA)
    first = writer.adapt(of(own[:2], ana))
    second = writer.adapt(of(own[2:5], ana), first)
    assert writer.slot(second).current == writer.slot(first).current
    assert (writer.slot(second).fresh, writer.due(second), len(writer.pieces(second))) == (3, "", 5)
    assert writer.due(second, now=second.updated + 31 * 86_400) == "too old"
    late = replace(second, notes={})
    text = writer.write(CHATS[0], late)
    assert writer.slot(late).fresh == 3
    assert isinstance(text, str)
    third = writer.adapt(of(own[5:7], ana), second)
    assert third.version == 3
    assert writer.slot(third).before == writer.slot(first).current
    assert writer.slot(third).current is not None
    assert len(writer.slot(third).current.sources) == 7  # type: ignore[union-attr]
    assert writer.slot(writer.refresh(third)).current.version == 3  # type: ignore[union-attr]
    mine = writer.edit(third, "hello bye")
    assert writer.slot(mine).text == "hello bye"
    with pytest.raises(TooLarge, match="takes 24"):
        writer.edit(third, "hello bye " * 20)
    nobody = writer.adapt(Evidence({}, person=ANA))
    assert writer.refresh(nobody) is nobody


def test_settings_that_cannot_be(lm: PopulationLM) -> None:
    for bad in ({"task": "LaMP-9"}, {"limit": 0}, {"k": -1}, {"dropped": 1.5}, {"refresh_items": 0}, {"writer": "counts"}, {"writer": "gpt"}):
        with pytest.raises(ConfigError):
            SummaryRetrieval(lm=lm, tokens=100, **bad).fit(PEOPLE, progress=False)  # type: ignore[arg-type]
    with pytest.raises(EmptyData):
        SummaryRetrieval(lm=lm).fit(Population.from_frames(texts={"person": ["a"], "text": [" "]}), progress=False)


def test_labels_are_the_only_answers_of_a_task_that_has_them() -> None:
    rows = [("a film " * 3, "comedy"), ("the sea", "action"), ("a war", "action"), ("some fun", "comedy")]
    frame = {"person": ["p"] * 4 + ["q"] * 4, "prompt": [one for one, _ in rows] * 2, "text": [one for _, one in rows] * 2}
    lm = PopulationLM(tokens=500, dim=16, rows=1).fit(Population.from_frames(texts=frame), progress=False)
    writer = SummaryRetrieval(lm=lm, task="LaMP-2", tokens=500, rows=1, limit=8).fit(Population.from_frames(texts=frame), progress=False)
    texts = writer.write_all([[{"role": "user", "content": "description: a storm"}]] * 2, [None, writer.adapt(of(rows, "p"))])
    assert set(texts) <= set(task("LaMP-2").labels)


# --- other models


def test_an_endpoint_summarises_beforehand_and_writes_behind_the_summary() -> None:
    past = [("order a lamp", "SAY warm and brief"), ("mend a chair", "hi there, as always")]
    with serving("", "", "", "404", "404") as server:
        name = f"endpoint:{server.url}#parrot"
        writer = SummaryRetrieval(writer=name, summariser=name, limit=40, k=1).fit(Population.from_frames(texts={
            "person": ["x"], "prompt": ["order a vase"], "text": ["yes"]}), progress=False)  # fmt: skip
        state = writer.adapt(of(past))
        assert "warm and brief" in writer.slot(state).text
        asked = server.asked(1)[0]["body"]["messages"][0]["content"]
        assert "how they answer each kind of request" in asked
        assert "hi there, as always" in asked
        assert writer.write([{"role": "user", "content": "SAY mend the lamp chair"}], state) == "mend the lamp chair"
        told = server.asked(2)[1]["body"]["messages"]
        assert [one["role"] for one in told] == ["system", "user"]
        assert "warm and brief" in told[0]["content"]
        assert "hi there, as always" in told[0]["content"]
        assert writer.write([{"role": "user", "content": "SAY plain"}]) == "plain"
        assert [one["role"] for one in server.asked(3)[2]["body"]["messages"]] == ["user"]
        assert writer.prompt_tokens([[{"role": "user", "content": "abc"}]], [None]) == [1]
        with pytest.raises(BudgetTooSmall, match="context is 2,000"):
            writer.write([{"role": "user", "content": "long " * 2_000}], state)
        with pytest.raises(NotFitted):
            writer.model  # noqa: B018
        # New pieces, and the summariser is down: nothing is lost, the last summary stays, and it stays due.
        more = writer.adapt(of([(f"order {number}", "new") for number in range(16)]), state)
        assert more.notes == {"summary_failed": "EndpointFailed"}
        assert (writer.slot(more).current, len(writer.pieces(more))) == (writer.slot(state).current, 18)
        assert writer.due(more) == "16 new pieces"
        with pytest.raises(EndpointFailed):
            writer.refresh(more)


def test_one_summary_that_fails_holds_back_nobody_elses() -> None:
    people = ("ana", "ben", "cem")
    rows = {"person": people, "prompt": ["order a lamp"] * 3, "text": [f"SAY {one} is brief" for one in people]}
    with serving("", "404", "") as server:
        name = f"endpoint:{server.url}#parrot"
        writer = SummaryRetrieval(writer=name, summariser=name, limit=40, k=1).fit(Population.from_frames(texts=rows), progress=False)
        states = writer.adapt_all(Population.from_frames(texts=rows))
    made = [writer.slot(states[one]).text for one in people]
    assert "ana is brief" in made[0]
    assert made[1] == ""
    assert "cem is brief" in made[2]
    assert [states[one].notes for one in people] == [{}, {"summary_failed": "EndpointFailed"}, {}]
    assert writer.due(states["ben"]) == "there is no summary"


def test_an_endpoint_that_is_down_is_not_asked_for_everybody() -> None:
    rows = {"person": list("abcdefg"), "prompt": ["order a lamp"] * 7, "text": ["SAY brief"] * 7}
    with serving(*["404"] * 7) as server:
        name = f"endpoint:{server.url}#parrot"
        writer = SummaryRetrieval(writer=name, summariser=name, limit=40, k=1).fit(Population.from_frames(texts=rows), progress=False)
        states = writer.adapt_all(Population.from_frames(texts=rows))
        assert len(server.asked(DOWN)) == DOWN
    assert {one.notes["summary_failed"] for one in states.values()} == {"EndpointFailed"}


def test_a_model_of_the_transformers_library_writes_and_summarises(lm: PopulationLM, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra 'text'")
    tokenizer = lm.model.tokenizer
    random = CausalLM(LMConfig(vocabulary=len(tokenizer), dim=16, heads=2, max_tokens=1_024), seed=5)
    name = f"transformers:{LanguageModel(random, tokenizer).save(tmp_path / 'llama')}"
    writer = SummaryRetrieval(writer=name, summariser="counts", limit=24, context=900, max_new=6).fit(PEOPLE, progress=False)
    state = writer.adapt(NEW[ANA])
    assert writer.slot(state).text == writer._habits.summary(population_pieces(NEW)[ANA], limit=24, count=writer._count)
    assert writer.write(CHATS[0], state) != writer.write(CHATS[0])
    assert sartor.load(writer.save(tmp_path / "writer")).write(CHATS[0], state) == writer.write(CHATS[0], state)
    # A summary that a random model writes is too long: it is noted, and not kept.
    asked = SummaryRetrieval(writer=name, summariser=name, limit=4, context=900, max_new=6).fit(PEOPLE, progress=False)
    assert asked.adapt(of(pieces_of(NEW[ANA])[:2])).notes == {"summary_failed": "BadAnswer"}
