"""FAIM: distances equal a plain computation, go-betweens count only where there are any, and clothes expire."""

import time

import numpy as np
import pytest

from sartor.data.world.identity import IdentityWorld
from sartor.evaluate.identification import unit
from sartor.recognize.faim import FAIM, distances, pseudo_outfits
from sartor.recognize.parts.feature_graph import jaccard, reciprocal_weights, squared_distances
from sartor.recognize.parts.two_factors import Features

WORLD = IdentityWorld(seed=4)


def _features(n: int, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    whole, who, clothes = (unit(rng.normal(size=(n, 6))) for _ in range(3))
    return Features(whole, who, clothes, rng.random(n).astype(np.float32))


def test_reciprocal_weights_equal_the_definition() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 3))
    apart = squared_distances(vectors, vectors)
    made = reciprocal_weights(apart, k1=6, k2=1)
    order = np.argsort(apart, axis=1, kind="stable")

    def mutual(i: int, k: int) -> set[int]:
        return {int(j) for j in order[i, : k + 1] if i in order[j, : k + 1]}

    for i in range(30):
        members = mutual(i, 6)
        for j in sorted(mutual(i, 6)):
            near = mutual(j, 3)
            if len(near & mutual(i, 6)) > 2 / 3 * len(near):
                members |= near
        weights = np.zeros(30)
        weights[list(members)] = np.exp(-apart[i, list(members)])
        assert np.allclose(made[i], weights / weights.sum(), atol=1e-6)
    overlap = jaccard(made[:3], made[5:9])
    for i in range(3):
        for j in range(4):
            both = np.minimum(made[i], made[5 + j]).sum() / np.maximum(made[i], made[5 + j]).sum()
            assert overlap[i, j] == pytest.approx(1 - both, abs=1e-5)


def test_distances_equal_plain_loops() -> None:
    asked, others = _features(5, 1), _features(15, 2)
    made = distances(asked, others, k1=6, k2=2)
    whole, who, clothes = (np.concatenate(pair) for pair in zip(asked.vectors, others.vectors, strict=True))
    sure = np.concatenate([asked.reliability, others.reliability])
    sure = (sure - sure.min()) / (sure.max() - sure.min())
    weights = [reciprocal_weights(squared_distances(one, one), k1=6, k2=2) for one in (whole, who, clothes)]
    by_all, by_who, by_clothes = weights
    apart = squared_distances(whole, whole)
    apart /= apart.max(1, keepdims=True)
    for i in range(5):
        for j in range(15):
            g, w, total = 5 + j, [], 0.0
            for first, a, second, b in ((by_clothes, clothes, by_who, who), (by_who, who, by_clothes, clothes)):
                between = [m for m in range(20) if first[i, m] > 0 and second[g, m] > 0]
                near = [np.sqrt((a[i] @ a[m] + 1) / 2 * (b[m] @ b[g] + 1) / 2) * sure[m] for m in between]
                w.append(float(np.mean(near)) if near else 0.0)
                total += w[-1] * float(jaccard(first[i : i + 1], second[g : g + 1])[0, 0])
            direct = apart[i, g] + float(jaccard(by_all[i : i + 1], by_all[g : g + 1])[0, 0])
            assert made[i, j] == pytest.approx(direct * (1 - sum(w) / 3) + total / 3, abs=1e-4)


def test_old_clothes_lead_nowhere() -> None:
    asked, others = _features(5, 1), _features(15, 2)
    worn = np.zeros(20, bool)
    # With nobody's clothes, the path over clothes is that of a picture to itself alone.
    none = distances(asked, others, k1=6, k2=1, worn=worn)
    swapped = distances(asked, others._replace(clothes=_features(15, 9).clothes), k1=6, k2=1, worn=worn)
    assert np.allclose(none, swapped, atol=0.05)
    assert not np.allclose(distances(asked, others, k1=6, k2=1), none, atol=0.01)
    # Nor with query expansion: those whose clothes say nothing are nobody's neighbours by clothes, whatever their number.
    some = worn.copy()
    some[:12] = True
    order = np.concatenate([np.arange(7), 7 + np.random.default_rng(3).permutation(8)])
    shuffled = Features(*(part[order] for part in others))
    made = distances(asked, others, k1=6, k2=3, worn=some)
    assert np.allclose(distances(asked, shuffled, k1=6, k2=3, worn=some), made[:, order], atol=1e-4)


def test_it_enrols_pictures_and_says_when_outfits_were_guessed() -> None:
    shots = WORLD.shots(np.arange(30), each=4, days=30)
    images = WORLD.render(shots)
    model = FAIM(steps=6, dim=16)
    model.fit_pictures(images, shots.person, outfits=shots.outfit_id)
    assert not model.pseudo_outfits_
    states = {str(who): model.enrol(images[shots.person == who]) for who in range(6)}
    assert states["0"]["whole"].shape == (4, 16)
    assert states["0"].nbytes < 4 * 400
    scores = model.compare(images[:8], states)
    assert scores.shape == (8, 6)
    assert (scores[:4].argmax(1) == 0).all()
    assert abs(time.time() - states["0"]["taken"][0]) < 600
    assert len(model.withdraw(images[:1], states["0"])["taken"]) == 3
    assert model.recognize(images[:2], {"ana": None})[0][0][0] is None
    guessing = FAIM(steps=2, dim=16)
    with pytest.warns(UserWarning, match="clustering"):
        guessing.fit_pictures(images, shots.person)
    assert guessing.pseudo_outfits_
    guessed = pseudo_outfits(images, shots.person)
    assert all(len(set(shots.person[guessed == one])) == 1 for one in np.unique(guessed))
