"""The persona storey: the same people write, their habits can be graded exactly, and what they say agrees with what they click."""

import doctest
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data.world import World
from sartor.data.world.persona import Personas, Requests
from sartor.data.world.persona.grading import _SLOTS, words_of
from sartor.data.world.persona.labels import annotated_replies, labelled
from sartor.data.world.persona.words import ACTS, CHOOSE, FACTS, JARGON, RECOMMEND, SUBJECTS, vocabulary
from sartor.errors import ConfigError, EmptyData, UnknownId

ANYBODY = World(people=20, items=200, seed=0).personas(jargon=1)


@pytest.fixture(scope="module")
def personas() -> Personas:
    return World(people=300, items=600, seed=3).personas(jargon=2, mistakes=0.2)


def test_the_example_of_the_docstring() -> None:
    from sartor.data.world.persona import personas as module

    assert doctest.testmod(module).failed == 0


def test_few_words_and_each_slot_has_its_own() -> None:
    everything = World(people=200, items=3000, topics=128, seed=1).personas()
    known = set(everything.vocabulary)
    assert len(known) <= 300
    population = everything.population()
    texts = pl.concat([population.texts.collect()["text"], population.preferences.collect()["rejected"]])
    assert {word for text in texts for word in words_of(text)} <= known
    words = [word for options in _SLOTS.values() for word in options]
    assert len(words) == len(set(words))
    assert not set(JARGON) & set(vocabulary())
    assert len(set(JARGON)) == len(JARGON)


def test_replies_are_labelled_for_one_habit_that_they_show(personas: Personas) -> None:
    population = personas.population([1, 2, 3, 4])
    found = labelled(population).texts.collect()
    assert set(found["kind"]) == {"reply"}
    assert set(found["attribute"]) == {"opener", "closer", "mark", "length"}
    for text, habit, aspect in found.select("text", "attribute", "aspect").iter_rows():
        words = words_of(text)
        assert {"opener": words[0] == aspect, "length": ("matters" in words) == (aspect == "long")}.get(habit, aspect in words), text
    assert set(labelled(population, ["closer"]).texts.collect()["attribute"]) == {"closer"}
    for habits in ([], ["verb"]):
        with pytest.raises(ConfigError):
            labelled(population, habits)
    with pytest.raises(EmptyData):
        labelled(population.replace(texts=population.texts.filter(pl.col("kind") == "statement")))


def test_replies_are_annotated_with_another_one_of_the_same_person(personas: Personas) -> None:
    population = personas.population([1, 2, 3])
    replies = population.texts.collect().filter(pl.col("kind") == "reply")
    found = annotated_replies(population).texts.collect()
    assert found.filter(pl.col("kind") == "reply")["text"].equals(replies["text"])
    answers = found.filter(pl.col("role") == "assistant")
    assert answers["text"].equals(replies["text"])
    own = {person: part for (person,), part in replies.partition_by("person", as_dict=True).items()}
    written_from = answers.filter(pl.col("sources").list.len() > 0)
    assert answers.height > written_from.height == answers.height - sum(part.height // 4 for part in own.values())
    assert answers["sources"].list.len().equals(answers["evidence"].list.len())
    for person, text, sources, evidence in written_from.select("person", "text", "sources", "evidence").iter_rows():
        asked = {row["text"]: set(words_of(row["prompt"])) for row in own[person].iter_rows(named=True)}
        shared = {other: len(words & asked[text]) for other, words in asked.items() if other != text}
        assert (sources, shared[evidence[0]]) == (["PERSONA"], max(shared.values()))
    alone = population.replace(texts=replies.group_by("person", maintain_order=True).head(1))
    assert set(annotated_replies(alone).texts.collect()["kind"]) == {"reply"}


# --- who


def test_a_person_is_the_same_in_a_world_of_any_size(personas: Personas) -> None:
    large = World(people=1_000_000, items=600, seed=3).personas(jargon=2, mistakes=0.2)
    small, again = personas.population(), large.population([7, 299])
    for name in ("texts", "preferences", "people"):
        wanted = small.frame(name).filter(pl.col("person").is_in([7, 299])).collect()  # type: ignore[arg-type]
        assert wanted.equals(again.frame(name).collect()), name  # type: ignore[arg-type]
    other = World(people=300, items=600, seed=4).personas(jargon=2, mistakes=0.2)
    assert not other.population([7]).texts.collect().equals(personas.population([7]).texts.collect())


def test_new_people_share_no_own_word_with_fit_people(personas: Personas) -> None:
    assert np.array_equal(np.sort(np.concatenate([personas.fit_people, personas.new_people])), np.arange(300))
    fit, new = (np.unique(personas.traits(people).jargon) for people in (personas.fit_people, personas.new_people))
    assert not np.isin(new, fit).any()


def test_likes_are_what_people_click(personas: Personas) -> None:
    world = personas.world
    events = world.truth["events"].filter((pl.col("label") == "taste") & (pl.col("topic") >= 0))
    kinds = world.topic_table.kind[events["topic"].to_numpy()]
    assert personas.likes().holds(events["person"].to_numpy(), kinds).all()
    said = personas.statements()
    subjects = said["value"].replace_strict(list(SUBJECTS), list(range(len(SUBJECTS))), default=-1, return_dtype=pl.Int64).to_numpy()
    liked = personas.likes().holds(said["person"].to_numpy(), subjects)
    assert liked[(said["kind"] == "like").to_numpy()].all()
    assert not liked[(said["kind"] == "dislike").to_numpy()].any()


# --- habits and their graders


def test_own_replies_show_her_habits_and_others_do_not(personas: Personas) -> None:
    asked = personas.requests(personas.new_people, 12)
    own = personas.tier_scores(personas.grade(personas.replies(asked), asked))
    for tier in ("always", "grouped", "act", "jargon", "taste", "content"):
        assert own[tier].drop_nulls().min() == 1, tier
    assert own["noisy"].mean() == pytest.approx(0.75, abs=0.05)
    swapped = personas.tier_scores(personas.grade(personas.replies(asked, by=np.roll(asked.person, 12)), asked))
    # Chance: 1/8, 1/8, 1/3 and 1/2; one of four; one of three; one of six.
    for tier, chance in (("always", (1 / 8 + 1 / 8 + 1 / 3 + 1 / 2) / 4), ("grouped", 1 / 4), ("act", 1 / 3), ("noisy", 1 / 6), ("jargon", 0.0)):
        assert swapped[tier].mean() == pytest.approx(chance, abs=0.08), tier
    assert swapped["content"].min() == 1


def test_grouped_habits_differ_between_the_groups_and_verbs_between_acts(personas: Personas) -> None:
    traits = personas.traits()
    for chosen in traits.grouped.values():
        assert (chosen[:, 0] != chosen[:, 1]).all()
    asked = personas.requests(personas.new_people, 12)
    graded = personas.grade(personas.replies(asked), asked)
    # The reply to a request of the other group shows other words.
    other = Requests(**{**vars(asked), "act": np.where(asked.group == 0, RECOMMEND, 0)})
    misplaced = personas.grade(personas.replies(asked), other)
    assert graded["link"].all()
    assert not misplaced["link"].any()
    assert not misplaced["verb"].any()


def test_habits_followed_less_often() -> None:
    loose = World(people=200, items=400, seed=5).personas(follow=0.75, noisy=0.5)
    asked = loose.requests(n=20)
    scores = loose.tier_scores(loose.grade(loose.replies(asked), asked))
    for tier, share in (("always", 0.75), ("grouped", 0.75), ("act", 0.75), ("noisy", 0.5)):
        assert scores[tier].mean() == pytest.approx(share, abs=0.03), tier
    assert scores["content"].min() == 1


def test_wrong_answers_are_graded_wrong(personas: Personas) -> None:
    asked = personas.requests(n=6)
    grades = personas.grade(personas.replies(asked, wrong=np.ones(len(asked), bool)), asked)
    tasteful = (asked.act == CHOOSE) | (asked.act == RECOMMEND)
    assert not grades["subject"].to_numpy()[~tasteful].any()
    assert not grades["taste"].drop_nulls().any()
    assert grades["subject"].to_numpy()[tasteful].all()
    assert grades["opener"].all()
    assert (personas.score(grades) < personas.score(personas.grade(personas.replies(asked), asked))).all()


def test_the_graders_name_what_is_wrong(personas: Personas) -> None:
    asked = personas.requests([5], 1)
    text = personas.replies(asked)[0]
    words = personas.traits([5]).frame().row(0, named=True)

    def grade(changed: str) -> dict[str, bool | None]:
        return personas.grade([changed], asked).row(0, named=True)

    assert grade(text.upper())["opener"]
    assert not grade("so " + text)["opener"]
    assert not grade(text.replace(words["closer"], "", 1))["closer"]
    another = next(word for word in _SLOTS["closer"] if word != words["closer"])
    assert not grade(f"{text} {another}")["closer"]
    assert grade(text + " zzz")["closer"]
    shelf = re.search(r"from the (\w+) shelf", text)
    assert shelf
    assert not grade(text.replace(shelf[1], "garden" if shelf[1] != "garden" else "home"))["shelf"]
    assert not grade("")["length"]


@settings(max_examples=25, deadline=None)
@given(text=st.one_of(st.none(), st.text(max_size=200)), act=st.integers(-1, len(ACTS) - 1))
def test_any_text_can_be_graded(text: str | None, act: int) -> None:
    personas = ANYBODY
    asked = personas.requests([3], 1)
    grades = personas.grade([text], Requests(**{**vars(asked), "act": np.array([act])}))
    assert grades.height == 1
    assert not any(value for value in grades.row(0)) or text
    assert 0 <= personas.score(grades)[0] <= 1


def test_requests_as_texts_are_understood(personas: Personas) -> None:
    asked = personas.requests(n=4)
    parsed = Requests.parse(asked.texts(), asked.person)
    for name in ("act", "first", "second", "name"):
        assert np.array_equal(getattr(parsed, name), getattr(asked, name)), name
    texts = personas.replies(asked)
    assert personas.grade(texts, asked.texts().to_list(), asked.person).equals(personas.grade(texts, asked))
    strange = personas.grade(["hello ana"], ["tell me a joke"], [3])
    assert strange["verb"][0] is None
    assert strange["name"][0] is None


# --- what they tell, talk about and choose


def test_questions_are_answered_by_the_newest_statement(personas: Personas) -> None:
    said = personas.statements()
    assert said.filter(pl.col("kind") == "past").height > 0
    for at in (0.1, 0.5, 1.0):
        asked = personas.questions(at=at)
        facts = said.filter((pl.col("kind") == "fact") & (pl.col("time") <= asked["time"][0]))
        newest = facts.sort("time").group_by("person", "slot").agg(pl.col("value").last().alias("said"))
        joined = asked.join(newest, on=["person", "slot"], how="left")
        assert joined["value"].equals(joined["said"], check_names=False)
        assert joined.filter(pl.col("value").is_null())["answer"].unique().to_list() in ([], ["you did not say."])
    assert asked["value"].null_count() == 0


def test_facts_hold_until_they_change(personas: Personas) -> None:
    facts = personas.statements().filter(pl.col("kind") == "fact").sort("person", "slot", "time")
    follows = facts.with_columns(
        pl.col("valid_from").shift(-1).over("person", "slot").alias("next"), pl.col("value").shift(-1).over("person", "slot").alias("then")
    )
    assert follows["valid_to"].equals(follows["next"], check_names=False)
    assert (follows.drop_nulls("then")["value"] != follows.drop_nulls("then")["then"]).all()
    share = facts.filter(pl.col("valid_to").is_not_null()).select("person", "slot").unique().height / (300 * len(FACTS))
    assert share == pytest.approx(0.4, abs=0.05)


def test_dialogues(personas: Personas) -> None:
    turns = personas.population([4, 5]).texts.filter(pl.col("dialogue").is_not_null()).sort("person", "dialogue", "turn").collect()
    assert turns.height == 2 * 2 * 8
    assert turns["role"].to_list() == ["user", "assistant"] * 16
    replies = turns.filter(pl.col("kind") == "revision")
    own = personas.grade(replies["text"].str.strip_prefix("rather: "), replies["prompt"].to_list(), replies["person"].to_numpy())
    assert own["closer"].all()
    assert own["verb"].all()
    drafts = turns.filter(pl.col("kind") == "draft")
    assert personas.grade(drafts["text"], drafts["prompt"].to_list(), drafts["person"].to_numpy())["subject"].all()


def test_chosen_answers_are_better_but_for_mistakes(personas: Personas) -> None:
    pairs, truth = personas.population().preferences.collect(), personas.pairs_truth()
    assert pairs.height == truth.height == 300 * 4
    score = {
        side: personas.score(personas.grade(pairs[side], pairs["prompt"].to_list(), pairs["person"].to_numpy())) for side in ("chosen", "rejected")
    }
    assert np.array_equal(score["chosen"] < score["rejected"], truth["mistake"].to_numpy())
    assert truth["mistake"].mean() == pytest.approx(0.2, abs=0.04)
    assert set(truth["why"]) == {"style", "content", "taste"}


def test_tests_come_after_the_history(personas: Personas) -> None:
    history, asked = personas.history([1, 2]), personas.requests([1, 2], 3)
    for person in (1, 2):
        assert asked.time[asked.person == person].min() > history.time[history.person == person].max()
    only = personas.requests([1], 50, acts=["choose", "recommend"])
    assert set(only.act.tolist()) == {CHOOSE, RECOMMEND}


@pytest.mark.parametrize(
    ("switches", "says"),
    [
        ({"jargon": 4}, "jargon"),
        ({"follow": 1.5}, "follow"),
        ({"replies_each": 0}, "replies_each"),
        ({"pairs": True}, "pairs"),
        ({"new": "all"}, "new"),
    ],
)
def test_switches_out_of_range(switches: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        World(people=5, items=200).personas(**switches)


def test_bad_use(personas: Personas) -> None:
    asked = personas.requests([1], 2)
    with pytest.raises(ConfigError, match="1 texts for 2 requests"):
        personas.grade(["x"], asked)
    with pytest.raises(ConfigError, match="nobody is named"):
        personas.grade(["x"], ["write to ana: order the lamps."])
    with pytest.raises(ConfigError, match="dance"):
        personas.requests([1], 2, acts=["dance"])
    with pytest.raises(UnknownId):
        personas.requests([300])
    with pytest.raises(ConfigError, match="do not like"):
        World(people=50, items=100, topics=6, interests=(5, 6), seed=0).personas().requests()
