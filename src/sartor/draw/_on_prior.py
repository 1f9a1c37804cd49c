"""What stands on a diffusion prior: opened when it is needed, and known again by its fingerprint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from sartor import _fields
from sartor.data.population import Population
from sartor.draw.parts.prior import Prior
from sartor.errors import EmptyData, StateMismatch
from sartor.method import Illustrator, Run, learned


@dataclass(kw_only=True, eq=False)
class OnPrior(Illustrator):
    """Stands on a diffusion prior, which it leaves as it was."""

    prior: str = "shapes"
    """"shapes": the small one that comes with the package; or the folder of a prior or of a Stable Diffusion."""
    sampling_steps: int = 20
    guidance: float | None = None
    """None: what suits the prior."""
    prior_fingerprint_: str = learned("")

    population_frames: ClassVar[tuple[str, ...]] = ()

    def fit(self, population: Population | None = None, *, on: Prior | None = None, **settings: Any) -> Self:
        """Open the prior, and learn from the population what the method learns from others, if anything.

        `on`: a prior that is open already, in place of the one that the settings name.
        """
        self._prior = on if on is not None else open_prior(self.prior)
        self.prior_fingerprint_ = self._prior.fingerprint
        if population is not None:
            return super().fit(population, **settings)
        if self.population_frames:
            raise EmptyData(f"{type(self).__name__} learns from others", fix="give fit a population with images")
        _fields.check(self)
        self._seal()
        return self

    def _fit(self, population: Population, run: Run) -> None:
        """Most methods learn nothing from others."""

    @property
    def bundle(self) -> Prior:
        """The prior, opened when it is needed; raises `StateMismatch` when it is no longer the one that this was fitted on."""
        self.check_fitted()
        found: Prior | None = getattr(self, "_prior", None)
        if found is None:
            found = self._prior = open_prior(self.prior)
        if found.fingerprint != self.prior_fingerprint_:
            raise StateMismatch(f"the prior '{self.prior}' is another than this was fitted on", fix="fit again, or open the prior it was fitted on")
        return found


def open_prior(name: str) -> Prior:
    """ "shapes", or a folder: of a prior that sartor has trained, or of a Stable Diffusion."""
    if name == "shapes":
        return Prior.shapes()
    return Prior.load(name) if (Path(name) / "card.json").is_file() else Prior.from_pretrained(name)
