"""Published ascent steps against automatic differentiation; personal-loss sampling against its closed form; shared rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sartor.errors import ConfigError
from sartor.parts import shared_rows
from sartor.parts.noisy_labels import VARIANTS, ascent, noisy_label_loss
from sartor.parts.person_loss import PersonLossSampler


def s(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def published(variant: str, r: np.ndarray, g: np.ndarray, positive: bool) -> tuple[np.ndarray, np.ndarray]:
    """As the paper and its code print them."""
    if variant == "bpo":
        return (s(-r) if positive else -s(r)), np.zeros_like(g)
    table = {
        ("nbpo", True): (s(-g) * s(-r), -s(g) * s(r)),
        ("nbpo", False): (s(g) * s(-r) - s(r), s(-g) * s(r)),
        ("nbpo-o", True): (s(-r), -s(g)),
        ("nbpo-o", False): ((s(g) - 1) * s(r) * s(-r) / (s(-r) + s(g) * s(r)), s(g) * s(-g) * s(r) / (s(-r) + s(g) * s(r))),
        ("nbpo-s", True): (s(-g) * s(r) * s(-r), -s(-g) * s(g) * s(r)),
        ("nbpo-s", False): ((s(g) - 1) * s(r) * s(-r), s(g) * s(-g) * s(r)),
    }
    return table[variant, positive]


@pytest.mark.parametrize("variant", ["nbpo", "nbpo-o", "nbpo-s", "bpo"])
def test_gradients_are_the_published_ascent_steps(variant: str) -> None:
    rng = np.random.default_rng(0)
    r, g, rn, gn = (torch.tensor(rng.normal(0, 3, shape), requires_grad=True) for shape in ((50,), (50,), (50, 4), (50, 4)))
    noisy_label_loss(variant, r, rn, g, gn).backward()  # type: ignore[arg-type]
    for score, flip, positive, times in ((r, g, True, 4), (rn, gn, False, 1)):
        by_score, by_flip = published(variant, score.detach().numpy(), flip.detach().numpy(), positive)
        np.testing.assert_allclose(-score.grad.numpy(), times * by_score, atol=1e-7)
        np.testing.assert_allclose(np.zeros_like(by_flip) if flip.grad is None else -flip.grad.numpy(), times * by_flip, atol=1e-7)
        compiled = [
            ascent(VARIANTS.index(variant), positive, a, b)
            for a, b in zip(score.detach().numpy().ravel(), flip.detach().numpy().ravel(), strict=True)
        ]
        np.testing.assert_allclose(np.array(compiled).T, [by_score.ravel(), by_flip.ravel()], atol=2e-6)


def test_bpr_sums_over_pairs() -> None:
    positive, negative = torch.tensor([1.0, -2.0]), torch.tensor([[0.5, 3.0], [-1.0, 0.0]])
    gaps = positive[:, None] - negative
    expected = torch.log1p(torch.exp(-gaps)).sum()
    torch.testing.assert_close(noisy_label_loss("bpr", positive, negative, positive, negative), expected)
    with pytest.raises(ConfigError, match="nbpo-x"):
        noisy_label_loss("nbpo-x", positive, negative, positive, negative)  # type: ignore[arg-type]


def test_pool_choices_follow_the_softmax_of_losses() -> None:
    sampler = PersonLossSampler(np.array([0, 5]), np.arange(5, dtype=np.int32), temperature=0.3)
    losses = np.array([[0.1, 0.5, 0.2, 1.0, 0.3]])
    closed = np.exp(-losses[0] / 0.3) / np.exp(-losses[0] / 0.3).sum()
    np.testing.assert_allclose(sampler.probabilities(losses)[0], closed, rtol=1e-12)
    drawn = sampler.choose(np.random.default_rng(0).random(40_000), np.repeat(losses, 40_000, 0))
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 40_000, closed, atol=0.01)


def test_pools_are_distinct_and_uniform_and_people_are_uniform() -> None:
    indptr = np.array([0, 8, 8, 11, 12])
    items = np.array([3, 4, 5, 6, 7, 8, 9, 10, 20, 21, 22, 30], np.int32)
    sampler = PersonLossSampler(indptr, items)
    rng = np.random.default_rng(1)
    people = sampler.people(rng, 30_000)
    np.testing.assert_allclose(np.bincount(people, minlength=4) / 30_000, [1 / 3, 0, 1 / 3, 1 / 3], atol=0.01)
    pools = sampler.pools(rng, np.zeros(20_000, np.int64))
    assert all(np.unique(row).size == 5 for row in pools[:500])
    np.testing.assert_allclose(np.bincount(pools.ravel(), minlength=11)[3:] / 20_000, 5 / 8, atol=0.02)
    np.testing.assert_allclose(np.bincount(pools[:, 0], minlength=11)[3:] / 20_000, 1 / 8, atol=0.01)
    # Fewer than five: with replacement. A single event: nothing to choose.
    np.testing.assert_allclose(np.bincount(sampler.pools(rng, np.full(20_000, 2))[:, 0], minlength=23)[20:] / 20_000, 1 / 3, atol=0.02)
    assert (sampler.pools(rng, np.full(9, 3)) == 30).all()


@pytest.mark.parametrize(("temperature", "pool"), [(0.0, 5), (-1.0, 5), (0.1, 0)])
def test_a_sampler_refuses_impossible_settings(temperature: float, pool: int) -> None:
    with pytest.raises(ConfigError, match="temperature must be > 0"):
        PersonLossSampler(np.array([0, 1]), np.zeros(1, np.int32), pool, temperature)


def test_hashers_use_their_rows() -> None:
    counts = np.array([5, 1, 9, 1, 1, 7, 1, 1])
    by_frequency = shared_rows.frequency(counts, 4)
    assert by_frequency[2] == 2
    assert by_frequency[5] == 3
    np.testing.assert_array_equal(np.delete(by_frequency, [2, 5]), np.delete(np.arange(8) % 2, [2, 5]))
    two = shared_rows.double(5000, 50, seed=1)
    assert two.shape == (5000, 2)
    assert np.unique(two).size == 50
    # Hardly anybody shares both rows with a given other id.
    assert np.unique(two, axis=0).shape[0] > 2000
    adjacency = np.repeat(np.eye(4, dtype=np.float32), 3, 0)
    codes = shared_rows.locality_sensitive(adjacency, 8)
    assert (codes.reshape(4, 3) == codes.reshape(4, 3)[:, :1]).all()
    with pytest.raises(ConfigError, match="table with 1 rows"):
        shared_rows.modulo(4, 1)


def test_a_hashed_table_sums_two_rows_and_shares_gradients() -> None:
    table = shared_rows.HashedTable(np.array([[0, 1], [1, 1], [2, 0]]), 3, 4)
    rows = table.weight.detach()
    torch.testing.assert_close(table().detach(), torch.stack([rows[0] + rows[1], 2 * rows[1], rows[2] + rows[0]]))
    table().sum().backward()
    np.testing.assert_array_equal(table.weight.grad.numpy()[:, 0], [2, 3, 1])
    with pytest.raises(ConfigError, match="renumber"):
        shared_rows.HashedTable(np.array([0, 3]), 3, 4)
