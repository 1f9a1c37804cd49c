"""ISR: matches are the best one-to-one ones and as reliable as they are certain; what cannot be matched is skipped and counted."""

from itertools import permutations

import numpy as np
import pytest
import torch

from sartor.data.world.identity import IdentityWorld, clips
from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.recognize.isr import ISR, _contrast, matched

WORLD = IdentityWorld(seed=2)


def test_matches_have_the_largest_total_similarity() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        similarity = rng.normal(size=(4, 5))
        rows, columns, trust = matched(similarity, 0.5)
        best = max(sum(similarity[i, j] for i, j in enumerate(order)) for order in permutations(range(5), 4))
        assert similarity[rows, columns].sum() == pytest.approx(best)
        assert len(set(columns)) == 4
        along, across = (np.exp(similarity / 0.5) / np.exp(similarity / 0.5).sum(axis, keepdims=True) for axis in (1, 0))
        assert np.allclose(trust, (along * across)[rows, columns])
    with pytest.raises(BadValue):
        matched(np.array([[np.nan]]), 0.1)


def test_somebody_who_is_in_one_frame_only_is_hardly_trusted() -> None:
    faces = np.eye(4)
    _, columns, trust = matched(faces[:3] @ np.stack([faces[0], faces[1], faces[3]]).T, 0.1)
    assert columns[:2].tolist() == [0, 1]
    assert trust[:2].min() > 0.99
    assert trust[2] < 0.5


def test_negatives_are_the_own_frame_and_other_clips_never_the_other_frame() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    group, side = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 0, 0, 1, 1])
    left, right, weight = np.array([0, 5]), np.array([3, 6]), np.array([0.2, 0.8])
    loss = _contrast(vectors, left, right, weight, group, side, 0.5)
    total, s = 0.0, (vectors @ vectors.T / 0.5).exp()
    for a, b in ((left, right), (right, left)):
        for w, i, j in zip(weight, a, b, strict=True):
            others = [k for k in range(8) if k != i and (group[k] != group[i] or side[k] == side[i])]
            total += float(-w * torch.log(s[i, j] / (s[i, j] + s[i, others].sum())))
    assert float(loss) == pytest.approx(total / 2, rel=1e-5)


def test_it_learns_without_labels_and_counts_what_it_skips() -> None:
    shown = clips(WORLD, np.arange(60), 12, frames=3)
    # A second box of somebody, a clip of one person, and a clip of one frame.
    rows = np.concatenate([np.arange(len(shown)), [0, 0], np.flatnonzero((shown.clip == 1) & (shown.frame == 0))])
    clip, frame = shown.clip[rows], shown.frame[rows]
    clip[len(shown) + 1], clip[len(shown) + 2 :] = 99, 98
    images, boxes = shown.images[rows], shown.boxes[rows].copy()
    boxes[len(shown) + 2 :] += 100 * np.arange(len(rows) - len(shown) - 2)[:, None]
    usual = ISR(steps=1, dim=16)
    usual.fit_clips(shown.images, shown.clip, shown.frame, boxes=shown.boxes)
    model = ISR(steps=8, clips=4, dim=16)
    model.fit_clips(images, clip, frame, boxes=boxes)
    assert model.skipped_ == {name: count + 1 for name, count in usual.skipped_.items()}
    assert model.precision_ == -1.0
    before = model.vectors(shown.images[:4])
    site = clips(WORLD, np.arange(60, 90), 4, frames=3, domains=(5,))
    model.fit_clips(site.images, site.clip, site.frame, go_on=True, people=site.person)
    assert not np.allclose(before, model.vectors(shown.images[:4]), atol=1e-3)
    assert 0 <= model.precision_ <= 1
    ana = model.enrol(shown.images[:2])
    assert model.recognize(shown.images[:1], {"ana": ana})[0]
    with pytest.raises(EmptyData):
        model.fit_clips(images[:1], clip[:1], frame[:1])
    with pytest.raises(ConfigError):
        model.fit_clips(images, clip[:3], frame)
    with pytest.raises(ConfigError):
        model.fit_pictures(shown.images, shown.person)
    with pytest.raises(ConfigError):
        ISR(pairs="given").fit_clips(images, clip, frame)
