"""SASRec and GRU4Rec: they learn order, serve people they have never seen, and keep nothing but states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sartor
from sartor.data import Evidence, Population
from sartor.errors import ConfigError, EmptyData, StateMismatch
from sartor.method import Run
from sartor.recommend._validation import Validation, validation
from sartor.recommend.gru4rec import GRU4Rec
from sartor.recommend.sasrec import SASRec

ITEMS = 40
SMALL = {"embedding_dim": 16, "max_length": 12, "epochs": 12, "batch_size": 64, "learning_rate": 0.02}
LOSSES = [
    (SASRec, {"dropout": 0.1, "loss": "softmax"}),
    (SASRec, {"dropout": 0.1, "loss": "bce", "negatives": 4}),
    (SASRec, {"dropout": 0.1, "loss": "sampled_softmax", "negatives": 10, "residual": "raw", "heads": 2}),
    (GRU4Rec, {"loss": "cross-entropy", "negatives": 32, "logq": 1.0}),
    (GRU4Rec, {"loss": "bpr-max", "negatives": 32, "bpreg": 0.1}),
    (GRU4Rec, {"loss": "top1-max", "negatives": 32, "layers": 2, "dropout_embed": 0.1}),
]


def markov(people: int, seed: int, steps: int = 9) -> np.ndarray:
    """int [people, steps]: from each item 80% go to one certain next item, the rest to popular ones."""
    rng = np.random.default_rng(seed)
    follows = np.random.default_rng(99).permutation(ITEMS)
    popularity = 1 / np.arange(1, ITEMS + 1)
    popularity /= popularity.sum()
    path = np.empty((people, steps), np.int64)
    path[:, 0] = rng.integers(0, ITEMS, people)
    for step in range(1, steps):
        jump = rng.random(people) < 0.2
        path[:, step] = np.where(jump, rng.choice(ITEMS, people, p=popularity), follows[path[:, step - 1]])
    return path


def population(path: np.ndarray, first: int = 0) -> Population:
    people, steps = path.shape
    who = np.arange(first, first + people).repeat(steps)
    return Population.from_frames(events={"person": who, "item": [f"i{n}" for n in path.ravel()], "time": np.tile(np.arange(steps), people)})


TRAIN = markov(600, 0)
PATHS = markov(200, 1)


@pytest.fixture(scope="module")
def fitted():
    return SASRec(**SMALL, dropout=0.1).fit(population(TRAIN), progress=False)


def hits(method):
    """How often the certain next item of never-seen people, where they have not had it, comes first."""
    follows = np.random.default_rng(99).permutation(ITEMS)
    paths = [path for path in PATHS if follows[path[-1]] not in path]
    states = [method.adapt(Evidence.from_items([f"i{n}" for n in path])) for path in paths]
    return np.mean([f"i{follows[path[-1]]}" == given[0] for path, given in zip(paths, method.recommend(states, 1), strict=True)])


@pytest.mark.parametrize(("kind", "settings"), LOSSES)
def test_every_loss_learns_the_order_of_a_markov_world(kind, settings):
    method = kind(**SMALL, **settings).fit(population(TRAIN), progress=False)
    counts = np.bincount(TRAIN.ravel(), minlength=ITEMS)
    follows = np.random.default_rng(99).permutation(ITEMS)
    popular = np.mean(follows[PATHS[:, -1]] == counts.argmax())
    assert popular < 0.2
    assert hits(method) > 0.8


def test_adapting_in_two_steps_is_adapting_at_once(fitted):
    items = [f"i{n}" for n in PATHS[0]] * 3  # longer than max_length
    whole = fitted.adapt(Evidence.from_items(items))
    half = fitted.adapt(Evidence.from_items(items[20:]), fitted.adapt(Evidence.from_items(items[:20])))
    assert np.array_equal(whole["items"], half["items"])
    assert np.allclose(whole["vector"], half["vector"], atol=1e-6)
    assert (half.version, half.examples) == (2, 27)
    assert whole.nbytes == 4 * 27 + 4 * 16
    newest = fitted.adapt(Evidence.from_items(items[-12:]))
    assert np.allclose(whole["vector"], newest["vector"], atol=1e-6)


@pytest.mark.parametrize("kind", [SASRec, GRU4Rec])
def test_one_at_a_time_in_a_batch_and_after_loading_people_get_the_same(kind, tmp_path):
    method = kind(**{**SMALL, "epochs": 1}).fit(population(TRAIN), progress=False)
    strangers = population(PATHS[:50], first=10_000)
    states = method.adapt_all(strangers)
    assert list(states) == list(range(10_000, 10_050))
    assert all(np.allclose(method.adapt(strangers[who])["vector"], state["vector"], atol=1e-5) for who, state in list(states.items())[:9])
    again = sartor.load(method.save(tmp_path / "model"))
    assert again.fingerprint_ == method.fingerprint_
    own = list(states.values())
    before, after = method.recommend([*own, None], 5), again.recommend([*own, None], 5)
    assert np.array_equal(before.indices, after.indices)
    assert np.array_equal(before.scores, after.scores)
    assert np.array_equal(again.adapt(strangers[10_003])["vector"], method.adapt(strangers[10_003])["vector"])
    assert len({tuple(row) for row in before.indices.tolist()}) > 10


def test_no_state_and_no_known_item_mean_the_population(fitted):
    nobody = fitted.adapt(Evidence.from_items(["unheard of"]))
    assert nobody.notes == {"unknown_items": 1}
    assert np.array_equal(nobody["vector"], fitted.population_vector_)
    assert np.array_equal(fitted.score([nobody]), fitted.score([None]))
    everyone = fitted.adapt_all(population(TRAIN))
    mean = np.mean([state["vector"] for state in everyone.values()], 0)
    assert np.allclose(mean, fitted.population_vector_, atol=1e-4)
    with pytest.raises(StateMismatch):
        SASRec(**{**SMALL, "epochs": 1}, seed=5).fit(population(TRAIN), progress=False).recommend([nobody])


def test_fit_is_deterministic_and_leaves_torchs_random_numbers_alone():
    torch.manual_seed(1)
    one, drawn = SASRec(**{**SMALL, "epochs": 2}).fit(population(TRAIN), progress=False), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    two = SASRec(**{**SMALL, "epochs": 2}).fit(population(TRAIN), progress=False)
    assert one.fingerprint_ == two.fingerprint_


def test_a_stopped_fit_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    settings = {**SMALL, "epochs": 4}
    held_out = population(markov(600, 7, steps=1))
    whole = SASRec(**settings).fit(population(TRAIN), validation=held_out, progress=False)
    epochs = []

    def ask(self):
        epochs.append(0)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return score(self)

    score = Validation.__call__
    monkeypatch.setattr(Validation, "__call__", ask)
    with pytest.raises(KeyboardInterrupt):
        SASRec(**settings).fit(population(TRAIN), validation=held_out, progress=False, checkpoint=tmp_path)
    rest = SASRec(**settings).fit(population(TRAIN), validation=held_out, progress=False, checkpoint=tmp_path)
    assert len(epochs) == 5  # two before, one stopped, two after
    assert rest.fingerprint_ == whole.fingerprint_
    monkeypatch.setattr(Validation, "__call__", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        SASRec(**{**settings, "epochs": 1, "validate_every": 1}).fit(population(TRAIN), validation=held_out, progress=False, checkpoint=tmp_path)


def test_validation_is_the_ndcg_of_full_rankings(fitted):
    truth = population(markov(600, 7, steps=3))
    data = population(TRAIN).interactions()
    found = Validation(fitted, data, truth, people=10_000)()
    states = fitted.adapt_all(population(TRAIN))
    wanted = truth.interactions(items=fitted.items_)
    lists = fitted.recommend([states[who] for who in wanted.people.ids.to_list()], 10).indices
    gains = []
    for row, given in enumerate(lists):
        relevant = set(wanted.history(row).tolist())
        dcg = sum(1 / np.log2(place + 2) for place, item in enumerate(given) if item in relevant)
        gains.append(dcg / sum(1 / np.log2(place + 2) for place in range(len(relevant))))
    assert found == pytest.approx(np.mean(gains), abs=1e-4)
    some = Validation(fitted, data, truth, people=100)
    assert some.people == 100
    assert abs(some() - found) < 0.2
    strangers = population(PATHS, first=10_000)
    with pytest.raises(EmptyData):
        Validation(fitted, data, strangers)
    assert validation(fitted, data, Run(strangers)) is None
    assert validation(fitted, data, Run()) is None


def test_early_stopping_keeps_the_best_epoch():
    # The truth to validate by is the population's own next step; a huge learning rate makes later epochs worse.
    follows = np.random.default_rng(99).permutation(ITEMS)
    held_out = population(follows[TRAIN[:, -1:]])
    method = SASRec(**{**SMALL, "epochs": 30, "learning_rate": 0.03}, patience=2, dropout=0.1)
    method.fit(population(TRAIN), validation=held_out, progress=False)
    assert hits(method) > 0.8


def test_bad_settings_and_data_are_named():
    with pytest.raises(ConfigError, match="loss"):
        SASRec(loss="hinge").fit(population(TRAIN), progress=False)
    with pytest.raises(ConfigError, match="loss"):
        GRU4Rec(loss="hinge").fit(population(TRAIN), progress=False)
    with pytest.raises(ConfigError, match="heads"):
        SASRec(embedding_dim=10, heads=3).fit(population(TRAIN), progress=False)
    with pytest.raises(ConfigError, match="at least 1"):
        SASRec(max_length=0).fit(population(TRAIN), progress=False)
    with pytest.raises(EmptyData, match="two events"):
        SASRec().fit(population(TRAIN[:, :1]), progress=False)
