"""The training loop: what is interrupted goes on as if nothing had happened, and the best epoch is what remains."""

from __future__ import annotations

import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

import sartor.parts.trainer as trainer_module
from sartor.errors import ConfigError, CorruptFile, Diverged, EmptyData
from sartor.parts.trainer import Trainer, seeded

RNG = np.random.default_rng(0)
X = torch.tensor(RNG.normal(size=(64, 5)), dtype=torch.float32)
Y = X @ torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0]) + 0.1 * torch.tensor(RNG.normal(size=64), dtype=torch.float32)


def network() -> nn.Module:
    with seeded(3):
        return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.3), nn.Linear(8, 1))


def batches(rng):
    order = torch.from_numpy(rng.permutation(64))
    return [order[start : start + 16] for start in range(0, 64, 16)]


def fit(net, trainer, **more):
    return trainer.fit(net, batches, lambda rows: (net(X[rows])[:, 0] - Y[rows]).square().mean(), **more)


def weights(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adagrad", "sgd"])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, optimizer):
    def stop(epoch, _):
        if epoch == 3:
            raise KeyboardInterrupt

    settings = {"epochs": 8, "learning_rate": 0.02, "optimizer": optimizer, "lr_decay": 0.9, "seed": 5, "clip_norm": 1.0}
    whole = network()
    validate = lambda net: lambda: -float((net(X)[:, 0] - Y).square().mean())  # noqa: E731
    expected = fit(whole, Trainer(**settings), validate=validate(whole))
    half = network()
    with pytest.raises(KeyboardInterrupt):
        fit(half, Trainer(**settings, hooks=[stop]), validate=validate(half), checkpoint=tmp_path)
    rest = network()
    seen = []
    history = fit(rest, Trainer(**settings, hooks=[lambda epoch, _: seen.append(epoch)]), validate=validate(rest), checkpoint=tmp_path)
    assert seen == [3, 4, 5, 6, 7]
    assert (history.losses, history.scores, history.best_epoch) == (expected.losses, expected.scores, expected.best_epoch)
    assert all(torch.equal(tensor, weights(rest)[name]) for name, tensor in weights(whole).items())
    assert not list(tmp_path.iterdir())


def test_training_reduces_the_loss_and_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    history = fit(network(), Trainer(epochs=30, learning_rate=0.05))
    assert torch.equal(torch.rand(3), expected)
    assert history.losses[-1] < 0.25 * history.losses[0]
    assert history.best_epoch == 30


def test_early_stopping_keeps_the_best_epoch():
    scores = iter([0.1, 0.5, 0.4, 0.45, 0.3, 0.9])
    after = []
    net = network()
    trainer = Trainer(epochs=20, patience=3, hooks=[lambda _, n: after.append(weights(n))])
    history = fit(net, trainer, validate=lambda: next(scores))
    assert history.best_epoch == 2
    assert history.scores == [0.1, 0.5, 0.4, 0.45, 0.3]
    assert len(after) == 5
    assert all(torch.equal(tensor, after[1][name]) for name, tensor in weights(net).items())
    assert not net.training


def test_what_is_not_finite_is_an_error():
    net = network()
    with pytest.raises(Diverged, match="learning_rate"):
        Trainer(epochs=3).fit(net, batches, lambda rows: net(X[rows]).sum() * math.inf)
    net = network()
    one = [lambda rng: [0]]
    with pytest.raises(Diverged, match="weight"):  # the loss is finite, the step after it is not
        Trainer(epochs=1, learning_rate=1e30, optimizer="sgd").fit(net, one[0], lambda _: sum(p.sum() for p in net.parameters()) * 1e30)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    def stop(epoch, _):
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(network(), Trainer(epochs=4, hooks=[stop]), checkpoint=tmp_path, key="a")
    with pytest.raises(ConfigError, match="other settings"):
        fit(network(), Trainer(epochs=4, learning_rate=0.5), checkpoint=tmp_path, key="a")
    with pytest.raises(ConfigError, match="other settings"):
        fit(network(), Trainer(epochs=4), checkpoint=tmp_path, key="b")
    tensors = tmp_path / "progress.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-10])
    with pytest.raises(CorruptFile):
        fit(network(), Trainer(epochs=4), checkpoint=tmp_path, key="a")


def test_impossible_settings_and_no_batches():
    with pytest.raises(ConfigError, match="learning_rate"):
        fit(network(), Trainer(learning_rate=0))
    with pytest.raises(ConfigError, match="optimizer"):
        fit(network(), Trainer(optimizer="magic"))
    with pytest.raises(EmptyData):
        Trainer(epochs=1).fit(network(), lambda rng: [], lambda _: torch.zeros(()))
    net = network()
    before = weights(net)
    assert fit(net, Trainer(epochs=0)).losses == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(net).items())


def test_the_bar_moves_inside_long_epochs_and_ends_full(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(trainer_module.time, "monotonic", lambda: float(next(clock)))
    steps = []

    class Bar:
        def advance(self, step=1, *, note=""):
            steps.append((step, note))

    @contextmanager
    def bar(*_, **__):
        yield Bar()

    monkeypatch.setattr(trainer_module, "bar", bar)
    fit(network(), Trainer(epochs=3))
    assert sum(step for step, _ in steps) == pytest.approx(3)
    assert [note for _, note in steps[1:5]] == ["batch 1", "batch 2", "batch 3", "batch 4"]
    assert steps[6] == (0.25, "batch 1 of 4")
