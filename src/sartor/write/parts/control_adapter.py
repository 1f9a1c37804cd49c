"""Control tokens for a language model that has none: new rows in its token tables, and LoRA on its attention; all else stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import CorruptFile, FileProblem, MissingExtra
from sartor.parts.lora import LoraBank
from sartor.parts.trainer import Trainer, seeded
from sartor.write.backends.transformers import TransformersWords
from sartor.write.parts.lm_training import Example, Maker
from sartor.write.parts.transformers_network import TransformersNetwork


class ControlledModel:
    """A causal language model of the transformers library with further special tokens.

    Parameters
    ----------
    folder: that `save_pretrained` wrote, model and tokenizer. Nothing is downloaded, and no code from it is run.
    names: the tokens to add.
    rank: of the LoRA on `targets`.
    arrays: what `arrays` gave, for this folder and these tokens.

    Raises `FileProblem`, `CorruptFile`, `MissingExtra`.
    """

    def __init__(
        self, folder: str | Path, names: Sequence[str], *, rank: int = 8, targets: Sequence[str] = ("q_proj", "v_proj"), seed: int = 0,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise FileProblem("there is no model of the transformers library", fix="name a folder with config.json", folder=folder)
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as missing:
            raise MissingExtra("transformers", "text") from missing
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
        # Whatever the library finds wrong with a folder.
        except Exception as cause:
            raise CorruptFile("this model does not open", fix="save model and tokenizer again with save_pretrained", folder=folder) from cause
        self._old = max(len(tokenizer), model.get_input_embeddings().weight.shape[0])
        tokenizer.add_tokens(list(names), special_tokens=True)
        self._new = torch.tensor(tokenizer.convert_tokens_to_ids(list(names)))
        with seeded(seed):
            model.resize_token_embeddings(max(self._old, len(tokenizer)), mean_resizing=False)
        self.network = TransformersNetwork(model)
        self.words = TransformersWords(tokenizer, model.config)
        self.number: Callable[[str], int] = cast("Any", tokenizer).convert_tokens_to_ids
        self._bank = LoraBank(model, targets=targets, rank=rank, slots=1, seed=seed)
        tables = {"in": model.get_input_embeddings().weight, "out": model.get_output_embeddings().weight}
        self._tables = {name: one for name, one in tables.items() if name == "in" or one is not tables["in"]}
        if arrays is not None:
            self._put(arrays)

    def run(self, ids: Tensor, *, mask: Tensor | None = None, past: Any = None) -> Any:
        """As `CausalLM.run`."""
        with self._bank.use([0] * len(ids)):
            return self.network.run(ids, mask=mask, past=past)

    def words_out(self, hidden: Tensor) -> Tensor:
        return self.network.words_out(hidden)

    def parameters(self) -> Any:
        return self.network.parameters()

    training = False

    def train(self, mode: bool = True) -> ControlledModel:
        """Nothing: whoever decodes switches dropout off and on, and here it is always off."""
        return self

    def eval(self) -> ControlledModel:
        return self

    def learn(self, make: Maker, *, steps: int, batch: int = 8, learning_rate: float = 1e-3, seed: int = 0, progress: bool = False) -> None:
        """Train the new rows and the LoRA on examples; the other rows of the tables get no gradient."""
        hooks = []
        for table in self._tables.values():
            mask = torch.zeros(len(table), 1)
            mask[self._new] = 1
            table.requires_grad_(True)
            hooks.append(table.register_hook(lambda gradient, mask=mask: gradient * mask))
        trained = nn.ParameterList([*self._bank.parameters(), *self._tables.values()])

        def loss(examples: Sequence[Example]) -> Tensor:
            longest = max(one.ids.size for one in examples)
            ids, learn, mask = (torch.zeros(len(examples), longest, dtype=kind) for kind in (torch.int64, torch.bool, torch.bool))
            for row, one in enumerate(examples):
                size = one.ids.size
                ids[row, :size], learn[row, :size], mask[row, :size] = torch.from_numpy(one.ids), torch.from_numpy(one.learn), True
            hidden = self.run(ids, mask=mask).hidden[:, :-1][learn[:, 1:]]
            return F.cross_entropy(self.words_out(hidden), ids[:, 1:][learn[:, 1:]])

        trainer = Trainer(epochs=1, learning_rate=learning_rate, clip_norm=1.0, seed=seed)

        def batches(rng: np.random.Generator) -> Iterator[list[Example]]:
            return ([make(rng) for _ in range(batch)] for _ in range(steps))

        trainer.fit(trained, batches, loss, progress=progress, description="control tokens")
        for hook in hooks:
            hook.remove()
        for table in self._tables.values():
            table.requires_grad_(False)

    def arrays(self) -> dict[str, np.ndarray]:
        """What was learned: rows float32 [tokens, dim] of each table, and the LoRA's factors."""
        rows = {f"rows.{name}": table.detach()[self._new].numpy().copy() for name, table in self._tables.items()}
        return rows | {f"lora.{name}": one for name, one in self._bank.get(0, np.float32).items()}

    def _put(self, arrays: Mapping[str, np.ndarray]) -> None:
        wanted, given = ({name: one.shape for name, one in part.items()} for part in (self.arrays(), arrays))
        if wanted != given:
            raise CorruptFile("these control tokens were learned on another model", fix="use the folder they were learned on, or fit again")
        with torch.no_grad():
            for name, table in self._tables.items():
                table[self._new] = torch.from_numpy(np.asarray(arrays[f"rows.{name}"]))
        self._bank.put(0, {name.removeprefix("lora."): one for name, one in arrays.items() if name.startswith("lora.")})
