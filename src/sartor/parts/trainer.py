"""The one training loop: seeds, early stopping on validation, resume after Ctrl-C, progress with rate, hooks.

A method gives it a network, an iterator of batches and a function from batch to loss; what is special about a method goes into those.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, Diverged, EmptyData
from sartor.progress import Bar, bar

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


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's CPU random numbers from a seed inside, and sums in a fixed order on however many threads; as before again afterwards."""
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
            memory.fill_uninitialized_memory = filled


@dataclass(kw_only=True)
class Trainer:
    """Trains any network.

    Parameters
    ----------
    epochs: the most passes over the batches.
    learning_rate, weight_decay, optimizer: of "adam", "adamw", "adagrad" or "sgd"; `lr_decay` multiplies the rate after every epoch.
    betas: of Adam and AdamW.
    patience: stop after so many validations without a better score; 0 never stops early (the best epoch is still kept).
    validate_every: epochs between validations.
    clip_norm: gradient norm limit; 0 is none.
    seed: of the batches and of torch.
    device: where the network is: "cpu", "cuda", ...
    schedule: factor of the learning rate before each batch, from (epoch, batch), both from 0: warm-up, decay. It must follow from these two.
    hooks: called after every epoch with (epoch, network), epoch from 0: refresh an item matrix, alternate levels, change a temperature.
        What a hook keeps outside the network is not in a checkpoint, so it must follow from the epoch and the network.
    """

    epochs: int = 10
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    optimizer: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    lr_decay: float = 1.0
    patience: int = 0
    validate_every: int = 1
    clip_norm: float = 0.0
    seed: int = 0
    device: str = "cpu"
    schedule: Callable[[int, int], float] | None = None
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
        key: str = "",
        description: str = "training",
    ) -> History:
        """Train in place and return what happened.

        Parameters
        ----------
        validate: a score of the network as it is now, higher is better. With it, the best epoch's weights are put back at the end.
        parameters: what to train (parameters or optimizer groups); all that require gradients by default.
        checkpoint: a folder; progress is left there after every epoch, taken up from there next time, and removed at the end.
        key: what this run is about, e.g. a hash of its data and settings; a checkpoint of another key is refused.

        Raises `Diverged` when a loss or a weight is not finite, `EmptyData` when an epoch has no batch, `ConfigError` when the
        checkpoint belongs to another run, `CorruptFile` when it cannot be read.
        """
        if self.epochs < 0 or self.learning_rate <= 0 or self.validate_every < 1:
            text = f"epochs {self.epochs}, learning_rate {self.learning_rate} and validate_every {self.validate_every}"
            raise ConfigError(text, fix="epochs >= 0, learning_rate > 0, validate_every >= 1")
        trained = list(parameters if parameters is not None else (p for p in network.parameters() if p.requires_grad))
        optimizer = self._optimizer(trained)
        history, waited, best, start = History(), 0, None, 0
        if checkpoint is not None and (checkpoint / _FILE).exists():
            start, waited, best = _resume(checkpoint, network, optimizer, history, self, key)
        stopped = self.patience > 0 and waited >= self.patience
        with bar(description, self.epochs, enabled=progress, unit="epoch") as shown:
            shown.advance(start)
            ticker = _Ticker(shown)
            for epoch in range(start, self.epochs):
                if stopped:
                    break
                with seeded(hash_seed(self.seed, epoch)):
                    history.losses.append(self._epoch(epoch, network, optimizer, batches, loss, ticker))
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
                ticker.end(note)
                if checkpoint is not None:
                    _leave(checkpoint, epoch + 1, waited, best, network, optimizer, history, self, key)
        if best is not None:
            network.load_state_dict(best)
        else:
            history.best_epoch = len(history.losses)
        network.eval()
        if checkpoint is not None:
            (checkpoint / _FILE).unlink(missing_ok=True)
        return history

    def _optimizer(self, trained: list[Any]) -> torch.optim.Optimizer:
        kinds: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adagrad": torch.optim.Adagrad, "sgd": torch.optim.SGD}
        if self.optimizer not in kinds:
            raise ConfigError(f"there is no optimizer '{self.optimizer}'", fix=f"use one of {', '.join(kinds)}")
        # The fused step walks once over each weight instead of once per operation: several times faster on large tables.
        where = self.device.split(":")[0]
        more: dict[str, Any] = {"fused": True} if where == "cpu" or (where == "cuda" and self.optimizer != "adagrad") else {}
        if self.optimizer in ("adam", "adamw"):
            more["betas"] = self.betas
        return kinds[self.optimizer](trained, lr=self.learning_rate, weight_decay=self.weight_decay, **more)

    def _epoch(self, epoch: int, network: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches, loss: Loss, ticker: _Ticker) -> float:
        network.train()
        # Kept on the device: asking for a number after every batch would wait for it.
        total, count = torch.zeros((), device=self.device), 0
        rates = [group["lr"] for group in optimizer.param_groups]
        for number, batch in enumerate(batches(np.random.default_rng([self.seed, epoch]))):
            if self.schedule is not None:
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * self.schedule(epoch, number)
            value = loss(batch)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            if self.clip_norm:
                nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], self.clip_norm)
            optimizer.step()
            total += value.detach()
            count += 1
            ticker.batch()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        if not count:
            raise EmptyData("there is not one batch to train on", fix="give more data, or a smaller minimum length or batch size")
        mean = float(total) / count
        # The loss is of the weights before the last step, so that those after it are looked at as well.
        if not math.isfinite(mean) or not all(bool(torch.isfinite(p).all()) for group in optimizer.param_groups for p in group["params"]):
            raise Diverged(
                f"the loss is {mean} in epoch {epoch + 1}, or a weight is not finite",
                fix=f"try learning_rate={self.learning_rate / 2:g}",
                epoch=epoch + 1,
            )
        return mean


class _Ticker:
    """Moves a bar of epochs inside long epochs too: by batches, once the first epoch has shown how many there are."""

    def __init__(self, shown: Bar) -> None:
        self.shown, self.batches, self.expected, self.done, self.last = shown, 0, 0, 0.0, time.monotonic()

    def batch(self) -> None:
        self.batches += 1
        now = time.monotonic()
        if now - self.last > 0.5:
            self.last = now
            upto = min(0.99, self.batches / self.expected) if self.expected else 0.0
            self.shown.advance(upto - self.done, note=f"batch {self.batches}" + (f" of {self.expected}" if self.expected else ""))
            self.done = upto

    def end(self, note: str) -> None:
        self.shown.advance(1 - self.done, note=note)
        self.batches, self.expected, self.done = 0, self.batches, 0.0


def hash_seed(seed: int, epoch: int) -> int:
    """A torch seed that differs for every epoch, so that a resumed run draws what an uninterrupted one would."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


_FILE = "progress.safetensors"


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _flat(prefix: str, tensors: Mapping[Any, Tensor]) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _leave(
    folder: Path,
    epoch: int,
    waited: int,
    best: dict[str, Tensor] | None,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: History,
    trainer: Trainer,
    key: str,
) -> None:
    """Write all that is needed to go on into one file, so that Ctrl-C in the middle of it leaves the epoch before."""
    arrays = _flat("network", network.state_dict()) | (_flat("best", best) if best is not None else {})
    states = optimizer.state_dict()
    for number, slots in states["state"].items():
        arrays |= _flat(f"optimizer/{number}", {name: torch.as_tensor(value) for name, value in slots.items()})
    rates = [group["lr"] for group in optimizer.param_groups]
    facts = {"epoch": epoch, "waited": waited, "rates": rates, "history": vars(history), "settings": _settings(trainer, key)}
    _storage.write_atomically(folder / _FILE, _storage.to_bytes(arrays, facts))


def _settings(trainer: Trainer, key: str) -> dict[str, Any]:
    """What must be equal for a run to be the same one; more epochs are welcome."""
    own = {name: value for name, value in vars(trainer).items() if name not in ("hooks", "epochs", "schedule")}
    return {**own, "betas": list(trainer.betas), "key": key}


def _resume(
    folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, history: History, trainer: Trainer, key: str
) -> tuple[int, int, dict[str, Tensor] | None]:
    try:
        names = ("epoch", "waited", "rates", "history", "settings")
        arrays, facts = _storage.from_bytes((folder / _FILE).read_bytes(), needs=names)
        epoch, waited, rates, past, settings = (facts[name] for name in names)
    except (ValueError, OSError) as cause:
        raise CorruptFile("the checkpoint cannot be read", fix="remove the folder to start again", file=folder) from cause
    if settings != _settings(trainer, key):
        raise ConfigError("the checkpoint was left by a run with other settings or data", fix="use the same, or another folder", file=folder)
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}}
    slots: dict[int, dict[str, Tensor]] = {}
    for name, array in arrays.items():
        kind, _, rest = name.partition("/")
        if kind == "optimizer":
            number, _, slot = rest.partition("/")
            slots.setdefault(int(number), {})[slot] = torch.from_numpy(array.copy())
        else:
            groups[kind][rest] = torch.from_numpy(array.copy())
    try:
        network.load_state_dict(groups["network"])
        optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        # In the memory order of their parameters, as a run that never stopped has them: sums in another order differ in the last bit.
        for parameter, own in optimizer.state.items():
            own |= {name: torch.empty_like(parameter, dtype=kept.dtype).copy_(kept) for name, kept in own.items() if kept.shape == parameter.shape}
    except (RuntimeError, ValueError) as cause:
        raise ConfigError("the checkpoint is of a network of another shape", fix="use another folder", file=folder) from cause
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    vars(history).update(past)
    return int(epoch), int(waited), groups["best"] or None
