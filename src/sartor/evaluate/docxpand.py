"""What a reader of identity documents must do, and how well it does it: find the paper, read its fields, know its design, and know its bearer.

bench = DocXPand(world, people=np.arange(600))
bench.locate(predicted)                 polygon IoU of corners [n, 4, 2] on the test scenes
bench.read(lambda image, quad: ...)     character error rate of any reader, field by field
polygon_iou(a, b), character_error_rate(read, truth)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sartor.data.world.identity import IdentityWorld
from sartor.data.world.identity.papers import Paper, papers
from sartor.data.world.identity.scenes import Scene, insert
from sartor.data.world.identity.templates import PICTURES, TEMPLATES
from sartor.errors import ConfigError, EmptyData


def polygon_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Shared area over joint area of two convex polygons [n, 2], corners in order; 0 where one has none.

    The shared polygon is `a`, cut by each side of `b` (Sutherland and Hodgman, 1974).
    """
    first, second = (points if _area(points) >= 0 else points[::-1] for points in (np.asarray(a, np.float64), np.asarray(b, np.float64)))
    shared = first
    for start, end in zip(second, np.roll(second, -1, 0), strict=True):
        if not len(shared):
            break
        along = end - start
        side = along[0] * (shared[:, 1] - start[1]) - along[1] * (shared[:, 0] - start[0])
        kept = []
        for at in range(len(shared)):
            here, there, s, t = shared[at], shared[(at + 1) % len(shared)], side[at], side[(at + 1) % len(shared)]
            if s >= 0:
                kept.append(here)
            if (s >= 0) != (t >= 0):
                kept.append(here + s / (s - t) * (there - here))
        shared = np.array(kept).reshape(-1, 2)
    common = _area(shared) if len(shared) >= 3 else 0.0
    joint = _area(first) + _area(second) - common
    return float(common / joint) if joint > 0 else 0.0


def character_error_rate(read: str, truth: str, *, name: bool = False) -> float:
    """Levenshtein distance over the length of the truth, blanks at the ends and doubled ones aside; with `name`, case and accents aside, too."""
    a, b = (_normal(text, name) for text in (read, truth))
    if not b:
        raise EmptyData("there is nothing to read", fix="leave empty fields out")
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1] / len(b)


def category(field: str) -> str:
    """Kind of a field: how its reading is compared."""
    if field.startswith("zone"):
        return "zone"
    if field in ("surname", "given", "birth name", "birthplace", "authority", "address"):
        return "name"
    return "date" if field in ("birth", "issued", "expiry") else "code"


@dataclass(frozen=True)
class DocXPand:
    """Documents of generated people by nine designs, each in a scene, four fifths to learn from; designs are balanced in both parts.

    Source: Lerouge et al., DocXPand-25k, 2024. Differs in: papers are drawn without a browser and lie in generated scenes rather than in photographs;
    portraits are of the identity world, so that who is on one is known exactly.

    Parameters
    ----------
    people: their numbers; one document each.
    side: pixels of a scene. plain: scenes without variety. seed: of scenes and split.
    """

    world: IdentityWorld
    people: np.ndarray
    side: int = 64
    plain: bool = False
    seed: int = 0
    papers: list[Paper] = field(init=False, repr=False)
    scenes: list[Scene] = field(init=False, repr=False)
    test: np.ndarray = field(init=False, repr=False)
    """bool [n]."""

    def __post_init__(self) -> None:
        names = list(TEMPLATES)
        if len(self.people) < 5 * len(names):
            raise ConfigError(f"{len(self.people)} people for {len(names)} designs and two parts", fix=f"give {5 * len(names)} or more")
        design = np.arange(len(self.people)) % len(names)
        made: list[Paper | None] = [None] * len(self.people)
        for number, name in enumerate(names):
            rows = np.flatnonzero(design == number)
            for row, paper in zip(rows, papers(self.world, np.asarray(self.people)[rows], name), strict=True):
                made[row] = paper
        done = [paper for paper in made if paper is not None]
        object.__setattr__(self, "papers", done)
        object.__setattr__(self, "scenes", [insert(paper, side=self.side, seed=self.seed, plain=self.plain) for paper in done])
        # Every fifth of each design.
        object.__setattr__(self, "test", (np.arange(len(done)) // len(names)) % 5 == 4)

    @property
    def images(self) -> np.ndarray:
        """uint8 [n, side, side, 3]."""
        return np.stack([scene.image for scene in self.scenes])

    @property
    def corners(self) -> np.ndarray:
        """float64 [n, 4, 2]."""
        return np.stack([scene.corners for scene in self.scenes])

    @property
    def designs(self) -> np.ndarray:
        """Name of each design, [n]."""
        return np.array([paper.template for paper in self.papers])

    def locate(self, corners: np.ndarray) -> np.ndarray:
        """float64 [test documents], IoU of located corners [test documents, 4, 2] with the true ones."""
        truth = self.corners[self.test]
        if corners.shape != truth.shape:
            raise ConfigError(f"corners of shape {list(corners.shape)}", fix=f"give {list(truth.shape)}, of the test documents in order")
        return np.array([polygon_iou(a, b) for a, b in zip(corners, truth, strict=True)])

    def classify(self, designs: np.ndarray) -> float:
        """Share of test documents whose design is named rightly."""
        return float((np.asarray(designs) == self.designs[self.test]).mean())

    def read(self, reader: Callable[[np.ndarray, np.ndarray], str]) -> dict[str, float]:
        """Mean character error rate by kind of field; `reader` gets a paper, uint8 [h, w, 3], and where the field is, float64 [4, 2]."""
        errors: dict[str, list[float]] = {}
        for row in np.flatnonzero(self.test):
            paper = self.papers[row]
            for name, text in paper.fields.items():
                if name not in PICTURES:
                    kind = category(name)
                    errors.setdefault(kind, []).append(character_error_rate(reader(paper.image, paper.quads[name]), text, name=kind == "name"))
        return {kind: float(np.mean(some)) for kind, some in sorted(errors.items())}


def _area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _normal(text: str, name: bool) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    if name:
        text = "".join(one for one in unicodedata.normalize("NFKD", text.upper()) if not unicodedata.combining(one))
    return text
