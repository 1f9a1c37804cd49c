"""SciFact's abstracts and claims as documents and queries."""

from __future__ import annotations

import csv
import io
import re
import zipfile

import numpy as np

from sartor.data.datasets import find


def scifact(documents: int, queries: int, *, seed: int) -> tuple[list[str], list[str], list[set[int]]]:
    """Texts of abstracts (title and abstract), texts of validation claims, and which abstracts each claim cites.

    All abstracts that a chosen claim cites, and others at random up to `documents`.
    """
    with zipfile.ZipFile(find("scifact") / "scifact.zip") as archive:
        corpus, claims = (_rows(archive, name) for name in ("corpus_train.csv", "claims_validation.csv"))
    rng = np.random.default_rng([seed, 11])
    cited = {row["claim"]: set(_numbers(row["cited_doc_ids"])) for row in claims}
    known = {int(row["doc_id"]): at for at, row in enumerate(corpus)}
    texts = sorted(text for text, own in cited.items() if own & known.keys())
    chosen = [texts[at] for at in np.sort(rng.permutation(len(texts))[:queries])]
    needed = sorted({known[doc] for text in chosen for doc in cited[text] & known.keys()})
    others = np.setdiff1d(np.arange(len(corpus)), needed)
    rows = np.sort(np.concatenate([needed, rng.permutation(others)[: max(0, documents - len(needed))]])).astype(int)
    place = {int(corpus[row]["doc_id"]): at for at, row in enumerate(rows)}
    found = [f"{corpus[row]['title']} {_text(corpus[row]['abstract'])}" for row in rows]
    return found, chosen, [{place[doc] for doc in cited[text] & place.keys()} for text in chosen]


def _rows(archive: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    csv.field_size_limit(1 << 24)
    with archive.open(name) as file:
        return list(csv.DictReader(io.TextIOWrapper(file, "utf-8")))


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.replace("[", " ").replace("]", " ").replace(",", " ").split()]


def _text(abstract: str) -> str:
    """The sentences of a list as it was printed, one after another."""
    return re.sub(r"""['"]\s*\n\s*['"]""", " ", abstract.strip("[]")).strip("'\"")
