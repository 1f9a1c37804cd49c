"""LoRA for every room: many persons' adapters on one frozen network, each row of a batch with its own, and files as peft has them.

W x + scale * B (A x), with A [rank, in] and B [out, rank] (Hu et al. 2021). A batch picks its adapters by number and multiplies once per
layer for all of them together (gather, then a batched product), so that 32 persons cost little more than one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, FileProblem, UnknownId

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
Arrays = Mapping[str, np.ndarray]
"""An adapter by itself: `<linear>.A` [rank, in] and `<linear>.B` [out, rank] for each linear layer."""


class LoraBank(nn.Module):
    """Adapters over the linear layers of a network, attached by hooks: the network's modules, names and weights stay as they are.

        bank = LoraBank(network, targets=("q_proj", "v_proj"), rank=8)
        ana, ben = bank.add(), bank.add()
        with bank.use([ana, ben, -1]):          # one number per batch row; -1 is the network alone
            network(ids)

    Parameters
    ----------
    network: any module; its parameters are frozen by whoever trains, e.g. by giving `bank.parameters()` to the trainer.
    targets: last parts of the names of its `nn.Linear`s, or one regular expression for whole names.
    rank: of the adapters.
    alpha: scale is alpha / rank.
    slots: how many adapters there are from the start; all begin as no change at all (B is zero).
    seed: of the untrained A.
    """

    def __init__(
        self, network: nn.Module, *, targets: Sequence[str] | str = ("q_proj", "v_proj"), rank: int = 8, alpha: float = 16.0, slots: int = 0,
        seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if rank < 1 or alpha <= 0 or slots < 0:
            raise ConfigError(f"rank {rank}, alpha {alpha}, slots {slots}", fix="rank >= 1, alpha > 0, slots >= 0")
        self.rank, self.alpha, self.seed = rank, alpha, seed
        self.targets = targets if isinstance(targets, str) else tuple(targets)
        found = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear) and _is_target(name, self.targets)}
        if not found:
            known = sorted({name.rpartition(".")[2] for name, module in network.named_modules() if isinstance(module, nn.Linear)})
            raise ConfigError(f"the network has no linear layer {targets}", fix=f"it has {', '.join(known) or 'none'}")
        self.names = tuple(found)
        # Not submodules: the network does not belong to its adapters.
        self._linears = dict(found)
        # Per thread and task: two requests may be inside at once, each with rows of its own.
        self._now: ContextVar[tuple[Tensor, int | None] | None] = ContextVar("sartor_lora_rows", default=None)
        self._whole: dict[str, Tensor] | None = None
        self.a, self.b = nn.ParameterList(), nn.ParameterList()
        for linear in found.values():
            where = linear.weight
            self.a.append(nn.Parameter(where.new_empty(0, rank, linear.in_features)))
            self.b.append(nn.Parameter(where.new_zeros(0, linear.out_features, rank)))
        self._hooks = [linear.register_forward_hook(self._hook(number)) for number, linear in enumerate(found.values())]
        for _ in range(slots):
            self.add()

    # --- the adapters

    def __len__(self) -> int:
        """How many adapters there are."""
        return int(self.a[0].shape[0])

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / self.rank

    @property
    def adapter_bytes(self) -> int:
        """Of one adapter in float16."""
        return 2 * sum(one[0].numel() if len(self) else one.shape[1] * one.shape[2] for one in (*self.a, *self.b))

    def add(self, arrays: Arrays | None = None) -> int:
        """One more adapter: untrained, or these arrays; its number."""
        if arrays is not None:
            self._check_arrays(arrays)
        number = len(self)
        random = np.random.default_rng([self.seed, number])
        for place, linear in enumerate(self._linears.values()):
            # As nn.Linear and peft begin: uniform, so that A x has a third of the variance of x.
            fresh = torch.from_numpy(random.uniform(-1, 1, (1, self.rank, linear.in_features)) * linear.in_features**-0.5)
            own_a, own_b = self.a[place], self.b[place]
            self.a[place] = nn.Parameter(torch.cat([own_a.detach(), fresh.to(own_a)]))
            self.b[place] = nn.Parameter(torch.cat([own_b.detach(), own_b.new_zeros(1, linear.out_features, self.rank)]))
        if arrays is not None:
            self.put(number, arrays)
        return number

    def put(self, number: int, arrays: Arrays) -> None:
        """Replace an adapter; raises `ConfigError` when the arrays are of another network or rank."""
        self._check(number)
        self._check_arrays(arrays)
        with torch.no_grad():
            for key, one in self._named():
                one[number] = torch.from_numpy(np.array(arrays[key], np.float32)).to(one)

    def _check_arrays(self, arrays: Arrays) -> None:
        wanted = {key: tuple(one.shape[1:]) for key, one in self._named()}
        if wanted != (given := {key: tuple(array.shape) for key, array in arrays.items()}):
            differ = sorted(key for key in {*wanted, *given} if wanted.get(key) != given.get(key))
            what = f"the adapter is of another model: {differ[0]} is {given.get(differ[0], 'missing')}, wanted {wanted.get(differ[0], 'nothing')}"
            raise ConfigError(what, fix="use the model that it was made for")

    def get(self, number: int, dtype: Any = np.float16) -> dict[str, np.ndarray]:
        """An adapter's arrays."""
        self._check(number)
        # numpy knows no bfloat16.
        kept = {key: one[number].detach().cpu() for key, one in self._named()}
        return {key: (one.float() if one.dtype == torch.bfloat16 else one).numpy().astype(dtype) for key, one in kept.items()}

    def fill(self, adapters: Sequence[Arrays]) -> None:
        """Replace all adapters by these, numbered in their order."""
        for one in adapters:
            self._check_arrays(one)
        for place, name in enumerate(self.names):
            for kind, part in (("A", self.a), ("B", self.b)):
                old, key = part[place], f"{name}.{kind}"
                stacked = np.stack([np.asarray(one[key], np.float32) for one in adapters]) if adapters else np.empty((0, *old.shape[1:]), np.float32)
                part[place] = nn.Parameter(torch.from_numpy(stacked).to(old))

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, a, b in zip(self.names, self.a, self.b, strict=True):
            yield f"{name}.A", a
            yield f"{name}.B", b

    def _check(self, number: int) -> None:
        if not 0 <= number < len(self):
            raise UnknownId(f"there are {len(self)} adapters", id=number, fix="use the number that add() gave")

    # --- using them

    @contextmanager
    def use(self, rows: Sequence[int] | Tensor) -> Iterator[None]:
        """While inside, row i of every batch goes through adapter `rows[i]`; -1 is the network alone."""
        numbers = [int(one) for one in rows]
        if strange := [one for one in numbers if not -1 <= one < len(self)]:
            raise UnknownId(f"there are {len(self)} adapters", id=strange[0], fix="use the numbers that add() gave, or -1")
        if self._whole is not None:
            raise ConfigError("an adapter is merged into the network", fix="call unmerge() first")
        token = self._now.set((torch.tensor(numbers, device=self.a[0].device), numbers[0] if len({*numbers}) == 1 else None))
        try:
            yield
        finally:
            self._now.reset(token)

    def _hook(self, place: int) -> Any:
        def change(_module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
            now = self._now.get()
            if now is None or now[1] == -1:
                return out
            index, same = now
            x, a, b = inputs[0], self.a[place], self.b[place]
            if x.shape[0] != index.numel():
                raise ConfigError(f"{index.numel()} adapters for {x.shape[0]} rows", fix="name one adapter per row of the batch")
            if same is not None:
                return out + self.scale * (x @ a[same].T) @ b[same].T
            # Row -1 is the last adapter, and is multiplied by nothing.
            scale = torch.where(index < 0, 0.0, self.scale).to(x.dtype)[:, None, None]
            flat = x.reshape(x.shape[0], -1, x.shape[-1])
            narrow = torch.bmm(flat, a[index].transpose(1, 2)) * scale
            return torch.baddbmm(out.reshape(flat.shape[0], flat.shape[1], -1), narrow, b[index].transpose(1, 2)).view(out.shape)

        return change

    def merge(self, number: int) -> None:
        """Put an adapter into the network's own weights, for one person served alone; `unmerge` puts back exactly what was there."""
        self._check(number)
        if self._whole is not None:
            raise ConfigError("an adapter is merged already", fix="call unmerge() first")
        self._whole = {name: linear.weight.detach().clone() for name, linear in self._linears.items()}
        with torch.no_grad():
            for linear, a, b in zip(self._linears.values(), self.a, self.b, strict=True):
                linear.weight += self.scale * (b[number] @ a[number])

    def unmerge(self) -> None:
        """The reverse of `merge`; nothing when nothing is merged."""
        if self._whole is not None:
            with torch.no_grad():
                for name, linear in self._linears.items():
                    linear.weight.copy_(self._whole[name])
            self._whole = None

    def detach(self) -> None:
        """Take the hooks off the network again."""
        self.unmerge()
        for hook in self._hooks:
            hook.remove()

    # --- files

    def save(self, folder: str | Path, number: int, *, base: str = "") -> Path:
        """Write one adapter as peft's files, which `PeftModel.from_pretrained(model, folder)` reads; `base` is the network's name or folder."""
        ends = sorted({name.rpartition(".")[2] for name in self.names})
        config = {
            "peft_type": "LORA", "task_type": None, "base_model_name_or_path": base or None, "r": self.rank, "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none", "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "use_rslora": False, "use_dora": False,
            "target_modules": self.targets if isinstance(self.targets, str) else ends, "modules_to_save": None,
        }  # fmt: skip
        arrays = {f"{_PREFIX}{key[:-2]}.lora_{key[-1]}.weight": array for key, array in self.get(number, np.float32).items()}

        def write(fresh: Path) -> None:
            from safetensors.numpy import save

            whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            _storage.write_atomically(fresh / WEIGHTS, save(whole, {"format": "pt"}))
            _storage.write_atomically(fresh / CONFIG, json.dumps(config, indent=1).encode())
            fresh.chmod(0o755)

        return _storage.write_folder(Path(folder), write, marker=CONFIG)

    def read(self, folder: str | Path) -> int:
        """Add the adapter of a folder that `save` or peft wrote; its number.

        Raises `FileProblem`, `CorruptFile`, and `ConfigError` when it is for another network, of another rank or scale, or of a kind that is
        more than LoRA (biases, DoRA, ranks by layer).
        """
        config, arrays = read_adapter(folder)
        scale = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
        if config["r"] != self.rank or abs(scale - self.scale) > 1e-9:
            what = f"the adapter has rank {config['r']} and scale {scale:g}, the bank {self.rank} and {self.scale:g}"
            raise ConfigError(what, fix="open a bank of its rank and alpha", file=Path(folder))
        return self.add(arrays)


def read_adapter(folder: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """An adapter as peft wrote it: its adapter_config.json, and its arrays by the names that a `LoraBank` has."""
    from safetensors.numpy import load

    folder = Path(folder)
    if missing := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise FileProblem(f"there is no {missing[0]} here", fix="give the folder of an adapter", file=folder)
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        found = load((folder / WEIGHTS).read_bytes())
        kind, rank, alpha = str(config["peft_type"]), int(config["r"]), float(config["lora_alpha"])
    # The safetensors library raises exceptions of its own.
    except Exception as cause:
        raise CorruptFile("this adapter cannot be read", fix="save it again", file=folder) from cause
    more = [name for name in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "lora_bias") if config.get(name)]
    more += ["bias"] if config.get("bias", "none") != "none" else []
    if kind != "LORA" or more:
        raise ConfigError(f"the adapter is of kind {kind}{' with ' + ', '.join(more) if more else ''}", fix="give a plain LoRA adapter", file=folder)
    arrays = {}
    for name, array in found.items():
        match = re.fullmatch(re.escape(_PREFIX) + r"(.+)\.lora_([AB])(?:\.[^.]+)?\.weight", name)
        if match is None:
            raise ConfigError(f"'{name}' is not a LoRA weight of a linear layer", fix="give a plain LoRA adapter", file=folder)
        arrays[f"{match[1]}.{match[2]}"] = array
    return {**config, "r": rank, "lora_alpha": alpha}, arrays


def _is_target(name: str, targets: Sequence[str] | str) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == one or name.endswith(f".{one}") for one in targets)
