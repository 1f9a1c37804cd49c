"""How well click probabilities order and fit what happened: AUC, logloss, Brier, calibration error, group AUC.

| name      | definition |
|-----------|------------|
| auc       | probability that a click scores above a non-click; ties count half |
| logloss   | mean -log of the probability given to what happened, in nats |
| brier     | mean squared distance between probability and outcome |
| ece       | mean |predicted - observed| over bins of equal width, weighted by cases |
| bias      | mean predicted / mean observed; 1 is unbiased in the large |
| group_auc | AUC inside each group (person, session), averaged with the groups' sizes as weights; groups without both outcomes are left out |

Sources: Zhu et al., Optimized Cost per Click in Taobao Display Advertising, KDD 2017 (group AUC); Naeini et al., AAAI 2015 (ECE).
"""

from __future__ import annotations

import numpy as np

from sartor.errors import BadValue, ConfigError
from sartor.parts.statistics import calibration

SMALLEST = 1e-15
"""Probabilities are kept this far from 0 and 1 in the logloss, as scikit-learn once did; a wrong certainty costs 34.5, not infinity."""


def clicks(labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray | None = None, *, bins: int = 10) -> dict[str, float]:
    """All click metrics.

    Parameters
    ----------
    labels: 0 or 1 [n].
    probabilities: float [n], between 0 and 1.
    groups: int or str [n], for group AUC.
    """
    labels, probabilities = _checked(labels, probabilities)
    if probabilities.size and (probabilities.min() < 0 or probabilities.max() > 1):
        raise BadValue(
            "predictions are not probabilities", fix="give numbers between 0 and 1, or ask for auc() only", value=float(probabilities.max())
        )
    p = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    observed = labels.mean() if labels.size else np.nan
    out = {
        "auc": auc(labels, probabilities),
        "logloss": float(-np.where(labels, np.log(p), np.log1p(-p)).mean()) if labels.size else float("nan"),
        "brier": float(((probabilities - labels) ** 2).mean()) if labels.size else float("nan"),
        "ece": calibration(labels, probabilities, bins=bins).error,
        "bias": float(probabilities.mean() / observed) if observed > 0 else float("nan"),
    }
    return out if groups is None else out | {"group_auc": group_auc(labels, probabilities, groups)}


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; NaN when only one outcome occurs."""
    from scipy.stats import rankdata

    labels, scores = _checked(labels, scores)
    positives = int(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def group_auc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> float:
    """AUC inside each group, averaged by group size; NaN when no group has both outcomes."""
    labels, scores = _checked(labels, scores)
    _, number = np.unique(groups, return_inverse=True)
    if number.size != labels.size:
        raise ConfigError(f"{number.size} groups for {labels.size} labels", fix="give one group per label")
    order = np.lexsort((scores, number))
    number, scores, labels = number[order], scores[order], labels[order]
    sizes = np.bincount(number)
    start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    # Mean rank of each run of equal scores inside a group.
    fresh = np.ones(number.size, bool)
    fresh[1:] = (number[1:] != number[:-1]) | (scores[1:] != scores[:-1])
    run = np.cumsum(fresh) - 1
    first = np.flatnonzero(fresh)
    length = np.diff(np.append(first, number.size))
    ranks = (first + (length + 1) / 2)[run] - start[number]
    positives = np.bincount(number, labels)
    negatives = sizes - positives
    usable = (positives > 0) & (negatives > 0)
    if not usable.any():
        return float("nan")
    sums = np.bincount(number, ranks * labels)
    each = (sums[usable] - positives[usable] * (positives[usable] + 1) / 2) / (positives[usable] * negatives[usable])
    return float(np.average(each, weights=sizes[usable]))


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ConfigError(f"labels {labels.shape}, predictions {scores.shape}", fix="give one prediction per label")
    if labels.size and not np.isin(labels, (0, 1)).all():
        raise BadValue("labels are not all 0 or 1", fix="turn outcomes into 0 and 1 first", value=labels[~np.isin(labels, (0, 1))][0])
    if np.isnan(scores).any():
        raise BadValue(f"{int(np.isnan(scores).sum())} predictions are NaN", fix="leave them out", row=int(np.isnan(scores).argmax()))
    return labels.astype(bool), scores
