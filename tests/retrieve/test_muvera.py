"""Fixed dimensional encodings against the published construction, written plainly; and the index over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import BadValue, ConfigError, CorruptFile, FileProblem, NotFitted, SpaceMismatch, TooLarge
from sartor.parts.threads import limit
from sartor.retrieve.fixed_encoding import FixedEncoding
from sartor.retrieve.multi_vector import MultiVectors, maxsim
from sartor.retrieve.muvera import MuveraIndex


def plainly(vectors: np.ndarray, encoding: FixedEncoding, averaged: bool) -> np.ndarray:
    """The published encoder step by step, with the encoding's own random numbers."""
    planes, columns, signs = encoding._planes
    k, p, blocks = encoding.bits, encoding.projected or encoding.dim, []
    for r in range(encoding.repetitions):
        bits = vectors @ planes[:, r * k : (r + 1) * k] > 0
        sketch = np.zeros((encoding.dim, p), np.float32)
        sketch[np.arange(encoding.dim), columns[r]] = signs[r]
        projected = vectors @ sketch
        # Gray code: the signs of part n are the bits of n ^ (n >> 1).
        codes = [[int(bit) for bit in f"{part ^ (part >> 1):0{k}b}"] if k else [] for part in range(1 << k)]
        for code in codes:
            inside = projected[(bits == np.array(code, bool)).all(1)]
            if not averaged:
                blocks.append(inside.sum(0))
            elif len(inside):
                blocks.append(inside.mean(0))
            elif encoding.fill_empty:
                blocks.append(projected[np.argmin((bits != np.array(code, bool)).sum(1))])
            else:
                blocks.append(np.zeros(p, np.float32))
    whole = np.concatenate(blocks)
    if encoding.final is None:
        return whole
    buckets, flips = encoding._sketch
    out = np.zeros(encoding.final, np.float32)
    np.add.at(out, buckets, flips * whole)
    return out


def documents_of(rng: np.random.Generator, n: int, dim: int = 12) -> MultiVectors:
    return MultiVectors.of([rng.normal(size=(rng.integers(1, 9), dim)) for _ in range(n)], [f"d{row}" for row in range(n)])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1_000), bits=st.integers(0, 4), projected=st.sampled_from([None, 1, 5]), final=st.sampled_from([None, 7]), fill=st.booleans(),
    threads=st.sampled_from([1, 3]),
)  # fmt: skip
def test_encodings_are_the_published_ones(seed: int, bits: int, projected: int | None, final: int | None, fill: bool, threads: int) -> None:
    sets = documents_of(np.random.default_rng(seed), 5)
    encoding = FixedEncoding(dim=12, bits=bits, projected=projected, repetitions=3, final=final, fill_empty=fill, seed=seed)
    with limit(threads):
        averages, sums = encoding.averages(sets), encoding.sums(sets)
    assert averages.shape == sums.shape == (5, encoding.size)
    for row in range(5):
        np.testing.assert_allclose(averages[row], plainly(sets[row], encoding, True), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(sums[row], plainly(sets[row], encoding, False), rtol=1e-4, atol=1e-5)


def test_projections_are_as_published() -> None:
    planes, columns, signs = FixedEncoding(dim=400, bits=5, projected=8, repetitions=20)._planes
    # One column and one sign per coordinate, alike often; hyperplanes standard normal, other ones in every repetition.
    assert set(columns.reshape(-1)) == set(range(8))
    assert np.abs(np.bincount(columns.reshape(-1)) / columns.size - 1 / 8).max() < 0.02
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.05
    assert abs(planes.mean()) < 0.02
    assert abs(planes.std() - 1) < 0.02
    assert abs(np.corrcoef(planes[:, 0], planes[:, 5])[0, 1]) < 0.2


def test_more_repetitions_are_nearer_to_maxsim_and_sets_of_one_vector_are_met_exactly() -> None:
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(10, 16))
    sets = [topics[rng.integers(10, size=m)] + 0.5 * rng.normal(size=(m, 16)) for m in rng.integers(1, 12, size=120)]
    queries, documents = MultiVectors.of(sets[:20]), MultiVectors.of(sets[20:])
    exact = maxsim(queries, documents).reshape(-1)
    found = []
    for repetitions in (1, 5, 40):
        encoding = FixedEncoding(dim=16, bits=3, projected=8, repetitions=repetitions)
        found.append(np.corrcoef((encoding.sums(queries) @ encoding.averages(documents).T).reshape(-1), exact)[0, 1])
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.9
    # A document of one vector fills every part with it, so that without a sketch nothing is approximate.
    single = MultiVectors.of(list(topics[:, None]))
    encoding = FixedEncoding(dim=16, bits=4, projected=None, repetitions=3)
    product = encoding.sums(queries) @ encoding.averages(single).T / encoding.repetitions
    np.testing.assert_allclose(product, maxsim(queries, single), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def built() -> tuple[MultiVectors, MuveraIndex]:
    rng = np.random.default_rng(2)
    topics = rng.normal(size=(30, 12))
    each = [topics[rng.choice(30, 3)][rng.integers(3, size=m)] + 0.3 * rng.normal(size=(m, 12)) for m in rng.integers(2, 10, size=300)]
    documents = MultiVectors.of(each, [f"d{row}" for row in range(300)])
    encoding = FixedEncoding(dim=12, bits=3, projected=8, repetitions=10)
    attributes = pl.DataFrame({"even": [row % 2 == 0 for row in range(300)]})
    return documents, MuveraIndex(encoding=encoding, storage="float32").build(documents, attributes=attributes, space="tokens")


def test_search_gives_exact_scores_and_with_all_as_candidates_the_exact_ranking(built: tuple[MultiVectors, MuveraIndex]) -> None:
    documents, index = built
    queries = documents.take(np.arange(0, 300, 15))
    exact = maxsim(queries, documents)
    hits = index.search(queries, 10, candidates=300, space="tokens")
    np.testing.assert_allclose(hits.scores, -np.sort(-exact, 1)[:, :10], rtol=1e-5)
    few = index.search(queries, 10, candidates=60)
    np.testing.assert_allclose(few.scores, np.take_along_axis(exact, few.indices.astype(int), 1), rtol=1e-5)
    assert [few[row][0] for row in range(20)] == list(queries.ids)
    recall = np.mean([len(set(few[row]) & set(hits[row])) / 10 for row in range(20)])
    assert recall > 0.85
    only = index.search(queries, 10, candidates=60, where="even")
    assert all(int(name[1:]) % 2 == 0 for row in range(20) for name in only[row])


def test_people_of_several_interests_find_what_is_near_to_any_of_them() -> None:
    rng = np.random.default_rng(5)
    items = MultiVectors.of(list(rng.normal(size=(400, 1, 12))))
    people = MultiVectors.of([rng.normal(size=(4, 12)) for _ in range(10)])
    encoding = FixedEncoding(dim=12, bits=3, projected=None, repetitions=10)
    index = MuveraIndex(encoding=encoding, sum_over="document", storage="float32").build(items)
    hits = index.search(people, 10, candidates=120)
    best = np.stack([(person @ items.vectors.T).max(0) for person in map(people.__getitem__, range(10))])
    np.testing.assert_allclose(hits.scores, np.take_along_axis(best, hits.indices.astype(int), 1), rtol=1e-5)
    assert np.mean([np.isin(np.argsort(-own)[:10], found).mean() for own, found in zip(best, hits.indices, strict=True)]) > 0.85


def test_documents_come_and_go_and_the_files_hold_them(built: tuple[MultiVectors, MuveraIndex], tmp_path: Path) -> None:
    documents, _ = built
    index = MuveraIndex(encoding=FixedEncoding(dim=12, bits=3, projected=8, repetitions=5)).build(documents.take(np.arange(200)), space="tokens")
    index.add(documents.take(np.arange(200, 300)), space="tokens")
    assert index.remove(["d7", "nobody"]) == 1
    queries = documents.take(np.array([7, 250]))
    hits = index.search(queries, 5)
    assert "d7" not in hits[0]
    assert hits[1][0] == "d250"
    index.save(tmp_path / "index")
    again = MuveraIndex.load(tmp_path / "index", encoding=index.encoding, space="tokens")
    np.testing.assert_array_equal(again.search(queries, 5).scores, hits.scores)
    again.remove(["d250"])
    again.save(tmp_path / "index")
    assert MuveraIndex.load(tmp_path / "index").size == 298
    assert len(list((tmp_path / "index").glob("vectors-*"))) == 1
    with pytest.raises(SpaceMismatch, match="another seed"):
        MuveraIndex.load(tmp_path / "index", encoding=FixedEncoding(dim=12, bits=3, projected=8, repetitions=5, seed=1))
    with pytest.raises(SpaceMismatch, match="another encoder"):
        MuveraIndex.load(tmp_path / "index", space="others")
    next((tmp_path / "index").glob("vectors-*")).unlink()
    with pytest.raises(CorruptFile):
        MuveraIndex.load(tmp_path / "index")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "note.txt").write_text("mine")
    with pytest.raises(FileProblem):
        index.save(tmp_path / "else")
    assert (tmp_path / "else" / "note.txt").read_text() == "mine"


def test_bad_use_is_refused_by_name(built: tuple[MultiVectors, MuveraIndex]) -> None:
    documents, index = built
    query = documents.take(np.array([0]))
    with pytest.raises(SpaceMismatch, match="another seed or another parameter"):
        index.search(query, encoding=FixedEncoding(dim=12, bits=3, projected=8, repetitions=10, seed=9))
    with pytest.raises(SpaceMismatch):
        index.search(query, encoding=FixedEncoding(dim=12, bits=4, projected=8, repetitions=10))
    with pytest.raises(SpaceMismatch):
        index.search(query, space="another encoder")
    with pytest.raises(SpaceMismatch):
        index.index.search(index.encoding.sums(query), space=FixedEncoding(dim=12).fingerprint)
    with pytest.raises(BadValue, match="dimensions"):
        index.search(MultiVectors.of([np.ones((2, 5))]))
    with pytest.raises(NotFitted):
        MuveraIndex(encoding=FixedEncoding(dim=12)).search(query)
    big = FixedEncoding(dim=12, bits=20, projected=64, repetitions=40)
    with pytest.raises(TooLarge, match=f"{4 * 300 * big.size:,} bytes"):
        MuveraIndex(encoding=big).build(documents)
    for settings_ in ({"bits": 31}, {"repetitions": 0}, {"projected": 0}, {"dim": 0}):
        with pytest.raises(ConfigError):
            FixedEncoding(**{"dim": 12, **settings_})
