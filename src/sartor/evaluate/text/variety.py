"""How varied texts are, how far apart their words lie, and how likely a model finds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sartor.errors import ConfigError


def distinct(texts: Sequence[Sequence[str]], n: int = 1) -> float:
    """Dist-n: different n-grams over all n-grams of all texts together; 0 without any. Source: Li et al., NAACL 2016."""
    grams = [tuple(text[at : at + n]) for text in texts for at in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def divergence(a: Sequence[str], b: Sequence[str]) -> float:
    """Jensen-Shannon divergence (base 2, in [0, 1]) of the two texts' word distributions; 1 where one of them is empty, 0 where both are."""
    if not a or not b:
        return float(bool(a) != bool(b))
    p, q = Counter(a), Counter(b)
    every = list(p | q)
    left, right = (np.array([one[word] for word in every]) / one.total() for one in (p, q))
    middle = (left + right) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(side > 0, side * np.log2(side / middle), 0.0).sum() / 2 for side in (left, right)]
    return float(min(1.0, max(0.0, sum(terms))))


def likelihood_score(log_probs: Sequence[np.ndarray]) -> np.ndarray:
    """Float64 [texts]: mean log-probability of each text's tokens, in nats; higher is likelier. A text without tokens has NaN.

    `log_probs` are one array per text, as `Backend.logprobs(contexts, texts)` gives. Source: Yuan, Neubig and Liu (BARTScore), NeurIPS 2021.
    """
    if any(np.isnan(one).any() for one in log_probs):
        raise ConfigError("a log-probability is NaN", fix="give those of real tokens only")
    return np.array([float(np.mean(one)) if len(one) else np.nan for one in log_probs])
