"""Metrics of written code, by hand and by Python's own reading."""

from __future__ import annotations

import inspect
import tokenize

import numpy as np

from sartor.evaluate.adapters import compare_adapters
from sartor.evaluate.text import code
from sartor.evaluate.text.code import code_tokens, identifier_recall, identifiers, known_calls, parses


def test_tokens_are_pythons_own() -> None:
    text = inspect.getsource(compare_adapters) + inspect.getsource(np.average) + inspect.getsource(code.parses)
    lines = iter(text.splitlines(keepends=True))
    layout = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    own = [one.string for one in tokenize.generate_tokens(lambda: next(lines, "")) if one.type not in layout]
    # Python before 3.12 reads an f-string as one token; letters before a text are a token of ours.
    assert code_tokens("a = b**2 + c[1:] # d\n") == ["a", "=", "b", "**", "2", "+", "c", "[", "1", ":", "]", "# d"]
    ours = code_tokens(text)
    assert len([one for one in own if one in {*ours}]) / len(own) > 0.97


def test_names_and_calls() -> None:
    assert identifiers('def area(shape): # side\n    return self.side_of(shape, "name")') == {"area", "shape", "side_of"}
    found = identifier_recall(["area(x)", "nothing"], ["area(shape)", "side_of(area)"], ["area", "side_of"])
    assert found == (1, 3)
    assert identifier_recall([], [], ["a"]) == (0, 0)
    assert known_calls(["len(area(x))", "if (a): madeup(b)"], {"area"}) == (2, 3)


def test_what_parses() -> None:
    whole = "def f(x):\n    return x\n"
    assert parses(whole)
    assert parses("    y = 1\n    z = 2")
    assert parses("x = 1\nfor one in")
    assert parses("def f(x):")
    assert not parses("x = = 1\ny = 2\n")
    assert not parses("")
    assert not parses("def (:\n    pass\n    x")
