"""A writer backend by its name."""

from __future__ import annotations

from pathlib import Path

from sartor.errors import ConfigError
from sartor.write.backends.backend import Backend

KINDS = ("endpoint", "transformers", "tiny")


def backend(name: str) -> Backend:
    """A backend by name.

    Parameters
    ----------
    name: "endpoint:URL#MODEL" for a server with the chat API of OpenAI, its key in SARTOR_WRITER_KEY; "transformers:FOLDER" for any causal
        language model in a folder of the transformers library; "tiny:FOLDER" for one that was trained here.

    Raises `ConfigError` for a name that is none, `FileProblem` for a folder that is not there, `MissingExtra`.
    """
    kind, _, rest = name.partition(":")
    if kind not in KINDS or not rest:
        raise ConfigError(f"'{name[:200]}' names no writer", fix="write endpoint:URL#MODEL, transformers:FOLDER or tiny:FOLDER")
    if kind == "endpoint":
        from sartor.write.backends.endpoint import ChatEndpoint

        url, _, model = rest.partition("#")
        return ChatEndpoint(url, model)
    if kind == "transformers":
        from sartor.write.backends.transformers import transformers_writer

        return transformers_writer(Path(rest))
    from sartor.write.backends.tiny import tiny_writer

    return tiny_writer(Path(rest))
