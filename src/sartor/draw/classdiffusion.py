"""ClassDiffusion: tuning that keeps what "<v> class" means near what "class" means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.draw._shown import Shown
from sartor.draw.custom_diffusion import CustomDiffusion
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tokens import Concept, of_word
from sartor.draw.parts.tuning import Step, Term
from sartor.errors import BadPrompt, ConfigError


@dataclass(kw_only=True, eq=False)
class ClassDiffusion(CustomDiffusion):
    """Custom Diffusion with a semantic preservation loss, in place of class pictures.

    Tuned words drift away from their class in the text encoder, and with the class goes what could be composed with it: hats, relations. The loss
    is one minus the cosine between the encoder's summary of the bare phrase "<v> class" and that of "class"; it needs no pictures.

    Source: Huang et al., ClassDiffusion: More Aligned Personalization Tuning with Explicit Class Guidance, ICLR 2025. Differs from the paper in:
    things are learned one after another, pictures are not mirrored. Its metric, an image-text matching head, is not here. State: that of
    `CustomDiffusion`.
    """

    preservation: float = 1.0
    """Weight of the loss."""
    frame: str = "{}"
    """What the phrases stand in; "a {}" for a prior that has hardly read a noun without its article."""

    def _check_thing(self, prior: Prior, shown: Shown) -> None:
        super()._check_thing(prior, shown)
        if not self.preservation >= 0:
            raise ConfigError(f"preservation is {self.preservation}", fix="use 0 or more")
        if self.frame.count("{}") != 1:
            raise ConfigError(f"the frame '{self.frame}' has {{}} {self.frame.count('{}')} times", fix="write it once, such as 'a {}'")
        if (count := len(of_word(prior.text_encoder, prior.tokenizer, shown.class_word))) != 1:
            raise ConfigError(f"the class word '{shown.class_word}' is {count} tokens", fix="give a class word of one token")

    def _terms(self, prior: Prior, shown: Shown) -> Sequence[Term]:
        def preserve(step: Step) -> Tensor:
            return self.preservation * semantic_drift(prior, step.concepts[0], shown.class_word, frame=self.frame)

        return [*super()._terms(prior, shown), preserve] if self.preservation else super()._terms(prior, shown)


def semantic_drift(prior: Prior, concept: Concept, class_word: str, *, phrase: str | None = None, frame: str = "{}") -> Tensor:
    """One minus the cosine between the text encoder's summaries of "<v> class" and "class": 0 where the concept leaves the meaning as it was.

    phrase: another one in place of "<v> class"; raises `BadPrompt` when the concept is not in it. frame: what both phrases stand in.
    """
    phrase = frame.format(f"{concept.name} {class_word}") if phrase is None else phrase
    if concept.name not in phrase.split():
        raise BadPrompt(f"'{phrase}' does not say {concept.name}", fix=f"say e.g. '{concept.name} {class_word}'")
    with torch.no_grad():
        of_class = summary(prior, frame.format(class_word), ())
    return 1 - F.cosine_similarity(summary(prior, phrase, (concept,)), of_class, dim=0)


def summary(prior: Prior, text: str, concepts: Sequence[Concept]) -> Tensor:
    """float [d], the text encoder's output at the end of a text; what CLIP calls pooled."""
    words = prior.words([text], concepts)
    return prior.encode_words(words, concepts)[0, int(words.end()[0])]
