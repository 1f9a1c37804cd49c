"""Federated averaging: the server's model is the mean of the clients' models after a local phase each.

`states()` fine-tunes it on each device by one more local phase of equal length: the simplest personal model, and the one that many personal
methods fail to beat.

Source: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017; fine-tuning: Cheng, Chadha and
Duchi, Fine-tuning in Federated Learning, 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

from sartor.federate._base import Federated


@dataclass(kw_only=True, eq=False)
class FedAvg(Federated):
    """Federated averaging, and equal local fine-tuning for each client's own model."""
