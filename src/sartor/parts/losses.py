"""Training losses as pure functions on tensors; all are minimised.

Shapes: B examples, n negatives each, I items, d dimensions. Every function returns a scalar (the mean over B), or float [B] with
`reduction="none"` for callers that weigh examples. Scores are "higher is better" and unbounded.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "none"]


def bpr(positive: Tensor, negative: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Bayesian personalised ranking: -log sigmoid(positive - negative), averaged over a row's negatives.

    positive [B]; negative [B] or [B, n]. Source: Rendle et al., UAI 2009.
    """
    if negative.ndim == 1:
        return _reduced(F.softplus(negative - positive), reduction)
    return _reduced(F.softplus(negative - positive[:, None]).mean(1), reduction)


def bce(positive: Tensor, negative: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Binary cross-entropy: -log sigmoid(positive) - log(1 - sigmoid(negative)), negatives averaged over a row.

    positive [B]; negative [B] or [B, n]. The published SASRec loss has one negative per positive.
    """
    against = F.softplus(negative)
    return _reduced(F.softplus(-positive) + (against if negative.ndim == 1 else against.mean(1)), reduction)


def sampled_softmax(
    positive: Tensor,
    negatives: Tensor,
    *,
    temperature: float = 1.0,
    log_q_positive: Tensor | None = None,
    log_q_negatives: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of the positive against sampled negatives.

    positive [B]; negatives [B, n], -inf where a negative must not count (it is the positive, or was seen).
    log_q_positive [B] and log_q_negatives [B, n] or [n] are log sampling probabilities; subtracting them makes the sampled loss an
    estimate of the full one (Bengio and Senecal 2008; Yi et al., RecSys 2019). Without them this is the uncorrected form.
    """
    own, others = positive / temperature, negatives / temperature
    if log_q_positive is not None:
        own = own - log_q_positive
    if log_q_negatives is not None:
        others = others - log_q_negatives
    return _reduced(torch.logsumexp(torch.cat([own[:, None], others], 1), 1) - own, reduction)


def full_softmax(logits: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Cross-entropy over the whole catalogue. logits [B, I]; target int64 [B]."""
    return F.cross_entropy(logits, target, reduction=reduction)


def in_batch_softmax(
    queries: Tensor,
    items: Tensor,
    *,
    temperature: float = 1.0,
    log_q: Tensor | None = None,
    ids: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Softmax with the other rows' items as negatives.

    queries, items [B, d]: row i of both belong together. log_q [B]: log probability that an item is in a batch, subtracted from its
    logits. ids [B]: rows with the same item are no negatives of each other.
    """
    logits = queries @ items.T / temperature
    if log_q is not None:
        logits = logits - log_q
    target = torch.arange(queries.shape[0], device=queries.device)
    return full_softmax(_without_twins(logits, ids), target, reduction=reduction)


def info_nce(
    a: Tensor, b: Tensor, *, temperature: float = 0.1, ids: Tensor | None = None, symmetric: bool = False, reduction: Reduction = "mean"
) -> Tensor:
    """Contrastive loss of two views by cosine similarity: row i of `a` should find row i of `b` among all rows of `b`.

    a, b [B, d]. ids [B]: rows with the same id are no negatives of each other. symmetric: the mean of both directions.
    """
    logits = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / temperature
    logits = _without_twins(logits, ids)
    target = torch.arange(a.shape[0], device=a.device)
    forward = full_softmax(logits, target, reduction=reduction)
    return (forward + full_softmax(logits.T, target, reduction=reduction)) / 2 if symmetric else forward


def supervised_contrast(vectors: Tensor, labels: Tensor, *, temperature: float = 0.1, reduction: Reduction = "mean") -> Tensor:
    """Contrast in which all others of one's label are positives: the mean over them of the cross-entropy against everybody else, by cosine.

    vectors float [B, d]; labels int64 [B]. Whoever is alone with a label counts 0. Source: Khosla et al., Supervised Contrastive Learning, NeurIPS
    2020, eq. 2.
    """
    directions = F.normalize(vectors, dim=1)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    logits = (directions @ directions.T / temperature).masked_fill(itself, -torch.inf)
    same = (labels[:, None] == labels[None, :]) & ~itself
    against = torch.logsumexp(logits, 1, keepdim=True) - logits
    return _reduced(against.masked_fill(~same, 0.0).sum(1) / same.sum(1).clamp_min(1), reduction)


def bpr_max(positive: Tensor, negatives: Tensor, *, regularization: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """BPR against the hardest sampled negatives: each is weighted by the softmax of its score, and scores are kept small.

    positive [B]; negatives [B, n], -inf where one must not count. Source: Hidasi and Karatzoglou, CIKM 2018, eq. 10.
    """
    weight = torch.softmax(negatives, 1)
    valid = torch.isfinite(negatives)
    scores = negatives.masked_fill(~valid, 0.0)
    won = (weight * torch.sigmoid(positive[:, None] - scores)).sum(1)
    return _reduced(-torch.log(won + 1e-24) + regularization * (weight * scores.square()).sum(1), reduction)


def top1_max(positive: Tensor, negatives: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """TOP1 against the hardest sampled negatives. positive [B]; negatives [B, n], -inf where one must not count.

    Source: Hidasi and Karatzoglou, CIKM 2018, eq. 8.
    """
    weight = torch.softmax(negatives, 1)
    scores = negatives.masked_fill(~torch.isfinite(negatives), 0.0)
    return _reduced((weight * (torch.sigmoid(scores - positive[:, None]) + torch.sigmoid(scores.square()))).sum(1), reduction)


def catalogue_softmax(queries: Tensor, items: Tensor, target: Tensor, *, bias: Tensor | None = None, chunk: int = 512) -> Tensor:
    """`full_softmax(queries @ items.T + bias, target)` without ever holding more than `chunk` rows of logits.

    queries [B, d]; items [I, d]; target int64 [B]; bias [I]. The gradients are made in the same pass as the loss, so that the logits
    are computed once and written over in place: on a CPU this is faster than the plain form, and memory does not grow with B x I.
    """
    return _CatalogueSoftmax.apply(queries, items, target, bias, chunk)


class _CatalogueSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, items: Tensor, target: Tensor, bias: Tensor | None, chunk: int) -> Tensor:
        # Only what is trained: an item table may be frozen.
        for_queries, for_items, _, for_bias, _ = ctx.needs_input_grad
        wanted = for_queries or for_items or for_bias
        total = queries.new_zeros(())
        d_queries = torch.empty_like(queries) if for_queries else None
        d_items = torch.zeros_like(items) if for_items else None
        d_bias = torch.zeros_like(bias) if bias is not None and for_bias else None
        for start in range(0, queries.shape[0], chunk):
            rows, truth = queries[start : start + chunk], target[start : start + chunk, None]
            logits = rows @ items.T if bias is None else torch.addmm(bias, rows, items.T)
            own = logits.gather(1, truth)
            top = logits.amax(1, keepdim=True)
            weight = logits.sub_(top).exp_()
            norm = weight.sum(1, keepdim=True)
            total += (norm.log() + top - own).sum()
            if not wanted:
                continue
            weight.div_(norm).scatter_add_(1, truth, torch.full_like(own, -1.0))
            if d_queries is not None:
                torch.mm(weight, items, out=d_queries[start : start + chunk])
            if d_items is not None:
                d_items.addmm_(weight.T, rows)
            if d_bias is not None:
                d_bias += weight.sum(0)
        ctx.rows, ctx.gradients = queries.shape[0], (d_queries, d_items, d_bias)
        return total / max(1, queries.shape[0])

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        scale = gradient[0] / max(1, ctx.rows)
        d_queries, d_items, d_bias = (None if one is None else one.mul_(scale) for one in ctx.gradients)
        ctx.gradients = (None, None, None)
        return d_queries, d_items, None, d_bias, None


def _without_twins(logits: Tensor, ids: Tensor | None) -> Tensor:
    if ids is None:
        return logits
    twins = ids[:, None] == ids[None, :]
    twins.fill_diagonal_(False)
    return logits.masked_fill(twins, -torch.inf)


def _reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    return losses.mean() if reduction == "mean" else losses
