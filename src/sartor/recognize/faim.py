"""Finding somebody who has changed clothes through a go-between: a picture in the same clothes on which who it is can be seen."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.errors import ConfigError
from sartor.method import State, learned
from sartor.recognize._base import VectorRecognizer
from sartor.recognize.parts.feature_graph import jaccard, reciprocal_weights, squared_distances
from sartor.recognize.parts.two_factors import Features, TwoFactorNet, features, train_two_factors
from sartor.represent.clustering import spherical_kmeans


def distances(queries: Features, gallery: Features, *, k1: int = 30, k2: int = 6, worn: np.ndarray | None = None) -> np.ndarray:
    """float32 [q, g], smaller is more alike: directly, and along paths clothes -> identity and identity -> clothes over all pictures of both sets.

    A path counts as much as its go-betweens are near and reliable: the mean of sqrt(s_clo s_id) rel, s = (cosine + 1) / 2, rel scaled to 0..1 over
    all pictures. Without a go-between its weight is 0. With fewer than k1 pictures, k1 is lowered. `worn`: bool [q + g], whose clothes still say
    something.
    """
    q = len(queries.whole)
    whole, who, clothes = (np.concatenate(pair) for pair in zip(queries.vectors, gallery.vectors, strict=True))
    sure = np.concatenate([queries.reliability, gallery.reliability])
    sure = (sure - sure.min()) / max(float(np.ptp(sure)), 1e-12)
    apart = squared_distances(whole, whole)
    joint = reciprocal_weights(apart, k1=k1, k2=k2)
    same_look = squared_distances(clothes, clothes)
    # Clothes of another day lead nowhere but to the picture itself.
    by_clothes, today = np.eye(len(whole), dtype=np.float32), np.flatnonzero(np.ones(len(whole), bool) if worn is None else worn)
    if today.size > 1:
        by_clothes[np.ix_(today, today)] = reciprocal_weights(same_look[np.ix_(today, today)], k1=k1, k2=k2)
    by_who = reciprocal_weights(squared_distances(who, who), k1=k1, k2=k2)
    near_clothes, near_who = (np.sqrt((one @ one.T + 1) / 2).astype(np.float32) for one in (clothes, who))

    def feasible(first: np.ndarray, first_near: np.ndarray, second: np.ndarray, second_near: np.ndarray) -> np.ndarray:
        a, b = (first[:q] > 0).astype(np.float32), (second[q:] > 0).astype(np.float32)
        count = a @ b.T
        total = (a * first_near[:q] * sure[None]) @ (b * second_near[q:]).T
        return np.asarray(np.where(count > 0, total / np.maximum(count, 1), 0), np.float32)

    by_ci = feasible(by_clothes, near_clothes, by_who, near_who)
    by_ic = feasible(by_who, near_who, by_clothes, near_clothes)
    # The path of three steps has weight 0 in the authors' release.
    direct = apart[:q, q:] / np.maximum(apart[:q].max(1, keepdims=True), 1e-12) + jaccard(joint[:q], joint[q:])
    paths = by_ci * jaccard(by_clothes[:q], by_who[q:]) + by_ic * jaccard(by_who[:q], by_clothes[q:])
    return np.asarray(direct * (1 - (by_ci + by_ic) / 3) + paths / 3, np.float32)


@dataclass(kw_only=True, eq=False)
class FAIM(VectorRecognizer):
    """Intermediary matching: identity and clothes are told apart, and pictures in the same clothes stand in for those that show too little.

    For galleries in which people are seen several times a day, and an identity feature that survives a change of clothes: where it does not
    (generated figures, an encoder of mAP 0.06), paths change nothing. `k1` should be about as many pictures as a person has. Where nobody is seen
    twice in the same clothes, there are no go-betweens and it ranks as re-ranking alone does.

    Source: Zhao et al., Clothes-Changing Person Re-identification with Feasibility-Aware Intermediary Matching, 2024. Differs from the paper in: a
    small convolutional backbone, contrast on the joint feature, the optimiser's schedule is that of `IdentityTrainer`.

    State: of each enrolled picture `whole`, `who` and `clothes` float16 [n, dim], `reliability` float16 [n] and `taken` float64 [n], seconds since
    1970: about 400 bytes a picture. Clothes are used for `clothes_hours` after it was enrolled.
    """

    dim: int = 64
    steps: int = 600
    variants: int = 2
    """Of each feature, drawn with its own variance, in training."""
    adversarial: float = 1.0
    """Weight of the loss that drives clothes out of the identity feature."""
    k1: int = 30
    k2: int = 6
    clothes_hours: float = 24.0
    network_: Any = learned(None)
    pseudo_outfits_: bool = learned(False)
    """Whether outfits were found by clustering, because none were given."""

    def make_network(self) -> TwoFactorNet:
        """The untrained network."""
        return TwoFactorNet(3, self.dim)

    def _learn(self, images: np.ndarray, people: np.ndarray, more: Mapping[str, np.ndarray], progress: bool) -> None:
        outfits = more.get("outfits")
        self.pseudo_outfits_ = outfits is None
        if outfits is None:
            warnings.warn("no outfits are given: they are found by clustering each one's pictures by colour", UserWarning, stacklevel=2)
            outfits = pseudo_outfits(images, people, seed=self.seed)
        self.network_ = train_two_factors(
            images,
            people,
            outfits,
            dim=self.dim,
            steps=self.steps,
            variants=self.variants,
            adversarial=self.adversarial,
            seed=self.seed,
            progress=progress,
        )

    def features(self, images: np.ndarray) -> Features:
        """All features of checked pictures."""
        return features(self.network_, images)

    def _encode(self, images: np.ndarray) -> np.ndarray:
        return self.features(images).whole

    def _enrolled(self, images: np.ndarray, state: State | None) -> dict[str, np.ndarray]:
        made = self.features(images)
        new = {
            "whole": made.whole.astype(np.float16), "who": made.who.astype(np.float16), "clothes": made.clothes.astype(np.float16),
            "reliability": made.reliability.astype(np.float16), "taken": np.full(len(images), time.time()),
        }  # fmt: skip
        return new if state is None else {name: np.concatenate([state[name], one]) for name, one in new.items()}

    def withdraw(self, images: np.ndarray, state: State) -> State:
        """Without the enrolled pictures that are nearest to these, one for each."""
        self.check_state(state)
        vectors = self.vectors(images)
        if len(vectors) >= len(state["taken"]):
            raise ConfigError("no picture would be left", fix="forget the person instead")
        left = np.ones(len(state["taken"]), bool)
        for one in vectors:
            left[np.where(left, state["whole"].astype(np.float32) @ one, -np.inf).argmax()] = False
        return self.make_state({name: array[left] for name, array in state.arrays.items()}, before=state, examples=-len(vectors))

    def _centres(self, states: Sequence[State]) -> np.ndarray:
        means = np.stack([state["whole"].astype(np.float32).mean(0) for state in states])
        return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12), np.float32)

    def _compare(self, images: np.ndarray, states: Sequence[State]) -> np.ndarray:
        queries = self.features(images)
        parts = [np.concatenate([state[name] for state in states]).astype(np.float32) for name in ("whole", "who", "clothes", "reliability")]
        fresh = time.time() - np.concatenate([state["taken"] for state in states]) < 3600 * self.clothes_hours
        worn = np.concatenate([np.ones(len(images), bool), fresh])
        apart = distances(queries, Features(*parts), k1=self.k1, k2=self.k2, worn=worn)
        ends = np.cumsum([len(state["taken"]) for state in states])
        return np.stack([-part.min(1) for part in np.split(apart, ends[:-1], axis=1)], 1)


def pseudo_outfits(images: np.ndarray, people: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """int64 [n], outfits by the colours of six stripes of the middle of each picture: at most three for each person."""
    middle = images[:, :, images.shape[2] // 4 : -(images.shape[2] // 4)].astype(np.float32) / 255
    stripes = np.concatenate([one.mean((1, 2)) for one in np.array_split(middle, 6, axis=1)], 1)
    out, used = np.zeros(len(images), np.int64), 0
    for who in np.unique(people):
        rows = np.flatnonzero(people == who)
        clusters = min(3, max(1, rows.size // 3))
        labels = np.zeros(rows.size, np.int64) if clusters == 1 else spherical_kmeans(stripes[rows] - 0.5, clusters, seed=seed)[0]
        out[rows] = used + labels
        used += clusters
    return out
