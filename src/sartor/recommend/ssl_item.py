"""Two towers whose item tower also learns to recognise an item from two complementary halves of its fields."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sartor.errors import ConfigError
from sartor.method import Run, learned
from sartor.parts.field_embedding import tensors
from sartor.parts.fields import Codes, take
from sartor.parts.losses import info_nce
from sartor.parts.mutual_information import mutual_information
from sartor.parts.samplers import Popularity
from sartor.recommend._features import check_settings
from sartor.recommend.two_tower import Batch, TwoTower

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population


@dataclass(kw_only=True, eq=False)
class SSLTwoTower(TwoTower):
    """The two-tower retriever with a second, self-supervised task that needs no events: two views of an item, each with the fields that
    the other lacks, must meet again among other items.

    For catalogues with a long tail and at least some five attributes per item: rare items then learn from what they are. The items of
    this task are drawn uniformly from the catalogue, not from the log, so that the tail takes part in it.

    Its check fails (claims/recommend/ssl_item.py): in a generated shop with a tenth of the log Recall@50 rises from 0.099 to 0.113, but
    random masks do better (0.120), plain feature dropout as well (0.112, and best on rare items), and the tail gains more than the head on
    two seeds of three. With the whole log (28 events per person) nothing changes. Take "rfm" or "dropout" first.

    Source: Yao et al., Self-supervised Learning for Large-scale Item Recommendations, CIKM 2021. Differs from the paper in: both views
    go through the whole item tower that also serves (theirs may share it in part); mutual information treats multi-valued fields by
    sharing a row's weight among its values, and numbers by deciles (not specified there).

    State: as `TwoTower`.
    """

    ssl: Literal["cfm", "rfm", "dropout", "identity"] | None = "cfm"
    """What the two views are: "cfm" hides a random field and those that say most about it, "rfm" a random half; "identity" hides nothing,
    which makes the task a regulariser that spreads items out. "dropout" has no second task but hides fields of the items to be found at
    random. None is the plain two-tower."""
    alpha: float = 0.3
    """Weight of the second loss. Published: tuned."""
    ssl_temperature: float = 0.1
    """Of the second softmax."""
    value_dropout: float = 0.2
    """Share of a multi-valued field's values that a view leaves out. Published: 0.1 to 0.5."""
    field_dropout: float = 0.2
    """Share of fields hidden by "dropout"."""
    ssl_sampling: Literal["uniform", "log"] = "uniform"
    """Items of the second loss: uniform over the catalogue, or as they occur in the log."""

    field_information_: np.ndarray = learned()
    """float64 [fields, fields]: mutual information between item fields over the catalogue, in nats."""

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        self._items: _Items | None = None
        try:
            super()._learn(data, population, run)
        finally:
            self._items = None

    def _prepare(self, codes: Codes, data: Interactions) -> None:
        fields = self.item_codec.fields
        names = [field.name for field in fields]
        if self.ssl not in ("cfm", "rfm", "dropout", "identity", None) or self.ssl_sampling not in ("uniform", "log"):
            raise ConfigError(f"ssl is {self.ssl!r}, ssl_sampling {self.ssl_sampling!r}", fix="see the settings' descriptions")
        check_settings(self, positive=("ssl_temperature",), shares=("value_dropout", "field_dropout"))
        if self.ssl is not None and len(fields) < 2:
            raise ConfigError(f"SSL needs >= 2 item fields, got {names}", fix="set ssl=None")
        self.field_information_ = mutual_information(codes, fields)
        if self.ssl in ("cfm", "rfm") and (constant := [names[at] for at in np.flatnonzero(self._constant())]):
            warnings.warn(f"fields {constant} have one value only: they are left out of the masks", stacklevel=2)
            if len(names) - len(constant) < 2:
                raise ConfigError(f"SSL needs >= 2 item fields with more than one value, not counting {constant}", fix="set ssl=None")
        groups = _alike([codes[name] for name in names if name != "item"])
        if self.ssl in ("cfm", "rfm", "identity") and (twins := groups.size - np.unique(groups).size):
            warnings.warn(f"{twins} items have the same fields as another one: they are not negatives of each other", stacklevel=2)
        drawn = Popularity(data.counts(), 1.0 if self.ssl_sampling == "log" else 0.0)
        self._items = _Items(tensors(codes, self.device), torch.from_numpy(groups).to(self.device), drawn)

    def _target_inputs(self, inputs: Tensor, batch: Batch) -> Tensor:
        if self.ssl != "dropout" or self._items is None:
            return inputs[batch.targets]
        hidden = batch.rng.random((batch.targets.numel(), len(self.item_codec_))) < self.field_dropout
        own = take(self._items.codes, batch.items[batch.targets])
        return self.network_.fields(own, hidden=torch.from_numpy(hidden).to(self.device))

    def _loss(self, batch: Batch, codes: Mapping[str, Tensor], people: Mapping[str, Tensor], log_q: Tensor | None) -> Tensor:
        main = super()._loss(batch, codes, people, log_q)
        if self.ssl in (None, "dropout") or self._items is None:
            return main
        items = torch.from_numpy(self._items.drawn.draw(batch.rng, batch.targets.numel())).long().to(self.device)
        own, network = take(codes, items), self.network_
        if self.ssl == "identity":
            first = second = network.item(network.fields(own))
        else:
            hidden = torch.from_numpy(self.mask(batch.rng)).to(self.device)
            first, second = (network.item(network.fields(own, hidden=side, drop=self.value_dropout)) for side in (hidden, ~hidden))
        return main + self.alpha * info_nce(first, second, temperature=self.ssl_temperature, ids=self._items.groups[items])

    def mask(self, rng: np.random.Generator) -> np.ndarray:
        """bool [fields]: what the first view hides and the second keeps. Constant fields are never hidden from the first."""
        usable = np.flatnonzero(~self._constant())
        hidden = np.zeros(len(self.item_codec_), bool)
        if self.ssl == "rfm":
            hidden[rng.choice(usable, usable.size // 2, replace=False)] = True
            return hidden
        seed = rng.choice(usable)
        others = usable[usable != seed]
        nearest = others[np.argsort(-self.field_information_[seed, others], kind="stable")]
        # At least one field must be left for the first view.
        hidden[[seed, *nearest[: min(usable.size // 2, others.size - 1)]]] = True
        return hidden

    def _constant(self) -> np.ndarray:
        """bool [fields]: which have no entropy."""
        return np.diag(self.field_information_) <= 1e-12


class _Items(NamedTuple):
    """The catalogue as the second task sees it, while training."""

    codes: dict[str, Tensor]
    groups: Tensor
    """int64 [items]: equal for items that are alike in all but the id, which would be wrong negatives of each other."""
    drawn: Popularity


def _alike(codes: Sequence[np.ndarray]) -> np.ndarray:
    """int64 [items]: the same number for equal rows of all fields."""
    if not codes:
        return np.zeros(0, np.int64)
    whole = np.concatenate([np.nan_to_num(own.reshape(len(own), -1).astype(np.float64), nan=-np.inf) for own in codes], 1)
    return np.unique(whole, axis=0, return_inverse=True)[1].ravel()
