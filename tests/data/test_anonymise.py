"""What tells who speaks goes, what is said stays."""

from __future__ import annotations

import datetime

import polars as pl
import pytest

from sartor.data.anonymise import anonymised, masked
from sartor.data.population import Population
from sartor.errors import ConfigError, MissingColumn

KEY = b"0123456789abcdef"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("write to ana.b+c@mail.example.org, please", "write to [email], please"),
        ("see https://example.org/a?b=c and www.example.org", "see [link] and [link]"),
        ("call +49 (170) 123-4567 or 0171 2345678", "call [phone] or [phone]"),
        ("born 1987-03-02, no, 2.3.87", "born [date], no, [date]"),
        ("ask @ana_b, or Anna Maria, or anna", "ask [handle], or [name], or [name]"),
        ("in 2019 i had 12 cats, 3.5 kg each", "in 2019 i had 12 cats, 3.5 kg each"),
        ("annabel is another", "annabel is another"),
    ],
)
def test_contacts_names_and_dates_are_masked(said: str, kept: str) -> None:
    assert masked(pl.Series("text", [said]), ["anna", "anna maria"]).to_list() == [kept]


def test_people_are_hashed_and_those_of_few_texts_left_out() -> None:
    texts = pl.DataFrame(
        {
            "person": ["ana", "ana", "ben", "cy", "cy"],
            "text": ["hi", "mail a@b.org", "yo", "so", "a@b.org"],
            "prompt": [None, "from cy@b.org", "x", "y", None],
        }
    )
    people = pl.DataFrame(
        {"person": ["ana", "ben", "cy"], "born": [datetime.date(1987, 3, 2), datetime.date(1990, 1, 1), None], "city": ["oslo", "rome", "lima"]}
    )
    before = Population.from_frames(texts=texts, people=people)
    after = anonymised(before, key=KEY)
    own, who = after.texts.collect(), after.people.collect()
    assert own["text"].to_list() == ["hi", "mail [email]", "so", "[email]"]
    assert own["prompt"].to_list() == [None, "from [email]", "y", None]
    assert who["born"].to_list() == ["1980s", None]
    assert who["city"].to_list() == ["oslo", "lima"]
    # The same person in every frame, another hash with another key, and no id as it was.
    assert own["person"].unique(maintain_order=True).to_list() == who["person"].to_list()
    assert not {"ana", "ben", "cy"} & set(who["person"])
    assert anonymised(before, key=KEY[::-1]).people.collect()["person"].to_list() != who["person"].to_list()
    assert anonymised(before, key=KEY, least=1).people.collect().height == 3
    for wrong in ({"key": b"short"}, {"key": KEY, "least": 0}):
        with pytest.raises(ConfigError):
            anonymised(before, **wrong)  # type: ignore[arg-type]
    with pytest.raises(MissingColumn):
        anonymised(Population.from_frames(texts={"text": ["a"]}), key=KEY)
