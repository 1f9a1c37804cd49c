"""A causal language model with its tokenizer: what the writers share, and a folder that transformers opens as well."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, FileProblem, TooLarge
from sartor.write.parts.causal_lm import CausalLM, from_llama_config, llama_config
from sartor.write.parts.decoding import Generated, Sampling, generate, stream
from sartor.write.parts.tokenizer import END, PAD, Tokenizer

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"


class LanguageModel:
    """A `CausalLM` and its `Tokenizer`.

        model = LanguageModel.load("folder")
        model.write([[{"role": "user", "content": "hello"}]])[0]

    `save` writes what transformers, peft and Llama's servers read: `AutoModelForCausalLM.from_pretrained(folder)`.
    """

    def __init__(self, network: CausalLM, tokenizer: Tokenizer) -> None:
        if network.config.vocabulary != len(tokenizer):
            what = f"the model has {network.config.vocabulary} tokens, the tokenizer {len(tokenizer)}"
            raise ConfigError(what, fix="use the tokenizer that the model was trained with")
        self.network, self.tokenizer = network, tokenizer

    @property
    def fingerprint(self) -> str:
        """32 hex digits over weights and tokens."""
        digest = hashlib.blake2b(self.tokenizer.to_text().encode(), digest_size=16)
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def room(self, prompt: Sequence[int], sampling: Sampling, prefix: int = 0) -> Sampling:
        """The same sampling with no more tokens than fit behind the prompt; raises `TooLarge` when not one does."""
        left = self.network.config.max_tokens - len(prompt) - prefix
        if left < 1:
            what = f"the prompt has {len(prompt) + prefix} tokens, the model takes {self.network.config.max_tokens} with the answer"
            raise TooLarge(what, fix="shorten the prompt")
        return replace(sampling, max_tokens=min(left, sampling.max_tokens))

    def sampling(self, stop: Sequence[str] = (), **settings: Any) -> Sampling:
        """`Sampling` that ends at the end of a message, and at any of the texts in `stop`."""
        words = [one for one in stop if one]
        ends = (lambda ids: any(one in self.tokenizer.decode(ids) for one in words)) if words else None
        return Sampling(stop=(self.tokenizer.end,), ends=ends, **settings)

    def write(self, conversations: Sequence[Sequence[Mapping[str, str]]], sampling: Sampling | None = None, **more: Any) -> list[str]:
        """The assistant's next message of each conversation of {role, content}; `more` as `decoding.Decoder` takes it."""
        return [self.tokenizer.decode(one.ids) for one in self.generate([self.tokenizer.chat(one) for one in conversations], sampling, **more)]

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling | None = None, **more: Any) -> list[Generated]:
        """Token numbers in, token numbers out; each prompt has the room that it leaves, whatever else is in the batch."""
        if not prompts:
            return []
        sampling, prefix = sampling or self.sampling(), more["past"].length if more.get("past") is not None else 0
        limits = [self.room(one, sampling, prefix).max_tokens for one in prompts]
        return generate(self.network, prompts, sampling, limits=limits, **more)

    def stream(self, messages: Sequence[Mapping[str, str]], sampling: Sampling | None = None, **more: Any) -> Iterator[str]:
        """The next message in pieces; together they are what `write` gives. Half a character waits for its other half."""
        prompt, shown = self.tokenizer.chat(messages), ""
        ids: list[int] = []
        for token in stream(self.network, prompt, self.room(prompt, sampling or self.sampling()), **more):
            ids.append(token)
            text = self.tokenizer.decode(ids)
            if text.startswith(shown) and not text.endswith("\ufffd"):
                yield text[len(shown) :]
                shown = text
        if rest := self.tokenizer.decode(ids)[len(shown) :]:
            yield rest

    @torch.no_grad()
    def log_probs(self, contexts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], *, batch_size: int = 64) -> list[np.ndarray]:
        """Log-probabilities in nats, float32 [tokens], of each continuation's tokens behind its context; both token numbers, contexts not empty."""
        self.network.eval()
        out: list[np.ndarray] = []
        for start in range(0, len(contexts), batch_size):
            pairs = list(zip(contexts[start : start + batch_size], continuations[start : start + batch_size], strict=True))
            if any(not len(context) for context, _ in pairs):
                raise ConfigError("a context has no token", fix="give at least one, e.g. who speaks next")
            longest = max(len(a) + len(b) for a, b in pairs)
            ids = torch.full((len(pairs), longest), self.tokenizer.pad)
            for row, (a, b) in enumerate(pairs):
                ids[row, : len(a) + len(b)] = torch.as_tensor([*a, *b])
            mask = torch.arange(longest)[None] < torch.tensor([len(a) + len(b) for a, b in pairs])[:, None]
            device = self.network.model.embed_tokens.weight.device
            logits = self.network(ids.to(device), mask=mask.to(device)).log_softmax(-1).cpu()
            for row, (a, b) in enumerate(pairs):
                own = logits[row, len(a) - 1 : len(a) + len(b) - 1]
                out.append(own.gather(1, torch.as_tensor(b, dtype=torch.int64)[:, None])[:, 0].numpy())
        return out

    def save(self, folder: str | Path) -> Path:
        """Write the folder, all or nothing; an existing one is replaced only when it holds a model."""
        special = self.tokenizer.special
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": PAD, "chat_template": self.tokenizer.template(),
            "clean_up_tokenization_spaces": False, "model_max_length": self.network.config.max_tokens,
        }  # fmt: skip

        def write(fresh: Path) -> None:
            from safetensors.torch import save

            weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
            facts = llama_config(self.network.config, end=special[END], pad=special[PAD])
            _storage.write_atomically(fresh / WEIGHTS, save(weights, {"format": "pt"}))
            _storage.write_atomically(fresh / TOKENIZER, self.tokenizer.to_text().encode())
            _storage.write_atomically(fresh / "tokenizer_config.json", json.dumps(settings, indent=1).encode())
            _storage.write_atomically(fresh / CONFIG, json.dumps(facts, indent=1).encode())
            fresh.chmod(0o755)
            for file in fresh.iterdir():
                file.chmod(0o644)

        return _storage.write_folder(Path(folder), write, marker=CONFIG)

    @classmethod
    def load(cls, folder: str | Path) -> LanguageModel:
        """The reverse of `save`; raises `FileProblem`, `CorruptFile`, and `ConfigError` for a model of another kind."""
        folder = Path(folder)
        if missing := [name for name in (CONFIG, WEIGHTS, TOKENIZER) if not (folder / name).is_file()]:
            raise FileProblem(f"there is no {missing[0]} here", fix="give the folder that save() wrote", file=folder)
        try:
            config = from_llama_config(json.loads((folder / CONFIG).read_bytes()))
        except (ValueError, KeyError, TypeError) as cause:
            if isinstance(cause, ConfigError):
                raise
            raise CorruptFile("the model's config.json cannot be read", fix="save it again", file=folder / CONFIG) from cause
        tokenizer, network = Tokenizer((folder / TOKENIZER).read_text("utf-8")), CausalLM(config)
        network.load_state_dict(_weights(folder / WEIGHTS, network.state_dict()))
        return cls(network.eval(), tokenizer)


def _weights(file: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a model of these shapes from a safetensors file; raises `CorruptFile`."""
    from safetensors.torch import load

    try:
        found = load(file.read_bytes())
    # The safetensors library raises exceptions of its own.
    except Exception as cause:
        raise CorruptFile("this is not a whole safetensors file", fix="save the model again", file=file) from cause
    shapes, own = ({name: tuple(tensor.shape) for name, tensor in one.items()} for one in (wanted, found))
    if shapes != own:
        differ = sorted(name for name in {*shapes, *own} if shapes.get(name) != own.get(name))
        raise CorruptFile(f"the weights {', '.join(differ[:3])} do not fit config.json", fix="save the model again", file=file)
    return {name: tensor.float() for name, tensor in found.items()}
