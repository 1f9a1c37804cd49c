"""LaST: rules are asked for by name and agree with brute force, queries without anybody to find are counted, splits do not leak."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sartor.data.world.identity import IdentityWorld
from sartor.errors import BadValue, ConfigError, FileProblem, LeakError
from sartor.evaluate.identification import identification_by_vectors
from sartor.evaluate.last import LaST, Sightings, figures, sightings
from sartor.evaluate.last_archive import pictures, read


def _exam(n: int = 120, seed: int = 0) -> tuple[LaST, np.ndarray]:
    world = IdentityWorld(seed)
    shown = sightings(world.shots(np.arange(n // 8), each=8, domains=(0, 1), days=200, night=0.3))
    vectors = np.random.default_rng(seed).normal(size=(n, 6)) + 0.5 * np.random.default_rng(1).normal(size=(n // 8, 6))[shown.person]
    return LaST.split(shown, seed=seed), vectors


def test_a_split_asks_for_some_of_everybody() -> None:
    exam, _ = _exam()
    assert (np.bincount(exam.query.person) == 2).all()
    assert (np.bincount(exam.gallery.person) == 6).all()
    assert np.sort(np.r_[exam.query.rows, exam.gallery.rows]).tolist() == list(range(120))
    again, _ = _exam()
    assert again.protocol() == exam.protocol()
    assert LaST.split(sightings(IdentityWorld(0).shots(np.arange(15), each=8)), seed=1).protocol() != exam.protocol()


def test_each_rule_leaves_out_the_same_person_in_the_same_column_only() -> None:
    exam, vectors = _exam()
    queries, others = vectors[exam.query.rows], vectors[exam.gallery.rows]
    found = exam.examine(queries, others)
    assert {"none", "camera", "outfit", "place", "season", "by night", "by day"} == set(found)
    scores = queries @ others.T / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(others, axis=1)
    for rule in ("none", "outfit", "season"):
        precisions, excluded = [], 0
        for row in range(len(queries)):
            own = exam.gallery.person == exam.query.person[row]
            junk = own & (getattr(exam.gallery, rule) == getattr(exam.query, rule)[row]) if rule != "none" else np.zeros(len(others), bool)
            hits = own[np.argsort(-scores[row])][~junk[np.argsort(-scores[row])]]
            excluded += not hits.any()
            if hits.any():
                precisions.append(float((np.cumsum(hits) / np.arange(1, hits.size + 1))[hits].mean()))
        assert found[rule].mean_ap == pytest.approx(np.mean(precisions), abs=1e-6)  # type: ignore[index]
        assert found[rule].excluded == excluded  # type: ignore[index]
    by = [found[name] for name in ("by night", "by day")]  # type: ignore[index]
    assert sum(one.mean_ap * one.rows.size for one in by) == pytest.approx(found["none"].mean_ap * found["none"].rows.size)
    assert exam.protocol("none") != exam.protocol("outfit")


def test_a_camera_for_every_picture_is_no_rule_at_all() -> None:
    exam, vectors = _exam()
    codes = LaST(
        Sightings(exam.query.person, exam.query.rows, camera=np.arange(30)),
        Sightings(exam.gallery.person, exam.gallery.rows, camera=30 + np.arange(90)),
    )
    a, b = (codes.identified(vectors[exam.query.rows], vectors[exam.gallery.rows], rule) for rule in ("none", "camera"))  # type: ignore[arg-type]
    assert figures(a) == figures(b)
    plain = identification_by_vectors(vectors[exam.query.rows], vectors[exam.gallery.rows], exam.query.person, exam.gallery.person, junk="none")
    assert a.mean_ap == plain.mean_ap


def test_a_leaderboard_has_a_row_for_each_encoder_and_rule() -> None:
    exam, vectors = _exam()
    table = exam.leaderboard({"own": lambda x: vectors[x], "none": lambda x: np.ones((len(x), 2))}, np.arange(120), rules=("none", "camera"))
    assert table.height == 4
    assert {"encoder", "rule", "rank-1", "rank-5", "rank-10", "rank-20", "mAP", "queries", "excluded"} == set(table.columns)
    assert table["mAP"][0] > table["mAP"][2]


def test_outfits_are_classes_of_their_own() -> None:
    shown = Sightings(np.array(["a", "a", "a", "b", "b"]), np.arange(5), outfit=np.array([1, 2, 1, 1, 1]))
    assert shown.classes().tolist() == [0, 0, 0, 1, 1]
    assert shown.classes(outfits=True).tolist() == [0, 1, 0, 2, 2]
    with pytest.raises(ConfigError, match="outfits"):
        Sightings(np.arange(2), np.arange(2)).classes(outfits=True)


def test_bad_exams_are_named() -> None:
    exam, vectors = _exam()
    bare = LaST(Sightings(np.array(["a", "z"]), np.arange(2)), Sightings(np.array(["a", "b"]), np.arange(2, 4)))
    found = bare.identified(np.eye(2), np.eye(2))
    assert (found.excluded, found.rows.tolist()) == (1, [0])
    with pytest.raises(ConfigError, match="needs to know each picture's camera"):
        bare.identified(np.eye(2), np.eye(2), "camera")
    with pytest.raises(ConfigError, match="no rule"):
        exam.identified(vectors[:30], vectors[30:], "shoes")  # type: ignore[arg-type]
    with pytest.raises(LeakError, match="query and in the gallery"):
        LaST(exam.query, exam.query)
    with pytest.raises(ConfigError, match="values of camera"):
        Sightings(np.arange(3), np.arange(3), camera=np.arange(2))


def test_the_archive_is_read_as_it_is_published(tmp_path: Path) -> None:
    names = {
        "train/000001": ["000001_a_01.jpg", "000001_b_02.jpg"], "train/000002": ["000002_a_01.jpg"], "val/query": ["000010_a.jpg"],
        "val/gallery/000010": ["000010_b.jpg"], "test/query": ["000020_a.jpg", "000021_a.jpg"], "test/gallery/000020": ["000020_b.jpg"],
    }  # fmt: skip
    for number, (where, files) in enumerate(names.items()):
        (tmp_path / where).mkdir(parents=True)
        for name in files:
            Image.new("RGB", (40, 90), (20 * number, 0, 0)).save(tmp_path / where / name)
    archive = read(tmp_path)
    assert archive.train.person.tolist() == [1, 1, 2]
    assert archive.train.classes(outfits=True).tolist() == [0, 1, 2]
    found = archive.test.identified(np.eye(2), np.eye(2)[:1])
    assert (found.excluded, found.mean_ap) == (1, 1.0)
    shown = pictures(archive.files[archive.test.query.rows], height=64, width=32)
    assert shown.shape == (2, 64, 32, 3)
    assert int(shown[0, 0, 0, 0]) == pytest.approx(80, abs=4)
    (tmp_path / "test/query/000001_a_01.jpg").write_bytes(b"")
    with pytest.raises(LeakError, match="in train and in test query"):
        read(tmp_path)
    (tmp_path / "test/query/000001_a_01.jpg").rename(tmp_path / "test/query/ana.jpg")
    with pytest.raises(BadValue, match="does not say who"):
        read(tmp_path)
    with pytest.raises(FileProblem, match="no folder"):
        read(tmp_path / "train")
