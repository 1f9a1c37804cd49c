"""A trained output head that draws the words of a frozen model towards a person's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sartor.write.parts.logits import drawn


class MixtureHead(nn.Module):
    """Persona-aware bias: a W_o s + (1 - a) (W_p v + b), where a = sigmoid(w s) says how much of the word is the model's own.

    W_o s are the logits of the model, whatever it is: the head needs its last hidden state s and nothing else, and is a hook on the logits
    of any decoder (`write.parts.logits.PersonaBias`).

    Source: Zheng et al., Personalized Dialogue Generation with Diversified Traits, 2019. Differs from the paper in: b stands inside the
    bracket, so that a share of 0 is the model itself.

    Parameters
    ----------
    dim: of the hidden states.
    persona: of the persona vector v.
    vocabulary: words.
    own: what a begins as.
    """

    def __init__(self, dim: int, persona: int, vocabulary: int, *, own: float = 0.5) -> None:
        super().__init__()
        self.weigh, self.words = nn.Linear(dim, 1), nn.Linear(persona, vocabulary)
        nn.init.zeros_(self.weigh.weight)
        nn.init.constant_(self.weigh.bias, float(torch.logit(torch.tensor(own))))

    def gate(self, hidden: Tensor) -> Tensor:
        """a, float [...], of hidden states [..., dim]."""
        return self.weigh(hidden)[..., 0].sigmoid()

    def bias(self, persona: Tensor) -> Tensor:
        """Logits of the persona's own words, float [..., vocabulary], of persona vectors [..., persona]."""
        return self.words(persona)

    def forward(self, logits: Tensor, hidden: Tensor, persona: Tensor, strength: Tensor | float = 1.0) -> Tensor:
        """Logits float [..., vocabulary]; strength is a dial for 1 - a, as `PersonaBias` has it."""
        return drawn(logits, self.bias(persona), strength * (1 - self.gate(hidden)))
