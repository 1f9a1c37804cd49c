"""SESA: what is read from texts has names, can be explained by them, and obeys edits."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError, DuplicateRows, EmptyData, MissingColumn, StateMismatch, UnknownId
from sartor.method import load
from sartor.recommend.sesa import SESA

SKILLS = {"baking": "oven dough bread", "sailing": "mast sail harbour", "coding": "loop compiler bug", "law": "court judge contract"}
SETTINGS = {"epochs": 15, "hidden": 16, "word_dim": 16, "batch_size": 32, "learning_rate": 5e-3}


def text(names: list[str], rng: np.random.Generator) -> str:
    words = [word for name in names for word in rng.choice(SKILLS[name].split(), 2)] + list(rng.choice(["the", "and", "of", "work"], 3))
    rng.shuffle(words)
    return " ".join(words)


def population(seed: int = 0, **changes: pl.DataFrame) -> Population:
    rng, names = np.random.default_rng(seed), list(SKILLS)
    people, jobs = ([sorted(rng.choice(names, 2, replace=False)) for _ in range(count)] for count in (60, 40))
    events = [(row, job) for row, own in enumerate(people) for job, wanted in enumerate(jobs) if set(own) == set(wanted)]
    frames = {
        "events": pl.DataFrame(events, schema=["person", "item"], orient="row"),
        "items": pl.DataFrame({"item": range(40), "text": [text(one, rng) for one in jobs], "concepts": jobs}),
        "people": pl.DataFrame({"person": range(60), "text": [text(one, rng) for one in people], "concepts": people}),
    }
    return Population.from_frames(**(frames | changes))


def of(words: str) -> Evidence:
    return Evidence({"people": pl.DataFrame({"text": [words]})})


@pytest.fixture(scope="module")
def fitted() -> SESA:
    return SESA(**SETTINGS).fit(population(), progress=False)


def test_a_text_is_read_as_the_concepts_it_is_about(fitted: SESA) -> None:
    state = fitted.adapt(of("oven bread and the harbour sail"))
    vector = dict(zip(fitted.concepts_, fitted.vector(state), strict=True))
    assert min(vector["baking"], vector["sailing"]) > 0.7
    assert max(vector["coding"], vector["law"]) < 0.3
    assert state["concepts"].dtype == np.uint16
    assert state["strengths"].dtype == np.float16


def test_an_explanation_is_the_score(fitted: SESA) -> None:
    state = fitted.adapt(of("oven bread and the harbour sail"))
    job = fitted.recommend([state], 1, exclude=None)[0][0]
    told = fitted.explain(state, job, top=4)
    assert {name for name, _ in told[:2]} == {"baking", "sailing"}
    assert sum(share for _, share in told) == pytest.approx(1, abs=1e-5)
    person, item = fitted.vector(state), fitted.item_vectors_[fitted.items_.numbers([job])[0]]
    expected = float(person @ item / np.linalg.norm(person) / np.linalg.norm(item))
    assert fitted.score([state], [job])[0, 0] == pytest.approx(expected, rel=1e-5)


def test_edits_hold_at_once_and_can_be_taken_back(fitted: SESA) -> None:
    state = fitted.adapt(of("oven bread and the harbour sail"))
    struck = fitted.edit(state, remove=["sailing"], pin=["law"])
    vector = dict(zip(fitted.concepts_, fitted.vector(struck), strict=True))
    assert (vector["sailing"], vector["law"]) == (0, 1)
    assert struck.version == state.version + 1
    # An edit outlives new evidence, and goes when it is restored.
    later = fitted.adapt(of("oven mast sail dough"), struck)
    assert fitted.vector(later)[fitted.concepts_.index("sailing")] == 0
    back = fitted.edit(struck, restore=["sailing", "law"])
    assert np.array_equal(fitted.vector(back), fitted.vector(state))
    with pytest.raises(UnknownId, match="sailing"):
        fitted.edit(state, remove=["sailin"])
    with pytest.raises(ConfigError, match="at once"):
        fitted.edit(state, remove=["law"], pin=["law"])


def test_a_text_without_a_known_word_says_nothing_and_says_so(fitted: SESA) -> None:
    state = fitted.adapt(of("qwerty"))
    assert state.notes["no_evidence"]
    assert np.allclose(fitted.score([state]), fitted.score([None]))


def test_the_model_survives_its_folder_and_refuses_another_table(fitted: SESA, tmp_path: object) -> None:
    state = fitted.adapt(of("oven bread"))
    again = load(fitted.save(f"{tmp_path}/model"))
    assert np.allclose(again.score([state]), fitted.score([state]), atol=1e-6)
    renamed = population().frame("items").with_columns(concepts=pl.col("concepts").list.eval(pl.element().replace("law", "lawyering"))).collect()
    other = SESA(**{**SETTINGS, "epochs": 1}).fit(population(items=renamed), progress=False)
    with pytest.raises(StateMismatch, match="concept table"):
        other.score([state])


def test_without_the_concept_loss_coordinates_are_latent(fitted: SESA) -> None:
    latent = SESA(**SETTINGS, concept_weight=0.0).fit(population(), progress=False)
    vector = dict(zip(latent.concepts_, latent.vector(latent.adapt(of("oven bread and the harbour sail"))), strict=True))
    assert not (min(vector["baking"], vector["sailing"]) > 0.7 and max(vector["coding"], vector["law"]) < 0.3)


def test_mistakes_are_named() -> None:
    people = population().frame("people").collect()
    with pytest.raises(DuplicateRows, match="same name"):
        SESA(**SETTINGS).fit(population(people=people.with_columns(concepts=pl.lit(["Law", "law "]))), progress=False)
    with pytest.raises(DuplicateRows, match="no name"):
        SESA(**SETTINGS).fit(population(people=people.with_columns(concepts=pl.lit([" "]))), progress=False)
    with pytest.raises(MissingColumn, match="concepts"):
        SESA(**SETTINGS).fit(population(people=people.drop("concepts")), progress=False)
    with pytest.raises(EmptyData):
        SESA(**SETTINGS).fit(population(people=people.with_columns(text=pl.lit(""))), progress=False)
