"""Does the benchmark see what is planted, and does it give the published data's figures again?"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import _prefeval_lm
import numpy as np

from sartor.errors import ConfigError, FileProblem
from sartor.evaluate.claim import Claim, Outcome
from sartor.parts.statistics import bootstrap
from sartor.progress import bar
from sartor.represent.text import text_encoder
from sartor.write.backends.backend import Generation, Message
from sartor.write.memory import Recall, agreement, count_tokens
from sartor.write.memory.polarity import aspects
from sartor.write.prefeval import ERRORS, REMINDER, TOPICS, Case, PrefEval, inter_turns, load
from sartor.write.prefeval_world import PrefEvalWorld, Thing

CLAIM = Claim(
    slug="prefeval",
    paper="3,000 pairs of a preference and a question, 20 topics, explicit and implicit; zero-shot following below 10% at 10 turns (about 3,000 "
    "tokens) for most models, and reminding or retrieving repairs much of it (GPT-4o, restaurants: 0.07 against 0.98 at 10 turns).",
    passes="(a) Generated world, 200 cases, three forms, 3 seeds: writers with known errors (five kinds, all mixed) are told apart with no mistake; "
    "a writer that sees the last 300 tokens falls from >= 0.95 at 0 turns to <= 0.10 at 70, never rising by more than 0.02 on the way; with the "
    "reminder, which makes it look everywhere, and with recalled messages, both are >= 0.90 at 70 turns (explicit). More turns than the pool has "
    "are refused. (b) The published 1,000 explicit pairs with MiniLM and plain cosine, first n of the 632 messages: recall@1 / @5 within 0.02 of "
    "0.90 / 0.97 (20), 0.67 / 0.90 (200), 0.59 / 0.82 (632), and 0.09 / 0.25 among all preferences; choice of four within 0.02 of 0.33 (question), "
    "0.27 (preference), 0.43 (negated). (c) A language model of 0.14M weights, trained from nothing on talks of generated people in which assistants "
    "forget with distance unless they are reminded, asked about 200 preferences in talks that it has not seen: reminded >= as it is + 0.20 at 10 "
    "turns, every seed.",
    data=("world-prefeval", "prefeval"),
    seeds=(0, 1, 2),
)

CASES, TURNS, WINDOW = 200, (0, 2, 5, 10, 30, 70), 300
FOLDER = Path("../shared/data/prefeval")
KINDS = ("right", *ERRORS)
REFERENCE = {20: (0.90, 0.97), 200: (0.67, 0.90), 632: (0.59, 0.82)}
AMONG_ALL = (0.09, 0.25)
CHOICE = {"question": 0.33, "preference": 0.27, "negated preference": 0.43}
_SAID = re.compile(r"I (avoid|only want) ([\w-]+) (\w+?)s\.")


class Scripted:
    """A writer that is no model: it makes the errors it was told to make, or forgets what lies too far back."""

    name = "scripted"

    def __init__(self, world: PrefEvalWorld, *, kinds: Sequence[str] | None = None, window: int | None = None) -> None:
        self.world, self.kinds, self.window = world, kinds, window
        self._number = 0
        self._rng = np.random.default_rng(5)

    def generate(self, batch: Sequence[Sequence[Message]], **_: Any) -> list[Generation]:
        """One answer per conversation."""
        made = [self._planted() if self.kinds is not None else self._remembering(talk) for talk in batch]
        return [Generation(text, "stop", 0, count_tokens(text)) for text in made]

    def stream(self, messages: Sequence[Message], **_: Any) -> Iterator[str]:
        """All at once."""
        yield self.generate([messages])[0].text

    def logprobs(self, contexts: Sequence[Sequence[Message]], continuations: Sequence[str]) -> list[np.ndarray]:
        """It has none."""
        raise ConfigError("a script has no probabilities")

    def count_tokens(self, text: str) -> int:
        """As everywhere where no tokenizer is known."""
        return count_tokens(text)

    def _planted(self) -> str:
        case = self.world.cases[self._number]
        kind = self.kinds[self._number] if self.kinds is not None else ""
        self._number += 1
        right, wrong = self._one(self.world.fitting(case)), self.world.natural[case.id]
        said = f"Since you {self.world.statement(case)}, "
        if kind == "unhelpful":
            return f"{said}it is hard to say. There is much to choose from."
        if kind == "unaware":
            return f"Most people take {wrong.name}, you may like it, too."
        if kind == "inconsistent":
            return f"{said}I recommend {wrong.name}."
        if kind == "hallucinated":
            other = next(one for one in self.world.cases if self.world.truth[one.id] != self.world.truth[case.id])
            return f"Since you {self.world.statement(other)}, I recommend {wrong.name}."
        # Right answers differ, too: with and without a word about the preference.
        return f"{said if self._rng.random() < 0.5 else ''}I recommend {right.name}."

    def _remembering(self, talk: Sequence[Message]) -> str:
        question = str(talk[-1]["content"])
        kind = re.findall(r"Which (\w+) would", question)[-1]
        everything = "\n".join(str(one["content"]) for one in talk)
        seen = everything if self.window is None or REMINDER in question else everything[-4 * self.window :]
        known = [hit for hit in _SAID.findall(seen) if hit[2] == kind]
        things = [one for one in self.world.things if one.kind == kind]
        if not known:
            return f"Most people take {self._natural(question, talk).name}."
        sign, own, _ = known[-1]
        fit = [one for one in things if (one.property == own) == (sign == "only want")]
        return f"Since you {sign} {own} {kind}s, I recommend {self._one(fit).name}."

    def _natural(self, question: str, talk: Sequence[Message]) -> Thing:
        """What most people take; which case it is shows in how the talk begins, and only in which thing is popular."""
        case = next(one for one in self.world.cases if one.reveal[0]["content"] == talk[0]["content"] and one.question in question)
        return self.world.natural[case.id]

    def _one(self, things: Sequence[Thing]) -> Thing:
        return things[int(self._rng.integers(len(things)))]


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """The generated world for every seed, then the published data once."""
    if not FOLDER.is_dir():
        raise FileProblem("the published data are not here", fix="put a copy of PrefEval's benchmark_dataset there", file=FOLDER)
    confusions, curves, helped, refused, small = [], [], [], [], []
    with bar("prefeval", len(seeds) + 1, enabled=progress) as step:
        for seed in seeds:
            confusions += [_told_apart(form, seed) for form in ("explicit", "choice", "persona")]
            curve, repaired, error = _forgetting(seed)
            curves.append(curve)
            helped.append(repaired)
            refused.append(error)
            small.append(_prefeval_lm.measured(seed))
            step.advance()
        real = _published()
        step.advance()
    falls = all(curve[0] >= 0.95 and curve[-1] <= 0.10 and max(np.diff(curve)) <= 0.02 for curve in curves)
    near = all(abs(real["cosine"][count][at] - figure) <= 0.02 for count, pair in REFERENCE.items() for at, figure in enumerate(pair))
    conditions = {
        "planted errors: no mistake": sum(confusions) == 0,
        "what lies too far back is forgotten": falls,
        "reminder and recall: >= 0.90 at the longest": all(one >= 0.90 for pair in helped for one in pair.values()),
        "more turns than there are: refused": all(refused),
        "recall within 0.02 of the reference": near,
        "among all preferences within 0.02": all(abs(a - b) <= 0.02 for a, b in zip(real["among all"], AMONG_ALL, strict=True)),
        "small model: reminder >= zero-shot + 0.20 at the longest, every seed": all(
            one["reminder"][-1] - one["zero-shot"][-1] >= 0.20 for one in small
        ),
        "choice within 0.02": all(abs(real["choice"][name] - figure) <= 0.02 for name, figure in CHOICE.items()),
    }
    own, blind, swapped = (real["chosen"][name] for name in ("own", "blind", "swapped"))
    return Outcome(
        passed=all(conditions.values()),
        measured={
            "cases judged wrongly": int(sum(confusions)), "cases judged": CASES * len(confusions), "accuracy by turns, window of 300 tokens": curves,
            "turns": TURNS, "at 70 turns": helped, "cosine, recall@1 and @5": real["cosine"], "among all preferences": real["among all"],
            "choice by cosine": real["choice"], "small model, accuracy by turns": small, "turns, small model": _prefeval_lm.TURNS,
            "conditions": conditions,
        },
        baseline={
            "choice by polarity": float(own.mean()), "choice, blind (cosine of the question)": float(blind.mean()),
            "choice by somebody else's preference": float(swapped.mean()),
        },
        gain=float((own - blind).mean()),
        gain_interval=bootstrap(own - blind).tolist(),
        swap_gap=float((own - swapped).mean()),
        swap_gap_interval=bootstrap(own - swapped).tolist(),
        state_bytes=real["bytes"],
        adapt_seconds=real["seconds"],
        notes="The benchmark has no state of its own. Gain and swap gap are of the choice of four on all 1,000 published pairs by likes and dislikes "
        "(write.memory.agreement), whose weight of the question was set on half of the topics; blind is the question alone. The state is the "
        "stated preference's text with one vector of float16; the seconds are its encoding. The scripted writers are the planted effects. "
        "The small model's forgetting is planted in the talks that it is trained on (0.95 halved every two "
        "turns); what is shown is that the benchmark sees a trained model forget and a reminder help it.",
    )  # fmt: skip


def _told_apart(form: Any, seed: int) -> int:
    """How many answers are judged as another kind than they were made."""
    world = PrefEvalWorld(cases=CASES, form=form, seed=seed)
    kinds = [KINDS[at] for at in np.random.default_rng([seed, 7]).integers(len(KINDS), size=CASES)]
    bench = PrefEval(world.cases, world.pool, seed=seed)
    asked = [bench.asked(number, 5, "zero-shot") for number in range(CASES)]
    judged = [world.judge(case, answer.text).error for case, answer in zip(world.cases, Scripted(world, kinds=kinds).generate(asked), strict=True)]
    return sum((one or "right") != kind for one, kind in zip(judged, kinds, strict=True))


def _forgetting(seed: int) -> tuple[list[float], dict[str, float], bool]:
    """Accuracy by turns; at the longest with help; whether too many turns are refused."""
    world = PrefEvalWorld(cases=CASES, seed=seed)
    bench = PrefEval(world.cases, world.pool, recall=Recall(encoder=text_encoder("hashed")), seed=seed)
    writer = Scripted(world, window=WINDOW)
    curve = bench.run(writer, world.judge, turns=TURNS)["accuracy"].to_list()
    helped = bench.run(writer, world.judge, strategies=("reminder", "memory"), turns=TURNS[-1:])
    try:
        bench.conversation(0, 401)
    except ConfigError:
        return curve, dict(zip(helped["strategy"], helped["accuracy"], strict=True)), True
    return curve, dict(zip(helped["strategy"], helped["accuracy"], strict=True)), False


def _published() -> dict[str, Any]:
    """Plain cosine on the published pairs, and the choice of four."""
    encoder = text_encoder("minilm", cache=False)
    cases = load(FOLDER, topics=TOPICS)
    start = time.process_time()
    stated = encoder.encode([one.preference for one in cases])
    seconds = (time.process_time() - start) / len(cases)
    asked = encoder.encode([one.question for one in cases])
    others = encoder.encode([str(one["content"]) for talk in inter_turns(FOLDER) for one in talk])
    mine = np.einsum("nd,nd->n", asked, stated)
    cosine = {count: _recalled(asked @ others[:count].T, mine) for count in REFERENCE}
    among = _recalled(asked @ stated.T - np.diag(np.full(len(cases), np.inf)), mine)
    known = _Known(dict(zip([*(one.preference for one in cases), *(one.question for one in cases)], [*stated, *asked], strict=True)), encoder)
    known.learn([text for one in cases for text in (*one.options, *(aspect.phrase for aspect in aspects(one.preference)))])
    picks = [one for one in cases if one.options]
    by: dict[str, list[float]] = {name: [] for name in ("question", "preference", "negated preference", "own", "swapped")}
    for number, one in enumerate(picks):
        options = known.encode(one.options)
        asks, wants = known.encode([one.question])[0], known.encode([one.preference])[0]
        other = _another(picks, number)
        for name, scores in (
            ("question", options @ asks), ("preference", options @ wants), ("negated preference", -(options @ wants)),
            ("own", agreement(one.options, [one.preference], known, question=one.question).scores),
            ("swapped", agreement(one.options, [other.preference], known, question=one.question).scores),
        ):  # fmt: skip
            by[name].append(float(np.argmax(scores) == one.right))
    chosen = {"own": np.array(by["own"]), "swapped": np.array(by["swapped"]), "blind": np.array(by["question"])}
    size = float(np.mean([len(one.preference.encode()) for one in cases])) + 2 * stated.shape[1]
    return {
        "cosine": cosine, "among all": among, "choice": {name: float(np.mean(by[name])) for name in CHOICE}, "chosen": chosen, "bytes": size,
        "seconds": seconds,
    }  # fmt: skip


def _recalled(others: np.ndarray, mine: np.ndarray) -> tuple[float, float]:
    before = (others >= mine[:, None]).sum(axis=1)
    return float((before < 1).mean()), float((before < 5).mean())


def _another(cases: Sequence[Case], number: int) -> Case:
    """Somebody else's preference of the same topic."""
    same = [one for one in cases if one.topic == cases[number].topic]
    return same[(same.index(cases[number]) + 7) % len(same)]


class _Known:
    """An encoder that encodes each text once."""

    def __init__(self, kept: dict[str, np.ndarray], encoder: Any) -> None:
        self.kept, self.encoder, self.dim, self.fingerprint = kept, encoder, encoder.dim, encoder.fingerprint

    def learn(self, texts: Sequence[str]) -> None:
        fresh = [text for text in dict.fromkeys(texts) if text not in self.kept]
        self.kept |= dict(zip(fresh, self.encoder.encode(fresh), strict=True))

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        self.learn(texts)
        return np.stack([self.kept[text] for text in texts])
