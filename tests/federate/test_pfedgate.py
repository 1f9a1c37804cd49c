"""pFedGate: blocks, budgets, gates, and states of a few bytes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sartor
from sartor.errors import ConfigError
from sartor.evaluate.federated import measure
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.parts.shards import Shards
from sartor.federate.parts.training import Optimizer
from sartor.federate.pfedgate import PFedGate
from sartor.method import State

SMALL: dict[str, Any] = {"hidden": (12, 12), "rounds": 8, "epochs": 2, "batch": 8}


def skewed(count: int = 6) -> Federation:
    """Three classes, of which each client mostly has one."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 8)) * 2
    clients = []
    for number in range(count):
        y = np.where(rng.random(60) < 0.7, number % 3, rng.integers(0, 3, 60))
        x = (centres[y] + rng.normal(size=(60, 8))).astype(np.float32)
        clients.append(Client(number, Examples(x[:40], y[:40]), Examples(x[40:], y[40:])))
    return Federation(clients, 3)


@pytest.fixture(scope="module")
def fitted() -> PFedGate:
    return PFedGate(**SMALL, budgets=(1.0, 0.5, 0.3)).fit(Federation(skewed().clients[:5], 3), progress=False)


@given(st.integers(0, 1000), st.floats(0.22, 1.0))
def test_no_choice_is_above_its_budget_and_none_drops_a_first_block(fitted: PFedGate, seed: int, budget: float) -> None:
    cut = fitted._cut
    of, sizes, free = cut.of, cut.sizes, cut.free
    gate = np.random.default_rng(seed).random((2, sizes.size))
    kept = fitted.keep(gate, np.array([budget, budget]))
    assert sizes.sum() == len(of) == fitted._net.size
    assert kept[:, ~free].all()
    assert (kept @ sizes <= budget * sizes.sum()).all()
    # Nothing that still fits is left out.
    left = budget * sizes.sum() - kept @ sizes
    assert all(sizes[~row].min(initial=10**9) > rest - 1 for row, rest in zip(kept, left, strict=True))


def test_greedy_is_near_the_best_choice() -> None:
    method = PFedGate(hidden=(4,), blocks=4).fit(skewed(2), progress=False)
    sizes, free = method._cut.sizes, method._cut.free
    choices = np.array(list(product([False, True], repeat=int(free.sum()))))
    rng = np.random.default_rng(1)
    for budget in (0.5, 0.7, 0.9):
        gate = rng.random(sizes.size)
        fits = choices @ sizes[free] <= int(budget * sizes.sum() - sizes[~free].sum())
        best = (choices[fits] @ gate[free]).max()
        assert (gate * method.keep(gate[None], np.array([budget]))[0])[free].sum() >= 0.8 * best


def test_the_gate_is_switchable_and_batch_normalisation_of_a_linear_layer() -> None:
    method = PFedGate(**SMALL).fit(skewed(2), progress=False)
    sizes = method._cut.sizes
    kept = method._fresh(Shards([skewed(1).clients[0].train]))
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, 7, 8, generator=rng)
    weight = torch.tensor([[1.0, 1, 1, 1, 1, 0, 0]])
    found = method._gates(kept["gate"], x, weight)[0]
    seen = x[0, :5]
    mean = (seen.mean(1, keepdim=True) + seen.mean(0)) / 2
    spread = (seen.var(1, keepdim=True, unbiased=False) + seen.var(0, unbiased=False)) / 2
    linear = kept["gate"][0, 4 : 4 + 8 * sizes.size].view(8, sizes.size)
    out = torch.nn.functional.batch_norm(((seen - mean) / (spread + 1e-5).sqrt()) @ linear, None, None, training=True) + 2
    torch.testing.assert_close(found, torch.sigmoid(out).mean(0), rtol=1e-4, atol=1e-5)


def test_states_are_small_and_say_what_runs(fitted: PFedGate, tmp_path: Path) -> None:
    states = fitted.states(tuned=False)
    of, sizes = fitted._cut.of, fitted._cut.sizes
    for number, state in states.items():
        assert state.nbytes < 100
        kept = np.unpackbits(state["keep"], count=sizes.size).astype(bool)
        assert kept @ sizes <= fitted.budgets[number % 3] * sizes.sum()
        weights = fitted.weights_of(State.from_bytes(state.to_bytes()))
        assert not weights[torch.from_numpy(~kept)[of]].any()
        np.testing.assert_allclose(weights, fitted.server_["weights"] * (state["scale"].astype(np.float32) * kept)[of], rtol=1e-6)
    # Fine-tuned networks stay within the budget too.
    for number, state in fitted.states().items():
        assert (state["weights"] != 0).sum() <= fitted.budgets[number % 3] * sizes.sum()
    fitted.save(tmp_path / "m")
    x = skewed().clients[0].test.x
    np.testing.assert_array_equal(sartor.load(tmp_path / "m").predict(x, states[0]), fitted.predict(x, states[0]))
    assert set(fitted.log.sent) == {"weights", "examples"}


def test_the_choice_is_clipped_below_and_has_a_straight_through_gradient() -> None:
    """Blocks hardly open are as important as each other; scales are the gates; their gradient is that of gate times choice."""
    method = PFedGate(**SMALL, budgets=(0.5, 1.0)).fit(skewed(2), progress=False)
    sizes = method._cut.sizes
    gates = torch.linspace(0.01, 0.19, sizes.size).repeat(2, 1)
    gates[:, :4] = 0.9
    gates.requires_grad_()
    number = {"number": torch.tensor([[0], [1]])}
    important = method._important(gates, number)
    assert sorted(set(important[0].tolist())) == pytest.approx([0.2, 0.9])
    scales = method._scales(gates, number)
    kept = scales > 0
    torch.testing.assert_close(scales, gates * kept)
    assert kept[1].all()
    assert not kept[0].all()
    removable = torch.from_numpy(method._cut.free)
    left_out = (~kept[0] & removable).nonzero()[0, 0]
    assert kept[0][:left_out].all()
    scales.sum().backward()
    assert gates.grad is not None
    torch.testing.assert_close(gates.grad[0], kept[0] * torch.where(gates[0] > 0.2, 1 + gates[0], 1.0).detach())
    torch.testing.assert_close(gates.grad[1], torch.ones(sizes.size))


def test_gradients_of_network_and_gate_are_clipped_apart() -> None:
    weights = torch.zeros(2, 3)
    Optimizer(lr=1.0, clip=5.0, parts=(2, 1)).step(weights, torch.tensor([[30.0, 40.0, 1.0], [3.0, 0.0, 50.0]]), None)
    torch.testing.assert_close(weights, -torch.tensor([[3.0, 4.0, 1.0], [3.0, 0.0, 5.0]]))


def test_a_newcomer_learns_its_gate_alone(fitted: PFedGate) -> None:
    late = skewed().clients[5]
    state = fitted.adapt(late.train)
    assert set(state.arrays) == {"scale", "keep"}
    start = fitted._server()["weights"][None]
    own, kept = fitted._learn(Shards([late.train]), start, fitted._fresh(Shards([late.train])), fitted.rounds, shared=False)
    torch.testing.assert_close(own, start)
    assert not torch.equal(kept["gate"], fitted._fresh(Shards([late.train]))["gate"])
    assert (fitted.predict(late.test.x, state).argmax(1) == late.test.y).mean() > 0.6
    again = fitted.adapt(late.train, fitted.states()[1])
    assert again.version == 2
    half = PFedGate(**SMALL, budgets=(0.5,)).fit(Federation(skewed().clients[:3], 3), progress=False)
    assert np.mean(half.weights_of(half.adapt(late.train, half.states()[0])).numpy() != 0) <= 0.5


def test_gates_are_learned_and_help() -> None:
    federation = skewed()
    found = measure(PFedGate(**SMALL | {"rounds": 20}).fit(federation, progress=False), federation)
    assert found.mean("before") > 0.75
    assert found.mean("before") > found.mean("shared") - 0.02


def test_budgets_out_of_range() -> None:
    for settings, words in (
        ({"budgets": (0.0,)}, "budget is 0"), ({"budgets": (0.5, 1.2)}, "1.2"), ({"budgets": (0.05,)}, "first blocks alone"),
        ({"blocks": 0}, "blocks"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            PFedGate(**SMALL | settings).fit(skewed(2), progress=False)
