"""VacancySBERT: messy job titles beside the normalised ones, learned from the skills that advertisements name with them.

    encoder = VacancySBERT().fit(neural_encoder("minilm"), titles, skills, normalised=known)
    encoder.encode(["Sr. SWE, remote!"])                            # by the title alone
    encoder.encode(["Sr. SWE, remote!"], [["python", "linux"]])     # with the skills of the advertisement
    recruiter = encoder.adapt(["backend developer"])                # what this person accepted so far

`retrieve.title_search` finds normalised titles with it.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, StateMismatch
from sartor.method import State, States
from sartor.parts.contrastive import InfoNCE, PairLoss
from sartor.parts.pair_sampler import PairSampler
from sartor.parts.trainer import History
from sartor.parts.unit import unit
from sartor.represent.contrastive import ContrastiveTrainer
from sartor.represent.encoder import TextEncoder
from sartor.represent.neural import NeuralEncoder
from sartor.represent.text_cache import uncached

SEPARATOR = ", "
"""Between skills."""
Skills = Sequence[Sequence[str]]


def normalised_title(title: str) -> str:
    """By which two titles are the same: compatibility form, case folded, letters, digits, + and # only (C, C++ and C# differ), single spaces."""
    folded = unicodedata.normalize("NFKC", title).casefold()
    return " ".join("".join(char if char.isalnum() or char in "+#" else " " for char in folded).split())


class TitleEncoder:
    """Titles, or titles with skills, as unit vectors of one space; and what one recruiter or job-seeker accepted, as a state.

    Any text encoder will do; `VacancySBERT.fit` makes one that knows which skills go with which titles.

    State: `mean` float16 [dim], the running mean of the unit vectors of what the person accepted; `examples` counts them. 768 bytes for
    384 dimensions.

    Parameters
    ----------
    encoder: of both; nothing that is encoded here is kept on disk.
    prior: a person of n accepted titles counts n / (n + prior) against the query.
    """

    def __init__(self, encoder: TextEncoder, *, prior: float = 4.0) -> None:
        if not prior > 0:
            raise ConfigError(f"prior = {prior}", fix="use a number above 0; 4 is usual")
        self.encoder, self.prior = uncached(encoder), prior

    @property
    def dim(self) -> int:
        return self.encoder.dim

    @property
    def fingerprint(self) -> str:
        return self.encoder.fingerprint

    def encode(self, titles: Sequence[str], skills: Skills | None = None, *, progress: bool = False) -> np.ndarray:
        """float32 [titles, dim], of titles alone or of "title [SEP] skill, skill, ...".

        A title may be empty where it has skills. Skills that do not fit into the encoder's longest text are left out, and a warning says
        how many were used. Raises `BadValue` for a row without title and skills, `ConfigError` when there is not one list of skills per
        title.
        """
        return self.encoder.encode(self.texts(titles, skills), progress=progress)

    def texts(self, titles: Sequence[str], skills: Skills | None = None) -> list[str]:
        """What is encoded."""
        if isinstance(titles, str) or (skills is not None and any(isinstance(own, str) for own in skills)):
            raise ConfigError("one text where a list is needed", fix="give a list of titles, and a list of skills for each: [['python'], ...]")
        if skills is not None and len(skills) != len(titles):
            raise ConfigError(
                f"{len(skills)} lists of skills for {len(titles)} titles", fix="give one list per title; an empty one where none is known"
            )
        out = []
        for row, title in enumerate(titles):
            own = [] if skills is None else [one for one in skills[row] if one.strip()]
            if not title.strip() and not own:
                raise BadValue("a title is empty and has no skills", fix="leave it out", row=row)
            out.append(self._fitting(title.strip(), own, row))
        return out

    def _fitting(self, title: str, skills: Sequence[str], row: int) -> str:
        """Title and as many of the skills as the encoder reads."""
        if not skills:
            return title
        longest, separator = getattr(self.encoder, "max_tokens", 0), self._separator()

        def text(count: int) -> str:
            listed = SEPARATOR.join(skills[:count])
            return f"{title}{separator}{listed}" if title and listed else title or listed

        def fits(count: int) -> bool:
            # Tokenising cuts at the limit: a text that reaches it may be longer.
            return bool(self.encoder.tokenize([text(count)])[0].size < longest)  # type: ignore[attr-defined]

        if not longest or fits(len(skills)):
            return text(len(skills))
        least, most = 0, len(skills)
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (middle, most) if fits(middle) else (least, middle)
        warnings.warn(f"title {row}: {least} of {len(skills)} skills were used, more do not fit into {longest} tokens", stacklevel=5)
        return text(least) if least or title else text(1)

    def _separator(self) -> str:
        """The encoder's own mark between two texts, where it has one."""
        mark = getattr(getattr(self.encoder, "_tokenizer", None), "sep_token", None)
        return f" {mark} " if isinstance(mark, str) else SEPARATOR

    # --- one person

    def adapt(self, titles: Sequence[str], skills: Skills | None = None, state: State | None = None) -> State:
        """What a person accepted, with or without skills; with `state`, added to what she accepted before.

        Raises as `encode` does, `EmptyData` for no title at all, and `StateMismatch` for a state of another encoder.
        """
        if not len(titles):
            raise EmptyData("nothing was accepted", fix="give at least one title")
        self._check(state)
        vectors = self.encode(titles, skills)
        before = 0 if state is None else state.examples
        total = vectors.sum(0) if state is None else vectors.sum(0) + before * state["mean"].astype(np.float32)
        mean = (total / (before + len(vectors))).astype(np.float16)
        return State({"mean": mean}, type(self).__name__, self.fingerprint, 1 if state is None else state.version + 1, before + len(vectors))

    def personal(self, queries: np.ndarray, states: States) -> np.ndarray:
        """Queries float32 [q, dim] as the people of the states mean them: normalise((1 - w) query + w mean), w = n / (n + prior)."""
        if len(states) != len(queries):
            raise ConfigError(f"{len(states)} states for {len(queries)} queries", fix="give one per query; None where there is none")
        out = np.array(queries, np.float32)
        for row, state in enumerate(states):
            if state is not None:
                self._check(state)
                weight = state.examples / (state.examples + self.prior)
                out[row] = (1 - weight) * out[row] + weight * state["mean"].astype(np.float32)
        return unit(out)

    def _check(self, state: State | None) -> None:
        if state is None:
            return
        if state.fingerprint != self.fingerprint:
            raise StateMismatch("the state was made with another encoder", fix="adapt the person again with this one")
        mean = state.arrays.get("mean")
        if mean is None or mean.shape != (self.dim,) or not np.isfinite(mean).all() or state.examples < 1:
            raise CorruptFile("the state does not hold a mean of this encoder's vectors", fix="adapt the person again")


@dataclass(kw_only=True)
class VacancySBERT:
    """Trains an encoder on advertisements: a title and the bag of skills named with it are two views of one job.

    One shared encoder; of each pair some skills are dropped and the rest shuffled, anew every time, so that short lists work when
    somebody searches; the other pairs of a batch are the negatives, but for those of the same normalised title, which are masked: titles
    repeat. Titles come to lie near their normalised forms because both go with the same skills, though the two are never paired.

    For fields whose words the encoder does not know. With the upper layers alone trainable, what it knew of other words stays.
    `mentions.Mentions` finds the skills in an advertisement's text.

    Source: Bocharova, Malakhov and Mezhuyev, VacancySBERT: the approach for representation of titles and skills for semantic similarity
    search in the recruitment domain, 2023. Our reading where it is silent: the masked duplicates, how skills are drawn.

    Parameters
    ----------
    layers: how many of the uppermost layers are trained; 0 trains everything.
    keep: the least share of a pair's skills that is shown; the share is drawn between it and 1.
    loss: of the pairs of a batch.
    batch_size, steps: pairs at once, and batches per epoch; 0 steps is one pass.
    epochs, learning_rate, seed: of the training.
    prior: of the `TitleEncoder`.
    """

    layers: int = 2
    keep: float = 0.5
    loss: PairLoss = field(default_factory=InfoNCE)
    batch_size: int = 64
    steps: int = 0
    epochs: int = 1
    learning_rate: float = 2e-4
    prior: float = 4.0
    seed: int = 0

    history_: History = field(default_factory=History, init=False)

    def fit(
        self, encoder: NeuralEncoder, titles: Sequence[str], skills: Skills, *, normalised: Sequence[str] | None = None, progress: bool = False,
        **more: Any,
    ) -> TitleEncoder:  # fmt: skip
        """Train in place, on one title and one list of skills per advertisement.

        Parameters
        ----------
        normalised: the normalised title of each advertisement, where it is known: equal ones are no negatives of each other. Default: the
            titles themselves, by `normalised_title`.
        more: as for `ContrastiveTrainer.fit`.

        Raises `BadValue` for an advertisement without title or without skills (leave it out), and `ConfigError`.
        """
        known = titles if normalised is None else normalised
        if not len(titles) == len(skills) == len(known):
            raise ConfigError(
                f"{len(titles)} titles, {len(skills)} lists of skills, {len(known)} normalised titles", fix="give one per advertisement"
            )
        if not 0 < self.keep <= 1:
            raise ConfigError(f"keep is {self.keep}", fix="use more than 0 and at most 1; 0.5 drops up to half of the skills")
        bags = [[one for one in own if one.strip()] for own in skills]
        if bare := [row for row, own in enumerate(bags) if not own]:
            raise BadValue("an advertisement names no skill", fix="leave it out", row=bare[0])

        def shown(rng: np.random.Generator, rows: np.ndarray) -> list[str]:
            out = []
            for row in rows:
                count = max(1, round(rng.uniform(self.keep, 1) * len(bags[row])))
                out.append(SEPARATOR.join(bags[row][at] for at in rng.permutation(len(bags[row]))[:count]))
            return out

        ids = np.unique([normalised_title(title) for title in known], return_inverse=True)[1]
        trainer = ContrastiveTrainer(
            loss=self.loss, sampler=PairSampler(batch_size=self.batch_size, steps=self.steps), epochs=self.epochs,
            learning_rate=self.learning_rate, seed=self.seed,
        )  # fmt: skip
        with _upper_layers(encoder, self.layers):
            self.history_ = trainer.fit(encoder, titles, shown, ids=ids, progress=progress, **more)
        return TitleEncoder(encoder, prior=self.prior)


@contextmanager
def _upper_layers(encoder: NeuralEncoder, layers: int) -> Iterator[None]:
    """Nothing but the uppermost layers learns meanwhile; 0 is everything."""
    if not 0 <= layers <= encoder.depth:
        raise ConfigError(f"{layers} layers to train of {encoder.depth}", fix=f"train 1 to {encoder.depth}, or 0 for everything")
    learned = set() if not layers else {id(weight) for layer in list(encoder.stack())[-layers:] for weight in layer.parameters()}
    frozen = [weight for weight in encoder.network.parameters() if layers and weight.requires_grad and id(weight) not in learned]
    for weight in frozen:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(True)
