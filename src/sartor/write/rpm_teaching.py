"""How the small reader of RPM learns: people's earlier answers are their history, their later ones what it has to give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor.parts.trainer import Trainer
from sartor.write.rpm_features import Feature
from sartor.write.rpm_memory import Item, Memory
from sartor.write.rpm_reader import EXAMPLE, Prompt, answered, packed
from sartor.write.rpm_reading import Reading

WAYS = 6
"""Of showing what is known of a person; see `_ways`."""
BATCH = 256


@dataclass(frozen=True)
class Teaching:
    """What the reader is to learn from."""

    asked: Sequence[tuple[int, Item]]
    """Later answers, with the number of the person."""
    found: Sequence[Sequence[Feature]]
    """Features of each."""
    labels: bool
    """Whether answers are one of two, or numbers."""

    def run(
        self, network: nn.Module, reading: Reading, memories: Sequence[Memory], *, epochs: int, rate: float, seed: int, progress: bool = False,
        checkpoint: Path | None = None, key: str = "", description: str = "reading",
    ) -> None:  # fmt: skip
        """Train with these memories. Any part may be missing, and cases may come by text: one reader for every way of asking."""
        prompts = [prompt for (who, one), own in zip(self.asked, self.found, strict=True) for prompt in _ways(reading, memories[who], one, own)]
        targets = np.array([one.value for _, one in self.asked], np.float32)

        def batches(drawn: np.random.Generator) -> Iterator[tuple[Any, Tensor]]:
            order = drawn.permutation(targets.size)
            for at in range(0, targets.size, BATCH):
                rows = order[at : at + BATCH]
                # Everything is shown half of the time.
                way = np.where(drawn.random(rows.size) < 0.5, 0, drawn.integers(1, WAYS, rows.size))
                yield packed([prompts[row * WAYS + one] for row, one in zip(rows, way, strict=True)]), torch.from_numpy(targets[rows])

        def loss(batch: tuple[Any, Tensor]) -> Tensor:
            made, wanted = network(*batch[0]), batch[1]
            # The likelihood of the label, or how far off the number is.
            return -torch.log((1 + made * wanted).clamp_min(1e-6) / 2).mean() if self.labels else (made - wanted).abs().mean()

        trainer = Trainer(epochs=epochs, learning_rate=rate, seed=seed, lr_decay=0.95)
        trainer.fit(network, batches, loss, progress=progress, checkpoint=checkpoint, key=key, description=description)


def _ways(reading: Reading, memory: Memory, one: Item, found: Sequence[Feature]) -> list[Prompt]:
    """Everything; the table alone; cases with reasons, without; cases by text; nothing."""
    known = memory if memory.contrast else None
    if known is None:
        return [reading.prompt(None, [], [])] * WAYS
    alike, by_text = (reading.similar(known, one.request, way) for way in (found, []))
    return [
        reading.prompt(known, found, alike), reading.prompt(known, found, []), reading.prompt(known, found, alike, table=False),
        reading.prompt(known, found, alike, table=False, reasons=False), reading.prompt(known, [], by_text, table=False, reasons=False),
        reading.prompt(None, [], []),
    ]  # fmt: skip


def reasoned(memory: Memory, network: nn.Module, reading: Reading, *, labels: bool) -> Memory:
    """With a path for each case: the three factors that say most of it, kept if the answer follows from them alone (self-consistency)."""
    from sartor.write.parts.factors import of_items

    if not memory.contrast:
        return memory.with_paths([(None, "")] * len(memory.items))
    rows, own = reading.table(memory), of_items(memory.factors.labels, memory.features)
    context = reading.prompt(memory, [], []).context
    prompts, paths = [], []
    for at in range(len(memory.items)):
        table = reading.rows(memory, dict.fromkeys(own.get(at, {}), ""))
        most = [int(one) for one in np.argsort(-np.abs(table[:, -1]), kind="stable")[:3] if table[one, -1]]
        paths.append(tuple((int(rows[one]), int(np.sign(table[one, -1]))) for one in most))
        prompts.append(Prompt(table, np.zeros((0, EXAMPLE), np.float32), context).only(most))
    values, wanted = answered(network, prompts), memory.values
    # The label itself, or within a quarter of the scale.
    good = np.sign(values) == np.sign(wanted) if labels else np.abs(values - wanted) <= 0.5
    return memory.with_paths([(path if fits and path else None, "") for path, fits in zip(paths, good, strict=True)])
