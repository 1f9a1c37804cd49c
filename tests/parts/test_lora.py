"""LoRA against peft, with every row its own adapter, and against the merged network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sartor.errors import ConfigError, CorruptFile, FileProblem, UnknownId
from sartor.parts.lora import LoraBank, read_adapter

TARGETS = ("q_proj", "v_proj", "down_proj")


def llama() -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0
    )
    return transformers.LlamaForCausalLM(config).eval()


def filled(bank: LoraBank, number: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(number)
    return {key: random.normal(size=array.shape).astype(np.float32) * 0.2 for key, array in bank.get(number, np.float32).items()}


def mlp() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def test_a_mixed_batch_equals_pefts(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="needs peft, which the extra 'dev' installs")
    network, ids = llama(), torch.randint(1, 50, (5, 7), generator=torch.Generator().manual_seed(1))
    bank = LoraBank(network, targets=TARGETS, rank=4, alpha=8, slots=3)
    for number in range(3):
        bank.put(number, filled(bank, number))
        bank.save(tmp_path / f"p{number}", number)
    rows = [2, 0, -1, 1, 0]
    with torch.no_grad():
        plain = network(ids).logits
        with bank.use(rows):
            ours = network(ids).logits
        with bank.use([1] * 5):
            one = network(ids).logits
        torch.testing.assert_close(network(ids).logits, plain, atol=0, rtol=0)
    theirs = peft.PeftModel.from_pretrained(llama(), tmp_path / "p0", adapter_name="p0").eval()
    for number in (1, 2):
        theirs.load_adapter(tmp_path / f"p{number}", adapter_name=f"p{number}")
    names = [f"p{row}" if row >= 0 else "__base__" for row in rows]
    with torch.no_grad():
        torch.testing.assert_close(ours, theirs(ids, adapter_names=names).logits, atol=1e-5, rtol=1e-4)
        theirs.set_adapter("p1")
        torch.testing.assert_close(one, theirs(ids).logits, atol=1e-5, rtol=1e-4)
    assert (ours[0] - plain[0]).abs().max() > 0.01
    torch.testing.assert_close(ours[2], plain[2])

    theirs.save_pretrained(tmp_path / "theirs", selected_adapters=["p2"])
    again = bank.read(tmp_path / "theirs" / "p2")
    assert again == 3
    for key, array in bank.get(3, np.float32).items():
        np.testing.assert_array_equal(array, bank.get(2, np.float32)[key])


def test_rows_are_independent_and_merging_is_the_same() -> None:
    network = mlp()
    bank = LoraBank(network, targets=("0", "2"), rank=2, alpha=4, slots=2)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        with bank.use([0, 1, 0, 1]):
            torch.testing.assert_close(network(x), network(x))
            torch.testing.assert_close(network(x), mlp()(x))  # untrained: no change
        for number in range(2):
            bank.put(number, filled(bank, number))
        with bank.use([0, 1, -1, 1]):
            mixed, deep = network(x), network(x[:, None, None].expand(4, 2, 3, 6))
            torch.testing.assert_close(deep[:, 1, 2], mixed)
        for number in range(2):
            bank.merge(number)
            torch.testing.assert_close(network(x)[number], mixed[number], atol=1e-6, rtol=1e-5)
            with pytest.raises(ConfigError, match="merged"), bank.use([0] * 4):
                pass
            bank.unmerge()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert list(before) == list(network.state_dict())
    bank.fill([bank.get(1, np.float32), bank.get(0, np.float32)])
    with torch.no_grad(), bank.use([1, 0, -1, 0]):
        torch.testing.assert_close(network(x), mixed)
    assert bank.adapter_bytes == 2 * 2 * (6 + 8 + 8 + 3) == sum(array.nbytes for array in bank.get(0).values())
    bank.detach()
    with bank.use([0] * 4):
        torch.testing.assert_close(network(x), mlp()(x))


def test_gradients_reach_the_rows_own_adapter_only() -> None:
    network = mlp()
    bank = LoraBank(network, targets=("0",), rank=2, slots=3)
    for number in range(3):
        bank.put(number, filled(bank, number))
    with bank.use([2, 0]):
        network(torch.ones(2, 6)).sum().backward()
    grads = bank.a[0].grad
    assert grads is not None
    assert grads[0].abs().sum() > 0
    assert grads[2].abs().sum() > 0
    assert not grads[1].any()


def test_bad_input(tmp_path: Path) -> None:
    bank = LoraBank(mlp(), targets=("0",), rank=2, slots=1)
    with pytest.raises(ConfigError, match="has no linear layer"):
        LoraBank(mlp(), targets=("q_proj",))
    with pytest.raises(ConfigError, match="rank"):
        LoraBank(mlp(), targets=("0",), rank=0)
    with pytest.raises(UnknownId), bank.use([1]):
        pass
    with pytest.raises(ConfigError, match="2 adapters for 3 rows"), bank.use([0, -1]):
        bank._linears["0"](torch.zeros(3, 6))
    other = LoraBank(mlp(), targets=("2",), rank=2, slots=1)
    with pytest.raises(ConfigError, match="another model"):
        bank.add(other.get(0))
    assert len(bank) == 1
    with pytest.raises(FileProblem):
        bank.read(tmp_path)
    folder = other.save(tmp_path / "a", 0)
    with pytest.raises(ConfigError, match="another model"):
        bank.read(folder)
    with pytest.raises(ConfigError, match="rank 2"):
        LoraBank(mlp(), targets=("2",), rank=3).read(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    with pytest.raises(ConfigError, match="use_dora"):
        read_adapter(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(CorruptFile):
        read_adapter(folder)
