"""Learned sparse search: texts as weights of vocabulary entries that a masked language model expects, matched like words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sartor.data.ids import id_column
from sartor.errors import ConfigError, CorruptFile, EmptyData, FileProblem, MissingExtra, NotFitted
from sartor.parts.topk import checked_k, top_k
from sartor.progress import track
from sartor.retrieve.hits import Hits
from sartor.retrieve.words import checked_queries

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SCORES_IN_MEMORY = 20_000_000


class LearnedSparse:
    """An index whose terms are word pieces, weighted by max over the text's tokens of log(1 + relu(logit)).

    The model decides how much a word counts, and adds words that are not in the text. With a model that was trained for it (SPLADE and its
    kin) that is strong search; with a plain masked language model it is a weak one.

    Source: Formal, Piwowarski and Clinchant, SPLADE, SIGIR 2021 (maximum instead of sum: SPLADE v2, 2021).

    Parameters
    ----------
    folder: of a transformers model with a masked-language-model head; nothing is downloaded.
    max_tokens, batch_size, device: of the forward passes.
    keep: terms kept per text, the heaviest; 0 keeps all.
    """

    def __init__(self, folder: str | Path, *, max_tokens: int = 256, batch_size: int = 32, keep: int = 256, device: str = "cpu") -> None:
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise FileProblem(
                "this is not the folder of a transformers model", fix="it holds config.json, the weights and the tokenizer", file=folder
            )
        if max_tokens < 3 or batch_size < 1 or keep < 0:
            raise ConfigError(f"max_tokens {max_tokens}, batch_size {batch_size}, keep {keep}", fix="use at least 3, 1 and 0")
        try:
            import transformers
        except ImportError as missing:
            raise MissingExtra("transformers", "text") from missing
        transformers.utils.logging.disable_progress_bar()
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model: Any = transformers.AutoModelForMaskedLM.from_pretrained(folder, local_files_only=True).to(device).eval()
        except (OSError, ValueError, KeyError) as cause:
            what = f"transformers cannot read this model: {str(cause).splitlines()[0][:200]}"
            raise CorruptFile(what, fix="it must have a masked-language-model head", file=folder) from cause
        self.max_tokens, self.batch_size, self.keep, self.device = max_tokens, batch_size, keep, device
        self._terms: csr_matrix | None = None
        self._ids: list[Any] = []

    @property
    def nbytes(self) -> int:
        """Bytes of the weights of all documents' terms."""
        terms = self._built()
        return int(terms.data.nbytes + terms.indices.nbytes + terms.indptr.nbytes)

    def weigh(self, texts: Sequence[str], *, progress: bool = False) -> csr_matrix:
        """float32 [texts, vocabulary], the weight of every term in every text."""
        import torch
        from scipy.sparse import csr_matrix, vstack

        rows = []
        # Similar lengths together: padding costs as much as words.
        order = np.argsort([len(text) for text in texts], kind="stable")
        starts = range(0, len(texts), self.batch_size)
        for start in track(starts, "weighing terms", enabled=progress, unit="batch"):
            own = [texts[row] for row in order[start : start + self.batch_size]]
            batch = self._tokenizer(own, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="pt").to(self.device)
            with torch.inference_mode():
                logits = self._model(**batch).logits
            weights = torch.log1p(torch.relu(logits)).masked_fill(~batch["attention_mask"].bool()[:, :, None], 0).amax(1)
            if self.keep and self.keep < weights.shape[1]:
                least = weights.topk(self.keep, dim=1).values[:, -1:]
                weights = torch.where(weights >= least, weights, 0)
            rows.append(csr_matrix(weights.float().cpu().numpy()))
        if not rows:
            return csr_matrix((0, int(self._model.config.vocab_size)), dtype=np.float32)
        return vstack(rows).tocsr()[np.argsort(order)]

    def build(self, texts: Sequence[str], ids: Sequence[Any] | None = None, *, progress: bool = False) -> Self:
        """Index these texts, and only these."""
        if not len(texts):
            raise EmptyData("there are no documents to index", fix="give at least one text")
        names = id_column(range(len(texts)) if ids is None else ids).to_list()
        if len(names) != len(texts):
            raise ConfigError(f"{len(names)} ids for {len(texts)} texts", fix="give one id per text")
        self._terms, self._ids = self.weigh(texts, progress=progress), names
        return self

    def search(self, queries: Sequence[str], k: int = 10) -> Hits:
        """The k texts with the largest inner products of term weights; those that share no term are not found."""
        terms = self._built()
        k = checked_k(k, len(queries), terms.shape[0])
        asked = self.weigh(checked_queries(queries))
        found, best = np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
        step = max(1, SCORES_IN_MEMORY // terms.shape[0])
        for start in range(0, len(queries), step):
            scores = np.asarray((asked[start : start + step] @ terms.T).todense(), np.float32)
            scores[scores <= 0] = -np.inf
            top, values = top_k(scores, min(k, terms.shape[0]))
            top[~np.isfinite(values)] = -1
            found[start : start + step, : top.shape[1]], best[start : start + step, : top.shape[1]] = top, values
        return Hits(found, best, self._ids, f"inner products of learned term weights over {terms.shape[0]} documents")

    def _built(self) -> csr_matrix:
        if self._terms is None:
            raise NotFitted("the index is not built", fix="call build(texts)")
        return self._terms
