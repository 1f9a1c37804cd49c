"""A checkpoint is continued only by a fit of the same settings and data."""

from pathlib import Path

import polars as pl
import pytest

from sartor import Population
from sartor._run_key import keyed
from sartor.method import Run
from sartor.write.dhap import DHAP
from sartor.write.population_lm import PopulationLM

TEXTS = pl.DataFrame({"person": [1, 1, 2], "prompt": ["a ?", "b ?", "a ?"], "text": ["yes .", "no .", "so ."]})


def key(method, texts=TEXTS, **frames):
    return keyed(method, Population({"texts": texts, **frames}), Run(checkpoint=Path("anywhere"))).key


def test_equal_settings_and_rows_have_one_key_in_whatever_order():
    assert key(DHAP()) == key(DHAP(), TEXTS.reverse()) != ""
    assert keyed(DHAP(), Population({"texts": TEXTS}), Run()).key == ""


@pytest.mark.parametrize(
    "other",
    [
        lambda: key(DHAP(steps=7)),
        lambda: key(DHAP(learning_rate=0.5)),
        lambda: key(DHAP(lm=PopulationLM(dim=32))),
        lambda: key(DHAP(), TEXTS.with_columns(text=pl.lit("other ."))),
        lambda: key(DHAP(), people=pl.DataFrame({"person": [1], "job": ["nurse"]})),
    ],
)
def test_other_settings_and_other_rows_have_another(other):
    assert other() != key(DHAP())
