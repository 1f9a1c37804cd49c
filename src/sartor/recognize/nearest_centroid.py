"""The baseline of all recognizers: whose mean vector is nearest?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.errors import StateMismatch
from sartor.method import learned
from sartor.recognize._base import VectorRecognizer
from sartor.recognize.parts.encoders import Encoder, open_encoder
from sartor.recognize.parts.whitening import whitening


@dataclass(kw_only=True, eq=False)
class NearestCentroid(VectorRecognizer):
    """One vector per person, compared by cosine: prototypes, over an encoder that is trained here or is somebody else's.

    The strong, simple thing to beat. "small" trains a convolutional network on the population's identities (cross-entropy and contrast); "pixels" is
    no encoder at all; "transformers:FOLDER" and "onnx:FILE" are frozen, and from the population is learned which of their directions tell people
    apart (within-class whitening).

    Source: Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017; the small encoder's recipe: Luo et al., Bag of
    Tricks and a Strong Baseline for Deep Person Re-identification, CVPRW 2019.

    State: see `VectorRecognizer`.
    """

    encoder: str = "small"
    dim: int = 64
    """Of the small encoder's vectors; others have their own."""
    steps: int = 300
    """Of 128 pictures each; 300 take about half a minute for pictures of 64 x 32 on one core. Fewer than 25 identities are learned five times, to set
    the threshold by identities that nothing was learned from."""
    flip: bool = True
    """Whether a mirrored picture shows the same identity: true of people, not of writing."""
    whiten: bool = True
    """Of a frozen encoder."""
    network_: Any = learned(None)
    """Of the small encoder."""
    whitening_: dict[str, np.ndarray] = learned()
    """`mean` [dim] and `matrix` [dim, kept] of a frozen encoder."""
    encoder_fingerprint_: str = learned("")
    """Of the frozen encoder that all this is of."""

    def make_network(self) -> Any:
        """The untrained small encoder."""
        from sartor.recognize.parts.networks import IdentityNet

        return IdentityNet(3, self.dim)

    @property
    def _folds(self) -> int:
        if self.encoder == "small":
            return 4 if self.held_out else 0
        return 24 if self.whiten else 0

    def _learn(self, images: np.ndarray, people: np.ndarray, more: Mapping[str, np.ndarray], progress: bool) -> None:
        if self.encoder == "small":
            from sartor.recognize.parts.trainer import IdentityTrainer

            self.whitening_ = {}
            trainer = IdentityTrainer(dim=self.dim, steps=self.steps, flip=self.flip, seed=self.seed)
            self.network_ = trainer.fit(images, people, progress=progress)
            return
        self.encoder_fingerprint_ = self._frozen.fingerprint
        raw = self._frozen.encode(images)
        if self.whiten:
            self.whitening_ = whitening(raw, people)
        else:
            self.whitening_ = {"mean": raw.mean(0), "matrix": np.eye(raw.shape[1], dtype=np.float32)}

    @property
    def _frozen(self) -> Encoder:
        found: Encoder | None = getattr(self, "_encoder", None)
        if found is None:
            found = self._encoder = open_encoder(self.encoder)
        return found

    def _encode(self, images: np.ndarray) -> np.ndarray:
        if self.encoder == "small":
            from sartor.recognize.parts.networks import encode

            return encode(self.network_, images, flip=self.flip)
        # Models of older versions do not say which it was.
        if self.encoder_fingerprint_ not in ("", self._frozen.fingerprint):
            raise StateMismatch(f"the encoder '{self.encoder}' is another than this was fitted with", fix="fit again, and enrol people anew")
        return np.asarray((self._frozen.encode(images) - self.whitening_["mean"]) @ self.whitening_["matrix"], np.float32)
