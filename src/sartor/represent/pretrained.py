"""Any transformers encoder from a local folder: frozen, fine-tuned or cut, and written back so that transformers reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, FileProblem, MissingExtra
from sartor.parts.pooling import Pooling
from sartor.parts.transformer import Tokens
from sartor.represent.neural import NeuralEncoder

TOGETHER = 32
"""Texts that a processor pads to one length: titles beside long lists of skills would be mostly padding."""
FACTS = "sartor.json"
"""What transformers' own files do not say: pooling, longest text, trained widths."""


class Pretrained(NeuralEncoder):
    """A transformers encoder from a folder; nothing is downloaded.

    Token vectors of the last layer are pooled ("mean" over real tokens, the "last" or the "first" token) and scaled to unit length.

    Parameters
    ----------
    folder: config.json, weights and tokenizer, as `save_pretrained` of transformers or `save` here writes them.
    pooling, max_tokens: what the folder says, else "mean" and 256.
    batch_size: texts at once.
    """

    def __init__(
        self, folder: str | Path, *, pooling: Pooling | None = None, batch_size: int = 64, max_tokens: int | None = None, device: str = "cpu",
        name: str = "",
    ) -> None:  # fmt: skip
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise FileProblem(
                "this is not the folder of a transformers model", fix="it holds config.json, the weights and the tokenizer", file=folder
            )
        facts = _facts(folder)
        pooling, max_tokens = pooling or facts.get("pooling", "mean"), max_tokens or facts.get("max_tokens", 256)
        if pooling not in get_args(Pooling):
            raise ConfigError(f"there is no pooling '{pooling}'", fix=f"use one of {', '.join(get_args(Pooling))}")
        try:
            import transformers
        except ImportError as missing:
            raise MissingExtra("transformers", "text") from missing
        self.name = name or folder.name
        self.pooling, self.batch_size, self.max_tokens, self.device = pooling, batch_size, max_tokens, device
        transformers.utils.logging.disable_progress_bar()
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model: Any = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as cause:
            what = f"transformers cannot read this model: {str(cause).splitlines()[0][:200]}"
            raise CorruptFile(what, fix="fetch the whole folder again", file=folder) from cause
        self.network = model.to(device).eval()
        self.dim, self.depth = int(model.config.hidden_size), int(model.config.num_hidden_layers)
        self._set_nested(facts)
        self._digest = _of_files(folder, pooling, max_tokens)

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        if not len(texts):
            return []
        return [np.asarray(ids) for ids in self._tokenizer(list(texts), truncation=True, max_length=self.max_tokens)["input_ids"]]

    def states(self, tokens: Tokens) -> list[Tensor]:
        # Experts are routed for the batch as it stands.
        if len(tokens.lengths) <= TOGETHER or tokens.experts is not None or self.device != "cpu":
            return self._states(tokens)
        parts = tokens.alike(TOGETHER)
        made = [self._states(part) for part, _ in parts]
        back = torch.argsort(torch.cat([places for _, places in parts]))
        return [torch.cat(layer)[back] for layer in zip(*made, strict=True)]

    def _states(self, tokens: Tokens) -> list[Tensor]:
        padding = self._tokenizer.pad_token_id
        ids, mask = tokens.padded(0 if padding is None else padding)
        made = self.network(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        # Encoders that normalise before each layer put a last norm on top; an earlier layer needs the same.
        lasts = [getattr(self.network, name, None) for name in ("final_norm", "norm")]
        post = next((one for one in lasts if isinstance(one, nn.Module)), None)
        earlier = [state if post is None else post(state) for state in made.hidden_states[:-1]]
        return [state[mask] for state in (*earlier, made.last_hidden_state)]

    def save(self, folder: str | Path) -> Path:
        """A folder that `Pretrained` and transformers' own `from_pretrained` read, replaced whole."""

        def write(fresh: Path) -> None:
            self.network.save_pretrained(fresh)  # type: ignore[operator]
            self._tokenizer.save_pretrained(fresh)
            facts = {"pooling": self.pooling, "max_tokens": self.max_tokens, **self._nested()}
            _storage.write_atomically(fresh / FACTS, json.dumps(facts, indent=1).encode())
            fresh.chmod(0o755)

        return _storage.write_folder(Path(folder), write, marker=FACTS)

    def stack(self) -> Sequence[nn.Module]:
        owner, name = self._place()
        return list(getattr(owner, name))

    def _place(self) -> tuple[nn.Module, str]:
        """Where the one list of layers is."""
        found = [(owner, name) for owner in self.network.modules() for name, child in owner.named_children() if _is_stack(child, self.depth)]
        if len(found) != 1:
            raise ConfigError(f"a {type(self.network).__name__} has no single stack of layers", fix="use an encoder of one stack, such as BERT")
        return found[0]

    def _cut(self, layers: int) -> None:
        owner, name = self._place()
        setattr(owner, name, getattr(owner, name)[:layers])
        config: Any = self.network.config
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]

    def _settings(self) -> dict[str, Any]:
        return {"kind": "transformer-2", "pooling": self.pooling, "max_tokens": self.max_tokens, "class": type(self.network).__name__}


def _is_stack(module: nn.Module, depth: int) -> bool:
    return isinstance(module, nn.ModuleList) and len(module) == depth and len({type(one) for one in module}) == 1


def _facts(folder: Path) -> dict[str, Any]:
    if not (folder / FACTS).is_file():
        return {}
    try:
        return dict(json.loads((folder / FACTS).read_bytes()))
    except (ValueError, TypeError) as cause:
        raise CorruptFile("the encoder's facts cannot be read", fix="save it again", file=folder / FACTS) from cause


def _of_files(folder: Path, pooling: str, max_tokens: int) -> str:
    digest = hashlib.blake2b(f"transformer-1:{pooling}:{max_tokens}".encode(), digest_size=16)
    for file in sorted(folder.glob("*")):
        if file.name in ("config.json", "tokenizer.json", "vocab.txt") or file.suffix in (".safetensors", ".bin"):
            digest.update(file.name.encode())
            with file.open("rb") as opened:
                while block := opened.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()
