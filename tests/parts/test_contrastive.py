"""Contrastive losses and their modifiers against the formulas written out; which pairs a batch holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sartor.errors import ConfigError, EmptyData
from sartor.parts.contrastive import CoSENT, InfoNCE, Views
from sartor.parts.nested import Compression, NestedDims, NestedLayers, SelfDistillation
from sartor.parts.pair_sampler import PairSampler, co_occurring


def views(rows: int = 6, dim: int = 8, layers: int = 1, **more: torch.Tensor) -> Views:
    made = torch.Generator().manual_seed(rows * 100 + dim)
    return Views(*([torch.randn(rows, dim, generator=made).requires_grad_() for _ in range(layers)] for _ in range(2)), **more)


def test_info_nce_is_cross_entropy_of_scaled_cosines_in_both_directions() -> None:
    both = views()
    cosines = torch.stack([F.cosine_similarity(row[None], both.b[-1]) for row in both.a[-1]])
    at = torch.arange(6)
    forward, backward = F.cross_entropy(20 * cosines, at), F.cross_entropy(20 * cosines.T, at)
    torch.testing.assert_close(InfoNCE()(both), (forward + backward) / 2)
    torch.testing.assert_close(InfoNCE(symmetric=False)(both), forward)
    torch.testing.assert_close(InfoNCE(similarity="dot", scale=1, symmetric=False)(both), F.cross_entropy(both.a[-1] @ both.b[-1].T, at))


def test_pairs_of_one_id_are_no_negatives_of_each_other() -> None:
    both = views(4, ids=torch.tensor([7, 8, 7, 9]))
    logits = 20 * F.normalize(both.a[-1]) @ F.normalize(both.b[-1]).T
    by_hand = torch.stack(
        [torch.logsumexp(torch.stack([logits[i, j] for j in range(4) if j == i or {i, j} != {0, 2}]), 0) - logits[i, i] for i in range(4)]
    )
    torch.testing.assert_close(InfoNCE(symmetric=False)(both), by_hand.mean())


def test_agreed_targets_are_the_rows_whose_two_sides_are_nearest() -> None:
    both = views()
    a, b = both.a[-1], both.b[-1]
    # A long vector draws others to it, where products are raw.
    both.a[-1].data[2] = 10 * (a[0] + a[1]).detach()
    agreed = (F.softmax((a @ a.T + b @ b.T) / 2, 1)).argmax(1)
    assert agreed.tolist() != list(range(6))
    logits = a @ b.T
    expected = (F.cross_entropy(logits, agreed) + F.cross_entropy(logits.T, agreed)) / 2
    torch.testing.assert_close(InfoNCE(similarity="dot", scale=1, targets="agreed")(both), expected)
    # Of unit vectors everybody's nearest is the own row.
    torch.testing.assert_close(InfoNCE(targets="agreed")(both), InfoNCE()(both))


def test_cosent_counts_every_pair_in_the_wrong_order() -> None:
    grades = torch.tensor([0.0, 1.0, 1.0, 0.5])
    both = views(4, grades=grades)
    cosines = F.cosine_similarity(both.a[-1], both.b[-1]).detach()
    total = 1 + sum(math.exp(20 * float((cosines[j] - cosines[i]).detach())) for i in range(4) for j in range(4) if grades[i] > grades[j])
    torch.testing.assert_close(CoSENT()(both), torch.tensor(math.log(total)))
    with pytest.raises(ConfigError, match="grades"):
        CoSENT()(views(4))


def test_nested_dims_are_the_mean_over_cut_vectors() -> None:
    both = views()
    expected = torch.stack([InfoNCE()(Views([both.a[-1][:, :k]], [both.b[-1][:, :k]])) for k in (2, 4, 8)]).mean()
    torch.testing.assert_close(NestedDims(InfoNCE(), (2, 4, 8))(both), expected)
    drawn = [float(NestedDims(InfoNCE(), (2, 8), per_step=1)(both).detach()) for _ in range(40)]
    each = [float(InfoNCE()(both.narrow(k)).detach()) for k in (2, 8)]
    assert {min(range(2), key=lambda at: abs(each[at] - one)) for one in drawn} == {0, 1}
    assert all(min(abs(one - own) for own in each) < 1e-6 for one in drawn)
    with pytest.raises(ConfigError, match="16"):
        NestedDims(InfoNCE(), (4, 16))(both)
    with pytest.raises(ConfigError):
        NestedDims(InfoNCE(), ())


@pytest.mark.parametrize("weighting", ["uniform", "log"])
def test_nested_layers_are_the_formula(weighting: str) -> None:
    both = views(layers=4)
    teacher = F.softmax(both.both().detach() / 0.3, 1)
    expected = 0.5 * InfoNCE()(both)
    for layer in range(3):
        weight = 1 if weighting == "uniform" else 1 / (1 + math.log(1 + layer))
        own = both.both(layer)
        apart = (teacher * (teacher.log() - F.log_softmax(own / 0.3, 1))).sum(1).mean()
        expected = expected + (2 * weight * InfoNCE()(Views([both.a[layer]], [both.b[layer]])) + 0.3 * apart) / 3
    made = NestedLayers(loss=InfoNCE(), per_step=0, weighting=weighting, last_weight=0.5, prior_weight=2)(both)  # type: ignore[arg-type]
    torch.testing.assert_close(made, expected)
    with pytest.raises(ConfigError, match="one layer"):
        NestedLayers(loss=InfoNCE())(views())


def test_one_layer_is_drawn_and_the_teacher_learns_nothing_from_the_distillation() -> None:
    both = views(layers=4)
    seen = set()
    for _ in range(60):
        for one in (*both.a, *both.b):
            one.grad = None
        NestedLayers(loss=InfoNCE(), last_weight=0.0)(both).backward()
        assert float(both.a[-1].grad.abs().max()) == 0
        moved = [layer for layer in range(3) if both.a[layer].grad is not None]
        assert len(moved) == 1
        seen.add(moved[0])
    assert seen == {0, 1, 2}
    assert float(SelfDistillation()(both.a[0], both.a[0])) == pytest.approx(0, abs=1e-6)


def test_compression_pulls_the_first_dimensions_to_the_principal_part() -> None:
    both = views(12, 8)
    x = both.both().detach()
    left, sizes, _ = torch.linalg.svd(F.softmax(x.T @ x / 8**0.5, -1))
    target = x @ left[:, :3] * sizes[:3]
    apart = (F.softmax(target, 1) * (F.log_softmax(target, 1) - F.log_softmax(x[:, :3], 1))).sum(1).mean()
    expected = InfoNCE()(both) + InfoNCE()(both.narrow(3)) + (x[:, :3] - target).square().mean() + apart
    made = Compression(loss=InfoNCE(), dim=3)(both)
    torch.testing.assert_close(made, expected)
    # The target is fixed: only the compressed part is pulled.
    made.backward()
    alone = torch.autograd.grad(InfoNCE()(both), both.a[-1])[0][:, 3:]
    torch.testing.assert_close(both.a[-1].grad[:, 3:], alone)  # type: ignore[index]
    with pytest.raises(ConfigError, match="9"):
        Compression(loss=InfoNCE(), dim=9)(both)


@given(pairs=st.integers(2, 60), size=st.integers(2, 20), seed=st.integers(0, 99))
def test_an_epoch_holds_every_pair_once_but_a_last_single_one(pairs: int, size: int, seed: int) -> None:
    batches = list(PairSampler(batch_size=size).batches(np.random.default_rng(seed), pairs))
    rows = np.concatenate(batches)
    assert min(map(len, batches)) >= 2
    assert np.unique(rows).size == rows.size == pairs - (pairs % size == 1)


def test_steps_go_round_and_domains_take_turns() -> None:
    rng = np.random.default_rng(0)
    assert [len(rows) for rows in PairSampler(batch_size=4, steps=5).batches(rng, 8)] == [4] * 5
    domains = np.repeat([3, 5], [40, 8])
    apart = PairSampler(batch_size=4, steps=40, domains=domains, mixed=False)
    found = [set(domains[rows]) for rows in apart.batches(rng, 48)]
    assert all(len(one) == 1 for one in found)
    assert found.count({3}) == found.count({5}) == 20
    assert apart.crossing == 0
    together = PairSampler(batch_size=48, domains=domains)
    list(together.batches(rng, 48))
    assert together.crossing == pytest.approx(2 * 40 * 8 / (48 * 47))
    with pytest.raises(EmptyData):
        list(PairSampler().batches(rng, 1))
    with pytest.raises(EmptyData):
        list(PairSampler(steps=3, domains=np.arange(4), mixed=False).batches(rng, 4))
    with pytest.raises(ConfigError):
        PairSampler(batch_size=1)


def test_co_occurring_members_of_a_group_become_pairs() -> None:
    groups, members = np.array([1, 1, 1, 2, 2, 3, 1]), np.array([10, 11, 12, 20, 21, 30, 10])
    pairs = co_occurring(groups, members, 10, np.random.default_rng(0))
    assert {frozenset(pair) for pair in pairs.tolist()} == {frozenset(one) for one in ((10, 11), (10, 12), (11, 12), (20, 21))}
    assert len(co_occurring(groups, members, 1, np.random.default_rng(0))) == 2
    assert co_occurring(groups[:0], members[:0], 5, np.random.default_rng(0)).shape == (0, 2)
