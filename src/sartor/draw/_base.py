"""What every method has that learns things from a few pictures of each: evidence, states, drawing."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sartor import _fields
from sartor.data.population import Evidence
from sartor.draw._on_prior import OnPrior, open_prior
from sartor.draw._shown import Shown, listed, shown_by, spell
from sartor.draw._taught import Plan, Strength, Taught, strength_of
from sartor.draw.parts.lora_files import TEXT
from sartor.draw.parts.previews import Preview
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.regions import Region, checked, kept_inside, said_at
from sartor.draw.parts.sampler import sample
from sartor.draw.parts.tap import Slots
from sartor.draw.parts.tokens import NAME, Concept, numbers, of_word
from sartor.draw.parts.tuning import forget_class_pictures
from sartor.draw.parts.weights import changed
from sartor.errors import BadPrompt, ConfigError, UnknownId
from sartor.method import State, States

__all__ = ["DRAWN_AT_ONCE", "ConceptMethod", "OnPrior", "Plan", "Strength", "Taught", "open_prior", "strength_of"]

DRAWN_AT_ONCE = 64


@dataclass(kw_only=True, eq=False)
class ConceptMethod(OnPrior):
    """Learns things from a few pictures of each, and draws them wherever the prompt says.

        method = TextualInversion().fit()                     # nothing is learned from others: it stands on a prior
        state = method.learn(Shown(name="<mug>", class_word="mug", images=pictures))
        pictures = method.draw(["a <mug> on sand"], [state], seeds=[7])

    A state holds any number of things. Prompts name a thing by its word alone; a method that was taught "<mug> mug" puts the class word behind it
    by itself, and somebody without a state gets a thing of the class (`draw(..., classes={"<mug>": "mug"})`).
    """

    says_class: ClassVar[bool] = False
    """Whether prompts say "<mug> mug", as tuning with weights does, or "<mug>" alone."""
    alone: ClassVar[bool] = False
    """Whether a prompt may have one thing only."""

    # --- learning

    def learn(self, shown: Shown | Sequence[Shown], state: State | None = None, *, seed: int | None = None, progress: bool = False) -> State:
        """The state of somebody who shows these things; with `state`, they are added to it, and a thing of the same word is learned anew.

        Raises `BadImage`, `BadPrompt`, `EmptyData`, `ConfigError` for two things with one word, and `Diverged`.
        """
        self.check_state(state)
        _fields.check(self)
        things = listed(shown)
        prior = self.bundle
        arrays = dict(state.arrays) if state is not None else {}
        facts: dict[str, Any] = {name: dict(one) for name, one in (state.notes["concepts"].items() if state is not None else ())}
        for one in things:
            self._check_thing(prior, one)
            references = References.of(prior, one.images, masks=one.masks)
            with prior.learning, prior.lock:
                tensors, record = self._learn(prior, references, one, self.seed if seed is None else seed, progress)
            arrays = {key: value for key, value in arrays.items() if not key.startswith(f"{one.name}/")}
            arrays |= {f"{one.name}/{key}": self._stored(key, value) for key, value in tensors.items()}
            facts[one.name] = {"class_word": one.class_word, "images": len(references), "hashes": list(references.hashes), "record": record}
        return self.make_state(arrays, before=state, examples=sum(len(one.images) for one in things), notes={"concepts": facts})

    def _learn(
        self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:  # fmt: skip
        """What is kept of one thing, by name, and the record of the run (JSON)."""
        raise NotImplementedError

    @staticmethod
    def _stored(key: str, value: Tensor) -> np.ndarray:
        """Changes of weights in half precision; words, which are small, as they are."""
        kind = np.float16 if key.startswith("weights.") else np.float32
        return np.ascontiguousarray(value.detach().cpu().float().numpy().astype(kind))

    def _check_thing(self, prior: Prior, shown: Shown) -> None:
        if not NAME.fullmatch(shown.name):
            raise ConfigError(f"'{shown.name}' is not a name of a concept", fix="write it as <mug>")
        prior.words([f"a {shown.class_word}"])
        of_word(prior.text_encoder, prior.tokenizer, shown.class_word)
        if shown.captions is not None and len(shown.captions) != len(shown.images):
            raise ConfigError(f"{len(shown.captions)} captions for {len(shown.images)} pictures", fix="give one each")

    def check_thing(self, name: str, class_word: str) -> None:
        """Raise `ConfigError` or `BadPrompt` for a thing that this could not learn, whatever its pictures."""
        self._check_thing(self.bundle, Shown(name=name, class_word=class_word, images=np.zeros((0, 1, 1, 3), np.uint8)))

    def check_record(self, name: str, record: Mapping[str, Any]) -> None:
        """Raise where a thing, by the record of how it was learned, is not for this model; most need no more than the same prior and settings."""

    def captions(self, shown: Shown, *, templates: Sequence[str] = ("a {}",)) -> list[str]:
        """What training says of the pictures, with the class word where this method has it."""
        phrase = f"{shown.name} {shown.class_word}" if self.says_class else shown.name
        return [one.format(phrase) for one in templates]

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """Learn the things in a person's `images` frame: columns path, item (the word, with or without brackets) and class_word."""
        return self.learn(shown_by(evidence, self.bundle.size), state)

    def without(self, state: State, name: str) -> State | None:
        """The state with one thing forgotten; None when it was the only one."""
        self.check_state(state)
        if name not in state.notes["concepts"]:
            raise UnknownId("the state has no such concept", id=name, fix=f"it has {', '.join(state.notes['concepts'])}")
        facts = {key: value for key, value in state.notes["concepts"].items() if key != name}
        arrays = {key: value for key, value in state.arrays.items() if not key.startswith(f"{name}/")}
        forget_class_pictures(self.bundle)
        return self.make_state(arrays, before=state, notes={"concepts": facts}) if facts else None

    # --- drawing

    @torch.no_grad()
    def draw(
        self, prompts: Sequence[str], states: States, *, seeds: Sequence[int] | None = None, classes: Mapping[str, str] | None = None,
        present: Sequence[str] = (), regions: Mapping[str, Region] | None = None, preview: Preview | None = None, **options: Any
    ) -> np.ndarray:  # fmt: skip
        """uint8 [n, H, W, 3], one picture for each prompt.

        Parameters
        ----------
        states: one for each prompt; None means the population's answer, a thing of the class.
        seeds: one for each prompt; equal seeds draw alike across states. 0, 1, ... by default.
        classes: the class words of things in prompts without a state.
        present: things whose changes of weights are in effect though the prompt does not say them, by which one sees what leaks.
        regions: where each learned word may be looked at, of the words that are named: "left", (0, 0, 0.5, 1), a mask (`parts.regions`).
        preview: sees the pictures as they become clear.
        options: what this method can do at request time (its `_plan`).

        Raises `BadPrompt` for a word that the state has not been taught, and `StateMismatch` for a state of another model.
        """
        seeds = list(range(len(prompts))) if seeds is None else list(seeds)
        if not len(prompts) == len(states) == len(seeds):
            raise ConfigError(f"{len(prompts)} prompts, {len(states)} states, {len(seeds)} seeds", fix="give one each")
        if unknown := sorted({*options} - self.drawing_options()):
            raise ConfigError(f"{type(self).__name__} does not draw with '{unknown[0]}'", fix=f"it has {', '.join(sorted(self.drawing_options()))}")
        prior = self.bundle
        for state in {id(one): one for one in states}.values():
            self.check_state(state)
        masks = checked(regions or {}, sorted({name for state in states if state is not None for name in state.notes["concepts"]}))
        out = np.zeros((len(prompts), prior.size, prior.size, 3), np.uint8)
        for state, rows in _alike(prompts, states):
            texts, seen = [prompts[row] for row in rows], None if preview is None else preview.of(rows)
            with prior.lock:
                out[rows] = self._drawn(prior, texts, state, [seeds[row] for row in rows], classes or {}, present, options, masks=masks, preview=seen)
        return out

    def _check_prompts(self, prompts: Sequence[str], taught: Mapping[str, Taught], present: Sequence[str]) -> None:
        """Raise `BadPrompt` where this method needs more of prompts than words that it knows."""

    def _drawn(
        self,
        prior: Prior,
        prompts: list[str],
        state: State | None,
        seeds: list[int],
        classes: Mapping[str, str],
        present: Sequence[str],
        options: dict[str, Any],
        *,
        masks: Mapping[str, Tensor] = MappingProxyType({}),
        preview: Preview | None = None,
    ) -> np.ndarray:
        taught = self.taught(state)
        self._check_prompts(prompts, taught, present)
        said = sorted({name for prompt in prompts for name in NAME.findall(prompt)})
        known = {**classes, **{name: one.class_word for name, one in taught.items()}}
        if unknown := [name for name in said if name not in known]:
            raise BadPrompt(f"{unknown[0]} is not a concept here", fix=f"there are {', '.join(taught) or 'none'}; without a state, give classes")
        if self.alone and len([name for name in said if name in taught]) > 1:
            raise BadPrompt(f"{type(self).__name__} draws one concept at a time, not {' and '.join(said)}", fix="draw one, or use another method")
        texts = [spell(prompt, known, taught, says_class=self.says_class) for prompt in prompts]
        pictures = []
        for start in range(0, len(texts), DRAWN_AT_ONCE):
            part = slice(start, start + DRAWN_AT_ONCE)
            used = {name: taught[name] for name in taught if name in said or name in present}
            plan = self._plan(prior, texts[part], used, **options) if used else Plan(context=prior.encode(texts[part]))
            settings = {"steps": self.sampling_steps, "guidance": self.guidance, **plan.options}
            if bounded := {name: masks[name] for name in masks if name in used}:
                plan.slots = self._bounded(prior, texts[part], used, bounded, plan.slots or Slots())
            if preview is not None:
                settings["watch"] = preview.watch(prior, range(len(texts))[part])
            with ExitStack() as stack:
                stack.enter_context(plan.inside)
                pictures.append(prior.images(sample(prior, plan.context, seeds[part], slots=plan.slots, **settings)))
        return np.concatenate(pictures)

    def _places(self, one: Taught) -> int:
        """How many tokens of a prompt a thing takes; raises `ConfigError` where it stands in a prompt otherwise than by words."""
        if "rows" not in one.tensors:
            raise ConfigError(f"{type(self).__name__} takes no regions", fix="use a method that learns words, or leave the regions out")
        return len(one.tensors["rows"])

    def _bounded(self, prior: Prior, prompts: list[str], used: Mapping[str, Taught], masks: Mapping[str, Tensor], slots: Slots) -> Slots:
        """Slots in which the words with masks are looked at in their regions only. Prompts are as the text encoder reads them."""
        words = prior.words(prompts, [Concept(name, torch.zeros(self._places(one), prior.dim)) for name, one in used.items()])
        kinds = {name: numbers(prior.tokenizer, used[name].class_word) for name in masks}
        places = {name: said_at(words.ids, words.places[name], kinds[name]) for name in masks}
        return replace(slots, change=kept_inside(places, masks, slots.change))

    @classmethod
    def drawing_options(cls) -> set[str]:
        """What `draw` takes beside prompts, states and seeds: what the method's plan names."""
        names: set[str] = set()
        for owner in cls.__mro__:
            if "_plan" in vars(owner):
                own = inspect.signature(vars(owner)["_plan"]).parameters.values()
                names |= {one.name for one in own if one.kind is one.KEYWORD_ONLY}
                if not any(one.kind is one.VAR_KEYWORD for one in own):
                    break
        return names

    def taught(self, state: State | None) -> dict[str, Taught]:
        """The things of a state, by their words."""
        if state is None:
            return {}
        device = self.bundle.device
        found: dict[str, Taught] = {}
        for name, facts in state.notes["concepts"].items():
            own = {key[len(name) + 1 :]: value for key, value in state.arrays.items() if key.startswith(f"{name}/")}
            found[name] = Taught(facts["class_word"], {key: torch.from_numpy(value.astype(np.float32)).to(device) for key, value in own.items()})
        return found

    def _plan(self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, strength: Strength = 1.0) -> Plan:
        """How these prompts are drawn: by default words with learned rows, and all learned changes of weights added, each times the strength."""
        changes = {name: one.changes() for name, one in taught.items() if one.changes()}
        scales = [strength_of(strength, name) for name in changes]

        def inside() -> AbstractContextManager[Any]:
            return changed(prior, list(changes.values()), scales) if changes else nullcontext()

        # LoRA files of others may change the text encoder, too.
        with inside() if any(key.startswith(TEXT) for one in changes.values() for key in one) else nullcontext():
            context = prior.encode(prompts, [one.concept(name) for name, one in taught.items()])
        return Plan(context=context, inside=inside())


def _alike(prompts: Sequence[str], states: States) -> Iterator[tuple[State | None, list[int]]]:
    """Rows of one state whose prompts say the same things: a thing is in effect only where it is said."""
    groups: dict[Any, list[int]] = {}
    for row, (prompt, state) in enumerate(zip(prompts, states, strict=True)):
        groups.setdefault((id(state), frozenset(NAME.findall(prompt))), []).append(row)
    for rows in groups.values():
        yield states[rows[0]], rows
