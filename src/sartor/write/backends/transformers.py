"""Any causal language model of the transformers library as a writer backend: Llama, Qwen, Mistral, Gemma, Phi and the rest."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sartor.errors import BadValue, CorruptFile, FileProblem, MissingExtra
from sartor.write.backends.backend import Message, text_of
from sartor.write.backends.local import LocalWriter, named_adapters
from sartor.write.parts.tokenizer import sound

_ANY = 2**31


def transformers_writer(
    folder: str | Path, *, device: str = "cpu", dtype: str = "auto", adapters: Mapping[str, str | Path] | None = None
) -> LocalWriter:  # fmt: skip
    """Open a folder that `save_pretrained` wrote, model and tokenizer. Nothing is downloaded, and no code from the folder is run.

    Parameters
    ----------
    folder: with config.json, weights as safetensors and the tokenizer's files. The tokenizer's chat template is used where there is one; else
        a conversation is written as lines of "role: content".
    device, dtype: as torch names them; "auto" is what the weights were saved as.
    adapters: folders of LoRA adapters that peft wrote, by name; each row of a batch may have its own.

    Raises `FileProblem`, `CorruptFile`, `MissingExtra`, and `ConfigError` for an adapter of another model.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise FileProblem("there is no model of the transformers library", fix="name a folder with config.json and model.safetensors", folder=folder)
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as missing:
        raise MissingExtra("transformers", "text") from missing
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=dtype)
    # Whatever the library finds wrong with a folder: a missing file, a model that is no causal one, truncated weights.
    except Exception as cause:
        raise CorruptFile("this model does not open", fix="save model and tokenizer again with save_pretrained", folder=folder) from cause
    model.to(device).eval()
    own = named_adapters(model, adapters or {})
    return LocalWriter(f"transformers:{folder}", _Network(model), TransformersWords(tokenizer, model.config), adapters=own)


class _Past(NamedTuple):
    cache: Any
    mask: Tensor

    def rows(self, rows: Tensor) -> _Past:
        self.cache.batch_select_indices(rows.to(self.mask.device))
        return _Past(self.cache, self.mask[rows])


class _Output(NamedTuple):
    hidden: Tensor
    past: _Past


class _Network:
    """The model with the face of `CausalLM`; its "hidden states" are the logits, since models differ in how they get from one to the other."""

    def __init__(self, model: Any) -> None:
        self.model = model
        known = inspect.signature(model.forward).parameters
        self._positions, self._keep = "position_ids" in known, "logits_to_keep" in known

    def parameters(self) -> Any:
        return self.model.parameters()

    @torch.no_grad()
    def run(self, ids: Tensor, *, mask: Tensor | None = None, past: _Past | None = None) -> _Output:
        own = mask if mask is not None else torch.ones_like(ids, dtype=torch.bool)
        every = own if past is None else torch.cat([past.mask, own], 1)
        more: dict[str, Any] = {"past_key_values": past.cache if past is not None else None}
        if self._positions:
            more["position_ids"] = (every.long().cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        if self._keep:
            # Decoding looks at the last position only: a long prompt's logits over a large vocabulary would fill the memory.
            more["logits_to_keep"] = 1
        out = self.model(input_ids=ids, attention_mask=every.long(), use_cache=True, **more)
        return _Output(out.logits, _Past(out.past_key_values, every))

    @torch.no_grad()
    def __call__(self, ids: Tensor) -> Tensor:
        """Logits of every position."""
        return self.model(input_ids=ids, use_cache=False).logits.float()

    def words_out(self, hidden: Tensor) -> Tensor:
        return hidden.float()


class TransformersWords:
    """A tokenizer of the transformers library as `local.Words`."""

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self._tokenizer = tokenizer
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        self.end = frozenset(int(one) for one in (*ends, tokenizer.eos_token_id) if one is not None)
        self.longest = int(getattr(config, "max_position_embeddings", None) or _ANY)
        # Longest first, so that a part of one is not taken for another.
        spelled = {*tokenizer.all_special_tokens, *(str(one) for one in tokenizer.added_tokens_decoder.values() if one.special)}
        self._special = sorted((one for one in spelled if len(one) > 1), key=len, reverse=True)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        said = [{"role": str(one["role"]), "content": self._plain(text_of(one))} for one in messages]
        if not self._tokenizer.chat_template:
            lines = "".join(f"{one['role']}: {one['content']}\n" for one in said)
            return list(self._tokenizer(f"{lines}assistant:").input_ids)
        try:
            text = self._templated(said)
        except Exception as cause:
            # Templates of models without a system role say so by raising.
            try:
                text = self._templated(_without_system(said))
            except Exception:
                raise BadValue("the model's chat template refuses these messages", fix="let user and assistant take turns") from cause
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _templated(self, said: list[dict[str, str]]) -> str:
        return str(self._tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))

    def _plain(self, text: str) -> str:
        """A text in which no special token is spelled: a space goes behind the first character of each."""
        for one in self._special:
            text = text.replace(one, f"{one[0]} {one[1:]}")
        return sound(text)

    def ids(self, text: str) -> list[int]:
        return list(self._tokenizer(self._plain(text), add_special_tokens=False).input_ids)

    def text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


def _without_system(said: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same conversation with the system's words in front of the user's first ones."""
    told = "\n\n".join(one["content"] for one in said if one["role"] in ("system", "developer"))
    rest = [dict(one) for one in said if one["role"] not in ("system", "developer")]
    if rest and told:
        rest[0]["content"] = f"{told}\n\n{rest[0]['content']}"
    return rest
