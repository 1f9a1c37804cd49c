"""How good written code is: its tokens, whether it parses, whose names it uses, and whether what it calls exists."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Collection, Iterable, Sequence

_TOKEN = re.compile(
    r"""[A-Za-z_]\w*                                   # names
    |\d[\w.]*                                          # numbers
    |\"\"\".*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'    # texts
    |\#[^\n]*                                          # comments
    |\*\*=?|//=?|>>=?|<<=?|->|:=|[-+*/%&|^=!<>]=|[^\w\s]""",
    re.VERBOSE | re.DOTALL,
)
_NAME = re.compile(r"[A-Za-z_]\w*")
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
COMMON = frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "self", "cls"})
"""Names of the language itself."""


def code_tokens(text: str) -> list[str]:
    """Names, numbers, texts, comments and signs, in order; a piece of code that does not parse is cut up all the same."""
    return _TOKEN.findall(text)


def identifiers(text: str) -> set[str]:
    """Names that the code uses, those of the language left out; what stands in texts and comments is none."""
    return {token for token in code_tokens(text) if _NAME.fullmatch(token) and token not in COMMON}


def parses(text: str) -> bool:
    """Whether the code parses as Python, once an unfinished last line and the depth it begins at are left out."""
    lines = text.splitlines()
    body = [line for line in lines if line.strip()]
    depth = min((len(line) - len(line.lstrip()) for line in body), default=0)
    for kept in (lines, lines[:-1]):
        code = "\n".join(line[depth:] if line.strip() else "" for line in kept)
        # A block that is still open is no mistake of what is there.
        for ending in ("", "\n" + " " * 400 + "pass"):
            try:
                ast.parse(code + ending)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            return bool(code.strip())
    return False


def identifier_recall(written: Sequence[str], references: Sequence[str], own: Collection[str]) -> tuple[int, int]:
    """Of a project's own names that occur in the references, how many the texts written in their place use: (found, wanted), summed.

    `own` are names that tell the project from others, such as those of its files that no other project has.
    """
    wanted = [identifiers(text) & {*own} for text in references]
    return sum(len(names & identifiers(text)) for text, names in zip(written, wanted, strict=True)), sum(map(len, wanted))


def known_calls(written: Iterable[str], symbols: Collection[str]) -> tuple[int, int]:
    """Calls in the texts, and how many of them are to names among `symbols` or the language's own: (known, calls)."""
    called = [name for text in written for name in _CALL.findall(text) if not keyword.iskeyword(name)]
    return sum(name in COMMON or name in symbols for name in called), len(called)
