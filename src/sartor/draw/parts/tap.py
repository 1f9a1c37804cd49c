"""The one attention processor: whatever a method does to attention goes through it, so that no method has a denoiser of its own.

    install(unet)                                       once; nothing changes
    prior.predict(x, t, context, slots=Slots(...))      this call only

Slots travel with the call (diffusers' `cross_attention_kwargs`), so that two requests on one network never meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import ConfigError

Place = Literal["down", "mid", "up"]


class Layer(NamedTuple):
    """One attention layer, by its role."""

    name: str
    """Of the module in the denoiser, e.g. "down_blocks.0.attentions.0.transformer_blocks.0.attn2"."""
    cross: bool
    """Attends to the text; else to the picture itself."""
    place: Place
    number: int
    """Among the layers of its kind (cross or self), from the first to the last in the order of computation."""
    width: int
    """Of keys and values, all heads together."""
    heads: int


Edit = Callable[[Layer, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(layer, keys [B, T, width], values [B, T, width], context [B, T, d]) -> keys and values to use instead."""
Choose = Callable[[Layer, Tensor], "Tensor | tuple[Tensor, Tensor] | None"]
"""(layer, time) -> context [B, T, d] to use instead, or one for keys and one for values, or None for the given one."""
Change = Callable[[Layer, Tensor], Tensor]
"""(layer, attention [B, heads, pixels, tokens]) -> attention to use instead."""
Merge = Callable[[Layer, Tensor, Tensor], Tensor]
"""(layer, queries [B, pixels, width], what attention gives [B, pixels, width]) -> what to give instead, before the layer's last projection."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Further keys and values beside those of a layer: image tokens, user tokens, another picture's pixels.

    `added` has a softmax of its own whose result is added with the weight (Ye et al., IP-Adapter, 2023); `joined` shares one softmax with the
    layer's own (reference attention), each of its logits raised by log(weight).
    """

    keys_values: Callable[[Layer], tuple[Tensor, Tensor] | None]
    """Keys and values [B, m, width] for a layer; None: nothing there."""
    weight: float | Callable[[Layer, Tensor], float | Tensor] = 1.0
    """Or from (layer, time) to one that broadcasts to [B, pixels, 1]."""
    how: Literal["added", "joined"] = "added"
    mask: Callable[[Layer, int], Tensor] | None = None
    """(layer, pixels) -> [B or 1, pixels, 1] in [0, 1]: where an added stream counts."""


@dataclass(frozen=True, eq=False)
class Recorder:
    """Keeps attention maps, with gradients: layer name -> [B, pixels, tokens], the mean over heads."""

    layers: Callable[[Layer], bool] = lambda layer: layer.cross
    maps: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Slots:
    """What happens inside attention during one call. Everything is optional; with nothing set the denoiser is the plain one."""

    context: Choose | None = None
    edit: Edit | None = None
    streams: Sequence[Stream] = ()
    change: Change | None = None
    merge: Merge | None = None
    """For what a stream's weight cannot say, because it follows from the queries."""
    record: Recorder | None = None
    time: Tensor | None = None
    """Set by `Prior.predict`."""

    def at(self, time: Tensor) -> Slots:
        """The same, at a time."""
        return replace(self, time=time)


class Tap:
    """The processor of one layer. Without slots it computes what diffusers' `AttnProcessor2_0` computes."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, attention_mask: Tensor | None = None,
        temb: Tensor | None = None, slots: Slots | None = None,
    ) -> Tensor:  # fmt: skip
        layer, slots = self.layer, slots or _NONE
        residual = hidden_states
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        shape = hidden_states.shape
        if len(shape) == 4:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        query = attn.to_q(hidden_states)
        of_keys = of_values = self._context(attn, hidden_states, encoder_hidden_states)
        if slots.context is not None and slots.time is not None and (other := slots.context(layer, slots.time)) is not None:
            of_keys, of_values = other if isinstance(other, tuple) else (other, other)
        key, value = attn.to_k(of_keys), attn.to_v(of_values)
        if slots.edit is not None:
            key, value = slots.edit(layer, key, value, of_keys)
        mask = attention_mask
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, key.shape[1], key.shape[0])
            mask = mask.view(key.shape[0], attn.heads, -1, mask.shape[-1])
        for stream in slots.streams:
            if stream.how == "joined" and (extra := stream.keys_values(layer)) is not None:
                mask = _joined_mask(query, key, mask, extra[0], stream, layer, slots.time)
                key, value = torch.cat([key, extra[0]], 1), torch.cat([value, extra[1]], 1)
        heads = attn.heads
        out = _merge(self._attend(attn, _split(query, heads), _split(key, heads), _split(value, heads), mask, slots))
        for stream in slots.streams:
            if stream.how == "added" and (extra := stream.keys_values(layer)) is not None:
                own = _merge(F.scaled_dot_product_attention(_split(query, heads), _split(extra[0], heads), _split(extra[1], heads)))
                if stream.mask is not None:
                    own = own * stream.mask(layer, own.shape[1]).to(own)
                out = out + _weight(stream, layer, slots.time) * own
        if slots.merge is not None:
            out = slots.merge(layer, query, out)
        out = attn.to_out[1](attn.to_out[0](out))
        if len(shape) == 4:
            out = out.transpose(-1, -2).reshape(shape)
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor

    @staticmethod
    def _context(attn: Any, hidden: Tensor, context: Tensor | None) -> Tensor:
        if context is None:
            return hidden
        return attn.norm_encoder_hidden_states(context) if attn.norm_cross else context

    def _attend(self, attn: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, slots: Slots) -> Tensor:
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        recorded = slots.record is not None and slots.record.layers(self.layer)
        if not recorded and slots.change is None:
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        # Only here are the maps themselves made.
        logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        maps = (logits if mask is None else logits + mask).softmax(-1)
        if slots.change is not None:
            maps = slots.change(self.layer, maps)
        if recorded and slots.record is not None:
            slots.record.maps[self.layer.name] = maps.mean(1)
        return maps @ value


_NONE = Slots()


def _split(x: Tensor, heads: int) -> Tensor:
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


def _weight(stream: Stream, layer: Layer, time: Tensor | None) -> Any:
    if not callable(stream.weight):
        return stream.weight
    if time is None:
        raise ConfigError("a weight that follows the time needs a time", fix="call through Prior.predict, or use slots.at(time)")
    return stream.weight(layer, time)


def _joined_mask(query: Tensor, key: Tensor, mask: Tensor | None, extra: Tensor, stream: Stream, layer: Layer, time: Tensor | None) -> Tensor | None:
    weight = _weight(stream, layer, time)
    if mask is None and isinstance(weight, float | int) and weight == 1:
        return None
    lifted = torch.as_tensor(weight, dtype=query.dtype, device=query.device).log()
    rows, pixels = query.shape[0], query.shape[1]
    own = mask if mask is not None else query.new_zeros(1, 1, 1, key.shape[1])
    lifted = lifted.reshape(lifted.shape[0], 1, -1, 1) if lifted.ndim else lifted
    return torch.cat([own.expand(rows, 1, pixels, -1) if own.shape[1] == 1 else own, lifted.expand(rows, own.shape[1], pixels, extra.shape[1])], -1)


def layers_of(unet: Any, *, cross: bool | None = None, places: Sequence[Place] = ("down", "mid", "up")) -> list[Layer]:
    """The attention layers of a denoiser by role, in the order of computation."""
    found: list[tuple[str, Any]] = [(name, module) for name, module in unet.named_modules() if name.endswith((".attn1", ".attn2"))]
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    found.sort(key=lambda one: order[one[0].split(".")[0]])
    counts, made = {True: 0, False: 0}, []
    for name, module in found:
        is_cross = module.is_cross_attention or name.endswith("attn2")
        place: Place = ("down", "mid", "up")[order[name.split(".")[0]]]
        made.append(Layer(name, is_cross, place, counts[is_cross], module.to_k.out_features, module.heads))
        counts[is_cross] += 1
    return [one for one in made if cross in (None, one.cross) and one.place in places]


def install(unet: Any) -> Any:
    """Put a `Tap` into every attention layer, once; returns the denoiser."""
    unet.set_attn_processor({f"{layer.name}.processor": Tap(layer) for layer in layers_of(unet)})
    return unet


class KeysValues(nn.Module):
    """Learned keys and values of tokens [B, m, dim] for some layers: the image branch of IP-Adapter, and every other added stream.

    Starts from the layers' own projections where these take `dim` numbers and `like` is given, else at random, small.
    """

    to_k: nn.ModuleList
    to_v: nn.ModuleList

    def __init__(self, layers: Sequence[Layer], dim: int, *, like: Any = None) -> None:
        super().__init__()
        self.numbers = {layer.name: number for number, layer in enumerate(layers)}
        self.to_k, self.to_v = (nn.ModuleList(nn.Linear(dim, layer.width, bias=False) for layer in layers) for _ in range(2))
        if like is not None:
            with torch.no_grad():
                for layer, k, v in zip(layers, self.to_k, self.to_v, strict=True):
                    own = like.get_submodule(layer.name)
                    k.load_state_dict(own.to_k.state_dict())
                    v.load_state_dict(own.to_v.state_dict())

    def stream(self, tokens: Tensor, **settings: Any) -> Stream:
        """Of these tokens; `settings` are those of `Stream`."""

        return Stream(lambda layer: self.of(layer, tokens) if layer.name in self.numbers else None, **settings)

    def of(self, layer: Layer, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [..., width] of tokens [..., dim] in one of the layers."""
        number = self.numbers[layer.name]
        return self.to_k[number](tokens), self.to_v[number](tokens)

    @classmethod
    def from_ip_adapter(cls, unet: Any, state: Mapping[str, Tensor]) -> KeysValues:
        """From the "ip_adapter" part of an IP-Adapter file: `1.to_k_ip.weight`, `1.to_v_ip.weight`, `3...`; raises `ConfigError` on other shapes."""
        layers = layers_of(unet, cross=True)
        # Those files number the processors in the order of `attn_processors`, self and cross in turn, so that cross ones are odd.
        names = [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]
        wanted = {f"{2 * n + 1}.to_{part}_ip.weight" for n in range(len(names)) for part in "kv"}
        if missing := sorted(wanted - {*state}):
            raise ConfigError(f"the file has no {missing[0]}", fix="use an IP-Adapter of this kind of model")
        made = cls(layers, int(state["1.to_k_ip.weight"].shape[1]))
        with torch.no_grad():
            for n, name in enumerate(names):
                for part, own in (("k", made.to_k), ("v", made.to_v)):
                    weight: Any = own[made.numbers[name]].weight
                    given = state[f"{2 * n + 1}.to_{part}_ip.weight"]
                    if weight.shape != given.shape:
                        what = f"{name} takes {list(weight.shape)}, the file has {list(given.shape)}"
                        raise ConfigError(what, fix="use an IP-Adapter of this kind of model")
                    weight.copy_(given)
        return made
