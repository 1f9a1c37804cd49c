"""SemiPFL: every user has an autoencoder of its own, the best rebuilt samples teach, and labels are not needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import sartor
from sartor.cli import app
from sartor.errors import BadValue, ConfigError, StateMismatch
from sartor.evaluate.federated import Row, compare
from sartor.federate import datasets
from sartor.federate._base import Federated
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.parts import partition
from sartor.federate.parts.implicit import pull
from sartor.federate.semipfl import SemiPFL
from sartor.method import State

SMALL: dict[str, Any] = {"hidden": (12,), "code": 6, "rounds": 3, "epochs": 2, "batch": 16, "head": 8}
CENTRES = np.random.default_rng(5).normal(size=(3, 5)) * 2


def windows(count: int, turn: float, *, seed: int, labels: float = 1.0) -> Examples:
    """Three activities; each person's signals are tilted its own way."""
    rng = np.random.default_rng([seed, 1])
    y = rng.integers(0, 3, count)
    x = (CENTRES[y] + rng.normal(size=(count, 5)) * 0.3) * (1 + turn * np.arange(5) / 5)
    return Examples(x.astype(np.float32), np.where(rng.random(count) < labels, y, -1))


def users(count: int = 4) -> Federation:
    return Federation([Client(n, windows(40, n / 4, seed=n, labels=0.1 * (n > 0)), windows(30, n / 4, seed=50 + n)) for n in range(count)], 3)


SERVER = windows(60, 0.3, seed=99)


@pytest.fixture(scope="module")
def fitted() -> SemiPFL:
    return SemiPFL(**SMALL).fit(users(), server=SERVER, progress=False)


def test_the_pull_is_the_gradient_that_leads_to_where_clients_went() -> None:
    rng = torch.Generator().manual_seed(0)
    table, v = torch.randn(3, 4, generator=rng, requires_grad=True), torch.randn(2, 3, generator=rng)
    goal = torch.randn(2, 4, generator=rng)
    (back,) = pull(v @ table, goal, torch.tensor([0.25, 0.75]), [table])
    half = (torch.tensor([0.25, 0.75])[:, None] * (v @ table - goal).square() / 2).sum()
    torch.testing.assert_close(back, torch.autograd.grad(half, table)[0])


def test_users_without_a_label_take_part_and_nobodys_windows_leave(fitted: SemiPFL) -> None:
    assert fitted.log.rounds[0].asked == 4
    assert set(fitted.log.sent) == {"weights", "examples"}
    states = fitted.states()
    assert set(states) == {0, 1, 2, 3}
    # The first has no label: what the server makes for it stays.
    np.testing.assert_array_equal(states[0]["classifiers"], fitted.states(tuned=False)[0]["classifiers"])
    assert not states[0]["mix"].any()
    assert states[1]["mix"].any()
    assert fitted._part is not None
    server = fitted._part.server
    own = fitted._written(server, fitted._embeddings(server))
    # No user can be told from another by the model that is kept.
    assert not fitted._embeddings(fitted._server()).std(0).max() > 1e-6
    assert not torch.allclose(own[0], own[1])


def test_base_classifiers_learn_from_the_samples_that_are_rebuilt_best(fitted: SemiPFL) -> None:
    own = fitted._written(fitted._server(), fitted._embeddings(fitted._server())[:2])
    strange = SemiPFL(**SMALL, suits=(1.0, 0.5)).fit(users(), server=SERVER, progress=False)
    x = strange.windows_.copy()
    with torch.no_grad():
        error = (strange._net.logits(own[0], torch.from_numpy(x)) - torch.from_numpy(x)).square().mean(1).numpy()
    worst = np.argsort(error)[30:]
    before = strange._classifiers(own[:1])[0]
    strange.labels_ = strange.labels_.copy()
    strange.labels_[worst] = (strange.labels_[worst] + 1) % 3
    after = strange._classifiers(own[:1])[0]
    assert not torch.allclose(before[0], after[0])
    torch.testing.assert_close(before[1], after[1])


def test_answers_mix_the_classifiers_and_states_come_back(fitted: SemiPFL, tmp_path: Path) -> None:
    state = State.from_bytes(fitted.states()[2].to_bytes())
    x = users().clients[2].test.x
    found = fitted.predict(x, state)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    own = fitted._written(fitted._server(), torch.from_numpy(state["embedding"].copy())[None])[0]
    codes = fitted._net.logits(own, torch.from_numpy(fitted._standard(x)), code=True)
    parts = [torch.softmax(fitted._mixture.head.logits(one, codes), 1) for one in torch.from_numpy(state["classifiers"].copy()).view(3, -1)]
    mix = torch.softmax(torch.from_numpy(state["mix"].copy()), 0)
    np.testing.assert_allclose(found, sum(m * p for m, p in zip(mix, parts, strict=True)).detach().numpy(), atol=1e-5)
    fitted.save(tmp_path / "m")
    loaded = sartor.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(x, state), found)
    np.testing.assert_array_equal(loaded.predict(x), fitted.predict(x))
    late = windows(40, 0.9, seed=7, labels=0.2)
    joined = loaded.adapt(late)
    np.testing.assert_array_equal(joined["embedding"], fitted.adapt(late)["embedding"])
    assert "population" not in joined.notes
    few = loaded.adapt(windows(12, 0.9, seed=7, labels=0.0))
    assert "12 windows" in few.notes["population"]
    assert not few.notes["tuned"]


def test_it_recognises_with_few_labels() -> None:
    method = SemiPFL(**SMALL | {"rounds": 20, "epochs": 5, "head_epochs": 20}).fit(users(), server=SERVER, progress=False)
    states = method.states()
    right = [(method.predict(one.test.x, states[one.id]).argmax(1) == one.test.y).mean() for one in users()]
    assert np.mean(right) > 0.85
    shared = SemiPFL(**SMALL, personal=False).fit(users(), server=SERVER, progress=False)
    assert "embedding" not in shared.states()[1].arrays


def wearers(count: int = 9) -> Federation:
    """Two of them without the last activity."""
    out = []
    for n in range(count):
        train, test = windows(40, n / 4, seed=n), windows(30, n / 4, seed=50 + n)
        out.append(Client(n, train.take(train.y < 2) if n < 2 else train, test))
    return Federation(out, 3)


def test_the_servers_people_give_all_they_have_and_others_few_labels() -> None:
    people, rest = partition.apart(wearers(), 3, seed=100)
    assert len(people) == 3
    assert {one.id for one in people}.isdisjoint({0, 1} | {one.id for one in rest})
    assert all(len(one.train) == 70 and not len(one.test) for one in people)
    few = partition.few_labels(rest, 2, seed=100)
    for one, before in zip(few, rest, strict=True):
        np.testing.assert_array_equal(one.train.x, before.train.x)
        kept = one.train.y >= 0
        np.testing.assert_array_equal(one.train.y[kept], before.train.y[kept])
        assert np.bincount(one.train.y[kept], minlength=3).tolist() == [2, 2, 2 if one.id > 1 else 0]
        np.testing.assert_array_equal(one.test.y, before.test.y)


def test_all_methods_learn_from_the_servers_people_and_are_judged_on_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(datasets.SETS, "wisdm-ar", lambda seed: wearers())
    fitted: dict[str, Federation] = {}

    def seen(self: Federated, federation: Federation, **options: Any) -> Any:
        fitted[type(self).__name__] = federation
        return plain(self, federation, **options)

    plain = Federated.fit
    monkeypatch.setattr(Federated, "fit", seen)
    out, board = tmp_path / "out.json", tmp_path / "board"
    call = ["federate", "wisdm-ar", "--server", "2", "--labels", "3", "--seed", "100", "--rounds", "2", "--epochs", "1", "--out", str(out)]
    result = CliRunner().invoke(app, [*call, "-m", "local", "-m", "fedavg", "--board", str(board)])
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert (found["server"], found["labels"], list(found["methods"])) == (2, 3, ["local", "fedavg"])
    # The network and the learning rate of classifiers are not SemiPFL's.
    settings = {**SMALL, "rounds": 1, "network": "mlp", "lr": 5.0}
    compare("wisdm-ar", ["semipfl"], seeds=[100], settings=settings, server=2, labels=3, board=board, progress=False)
    users, late = partition.few_labels(partition.apart(wearers(), 2, seed=100)[1], 3, seed=100).hold_out(0.2, seed=100)
    assert [one.id for one in fitted["SemiPFL"]] == [one.id for one in users]
    assert fitted["Local"].digest() == fitted["FedAvg"].digest()
    assert len(fitted["FedAvg"]) == len(users) + 2
    rows = [Row.read(file) for file in board.iterdir()]
    assert all(len(row.values["after"]) == len(users) and len(row.values["joined"]) == len(late) for row in rows)
    assert len(rows) == 3
    # What was asked without a server is another comparison.
    asked: dict[str, Any] = {"seeds": [100], "settings": found["settings"], "options": {}, "board": board, "progress": False}
    compare("wisdm-ar", ["local"], server=2, labels=3, **asked)
    assert len(list(board.iterdir())) == 3
    compare("wisdm-ar", ["local"], **asked)
    assert len(list(board.iterdir())) == 4


def test_mistakes_of_a_servers_people_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(datasets.SETS, "wisdm-ar", lambda seed: wearers())
    for server, labels, words in (
        (0, 3, "--server N"),
        (8, 3, "8 of 9 clients for the server, and 7 have labels of all 3 classes"),
        (-1, 3, "-1 of 9"),
        (2, 0, "0 labels"),
    ):
        with pytest.raises(ConfigError, match=words):
            compare("wisdm-ar", ["semipfl"], settings=SMALL, server=server, labels=labels, progress=False)
    lone = Examples(np.zeros((3, 2), np.float32), np.arange(3), np.zeros((2, 0), np.int64))
    with pytest.raises(ConfigError, match="graphs"):
        partition.apart(Federation([Client(n, lone, lone) for n in range(3)], 3), 1)
    pictures = Examples(np.zeros((3, 1, 4, 4), np.float32), np.arange(3))
    with pytest.raises(BadValue, match="vectors of the same sensors"):
        SemiPFL(**SMALL).fit(Federation([Client(0, pictures, pictures)], 3), server=pictures, progress=False)


def test_mistakes_of_windows_have_names(fitted: SemiPFL) -> None:
    wide = Examples(np.zeros((4, 7), np.float32), np.zeros(4, np.int64))
    with pytest.raises(BadValue, match=r"\(7,\), the users' are \(5,\)"):
        SemiPFL(**SMALL).fit(users(), server=wide, progress=False)
    with pytest.raises(BadValue, match="labels for 60 windows"):
        SemiPFL(**SMALL).fit(users(), server=windows(60, 0, seed=1, labels=0.5), progress=False)
    with pytest.raises(StateMismatch, match="reads"):
        fitted.adapt(wide)
    with pytest.raises(BadValue, match="label 3"):
        fitted.adapt(Examples(np.zeros((40, 5), np.float32), np.full(40, 3)))
    still = SERVER.x.copy()
    still[:, 2] = 1
    with pytest.warns(UserWarning, match=r"channels \[2\]"):
        method = SemiPFL(**SMALL | {"rounds": 1}).fit(users(), server=Examples(still, SERVER.y), progress=False)
    assert method.scale_[2] == 0
