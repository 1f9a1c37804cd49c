"""Sequence encoders: no look into the future, no trace of padding, and the blocks are the reference's."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from sartor.errors import ConfigError
from sartor.parts.sequence import RecurrentEncoder, SequenceEncoder, _Block, _rotated, causal, windowed
from sartor.parts.trainer import seeded

DIM = 8


def encoder(kind="transformer", **settings):
    with seeded(1):
        net = RecurrentEncoder(DIM, layers=2) if kind == "gru" else SequenceEncoder(DIM, dropout=0.4, max_length=12, **settings)
        for name, weight in net.named_parameters():
            if "norm" not in name and "before" not in name:
                nn.init.normal_(weight, std=0.5)
    return net.eval()


KINDS = [{"positions": p, "residual": r} for p, r in itertools.product(["learned", "rotary", "none"], ["raw", "normed"])] + [{"kind": "gru"}]
BOTH_WAYS = [{"attention": "bidirectional"}, {"attention": windowed(2, globals_=1), "count_from": "start"}]


def sequences(lengths):
    with seeded(2):
        return torch.randn(sum(lengths), DIM), torch.tensor(lengths)


@pytest.mark.parametrize("settings", KINDS)
def test_changing_the_future_does_not_change_the_past(settings):
    net, x = encoder(**settings), torch.randn(3, 7, DIM, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 7, dtype=torch.bool)
    before = net(x, mask)
    y = x.clone()
    y[:, 4:] = y[:, 4:].flip(2)
    after = net(y, mask)
    assert torch.allclose(before[:, :4], after[:, :4], atol=1e-6)
    assert not torch.allclose(before[:, 4:], after[:, 4:], atol=1e-2)


@pytest.mark.parametrize("settings", KINDS + BOTH_WAYS)
def test_a_sequence_alone_and_in_any_padded_batch_gives_the_same(settings):
    net = encoder(**settings)
    lengths = [1, 3, 3, 6, 12]  # several groups of like length, some of them with padding
    x, sizes = sequences(lengths)
    alone = torch.cat([net(one[None], torch.ones(1, len(one), dtype=torch.bool))[0] for one in x.split(lengths)])
    assert torch.allclose(net.ragged(x, sizes), alone, atol=1e-5)
    shuffled = [3, 0, 4, 2, 1]
    parts = x.split(lengths)
    mixed = net.ragged(torch.cat([parts[i] for i in shuffled]), sizes[shuffled]).split([lengths[i] for i in shuffled])
    assert torch.allclose(torch.cat([mixed[shuffled.index(i)] for i in range(5)]), alone, atol=1e-5)
    ends = torch.tensor(lengths).cumsum(0) - 1
    assert torch.allclose(net.last(x, sizes), alone[ends], atol=1e-5)
    for side in ("right", "left", "gaps"):
        mask = torch.zeros(6, 14, dtype=torch.bool)  # one row is empty
        for row, size in enumerate(lengths):
            at = {"right": range(size), "left": range(14 - size, 14), "gaps": range(0, 14, 2) if size <= 6 else range(1, 13)}[side]
            mask[row, list(at)[:size]] = True
        padded = torch.full((6, 14, DIM), 9.0)
        padded[mask] = x
        out = net(padded, mask)
        assert torch.allclose(out[mask], alone, atol=1e-5)
        assert not out[~mask].any()


def test_bidirectional_sees_the_future_and_a_mask_function_limits_it():
    x, size = sequences([8])
    y = x.clone()
    y[-1] = y[-1].flip(0)
    both = encoder(attention="bidirectional", positions="none")
    assert (both.ragged(x, size) - both.ragged(y, size)).abs().amax(1).min() > 1e-3
    near = encoder(attention=windowed(1), positions="none", blocks=2)
    moved = (near.ragged(x, size) - near.ragged(y, size)).abs().amax(1) > 1e-6
    assert moved.tolist() == [False] * 5 + [True] * 3  # two blocks carry it two steps
    same = encoder(attention=causal)
    assert torch.allclose(same.ragged(x, size), encoder().ragged(x, size), atol=1e-5)


def test_training_with_padding_has_finite_gradients():
    for attention in ("causal", "bidirectional", windowed(1)):
        net = encoder(attention=attention).train()
        x, sizes = sequences([1, 2, 5, 9])
        net.ragged(x.requires_grad_(), sizes).square().mean().backward()
        assert all(torch.isfinite(p.grad).all() for p in net.parameters())
        assert torch.isfinite(x.grad).all()


def test_a_block_is_torchs_pre_norm_layer():
    block = _Block(DIM, 2, 0.0, 16, "gelu", rotary=False, normed=False).eval()
    reference = nn.TransformerEncoderLayer(DIM, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    with torch.no_grad():
        reference.self_attn.in_proj_weight.copy_(torch.cat([block.query.weight, block.key_value.weight]))
        reference.self_attn.in_proj_bias.copy_(torch.cat([block.query.bias, block.key_value.bias]))
        for own, other in ((block.out, reference.self_attn.out_proj), (block.up, reference.linear1), (block.down, reference.linear2)):
            other.load_state_dict(own.state_dict())
    net = encoder(heads=2, positions="none", attention="bidirectional", blocks=1)
    net.blocks[0], net.norm = block, nn.Identity()
    x = torch.randn(2, 5, DIM, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(net(x, torch.ones(2, 5, dtype=torch.bool)), reference(x), atol=1e-5)


def test_rotary_products_depend_on_distances_only():
    q, k = (torch.randn(1, 1, 1, 6, generator=torch.Generator().manual_seed(s)).expand(1, 1, 9, 6) for s in (1, 2))
    products = (_rotated(q) @ _rotated(k).transpose(-1, -2))[0, 0]
    for distance in range(-8, 9):
        line = products.diagonal(distance)
        assert torch.allclose(line, line[0].expand_as(line), atol=1e-5)


def test_what_cannot_be_built_or_read_is_named():
    with pytest.raises(ConfigError, match="heads"):
        SequenceEncoder(10, heads=3)
    with pytest.raises(ConfigError, match="rotary"):
        SequenceEncoder(6, heads=2, positions="rotary")
    x, sizes = sequences([13])
    with pytest.raises(ConfigError, match="13 elements"):
        encoder().ragged(x, sizes)
