"""One table for all fields."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from sartor.errors import ConfigError
from sartor.parts import hashing
from sartor.parts.cross_network import CrossNetwork
from sartor.parts.unified_table import UnifiedTable, block_angles, hashed_rows, row_norm, salt

KEYS = hashing.keys(pl.Series([f"value {i}" for i in range(4000)]))
BITS = torch.from_numpy(KEYS.view(np.int64))


@pytest.mark.parametrize("salted", [0, 1, 513, salt(7, 3, 1)])
def test_rows_in_torch_equal_rows_in_numpy(salted: int) -> None:
    for size in (8, 997, 1 << 20):
        assert np.array_equal(hashed_rows(BITS, size, salted).numpy(), hashing.rows(KEYS, size, salted))


def test_rows_are_spread_evenly_and_salts_collide_independently() -> None:
    table = UnifiedTable({"a": 2, "b": 1}, rows=100, dim=4)
    rows = torch.cat([table.rows_of("a", BITS), table.rows_of("b", BITS)], 1).numpy()
    counts = np.stack([np.bincount(rows[:, c], minlength=100) for c in range(3)])
    # chi-squared with 99 degrees of freedom: 99 expected, 180 is beyond p = 1e-6
    assert (((counts - 40) ** 2 / 40).sum(1) < 180).all()
    for first, second in ((0, 1), (0, 2), (1, 2)):
        joint = np.bincount(rows[:, first] * 100 + rows[:, second], minlength=10_000)
        assert ((joint - 0.4) ** 2 / 0.4).sum() < 10_000 + 6 * np.sqrt(20_000)
    # Two values that share a row in one chunk share the other no more than by chance.
    same = rows[:2000, 0] == rows[2000:, 0]
    assert (rows[:2000, 1] == rows[2000:, 1])[same].mean() < 0.2


def test_a_field_is_the_concatenation_of_its_rows() -> None:
    table = UnifiedTable({"a": 2, "b": 1}, rows=50, dim=4, seed=3)
    out = table({"a": BITS[:5], "b": BITS[5:10]})
    assert out.shape == (5, 12) == (5, table.width)
    rows = hashing.rows(KEYS[:5], 50, salt(3, 0, 1))
    assert torch.equal(out[:, 4:8], table.weight[torch.from_numpy(rows)])


def test_bags_are_means_without_padding_and_empty_bags_have_a_reserved_vector_per_field() -> None:
    table = UnifiedTable({"a": 2, "b": 2}, rows=50, dim=4)
    bag = torch.stack([torch.stack([BITS[0], BITS[1], torch.tensor(0)]), torch.zeros(3, dtype=torch.int64)])
    out = table.embed("a", bag).detach()
    single = table.embed("a", BITS[:2]).detach()
    np.testing.assert_allclose(out[0], single.mean(0), rtol=1e-5)
    reserved = table.embed("a", torch.zeros(1, dtype=torch.int64)).detach()
    assert torch.equal(out[1], reserved[0])
    assert not torch.equal(reserved, table.embed("b", torch.zeros(1, dtype=torch.int64)).detach())


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="table of 3 rows for 3,596 values"):
        UnifiedTable({"a": 1}, rows=3, dim=4, values=3596)
    table = UnifiedTable({"a": 1, "b": 1}, rows=8, dim=4)
    with pytest.raises(ConfigError, match=r"field 'city' not declared; known: \['a', 'b'\]"):
        table({"a": BITS[:2], "b": BITS[:2], "city": BITS[:2]})
    with pytest.raises(ConfigError, match=r"fields \['b'\] are not given"):
        table({"a": BITS[:2]})
    with pytest.raises(ConfigError, match="same number of chunks"):
        block_angles(torch.randn(3, 6), [2, 4])


def test_angles_and_norms() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    turned = torch.tensor([[0.0, -1.0], [2.0, 0.0]])  # every row turned by 90 degrees
    np.testing.assert_allclose(block_angles(torch.cat([first, turned, first], 1), [2, 2, 2]), [90, 0, 90], atol=1e-3)
    assert row_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]])) == 13


def test_cross_network_multiplies_inputs() -> None:
    cross = CrossNetwork(3, layers=1)
    x = torch.randn(5, 3)
    weight, bias = cross.layers[0].weight, cross.layers[0].bias
    torch.testing.assert_close(cross(x), x * (x @ weight.T + bias) + x)
