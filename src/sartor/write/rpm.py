"""RPM: which features of a request decide a person's answer, and answers that say which of her reasons they follow.

method = RPM().use(features=feature_job(backend("endpoint:..."))).fit(population)     # texts: prompt (the request), text (her answer)
state = method.adapt(population["ana"])                                              # factors with counts, cases with reasons
answer = method.answer(["a quiet motor, in blue finish"], [state])[0]
answer.text, answer.reasons, answer.items
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from sartor._run_key import keyed
from sartor.data.population import Evidence, Population
from sartor.errors import BadAnswer, BadValue, ConfigError, EmptyData, NotFitted
from sartor.method import Run, State, States, Writer, learned
from sartor.parts.trainer import seeded
from sartor.represent.text import text_encoder, uncached
from sartor.write import rpm_language
from sartor.write.backends import Backend, check_messages, text_of
from sartor.write.parts.pieces import own_texts
from sartor.write.rpm_answers import Answer, Scale
from sartor.write.rpm_cases import answers_in, items_of
from sartor.write.rpm_features import Feature, Job, features
from sartor.write.rpm_memory import Item, Memory, remembered
from sartor.write.rpm_reader import Prompt, SetReader, answered
from sartor.write.rpm_reading import Reading
from sartor.write.rpm_teaching import Teaching, reasoned

LEAST = 4
"""Answers of a person from whom the reader learns."""
Show = Literal["all", "reasons", "cases", "nothing"]


@dataclass(kw_only=True, eq=False)
class RPM(Writer):
    """Personal reasons: factors of a person's answers with counts, and past cases found by features and shown with their reasons.

    For people with ten answers or more whose reasons stand in the requests. It adds nothing where requests have no features that repeat, and
    none to people who always answer the same: they get the population's answer.

    Offline a language job (`use(features=...)`) lists the phrases of each past request that may have mattered; phrases are grouped into factors; each
    case gets a path, the factors that lead to its answer, kept only if the answer follows from them (self-consistency). For a request its
    features are listed in the same way, and cases are found by features, not by text: score = mean over its features of the largest
    cosine with a feature of the case. Who reads table, examples and request is a small set network learned by `fit` from the population
    (answers that are numbers, or one of two labels), or any language model (`use(writer=...)`). What it cites is checked against the table.

    Source: Kim et al., LLMs Think, But Not In Your Flow: Reasoning-Level Personalization for Black-Box Large Language Models, ICLR 2026. Prompts,
    thresholds, the set network and its self-consistency (an answer from the cited factors alone) are ours.

    State: `rpm_memory.Memory`: her cases in words with features, vectors (float16) and paths, and the factors' sums; 50 to 150 kB for 100 cases.

    Reads `texts`: person, prompt, text, and where there are: time, kind (those of `kind`), item (the case's id).
    """

    k: int = 3
    """Past cases shown."""
    keep: int = 200
    """Cases of a person: the newest. Grouping compares every phrase with every other."""
    threshold: float = 0.6
    """Mean cosine from which phrases are one factor."""
    most: int = 20
    """Factors in the table."""
    kind: str = ""
    """Of texts that are answers; empty takes all that have a prompt."""
    encoder: str = "hashed:128"
    """Of phrases and requests, as `represent.text.text_encoder` takes it."""
    cite: float = 0.6
    """A factor is cited when the answer leans on it at least this much of what it leans on the strongest."""
    dim: int = 32
    epochs: int = 30
    learning_rate: float = 3e-3
    share: float = 0.6
    """Of each fitted person's answers that are her history, while the reader learns to give the others."""

    labels_: list[str] = learned()
    """The two answers there are, in alphabetical order: the first counts as against, the second as for. Empty for numbers and free words."""
    scale_: list[float] = learned()
    """Lowest and highest number; [-1, 1] for labels, [0, 0] for free words."""
    network_: Any = learned()

    population_frames = ("texts",)

    def __post_init__(self) -> None:
        self._features: Job | None = None
        self._namer: Job | None = None
        self._writer: Backend | None = None
        self._composed: Reading | None = None

    def use(self, *, features: Job | None = None, namer: Job | None = None, writer: Backend | None = None) -> Self:
        """Say who does the language work; a saved model does not keep it. Returns itself.

        Parameters
        ----------
        features: lists features; `rpm_features.feature_job(backend)`, or a `RuleJob`.
        namer: from the phrases of one group to a name; groups of the same name become one factor. By default a phrase names its group.
        writer: a language model that reads and writes instead of the small reader.
        """
        self._features, self._namer, self._writer = features or self._features, namer or self._namer, writer or self._writer
        return self

    # --- fit

    def _fit(self, population: Population, run: Run) -> None:
        if min(self.k, self.keep, self.epochs) < 1 or not 0 < self.threshold <= 1 or not 0 < self.share < 1 or not 0 <= self.cite <= 1:
            what = f"k {self.k}, keep {self.keep}, threshold {self.threshold}, share {self.share}, epochs {self.epochs}, cite {self.cite}"
            raise ConfigError(what, fix="k, keep and epochs at least 1, threshold, share and cite shares of 1")
        self._job()
        frame = answers_in(population.texts.collect(), self.kind)
        scale = Scale.of(frame["text"], any_words=self._writer is not None)
        self.labels_, self.scale_ = list(scale.labels), [scale.low, scale.high]
        people = [items_of(rows, scale) for rows in frame.partition_by("person", maintain_order=True)]
        people = [items for items in people if len(items) >= LEAST]
        if not people:
            raise EmptyData("nobody has four answers with a prompt", fix="give more texts: the reader learns one part from the other", frame="texts")
        with seeded(self.seed):
            self.network_ = self.make_network()
        if not scale.free:
            self._teach(people, keyed(self, population, run))
        self._reading.clear()

    def make_network(self) -> Any:
        return SetReader(self.dim)

    def _teach(self, people: Sequence[list[Item]], run: Run) -> None:
        """First without reasons in the cases, then with those that the reader itself finds to lead to the answer."""
        cuts = [max(2, round(self.share * len(items))) for items in people]
        memories = [self._remember(items[:cut]) for items, cut in zip(people, cuts, strict=True)]
        asked = [(who, one) for who, (items, cut) in enumerate(zip(people, cuts, strict=True)) for one in items[cut:]]
        teaching = Teaching(asked, [self._found(one.request) or [] for _, one in asked], bool(self.labels_))
        for stage, epochs in enumerate((self.epochs // 2, self.epochs - self.epochs // 2)):
            if stage:
                memories = [reasoned(memory, self.network_, self._reading, labels=bool(self.labels_)) for memory in memories]
            teaching.run(
                self.network_, self._reading, memories, epochs=epochs, rate=self.learning_rate, seed=self.seed + stage, progress=run.progress,
                checkpoint=run.checkpoint / f"stage{stage}" if run.checkpoint else None, key=run.key, description=f"reading, part {stage + 1}",
            )  # fmt: skip

    # --- one person

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """Factors and the newest `keep` cases; with `state`, its cases and the new ones, grouped anew.

        `notes` say how many items were skipped because their features could not be read, and "insufficient contrast" where all answers are
        the same. Raises `BadValue` for another person's texts, and for an answer that is no number where numbers are meant.
        """
        self.check_state(state)
        before = Memory.of(state.arrays) if state is not None else None
        rows = answers_in(own_texts(evidence), self.kind) if "texts" in evidence.frames else pl.DataFrame()
        start = 1 + max([-1, *(int(one.id) for one in before.items if one.id.isdecimal())]) if before else 0
        # Of a case that is there twice the newer answer holds.
        new = {one.id: one for one in items_of(rows, self._scale, start=start)} if rows.height else {}
        if before is not None:
            before = before.forget([one.id for one in before.items if one.id in new])
        memory = self._reasoned(self._remember(list(new.values()), before))
        return self._state(memory, before=state, examples=len(new))

    def forget(self, state: State, ids: Sequence[str]) -> State:
        """The state without some of its items; only the factors that they touched are counted again. Raises `UnknownId`."""
        self.check_state(state)
        return self._state(Memory.of(state.arrays).forget(ids), before=state, examples=-len(ids))

    def describe(self, state: State) -> pl.DataFrame:
        """The factor table: factor, phrases, support, influence, consistency, present, absent (means on the scale of the answers)."""
        self.check_state(state)
        memory = Memory.of(state.arrays)
        factors = memory.factors
        rows = factors.table(most=self.most)
        phrases = [[memory.phrases[at] for at in np.flatnonzero(factors.labels == row)] for row in rows]
        return pl.DataFrame(
            {
                "factor": [factors.names[at] for at in rows], "phrases": phrases, "support": factors.support[rows].astype(np.int64),
                "influence": factors.influence[rows], "consistency": np.abs(factors.influence[rows]),
                "present": self._scale.back(factors.present[rows]), "absent": self._scale.back(factors.absent[rows]),
            }
        )  # fmt: skip

    def _state(self, memory: Memory, *, before: State | None, examples: int) -> State:
        # What was read of a person is not kept.
        self._reading.clear()
        kept = sum(one.path is not None for one in memory.items)
        notes = {"items": len(memory.items), "skipped": memory.skipped, "paths": kept, "insufficient contrast": not memory.contrast}
        return self.make_state(memory.arrays(), before=before, examples=examples, notes=notes)

    # --- answers

    def answer(self, requests: Sequence[str], states: States, *, show: Show = "all", by: Literal["features", "text"] = "features") -> list[Answer]:
        """An answer to each request with its own state.

        Parameters
        ----------
        show: what of a state is shown: everything; past cases with their reasons, without the factor table; the cases alone; or nothing.
        by: whether cases are found by features, or by the texts of the requests, as response-level personalisation does.

        Raises `ConfigError` for another number of states, `BadValue` for a request that is no text.
        """
        self.check_fitted()
        if len(requests) != len(states):
            raise ConfigError(f"{len(states)} states for {len(requests)} requests", fix="give one for each, or None")
        known: dict[int, Memory] = {}
        prompts, drafts = list[Prompt](), []
        for number, (request, state) in enumerate(zip(requests, states, strict=True)):
            if not isinstance(request, str) or not request.strip():
                raise BadValue("a request is no text", fix="give some words", request=number)
            self.check_state(state)
            memory = None
            if state is not None:
                memory = known[id(state)] if id(state) in known else known.setdefault(id(state), Memory.of(state.arrays))
            memory = memory if memory is not None and memory.contrast and show != "nothing" else None
            found = (self._found(request) or []) if memory is not None else []
            # Without any feature there is nothing to compare but the words.
            flags = ("population",) if memory is None else () if found or by == "text" else ("text similarity",)
            shown = self._reading.similar(memory, request, found if by == "features" else []) if memory is not None else []
            table = bool(found) and show == "all"
            prompts.append(self._reading.prompt(memory, found, shown, table=table, reasons=bool(found) and show != "cases"))
            rows = self._reading.table(memory) if memory is not None and table else np.zeros(0, np.int64)
            drafts.append((request, memory, found, [at for at, _ in shown], rows, flags))
        if self._writer is not None:
            made = [rpm_language.answer(self._writer, *draft) for draft in drafts]
        elif self._scale.free:
            raise NotFitted("answers are words, which the small reader does not write", fix="name a language model with use(writer=...)")
        else:
            made = self._read(prompts, drafts)
        self._reading.clear()
        return made

    def write(self, messages: Sequence[Mapping[str, str]], state: State | None = None) -> str:
        """The answer to the last message of the user, in words."""
        check_messages(messages)
        request = next((text_of(one) for one in reversed(messages) if one["role"] == "user"), "")
        return self.answer([request], [state])[0].text

    def _read(self, prompts: Sequence[Prompt], drafts: Sequence[Any]) -> list[Answer]:
        values = answered(self.network_, prompts)
        # How much the answer leans on a factor: what it would be without it.
        less = answered(self.network_, [prompt.alone(at) for prompt in prompts for at in range(len(prompt.factors))])
        out, start = [], 0
        for value, prompt, (_, memory, found, shown, rows, flags) in zip(values, prompts, drafts, strict=True):
            moved = value - less[start : start + len(rows)]
            start += len(prompt.factors)
            items = tuple(memory.items[at].id for at in shown) if memory is not None else ()
            side = 1 if value >= float(memory.factors.mean if memory and not self._scale.labels else 0) else -1
            reasons = self._reading.cited(memory, found, rows, moved, side, share=self.cite) if memory is not None else ()
            out.append(Answer(self._scale.words(value), float(self._scale.back(value)), reasons, items, flags))
        return out

    def _reasoned(self, memory: Memory) -> Memory:
        if self._writer is not None and memory.contrast:
            return memory.with_paths(rpm_language.reasons(self._writer, memory, self._reading.table(memory)))
        return reasoned(memory, self.network_, self._reading, labels=bool(self.labels_))

    # --- reading

    @property
    def _scale(self) -> Scale:
        return Scale(tuple(self.labels_), *self.scale_)

    @property
    def _reading(self) -> Reading:
        if self._composed is None:
            self._composed = Reading(uncached(text_encoder(self.encoder)), self.k, self.most)
        return self._composed

    def _job(self) -> Job:
        if self._features is None:
            raise NotFitted("nobody was named who lists features", fix="call use(features=feature_job(backend)), or give a RuleJob")
        return self._features

    def _found(self, request: str, answer: str | None = None) -> list[Feature] | None:
        """Features; None where they cannot be read."""
        try:
            return features(self._job(), request, answer)
        except BadAnswer:
            return None

    def _remember(self, items: Sequence[Item], before: Memory | None = None) -> Memory:
        items = items[-self.keep :]
        found = [self._found(one.request, one.answer) for one in items]
        kept = [one for one, own in zip(items, found, strict=True) if own is not None]
        listed = [own for own in found if own is not None]
        skipped = len(items) - len(kept)
        texts = self._reading.vectors([one.request for one in kept])
        if before is not None:
            old: list[list[Feature]] = [[] for _ in before.items]
            for item, phrase, sign in before.features.tolist():
                old[item].append((before.phrases[phrase], sign))
            kept, listed, skipped = [*before.items, *kept], [*old, *listed], skipped + before.skipped
            texts = np.concatenate([before.texts.astype(np.float32), texts])
        kept, listed, texts = kept[-self.keep :], listed[-self.keep :], texts[-self.keep :]
        phrases = list(dict.fromkeys(phrase for own in listed for phrase, _ in own))
        vectors = dict(zip(phrases, self._reading.vectors(phrases), strict=True))
        return remembered(kept, listed, vectors, texts, threshold=self.threshold, skipped=skipped, names=self._names if self._namer else None)

    def _names(self, groups: Sequence[Sequence[str]]) -> list[str]:
        """Of each group of phrases; a name that cannot be read is its first phrase."""
        given = [self._namer.one(list(group)).value if self._namer else None for group in groups]
        return [name.strip() if isinstance(name, str) and name.strip() else group[0] for name, group in zip(given, groups, strict=True)]
