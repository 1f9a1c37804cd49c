"""Subsets of a network's parameters, and what training them costs by torch's own count."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sartor.errors import ConfigError, CorruptFile
from sartor.parts.cost_meter import CostMeter
from sartor.parts.trainable_subset import Subset, everything, last_block, token_tables
from sartor.write.parts.causal_lm import CausalLM, LMConfig

NETWORK = CausalLM(LMConfig(vocabulary=30, dim=16, layers=3, heads=2, max_tokens=12), seed=1).requires_grad_(False).eval()
IDS = torch.randint(30, (4, 10), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("choose", "names"), [(everything, 29), (token_tables, 1), (last_block, 9)])
def test_a_subset_changes_itself_alone_and_comes_back_from_its_differences(choose: object, names: int) -> None:
    before = {name: one.clone() for name, one in NETWORK.state_dict().items()}
    plain = NETWORK(IDS)
    subset = Subset(NETWORK, choose(NETWORK))  # type: ignore[operator]
    assert len(subset.names) == names
    assert torch.equal(subset.network(IDS), plain)
    shared = {id(one) for one in NETWORK.parameters()} & {id(one) for one in subset.network.parameters()}
    assert len(shared) == 29 - names
    optimizer = torch.optim.SGD(subset.parameters(), lr=0.5)
    subset.network(IDS).logsumexp(-1).mean().backward()
    optimizer.step()
    assert all(torch.equal(one, before[name]) for name, one in NETWORK.state_dict().items())
    assert not torch.allclose(subset.network(IDS), plain)
    kept = subset.arrays()
    assert sum(one.nbytes for one in kept.values()) == 2 * subset.numel
    again = Subset(NETWORK, choose(NETWORK), kept)  # type: ignore[operator]
    torch.testing.assert_close(again.network(IDS), subset.network(IDS), atol=1e-3, rtol=1e-3)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="wanted_layer"):
        Subset(NETWORK, ["wanted_layer"])
    with pytest.raises(ConfigError, match="blocks"):
        last_block(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="tokens"):
        token_tables(nn.Linear(2, 2))
    kept = Subset(NETWORK, last_block(NETWORK)).arrays()
    with pytest.raises(CorruptFile, match="wanted"):
        Subset(NETWORK, last_block(NETWORK), {name: one[:2] for name, one in kept.items()})


@pytest.mark.parametrize("lowest", [0, 1, 3])
def test_operations_are_those_that_torch_counts(lowest: int) -> None:
    # The lowest layer's own input needs no gradient: that is the one part of the rule's way back which torch leaves out.
    layers = nn.Sequential(*(nn.Linear(24, 24, bias=False) for _ in range(4)))
    for number, layer in enumerate(layers):
        layer.requires_grad_(number == lowest)
    meter = CostMeter(weights=4 * 576, trained=576, passed=(3 - lowest) * 576)
    with FlopCounterMode(display=False) as counted:
        layers(torch.ones(7, 24)).sum().backward()
    meter.train(7)
    assert meter.cost.flops == counted.get_total_flops()
    assert CostMeter(weights=100, trained=100).flops_per_token == 600
    meter.read(7)
    assert meter.cost.flops - counted.get_total_flops() == 2 * 4 * 576 * 7
    assert meter.cost.tokens == 7
    with meter.running():
        sum(range(10_000))
    assert meter.cost.cpu_seconds >= 0
    assert meter.cost.to_dict()["seconds"] > 0
