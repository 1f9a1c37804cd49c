"""Dialogues of people who say who they are: half of the posts ask for a trait, half for something else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.data.world.persona import Personas
from sartor.data.world.persona.grading import words_of
from sartor.data.world.persona.words import ACTS, CHOOSE, FACTS, RECOMMEND, SUBJECTS

TRAITS = ("city", "job", "pet", "interests")
POSTS = {
    "city": ("where do you live?", "which city are you in?", "where is your home?"),
    "job": ("what is your job?", "what do you work as?", "how do you earn money?"),
    "pet": ("which pet do you have?", "who waits for you at home?", "do you have an animal?"),
    "interests": ("what do you love?", "what are you into?", "what makes you happy?"),
    "all": ("tell me about you.", "who are you?", "say something of yourself."),
}
ANSWERS = {
    "city": ("i live in {city}.", "my home is {city}.", "in {city}, for years."),
    "job": ("i work as a {job}.", "i am a {job}.", "as a {job}, mostly."),
    "pet": ("i have a {pet}.", "a {pet} lives with me.", "yes, a {pet}."),
    "interests": ("i love {interests}.", "{interests}, always.", "nothing beats {interests}."),
    "all": ("i live in {city}, work as a {job} and have a {pet}.",),
}
ASKED = {kind: (kind,) if kind != "all" else TRAITS[:3] for kind in POSTS}
"""Which traits a post asks for."""
VALUES = {slot.name: slot.values for slot in FACTS if slot.name in TRAITS} | {"interests": SUBJECTS}
PLAIN = [act.name for number, act in enumerate(ACTS) if number not in (CHOOSE, RECOMMEND)]
"""Requests whose answer says nothing of a person's taste."""
HELD_OUT = 6
"""One pair of city and job in so many is of nobody in a fit."""


def profiles(personas: Personas, people: Sequence[int] | np.ndarray) -> pl.DataFrame:
    """person, city, job, pet, interests (a list): what is true of people and what they love."""
    facts = personas.questions(people).filter(pl.col("slot").is_in(TRAITS)).pivot("slot", index="person", values="value")
    loved = personas.statements(people).filter(pl.col("kind") == "like").group_by("person").agg(interests=pl.col("value").unique().sort())
    return facts.join(loved, on="person", how="left").select("person", *TRAITS).sort("person")


def held_out(people: pl.DataFrame) -> np.ndarray:
    """bool [people]: whose pair of city and job nobody in a fit has."""
    city, job = (people[name].replace_strict(list(VALUES[name]), range(len(VALUES[name]))).to_numpy() for name in ("city", "job"))
    return np.asarray((city + 3 * job) % HELD_OUT == 0)


def asked_traits(people: pl.DataFrame, each: int, rng: np.random.Generator) -> pl.DataFrame:
    """Trait-seeking posts with true answers: person, asks (a kind of `POSTS`), prompt, text; `each` of every person, of different kinds."""
    rows = []
    for one in people.iter_rows(named=True):
        for kind in rng.permutation(list(POSTS))[:each]:
            said = one | {"interests": one["interests"][rng.integers(len(one["interests"]))]}
            post, answer = (forms[kind][rng.integers(len(forms[kind]))] for forms in (POSTS, ANSWERS))
            rows.append({"person": one["person"], "asks": str(kind), "prompt": post, "text": answer.format(**said)})
    return pl.DataFrame(rows)


def asked_else(personas: Personas, people: pl.DataFrame, each: int, *, start: int) -> pl.DataFrame:
    """Other posts with their answers, the same columns; `asks` is ""."""
    asked = personas.requests(people["person"].to_numpy(), each, start=start, acts=PLAIN)
    return pl.DataFrame({"person": asked.person, "asks": [""] * len(asked), "prompt": asked.texts(), "text": personas.replies(asked)})


def population(personas: Personas, people: pl.DataFrame, each: int, rng: np.random.Generator, *, prefix: bool = False) -> Population:
    """Half trait-seeking posts, half others; with `prefix`, traits stand in front of every post as text."""
    texts = pl.concat([asked_traits(people, each, rng), asked_else(personas, people, each, start=0)])
    if prefix:
        texts = with_prefix(texts, people)
    return Population({"texts": texts.select("person", "prompt", "text", kind=pl.lit("reply")), "people": people}, name="declared")


def with_prefix(texts: pl.DataFrame, people: pl.DataFrame) -> pl.DataFrame:
    """The same with the person's traits in words before each post."""
    said = people.select("person", said=pl.concat_str(*TRAITS[:3], pl.col("interests").list.join(" "), separator=" ") + pl.lit(". "))
    return texts.join(said, on="person", how="left", maintain_order="left").with_columns(prompt=pl.col("said") + pl.col("prompt")).drop("said")


def shown(texts: Sequence[str], posts: pl.DataFrame, people: pl.DataFrame) -> np.ndarray:
    """float [posts] in 0..1: of a trait-seeking post the share of the traits it asks for that are said, and nothing else of their kind; of
    another post 1 where a trait is said that it does not speak of."""
    truth = {one["person"]: one for one in people.iter_rows(named=True)}
    out = np.zeros(len(texts))
    for row, (text, post) in enumerate(zip(texts, posts.iter_rows(named=True), strict=True)):
        words = set(words_of(text))
        if not post["asks"]:
            out[row] = bool((words & {word for values in VALUES.values() for word in values}) - set(words_of(post["prompt"])))
            continue
        right = []
        for trait in ASKED[post["asks"]]:
            said, own = words & set(VALUES[trait]), truth[post["person"]][trait]
            right.append(bool(said) and said <= ({own} if isinstance(own, str) else set(own)))
        out[row] = np.mean(right)
    return out
