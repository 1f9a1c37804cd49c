"""Adapting to a few pictures: phases with their own parameters and rates, a budget in steps, through the one training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from sartor.draw.parts.references import References
from sartor.draw.parts.turns import Turns
from sartor.errors import ConfigError
from sartor.parts.trainer import Trainer

CHUNK = 50
"""Steps between two looks at whether everything is still finite."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Phase:
    """Some steps with one objective."""

    steps: int
    parameters: Sequence[tuple[Iterable[nn.Parameter], float]]
    """Groups of what is trained, each with its learning rate; all else stays as it is, bit for bit."""
    loss: Callable[[Tensor], Tensor]
    """From picture numbers int64 [batch] to a scalar; noise and times come from torch's CPU generator, which is seeded."""
    batch: int = 8
    weight_decay: float = 0.0
    clip_norm: float = 0.0


def adapt(
    references: References, phases: Sequence[Phase], *, lock: Turns | None = None, seed: int = 0, progress: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Run the phases one after another, passing on the lock of the prior between steps.

    Returns the record: steps, mean loss of every 50 steps, seconds of clock and of CPU.

    The same seed gives the same result. Raises `Diverged` when a loss or a weight is not finite.
    """
    record: dict[str, Any] = {"steps": [], "losses": [], "pictures": len(references), "seed": seed}
    start, cpu = time.perf_counter(), time.process_time()
    for number, phase in enumerate(phases):
        if phase.steps < 0 or phase.batch < 1:
            raise ConfigError(f"steps {phase.steps}, batch {phase.batch}", fix="steps >= 0, batch >= 1")
        groups = [{"params": list(parameters), "lr": rate} for parameters, rate in phase.parameters]
        if phase.steps == 0:
            continue
        every = nn.ParameterList(parameter for group in groups for parameter in group["params"])  # type: ignore[attr-defined]
        frozen = [parameter for parameter in every if not parameter.requires_grad]
        done = 0

        def batches(rng: np.random.Generator, phase: Phase = phase) -> Iterable[Tensor]:
            nonlocal done
            count = min(CHUNK, phase.steps - done)
            done += count
            for numbers in references.batches(rng, count, phase.batch):
                if lock is not None:
                    lock.pass_on()
                yield numbers

        trainer = Trainer(
            epochs=-(-phase.steps // CHUNK), learning_rate=phase.parameters[0][1], optimizer="adamw", weight_decay=phase.weight_decay,
            clip_norm=phase.clip_norm, seed=seed * 1_000 + number, device=str(references.latents.device),
        )  # fmt: skip
        for parameter in frozen:
            parameter.requires_grad_(True)
        try:
            history = trainer.fit(every, batches, phase.loss, parameters=groups, progress=progress, description="adapting")
        finally:
            # The prior is frozen before and after.
            for parameter in frozen:
                parameter.requires_grad_(False)
        record["steps"].append(phase.steps)
        record["losses"].append([round(loss, 6) for loss in history.losses])
    return {**record, "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
