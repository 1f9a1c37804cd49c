"""Telling people apart, learned from raw clips without a label: match people between two frames, and trust only the safe matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sartor import _fields
from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.method import learned
from sartor.parts.trainer import Trainer, seeded
from sartor.recognize._base import VectorRecognizer
from sartor.recognize.parts.images import checked, tensor, varied
from sartor.recognize.parts.networks import IdentityNet, encode
from sartor.recognize.parts.trainer import warm_cosine

OVERLAP = 0.9
"""Of two boxes of one frame, intersection over union: above it they are one person found twice."""


def matched(similarity: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and reliability float64 of the one-to-one pairs with the largest total similarity, of [m, n] cosines.

    A pair is as reliable as it is certain both ways: the softmax over its row times that over its column, at this temperature. Raises `BadValue` for
    similarities that are no numbers.
    """
    if not np.isfinite(similarity).all():
        raise BadValue("a similarity is no number", fix="lower the learning rate")
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    scaled = similarity / temperature
    along = np.exp(scaled - scaled.max(1, keepdims=True))
    across = np.exp(scaled - scaled.max(0, keepdims=True))
    both = (along / along.sum(1, keepdims=True)) * (across / across.sum(0, keepdims=True))
    return rows, columns, both[rows, columns]


@dataclass(kw_only=True, eq=False)
class ISR(VectorRecognizer):
    """Identity-seeking self-supervised learning: positives are people matched between two frames, weighted by how certain the match is.

    For sites with video and nobody to label it. A person's other frames show what changes without being somebody else, which no augmentation of one
    picture can. It adds little where people look alike in both frames. Give `camera`, where it is known: across cameras, backdrops tell clips apart,
    and that is what is learned first. On generated clips, 250 steps, mAP in an unseen place is 0.40, against 0.23 of augmented views, 0.35 of
    unweighted and 0.38 of known pairs (claims/recognize/isr.py); without `camera` 0.16, 0.13, 0.09 and 0.12.

    Source: Dou et al., Identity-Seeking Self-Supervised Representation Learning for Generalizable Person Re-identification, ICCV 2023. The form of
    the reliability and the temperatures are our reading; differs from the paper in: a small convolutional encoder in place of a Swin transformer, no
    momentum encoder, batches of one camera.

    State: as of every `VectorRecognizer`. A site's own encoder comes from `fit_clips(..., go_on=True)` on its clips: the same loss, no label.
    """

    dim: int = 64
    steps: int = 400
    clips: int = 8
    """Of one batch, two frames of each."""
    learning_rate: float = 4e-3
    temperature: float = 0.1
    """Of the contrastive loss."""
    reliability: float | None = 0.1
    """Temperature of the reliability; None trusts every match alike."""
    pairs: Literal["matched", "augmented", "given"] = "matched"
    """Where positives come from: matching; two views of one picture (a baseline); or known people (an upper bound)."""
    network_: Any = learned(None)
    skipped_: dict[str, int] = learned()
    """Frames of fewer than two people, boxes that were merged, clips of one frame."""
    precision_: float = learned(-1.0)
    """Share of the pairs of the last tenth of training that were of one person, where people are known; -1 where not. Nothing is learned from it."""

    def make_network(self) -> IdentityNet:
        """The untrained encoder."""
        return IdentityNet(3, self.dim)

    def fit_clips(
        self, images: np.ndarray, clip: np.ndarray, frame: np.ndarray, *, boxes: np.ndarray | None = None, camera: np.ndarray | None = None,
        people: np.ndarray | None = None, go_on: bool = False, progress: bool = False,
    ) -> Self:  # fmt: skip
        """Learn from crops uint8 [n, h, w, 3] of clips and frames, int [n] each.

        Parameters
        ----------
        boxes: float [n, 4], left, top, right, bottom: crops of one frame that overlap by more than 0.9 are merged.
        camera: of each crop; with it a batch has clips of one camera only, whose people cannot be told apart by what stands behind them.
        people: who it is; only `pairs="given"` learns from it, and the precision of pairs is measured by it.
        go_on: from the encoder as it is, on a site's own clips.

        The threshold is set by crops of different people of one frame, which are certainly strangers to each other. Frames of one person and clips of
        one frame are skipped and counted; raises `EmptyData` where nothing is left, `ConfigError`, `BadImage`, `BadValue`, `Diverged`.
        """
        _fields.check(self)
        images = checked(images)
        if not len(images) == len(clip) == len(frame):
            raise ConfigError(f"{len(clip)} clips and {len(frame)} frames for {len(images)} crops", fix="give one of each for each crop")
        for name, given in (("boxes", boxes), ("people", people), ("camera", camera)):
            if given is not None and len(given) != len(images):
                raise ConfigError(f"{len(given)} {name} for {len(images)} crops", fix="give one for each crop")
        if self.pairs == "given" and people is None:
            raise ConfigError('pairs is "given", but no people are', fix="give people=")
        kept, self.skipped_ = _kept(clip, frame, boxes)
        frames = _frames(clip, frame, kept, self.skipped_)
        if not frames:
            raise EmptyData("no clip has two frames of two people or more", fix=f"give longer clips; skipped: {self.skipped_}")
        self.shape_ = [int(one) for one in images.shape[1:]]
        if not go_on or self.network_ is None:
            with seeded(self.seed):
                self.network_ = self.make_network()
        self._train(images, frames, people, camera, progress)
        self._strangers(images, frames)
        self._seal()
        return self

    def _learn(self, images: np.ndarray, people: np.ndarray, more: Mapping[str, np.ndarray], progress: bool) -> None:
        raise ConfigError("ISR learns from clips", fix="call fit_clips(images, clip, frame)")

    def _encode(self, images: np.ndarray) -> np.ndarray:
        return encode(self.network_, images)

    def _train(
        self, images: np.ndarray, frames: list[list[np.ndarray]], people: np.ndarray | None, camera: np.ndarray | None, progress: bool
    ) -> None:
        network, hits = self.network_, list[float]()
        seen_by = np.zeros(len(frames), np.int64) if camera is None else np.unique([camera[one[0][0]] for one in frames], return_inverse=True)[1]

        def batches(rng: np.random.Generator) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
            for _ in range(self.steps):
                there = np.flatnonzero(seen_by == seen_by[rng.integers(len(frames))])
                chosen = rng.choice(there, min(self.clips, there.size), replace=False)
                yield [tuple(frames[one][at] for at in rng.choice(len(frames[one]), 2, replace=False)) for one in chosen]

        def loss(batch: list[tuple[np.ndarray, np.ndarray]]) -> Tensor:
            if self.pairs == "augmented":
                batch = [(first, first) for first, _ in batch]
            rows = np.concatenate([one for pair in batch for one in pair])
            vectors = F.normalize(network.neck(network(varied(tensor(images[rows])))), dim=1)
            cells = np.cumsum([0, *(len(one) for pair in batch for one in pair)])
            group = np.repeat(np.arange(len(batch)), [len(a) + len(b) for a, b in batch])
            side = np.concatenate([np.repeat([0, 1], [len(a), len(b)]) for a, b in batch])
            left, right, weight = [], [], []
            plain = vectors.detach().numpy().astype(np.float64)
            for number, (a, b) in enumerate(batch):
                start, middle, end = cells[2 * number], cells[2 * number + 1], cells[2 * number + 2]
                if self.pairs == "matched":
                    i, j, trust = matched(plain[start:middle] @ plain[middle:end].T, self.reliability or 0.1)
                else:
                    same = a[:, None] == b[None] if self.pairs == "augmented" else people[a][:, None] == people[b][None]  # type: ignore[index]
                    i, j = np.nonzero(same)
                    trust = np.ones(len(i))
                left.append(start + i)
                right.append(middle + j)
                weight.append(np.ones(len(i)) if self.reliability is None else trust)
                if people is not None and len(i):
                    hits.append(float((people[a[i]] == people[b[j]]).mean()))
            return _contrast(vectors, np.concatenate(left), np.concatenate(right), np.concatenate(weight), group, side, self.temperature)

        Trainer(
            epochs=1, learning_rate=self.learning_rate, weight_decay=5e-4, seed=self.seed, clip_norm=5.0, schedule=warm_cosine(self.steps)
        ).fit(network, batches, loss, progress=progress, description="learning from clips")  # fmt: skip
        self.precision_ = float(np.mean(hits[-max(1, len(hits) // 10) :])) if hits else -1.0

    def _strangers(self, images: np.ndarray, frames: list[list[np.ndarray]]) -> None:
        from sartor.recognize.parts.threshold import Impostors

        rows = [frame for clip in frames for frame in clip][:400]
        scores = []
        for one in rows:
            vectors = self._units(images[one])
            scores.append((vectors @ vectors.T)[~np.eye(len(one), dtype=bool)])
        self.impostors_ = Impostors.sample(np.concatenate(scores), seed=self.seed)


def _contrast(
    vectors: Tensor, left: np.ndarray, right: np.ndarray, weight: np.ndarray, group: np.ndarray, side: np.ndarray, temperature: float
) -> Tensor:
    """Weighted InfoNCE both ways. Negatives of a crop: the others of its own frame, and all crops of other clips; never the frame that it is matched
    to, where it may be standing unmatched."""
    if not left.size:
        return vectors.sum() * 0
    logits = vectors @ vectors.T / temperature
    allowed = (group[:, None] != group[None]) | (side[:, None] == side[None])
    np.fill_diagonal(allowed, False)
    others = logits.masked_fill(~torch.from_numpy(allowed), -torch.inf)
    trust = torch.from_numpy((weight / max(weight.sum(), 1e-12)).astype(np.float32))
    total = vectors.new_zeros(())
    for a, b in ((left, right), (right, left)):
        own = logits[a, b]
        total = total + (trust * (torch.logsumexp(torch.cat([own[:, None], others[a]], 1), 1) - own)).sum()
    return total / 2


def _kept(clip: np.ndarray, frame: np.ndarray, boxes: np.ndarray | None) -> tuple[np.ndarray, dict[str, int]]:
    """bool [n]: crops that are no second box of somebody; and how many were."""
    kept = np.ones(len(clip), bool)
    if boxes is not None:
        for rows in _groups(clip, frame, kept):
            for at, one in enumerate(rows):
                kept[one] = not any(kept[other] and _overlap(boxes[one], boxes[other]) > OVERLAP for other in rows[:at])
    return kept, {"merged boxes": int((~kept).sum()), "frames of fewer than two": 0, "clips of one frame": 0}


def _groups(clip: np.ndarray, frame: np.ndarray, kept: np.ndarray) -> list[np.ndarray]:
    rows = np.flatnonzero(kept)
    rows = rows[np.lexsort((frame[rows], clip[rows]))]
    cuts = np.flatnonzero((np.diff(clip[rows]) != 0) | (np.diff(frame[rows]) != 0)) + 1
    return np.split(rows, cuts)


def _frames(clip: np.ndarray, frame: np.ndarray, kept: np.ndarray, skipped: dict[str, int]) -> list[list[np.ndarray]]:
    """Rows of each frame of each clip that can be matched; what cannot is added to `skipped`."""
    found: dict[Any, list[np.ndarray]] = {}
    for rows in _groups(clip, frame, kept):
        if len(rows) >= 2:
            found.setdefault(clip[rows[0]], []).append(rows)
        else:
            skipped["frames of fewer than two"] += 1
    skipped["clips of one frame"] += sum(len(one) < 2 for one in found.values())
    return [one for one in found.values() if len(one) >= 2]


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or tall <= 0:
        return 0.0
    return float(wide * tall / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * tall))
