"""Losses against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sartor.parts import losses

torch.manual_seed(0)
Q = torch.randn(7, 4, dtype=torch.double)
ITEMS = torch.randn(11, 4, dtype=torch.double)
TARGET = torch.tensor([0, 3, 3, 10, 5, 1, 9])
LOGITS = Q @ ITEMS.T
ROWS = torch.arange(7)


def others() -> torch.Tensor:
    """All scores but the target's: [7, 10]."""
    keep = torch.ones_like(LOGITS, dtype=torch.bool)
    keep[ROWS, TARGET] = False
    return LOGITS[keep].view(7, 10)


def test_pairwise_losses_are_their_formulas():
    positive, negative = LOGITS[ROWS, TARGET], others()
    expected = -(torch.sigmoid(positive[:, None] - negative)).log().mean(1)
    assert torch.allclose(losses.bpr(positive, negative, reduction="none"), expected)
    assert torch.allclose(losses.bpr(positive, negative[:, 0]), -(torch.sigmoid(positive - negative[:, 0])).log().mean())
    expected = -torch.sigmoid(positive).log() - (1 - torch.sigmoid(negative)).log().mean(1)
    assert torch.allclose(losses.bce(positive, negative, reduction="none"), expected)
    assert torch.isfinite(losses.bpr(torch.tensor([-1e4]), torch.tensor([1e4])))


def test_sampled_softmax_with_all_negatives_is_the_full_softmax():
    full = losses.full_softmax(LOGITS, TARGET, reduction="none")
    assert torch.allclose(losses.sampled_softmax(LOGITS[ROWS, TARGET], others(), reduction="none"), full)
    # A negative of -inf does not count.
    masked = LOGITS.masked_fill(F.one_hot(TARGET, 11).bool(), -torch.inf)
    assert torch.allclose(losses.sampled_softmax(LOGITS[ROWS, TARGET], masked, reduction="none"), full)
    hot = losses.sampled_softmax(LOGITS[ROWS, TARGET], others(), temperature=0.5)
    assert torch.allclose(hot, losses.full_softmax(LOGITS / 0.5, TARGET))


def test_log_q_makes_the_sampled_softmax_an_estimate_of_the_full_one():
    q = torch.softmax(torch.linspace(0, 2, 11, dtype=torch.double), 0)
    n = 200_000
    drawn = torch.from_numpy(np.random.default_rng(0).choice(11, n, p=q.numpy()))
    expected = -LOGITS[ROWS, TARGET] + LOGITS.logsumexp(1)
    negatives = LOGITS[:, drawn].masked_fill(drawn[None, :] == TARGET[:, None], -torch.inf)
    found = losses.sampled_softmax(LOGITS[ROWS, TARGET], negatives, log_q_negatives=(n * q[drawn]).log(), reduction="none")
    assert torch.allclose(found, expected, atol=0.02)
    plain = losses.sampled_softmax(LOGITS[ROWS, TARGET], negatives, reduction="none")
    assert (plain - expected).abs().min() > 1


def test_supervised_contrast_by_loops():
    vectors, labels = Q.clone().requires_grad_(), torch.tensor([0, 1, 0, 2, 1, 0, 1])
    alike = (F.normalize(Q, dim=1) @ F.normalize(Q, dim=1).T / 0.5).exp()
    expected = []
    for i in range(7):
        others_of_mine = [j for j in range(7) if j != i and labels[j] == labels[i]]
        terms = [-(alike[i, j] / (alike[i].sum() - alike[i, i])).log() for j in others_of_mine]
        expected.append(sum(terms) / len(terms) if terms else torch.tensor(0.0, dtype=torch.double))
    found = losses.supervised_contrast(vectors, labels, temperature=0.5, reduction="none")
    assert torch.allclose(found, torch.stack(expected))
    found.mean().backward()
    assert vectors.grad.isfinite().all()


def test_in_batch_softmax_and_info_nce_by_hand():
    items, ids, log_q = ITEMS[TARGET], TARGET, torch.linspace(-3, -1, 7, dtype=torch.double)
    by_hand, nce = [], []
    for i in range(7):
        columns = [j for j in range(7) if j == i or ids[j] != ids[i]]
        scores = torch.stack([Q[i] @ items[j] / 0.7 - log_q[j] for j in columns])
        by_hand.append(scores.logsumexp(0) - scores[columns.index(i)])
        cosine = torch.stack([F.cosine_similarity(Q[i], items[j], dim=0) / 0.2 for j in columns])
        nce.append(cosine.logsumexp(0) - cosine[columns.index(i)])
    found = losses.in_batch_softmax(Q, items, temperature=0.7, log_q=log_q, ids=ids, reduction="none")
    assert torch.allclose(found, torch.stack(by_hand))
    assert torch.allclose(losses.info_nce(Q, items, temperature=0.2, ids=ids, reduction="none"), torch.stack(nce))
    both = losses.info_nce(Q, items, temperature=0.2, ids=ids) + losses.info_nce(items, Q, temperature=0.2, ids=ids)
    assert torch.allclose(losses.info_nce(Q, items, temperature=0.2, ids=ids, symmetric=True), both / 2)


def test_losses_against_the_hardest_negatives_by_hand():
    positive, negative = LOGITS[ROWS, TARGET].numpy(), others().numpy()
    weight = np.exp(negative) / np.exp(negative).sum(1, keepdims=True)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    bpr = -np.log((weight * sigmoid(positive[:, None] - negative)).sum(1)) + 0.3 * (weight * negative**2).sum(1)
    top1 = (weight * (sigmoid(negative - positive[:, None]) + sigmoid(negative**2))).sum(1)
    masked = torch.cat([others(), torch.full((7, 2), -torch.inf, dtype=torch.double)], 1)
    p = torch.from_numpy(positive)
    for scores in (others(), masked):
        assert torch.allclose(losses.bpr_max(p, scores, regularization=0.3, reduction="none"), torch.from_numpy(bpr))
        assert torch.allclose(losses.top1_max(p, scores, reduction="none"), torch.from_numpy(top1))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [2, 7, 100])
def test_the_catalogue_softmax_is_the_full_softmax_with_the_same_gradients(bias, chunk):
    q, items = Q.clone().requires_grad_(), ITEMS.clone().requires_grad_()
    b = torch.randn(11, dtype=torch.double, requires_grad=True) if bias else None
    inputs = [q, items] + ([b] if b is not None else [])
    found = losses.catalogue_softmax(q, items, TARGET, bias=b, chunk=chunk)
    expected = losses.full_softmax(q @ items.T + (b if b is not None else 0), TARGET)
    assert torch.allclose(found, expected)
    for one, other in zip(torch.autograd.grad(2 * found, inputs), torch.autograd.grad(2 * expected, inputs), strict=True):
        assert torch.allclose(one, other)
    with torch.no_grad():
        assert torch.allclose(losses.catalogue_softmax(q, items, TARGET, bias=b, chunk=chunk), expected)
    only = torch.autograd.grad(losses.catalogue_softmax(q, ITEMS, TARGET, chunk=chunk), [q])[0]
    assert torch.allclose(only, torch.autograd.grad(losses.full_softmax(q @ ITEMS.T, TARGET), [q])[0])
