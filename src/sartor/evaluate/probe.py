"""What frozen vectors know of labels: a logistic probe per label, trained on few nodes or items, judged on the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sartor.errors import ConfigError, MissingExtra


def multilabel_f1(
    vectors: np.ndarray, labels: np.ndarray, *, share: float = 0.1, strengths: Sequence[float] = (0.1,), seed: int = 0
) -> dict[str, float]:
    """Micro- and macro-F1 where it is known how many labels each row has, and the likeliest ones are given.

    Parameters
    ----------
    vectors: float [n, dim], frozen.
    labels: bool [n, labels].
    share: of rows that the probe is trained on, drawn at random with `seed`; it is judged on the others.
    strengths: inverse regularisation C of the probe; of several, the one with the best micro-F1 on a fifth of the training rows.

    A label that no training row has gets probability 0: by its raw decision value it would come first everywhere.
    """
    if len(vectors) != len(labels) or not 0 < share < 1 or not strengths:
        raise ConfigError(f"{len(vectors)} vectors, {len(labels)} rows of labels, share {share:g}", fix="give one row each, and 0 < share < 1")
    labels = np.asarray(labels, bool)
    order = np.random.default_rng(seed).permutation(len(vectors))
    train, test = np.split(order, [round(share * len(vectors))])
    chosen = strengths[0]
    if len(strengths) > 1:
        held, inner = np.split(train, [train.size // 5])
        chosen = max(strengths, key=lambda one: _f1(_probabilities(vectors, labels, inner, held, one), labels[held])["micro"])
    return {**_f1(_probabilities(vectors, labels, train, test, chosen), labels[test]), "C": float(chosen)}


def _probabilities(vectors: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, strength: float) -> np.ndarray:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as missing:
        raise MissingExtra("scikit-learn", "cluster") from missing
    out = np.zeros((test.size, labels.shape[1]))
    for label in range(labels.shape[1]):
        own = labels[train, label]
        if own.all() or not own.any():
            out[:, label] = own.all()
            continue
        probe = LogisticRegression(C=strength, solver="liblinear").fit(vectors[train], own)
        out[:, label] = probe.predict_proba(vectors[test])[:, 1]
    return out


def _f1(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Of as many likeliest labels as each row has."""
    counts = truth.sum(axis=1)
    place = np.argsort(np.argsort(-probabilities, axis=1, kind="stable"), axis=1, kind="stable")
    given = place < counts[:, None]
    right, wanted, shown = (given & truth).sum(axis=0), truth.sum(axis=0), given.sum(axis=0)
    both = wanted + shown
    return {"micro": float(2 * right.sum() / max(1, both.sum())), "macro": float(np.mean(2 * right / np.maximum(both, 1)))}
