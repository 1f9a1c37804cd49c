"""RPM: factors counted right, forgotten exactly, answers that cite the person's own reasons, and every way of asking."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra 'deep'")

from sartor.data.population import Evidence, Population
from sartor.data.world.decisions import ATTRIBUTES, Decisions, tag
from sartor.errors import BadAnswer, BadValue, ConfigError, CorruptFile, EmptyData, MissingColumn, NotFitted, StateMismatch, UnknownId
from sartor.method import State, load
from sartor.write.backends.backend import Generation
from sartor.write.parts.factors import counted, grouped, without
from sartor.write.rpm import RPM
from sartor.write.rpm_features import RuleJob, feature_job, features
from sartor.write.rpm_memory import Memory

WORLD = Decisions(people=17, items=60, words=15, seed=5)
JOB = RuleJob(lambda given: tag(given[0], given[1] if len(given) > 1 else None, noise=0.0))
KNOWN = 40


@cache
def model() -> RPM:
    texts = WORLD.texts().filter(pl.col("person") < 12)
    return RPM(epochs=24, share=KNOWN / 60).use(features=JOB).fit(Population({"texts": texts}), progress=False)


def rows(person: int) -> pl.DataFrame:
    return WORLD.texts().filter(pl.col("person") == person).drop("person")


@cache
def state(person: int = 14) -> State:
    return model().adapt(Evidence({"texts": rows(person)[:KNOWN]}))


def test_it_answers_for_the_person_and_says_why() -> None:
    method, right = model(), {arm: list[bool]() for arm in ("own", "other", "none", "text")}
    cited = []
    for person in range(12, 17):
        asked = rows(person)[KNOWN:]
        requests, truth = asked["prompt"].to_list(), asked["text"].to_list()
        own, other = [state(person)] * len(requests), [state(12 + (person - 11) % 5)] * len(requests)
        nobody: list[State | None] = [None] * len(requests)
        for arm, made in (
            ("own", method.answer(requests, own)), ("other", method.answer(requests, other)), ("none", method.answer(requests, nobody)),
            ("text", method.answer(requests, own, show="cases", by="text")),
        ):  # fmt: skip
            right[arm] += [one.text == wanted for one, wanted in zip(made, truth, strict=True)]
        names = {row["factor"]: row["phrases"] for row in method.describe(state(person)).iter_rows(named=True)}
        for one in method.answer(requests, own):
            assert one.reasons
            assert len(one.items) == 3
            for reason in one.reasons:
                ways = {at for at, way in enumerate(ATTRIBUTES) if set(names[reason.factor]) & set(way)}
                cited.append(bool(ways & set(WORLD.rules[person][0])))
                assert reason.direction == (1 if one.text == "yes" else -1)
    shares = {arm: np.mean(values) for arm, values in right.items()}
    assert shares["own"] >= max(shares["other"], shares["none"], shares["text"]) + 0.1
    assert np.mean(cited) >= 0.8
    assert method.write([{"role": "user", "content": requests[0]}], state(16)) == method.answer(requests[:1], [state(16)])[0].text


def test_factors_are_the_attributes_with_their_counts() -> None:
    table = model().describe(state(14))
    assert table.height == len(ATTRIBUTES)
    held, yes = WORLD.attributes[14, :KNOWN], WORLD.answers[14, :KNOWN]
    for row in table.iter_rows(named=True):
        at = next(at for at, ways in enumerate(ATTRIBUTES) if row["phrases"][0] in ways)
        assert row["support"] == held[:, at].sum()
        assert row["influence"] == pytest.approx(np.where(yes, 1, -1)[held[:, at]].mean())
        assert row["consistency"] == abs(row["influence"])
    order = (table["support"] * table["consistency"]).to_list()
    assert order == sorted(order, reverse=True)
    memory = Memory.of(state(14).arrays)
    assert 0 < state(14).notes["paths"] <= KNOWN
    assert all(memory.factors.support[at] >= 2 for one in memory.items for at, _ in one.path or ())


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_taking_an_item_out_counts_only_what_it_touched(seed: int, items: int, phrases: int) -> None:
    rng = np.random.default_rng(seed)
    words, labels = [f"p{at}" for at in range(phrases)], np.unique(rng.integers(0, 4, phrases), return_inverse=True)[1].astype(np.int32)
    pairs = {(int(a), int(b)) for a, b in zip(rng.integers(0, items, 30), rng.integers(0, phrases, 30), strict=True)}
    table = np.array([(a, b, rng.integers(-1, 2)) for a, b in sorted(pairs)], np.int32).reshape(-1, 3)
    values, gone = rng.choice([-1.0, 0.5, 1.0], items), int(rng.integers(items))
    whole = counted(labels, words, table, values)
    less, touched = without(whole, words, table, values, gone)
    rest = table[table[:, 0] != gone]
    moved = np.stack([rest[:, 0] - (rest[:, 0] > gone), rest[:, 1], rest[:, 2]], axis=1)
    again = counted(labels, words, moved, np.delete(values, gone))
    np.testing.assert_array_equal(less.sums, again.sums)
    assert (less.items, less.total, less.names) == (again.items, pytest.approx(again.total), again.names)
    untouched = np.setdiff1d(np.arange(len(whole)), touched)
    np.testing.assert_array_equal(less.sums[untouched], whole.sums[untouched])
    assert [less.names[at] for at in untouched] == [whole.names[at] for at in untouched]


def test_what_is_forgotten_is_gone_and_what_comes_back_counts_once() -> None:
    method = model()
    secret = pl.DataFrame({"prompt": ["my zanzibar stamps, a quiet motor"], "text": ["yes"], "time": [0]})
    told = RPM(epochs=1).use(
        features=RuleJob(lambda given: [{"phrase": one, "sign": 1} for one in given[0].split(", ")])
    ).fit(Population({"texts": WORLD.texts().filter(pl.col("person") < 3)}), progress=False)  # fmt: skip
    made = told.adapt(Evidence({"texts": pl.concat([secret, rows(14)[:6].select("prompt", "text", "time")])}))
    assert b"zanzibar" in made.to_bytes()
    less = told.forget(made, ["0"])
    assert b"zanzibar" not in less.to_bytes()
    assert less.notes["items"] == 6
    assert less.version == 2
    # Numbers of forgotten cases are not given again while newer ones are there; a case that comes again replaces the older one.
    more = told.adapt(Evidence({"texts": rows(14)[6:8].select("prompt", "text", "time")}), less)
    assert [one.id for one in Memory.of(more.arrays).items] == [str(at) for at in range(1, 9)]
    named = rows(14)[:2].with_columns(item=pl.Series(["a", "a"]))
    assert [one.answer for one in Memory.of(method.adapt(Evidence({"texts": named})).arrays).items] == [named["text"][1]]
    updated = method.adapt(Evidence({"texts": rows(14)[30:KNOWN]}), method.adapt(Evidence({"texts": rows(14)[:30]})))
    assert (
        method.describe(updated)
        .drop("factor")
        .sort("support", "influence", "present")
        .equals(method.describe(state(14)).drop("factor").sort("support", "influence", "present"))
    )
    with pytest.raises(UnknownId):
        told.forget(made, ["nobody"])


def test_without_contrast_or_features_it_says_so() -> None:
    same = model().adapt(Evidence({"texts": rows(14).filter(pl.col("text") == "yes")[:10]}))
    assert same.notes["insufficient contrast"] is True
    request = rows(14)["prompt"][50]
    one, population = model().answer([request] * 2, [same, None])
    assert one == population
    assert one.flags == ("population",)
    assert not one.reasons
    plain = model().answer(["kon, mir, tes"], [state(14)])[0]
    assert plain.flags == ("text similarity",)
    assert len(plain.items) == 3
    assert not plain.reasons
    empty = model().adapt(Evidence({}))
    assert model().answer([request], [empty])[0].text == population.text


def test_a_job_that_fails_twice_costs_its_item_alone() -> None:
    asked: list[int] = []

    def sometimes(given: Sequence[str]) -> Any:
        asked.append(1)
        if "blue" in given[0]:
            return {"not": "a list"} if len(asked) % 2 else [{"phrase": 3, "sign": 1}]
        return tag(given[0], given[1] if len(given) > 1 else None, noise=0.0)

    texts = rows(14)[:KNOWN]
    blue = int(texts["prompt"].str.contains("blue").sum())
    method = model()
    try:
        made = method.use(features=RuleJob(sometimes)).adapt(Evidence({"texts": texts}))
    finally:
        method.use(features=JOB)
    assert len(asked) == KNOWN + blue
    assert (made.notes["skipped"], made.notes["items"]) == (blue, KNOWN - blue)
    # What does not stand in the request, or says the answer, is no feature of it.
    found = features(RuleJob(lambda _: [{"phrase": one, "sign": 1} for one in ("blue", "green", "yes", "blue")]), "blue and yes", "yes")
    assert found == [("blue", 1)]
    with pytest.raises(BadAnswer, match="no features"):
        features(RuleJob(lambda _: [{"phrase": "blue", "sign": 2}]), "blue")


class Model:
    """A language model that follows the table, and cites something beside it."""

    name = "scripted"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def generate(self, batch: Any, **_: Any) -> list[Generation]:
        out = []
        for messages in batch:
            prompt = messages[0]["content"]
            self.seen.append(prompt)
            reason = {"feature": "", "factor": "quiet motor", "direction": 1}
            if "List the short phrases" in prompt:
                made: Any = [{"phrase": one, "sign": 1} for one in ("quiet motor", "blue finish") if one in prompt]
            elif "Write why she" in prompt:
                made = {"reasoning": [reason], "why": "she likes it quiet"}
            elif "Which answer follows" in prompt:
                made = {"reasoning": [], "answer": "splendid"}
            else:
                made = {"reasoning": [reason, {"feature": "", "factor": "the moon", "direction": -1}], "answer": "splendid"}
            out.append(Generation("So: " + json.dumps(made), "stop", 0, 1))
        return out

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def test_a_language_model_reads_and_writes_the_same() -> None:
    writer = Model()
    method = RPM(epochs=1).use(features=feature_job(writer), writer=writer)  # type: ignore[arg-type]
    cases = [("a quiet motor", "splendid"), ("quiet motor, blue finish", "splendid"), ("blue finish", "dull"), ("blue finish again", "so so")] * 2
    frame = pl.DataFrame({"person": [1] * 8, "prompt": [f"{one} {at}" for at, (one, _) in enumerate(cases)], "text": [two for _, two in cases]})
    method.fit(Population({"texts": frame}), progress=False)
    made = method.adapt(Evidence({"texts": frame.drop("person")}))
    items = Memory.of(made.arrays).items
    # Reasons from which another answer follows than hers are no reasons.
    assert [one.why for one in items[:4]] == ["she likes it quiet"] * 2 + ["", ""]
    found = method.answer(["the quiet motor"], [made])[0]
    assert (found.text, [one.factor for one in found.reasons], found.flags) == ("splendid", ["quiet motor"], ("uncited",))
    prompt = writer.seen[-1]
    assert "in 4 of 8" in prompt
    assert "reasons: she likes it quiet" in prompt
    with pytest.raises(NotFitted, match="words"):
        method.__class__.answer(_without_writer(method), ["the quiet motor"], [made])


def _without_writer(method: RPM) -> RPM:
    method._writer = None
    return method


def test_numbers_are_answers_too_and_a_namer_may_merge() -> None:
    texts = WORLD.texts().filter(pl.col("person") < 4).with_columns(pl.col("text").replace_strict({"yes": "5", "no": "2"}))
    namer = RuleJob(lambda phrases: "place" if any("night" in one or "local" in one for one in phrases) else phrases[0])
    method = RPM(epochs=10, k=2).use(features=JOB, namer=namer).fit(Population({"texts": texts}), progress=False)
    made = method.adapt(Evidence({"texts": rows(14)[:KNOWN].with_columns(pl.col("text").replace_strict({"yes": "5", "no": "2"}))}))
    assert len(method.describe(made).filter(pl.col("factor") == "place")["phrases"][0]) == 6
    found = method.answer(rows(14)["prompt"].to_list()[KNOWN:], [made] * 20)
    assert all(2 <= one.value <= 5 for one in found)
    assert found[0].text == f"{found[0].value:.2f}"
    assert np.ptp([one.value for one in found]) > 0


def test_it_comes_back_from_disk(tmp_path: Path) -> None:
    again, request = load(model().save(tmp_path / "rpm")), rows(14)["prompt"][50]
    assert again.answer([request], [None]) == model().answer([request], [None])
    with pytest.raises(NotFitted, match="features"):
        again.answer([request], [state(14)])
    assert again.use(features=JOB).answer([request], [State.from_bytes(state(14).to_bytes())]) == model().answer([request], [state(14)])


def test_groups_are_by_mean_cosine() -> None:
    vectors = np.array([[1, 0], [0.9, 0.436], [0, 1]], np.float32)
    assert grouped(vectors, 0.8).tolist() in ([0, 0, 1], [1, 1, 0])
    assert len(set(grouped(vectors, 0.95).tolist())) == 3
    assert grouped(vectors[:1], 0.5).tolist() == [0]


def test_mistakes_have_names() -> None:
    texts, method = WORLD.texts(), model()
    other = RPM(epochs=1).use(features=JOB).fit(Population({"texts": texts.filter(pl.col("person") < 2)}), progress=False)
    broken = State({**state(14).arrays, "features": state(14)["features"] + 9_999}, "RPM", method.fingerprint_)

    numbers = pl.DataFrame({"person": [1] * 8, "prompt": texts["prompt"].head(8), "text": ["2", "5"] * 4})

    def fit(frame: pl.DataFrame, **more: Any) -> Any:
        return RPM(**more).use(features=JOB).fit(Population({"texts": frame}), progress=False)

    cases: list[tuple[type[Exception], Any]] = [
        (NotFitted, lambda: RPM().fit(Population({"texts": texts}), progress=False)),
        (NotFitted, lambda: RPM().use(features=JOB).answer(["a"], [None])),
        (ConfigError, lambda: fit(texts, k=0)),
        (ConfigError, lambda: fit(texts, keep=0)),
        (ConfigError, lambda: fit(texts, threshold=2.0)),
        (ConfigError, lambda: fit(texts.with_columns(text=pl.int_range(pl.len()).cast(pl.String) + "a"))),
        (EmptyData, lambda: fit(texts.filter(pl.col("text") == "yes"))),
        (EmptyData, lambda: fit(texts.with_columns(person=pl.int_range(pl.len())))),
        (MissingColumn, lambda: fit(texts.drop("prompt"))),
        (StateMismatch, lambda: other.answer(["a"], [state(14)])),
        (CorruptFile, lambda: method.answer(["a"], [broken])),
        (CorruptFile, lambda: method.answer(["a"], [State({}, "RPM", method.fingerprint_)])),
        (ConfigError, lambda: method.answer(["a"], [])),
        (BadValue, lambda: method.answer([" "], [None])),
        (BadValue, lambda: method.adapt(Evidence({"texts": texts.filter(pl.col("person") == 1)}, person=2))),
        (BadValue, lambda: fit(numbers, epochs=1).adapt(Evidence({"texts": numbers.with_columns(text=pl.lit("nan"))}))),
        (BadValue, lambda: method.write("a")),  # type: ignore[arg-type]
        (ConfigError, lambda: Decisions(people=0)),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
    # A request that was never answered says nothing.
    unanswered = pl.concat([numbers, numbers.head(1).with_columns(text=pl.lit(None, pl.String))])
    assert fit(numbers, epochs=1).adapt(Evidence({"texts": unanswered})).notes["items"] == 8


def test_the_newest_cases_are_kept() -> None:
    numbers = pl.DataFrame({"person": [1] * 8, "prompt": WORLD.texts()["prompt"].head(8), "text": ["2", "5"] * 4})
    method = RPM(epochs=1, keep=5).use(features=JOB).fit(Population({"texts": numbers}), progress=False)
    first = method.adapt(Evidence({"texts": numbers.head(4)}))
    both = Memory.of(method.adapt(Evidence({"texts": numbers.tail(4)}), first).arrays)
    assert [one.request for one in both.items] == numbers["prompt"].tail(5).to_list()
    assert len(both.texts) == 5
    assert [one.request for one in Memory.of(method.adapt(Evidence({"texts": numbers})).arrays).items] == numbers["prompt"].tail(5).to_list()
