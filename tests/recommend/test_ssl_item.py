"""Self-supervision of the item tower."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import sartor.method
from sartor.data import Population
from sartor.data.world import World
from sartor.errors import ConfigError
from sartor.recommend.ssl_item import SSLTwoTower

FIELDS = {"kind": "category", "subcategory": "category", "brand": "category", "colour": "category", "tags": "categories", "price": "number"}


@pytest.fixture(scope="module")
def population() -> Population:
    return World.preset("shop", people=120, items=150, topics=6, events_per_person=20, seed=2, reviews=0.0, preferences=0).population()


@pytest.fixture(scope="module")
def fitted(population: Population) -> SSLTwoTower:
    return SSLTwoTower(epochs=2, batch_size=256, item_fields=FIELDS).fit(population, progress=False)


def test_correlated_fields_are_hidden_together(fitted: SSLTwoTower) -> None:
    names = fitted.item_codec.names
    information, rng = fitted.field_information_, np.random.default_rng(0)
    masks = np.array([fitted.mask(rng) for _ in range(400)])
    # seed + floor(k / 2) others, and never everything: what one view lacks the other has.
    assert set(masks.sum(1)) == {1 + len(names) // 2}
    wanted = set()
    for seed in range(len(names)):
        nearest = sorted((other for other in range(len(names)) if other != seed), key=lambda other, seed=seed: -information[seed, other])
        wanted.add(frozenset([seed, *nearest[: len(names) // 2]]))
    assert {frozenset(np.flatnonzero(mask).tolist()) for mask in masks} == wanted
    kind, subcategory = names.index("kind"), names.index("subcategory")
    assert masks[masks[:, kind]][:, subcategory].mean() > 0.9  # a subcategory tells its kind exactly


def test_random_masks_hide_half(population: Population) -> None:
    method = SSLTwoTower(epochs=1, ssl="rfm", item_fields=FIELDS).fit(population, progress=False)
    masks = np.array([method.mask(np.random.default_rng(seed)) for seed in range(100)])
    assert set(masks.sum(1)) == {len(FIELDS) // 2}
    assert masks.any(0).all()


@pytest.mark.parametrize("ssl", [None, "dropout", "identity", "rfm", "cfm"])
def test_every_variant_trains_its_own_way(population: Population, ssl: str | None) -> None:
    method = SSLTwoTower(epochs=1, ssl=ssl, item_fields=FIELDS).fit(population, progress=False)  # type: ignore[arg-type]
    assert np.isfinite(method.score([None])).all()
    assert vars(method)["_items"] is None  # nothing of the training stays


def test_the_second_task_brings_an_items_views_together(population: Population) -> None:
    import torch

    from sartor.parts.field_embedding import tensors

    def agreement(method: SSLTwoTower) -> float:
        """Share of items whose two views find each other among all items."""
        codes = tensors(method.item_codec.encode(population.item_frame(method.items_), warn=False))
        hidden = torch.from_numpy(method.mask(np.random.default_rng(1)))
        with torch.no_grad():
            one, two = (method.network_.item(method.network_.fields(codes, hidden=side)) for side in (hidden, ~hidden))
        return float(((one @ two.T).argmax(1) == torch.arange(len(one))).float().mean())

    settings = {"epochs": 8, "batch_size": 256, "item_fields": FIELDS, "value_dropout": 0.0}
    with_task = SSLTwoTower(ssl="cfm", alpha=1.0, **settings).fit(population, progress=False)
    without = SSLTwoTower(ssl=None, **settings).fit(population, progress=False)
    assert agreement(with_task) > 2 * agreement(without)


def test_one_field_is_too_few(population: Population) -> None:
    with pytest.raises(ConfigError, match=r"SSL needs >= 2 item fields, got \['item'\]"):
        SSLTwoTower(item_fields=None).fit(population, progress=False)
    assert issubclass(ConfigError, ValueError)
    SSLTwoTower(item_fields=None, ssl=None, epochs=1).fit(population, progress=False)


def test_constant_fields_and_twins_are_told() -> None:
    items = pl.DataFrame({"item": range(40), "shop": ["n"] * 40, "kind": list("abcd") * 10, "brand": list("pqrst") * 8})
    rng = np.random.default_rng(0)
    events = pl.DataFrame({"person": np.arange(30).repeat(4), "item": rng.integers(0, 40, 120)})
    population = Population.from_frames(events=events, items=items)
    with pytest.warns(UserWarning, match="one value only") as caught:
        method = SSLTwoTower(epochs=1).fit(population, progress=False)
    said = [str(one.message) for one in caught]
    assert any("fields ['shop']" in one for one in said)
    assert any("20 items have the same fields as another one" in one for one in said)
    shop = method.item_codec.names.index("shop")
    assert not any(method.mask(np.random.default_rng(seed))[shop] for seed in range(50))


def test_saving(fitted: SSLTwoTower, tmp_path) -> None:
    again = sartor.method.load(fitted.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.score([None]), fitted.score([None]))
    assert np.array_equal(again.mask(np.random.default_rng(3)), fitted.mask(np.random.default_rng(3)))
