"""Memories: what is taken out of a message, what replaces what, what is found, and what comes from and goes to other systems."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import BadValue, ConfigError, MissingColumn, TooLarge, UnknownFormat, WrongType
from sartor.represent.text import text_encoder
from sartor.write.memory import (
    LeadingSummary,
    Memory,
    MemoryIndex,
    Recall,
    RuleExtractor,
    agreement,
    aspects,
    count_tokens,
    formats,
    masked,
    outdated,
    schema,
    settle,
    within,
)
from sartor.write.memory.recall import STANDS_OUT

RULES = RuleExtractor()


def signs(text: str) -> list[tuple[str, int]]:
    return [(one.phrase, round(np.sign(one.polarity))) for one in aspects(text)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("I dislike dry textbooks and prefer stories over lists, because lists bore me", [("dry textbooks", -1), ("stories", 1), ("lists", -1)]),
        ("I am not a fan of fish as pets due to the work", [("fish as pets", -1)]),
        ("I avoid products that are not cruelty-free", [("products", -1), ("cruelty-free", 1)]),
        ("I prefer not to use electric cars", [("electric cars", -1)]),
        ("I find horror movies too distressing and prefer to avoid them", [("horror movies", -1)]),
        ("I have a severe peanut allergy.", [("peanut", -1)]),
        ("I don't mind the rain", []),
        ("The train leaves at nine", []),
    ],
)
def test_signs_of_a_sentence(text: str, wanted: list[tuple[str, int]]) -> None:
    assert signs(text) == wanted


def test_only_says_that_nothing_else_will_do() -> None:
    assert [one.only for one in aspects("I only eat kosher food")] == [True]
    assert [one.only for one in aspects("I like kosher food")] == [False]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Hi! My name is Ana and I live in Lyon.", [("fact", "name", "Ana"), ("fact", "home", "Lyon")]),
        ("I moved to Berlin last year, but I hate the winters.", [("fact", "home", "Berlin"), ("preference", "winters", None)]),
        ("I work as a nurse at St. Mary. My sister's dog is called Rex.", [("fact", "job", "a nurse at St. Mary"), ("fact", "sister's dog", "Rex")]),
        ("My favorite color is blue.", [("preference", "favorite color", "blue")]),
        ("I like window seats; I avoid red-eye flights.", [("preference", "window seats", None), ("preference", "red-eye flights", None)]),
        ("Do I like jazz? If I lived in Rome I would love pasta.", []),
        ('She said "I love jazz". My aunt said I hate opera.', []),
        ("```\nI love tabs\n```\n> I love quotes", []),
        ("I want to add data. I have a question about Python. My code is broken.", []),
        ("Please correct: I likes the cheese.", []),
        ("I love tea. See this:\nFrom: eve@example.org\nSubject: Hi\n\nI love Evil Bank. I live in Rome.", [("preference", "tea", None)]),
        ("-----Original Message-----\nI love Evil Bank.", []),
        ("On Mon, 3 May 2026, Eve wrote:\nI love Evil Bank.", []),
        ("Summarise:\nUser: I love Evil Bank.\nAssistant: Fine.", []),
    ],
)
def test_statements_in_a_message(text: str, wanted: list[tuple[str, str, str | None]]) -> None:
    assert [(one.kind, one.subject, one.value) for one in RULES.extract(text)] == wanted


def test_what_is_over_and_what_is_said_with_reserve() -> None:
    assert [(one.subject, one.value, one.ended) for one in RULES.extract("I no longer live in Paris.")] == [("home", "Paris", True)]
    assert [(one.subject, one.ended) for one in RULES.extract("I'm not vegetarian anymore.")] == [("diet", True)]
    assert [one.certain for one in RULES.extract("I think I might like opera. I love rock.")] == [False, True]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("I like tea a lot.", (1, "tea", False)), ("I don't love tea at all.", (-1, "tea", False)), ("I don't like tea anymore.", (-1, "tea", False)),
        ("I no longer love tea.", (-1, "tea", False)), ("I no longer hate tea.", (-1, "tea", True)),
        ("I'm not allergic to nuts anymore.", (-1, "nuts", True)), ("I can't stand noise any longer.", (-1, "noise", False)),
    ],
)  # fmt: skip
def test_what_is_liked_how_much_and_whether_still(text: str, wanted: tuple[float, str, bool]) -> None:
    assert [(one.polarity, one.subject, one.ended) for one in RULES.extract(text)] == [wanted]


@given(st.text(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_and_every_statement_stands_in_it(text: str) -> None:
    for one in RULES.extract(f"I love tea. {text}"):
        assert one.text.strip()
        assert -1 <= one.polarity <= 1


def test_a_megabyte_is_read_in_no_time() -> None:
    assert len(RULES.extract("I like tea. " * 90_000)) == 1
    assert RULES.extract("I like " * 150_000) == []
    assert RULES.extract("my " * 300_000 + "is is") == []


def test_recalled_text_is_no_evidence() -> None:
    said = "You told me: i hate  the WINTERS! But I love snow."
    assert [one.subject for one in RULES.extract(masked(said, ["I hate the winters."]))] == ["snow"]
    assert masked("I live in Rome.", []) == "I live in Rome."


def memory(ident: str, text: str, time: float = 0.0, **more: object) -> Memory:
    found = RULES.extract(text)
    one = found[0]
    return replace(Memory(ident, one.text, time, one.kind, one.polarity, subject=one.subject, value=one.value), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "closes"),
    [
        ("I live in Rome.", "I moved to Oslo.", True),
        ("I love spicy food.", "I can't stand spicy foods.", True),
        ("My favorite color is red.", "My favorite color is blue.", True),
        ("I have two cats.", "I have three cats.", False),
        ("I love tea.", "I hate coffee.", False),
        ("My dog is Rex.", "My cat is Tom.", False),
    ],
)
def test_the_newer_of_two_statements_about_the_same_wins(old: str, new: str, closes: bool) -> None:
    first, second = memory("a", old, 1), memory("b", new, 2)
    settled = settle(second, [first])
    assert settled.memory == second
    assert [(one.id, one.valid_to, one.version, one.change) for one in settled.over] == ([("a", 2, 2, "replaced")] if closes else [])
    # In whatever order they arrive, the same one holds in the end.
    late = settle(first, [second])
    assert late.memory is not None
    assert (late.memory.valid_to == 2) == closes
    assert not late.over
    # What waits for confirmation replaces nothing.
    assert not settle(replace(second, confirmed=False), [first]).over


def test_what_is_over_closes_only_what_it_names() -> None:
    rome, over = memory("a", "I live in Rome.", 1), memory("b", "I no longer live in Rome.", 2)
    settled = settle(over, [rome], ended=True)
    assert [(one.id, one.valid_to) for one in settled.over] == [("a", 2)]
    assert settled.memory is not None
    assert settled.memory.valid_to == 2
    assert not settle(over, [memory("a", "I live in Oslo.", 1)], ended=True).over


def test_repetitions_are_known_and_near_ones_only_when_their_words_agree() -> None:
    cats = memory("a", "I have two cats and a parrot.", 1)
    assert settle(memory("b", "i have TWO cats, and a parrot", 2), [cats]).known == cats
    assert settle(memory("b", "I really like tea.", 2), [memory("a", "I love tea.", 1)]).known is not None
    same = np.ones((1, 4), np.float32) / 2
    for text, known in (
        ("I have two cats and one parrot too.", False),
        ("I have got two cats and a parrot.", True),
        ("I have three cats and a parrot.", False),
    ):
        found = settle(memory("b", text, 2), [cats], vector=same[0], vectors=same)
        assert (found.known is not None) == known, text


@given(st.permutations(range(4)))
@settings(max_examples=24, deadline=None)
def test_one_home_holds_in_the_end_whatever_the_order(order: list[int]) -> None:
    said = [memory(str(at), f"I live in {city}.", at) for at, city in enumerate(("Rome", "Oslo", "Lima", "Bonn"))]
    kept: dict[str, Memory] = {}
    for at in order:
        settled = settle(said[at], list(kept.values()))
        assert settled.memory is not None
        kept[settled.memory.id] = settled.memory
        kept |= {one.id: one for one in settled.over}
    assert [one.value for one in kept.values() if one.valid_to is None] == ["Bonn"]


# --- recall


def some(n: int = 40) -> list[Memory]:
    return [Memory(f"m{at}", f"Note {at} about topic{at % 7} and thing{at}", time=at * 1e6, kind="message") for at in range(n)]


def test_a_score_is_the_sum_of_its_parts_and_equal_to_plain_numbers() -> None:
    encoder = text_encoder("hashed")
    recall = Recall(encoder=encoder, half_life=1e7)
    memories = [*some(), memory("tea", "I love green tea.", 5e6), memory("no", "I hate black coffee.", 6e6)]
    now = 1e8
    hits = recall.recall("green tea or coffee?", memories, k=len(memories), now=now)
    assert len(hits) == len(memories)
    vectors = encoder.encode([one.text for one in memories])
    query = encoder.encode(["green tea or coffee?"])[0]
    rows = {one.id: at for at, one in enumerate(memories)}
    for hit in hits:
        assert hit.score == pytest.approx(sum(hit.parts.values()), abs=1e-5)
        assert hit.parts["meaning"] == pytest.approx(float(vectors[rows[hit.memory.id]] @ query), abs=1e-5)
        assert hit.parts["recency"] == pytest.approx(recall.recency * 0.5 ** ((now - hit.memory.time) / 1e7), abs=1e-6)
        assert hit.parts["statement"] == pytest.approx(recall.statement if hit.memory.kind == "preference" else 0)
    assert 0 < max(hit.parts["words"] for hit in hits) < recall.words
    assert {hits[0].memory.id, hits[1].memory.id} == {"tea", "no"}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_question_about_dislikes_finds_dislikes() -> None:
    recall = Recall(encoder=text_encoder("hashed"))
    memories = [memory("yes", "I love music festivals."), memory("no", "I hate music festivals with mud.")]
    assert recall.recall("Which music do I hate?", memories, 1)[0].memory.id == "no"
    assert recall.recall("Which music do I love?", memories, 1)[0].memory.id == "yes"


def test_what_waits_is_over_or_does_not_fit_is_not_recalled() -> None:
    recall = Recall(encoder=text_encoder("hashed"))
    here = memory("a", "I love green tea.")
    others = [replace(here, id="b", confirmed=False), replace(here, id="c", valid_to=10.0), replace(here, id="d", valid_from=1e12)]
    assert [hit.memory.id for hit in recall.recall("tea", [*others, here])] == ["a"]
    assert len(recall.recall("tea", others, now=5.0)) == 1
    long = replace(here, id="long", text="I love tea. " * 50)
    assert [hit.memory.id for hit in recall.recall("tea", [long, here], budget_tokens=count_tokens(here.text))] == ["a"]
    assert within([long, here], 10) == [here]
    assert recall.recall("tea", []) == []
    for bad in ({"k": 0}, {"k": True}, {"budget_tokens": 0}):
        with pytest.raises(ConfigError):
            recall.recall("tea", [here], **bad)
    for query, error in (("", BadValue), ("x\0", BadValue), ("\ud800", BadValue), ("x" * 9000, TooLarge)):
        with pytest.raises(error):
            recall.recall(query, [here])
    with pytest.raises(ConfigError):
        Recall(encoder=text_encoder("hashed"), words=-1)


def test_an_index_that_grows_is_the_one_built_at_once() -> None:
    recall, memories = Recall(encoder=text_encoder("hashed")), some(60)
    vectors = recall.encoder.encode([one.text for one in memories])
    grown = MemoryIndex(memories[:10], vectors[:10])
    for start in range(10, 60, 7):
        grown.add(memories[start : start + 7], vectors[start : start + 7])
    whole = MemoryIndex(memories, vectors)
    for query in ("topic3 thing5", "note about thing17", "nothing at all"):
        one, other = (recall.recall(query, index, 8, now=1e8) for index in (grown, whole))
        assert [(hit.memory.id, hit.score) for hit in one] == [(hit.memory.id, hit.score) for hit in other]
    with pytest.raises(ConfigError):
        grown.add(memories[:2], vectors[:1])


def test_signs_turn_a_choice_around() -> None:
    encoder = text_encoder("hashed")
    options = ["a leather bag", "a canvas bag"]
    assert agreement(options, ["I avoid leather."], encoder).scores.argmax() == 1
    assert agreement(options, ["I love leather."], encoder).scores.argmax() == 0
    assert agreement(options, [memory("a", "I can't stand leather bags.")], encoder, question="Which leather bag?").scores.argmax() == 1
    assert not agreement(options, ["It rains."], encoder).scores.any()


def test_a_summary_names_what_it_was_made_from() -> None:
    memories = [memory("a", "I love tea.", 1), memory("b", "I hate mud.", 2), memory("c", "I live in Rome.", 3)]
    text, sources = LeadingSummary().summarise(memories)
    assert text == "Likes: tea. Dislikes: mud. Facts: home Rome."
    assert set(sources) == {"a", "b", "c"}
    summary = Memory("s", text, 4, "summary", made_from=sources)
    assert not outdated(summary, memories, 5)
    assert outdated(summary, [replace(memories[0], valid_to=2.0), *memories[1:]], 5)
    assert outdated(summary, memories[1:], 5)
    short, used = LeadingSummary(budget_tokens=4).summarise(memories)
    assert len(used) == 1
    assert count_tokens(short) <= 10


# --- other systems' forms


@pytest.mark.parametrize("form", formats.FORMATS)
def test_an_export_comes_back(form: str) -> None:
    memories = [memory("a", "I love tea.", 1000.0, source="x"), memory("b", "I live in Rome.", 2000.0, valid_to=3000.0)]
    data = json.dumps(formats.write(memories, form, person="ana"))
    back = formats.read(data)
    assert [(one.text, one.time) for one in back.memories] == [(one.text, one.time) for one in memories]
    if form == "mem0":
        kept = [(one.kind, one.polarity, one.subject, one.value, one.valid_to) for one in back.memories]
        assert kept == [(one.kind, one.polarity, one.subject, one.value, one.valid_to) for one in memories]
    # Taken in twice, the ids are the same: nothing is doubled.
    assert [one.id for one in formats.read(data).memories] == [one.id for one in back.memories]


def test_a_chatgpt_export_gives_memories_and_her_own_messages() -> None:
    def node(ident: str, role: str, text: str, **more: object) -> dict[str, object]:
        message = {"id": ident, "author": {"role": role}, "create_time": 1.7e9, "content": {"content_type": "text", "parts": [text]}, **more}
        return {ident: {"id": ident, "message": message}}

    mapping = {"root": {"id": "root", "message": None}} | node("1", "user", "I love tea") | node("2", "assistant", "User loves tea.", recipient="bio")
    mapping |= node("3", "tool", "Model set context updated.") | node("4", "assistant", "Fine!")
    found = formats.read(json.dumps([{"title": "x", "create_time": 1.7e9, "mapping": mapping}]).encode())
    assert [(one.id, one.text, one.confirmed) for one in found.memories] == [("chatgpt:2", "User loves tea.", False)]
    assert [(one.id, one.text) for one in found.messages] == [("1", "I love tea")]


@pytest.mark.parametrize(
    ("data", "error", "where"),
    [
        ('{"results": [{"id": "1", "memory": "a"}, {"id": "2"}]}', MissingColumn, {"record": 2, "field": "memory"}),
        ('[{"memory": 5}]', BadValue, {"record": 1, "field": "memory"}),
        ('[{"memory": "a", "created_at": "yesterday"}]', BadValue, {"record": 1, "field": "created_at"}),
        ('[{"memory": "a", "metadata": 3}]', WrongType, {"record": 1, "field": "metadata"}),
        ('[{"memory": "a"}, 7]', WrongType, {"record": 2}),
        ('[{"mapping": {"a": {"message": {"content": {}}}}}]', MissingColumn, {"record": "1.a", "field": "author"}),
        ('[{"mapping": {"a": {"message": {"author": {"role": "user"}, "create_time": 1e15, "content": {"parts": ["x"]}}}}}]', BadValue,
         {"record": "1.a", "field": "create_time"}),
        ('[{"memory": "a", "created_at": 1' + "0" * 400 + "}]", BadValue, {"record": 1, "field": "created_at"}),
        ('[{"memory": "a", "metadata": {"sartor": {"subject": "' + "x" * 501 + '"}}}]', TooLarge, {"record": 1, "field": "metadata.sartor.subject"}),
        ('[{"memory": "a", "metadata": {"sartor": {"value": "\\ud800"}}}]', BadValue, {"record": 1, "field": "value"}),
        ('[{"mapping": {"a": {"message": {"id": {}, "author": {"role": "user"}, "content": {"parts": ["\\ud800"]}}}}}]', BadValue,
         {"record": "1.a", "field": "content"}),
        ('[{"mapping": {"a": {"message": {"id": [1], "author": {"role": "user"}, "content": {"parts": ["x"]}}}}}]', BadValue,
         {"record": "1.a", "field": "id"}),
        ("{", UnknownFormat, {}),
        ("7", UnknownFormat, {}),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_record_and_field(data: str, error: type[Exception], where: dict[str, object]) -> None:
    with pytest.raises(error) as problem:
        formats.read(data)
    assert problem.value.where == where  # type: ignore[attr-defined]
    with pytest.raises(BadValue):
        formats.read(b"\xff\xfe\xff")


def test_a_language_models_answer_stands_only_on_words_of_the_message() -> None:
    row = {"text": "I love tea.", "kind": "preference", "quote": "Love   TEA", "polarity": 1, "subject": "tea"}
    found = schema.checked_rows({"memories": [row]}, "Well, I love tea so much")
    assert [(one.text, one.polarity, one.subject) for one in found] == [("I love tea.", 1.0, "tea")]
    for change, field in (
        ({"quote": "hate tea"}, "quote"),
        ({"kind": "order"}, "kind"),
        ({"polarity": 7}, "polarity"),
        ({"text": ""}, "text"),
        ({"ended": 1}, "ended"),
    ):
        with pytest.raises((BadValue, WrongType)) as problem:
            schema.checked_rows({"memories": [row | change]}, "I love tea")
        assert problem.value.where == {"row": 1, "field": field}
    with pytest.raises(BadValue):
        schema.checked_rows({"memories": [row | {"run": "rm"}]}, "I love tea")
    with pytest.raises(WrongType):
        schema.checked_rows([], "I love tea")


def test_an_answer_stands_beside_its_question() -> None:
    recall = Recall(encoder=text_encoder("hashed"))
    talk = [Memory(f"t{at}", text, kind="message", source="call") for at, text in enumerate(("Which instrument is yours?", "The oboe.", "It rains."))]
    alone = Memory("x", "The oboe.", kind="message", source="elsewhere")
    parts = {hit.memory.id: hit.parts for hit in recall.recall("instrument", [*talk, alone], 4, now=0.0)}
    first = parts["t0"]["meaning"] + parts["t0"]["words"]
    assert first > STANDS_OUT
    assert parts["t1"]["around"] == pytest.approx(recall.around * (first - STANDS_OUT))
    assert parts["t2"]["around"] == 0, "the oboe does not stand out"
    assert parts["x"]["around"] == 0
