"""One encoder, an expert per domain: conflicting rules, routing, shards, every bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'deep'")
pytest.importorskip("tokenizers", reason="needs the extra 'text'")

from sartor.errors import BadValue, ConfigError, CorruptFile, DuplicateRows, FileProblem, SpaceMismatch, UnknownId
from sartor.represent.moe_embed import ExpertEncoder, MoEEmbed
from sartor.represent.small_encoder import SmallEncoder
from sartor.retrieve.index import ItemIndex

COLOURS, SHAPES = ["red", "blue", "green", "white"], ["cube", "ball", "cone", "disc"]
ALL = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]


def pairs(rng: np.random.Generator, count: int) -> tuple[list[str], list[str], list[str], np.ndarray]:
    """In the domain "colour" the same colour is alike, in "shape" the same shape."""
    domains = rng.choice(["colour", "shape"], count)
    left, right = rng.integers(0, 4, (count, 2)), rng.integers(0, 4, (count, 2))
    at = (domains == "shape").astype(int)
    right[np.arange(count), at] = left[np.arange(count), at]
    a, b = ([f"{COLOURS[c]} {SHAPES[s]}" for c, s in side] for side in (left, right))
    return a, b, domains.tolist(), at * 4 + left[np.arange(count), at]


@pytest.fixture(scope="module")
def base() -> SmallEncoder:
    return SmallEncoder(vocabulary=300, dim=16, layers=2, heads=2, max_tokens=8).learn_words(ALL)


@pytest.fixture(scope="module")
def trained(base: SmallEncoder) -> ExpertEncoder:
    a, b, domains, ids = pairs(np.random.default_rng(0), 300)
    return MoEEmbed(batch_size=20, epochs=4, learning_rate=5e-3).fit(base, a, b, domains, ids=ids)


def test_each_domain_has_its_own_idea_of_what_is_alike(trained: ExpertEncoder) -> None:
    for domain, like, unlike in (("colour", "red ball", "blue cube"), ("shape", "blue cube", "red ball")):
        own, same, other = trained.encode(["red cube", like, unlike], domains=domain)
        assert own @ same > own @ other + 0.5, domain
    both = trained.encode(["red cube", "red cube"], domains=["colour", "shape"])
    np.testing.assert_allclose(both[0], trained.encode(["red cube"], domains="colour")[0], atol=1e-5)
    np.testing.assert_allclose(both[1], trained.encode(["red cube"], domains="shape")[0], atol=1e-5)
    assert abs(both[0] - both[1]).max() > 0.05


def test_experts_are_seeded_from_the_base(base: SmallEncoder) -> None:
    before = base.fingerprint
    for rank in (0, 2):
        fresh = ExpertEncoder(base, ["a", "b"], rank=rank)
        np.testing.assert_array_equal(fresh.encode(ALL, domains="a"), fresh.encode(ALL, domains="b"))
        tokens = fresh.expert("a")
        assert tokens.dim == 16
        # Below the head the tokens are the base's.
        fresh._check(ALL, "a")
        np.testing.assert_allclose(fresh.encode_tokens(ALL).vectors, base.encode_tokens(ALL).vectors, atol=1e-5)
    assert base.fingerprint == before
    sizes = [sum(one.nbytes for one in ExpertEncoder(base, ["a"], layers=layers, rank=rank).expert_state("a").values())  # type: ignore[arg-type]
             for layers, rank in (("all", 0), ("last", 0), ("all", 2))]  # fmt: skip
    full = 4 * (2 * 16 * 64 + 16 + 64)
    assert sizes == [2 * full, full, 4 * 2 * 2 * 2 * (16 + 64)]


def test_a_new_tenant_learns_alone_and_disturbs_nobody(trained: ExpertEncoder, tmp_path: Path) -> None:
    folder = trained.save(tmp_path / "whole")
    encoder = ExpertEncoder.load(folder)
    a, b, _, ids = pairs(np.random.default_rng(1), 100)
    before = encoder.encode(ALL, domains="colour")
    MoEEmbed(batch_size=20, learning_rate=5e-3).tune(encoder, a, b, ["shape"] * 100, ids=ids, only_experts=True)
    np.testing.assert_array_equal(encoder.encode(ALL, domains="colour"), before)
    assert abs(encoder.encode(ALL, domains="shape") - trained.encode(ALL, domains="shape")).max() > 0.01
    # An expert is a thing of its own: it can be kept, and put back.
    encoder.set_expert("shape", trained.expert_state("shape"))
    np.testing.assert_array_equal(encoder.encode(ALL, domains="shape"), trained.encode(ALL, domains="shape"))
    with pytest.raises(CorruptFile, match="another model"):
        encoder.set_expert("shape", {"weight": np.zeros(3)})


def test_one_expert_can_be_loaded_alone(trained: ExpertEncoder, tmp_path: Path) -> None:
    folder = trained.save(tmp_path / "whole")
    again = ExpertEncoder.load(folder)
    assert again.fingerprint == trained.fingerprint
    alone = ExpertEncoder.load(folder, domains=["shape"])
    np.testing.assert_array_equal(alone.encode(ALL), trained.encode(ALL, domains="shape"))
    # It needs no other's file.
    (folder / "expert-0.safetensors").unlink()
    ExpertEncoder.load(folder, domains=["shape"])
    with pytest.raises(CorruptFile):
        ExpertEncoder.load(folder)
    with pytest.raises(UnknownId, match="colour, shape"):
        ExpertEncoder.load(folder, domains=["taste"])
    with pytest.raises(FileProblem):
        ExpertEncoder.load(tmp_path)
    other = ExpertEncoder(SmallEncoder(vocabulary=300, dim=16, layers=2, heads=2).learn_words(ALL), ["x", "shape"])
    other.save(tmp_path / "other")
    (folder / "expert-1.safetensors").write_bytes((tmp_path / "other" / "expert-1.safetensors").read_bytes())
    with pytest.raises(CorruptFile, match="another model"):
        ExpertEncoder.load(folder, domains=["shape"])


def test_every_domain_is_a_space_of_its_own(trained: ExpertEncoder) -> None:
    colour, shape = trained.expert("colour"), trained.expert("shape")
    index = ItemIndex.make("exact").build(colour.encode(ALL), ALL, space=colour.fingerprint)
    assert index.search(colour.encode(["red cube"]), 1, space=colour.fingerprint)[0][0].startswith("red")
    with pytest.raises(SpaceMismatch):
        index.search(shape.encode(["red cube"]), 1, space=shape.fingerprint)


def test_negatives_across_domains_are_counted(base: SmallEncoder) -> None:
    a, b, domains, ids = pairs(np.random.default_rng(2), 60)
    apart, mixed = MoEEmbed(batch_size=10), MoEEmbed(batch_size=10, mixed=True)
    apart.fit(base, a, b, domains, ids=ids)
    mixed.fit(base, a, b, domains, ids=ids)
    assert apart.crossing_ == 0 < 0.3 < mixed.crossing_ < 0.7


def test_bad_input_has_a_name(trained: ExpertEncoder, base: SmallEncoder) -> None:
    with pytest.raises(UnknownId, match="colour, shape") as caught:
        trained.encode(["red cube"], domains="taste")
    assert caught.value.where["id"] == "taste"
    with pytest.raises(UnknownId):
        trained.expert("taste")
    with pytest.raises(ConfigError, match="no domain is named"):
        trained.encode(["red cube"])
    with pytest.raises(ConfigError, match="1 domains for 2"):
        trained.encode(["red cube", "red ball"], domains=["shape"])
    with pytest.raises(BadValue, match="empty"):
        trained.encode(["red cube", " "], domains="shape")
    with pytest.raises(BadValue, match="empty"):
        MoEEmbed().fit(base, ["red", ""], ["red", "blue"], ["a", "b"])
    with pytest.raises(ConfigError, match="domains"):
        MoEEmbed().fit(base, ["red", "blue"], ["red", "blue"], ["a"])
    with pytest.raises(DuplicateRows):
        ExpertEncoder(base, ["a", "a"])
    with pytest.raises(ConfigError, match="before giving it experts"):
        trained.cut(1)
