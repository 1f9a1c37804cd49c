"""The one loop of tuning to a few pictures: which words and which weights learn, from which prompts, with which further terms.

Most methods of the room are a choice of these four and one new function. What is learned stands beside the prior, which is left as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sartor.draw.parts.by_time import Speak, now
from sartor.draw.parts.fitting import Phase, adapt
from sartor.draw.parts.objectives import Noised, Times, noised, weighted
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.sampler import sample
from sartor.draw.parts.tap import Recorder, Slots
from sartor.draw.parts.tokens import Concept, Words
from sartor.draw.parts.weights import Weights
from sartor.errors import BadPrompt, ConfigError


class Step(NamedTuple):
    """One step as a further term of the loss sees it."""

    number: int
    """From 0."""
    numbers: Tensor
    """int64 [B], which pictures."""
    prompts: list[str]
    words: Words
    concepts: tuple[Concept, ...]
    """With the rows that learn."""
    context: Tensor
    """float [B, T, d], of the prompts."""
    data: Noised
    output: Tensor
    """The denoiser's, [B, c, h, w]."""
    maps: Mapping[str, Tensor]
    """Attention by layer, [B, pixels, T], where it is recorded."""


Term = Callable[[Step], Tensor]
"""A scalar that is added to the loss; it carries its own weight."""
Say = Callable[[Tensor], "tuple[Sequence[str], Tensor | None]"]
"""From picture numbers to a prompt for each, and masks [B, 1, H, W] of what counts, or None for those of the references."""


# --- pictures of the class

CLASS_PICTURES, MOST_CLASSES = "class pictures", 8


@dataclass(frozen=True, eq=False)
class ClassPictures:
    """What the frozen prior itself draws of a class: tuning that also explains these does not forget the class (Ruiz et al., DreamBooth, 2023)."""

    prompt: str
    latents: Tensor
    """float [n, c, h, w]."""


def class_pictures(prior: Prior, prompt: str, count: int = 64, *, seed: int = 0, batch: int = 32) -> ClassPictures:
    """Draw them; those of the last few prompts are kept while the prior is open, until something is forgotten (`forget_class_pictures`)."""
    if count < 1:
        raise ConfigError(f"{count} class pictures", fix="use at least 1")
    # What somebody calls her things is not kept.
    key = (CLASS_PICTURES, hashlib.blake2b(prompt.encode(), digest_size=16).hexdigest(), count, seed)
    found = prior.kept.get(key)
    if found is None:
        for oldest in _kept_classes(prior)[: -MOST_CLASSES + 1]:
            prior.kept.pop(oldest, None)
        with torch.no_grad():
            context = prior.encode([prompt])
        parts = []
        for start in range(0, count, batch):
            seeds = [seed * 1_000_003 + number for number in range(start, min(count, start + batch))]
            parts.append(sample(prior, context.expand(len(seeds), -1, -1), seeds))
        found = prior.kept[key] = torch.cat(parts)
    # Somebody else's may be forgotten meanwhile, and these with them.
    return ClassPictures(prompt, found)


def forget_class_pictures(prior: Prior) -> None:
    """For whoever forgets a thing: pictures that were drawn for it go, too."""
    for key in _kept_classes(prior):
        prior.kept.pop(key, None)


def _kept_classes(prior: Prior) -> list[Any]:
    return [key for key in list(prior.kept) if isinstance(key, tuple) and key[0] == CLASS_PICTURES]


# --- the loop


class Tuned(NamedTuple):
    """What came out; what the weights have learned is in `weights.arrays()`."""

    concepts: tuple[Concept, ...]
    record: dict[str, Any]
    """Steps, losses, seconds (`fitting.adapt`)."""


def tune(
    prior: Prior, references: References, concepts: Sequence[Concept], prompts: Sequence[str] | Say, *, steps: int, word_rate: float = 0.0,
    weights: Weights | None = None, weight_rate: float = 0.0, beside: ClassPictures | None = None, beside_weight: float = 1.0,
    terms: Sequence[Term] = (), record: Recorder | None = None, slots: Slots | None = None, speak: Speak | None = None,
    before: Callable[[int, tuple[Concept, ...]], None] | None = None, at: Times | None = None, batch: int = 8,
    weight_decay: float = 0.0, clip_norm: float = 0.0, seed: int = 0, progress: bool = False,
) -> Tuned:  # fmt: skip
    """Minimise the denoising error of the pictures under the prompts, plus the terms.

    Parameters
    ----------
    concepts: the words in the prompts, where their rows start; they learn when `word_rate` is more than 0.
    prompts: one is drawn for each picture of a batch; or a function that says what to say and which part of each picture counts.
    weights: what of the denoiser learns, at `weight_rate`.
    beside: pictures of the class; as many as of the subject go into every batch, and the mean error of each half is taken by itself.
    record: keeps the attention that terms look at.
    speak: what the denoiser hears of a prompt at a time, in place of the concepts' rows as they are.
    before: called before every step with its number and the words; it may change their rows in place.

    Raises `BadPrompt` for a prompt without any of the concepts, and `Diverged`.
    """
    # Without a rate of their own rows are as frozen as the text encoder: no gradient goes through it.
    live = tuple(Concept(one.name, nn.Parameter(one.rows.detach().clone().to(prior.device), bool(word_rate))) for one in concepts)
    say = prompts if callable(prompts) else _drawn(prompts, [one.name for one in concepts])
    groups: list[tuple[list[nn.Parameter], float]] = []
    if word_rate:
        groups.append(([one.rows for one in live if isinstance(one.rows, nn.Parameter)], word_rate))
    if weights is not None and weight_rate:
        groups.append((weights.parameters(), weight_rate))
    if not groups:
        raise ConfigError("nothing would learn", fix="give word_rate, or weights and weight_rate")
    count = 0

    def loss(numbers: Tensor) -> Tensor:
        nonlocal count
        if before is not None:
            with torch.no_grad():
                before(count, live)
        texts, masks = say(numbers)
        latents, own = references.latents[numbers], len(numbers)
        said = list(texts)
        if beside is not None:
            latents = torch.cat([latents, beside.latents[torch.randint(len(beside.latents), (own,))]])
            said += [beside.prompt] * own
        if masks is None and references.masks is not None:
            masks = references.masks[numbers]
        words = prior.words(said, live)
        data, through = noised(prior, latents, at=at), slots
        if speak is None:
            context = prior.encode_words(words, live)
        else:
            heard = speak(words, data.t)
            context, through = heard.keys[0], replace(slots or Slots(), context=now(heard).context)
        if record is not None:
            record.maps.clear()
        inside = through if record is None else replace(through or Slots(), record=record)
        with weights.use(len(latents)) if weights is not None else nullcontext():
            output = prior.predict(data.seen, data.t, context, slots=inside)
        target = prior.target(data.clean, data.noise, data.t)
        total = weighted(output[:own], target[:own], masks).mean()
        if beside is not None:
            total = total + beside_weight * weighted(output[own:], target[own:]).mean()
        if terms:
            maps = {} if record is None else {name: one[:own] for name, one in record.maps.items()}
            half = Noised(*(part[:own] for part in data))
            first = Words(words.ids[:own], {name: one[:own] for name, one in words.places.items()}, words.lengths[:own])
            step = Step(count, numbers, said[:own], first, live, context[:own], half, output[:own], maps)
            total = total + sum((term(step) for term in terms), total.new_zeros(()))
        count += 1
        return total

    phase = Phase(steps=steps, parameters=groups, loss=loss, batch=batch, weight_decay=weight_decay, clip_norm=clip_norm)
    run = adapt(references, [phase], lock=prior.lock, seed=seed, progress=progress)
    return Tuned(tuple(Concept(one.name, one.rows.detach().clone()) for one in live), run)


def _drawn(prompts: Sequence[str], names: Sequence[str]) -> Say:
    if not prompts:
        raise BadPrompt("there is no prompt", fix="give e.g. 'a <mug>'")
    for prompt in prompts:
        if names and not any(name in prompt.split() for name in names):
            raise BadPrompt(f"'{prompt}' has none of {', '.join(names)}", fix="write the concept's word into it")
    return lambda numbers: ([prompts[int(one)] for one in torch.randint(len(prompts), (len(numbers),))], None)
