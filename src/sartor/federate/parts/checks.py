"""What the server looks at before it believes an update: numbers that are not finite, and updates far longer than the others'."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sartor.errors import StateMismatch
from sartor.federate.parts.wire import Message


@dataclass(frozen=True, eq=False)
class Checked:
    """What is left of a round's replies."""

    kept: Tensor
    """bool [k]: which clients' replies count."""
    replies: Message
    """Those of the kept ones, with long updates shortened."""
    clipped: Tensor
    """bool [k]: whose update was shortened, or number of examples lowered."""


def check(replies: Message, sent: Tensor | None, *, longest: float) -> Checked:
    """Leave out replies with a value that is not finite, with no examples, or equal to what was sent; shorten updates, and lower weights in means.

    Parameters
    ----------
    replies: of k clients; an update is how far `weights` has moved from what was sent.
    sent: float [k, numbers], the weights that were sent; None where a method sends none.
    longest: an update may be so many times as long as the median one of the round, and count for so many times as many examples; 0 for any. One
        client alone is not judged.

    Raises `StateMismatch` when replies are weights of another network than was sent.

    Shortening keeps the direction: a client with ten times the examples of the others still counts, a malicious one counts no more than it.
    """
    if sent is not None and "weights" in replies and replies["weights"].shape != sent.shape:
        found, known = list(replies["weights"].shape[1:]), list(sent.shape[1:])
        raise StateMismatch(f"a reply's weights are {found}, {known} were sent", fix="let every client run the same network")
    count = len(next(iter(replies.values())))
    kept = torch.ones(count, dtype=torch.bool)
    if "examples" in replies:
        kept &= replies["examples"] >= 1
    if sent is not None and "weights" in replies and sent.shape[1]:
        kept &= (replies["weights"] != sent).any(1)
    for one in replies.values():
        if one.is_floating_point():
            kept &= torch.isfinite(one).flatten(1).all(1)
    replies = {name: one[kept] for name, one in replies.items()}
    clipped = torch.zeros(count, dtype=torch.bool)
    if longest and "examples" in replies and int(kept.sum()) > 1:
        # What a client says of itself; no server can count it.
        most = int(longest * replies["examples"].double().median())
        clipped[kept.nonzero()[replies["examples"] > most, 0]] = True
        replies["examples"] = replies["examples"].clamp(max=most)
    if longest and sent is not None and "weights" in replies and int(kept.sum()) > 1:
        start = sent[kept]
        update = replies["weights"] - start
        length = update.norm(dim=1)
        limit = longest * length.median()
        over = length > limit
        if bool(over.any()):
            replies["weights"] = torch.where(over[:, None], start + update * (limit / length.clamp(min=1e-30))[:, None], replies["weights"])
            clipped[kept.nonzero()[over, 0]] = True
    return Checked(kept, replies, clipped)
