"""Learning a word from pictures with everything else frozen: textual inversion, on which the token methods stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import NAME, Concept
from sartor.draw.parts.tuning import Say, Step, tune
from sartor.errors import BadPrompt, ConfigError


def learn_word(
    prior: Prior, references: References, name: str, start: Tensor, *, prompts: Sequence[str] | Say, steps: int = 400, learning_rate: float = 5e-3,
    batch: int = 8, near: float = 0.0, seed: int = 0, progress: bool = False, **more: Any,
) -> tuple[Concept, dict[str, Any]]:  # fmt: skip
    """The rows of a new word that best explain the pictures, and the record of the run.

    Source: Gal et al., An Image is Worth One Word, ICLR 2023. The denoising error falls on the m new rows alone; no other row, and nothing of the
    network, changes.

    Parameters
    ----------
    start: float [m, d], where the rows start: those of the class word (`tokens.of_word`) in the paper.
    prompts: neutral sentences with the word, such as "a <v>"; one is drawn for every picture.
    near: weight of the mean distance of the rows from their start (Pang et al., Cross Initialization, CVPR 2024, have 1e-5).
    more: further arguments of `tuning.tune`.

    Raises `BadPrompt` for a prompt without the word, `Diverged`, and what `References.of` raises.
    """
    if not NAME.fullmatch(name) or start.ndim != 2 or start.shape[1] != prior.dim:
        raise ConfigError(f"'{name}' with rows {list(start.shape)}", fix=f"write <mug>, and give rows [m, {prior.dim}]")
    if not callable(prompts) and (lacking := [prompt for prompt in prompts if prompt.split().count(name) != 1]):
        raise BadPrompt(f"'{lacking[0]}' has {name} {lacking[0].split().count(name)} times", fix="write it once")
    begun = start.detach().clone().to(prior.device)

    def distance(step: Step) -> Tensor:
        return near * (step.concepts[0].rows - begun).norm(dim=-1).mean()

    terms = [*more.pop("terms", ()), *([distance] if near else [])]
    tuned = tune(
        prior, references, [Concept(name, begun)], prompts, steps=steps, word_rate=learning_rate, terms=terms, batch=batch, seed=seed,
        progress=progress, **more,
    )  # fmt: skip
    moved = float((tuned.concepts[0].rows - begun).norm() / begun.norm().clamp(min=1e-12))
    return tuned.concepts[0], {**tuned.record, "moved": moved}
