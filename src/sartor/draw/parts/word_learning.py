"""Learning a word from pictures with everything else frozen: textual inversion, on which the token methods stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sartor.draw.parts.fitting import Phase, adapt
from sartor.draw.parts.objectives import denoising, noised
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import NAME, Concept
from sartor.errors import BadPrompt, ConfigError


def learn_word(
    prior: Prior, references: References, name: str, start: Tensor, *, prompts: Sequence[str], steps: int = 400, learning_rate: float = 5e-3,
    batch: int = 8, near: float = 0.0, seed: int = 0, progress: bool = False,
) -> tuple[Concept, dict[str, Any]]:  # fmt: skip
    """The rows of a new word that best explain the pictures, and the record of the run.

    Source: Gal et al., An Image is Worth One Word, ICLR 2023. The denoising error falls on the m new rows alone; no other row, and nothing of the
    network, changes.

    Parameters
    ----------
    start: float [m, d], where the rows start: those of the class word (`tokens.of_word`) in the paper.
    prompts: neutral sentences with the word, such as "a <v>"; one is drawn for every picture.
    near: weight of the mean distance of the rows from their start (Pang et al., Cross Initialization, CVPR 2024, have 1e-5).

    Raises `BadPrompt` for a prompt without the word, `Diverged`, and what `References.of` raises.
    """
    if not NAME.fullmatch(name) or start.ndim != 2 or start.shape[1] != prior.dim:
        raise ConfigError(f"'{name}' with rows {list(start.shape)}", fix=f"write <mug>, and give rows [m, {prior.dim}]")
    if lacking := [prompt for prompt in prompts if prompt.split().count(name) != 1]:
        raise BadPrompt(f"'{lacking[0]}' has {name} {lacking[0].split().count(name)} times", fix="write it once")
    if not prompts:
        raise BadPrompt("there is no prompt", fix=f"give e.g. 'a {name}'")
    begun = start.detach().clone().to(prior.device)
    rows = nn.Parameter(begun.clone())

    def loss(numbers: Tensor) -> Tensor:
        chosen = [prompts[int(one)] for one in torch.randint(len(prompts), (len(numbers),))]
        context = prior.encode(chosen, [Concept(name, rows)])
        masks = None if references.masks is None else references.masks[numbers]
        error = denoising(prior, noised(prior, references.latents[numbers]), context, mask=masks).mean()
        return error + near * (rows - begun).norm(dim=-1).mean() if near else error

    phase = Phase(steps=steps, parameters=[([rows], learning_rate)], loss=loss, batch=batch)
    record = adapt(references, [phase], seed=seed, progress=progress)
    moved = float((rows.detach() - begun).norm() / begun.norm().clamp(min=1e-12))
    return Concept(name, rows.detach().clone()), {**record, "moved": moved}
