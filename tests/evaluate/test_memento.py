"""MEMENTO: propositions by hand, generated homes with a known gap, a model that plans step by step, and files as they are published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sartor.data.world.household import Action, After, Episode, Goal, Home, Homes, Proposition, Thing, Where
from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, FileProblem, MissingColumn, UnknownId
from sartor.evaluate.memento import LanguagePlanner, Record, RulePlanner, at_random, dense, lexical, load, memento, recall_at
from sartor.represent.text import text_encoder
from sartor.write.backends.backend import Generation

THINGS = {one: Thing(one, f"A {one}.", one) for one in ("cup", "vase", "book")}
HOME = Home(
    THINGS,
    {"desk": "office", "shelf": "office", "box": "hall"},
    {one: Where("on", "shelf", "office") for one in THINGS},
    frozenset({"office", "hall"}),
)


def put(thing: str, place: str, relation: Any = "on", *beside: str) -> list[Action]:
    return [Action("pick", thing), Action("place", place, relation, beside)]


def test_propositions_are_true_of_what_was_done() -> None:
    homes, failed = HOME.run([*put("cup", "desk"), *put("vase", "desk", "on", "cup"), *put("book", "hall", "floor")])
    assert failed == 0
    cases = [
        (Proposition("is_on_top", ("cup",), ("desk", "box")), True), (Proposition("is_on_top", ("cup",), ("box",)), False),
        (Proposition("is_inside", ("cup",), ("desk",)), False), (Proposition("is_in_room", ("cup",), ("office",)), True),
        (Proposition("is_on_floor", ("book",)), True), (Proposition("is_on_floor", ("cup",)), False),
        (Proposition("is_next_to", ("cup",), ("vase",)), True), (Proposition("is_next_to", ("book",), ("vase",)), False),
        (Proposition("is_on_top", ("cup", "vase", "book"), ("desk", "shelf"), 2, True), True),
        (Proposition("is_on_top", ("cup", "vase", "book"), ("desk", "shelf"), 3), False),
    ]  # fmt: skip
    assert [one.holds(homes[-1]) for one, _ in cases] == [wanted for _, wanted in cases]
    assert not any(one.holds(HOME) for one, wanted in cases[:1] + cases[6:7])
    # What is picked up is nowhere, and beside nothing.
    assert not Proposition("is_next_to", ("cup",), ("vase",)).holds(homes[-1].do(Action("pick", "cup")))
    assert "next to cup" in str(put("vase", "desk", "on", "cup")[1])


def test_goals_have_an_order() -> None:
    first, then = Proposition("is_on_top", ("cup",), ("desk",)), Proposition("is_on_top", ("vase",), ("desk",))
    ordered = Goal((first, then), order=((0, 1),))
    assert ordered.met(HOME.run([*put("cup", "desk"), *put("vase", "desk")])[0]) == [True, True]
    assert ordered.met(HOME.run([*put("vase", "desk"), *put("cup", "desk")])[0]) == [True, False]
    # True in passing is enough where only another one is asked for at the end.
    passing = Goal((first, Proposition("is_inside", ("cup",), ("box",))), (After((1,), (0,), "after_satisfied"),), last=(1,))
    assert passing.met(HOME.run([*put("cup", "desk"), *put("cup", "box", "in")])[0]) == [True, True]
    assert passing.met(HOME.run(put("cup", "box", "in"))[0]) == [False, False]
    beside = Goal((first, Proposition("is_next_to", ("cup",), ("vase",))), (After((1,), (0,), "while_satisfied"),))
    assert beside.met(HOME.run(put("cup", "shelf", "on", "vase"))[0]) == [False, False]
    shared = Goal((Proposition("is_on_top", ("cup",), ("desk", "box")), Proposition("is_on_top", ("vase",), ("desk", "box"))), shared=((0, 1),))
    assert shared.met(HOME.run([*put("cup", "desk"), *put("vase", "box")])[0]) == [False, False]
    assert shared.met(HOME.run([*put("cup", "box"), *put("vase", "box")])[0]) == [True, True]


def test_what_cannot_be_done_is_refused() -> None:
    holding = HOME.do(Action("pick", "cup"))
    for home, action in (
        (holding, Action("pick", "vase")), (HOME, Action("pick", "moon")), (HOME, Action("place", "desk")), (holding, Action("place", "moon")),
        (holding, Action("place", "desk", "on", ("vase",))), (HOME, Action("navigate", "moon")), (holding, Action("place", "desk", "floor")),
    ):  # fmt: skip
        with pytest.raises(BadValue):
            home.do(action)
    with pytest.raises(ConfigError):
        HOME.do(Action("dance", "cup"))  # type: ignore[arg-type]
    with pytest.raises(UnknownId):
        replace(HOME, where={"moon": Where("on", "shelf")})
    with pytest.raises(BadValue, match="propositions"):
        Goal(())
    homes, failed = HOME.run([Action("pick", "moon"), *put("cup", "desk")] * 30, limit=4)
    assert (len(homes), failed) == (3, 2)


def test_the_gap_is_seen_where_it_is_planted() -> None:
    episodes = Homes(homes=8, seed=100).episodes()
    assert episodes == Homes(homes=8, seed=100).episodes()
    assert not any(one.done([one.home])[1] for one in episodes)
    oracle = memento(RulePlanner(), episodes, oracle=True)
    assert (oracle.gap("single"), oracle.gap("joint")) == (0.0, 0.0)
    # Without memory it says so; who guesses is right by chance.
    silent, guessed = memento(RulePlanner(), episodes), memento(RulePlanner(guess=True), episodes)
    assert {row["unknown"] for row in silent.table().iter_rows(named=True) if row["stage"] != "acquisition"} == {1.0}
    assert set(silent.table()["wrong"]) == {0.0}
    assert 0 < guessed.stages()["single"]["success"] < 0.35
    assert guessed.table().filter(stage="single")["wrong"].min() > 0.5  # type: ignore[operator]
    found = memento(RulePlanner(guess=True), episodes, recall=at_random(1), k=4).stages()
    assert found["joint"]["success"] < found["single"]["success"] - 0.1
    assert found["single"]["success where recalled"] == 1.0
    # What was never said to it is scored on its own.
    first = [one.id for one in episodes if one.stage == "acquisition"]
    forgotten = first[::4]
    honest, bold = (memento(RulePlanner(guess=guess), episodes, recall=dense(text_encoder("hashed")), forgotten=forgotten) for guess in (False, True))
    assert honest.strangers()["unknown"] == 1.0
    assert bold.strangers()["acted"] == 1.0 > bold.strangers()["lucky"]
    assert honest.stages()["single"]["n"] == len(first) - len(forgotten)
    assert honest.gap("single") == 0.0


def test_recall_is_measured_among_all_and_at_home() -> None:
    episodes = Homes(homes=6, seed=3).episodes()
    for recall in (lexical(), dense(text_encoder("hashed"))):
        assert recall_at(episodes, recall, scope="scene")["@5"].all()
    assert recall_at(episodes, at_random(0), ks=(1, 48))["@48"].all()
    with pytest.raises(EmptyData):
        recall_at(episodes[:1], lexical())


class Model:
    """A language model that says what it is told to."""

    name = "scripted"

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers, self.seen = list(answers), list[str]()

    def generate(self, batch: Any, **_: Any) -> list[Generation]:
        self.seen.append("\n".join(one["content"] for one in batch[0]))
        return [Generation(self.answers.pop(0), "stop", 0, 1)]


def test_a_language_model_plans_step_by_step() -> None:
    record = Record("1", "s", "Move the cup to the desk. It was a gift.", "pick cup")
    model = Model([
        "It was the cup.\nAction: pick[cup]", "I am lost.", "Action: place[on, moon]", "Action: navigate[desk]", "Action: place[on, desk, nothing]",
        "Action: done[]",
    ])  # fmt: skip
    plan = LanguagePlanner(backend=model).plan("Move the gift to the desk.", HOME, [record])  # type: ignore[arg-type]
    assert HOME.run(plan.actions)[0][-1].where["cup"] == Where("on", "desk", "office")
    assert "It was a gift." in model.seen[0]
    assert "there is no action" in model.seen[2]
    assert "no moon" in model.seen[3]
    unknown = LanguagePlanner(backend=Model(["Action: unknown[the gift]"])).plan("Move the gift.", HOME, [])  # type: ignore[arg-type]
    assert unknown.unknown == "the gift"
    endless = LanguagePlanner(backend=Model(["Action: navigate[desk]"] * 9), limit=3)  # type: ignore[arg-type]
    assert len(endless.plan("Go on.", HOME, []).actions) == 3


def published(stage: str, **more: Any) -> dict[str, Any]:
    """An episode as the files have it."""
    white = {"id": "V", "caption": "A white vase.", "category": "vase"}
    grey = {"id": "W", "caption": "A grey vase.", "category": "vase", "pair_id": "V"}
    about = {
        "stage": stage, "related_episode_id": "2", "episode_type": "object_semantics", "subtype": "history", "memory": "m", "target_objects": [white],
        "distractors": [grey], "used_object": ["vase"],
    }  # fmt: skip
    goal = {
        "function_name": "is_on_top",
        "args": {"object_handles": ["V_:0000"], "receptacle_handles": ["t_:0001"], "number": 1, "is_same_receptacle": False},
    }
    return {
        "episode_id": "1", "scene_id": "s", "instruction": "Move the white vase.", "evaluation_propositions": [goal],
        "evaluation_constraints": [
            {"type": "TemporalConstraint", "args": {"dag_edges": [], "n_propositions": 1}},
            {"type": "TerminalSatisfactionConstraint", "args": {"proposition_indices": [0], "n_propositions": None}},
        ],
        "evaluation_proposition_dependencies": [], "name_to_receptacle": {"V_:0000": "c_:0000|mesh.0000", "W_:0000": "c_:0000|mesh.0001"},
        "metadata": about,
    } | more  # fmt: skip


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / "memory_acquisition_stage.json").write_text(json.dumps({"config": {}, "episodes": list(rows)}))
    return folder


def test_published_files_are_read(tmp_path: Path) -> None:
    (one,) = load(write(tmp_path, published("1")), stages=["acquisition"])
    assert (one.targets, one.distractors, one.related) == (("V_:0000",), (("W_:0000", "V_:0000"),), ("2",))
    assert one.home.things["V_:0000"].caption == "A white vase."
    assert not one.done([one.home])[1]
    assert one.done(one.home.run(put("V_:0000", "t_:0001"))[0]) == (1.0, True)
    about = published("1")["metadata"]
    with pytest.raises(FileProblem):
        load(tmp_path)
    with pytest.raises(MissingColumn, match="lacks"):
        load(write(tmp_path, published("1", metadata={})), stages=["acquisition"])
    row = published("1")
    del row["instruction"]
    with pytest.raises(MissingColumn, match="no instruction"):
        load(write(tmp_path, row), stages=["acquisition"])
    with pytest.raises(BadValue, match="no constraint"):
        load(write(tmp_path, published("1", evaluation_constraints=[{"type": "Other", "args": {}}])), stages=["acquisition"])
    row = published("1")
    row["evaluation_propositions"][0]["args"]["object_handles"] = ["X_:0000"]
    with pytest.raises(BadValue, match="not in the home"):
        load(write(tmp_path, row), stages=["acquisition"])
    for damaged in ("[1", '{"episodes": ["x"]}'):
        (tmp_path / "memory_acquisition_stage.json").write_text(damaged)
        with pytest.raises(CorruptFile):
            load(tmp_path, stages=["acquisition"])
    # A thing that nothing can be taken for makes the task trivial.
    with pytest.warns(UserWarning, match="no distractors"):
        load(write(tmp_path, published("1", metadata=about | {"distractors": []})), stages=["acquisition"])


def test_what_else_it_refuses() -> None:
    episodes = Homes(homes=1).episodes()
    first = [one for one in episodes if one.stage == "acquisition"]
    with pytest.raises(EmptyData):
        memento(RulePlanner(), first)
    for more in ({"k": -1}, {"limit": 0}, {"scope": "moon"}, {"oracle": True, "recall": lexical()}):
        with pytest.raises(ConfigError):
            memento(RulePlanner(), episodes, **more)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        Homes(gifts=6, habits=6)
    with pytest.raises(BadValue, match="not in the home"):
        Episode("1", "s", "single", "x", HOME, Goal((Proposition("is_on_floor", ("moon",)),)), (), "user_pattern", (), ())


def test_real_data_where_it_is_here() -> None:
    folder = Path("../shared/data/memento")
    if not folder.is_dir():
        pytest.skip("the published data are not here")
    episodes = load(folder, stages=["single"])
    assert len(episodes) == 201
    assert not any(one.done([one.home])[1] for one in episodes)
    assert np.mean([one.type == "object_semantics" for one in episodes]) == pytest.approx(89 / 201)
