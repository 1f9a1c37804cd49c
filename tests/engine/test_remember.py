"""Remembering through the engine: durable, corrected, confirmed, forgotten, of one person and one tenant only."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sartor.engine import Engine
from sartor.engine.memory_shelf import AT_ONCE
from sartor.errors import BadValue, ConfigError, Conflict, EmptyData, NoConsent, TooLarge, UnknownId, WrongType
from sartor.profile.imports import import_
from sartor.profile.scan import scan
from sartor.write.memory.extraction import Found


def opened(path: Path) -> Engine:
    return Engine(f"sqlite:///{path}/people.db", background=False, memory_encoder="hashed")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path) as one:
        yield one


def texts(engine: Engine, person: str, **how: object) -> list[str]:
    return sorted(one.text for one in engine.memories(person, **how))  # type: ignore[arg-type]


def found(engine: Engine, person: str, query: str) -> list[str]:
    return [one.memory.text for one in engine.recall(person, query).memories]


def test_what_is_said_is_kept_and_what_it_contradicts_becomes_history(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        first = engine.remember(
            "ana", [{"role": "user", "content": "I live in Rome. I love spicy food."}, {"role": "assistant", "content": "I love you."}], time=1000
        )
        assert [one.kind for one in first.added] == ["fact", "preference"]
        engine.remember("ana", ["I moved to Oslo.", "I can't stand spicy foods."], time=2000)
        # Where somebody works and as what do not contradict each other.
        engine.remember("ben", ["I work at Acme.", "I work as a nurse.", "I'm a teacher now."], time=2000)
        assert texts(engine, "ben") == ["I work at Acme.", "I'm a teacher now."]
        assert texts(engine, "ana") == ["I can't stand spicy foods.", "I moved to Oslo."]
    # Another process reads the same from the disk.
    with opened(tmp_path) as engine:
        assert texts(engine, "ana") == ["I can't stand spicy foods.", "I moved to Oslo."]
        over = [one for one in engine.memories("ana", history=True) if one.valid_to is not None]
        assert {(one.text, one.valid_to, one.change) for one in over} == {
            ("I live in Rome.", 2000, "replaced"),
            ("I love spicy food.", 2000, "replaced"),
        }
        assert [one.version for one in engine.memory_history("ana", over[0].id)] == [2, 1]
        hits = engine.recall("ana", "where do I live, Rome or Oslo?")
        assert hits.fallback is None
        assert hits.memories[0].memory.text == "I moved to Oslo."
        assert "I live in Rome." not in [one.memory.text for one in hits.memories]
        assert hits.memories[0].score == pytest.approx(sum(hits.memories[0].parts.values()), abs=1e-5)


def test_a_feeling_changes_however_it_is_put(engine: Engine) -> None:
    engine.remember("ana", "I don't love tea.")
    told = engine.remember("ana", "I like tea a lot.")
    assert [one.text for one in told.replaced] == ["I don't love tea."]
    engine.remember("ana", "I am allergic to nuts.")
    engine.remember("ana", "I'm not allergic to nuts anymore.")
    assert [one.text for one in engine.memories("ana")] == ["I like tea a lot."]


def test_the_same_again_changes_nothing(engine: Engine) -> None:
    once = engine.remember("ana", ["I love tea.", "I live in Rome."], id="call-1", time=1000)
    count = engine.store.count("default", "ana")
    again = engine.remember("ana", ["I love tea.", "I live in Rome."], id="call-1", time=1000)
    assert not again.added
    assert [one.id for one in again.known] == [one.id for one in once.added]
    # Said anew, in other letters, it is known; so is what only differs in force.
    assert not engine.remember("ana", ["i LOVE tea!", "I really like tea."], time=3000).added
    assert engine.store.count("default", "ana") == count


def test_nothing_crosses_between_people_and_tenants(engine: Engine) -> None:
    other = engine.for_tenant("other")
    engine.remember("ana", "I love green tea.")
    engine.remember("bob", "I hate green tea.")
    other.remember("ana", "I collect green stamps.")
    assert found(engine, "ana", "green tea") == ["I love green tea."]
    assert found(engine, "bob", "green tea") == ["I hate green tea."]
    assert found(other, "ana", "green tea") == ["I collect green stamps."]
    theirs = engine.memories("bob")[0].id
    for act in (engine.memory_history, engine.forget_memory, engine.confirm, lambda who, one: engine.edit_memory(who, one, "x")):
        with pytest.raises(UnknownId):
            act("ana", theirs)
    with pytest.raises(UnknownId):
        other.forget_memory("ana", engine.memories("ana")[0].id)
    engine.forget("ana")
    assert texts(engine, "ana") == []
    assert texts(other, "ana") == ["I collect green stamps."]
    assert texts(engine, "bob") == ["I hate green tea."]


def test_many_threads_see_only_their_own_person(engine: Engine) -> None:
    wrong: list[str] = []

    def live(person: str) -> None:
        for turn in range(8):
            engine.remember(person, f"I love {person}things{turn}.")
            if bad := [text for text in found(engine, person, "what things do I love") if f"{person}things" not in text]:
                wrong.extend(bad)

    workers = [threading.Thread(target=live, args=(f"p{number}",)) for number in range(6)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert not wrong
    assert all(len(engine.memories(f"p{number}")) == 8 for number in range(6))


def test_consent_is_asked_at_every_step(engine: Engine) -> None:
    engine.remember("ana", "I love tea.")
    assert found(engine, "ana", "tea") == ["I love tea."]
    engine.consent("ana", "write", False)
    hits = engine.recall("ana", "tea")
    assert (hits.memories, hits.fallback) == ([], "no consent")
    for act in (lambda: engine.remember("ana", "I love mud."), lambda: engine.summarise("ana"), lambda: engine.import_memories("ana", "[]")):
        with pytest.raises(NoConsent):
            act()
    # She still sees, corrects and deletes what is hers.
    assert texts(engine, "ana") == ["I love tea."]
    engine.consent("ana", "write", True)
    assert found(engine, "ana", "tea") == ["I love tea."]
    assert engine.recall("nobody", "tea").fallback == "nothing remembered"


class Guesser:
    """Stands for a language model."""

    name, inferred = "guesser", True

    def extract(self, text: str) -> list[Found]:
        return [Found("I love jazz.", "preference", 1.0, "jazz")]


def test_what_was_inferred_waits_for_her_word(engine: Engine) -> None:
    engine.remember("ana", "I can't stand jazz.", time=1)
    told = engine.remember("ana", ["Nice saxophone!"], extractor=Guesser(), time=2)
    assert [one.text for one in told.waiting] == ["I love jazz."]
    assert not told.replaced
    assert found(engine, "ana", "jazz") == ["I can't stand jazz."]
    assert [one.text for one in engine.memories("ana", waiting=True)] == ["I love jazz."]
    confirmed = engine.confirm("ana", told.added[0].id)
    assert confirmed is not None
    assert confirmed.change == "confirmed"
    assert found(engine, "ana", "jazz") == ["I love jazz."]
    again = engine.remember("ana", ["Hm, maybe I like mud."], time=3)
    assert again.waiting
    assert engine.confirm("ana", again.waiting[0].id, right=False) is None
    assert texts(engine, "ana") == ["I love jazz."]
    assert [one.confirmed for one in engine.remember("bob", ["I love mud."], confirm="always").added] == [False]
    assert [one.confirmed for one in engine.remember("cyd", ["Maybe I like mud."], confirm="never").added] == [True]


def test_recalled_text_cannot_confirm_itself(engine: Engine) -> None:
    engine.remember("ana", "I might love jazz.", time=1)
    here = engine.memories("ana")[0]
    said = "You told me: I might love jazz. And I adore blues."
    told = engine.remember("ana", [said], recalled=[here.id], time=2)
    assert [one.subject for one in told.added] == ["blues"]
    assert told.added[0].recalled_from == (here.id,)


def test_an_edit_is_a_version_and_two_editors_cannot_both_win(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        ident = one.remember("ana", "I love tea.").added[0].id
        assert texts(other, "ana") == ["I love tea."]
        new = one.edit_memory("ana", ident, "I hate tea.")
        assert (new.polarity, new.version, new.change) == (-1.0, 2, "edited")
        assert texts(other, "ana") == ["I hate tea."]
        assert found(other, "ana", "tea") == ["I hate tea."]
        assert [each.text for each in other.memory_history("ana", ident)] == ["I hate tea.", "I love tea."]
        # Somebody else changes it between reading and writing: the second one is told.
        with pytest.raises(Conflict):
            other._change("ana", ident, lambda old: (one.edit_memory("ana", ident, polarity=0.5), replace(old, version=old.version + 1))[1])
        assert other.memories("ana")[0].polarity == 0.5
        for text, error in (("", BadValue), ("\ud800", BadValue), ("x" * 9_000, TooLarge)):
            with pytest.raises(error):
                one.edit_memory("ana", ident, text)


def test_what_she_corrects_or_confirms_holds_from_now_on(engine: Engine) -> None:
    rome = engine.remember("ana", "I live in Rome.", time=1000).added[0].id
    guess = engine.remember("ana", ["Maybe I love jazz."], time=1000).added[0].id
    engine.remember("ana", ["I moved to Oslo. I hate jazz."], time=2000)
    engine.edit_memory("ana", rome, "I live in Bergen.")
    engine.confirm("ana", guess)
    assert texts(engine, "ana") == ["I live in Bergen.", "Maybe I love jazz."]
    engine._memories.shelves.drop("default", "ana")
    assert texts(engine, "ana") == ["I live in Bergen.", "Maybe I love jazz."]


def test_two_processes_that_keep_contradictions_agree_on_one(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        space = one._memories.recall.encoder
        from sartor.engine.memory_reading import stated
        from sartor.engine.memory_shelf import record_of

        for at, city in enumerate(("Rome", "Oslo")):
            memory = replace(stated(f"I live in {city}.", None, f"m{at}", 1000.0 + at, "x", ())[0])
            one.store.append("default", [record_of("ana", memory, space.encode([memory.text])[0], space.fingerprint)])
        assert texts(one, "ana") == texts(other, "ana") == ["I live in Oslo."]


def test_forgetting_one_leaves_no_byte_of_it_and_of_what_was_made_from_it(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        ident = engine.remember("ana", "I love quincunxes.").added[0].id
        engine.remember("ana", "I live in Rome.")
        engine.edit_memory("ana", ident, "I love quincunxes and zugzwang.")
        summary = engine.summarise("ana")
        assert set(summary.made_from) == {one.id for one in engine.memories("ana") if one.kind != "summary"}
        assert engine.forget_memory("ana", ident) == 2
        assert texts(engine, "ana") == ["I live in Rome."]
        assert engine.store.count("default", "ana") == 1
        with pytest.raises(UnknownId):
            engine.memory_history("ana", ident)
        engine.export("ana", tmp_path / "ana.zip")
        receipt = engine.forget("ana")
        assert receipt.verified
        assert receipt.removed["evidence"] == 1
        (tmp_path / "ana.zip").unlink()
        assert scan([tmp_path], {"words": ["quincunx", "zugzwang", "I live in Rome"]}).clean
        with pytest.raises(EmptyData):
            engine.summarise("ana")


def test_memories_travel_in_a_persons_archive_and_between_encoders(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        engine.remember("ana", ["I love tea. I live in Rome."], time=1000)
        engine.export("ana", tmp_path / "ana.zip")
        before = engine.memories("ana")
        import_(engine.store, "elsewhere", tmp_path / "ana.zip")
        assert engine.for_tenant("elsewhere").memories("ana") == before
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False, memory_encoder="hashed:64") as engine:
        assert found(engine, "ana", "tea")[0] == "I love tea."


def test_a_request_encodes_its_question_and_no_more_than_a_few_memories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [f"Visit {number}: tea with {name}." for number in range(75) for name in ("Ida", "Leo")]

    def asked(engine: Engine) -> tuple[list[str], int]:
        """What is found, and how many texts were encoded meanwhile."""
        encoder, texts = engine._memories.recall.encoder, list[str]()
        with monkeypatch.context() as patch:
            patch.setattr(encoder, "encode", lambda given, encode=encoder.encode: texts.extend(given) or encode(given))
            return found(engine, "ana", "visit 3 with Ida"), len(texts)

    with opened(tmp_path) as engine:
        engine.remember("ana", told, kind="message", time=1000)
    with opened(tmp_path) as engine:
        # Vectors were made when the memories were written: another process reads them, and encodes the question alone.
        before, encoded = asked(engine)
        assert encoded <= 1
    other = "hashed:64"
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False, memory_encoder=other) as engine:
        answers = [asked(engine) for _ in range(4)]
        assert [count - encoded for _, count in answers] == [AT_ONCE, AT_ONCE, len(told) - 2 * AT_ONCE, 0]
        # Those that the question's words speak for are encoded first: they are found at once.
        assert all(told[6] in texts[:2] for texts, _ in answers)
        assert answers[-1][0][0] == before[0] == told[6]
        shelf, _ = engine._memories.shelves.of("default", "ana", purpose=None)
        assert np.allclose(shelf.index.vectors, engine._memories.recall.encoder.encode([one.text for one in shelf.index.memories]), atol=1e-6)
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False, memory_encoder=other) as engine:
        # What is closed before its turn came is written with a vector that is its own.
        engine.remember("ana", "I love tea.", time=2000)
        engine.remember("ana", "I hate tea.", time=3000)
        old = engine.memories("ana", history=True)
        assert {one.valid_to for one in old if one.text == "I love tea."} == {3000}
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False, memory_encoder="hashed:32") as engine:
        engine.recall("ana", "x")
        assert engine.remember("ana", "I love tea.", time=4000).replaced
        shelf, _ = engine._memories.shelves.of("default", "ana", purpose=None)
        for one in shelf.versions.values():
            if one[-1].text in ("I love tea.", "I hate tea."):
                assert shelf.index.vectors[shelf.rows[one[-1].id]].any()


def test_other_systems_memories_come_in_once_and_go_out(engine: Engine) -> None:
    data = json.dumps(
        {"results": [{"id": "1", "memory": "I love tea.", "created_at": "2026-01-01T00:00:00Z"}, {"id": "2", "memory": "Works at Acme"}]}
    )
    told = engine.import_memories("ana", data)
    assert [(one.text, one.polarity, one.source) for one in told.added] == [
        ("I love tea.", 1.0, "import:mem0"),
        ("Works at Acme", 0.0, "import:mem0"),
    ]
    assert not engine.import_memories("ana", data).added
    out = engine.export_memories("ana")
    assert {one["memory"] for one in json.loads(out)["results"]} == {"I love tea.", "Works at Acme"}
    assert len(engine.import_memories("bob", out).added) == 2
    with pytest.raises(BadValue):
        engine.import_memories("ana", '[{"memory": "x"}, {"memory": ""}]')
    assert len(engine.memories("ana")) == 2


def test_a_store_that_fails_keeps_nothing_and_says_so(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.remember("ana", "I live in Rome.", time=1)

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk")

    with monkeypatch.context() as broken:
        broken.setattr(engine.store._appender, "append_if", fail)
        with pytest.raises(OSError, match="disk"):
            engine.remember("ana", "I live in Oslo.", time=2)
    assert texts(engine, "ana") == ["I live in Rome."]


def test_bad_input_is_named(engine: Engine) -> None:
    for what, error in (
        (3, WrongType),
        ({"role": "user"}, WrongType),
        ([{"content": 5}], WrongType),
        (["\ud800"], BadValue),
        ("", BadValue),
        (["x"] * 501, BadValue),
    ):
        with pytest.raises(error):
            engine.remember("ana", what)  # type: ignore[arg-type]
    for how in ({"confirm": "yes"}, {"kind": "order"}):
        with pytest.raises(ConfigError):
            engine.remember("ana", "I love tea.", **how)  # type: ignore[arg-type]
    for how in ({"id": ""}, {"id": "x\n"}, {"time": -5}, {"time": 10**400}, {"recalled": [[1]]}):
        with pytest.raises(BadValue):
            engine.remember("ana", "I love tea.", **how)  # type: ignore[arg-type]
    with pytest.raises(BadValue):
        engine.recall("ana", " ")
    with pytest.raises(WrongType):
        engine.remember("ana", "I love tea.", recalled="abc")
    for act in (engine.forget_memory, engine.memory_history, engine.confirm):
        with pytest.raises(BadValue):
            act("ana", ["a"])  # type: ignore[arg-type]
    assert not engine.remember("ana", [{"content": [{"type": "text", "text": None}]}], kind="message").added
    assert not engine.remember("ana", ["I like tea? " * 80_000]).added
    assert not engine.memories("ana")


def test_a_question_without_words_finds_what_matters_anyway(engine: Engine) -> None:
    engine.remember("ana", ["I love tea.", "I live in Oslo."], time=1000)
    for query in ("???", "\U0001f44d", "!"):
        assert len(engine.recall("ana", query).memories) == 2


def test_memories_teach_no_model_and_are_no_events(engine: Engine) -> None:
    engine.remember("ana", "I love tea.")
    for purpose in ("recommend", "search", "train", "share"):
        assert not engine.store.evidence("default", "ana", purpose=purpose)
    assert len(engine.store.evidence("default", "ana", purpose="write")) == 1
    assert engine.catch_up()


def test_whole_messages_are_kept_with_what_stands_around_them(engine: Engine) -> None:
    talk = ["Which instrument do you play?", "The oboe, since school.", "Lovely weather today."]
    engine.remember("ana", talk, kind="message", time=5, source="chat")
    hits = engine.recall("ana", "instrument", 3).memories
    assert [one.memory.kind for one in hits] == ["message"] * 3
    oboe = next(one for one in hits if "oboe" in one.memory.text)
    assert oboe.parts["around"] > 0
    assert np.isclose(oboe.score, sum(oboe.parts.values()), atol=1e-5)


def in_between(engine: Engine, what: Callable[[], object]) -> None:
    """Let something happen right before the engine's next write."""
    appender = engine.store._appender
    write = appender.append_if

    def first(*given: object, **named: object) -> object:
        appender.append_if = write  # type: ignore[method-assign]
        what()
        return write(*given, **named)  # type: ignore[arg-type]

    appender.append_if = first  # type: ignore[method-assign, assignment]


def test_what_was_forgotten_or_refused_meanwhile_does_not_come_back(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        home = one.remember("ana", "I live in Rome.", time=1).added[0].id
        # Another process forgets the memory that is being replaced.
        in_between(one, lambda: other.forget_memory("ana", home))
        one.remember("ana", "I moved to Oslo.", time=2)
        assert [(each.text, each.version) for each in one.memories("ana", history=True)] == [("I moved to Oslo.", 1)]
        in_between(one, lambda: one.forget("ana"))
        one.remember("ana", "I moved to Bergen.", time=3)
        assert texts(one, "ana", history=True) == texts(other, "ana", history=True) == ["I moved to Bergen."]
        in_between(one, lambda: other.consent("ana", "write", False))
        with pytest.raises(NoConsent):
            one.remember("ana", "I love jazz.")
        assert texts(other, "ana") == ["I moved to Bergen."]
        # Events of hers that come meanwhile stand in nobody's way.
        one.consent("ana", "write", True)
        in_between(one, lambda: other.observe("ana", ["Heat"]))
        assert one.remember("ana", "I love jazz.").added
        # Without consent she still corrects what is hers.
        one.consent("ana", "write", False)
        assert one.edit_memory("ana", one.memories("ana")[0].id, "I love blues.").text == "I love blues."


def test_a_version_that_comes_while_one_is_forgotten_goes_too(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        home = one.remember("ana", "I live in Rome.", time=1).added[0].id
        remove = one.store.remove

        def slow(*given: str) -> int:
            one.store.remove = remove  # type: ignore[method-assign]
            other.edit_memory("ana", home, "I live in Oslo.")
            return remove(*given)  # type: ignore[arg-type]

        one.store.remove = slow  # type: ignore[method-assign, assignment]
        assert one.forget_memory("ana", home) == 1
        assert one.store.count("default", "ana") == 0


def test_a_reading_in_flight_keeps_nothing_of_who_was_forgotten(engine: Engine) -> None:
    engine.remember("ana", "I live in Rome.")
    shelves = engine._memories.shelves
    keep = shelves._keep

    def slow(*given: object) -> None:
        shelves._keep = keep  # type: ignore[method-assign]
        engine.forget("ana")
        keep(*given)  # type: ignore[arg-type]

    shelves._keep = slow  # type: ignore[method-assign, assignment]
    engine.recall("ana", "where")
    assert not any(shelf.versions for shelf, _ in shelves._kept.values())


LOOP = """
import sys
from sartor.engine import Engine
from sartor.engine.memory_shelf import AT_ONCE
with Engine(sys.argv[1], background=False, memory_encoder="hashed") as engine:
    print("ready", flush=True)
    for turn in range(10_000):
        engine.remember("ana", [f"I live in city{turn}. I love thing{turn}."], id=f"turn-{turn}", time=1000 + turn)
        print(turn, flush=True)
"""


def test_a_process_that_is_killed_leaves_whole_memories_and_one_home(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/people.db"
    opened(tmp_path).close()
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", LOOP, url], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [next(process.stdout) for _ in range(12)]
            process.kill()
        told += process.stdout.readlines() if not process.stdout.closed else []
        confirmed = int(told[-1])
        with opened(tmp_path) as engine:
            every = {one.id: one for one in engine.memories("ana", history=True)}
            homes = [one for one in every.values() if one.subject == "home"]
            last = max(int(one.value.removeprefix("city")) for one in homes if one.value)
            assert last >= confirmed, "what was confirmed is on the disk"
            # Of each turn both statements are there, or neither; and of all homes the newest one holds.
            assert set(every) == {f"turn-{turn}.0.{place}" for turn in range(last + 1) for place in (0, 1)}
            assert [one.value for one in homes if one.valid_to is None] == [f"city{last}"]
            # The last turn may come again, as after any crash: it adds nothing.
            assert not engine.remember("ana", [f"I live in city{last}. I love thing{last}."], id=f"turn-{last}", time=1000 + last).added
