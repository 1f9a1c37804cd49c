"""One text encoder with an expert per domain or customer: the request says which, and one model replaces many fine-tuned copies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import BadValue, ConfigError, CorruptFile, DuplicateRows, FileProblem, SartorError, UnknownId
from sartor.parts.contrastive import InfoNCE, PairLoss
from sartor.parts.experts import ExpertBank, Layers, fold
from sartor.parts.pair_sampler import PairSampler
from sartor.parts.pooling import Projection
from sartor.parts.trainer import History, seeded
from sartor.parts.transformer import Tokens
from sartor.represent.contrastive import ContrastiveTrainer
from sartor.represent.encoder import digest
from sartor.represent.neural import NeuralEncoder
from sartor.represent.text import neural_encoder

CONFIG = "experts.json"


class ExpertEncoder(NeuralEncoder):
    """A text encoder whose MLPs exist once per domain; attention, word vectors and the head are shared.

    Every expert starts as the MLP that the given encoder has, so that nothing is lost before training.

    Parameters
    ----------
    base: any trained `NeuralEncoder`; it is copied.
    domains: names of the experts.
    layers: "all", or "last": the last layer's MLP alone (the authors report some 85% of the gain for it).
    rank: 0 for full copies, else LoRA experts on the shared MLP.
    seed: of the head.
    """

    def __init__(self, base: NeuralEncoder, domains: Sequence[str], *, layers: Layers = "all", rank: int = 0, seed: int = 0) -> None:
        if len(set(domains)) < len(domains) or not domains:
            raise DuplicateRows(f"the domains {list(domains)}", fix="give each a name of its own, and at least one")
        self._base = base.cut(base.depth)
        self.name, self.dim, self.depth, self.pooling = f"{base.name} with {len(domains)} experts", base.dim, base.depth, base.pooling
        self.batch_size, self.max_tokens, self.device = base.batch_size, base.max_tokens, base.device
        self.domains, self.layers, self.rank, self.seed = list(domains), layers, rank, seed
        with seeded(seed):
            self.bank = ExpertBank.seed(self._base.network, self._base.stack(), len(domains), layers=layers, rank=rank)
            head = Projection(self.dim).to(self.device)
        self.network = nn.ModuleDict({"base": self._base.network, "head": head})
        self._asked: np.ndarray | None = None

    # --- vectors

    def number(self, domains: Sequence[str]) -> np.ndarray:
        """Expert numbers int64 [n] of domain names; raises `UnknownId` with the known ones."""
        known = {name: at for at, name in enumerate(self.domains)}
        if unknown := [name for name in domains if name not in known]:
            raise UnknownId("there is no expert for this domain", id=unknown[0], fix=f"there are {', '.join(self.domains)}")
        return np.array([known[name] for name in domains], np.int64)

    def encode(self, texts: Sequence[str], *, domains: str | Sequence[str] | None = None, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim].

        domains: which expert serves all texts, or each of them; may be left out where there is one only. Raises `UnknownId`, and
        `BadValue` for an empty text.
        """
        self._check(texts, domains)
        return super().encode(texts, progress=progress)

    def expert(self, domain: str) -> Expert:
        """The encoder as one domain sees it: what an index and a query of that domain are made with."""
        return Expert(self, domain)

    def _check(self, texts: Sequence[str], domains: str | Sequence[str] | None) -> None:
        if domains is None and len(self.domains) > 1:
            raise ConfigError("no domain is named", fix=f"name one of {', '.join(self.domains)}")
        named = self.domains if domains is None else [domains] if isinstance(domains, str) else domains
        asked = self.number(named)
        if isinstance(domains, str) or domains is None:
            asked = np.repeat(asked, len(texts))
        if asked.size != len(texts):
            raise ConfigError(f"{asked.size} domains for {len(texts)} texts", fix="name one for all, or one for each")
        if empty := [row for row, text in enumerate(texts) if not text.strip()]:
            raise BadValue("a text is empty", fix="leave it out", row=empty[0])
        self._asked = asked

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        return self._base.tokenize(texts)

    def states(self, tokens: Tokens) -> list[Tensor]:
        if tokens.experts is None:
            raise ConfigError("no expert was named for these texts", fix=f"name one of {', '.join(self.domains)}")
        self.bank.route.set(tokens.experts, tokens.lengths)
        return self._base.states(tokens)

    def pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        return self.network["head"](super().pool(states, lengths))  # type: ignore[index]

    def _experts(self, rows: np.ndarray) -> np.ndarray | None:
        return None if self._asked is None else self._asked[rows]

    # --- experts as things of their own

    def expert_state(self, domain: str) -> dict[str, np.ndarray]:
        """What is one expert's own, as float32 arrays: all that has to be kept per domain or tenant."""
        number = int(self.number([domain])[0])
        return {name: weight.detach().cpu().numpy().copy() for name, weight in self.bank.parameters(number).items()}

    def set_expert(self, domain: str, arrays: Mapping[str, np.ndarray]) -> None:
        """The reverse of `expert_state`; raises `CorruptFile` when the arrays are another model's."""
        own = self.bank.parameters(int(self.number([domain])[0]))
        if own.keys() != arrays.keys() or any(tuple(own[name].shape) != arrays[name].shape for name in own):
            raise CorruptFile("these are the arrays of another model's expert", fix="use one that was saved with this model", id=domain)
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(torch.from_numpy(np.array(arrays[name], np.float32)))
        self.changed()

    def save(self, folder: str | Path) -> Path:
        """The base in a folder of its usual shape, the head, and every expert in a file of its own, so that one can be loaded alone."""

        def write(fresh: Path) -> None:
            plain = self._base.cut(self.depth)
            fold(plain.network)
            plain.changed()
            plain.save(fresh / "base")
            tensors: nn.Module = self.network["head"]  # type: ignore[index]
            head = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.state_dict().items()}
            facts = {"domains": self.domains, "layers": self.layers, "rank": self.rank, "seed": self.seed, "model": self.fingerprint}
            _storage.write_atomically(fresh / "head.safetensors", _storage.to_bytes(head, {"model": self.fingerprint}))
            for number, domain in enumerate(self.domains):
                blob = _storage.to_bytes(self.expert_state(domain), {"domain": domain, "model": self.fingerprint})
                _storage.write_atomically(fresh / _file(number), blob)
            _storage.write_atomically(fresh / CONFIG, json.dumps(facts, indent=1).encode())
            fresh.chmod(0o755)

        return _storage.write_folder(Path(folder), write, marker=CONFIG)

    @classmethod
    def load(cls, folder: str | Path, *, domains: Sequence[str] | None = None) -> ExpertEncoder:
        """The reverse of `save`, with all experts or those of some domains only; raises `UnknownId`, `FileProblem`, `CorruptFile`."""
        folder = Path(folder)
        if not (folder / CONFIG).is_file():
            raise FileProblem("there is no saved encoder with experts here", fix="give the folder that save() wrote", file=folder)
        try:
            facts = json.loads((folder / CONFIG).read_bytes())
            known, model = list(facts["domains"]), facts["model"]
            made = cls(neural_encoder(str(folder / "base")), known, layers=facts["layers"], rank=facts["rank"], seed=facts["seed"])
            made.number(domains or known)
            chosen = [name for name in known if domains is None or name in domains]
            made = cls(neural_encoder(str(folder / "base")), chosen, layers=facts["layers"], rank=facts["rank"], seed=facts["seed"])
            head, of = _storage.from_bytes((folder / "head.safetensors").read_bytes(), needs=("model",))
            tensors: nn.Module = made.network["head"]  # type: ignore[index]
            tensors.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in head.items()})
            shards = {name: _storage.from_bytes((folder / _file(known.index(name))).read_bytes(), needs=("model", "domain")) for name in chosen}
        except (ValueError, KeyError, TypeError, OSError, RuntimeError) as cause:
            if isinstance(cause, SartorError):
                raise
            raise CorruptFile("the saved encoder cannot be read", fix="save it again", file=folder) from cause
        for name, (arrays, said) in shards.items():
            if not said["model"] == of["model"] == model or said["domain"] != name:
                raise CorruptFile(f"the expert of '{name}' was saved with another model", fix="save the whole again", file=folder)
            made.set_expert(name, arrays)
        return made

    def stack(self) -> Sequence[nn.Module]:
        return self._base.stack()

    def cut(self, layers: int) -> NoReturn:
        """Not after experts were seeded: cut the base encoder first."""
        raise ConfigError("an encoder with experts is not cut", fix="cut the encoder before giving it experts")

    def _cut(self, layers: int) -> NoReturn:
        self.cut(layers)

    def _settings(self) -> dict[str, Any]:
        return {"kind": "experts-1", "domains": self.domains, "layers": self.layers, "rank": self.rank, "base": self._base._settings()}


class Expert:
    """A text encoder that is one domain's view of an `ExpertEncoder`; made by its `expert`."""

    def __init__(self, whole: ExpertEncoder, domain: str) -> None:
        whole.number([domain])
        self.whole, self.domain, self.dim = whole, domain, whole.dim

    @property
    def fingerprint(self) -> str:
        """Of this domain's space: what another expert encodes does not belong here."""
        return digest(f"expert-1:{self.domain}:", self.whole.fingerprint)

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim]."""
        return self.whole.encode(texts, domains=self.domain, progress=progress)


@dataclass(kw_only=True)
class MoEEmbed:
    """Trains experts on pairs of texts of several domains, whose ideas of what is alike may contradict each other.

    MLPs are copied per domain from a trained encoder and every text goes through its own domain's, which the request names; there is no
    router to learn and none to balance. For tenants or fields with rules of their own: where all agree, one shared model is as good.

    Source: Hallee, Kapur, Patel, Gleghorn and Khomtchouk, Contrastive Learning and Mixture of Experts Enables Precise Vector Embeddings, 2024.
    Differs from the paper in: the similarity is the cosine by default (theirs is the raw product; `InfoNCE(similarity="dot")`).

    State: the number of an expert, 1 byte; or an expert of one's own (`ExpertEncoder.expert_state`): with LoRA of rank r,
    4 bytes x layers x 2 r (dim + hidden).

    Parameters
    ----------
    layers, rank: of the experts, see `ExpertEncoder`.
    loss: of the pairs of a batch.
    sampler: its domains are set by `fit`; with `mixed=True` negatives cross domains, which makes them easy: `crossing_` says how many did.
    epochs, learning_rate: of the training. swap: how often the two sides of a pair change places.
    """

    layers: Layers = "all"
    rank: int = 0
    loss: PairLoss = field(default_factory=InfoNCE)
    batch_size: int = 64
    steps: int = 0
    mixed: bool = False
    epochs: int = 1
    learning_rate: float = 5e-5
    swap: float = 0.5
    seed: int = 0

    crossing_: float = field(default=0.0, init=False)
    """Share of in-batch negatives of the last `fit` that were of another domain than their row."""
    history_: History = field(default_factory=History, init=False)

    def fit(
        self, base: NeuralEncoder, a: Sequence[str], b: Sequence[str], domains: Sequence[str], *, ids: np.ndarray | None = None,
        progress: bool = False, **more: Any,
    ) -> ExpertEncoder:  # fmt: skip
        """An encoder with one expert per domain, seeded from `base` (which stays as it is) and trained on pairs a[i], b[i] of domains[i].

        ids: int [pairs]; pairs of the same id are no negatives of each other. Raises `BadValue` for an empty text and `ConfigError`
        where lengths differ.
        """
        if len(domains) != len(a):
            raise ConfigError(f"{len(domains)} domains for {len(a)} pairs", fix="name the domain of every pair")
        made = ExpertEncoder(base, sorted(set(domains)), layers=self.layers, rank=self.rank, seed=self.seed)
        self.tune(made, a, b, domains, ids=ids, progress=progress, **more)
        return made

    def tune(
        self, encoder: ExpertEncoder, a: Sequence[str], b: Sequence[str], domains: Sequence[str], *, ids: np.ndarray | None = None,
        only_experts: bool = False, progress: bool = False, **more: Any,
    ) -> Self:  # fmt: skip
        """Go on with an encoder that has experts; with `only_experts` what is shared stays as it is, so that other domains keep their vectors."""
        numbers = encoder.number(domains)
        sampler = PairSampler(batch_size=self.batch_size, steps=self.steps, domains=numbers, mixed=self.mixed)
        trainer = ContrastiveTrainer(
            loss=self.loss, sampler=sampler, epochs=self.epochs, learning_rate=self.learning_rate, swap=self.swap, seed=self.seed
        )  # fmt: skip
        own = [weight for number in sorted(set(numbers.tolist())) for weight in encoder.bank.parameters(number).values()]
        parameters = own if only_experts else None
        self.history_ = trainer.fit(encoder, a, b, ids=ids, experts=numbers, parameters=parameters, progress=progress, **more)
        self.crossing_ = sampler.crossing
        return self


def _file(number: int) -> str:
    return f"expert-{number}.safetensors"
