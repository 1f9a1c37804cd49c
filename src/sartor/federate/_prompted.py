"""Methods that learn a prompt and a head on each device, over one frozen vision transformer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.federate._base import Federated
from sartor.federate.parts.prompted import FrozenEncoder, Prompted


@dataclass(kw_only=True, eq=False)
class OnPrompts(Federated):
    """`Federated` with a network of a few tokens and a linear head; mix it in before a method: `class FedVPT(OnPrompts, FedPer)`."""

    network: str = "prompted"
    encoder: str = ""
    """Folder or name of a ViT or of CLIP's vision tower, as transformers reads them. It is never changed, sent or saved."""
    tokens: int = 10
    """In the prompt; 0 leaves the head alone."""
    epochs: int = 5
    lr: float = 0.25
    """Of the prompt."""
    lr_head: float = 0.05

    def make_network(self) -> nn.Module:
        """The prompt and the head, the encoder beside them."""
        if not self.encoder:
            raise ConfigError("there is no encoder", fix="give the folder of a vision transformer")
        if self.tokens < 0 or self.lr_head <= 0:
            raise ConfigError(f"tokens {self.tokens}, lr_head {self.lr_head}", fix="use 0 or more tokens, and a rate above 0")
        return Prompted(FrozenEncoder.read(self.encoder), self.tokens, self.shape_, self.classes_)

    @property
    def _numbers(self) -> int:
        """In a prompt."""
        return self._net.sizes[0]

    def _rates(self) -> float | Tensor:
        return torch.cat([torch.full((self._numbers,), self.lr), torch.full((self._net.size - self._numbers,), self.lr_head)])
