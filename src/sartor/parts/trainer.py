"""The one training loop: seeds, early stopping on validation, resume after Ctrl-C, progress with rate, hooks.

A method gives it a network, an iterator of batches and a function from batch to loss; what is special about a method goes into those.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import ConfigError, Diverged
from sartor.progress import bar

Batches = Callable[[np.random.Generator], Iterable[Any]]
"""Makes one epoch's batches; called once per epoch with a generator of its own."""

Loss = Callable[[Any], Tensor]
"""From a batch to a scalar loss."""


@dataclass
class History:
    """What happened, epoch by epoch."""

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    """Validation scores, higher is better; one per validated epoch."""
    best_epoch: int = 0
    """1-based; the epoch whose weights were kept."""


@dataclass(kw_only=True)
class Trainer:
    """Trains any network.

    Parameters
    ----------
    epochs: the most passes over the batches.
    learning_rate, weight_decay, optimizer: of Adam, AdamW or SGD; `lr_decay` multiplies the rate after every epoch.
    patience: stop after so many validations without a better score; 0 never stops early (the best epoch is still kept).
    validate_every: epochs between validations.
    clip_norm: gradient norm limit; 0 is none.
    seed: of the batches and of torch.
    device: "cpu", "cuda", ...
    hooks: called after every epoch with (epoch, network): refresh an item matrix, alternate levels, change a temperature.
    """

    epochs: int = 10
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    optimizer: str = "adam"
    lr_decay: float = 1.0
    patience: int = 0
    validate_every: int = 1
    clip_norm: float = 0.0
    seed: int = 0
    device: str = "cpu"
    hooks: Sequence[Callable[[int, nn.Module], None]] = ()

    def fit(
        self,
        network: nn.Module,
        batches: Batches,
        loss: Loss,
        *,
        validate: Callable[[], float] | None = None,
        parameters: Iterable[Any] | None = None,
        progress: bool = False,
        checkpoint: Path | None = None,
        description: str = "training",
    ) -> History:
        """Train in place and return what happened.

        Parameters
        ----------
        validate: a score of the network as it is now, higher is better. With it, the best epoch's weights are put back at the end.
        parameters: what to train (parameters or optimizer groups); all that require gradients by default.
        checkpoint: a folder; progress is left there after every epoch, taken up from there next time, and removed at the end.
        """
        if self.epochs < 0 or self.learning_rate <= 0:
            raise ConfigError(f"epochs {self.epochs} and learning_rate {self.learning_rate}", fix="epochs >= 0, learning_rate > 0")
        trained = list(parameters if parameters is not None else (p for p in network.parameters() if p.requires_grad))
        optimizer = self._optimizer(trained)
        history, waited, best, start = History(), 0, None, 0
        if checkpoint is not None and (checkpoint / _FACTS).exists():
            start, waited, best = _resume(checkpoint, network, optimizer, history, self)
        stopped = self.patience > 0 and waited >= self.patience
        with bar(description, self.epochs, enabled=progress, unit="epoch") as shown:
            shown.advance(start)
            for epoch in range(start, self.epochs):
                if stopped:
                    break
                torch.manual_seed(hash_seed(self.seed, epoch))
                history.losses.append(self._epoch(epoch, network, optimizer, batches, loss))
                for group in optimizer.param_groups:
                    group["lr"] *= self.lr_decay
                for hook in self.hooks:
                    hook(epoch, network)
                note = f"loss {history.losses[-1]:.4f}"
                if validate is not None and (epoch + 1) % self.validate_every == 0:
                    network.eval()
                    with torch.no_grad():
                        score = float(validate())
                    note += f", validation {score:.4f}"
                    if best is None or score > max(history.scores):
                        best, waited, history.best_epoch = _copy(network), 0, epoch + 1
                    else:
                        waited += 1
                    history.scores.append(score)
                    stopped = self.patience > 0 and waited >= self.patience
                shown.advance(note=note)
                if checkpoint is not None:
                    _leave(checkpoint, epoch + 1, waited, best, network, optimizer, history, self)
        if best is not None:
            network.load_state_dict(best)
        else:
            history.best_epoch = len(history.losses)
        network.eval()
        if checkpoint is not None:
            for name in (_FACTS, _TENSORS):
                (checkpoint / name).unlink(missing_ok=True)
        return history

    def _optimizer(self, trained: list[Any]) -> torch.optim.Optimizer:
        kinds: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        if self.optimizer not in kinds:
            raise ConfigError(f"there is no optimizer '{self.optimizer}'", fix=f"use one of {', '.join(kinds)}")
        return kinds[self.optimizer](trained, lr=self.learning_rate, weight_decay=self.weight_decay)

    def _epoch(self, epoch: int, network: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches, loss: Loss) -> float:
        network.train()
        # Kept on the device: asking for a number after every batch would wait for it.
        total, count = torch.zeros((), device=self.device), 0
        for batch in batches(np.random.default_rng([self.seed, epoch])):
            value = loss(batch)
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            if self.clip_norm:
                nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], self.clip_norm)
            optimizer.step()
            total += value.detach()
            count += 1
        mean = float(total) / max(1, count)
        if not math.isfinite(mean):
            raise Diverged(f"the loss is {mean} in epoch {epoch + 1}", fix=f"try learning_rate={self.learning_rate / 2:g}", epoch=epoch + 1)
        return mean


def hash_seed(seed: int, epoch: int) -> int:
    """A torch seed that differs for every epoch, so that a resumed run draws what an uninterrupted one would."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


_FACTS, _TENSORS = "progress.json", "progress.safetensors"


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _flat(prefix: str, tensors: Mapping[Any, Tensor]) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _leave(
    folder: Path, epoch: int, waited: int, best: dict[str, Tensor] | None, network: nn.Module, optimizer: torch.optim.Optimizer, history: History, trainer: Trainer
) -> None:  # fmt: skip
    """Write all that is needed to go on, as safetensors and JSON; the facts last, so that a half-written folder is not taken up."""
    arrays = _flat("network", network.state_dict()) | (_flat("best", best) if best is not None else {})
    states = optimizer.state_dict()
    for number, slots in states["state"].items():
        arrays |= _flat(f"optimizer/{number}", {name: torch.as_tensor(value) for name, value in slots.items()})
    rates = [group["lr"] for group in optimizer.param_groups]
    _storage.write_atomically(folder / _TENSORS, _storage.to_bytes(arrays, {"epoch": epoch}))
    facts = {"epoch": epoch, "waited": waited, "rates": rates, "history": vars(history), "settings": _settings(trainer)}
    _storage.write_atomically(folder / _FACTS, json.dumps(facts).encode())


def _settings(trainer: Trainer) -> dict[str, Any]:
    return {name: value for name, value in vars(trainer).items() if name not in ("hooks", "epochs")}


def _resume(
    folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, history: History, trainer: Trainer
) -> tuple[int, int, dict[str, Tensor] | None]:
    facts = json.loads((folder / _FACTS).read_text())
    if facts["settings"] != _settings(trainer):
        raise ConfigError("the checkpoint was left by a run with other settings", fix="use the same settings, or another folder", file=folder)
    arrays, meta = _storage.from_bytes((folder / _TENSORS).read_bytes(), needs=("epoch",))
    if meta["epoch"] != facts["epoch"]:
        raise ConfigError("the checkpoint was interrupted while being written", fix="remove the folder to start again", file=folder)
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}}
    slots: dict[int, dict[str, Tensor]] = {}
    for name, array in arrays.items():
        kind, _, rest = name.partition("/")
        if kind == "optimizer":
            number, _, slot = rest.partition("/")
            slots.setdefault(int(number), {})[slot] = torch.from_numpy(array.copy())
        else:
            groups[kind][rest] = torch.from_numpy(array.copy())
    network.load_state_dict(groups["network"])
    states = optimizer.state_dict()
    optimizer.load_state_dict({**states, "state": slots})
    for group, rate in zip(optimizer.param_groups, facts["rates"], strict=True):
        group["lr"] = rate
    vars(history).update(facts["history"])
    return int(facts["epoch"]), int(facts["waited"]), groups["best"] or None
