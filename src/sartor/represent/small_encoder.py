"""A small text encoder of our own: a vocabulary learned from the texts themselves, a transformer, mean pooling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, EmptyData, FileProblem, MissingExtra, NotFitted
from sartor.parts.pooling import Pooling
from sartor.parts.trainer import seeded
from sartor.parts.transformer import TextTransformer, Tokens
from sartor.represent.neural import NeuralEncoder

CONFIG, TOKENIZER, WEIGHTS = "encoder.json", "tokenizer.json", "weights.safetensors"
_SETTINGS = ("vocabulary", "dim", "layers", "heads", "feedforward", "dropout", "max_tokens", "pooling", "seed")


class SmallEncoder(NeuralEncoder):
    """For domains whose words no published model knows, and for machines where a published one is too slow; it has to be trained.

        encoder = SmallEncoder(dim=128, layers=4).learn_words(texts)
        ContrastiveTrainer(epochs=3).fit(encoder, titles, skills)
        encoder.save("titles"); text_encoder("titles")

    Words are byte-level pairs (no text is out of vocabulary), lower case, learned by the `tokenizers` library.

    Parameters
    ----------
    vocabulary: how many word pieces are learned at most; at least 256, the bytes.
    dim, layers, heads, feedforward, dropout: of the transformer (`parts.transformer.TextTransformer`); feedforward 0 is 4 * dim.
    max_tokens: what is longer is cut off.
    pooling: "mean", "first" or "last".
    seed: of the untrained weights.
    """

    def __init__(
        self, *, vocabulary: int = 8_000, dim: int = 128, layers: int = 4, heads: int = 4, feedforward: int = 0, dropout: float = 0.1,
        max_tokens: int = 64, pooling: Pooling = "mean", seed: int = 0, batch_size: int = 128, device: str = "cpu", name: str = "",
    ) -> None:  # fmt: skip
        if vocabulary < 256:
            raise ConfigError(f"a vocabulary of {vocabulary}", fix="use at least 256, one for every byte")
        if pooling not in get_args(Pooling):
            raise ConfigError(f"there is no pooling '{pooling}'", fix=f"use one of {', '.join(get_args(Pooling))}")
        self.vocabulary, self.dim, self.layers, self.heads, self.feedforward, self.dropout = vocabulary, dim, layers, heads, feedforward, dropout
        self.max_tokens, self.pooling, self.seed, self.batch_size, self.device = max_tokens, pooling, seed, batch_size, device
        self.name, self.depth = name or "small encoder", layers
        self._tokenizer: Any = None

    def learn_words(self, texts: Sequence[str]) -> Self:
        """Learn the vocabulary and make an untrained network for it; raises `EmptyData` when no text has content."""
        tokenizers = _tokenizers()
        if not any(text.strip() for text in texts):
            raise EmptyData("there is no text to learn words from", fix="give texts")
        made = tokenizers.Tokenizer(tokenizers.models.BPE())
        made.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.NFKC(), tokenizers.normalizers.Lowercase()])
        made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(vocab_size=self.vocabulary, initial_alphabet=sorted(alphabet), show_progress=False, min_frequency=2)
        made.train_from_iterator(texts, trainer)
        self._open(made)
        return self

    def _open(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        tokenizer.enable_truncation(self.max_tokens)
        with seeded(self.seed):
            self.network = TextTransformer(
                tokenizer.get_vocab_size(), self.dim, layers=self.layers, heads=self.heads, feedforward=self.feedforward or None,
                dropout=self.dropout, max_tokens=self.max_tokens,
            ).to(self.device)  # fmt: skip
        self.network.eval()
        self.changed()

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        if self._tokenizer is None:
            raise NotFitted("the encoder has no vocabulary", fix="call learn_words(texts), or SmallEncoder.load(folder)")
        # White space alone would be a token of its own.
        return [np.array(one.ids, np.int64) for one in self._tokenizer.encode_batch([text.strip() for text in texts])]

    def states(self, tokens: Tokens) -> list[Tensor]:
        return self.network(tokens)

    def stack(self) -> Sequence[nn.Module]:
        return list(self.network.encoder.blocks)  # type: ignore[union-attr, arg-type]

    def _cut(self, layers: int) -> None:
        self.network.cut(layers)  # type: ignore[operator]
        self.layers = layers

    def _settings(self) -> dict[str, Any]:
        self._check_words()
        return {"kind": "small-1", "pooling": self.pooling, "heads": self.heads, "max_tokens": self.max_tokens, "words": self._tokenizer.to_str()}

    def _check_words(self) -> None:
        if self._tokenizer is None:
            raise NotFitted("the encoder has no vocabulary", fix="call learn_words(texts), or SmallEncoder.load(folder)")

    def save(self, folder: str | Path) -> Path:
        self._check_words()

        def write(fresh: Path) -> None:
            settings = {name: getattr(self, name) for name in _SETTINGS}
            facts = {"settings": settings, "fingerprint": self.fingerprint, **self._nested()}
            arrays = {name: tensor.detach().cpu().numpy() for name, tensor in self.network.state_dict().items()}
            _storage.write_atomically(fresh / WEIGHTS, _storage.to_bytes(arrays, {"fingerprint": self.fingerprint}))
            _storage.write_atomically(fresh / TOKENIZER, self._tokenizer.to_str().encode())
            _storage.write_atomically(fresh / CONFIG, json.dumps(facts, indent=1).encode())
            fresh.chmod(0o755)

        return _storage.write_folder(Path(folder), write, marker=CONFIG)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> SmallEncoder:
        """The reverse of `save`; raises `FileProblem`, `CorruptFile`."""
        folder = Path(folder)
        if not (folder / CONFIG).is_file():
            raise FileProblem("there is no saved encoder here", fix="give the folder that save() wrote", file=folder)
        try:
            facts = json.loads((folder / CONFIG).read_bytes())
            arrays, meta = _storage.from_bytes((folder / WEIGHTS).read_bytes(), needs=("fingerprint",))
            made = cls(**{name: facts["settings"][name] for name in _SETTINGS}, device=device, name=folder.name)
            made._open(_tokenizers().Tokenizer.from_str((folder / TOKENIZER).read_text("utf-8")))
            made.network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
            made._set_nested(facts)
        except MissingExtra:
            raise
        # The tokenizers library raises bare exceptions.
        except Exception as cause:
            raise CorruptFile("the saved encoder cannot be read", fix="save it again", file=folder) from cause
        made.changed()
        if not made.fingerprint == meta["fingerprint"] == facts["fingerprint"]:
            raise CorruptFile("the files of this encoder belong to different ones", fix="save it again", file=folder)
        return made


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as missing:
        raise MissingExtra("tokenizers", "text") from missing
    return tokenizers
