"""Writers that learn from choices: dials on a frozen model (VAS) and a model tuned to read shots (FSPO)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import sartor
from sartor.data.population import Evidence, Population
from sartor.data.world import World
from sartor.data.world.persona.words import ALWAYS
from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, NotFitted, StateMismatch, TooLarge, UnknownId
from sartor.method import State
from sartor.write.fspo import FSPO
from sartor.write.parts.choices import Choice, by_person, choices_of
from sartor.write.parts.few_shot import few_shot_prompt, windows, write_few_shot
from sartor.write.parts.rewards import Brevity, Words, scored
from sartor.write.population_lm import PopulationLM
from sartor.write.vas import VAS

PERSONAS = World(people=60, items=100, seed=7).personas(replies_each=8, dialogues=0, pairs=10)
PEOPLE = PERSONAS.population(PERSONAS.fit_people)
NEW = PERSONAS.population(PERSONAS.new_people)
ANA, BEN = (int(one) for one in PERSONAS.new_people[:2])
TEXTS = PERSONAS.requests([ANA], 4).texts().to_list()
CHATS = [[{"role": "user", "content": text}] for text in TEXTS]
FORMAL = Words(ALWAYS["opener"][4:] + ALWAYS["closer"][4:], ALWAYS["opener"][:4] + ALWAYS["closer"][:4])
SHORT = Brevity(enough=12)


def chosen(*rows: tuple[str, str, str], person: int = ANA) -> Evidence:
    frame = pl.DataFrame(list(rows), schema=["prompt", "chosen", "rejected"], orient="row")
    return Evidence({"preferences": frame.with_columns(pl.lit(person).alias("person"))}, person=person)


@pytest.fixture(scope="module")
def lm() -> PopulationLM:
    return PopulationLM(tokens=40_000, dim=32, vocabulary=600, rows=2, learning_rate=1e-2, seed=1).fit(PEOPLE, progress=False)


@pytest.fixture(scope="module")
def vas(lm: PopulationLM) -> VAS:
    made = VAS(lm=lm, prompts=20, samples=8, epochs=6, batch=8, lam=1.0, max_new=24, candidates=12)
    return made.use(formality=FORMAL, brevity=SHORT).fit(PEOPLE, progress=False)


@pytest.fixture(scope="module")
def fspo(lm: PopulationLM) -> FSPO:
    return FSPO(lm=lm, shots=2, queries=2, sft_steps=10, steps=20, batch=4, max_new=24).fit(PEOPLE, progress=False)


# --- dials


def test_dials_move_what_is_written_and_none_is_the_populations_answer(vas: VAS, lm: PopulationLM, tmp_path: Path) -> None:
    before = lm.model.fingerprint
    warm, cold = vas.dials({"formality": 9.0}), vas.dials([-9.0, 0.0])
    texts = {name: vas.write_all(CHATS, [state] * 4) for name, state in (("warm", warm), ("cold", cold), ("off", vas.dials([0, 0])))}
    assert texts["off"] == lm.write_all(CHATS, [None] * 4, max_new=24)
    assert FORMAL(TEXTS, texts["warm"]).mean() > FORMAL(TEXTS, texts["cold"]).mean()
    mixed = vas.write_all(CHATS, [warm, None, cold, warm])
    assert mixed == [vas.write(chat, state) for chat, state in zip(CHATS, [warm, None, cold, warm], strict=True)]
    everybody = vas.dials(vas.beta_)
    assert vas.write_all(CHATS, [None] * 4) == vas.write_all(CHATS, [everybody] * 4)
    assert warm.nbytes == 24
    assert vas.prompt_tokens(CHATS[:1], [warm]) == [len(lm.model.tokenizer.chat(CHATS[0]))]

    again = sartor.load(vas.save(tmp_path / "vas"))
    assert again.write_all(CHATS, [State.from_bytes(warm.to_bytes()), None, cold, warm]) == mixed
    assert lm.model.fingerprint == before
    # Reward functions are code: they are given again where choices are learned from.
    with pytest.raises(NotFitted, match=r"use\(formality=..., brevity=...\)"):
        again.adapt(NEW[ANA])
    np.testing.assert_array_equal(again.use(brevity=SHORT, formality=FORMAL).adapt(NEW[ANA])["beta"], vas.adapt(NEW[ANA])["beta"])
    with pytest.raises(ConfigError, match="give those of fit: formality, brevity"):
        again.use(brevity=SHORT)


def test_choices_set_the_dials_one_after_another_or_all_at_once(vas: VAS) -> None:
    formal, plain = (
        "dear ben, i gladly mend the lovely lamps from the home shelf. bye",
        "hey ben, i gladly mend the lovely lamps from the home shelf. bye",
    )
    rows = [(TEXTS[0], formal, plain)] * 6
    ana = vas.adapt(chosen(*rows))
    nobody = vas.adapt(Evidence({}, person=ANA))
    np.testing.assert_allclose(nobody["beta"], vas.beta_, atol=1e-6)
    assert ana["beta"][0] > nobody["beta"][0] + 0.5
    assert ana["covariance"][0, 0] < nobody["covariance"][0, 0]
    twice = vas.adapt(chosen(*rows[:3]), vas.adapt(chosen(*rows[:3])))
    assert (twice.version, twice.examples) == (2, 6)
    np.testing.assert_allclose(twice["beta"], ana["beta"], atol=0.2)
    turned = vas.adapt(chosen(*[(asked, worse, better) for asked, better, worse in rows]))
    assert turned["beta"][0] < nobody["beta"][0]
    set_ = vas.dials({"brevity": 2.0}, ana)
    np.testing.assert_allclose(set_["beta"], [ana["beta"][0], 2.0])


def test_what_cannot_be_dialled_is_named(vas: VAS, lm: PopulationLM) -> None:
    with pytest.raises(UnknownId, match=r"warmth.*there are formality, brevity"):
        vas.dials({"warmth": 1.0})
    for wrong in ([1.0], [1.0, 2.0, 3.0], [float("nan"), 0.0]):
        with pytest.raises(ConfigError, match=r"2 rewards.*formality, brevity"):
            vas.dials(wrong)
    with pytest.raises(ConfigError, match="formality, brevity"):
        vas.generate([[3]], np.ones((1, 3)))
    other = PopulationLM(tokens=2_000, dim=16, vocabulary=400, rows=2).fit(PEOPLE, progress=False)
    moved = VAS(lm=lm)
    vars(moved).update(vars(vas) | {"lm": other})
    with pytest.raises(ConfigError, match="values are of the language model"):
        moved.write(CHATS[0])
    with pytest.raises(ConfigError, match="no rewards"):
        VAS(lm=lm).fit(PEOPLE, progress=False)
    with pytest.raises(BadValue, match="same nothing"):
        VAS(lm=lm, prompts=2, samples=2, max_new=4).use(nothing=Words(["zzz"])).fit(PEOPLE, progress=False)
    with pytest.raises(ConfigError, match="candidates 0"):
        VAS(lm=lm, candidates=0).use(brevity=SHORT).fit(PEOPLE, progress=False)
    with pytest.raises(ConfigError, match="column `prompt`"):
        VAS(lm=lm).use(brevity=SHORT).fit(Population.from_frames(texts={"person": ["a"], "text": ["hi"]}), progress=False)
    with pytest.raises(BadValue, match="'odd'"):
        scored("odd", lambda prompts, texts: np.array([np.inf]), [""], [""])
    state = vas.dials([1.0, 1.0])
    torn = State({"beta": np.ones(3, np.float32)}, state.method, state.fingerprint, examples=1)
    with pytest.raises(CorruptFile, match="2 rewards"):
        vas.write(CHATS[0], torn)
    with pytest.raises(StateMismatch):
        vas.write(CHATS[0], lm.adapt(NEW[ANA]))


def test_rewards_count_words() -> None:
    assert Words(["Dear"], ["yo"])(["", ""], ["dear, DEAR ben", "yo ben"]).tolist() == [2, -1]
    assert Words(["a"], most=1)([""], ["a a a"]).tolist() == [1]
    assert Brevity(enough=3)(["", ""], ["a b c d", ""]).tolist() == [-4, -3]


# --- choices


def test_choices_that_say_nothing_are_refused_and_contradictions_are_settled() -> None:
    with pytest.raises(BadValue, match=r"row 1.*chosen answer is the rejected one"):
        choices_of(chosen(("q", "a", "b"), ("q", "c", "c")))
    with pytest.raises(BadValue, match="among those of"):
        choices_of(Evidence(chosen(("q", "a", "b"), person=BEN).frames, person=ANA))
    empty = pl.DataFrame({"person": [ANA], "chosen": ["a"], "rejected": [None]}, schema_overrides={"rejected": pl.String})
    with pytest.raises(BadValue, match=r"row 0.*missing"):
        choices_of(Evidence({"preferences": empty}, person=ANA))
    with pytest.warns(UserWarning, match="1 choices contradict"):
        kept = choices_of(chosen(("q", "a", "b"), ("r", "a", "b"), ("q", "b", "a"), ("r", "a", "b")))
    assert kept == [Choice("r", "a", "b"), Choice("q", "b", "a"), Choice("r", "a", "b")]
    assert choices_of(Evidence({}, person=ANA)) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(by_person(PEOPLE)) == len(PERSONAS.fit_people)


def test_windows_are_one_persons_each_and_no_choice_stands_in_two() -> None:
    people = [[(who, number) for number in range(size)] for who, size in enumerate((9, 3, 6, 2))]
    made = list(windows(people, 2, 1, np.random.default_rng(0)))
    assert len(made) == 3 + 1 + 2
    every = [one for window in made for one in (*window.shots, *window.queries)]
    assert len(set(every)) == len(every) == 18
    assert all(len({who for who, _ in (*window.shots, *window.queries)}) == 1 for window in made)
    assert list(windows(people, 2, 1, np.random.default_rng(1))) != made
    with pytest.raises(ConfigError):
        next(windows(people, 2, 0, np.random.default_rng(0)))


# --- shots


def test_shots_are_read_and_nothing_is_trained_for_a_person(fspo: FSPO, lm: PopulationLM, tmp_path: Path) -> None:
    before, weights = lm.model.fingerprint, {name: one.clone() for name, one in fspo.network_.state_dict().items()}
    ana, ben = fspo.adapt(NEW[ANA]), fspo.adapt(NEW[BEN])
    pairs = NEW[ANA].frames["preferences"].sort("time")
    tokenizer = lm.model.tokenizer
    assert ana["lengths"].shape == (2, 3)
    shown = [row[kind] for row in pairs.tail(2).iter_rows(named=True) for kind in ("prompt", "chosen", "rejected")]
    assert ana["tokens"].tolist() == [token for text in shown for token in tokenizer.encode(text)]
    mixed = fspo.write_all(CHATS, [ana, ben, None, ana])
    assert mixed == [fspo.write(chat, state) for chat, state in zip(CHATS, [ana, ben, None, ana], strict=True)]
    assert mixed[2] == lm.write_all(CHATS[2:3], [None], max_new=24)[0]
    assert fspo.prompt_tokens(CHATS[:1], [ana])[0] == len(tokenizer.chat(CHATS[0])) + ana["tokens"].size + 2 * 6

    again = sartor.load(fspo.save(tmp_path / "fspo"))
    assert again.write_all(CHATS, [State.from_bytes(ana.to_bytes()), ben, None, ana]) == mixed
    newer = fspo.adapt(chosen(("q", "a", "b")), ana)
    assert newer.version == 2
    assert newer["lengths"].shape == (2, 3)
    assert lm.model.fingerprint == before
    assert all((one == weights[name]).all() for name, one in fspo.network_.state_dict().items())
    rewards = fspo.reward(TEXTS, ["dear ben, bye"] * 4, [ana, ben, None, ana])
    alone = [fspo.reward([asked], ["dear ben, bye"], [state])[0] for asked, state in zip(TEXTS, [ana, ben, None, ana], strict=True)]
    np.testing.assert_allclose(rewards, alone, atol=1e-4)
    assert len({round(float(one), 3) for one in rewards[:2]}) == 2
    assert fspo.reward([], [], []).size == 0


def test_the_second_stage_prefers_what_was_chosen_to_what_was_not(fspo: FSPO) -> None:
    pairs = PEOPLE.preferences.collect()
    pairs = pairs.filter(pl.col("person").is_in(pairs["person"].unique().sort().head(12).implode()))
    states = fspo.adapt_all(PEOPLE.only(pairs["person"].unique()))
    own = [states[person] for person in pairs["person"].to_list()]
    better, worse = (fspo.reward(pairs["prompt"].to_list(), pairs[kind].to_list(), own) for kind in ("chosen", "rejected"))
    assert (better - worse).mean() > 0.3


def test_shots_may_be_the_most_different_ones(fspo: FSPO) -> None:
    diverse = FSPO(lm=fspo.lm, shots=2, choose="diverse")
    vars(diverse).update({name: value for name, value in vars(fspo).items() if name.endswith("_")})
    same, other = ("write to ben: mend the lamps.", "dear ben bye", "hey ben bye"), ("write to ana: order the pianos.", "yo pianos", "hi ana")
    evidence, decode = chosen(other, same, same, same), fspo.lm.model.tokenizer.decode
    assert "pianos" in decode(diverse.adapt(evidence)["tokens"].tolist())
    assert "pianos" not in decode(fspo.adapt(evidence)["tokens"].tolist())


def test_what_cannot_be_shown_is_named(fspo: FSPO, lm: PopulationLM) -> None:
    long = "dear " * 150
    state = fspo.adapt(chosen(("q", long, "b"), ("q", long, "c")))
    assert fspo.write(CHATS[0], state)
    state = fspo.adapt(chosen(("q", long, long + "b"), ("q", long, "c")))
    with pytest.raises(TooLarge, match="1 of the shots fit"):
        fspo.write(CHATS[0], state)
    with pytest.raises(EmptyData, match="nobody has made 40 choices"):
        FSPO(lm=lm, shots=20, queries=20).fit(PEOPLE, progress=False)
    with pytest.raises(TooLarge, match="no window of 2 shots and a query fits into 40 tokens"):
        FSPO(lm=lm, shots=2, queries=1, context=40).fit(PEOPLE, progress=False)
    with pytest.raises(EmptyData, match="preferences"):
        FSPO(lm=lm).fit(PEOPLE.replace(preferences=None), progress=False)
    with pytest.raises(ConfigError, match="shots 0"):
        FSPO(lm=lm, shots=0).fit(PEOPLE, progress=False)
    with pytest.raises(ConfigError, match="1 prompts, 2 texts"):
        fspo.reward(["a"], ["b", "c"], [None])
    torn = State({"tokens": np.ones(3, np.uint16), "lengths": np.ones((2, 3), np.int32)}, state.method, state.fingerprint, examples=1)
    with pytest.raises(CorruptFile):
        fspo.write(CHATS[0], torn)
    foreign = State({**state.arrays, "tokens": np.full_like(state["tokens"], 60_000)}, state.method, state.fingerprint, examples=1)
    with pytest.raises(CorruptFile, match="tokens that the model has not"):
        fspo.write(CHATS[0], foreign)


def test_the_prompt_in_words_has_the_published_headings() -> None:
    shots = [Choice("Tea or coffee?", "Tea.", "Coffee."), Choice("Cats?", "Yes.", "No.")]
    text = few_shot_prompt(shots, "Dogs?")
    headings = [line for line in text.splitlines() if line.startswith("#")]
    one = ["## Question", "## Preferred Response", "## Dispreferred Response"]
    assert headings == ["# Example 1", *one, "# Example 2", *one, "# Task", "## Question", "## Preferred Response"]
    assert "Dispreferred" not in few_shot_prompt(shots, "Dogs?", positives=True)
    assert few_shot_prompt(shots, "Dogs?", description="Likes tea.").endswith("## User Description\nLikes tea.\n## Preferred Response\n")
    assert "examples above" not in few_shot_prompt([], "Dogs?")

    class Told:
        """Repeats how it was asked."""

        def __init__(self) -> None:
            self.asked: list[dict[str, Any]] = []

        def generate(self, batch: Any, **settings: Any) -> list[Any]:
            from sartor.write.backends.backend import Generation

            self.asked.append({"prompt": batch[0][0]["content"], **settings})
            return [Generation(f"answer {len(self.asked)}", "stop", 1, 1)]

    backend: Any = Told()
    assert write_few_shot(backend, shots, "Dogs?", describe=True) == "answer 2"
    assert backend.asked[0]["prompt"].endswith("## User Description\n")
    assert "## User Description\nanswer 1\n" in backend.asked[1]["prompt"]
    assert backend.asked[1]["stop"] == ["\n#"]
