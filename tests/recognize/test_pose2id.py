"""Pose2ID: centralising equals a loop, helps where people have neighbours, and is at home in a recognizer."""

import numpy as np
import pytest

from sartor.data.world.identity import IdentityWorld
from sartor.errors import BadValue, ConfigError
from sartor.evaluate.identification import identification_by_vectors, identity_density
from sartor.method import load
from sartor.recognize.nearest_centroid import NearestCentroid
from sartor.recognize.pose2id import Pose2ID, centralised

WORLD = IdentityWorld(seed=4)


def _looped(vectors: np.ndarray, k1: int, k2: int) -> np.ndarray:
    out = vectors.copy()
    near = [[j for _, j in sorted((float(((a - b) ** 2).sum()), j) for j, b in enumerate(vectors) if j != i)] for i, a in enumerate(vectors)]
    for i in range(len(vectors)):
        for j in near[i][:k1]:
            if i in near[j][:k2]:
                out[i] += vectors[j]
    return out


@pytest.mark.parametrize(("k1", "k2"), [(2, 2), (3, 1), (1, 4), (50, 50)])
def test_centralising_equals_a_loop(k1: int, k2: int) -> None:
    vectors = np.random.default_rng(k1).normal(size=(40, 5)).astype(np.float32)
    assert np.allclose(centralised(vectors, k1=k1, k2=k2), _looped(vectors, k1, k2), atol=1e-4)


def test_features_of_one_person_come_together() -> None:
    rng = np.random.default_rng(1)
    who = np.repeat(np.arange(40), 4)
    vectors = (rng.normal(size=(40, 16))[who] + 1.2 * rng.normal(size=(160, 16))).astype(np.float32)
    moved = centralised(vectors)
    assert identity_density(moved, who) < identity_density(vectors, who)
    before, after = (identification_by_vectors(one, one, who, who, junk="none", itself=np.arange(160)).mean_ap for one in (vectors, moved))
    assert after > before


def test_few_equal_and_broken_vectors() -> None:
    two = np.eye(2, dtype=np.float32)
    with pytest.warns(UserWarning, match="neighbours"):
        assert (centralised(two) == two).all()
    same = np.ones((6, 3), np.float32)
    assert (centralised(same) == centralised(same.copy())).all()
    with pytest.raises(BadValue):
        centralised(np.full((4, 2), np.nan))
    with pytest.raises(ConfigError):
        centralised(np.ones((4, 2)), k1=0)


def test_in_a_recognizer_with_a_generator(tmp_path) -> None:  # type: ignore[no-untyped-def]
    shots = WORLD.shots(np.arange(30), each=4, cameras=1, free=0.0, occluded=0.0)
    images, poses = WORLD.render(shots), WORLD.pose_maps(shots)
    model = Pose2ID(base=NearestCentroid(encoder="pixels"), generator_steps=4, eta=0.3)
    model.fit_pictures(images, shots.person, poses=poses, standard=poses[:2], outfits=shots.outfit_id)
    states = {str(who): model.enrol(images[shots.person == who][:2]) for who in range(10)}
    probes, right = images[(shots.person < 10) & (shots.shot == 3)], np.arange(10)
    assert (model.compare(probes, states).argmax(1) == right).mean() > 0.6
    again = load(model.save(tmp_path / "model"))
    assert np.allclose(again.vectors(probes), model.vectors(probes), atol=1e-4)
    plain = Pose2ID(base=NearestCentroid(encoder="pixels")).fit_pictures(images, shots.person)
    assert np.allclose(plain.vectors(probes), plain.base.vectors(probes), atol=1e-6)
    with pytest.raises(ConfigError):
        Pose2ID(base=NearestCentroid(encoder="pixels")).fit_pictures(images, shots.person, standard=poses[:2])
