"""The language model that a population shares: trained once on what its people wrote, and the ground that personal methods stand on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sartor import _storage
from sartor._run_key import keyed
from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError, CorruptFile, FileProblem
from sartor.method import Run, State, States, Writer, learned
from sartor.write.parts.causal_lm import CausalLM, LMConfig
from sartor.write.parts.language_model import LanguageModel
from sartor.write.parts.lm_training import Example, Lesson, teach
from sartor.write.parts.pieces import Turn, pieces_of, population_pieces, turns
from sartor.write.parts.tokenizer import Kind, Tokenizer


@dataclass(kw_only=True, eq=False)
class PopulationLM(Writer):
    """A small Llama trained from nothing on a population's texts; everybody gets the same answer.

    Not for free talk: with a hundred thousand weights it learns the language of its texts and nothing of the world. It is trained to be
    personalised: a prompt holds some of the author's other pieces (or none, in a share of the examples), and in a share of the examples
    vectors stand in front, learned per author or plain noise; without that soft prefixes and examples in the prompt steer nothing.

    State: empty; it only counts what was given.
    """

    kind: Kind = "word"
    """Of tokens."""
    vocabulary: int = 1_000
    """Tokens at most."""
    dim: int = 64
    layers: int = 2
    heads: int = 4
    feedforward: int = 0
    """0 is 3 * dim."""
    max_tokens: int = 256
    """Prompt and answer together."""
    tokens: int = 2_500_000
    """To train on: 85 CPU-seconds at the default size; copying habits from the prompt is learned only after some two million."""
    history: int = 4
    """Other pieces of the author before the one to write, at most."""
    dropped: float = 0.2
    """Share of examples without any."""
    soft: float = 0.25
    """Share of examples with vectors in front: half of them the author's, half noise."""
    places: int = 4
    """How many vectors, at most."""
    authors: int = 64
    """Who have vectors; of the others it is always noise. With more of them each would be met too rarely to mean anything."""
    learning_rate: float = 4e-3
    rows: int = 32
    """Of `max_tokens` tokens, in a batch."""

    network_: CausalLM = learned()
    words_: str = learned("")
    """The tokenizer as JSON."""

    population_frames = ("texts",)

    def _fit(self, population: Population, run: Run) -> None:
        if not 0 <= self.dropped <= 1 or not 0 <= self.soft <= 1 or self.history < 0 or self.places < 1 or self.authors < 0:
            what = f"dropped {self.dropped}, soft {self.soft}, history {self.history}, places {self.places}, authors {self.authors}"
            raise ConfigError(what, fix="shares from 0 to 1, history and authors >= 0, places >= 1")
        pieces = list(population_pieces(population).values())
        every = [text for own in pieces for piece in own for text in piece if text]
        self.words_ = Tokenizer.learn(every, kind=self.kind, vocabulary=self.vocabulary).to_text()
        tokenizer = Tokenizer(self.words_)
        authors = [[_cut(one, self.max_tokens - self.places) for one in turns(tokenizer, own)] for own in pieces]
        self.network_ = self.make_network()
        lesson = Lesson(self.network_, soft=tokenizer.soft, authors=min(self.authors, len(authors)), places=self.places, seed=self.seed)
        teach(
            lesson, lambda rng: self._example(authors, tokenizer, rng), tokens=self.tokens, width=self.max_tokens, rows=self.rows,
            learning_rate=self.learning_rate, seed=self.seed, progress=run.progress, checkpoint=run.checkpoint, key=keyed(self, population, run).key,
        )  # fmt: skip
        self.network_.eval()

    def _example(self, authors: Sequence[Sequence[Turn]], tokenizer: Tokenizer, rng: np.random.Generator) -> Example:
        """Some pieces of one author, one after another: each is learned with those before it as its history."""
        drawn = rng.random()
        # Those who have vectors are met with them in front.
        named = drawn < self.soft / 2 and self.authors > 0
        author = int(rng.integers(min(self.authors, len(authors)) if named else len(authors)))
        own = authors[author]
        count = 1 + (0 if rng.random() < self.dropped else int(rng.integers(1, self.history + 1)) if self.history else 0)
        chosen = [own[number] for number in rng.permutation(len(own))[:count]]
        front = int(rng.integers(1, self.places + 1)) if drawn < self.soft else 0
        while len(chosen) > 1 and front + sum(one.ids.size for one in chosen) > self.max_tokens:
            chosen = chosen[1:]
        ids = np.concatenate([np.full(front, tokenizer.soft, np.int32), *(one.ids for one in chosen)])
        learn = np.concatenate([np.zeros(front, bool), *(one.own for one in chosen)])
        return Example(ids, learn, author if named else -1)

    def make_network(self) -> CausalLM:
        config = LMConfig(
            vocabulary=len(Tokenizer(self.words_)), dim=self.dim, layers=self.layers, heads=self.heads, feedforward=self.feedforward,
            max_tokens=self.max_tokens,
        )  # fmt: skip
        return CausalLM(config, seed=self.seed)

    @property
    def model(self) -> LanguageModel:
        """Network and tokenizer; `model.save(folder)` writes what transformers reads."""
        self.check_fitted()
        if self._model is None or self._model.network is not self.network_:
            # What is built on it trains its own weights, never these.
            self._model = LanguageModel(self.network_.requires_grad_(False), Tokenizer(self.words_))
        return self._model

    _model: Any = learned(None)

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        self.check_state(state)
        return self.make_state({}, before=state, examples=len(pieces_of(evidence)))

    def write(self, messages: Sequence[Mapping[str, str]], state: State | None = None) -> str:
        return self.write_all([messages], [state])[0]

    def write_all(self, conversations: Sequence[Sequence[Mapping[str, str]]], states: States, *, max_new: int = 48) -> list[str]:
        """The likeliest answer to each conversation; states change nothing."""
        for state in states:
            self.check_state(state)
        return self.model.write(conversations, self.model.sampling(max_tokens=max_new))


def _cut(turn: Turn, most: int) -> Turn:
    return Turn(turn.ids[:most], turn.own[:most])


Model = TypeVar("Model", bound=PopulationLM)


def population_lm(population: Population, *, cache: str | Path | None = None, progress: bool = False, **settings: Any) -> PopulationLM:
    """The fitted `PopulationLM` of these texts and settings, from the cache where it was fitted before with the same ones.

    Parameters
    ----------
    cache: a folder; $SARTOR_CACHE/population-lm by default, in ~/.cache/sartor where that is not set. Models are kept by a hash of texts,
        settings and library version, hold no text of anybody but the words of the vocabulary, and may be deleted at any time.
    **settings: of `PopulationLM`.
    """
    return cached(PopulationLM(**settings), population, settings, cache=cache, progress=progress)


def cached(
    made: Model, population: Population, settings: Mapping[str, Any], *, cache: str | Path | None = None, progress: bool = False
) -> Model:  # fmt: skip
    """A model of `PopulationLM` or of its kin, fitted, or from the cache: see `population_lm`; `settings` are those that it was made with."""
    import torch

    name = [] if type(made) is PopulationLM else [type(made).__qualname__]
    facts = repr([sorted(settings.items()), _VERSION, torch.__version__, *name])
    digest = hashlib.blake2b(facts.encode(), digest_size=16)
    for person, own in population_pieces(population).items():
        digest.update(f"{person}\0{own!r}\0".encode())
    root = Path(cache) if cache is not None else Path(os.environ.get("SARTOR_CACHE", Path.home() / ".cache" / "sartor")) / "population-lm"
    folder = root / digest.hexdigest()
    try:
        return type(made).load(folder)
    except (FileProblem, CorruptFile):
        # Not there, or damaged: it is only a cache.
        made.fit(population, progress=progress)
        _storage.save(made, folder)
        return made


_VERSION = 1
"""To be raised when training changes: what was cached before is then not used any more."""
