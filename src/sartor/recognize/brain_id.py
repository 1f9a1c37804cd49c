"""Features of anatomy that do not depend on how a scan was taken, learned from pictures that no scanner ever made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sartor import _fields
from sartor.data.population import Evidence, Population
from sartor.errors import BadImage, ConfigError, EmptyData, StateMismatch
from sartor.method import Run, State, learned
from sartor.parts.trainer import Trainer, seeded
from sartor.recognize._base import VectorRecognizer
from sartor.recognize.parts.contrast import Contrast
from sartor.recognize.parts.corruption import MILD, SEVERE, corrupted
from sartor.recognize.parts.deformation import Deformation, warped
from sartor.recognize.parts.label_head import dice_loss, fitted_head, numbered, read_out
from sartor.recognize.parts.unet import MapNet
from sartor.recognize.parts.volumes import millimetres, resampled, volumes_of
from sartor.recognize.parts.whitening import whitening

SUBJECTS = 150
"""Of whom synthetic scans say which directions of the pooled features change with the scanner."""


@dataclass(kw_only=True, eq=False)
class BrainID(VectorRecognizer):
    """Brain-ID: one anatomy in many random appearances, and from each of them the same reference scan is to be drawn.

        model.fit_maps(label_maps, references, spacing=1.0)
        model.represent(scans)                                   float32 [n, widths[0], *shape], of any contrast
        head = model.adapt_scans(five_scans, their_label_maps)   a site's own task, one layer
        model.segment(scans, head)
        ana = model.enrol(scans_of_ana)                          and all that other recognizers do

    For scans in pictures or volumes of one body part, of which label maps and one reference scan each are known for some hundred subjects. Each is
    deformed once for all `samples` synthetic scans of it; half of these are mildly corrupted and half severely. It needs labels that share their
    borders with what is to be seen: texture within a label is noise to it. It needs many steps: what is small weighs little in a reference, and inner
    organs are hardly drawn after 1,500 of a small network on generated anatomy; with `segmentation` they come sooner.

    Source: Liu et al., Brain-ID: Learning Contrast-agnostic Anatomical Representations for Brain Imaging, ECCV 2024. Differs from the paper in: no
    photographs, no ex-vivo scans, no flips; the velocity field is integrated (an option there); references are divided by their brightest voxels,
    not by white matter; slopes are per millimetre, the rate falls as a cosine, a layer on features is found by L-BFGS; who it is (features averaged
    over a grid, whitened within subjects over synthetic scans) is our reading of its robustness measure.

    State: of a site `weight` float32 [labels, widths[0]] and `bias` [labels], 8 KB at the published size; of a subject as of all `VectorRecognizer`s.
    A state made by another fitted model is refused. `height` and `width` are not used.
    """

    widths: Sequence[int] = (64, 128, 256, 512, 1024)
    """Feature maps of each level."""
    steps: int = 40_000
    subjects: int = 1
    """Of one batch."""
    samples: int = 4
    """Synthetic scans of each."""
    mild: int = 2
    """Of these, how many are corrupted mildly."""
    shared_deformation: bool = True
    """Whether one subject's samples are deformed alike; otherwise each has its own deformation, and its own target."""
    patch: int = 128
    """Voxels in each direction that are learned from at once."""
    learning_rate: float = 1e-4
    segmentation: float = 0.0
    """Weight of the label maps as a second target, by cross-entropy and Dice: 0 in the paper's main run, 1 in the authors' configuration anat_seg."""
    bfloat16: bool = False
    """Whether the network computes in bfloat16 while it learns: less exact, and faster where the processor has instructions for it."""
    head_steps: int = 100
    cells: int = 8
    """In each direction, over which features are averaged to tell subjects apart."""
    network_: Any = learned(None)
    table_: list[int] = learned()
    """Ids of the labels, rising."""
    spacing_: float = learned(1.0)
    """Millimetres of a voxel."""
    space_: dict[str, np.ndarray] = learned()
    """`mean` and `matrix` of the whitening."""
    head_: dict[str, np.ndarray] = learned()
    """The population's own head, from synthetic scans: what a site without labelled scans gets."""

    # --- learning

    def make_network(self) -> MapNet:
        """Untrained."""
        return MapNet(self.widths, len(self.shape_), 1 + len(self.table_) * (self.segmentation > 0))

    def fit_maps(
        self, labels: np.ndarray, references: np.ndarray, *, spacing: float | Sequence[float] | None, table: Sequence[int] | None = None,
        progress: bool = False,
    ) -> Self:  # fmt: skip
        """Learn from one label map and one reference scan of each subject, [n, h, w] or [n, d, h, w].

        Parameters
        ----------
        spacing: millimetres of a voxel, one number or one for each direction; voxels that are longer in one are made equal first.
        table: ids that there are; all that occur by default.

        Raises `BadValue` for ids that are not in the table, `BadImage`, `EmptyData` for fewer than two subjects, `ConfigError`, `Diverged`.
        """
        _fields.check(self)
        if self.segmentation < 0:
            raise ConfigError(f"segmentation {self.segmentation}", fix="0 or above")
        if not 0 <= self.mild <= self.samples or min(self.samples, self.subjects, self.cells) < 1:
            raise ConfigError(
                f"{self.mild} mild ones of {self.samples} samples of {self.subjects} subjects", fix="mild <= samples, the others above 0"
            )
        labels, references = np.asarray(labels), np.asarray(references, np.float32)
        if labels.shape != references.shape or labels.ndim not in (3, 4):
            raise BadImage(f"label maps {list(labels.shape)}, references {list(references.shape)}", fix="give [n, h, w] or [n, d, h, w] of both")
        if len(labels) < 2:
            raise EmptyData(f"{len(labels)} subjects to learn from", fix="give at least two")
        sizes = millimetres(spacing, labels.ndim - 1)
        if max(sizes) > 1.001 * min(sizes):
            labels = np.stack([resampled(one, sizes, min(sizes), labels=True) for one in labels])
            references = np.stack([resampled(one, sizes, min(sizes)) for one in references])
        self.spacing_, self.shape_ = min(sizes), [int(one) for one in labels.shape[1:]]
        self.table_ = sorted({int(one) for one in (np.unique(labels) if table is None else table)})
        numbers, references = numbered(labels, self.table_), self._normalised(self._shown(references))
        count = int(self.held_out * len(labels))
        held = np.random.default_rng([self.seed, 17]).permutation(len(labels))[: count if count >= 5 else 0]
        seen = np.setdiff1d(np.arange(len(labels)), held)
        with seeded(self.seed):
            self.network_ = self.make_network()
        self._train(torch.from_numpy(numbers[seen]), torch.from_numpy(references[seen, None]), progress)
        self._readings(numbers[seen][:SUBJECTS], numbers[held if held.size else seen][:SUBJECTS], count=int(held.size))
        self._seal()
        return self

    def _fit(self, population: Population, run: Run) -> None:
        (references, labels), spacing = volumes_of(population.frames["images"].lazy().collect(), population.folder, ("path", "labels"))
        self.fit_maps(labels, references, spacing=spacing, progress=run.progress)

    def _learn_all(self, images: np.ndarray, people: np.ndarray, more: Mapping[str, np.ndarray], progress: bool) -> None:
        raise ConfigError("Brain-ID learns from label maps", fix="call fit_maps(labels, references, spacing=)")

    _learn = _learn_all

    def _train(self, labels: Tensor, references: Tensor, progress: bool) -> None:
        network, patch = self.network_, [min(self.patch, side) for side in self.shape_]

        def batches(rng: np.random.Generator) -> Iterator[np.ndarray]:
            for _ in range(self.steps):
                yield rng.choice(len(labels), min(self.subjects, len(labels)), replace=False)

        def loss(rows: np.ndarray) -> Tensor:
            times = np.tile(rows, self.samples)
            grids = Deformation().sample(len(rows if self.shared_deformation else times), self.shape_, patch, self.spacing_)
            if self.shared_deformation:
                grids = grids.repeat(self.samples, *[1] * (grids.dim() - 1))
            images = warped(self._painted(labels[times], references[times]), grids)
            # Samples after one another, each of all subjects: the first ones are the mild ones.
            cut = self.mild * len(rows)
            parts = [corrupted(part, how, self.spacing_) for part, how in ((images[:cut], MILD), (images[cut:], SEVERE)) if len(part)]
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                drawn = network(torch.cat(parts))
            return self._loss(drawn.float(), labels[times], references[times], grids)

        steps = self.steps

        def rate(_: int, step: int) -> float:
            return min(1.0, 0.1 + step / max(20, 0.02 * steps)) * (0.5 + 0.5 * math.cos(math.pi * step / steps))

        Trainer(epochs=1, learning_rate=self.learning_rate, optimizer="adamw", seed=self.seed, schedule=rate).fit(
            network, batches, loss, progress=progress, description="learning anatomy"
        )
        network.eval()

    def _painted(self, labels: Tensor, references: Tensor) -> Tensor:
        """float32 [n, 1, *shape] on a scale to 300: every map in a contrast of its own."""
        contrast = Contrast()
        return contrast.painted(labels, *contrast.sample(len(labels), len(self.table_)))

    def _loss(self, drawn: Tensor, labels: Tensor, references: Tensor, grids: Tensor) -> Tensor:
        """How far what is drawn is from the deformed reference, and its slopes per millimetre from the reference's; then the outlines."""
        target, drawn, scores = warped(references, grids), drawn[:, :1], drawn[:, 1:]
        slopes = [F.l1_loss(drawn.diff(dim=at), target.diff(dim=at)) for at in range(2, drawn.dim())]
        loss = F.l1_loss(drawn, target) + torch.stack(slopes).sum() / self.spacing_
        return loss + self.segmentation * self._outline_loss(scores, labels, grids) if self.segmentation else loss

    def _outline_loss(self, scores: Tensor, labels: Tensor, grids: Tensor) -> Tensor:
        """Cross-entropy and Dice of scores [n, labels, *patch] against the deformed label maps."""
        target = warped(labels[:, None].float(), grids, nearest=True)[:, 0].long()
        flat, truth = scores.movedim(1, -1).flatten(0, -2), target.flatten()
        return F.cross_entropy(flat, truth) + dice_loss(flat.softmax(1), F.one_hot(truth, flat.shape[1]).float())

    def _readings(self, seen: np.ndarray, held: np.ndarray, count: int) -> None:
        """What is read from features: the population's head, which of their directions are the scanner's, and how alike strangers are."""
        scans, who = self._synthetic(seen)
        some = np.unique(np.linspace(0, len(scans) - 1, 20).astype(int))
        self.head_ = fitted_head(self._features(scans[some]), seen[who[some]], len(self.table_), steps=self.head_steps, seed=self.seed)
        self.space_ = whitening(self._pooled(scans), who)
        self.calibrated_on_ = count
        self._calibrate(*self._synthetic(held, seed=1))

    def _synthetic(self, numbers: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """float32 [4 x n, *shape] and which map each shows: undeformed, half mild, half severe, sample after sample."""
        maps = torch.from_numpy(np.tile(numbers, (4, *[1] * (numbers.ndim - 1))))
        blank = torch.zeros(len(maps), 1, *numbers.shape[1:])
        with seeded(self.seed + 31 + seed), torch.no_grad():
            images, cut = self._painted(maps, blank), 2 * len(numbers)
            made = torch.cat([corrupted(images[:cut], MILD, self.spacing_), corrupted(images[cut:], SEVERE, self.spacing_)])
        return made[:, 0].numpy(), np.tile(np.arange(len(numbers)), 4)

    # --- features

    def represent(self, scans: np.ndarray, *, spacing: float | Sequence[float] | None = None) -> np.ndarray:
        """float32 [n, widths[0], *shape] of scans [n, *shape] in any units.

        Parameters
        ----------
        spacing: millimetres of a voxel, for scans of another size than the model learned on; they are brought to its voxels.

        Raises `ConfigError` where such a size is not given, `BadImage` for scans that show nothing or hold no numbers, `BadValue`.
        """
        self.check_fitted()
        return self._features(self._shown(self.brought(scans, spacing)))

    def brought(self, scans: np.ndarray, spacing: float | Sequence[float] | None, *, labels: bool = False) -> np.ndarray:
        """Scans or label maps [n, *any] at the model's own size and voxels; as they are where they have its size and none is given."""
        scans, dims = np.asarray(scans), len(self.shape_)
        if spacing is None and list(scans.shape[1:]) in (self.shape_, [1, *self.shape_], [*self.shape_, 3]):
            return scans
        if scans.ndim != dims + 1:
            raise BadImage(
                f"scans of shape {list(scans.shape)}", fix=f"give [n, {', '.join(map(str, self.shape_))}], or of another size with spacing="
            )
        sizes = millimetres(spacing, dims)
        return np.stack([resampled(one, sizes, self.spacing_, self.shape_, labels=labels) for one in scans])

    def _shown(self, scans: np.ndarray) -> np.ndarray:
        scans = self._checked(scans)
        if (blank := np.flatnonzero(self._blank(scans))).size:
            raise BadImage("this scan shows nothing: it is of one brightness", fix="give another one", image=int(blank[0]))
        return scans

    def _checked(self, images: np.ndarray) -> np.ndarray:
        """float32 [n, *shape]; pictures of three colours become grey."""
        images = np.asarray(images)
        if images.shape[1:] == (*self.shape_, 3):
            images = images.mean(-1)
        if images.shape[1:] == (1, *self.shape_):
            images = images[:, 0]
        if list(images.shape[1:]) != self.shape_ or not np.issubdtype(images.dtype, np.number):
            text = f"scans of shape {list(images.shape)}, {images.dtype}"
            raise BadImage(text, fix=f"the model was fitted on {self.shape_}: use represent(scans, spacing=), or brought()")
        images = images.astype(np.float32)
        if (bad := np.flatnonzero(~np.isfinite(images).all(tuple(range(1, images.ndim))))).size:
            raise BadImage("values that are no numbers", fix="look at this scan", image=int(bad[0]))
        return images

    def _blank(self, images: np.ndarray) -> np.ndarray:
        rest = tuple(range(1, images.ndim))
        return np.asarray(images.max(rest) - images.min(rest) <= 1e-6 * np.maximum(np.abs(images).max(rest), 1e-12))

    @staticmethod
    def _normalised(scans: np.ndarray) -> np.ndarray:
        """From 0 to about 1."""
        rest = tuple(range(1, scans.ndim))
        low = scans.min(rest, keepdims=True)
        return np.asarray((scans - low) / np.maximum(np.quantile(scans - low, 0.999, axis=rest, keepdims=True), 1e-12), np.float32)

    def _features(self, scans: np.ndarray, batch: int = 16) -> np.ndarray:
        with torch.no_grad():
            parts = [
                self.network_.features(torch.from_numpy(self._normalised(scans[at : at + batch])[:, None])) for at in range(0, len(scans), batch)
            ]
        return torch.cat(parts).numpy() if parts else np.zeros((0, self.widths[0], *self.shape_), np.float32)

    def _pooled(self, scans: np.ndarray, batch: int = 16) -> np.ndarray:
        """float32 [n, widths[0] x cells ** dims]: features averaged over a grid, so that it stays known what lies where."""
        pool = F.adaptive_avg_pool2d if len(self.shape_) == 2 else F.adaptive_avg_pool3d
        made = [pool(torch.from_numpy(self._features(scans[at : at + batch])), self.cells).flatten(1) for at in range(0, len(scans), batch)]
        return torch.cat(made).numpy()

    def _encode(self, images: np.ndarray) -> np.ndarray:
        return np.asarray((self._pooled(images) - self.space_["mean"]) @ self.space_["matrix"]) if len(images) else np.zeros((0, 1), np.float32)

    # --- a site's head

    def adapt_scans(
        self, scans: np.ndarray, labels: np.ndarray, state: State | None = None, *, spacing: float | Sequence[float] | None = None
    ) -> State:
        """A site's head from a few of its scans and their label maps [n, *shape]; with `state`, from that one on, by these alone.

        Raises as `represent` does, `BadValue` for ids that are not in the table, `EmptyData`, `StateMismatch`.
        """
        self.check_state(state)
        scans, numbers = self._shown(self.brought(scans, spacing)), numbered(self.brought(labels, spacing, labels=True), self.table_)
        if len(scans) != len(numbers) or not len(scans):
            raise EmptyData(f"{len(scans)} scans and {len(numbers)} label maps", fix="give one label map for each scan, and at least one")
        before = self._head(state) if state is not None else None
        arrays = fitted_head(self._features(scans), numbers, len(self.table_), start=before, steps=self.head_steps, seed=self.seed)
        return self.make_state(arrays, before=state, examples=len(scans))

    def segment(self, scans: np.ndarray, state: State | None = None, *, spacing: float | Sequence[float] | None = None) -> np.ndarray:
        """int64 [n, *shape], the likeliest label id at each voxel, by a site's head or, without one, by the population's."""
        self.check_state(state)
        head = self._head(state) if state is not None else self.head_
        found = read_out(self._features(self._shown(self.brought(scans, spacing))), head)
        return np.asarray(np.array(self.table_, np.int64)[found])

    def _head(self, state: State) -> Mapping[str, np.ndarray]:
        if "weight" not in state.arrays:
            raise StateMismatch("this is the state of a subject", fix="give a site's, from adapt_scans")
        return state.arrays

    def _centres(self, states: Sequence[State]) -> np.ndarray:
        if any("sum" not in one.arrays for one in states):
            raise StateMismatch("this is the state of a site", fix="give subjects', from enrol")
        return super()._centres(states)

    def _adapted(self, evidence: Evidence, folder: Path | None, state: State | None) -> State:
        """A site's head from evidence whose images have `labels`, files of label maps; of other evidence, who it is."""
        self.check_state(state)
        frame = evidence.frames["images"]
        columns = [name for name in ("path", "labels") if name in frame.columns]
        found, _ = volumes_of(frame, folder, columns, to=self.spacing_, shape=self.shape_)
        return self.adapt_scans(found[0], found[1], state) if "labels" in columns else self.enrol(found[0], state)
