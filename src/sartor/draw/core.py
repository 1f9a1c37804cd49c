"""CoRe: a learned word is held to sit among other words as its class word does, by text alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sartor.draw._base import ConceptMethod, Plan, Taught
from sartor.draw._shown import Shown
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.sampler import times
from sartor.draw.parts.tap import Recorder, Slots
from sartor.draw.parts.tokens import Concept, at_norm, of_word
from sartor.draw.parts.tuning import Step, tune
from sartor.draw.parts.weights import LowRank
from sartor.draw.parts.word_learning import learn_word
from sartor.errors import BadPrompt, ConfigError
from sartor.parts.trainer import seeded

_GROUNDS = ("on grass", "on sand", "on snow", "on night", "on sea", "on brick", "in the desert", "in a city", "under water")
_PLACES = ("at top left", "at top right", "at bottom left", "at bottom right", "at center", "on the left", "in the distance", "seen from above")
_COLOURS = ("red", "green", "blue", "yellow", "purple", "pink", "golden", "white")
_STYLES = ("a painting of a {}", "a pencil drawing of a {}", "a {} as a statue", "a {} made of paper", "a cartoon of a {}")
_DOING = "that is running", "that is asleep", "that jumps", "with a hat", "in a red coat", "that wears glasses"
ANIMATE = tuple(f"a {{}} {what}" for what in _DOING)
"""Actions and outfits, for what lives."""
TEMPLATES = (
    *(f"a {{}} {where}" for where in (*_GROUNDS, *_PLACES)), *(f"a {colour} {{}}" for colour in _COLOURS), *_STYLES,
    *(f"a {{}} {place} {ground}" for place in _PLACES for ground in _GROUNDS if place.startswith("at") and ground.startswith("on")),
    *(f"a {{}} {relation} a {colour} {noun}" for relation in ("left of", "above") for colour in _COLOURS for noun in ("circle", "car", "tree")),
)  # fmt: skip
"""Backgrounds, places, colours, styles, compositions; a prior uses those that it can say."""


@dataclass(kw_only=True, eq=False)
class CoRe(ConceptMethod):
    """Textual inversion with twins: a template with the new word and the same template with its class word should mean the same everywhere but there.

        method.draw(["a <mug> on sand"], [state], repair=10)     # first mends a copy of the word for this very prompt; the copy is not kept

    Source: Wu et al., CoRe: Context-Regularized Text Embedding Learning for Text-to-Image Personalization, AAAI 2025. No code is published; what the
    denoiser sees while its attention is compared is not said there: here noised pictures of the batch, and noise in `repair`. The paper's weights
    are for Stable Diffusion 2.1 (1.5e-4 and 0.05), where words are shorter; those here were raised for the small prior, the rate as for textual
    inversion. State: rows float32 [1, d], and with a second stage weights.<layer>.{A, B} at low rank.
    """

    steps: int = 250
    learning_rate: float = 6e-2
    batch: int = 8
    context_weight: float = 0.02
    """Of 1 - cosine of what the text encoder says at all other places."""
    attention_weight: float = 5.0
    """Of the squared difference of mean attention to all other places."""
    twins: int = 2
    """Pictures of a batch on which attention is compared."""
    templates: Sequence[str] | None = None
    """With one {} each; `TEMPLATES` where not given."""
    animate: bool = False
    """Whether the class can act and dress."""
    second_steps: int = 0
    """Of tuning the denoiser at low rank with the word frozen, afterwards; 1,000 of all its weights in the paper."""
    second_rate: float = 1e-3
    rank: int = 4

    def _check_thing(self, prior: Prior, shown: Shown) -> None:
        super()._check_thing(prior, shown)
        if min(self.context_weight, self.attention_weight) < 0 or self.twins < 1:
            what = f"context_weight {self.context_weight}, attention_weight {self.attention_weight}, twins {self.twins}"
            raise ConfigError(what, fix="use weights >= 0, twins >= 1")
        if (count := len(of_word(prior.text_encoder, prior.tokenizer, shown.class_word))) != 1:
            fix = "give a class word of one token: twins must stand in the same places"
            raise BadPrompt(f"{shown.name} takes one place, '{shown.class_word}' takes {count}", fix=fix)
        self._bank(prior)

    def _bank(self, prior: Prior) -> list[str]:
        given = self.templates if self.templates is not None else (*TEMPLATES, *(ANIMATE if self.animate else ()))
        for one in given:
            if one.count("{}") != 1:
                raise BadPrompt(f"the template '{one}' has {{}} {one.count('{}')} times", fix="write it once, where the word stands")
        bank = [one for one in given if self.templates is not None or _can_say(prior, one.format("a"))]
        if not bank:
            raise ConfigError("there is no template that this prior can say", fix="give templates, such as 'a {} on sand'")
        return bank

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        bank, start = self._bank(prior), of_word(prior.text_encoder, prior.tokenizer, shown.class_word)
        prompts = self.captions(shown)

        def twins(step: Step) -> Tensor:
            some = slice(0, min(self.twins, len(step.prompts)))
            chosen = [bank[int(number)] for number in torch.randint(len(bank), (len(step.prompts[some]),))]
            texts = [template.format(shown.name) for template in chosen]
            seen, t = step.data.seen[some], step.data.t[some]
            of_text, of_maps = apart(prior, texts, step.concepts[0], shown.class_word, seen, t, attention=self.attention_weight > 0)
            return self.context_weight * of_text.mean() + self.attention_weight * of_maps.mean()

        word, record = learn_word(
            prior, references, shown.name, start, prompts=prompts, steps=self.steps, learning_rate=self.learning_rate, batch=self.batch,
            terms=[twins] if self.context_weight or self.attention_weight else [], before=kept_length(self.steps), seed=seed, progress=progress,
        )  # fmt: skip
        learned = {"rows": word.rows}
        if self.second_steps:
            with LowRank(prior, rank=self.rank, seed=seed) as weights:
                second = tune(
                    prior, references, [word], prompts, steps=self.second_steps, weights=weights, weight_rate=self.second_rate, batch=self.batch,
                    seed=seed, progress=progress,
                )  # fmt: skip
                learned |= {f"weights.{name}": value for name, value in weights.arrays().items()}
                record = {**record, "second": second.record}
        return learned, record

    def _plan(
        self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, repair: int = 0, repair_rate: float = 2e-2, **options: Any
    ) -> Plan:
        if repair < 0:
            raise ConfigError(f"repair is {repair}", fix="use a number of steps, such as 10")
        plan = super()._plan(prior, prompts, taught, **options)
        if repair:
            words = [one.concept(name) for name, one in taught.items()]
            for number, (name, one) in enumerate(taught.items()):
                if lacking := [prompt for prompt in prompts if prompt.split().count(name) != 1]:
                    raise BadPrompt(f"'{lacking[0]}' has {name} {lacking[0].split().count(name)} times", fix="write it once to have it repaired")
                others = {other: taught[other].class_word for other in taught if other != name}
                words[number] = self._mended(prior, prompts, words[number], one.class_word, others, repair, repair_rate)
            plan.context = prior.encode(prompts, words)
        return plan

    @torch.enable_grad()
    def _mended(
        self, prior: Prior, prompts: list[str], word: Concept, class_word: str, others: Mapping[str, str], steps: int, rate: float
    ) -> Concept:
        """A row for each prompt, led by the two terms on that prompt alone."""
        texts = prompts
        for name, noun in others.items():
            texts = [text.replace(name, noun) for text in texts]
        live = Concept(word.name, nn.Parameter(word.rows.expand(len(texts), -1, -1).clone()))
        optimizer = torch.optim.Adam([live.rows], lr=rate)
        latents = (prior.unet.config.in_channels, prior.unet.config.sample_size, prior.unet.config.sample_size)
        with seeded(0):
            seen = torch.randn(1, *latents).expand(len(texts), -1, -1, -1).to(prior.device, prior.dtype)
        t = torch.full((len(texts),), times(prior, self.sampling_steps)[0], device=prior.device)
        for _ in range(steps):
            of_text, of_maps = apart(prior, texts, live, class_word, seen, t, attention=self.attention_weight > 0)
            loss = (self.context_weight * of_text + self.attention_weight * of_maps).sum()
            live.rows.grad = torch.autograd.grad(loss, live.rows)[0]
            optimizer.step()
        return Concept(word.name, live.rows.detach())


def apart(
    prior: Prior, texts: Sequence[str], word: Concept, class_word: str, seen: Tensor, t: Tensor, *, attention: bool = True
) -> tuple[Tensor, Tensor]:
    """How far texts are from their twins, which have the class word in the word's place: two terms float [n].

    The first is the mean over all other places, filler and end included, of 1 - cosine of the text encoder's outputs; the second that of the squared
    difference of mean attention, over all cross-attention layers, pixels and heads, while the denoiser sees latents [n, c, h, w] at times [n].
    """
    words = prior.words(texts, [word])
    other = (words.places[word.name] < 0).to(prior.device)
    count = other.sum(1)
    context = prior.encode_words(words, [word])
    with torch.no_grad():
        twin = prior.encode([text.replace(word.name, class_word) for text in texts])
    of_text = ((1 - torch.cosine_similarity(prior.tokens(context), prior.tokens(twin), dim=-1)) * other).sum(1) / count
    if not attention:
        return of_text, torch.zeros_like(of_text)
    own = _attended(prior, seen, t, context)
    with torch.no_grad():
        wanted = _attended(prior, seen, t, twin)
    return of_text, ((own - wanted) ** 2 * other).sum(1) / count


def _can_say(prior: Prior, text: str) -> bool:
    """Whether its words are those of a closed language, and not too many."""
    try:
        prior.words([text])
    except BadPrompt:
        return False
    return True


def _attended(prior: Prior, seen: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """float [n, T]: mean attention to each place."""
    recorder = Recorder()
    prior.predict(seen, t, context, slots=Slots(record=recorder))
    return torch.stack([one.mean(1) for one in recorder.maps.values()]).mean(0)


def kept_length(steps: int) -> Callable[[int, tuple[Concept, ...]], None]:
    """Before each step: in the middle fifth of training the word keeps the length it had before the last step."""
    lengths: list[Tensor] = []

    def before(number: int, concepts: tuple[Concept, ...]) -> None:
        rows = concepts[0].rows
        if 0.4 * steps < number <= 0.6 * steps and lengths:
            rows.copy_(at_norm(rows, lengths[-1]))
        lengths[:] = [rows.norm(dim=-1, keepdim=True).clone()]

    return before
