"""Expert banks: seeded as what was there, routed by id, one expert touching no other."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sartor.errors import ConfigError
from sartor.parts.experts import ExpertBank, ExpertLinear, fold
from sartor.parts.transformer import TextTransformer, Tokens

TOKENS = Tokens(torch.arange(10) % 7, torch.tensor([3, 4, 1, 2]))


def network() -> TextTransformer:
    torch.manual_seed(0)
    return TextTransformer(7, 8, layers=3, heads=2, max_tokens=5).eval()


def last(model: TextTransformer, bank: ExpertBank, experts: list[int]) -> torch.Tensor:
    bank.route.set(torch.tensor(experts), TOKENS.lengths)
    return model(TOKENS)[-1]


def shift(bank: ExpertBank, expert: int) -> None:
    made = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in bank.parameters(expert).values():
            weight += torch.randn(weight.shape, generator=made)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("layers", ["all", "last"])
def test_experts_start_as_the_layer_they_replace_and_serve_their_own_texts_only(rank: int, layers: str) -> None:
    plain = network()
    model = copy.deepcopy(plain)
    bank = ExpertBank.seed(model, list(model.encoder.blocks), 3, layers=layers, rank=rank)  # type: ignore[arg-type]
    assert len(bank.layers) == (6 if layers == "all" else 2)
    torch.testing.assert_close(last(model, bank, [0, 1, 2, 1]), plain(TOKENS)[-1])
    shift(bank, 1)
    of_one, mixed, before = last(model, bank, [1] * 4), last(model, bank, [0, 1, 2, 1]), plain(TOKENS)[-1]
    # Texts 1 and 3 have rows 3..6 and 8..9.
    served = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0, 1, 1], dtype=torch.bool)
    torch.testing.assert_close(mixed[~served], before[~served])
    torch.testing.assert_close(mixed[served], of_one[served])
    assert float((of_one - before).detach().abs().max()) > 0.01
    # Training on one expert's texts leaves the others' weights alone.
    last(model, bank, [1] * 4).sum().backward()
    assert all(weight.grad is not None for weight in bank.parameters(1).values())
    assert all(weight.grad is None for weight in bank.parameters(0).values())
    # What is shared, with the first expert's copies, is an ordinary network again.
    fold(model)
    torch.testing.assert_close(model(TOKENS)[-1], before)


def test_low_rank_experts_are_the_shared_layer_plus_a_product() -> None:
    layer = ExpertLinear(nn.Linear(4, 3), 2, ExpertBank.seed(model := network(), list(model.encoder.blocks), 2).route, rank=2, alpha=6)
    layer.outer[1].data.normal_()
    layer.route.set(torch.tensor([1]), torch.tensor([5]))
    x = torch.randn(5, 4)
    torch.testing.assert_close(layer(x), layer.base(x) + 3 * x @ layer.inner[1].T @ layer.outer[1].T)
    # Padded batches are routed by row.
    layer.route.set(torch.tensor([0, 1]), torch.tensor([2, 3]))
    padded = torch.randn(2, 3, 4)
    torch.testing.assert_close(layer(padded)[0], layer.base(padded[0]))


def test_what_cannot_be_routed_or_seeded_is_refused() -> None:
    model = network()
    bank = ExpertBank.seed(model, list(model.encoder.blocks), 2)
    with pytest.raises(ConfigError, match="no expert was named"):
        model(TOKENS)
    with pytest.raises(ConfigError, match="no experts"):
        ExpertBank(network())
    with pytest.raises(ConfigError, match="no MLP"):
        ExpertBank.seed(nn.Sequential(nn.Linear(2, 2)), [nn.Sequential(nn.Linear(2, 2))], 2)
    with pytest.raises(ConfigError, match="rank"):
        ExpertBank.seed(network(), list(model.encoder.blocks), 2, rank=-1)
    with pytest.raises(ConfigError, match="middle"):
        ExpertBank.seed(network(), list(model.encoder.blocks), 2, layers="middle")  # type: ignore[arg-type]
    assert bank.experts == 2


def test_the_mlps_of_published_architectures_are_found() -> None:
    transformers = pytest.importorskip("transformers")
    small = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    for config, per_layer in (
        (transformers.BertConfig(**small), 2),
        (transformers.MPNetConfig(**small), 2),
        (transformers.ModernBertConfig(**small, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2), 2),
        (transformers.Qwen2Config(**small, num_key_value_heads=2), 3),
    ):
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config).eval()
        stack = next(one for one in model.modules() if isinstance(one, nn.ModuleList) and len(one) == 2)
        ids, mask = torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
        before = model(input_ids=ids, attention_mask=mask).last_hidden_state
        bank = ExpertBank.seed(model, list(stack), 2)
        assert len(bank.layers) == 2 * per_layer, type(config)
        bank.route.set(torch.tensor([0, 1]), mask.sum(1))
        torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).last_hidden_state, before)
        shift(bank, 1)
        after = model(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(after[0], before[0])
        assert float((after[1] - before[1]).detach().abs().max()) > 1e-3
