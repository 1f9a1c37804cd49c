"""One training epoch of SASRec on Amazon Beauty (leave-last training part), against RecTools, at equal architecture.

Both sides: 2 blocks, 1 head, 64 dimensions, feed-forward of 64, learned positions, up to 50 items of history, dropout 0.5, softmax over the
whole catalogue, Adam, 128 people per batch, float32. Timed are the first 8 of the 175 batches of an epoch in random order (making batches,
forward, backward, step) after one more to warm up, and `value` is that time scaled to the whole epoch; SARTOR_BENCH_BATCHES=175 times all of
it. Reading the data and building the model come before. `quality` is the mean training loss of the timed batches: lower is better, and equal
losses mean that both sides learn alike.

The peer runs in its own Lightning loop with nothing that costs time and is not needed: no progress bar, logger, summary or checkpoints, no
worker processes (its default).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

NAME = "sasrec-epoch"
UNIT = "seconds"
PEER = "rectools"

ARCHITECTURE = {"dim": 64, "blocks": 2, "heads": 1, "max_length": 50, "dropout": 0.5, "batch_size": 128, "learning_rate": 1e-3}
DATA = os.environ.get("SARTOR_BENCH_DATA", "amazon-beauty")
BATCHES = int(os.environ.get("SARTOR_BENCH_BATCHES", "8"))


def data() -> Any:
    from sartor.data import dataset, splits

    return splits.make("leave-last", dataset(DATA))


def size(split: Any) -> dict[str, Any]:
    events = split.train.interactions()
    return {"data": DATA, "people": len(events.people), "items": len(events.items), "events": len(events), **ARCHITECTURE}


def use_threads() -> None:
    import torch

    torch.set_num_threads(int(os.environ.get("SARTOR_BENCH_THREADS", "2")))


def scaled(starts: list[float], events: Any) -> float:
    """Seconds of an epoch from the times at which timed batches began, and the last ended."""
    people = int((events.lengths >= 2).sum())
    batches = -(-people // ARCHITECTURE["batch_size"])
    return (starts[-1] - starts[0]) / (len(starts) - 1) * batches


def ours() -> dict[str, Any]:
    from torch import Tensor

    from sartor.parts.histories import Histories
    from sartor.recommend._sequential import Batch, Tied
    from sartor.recommend.sasrec import SASRec

    use_threads()
    starts, losses = [], []

    class Timed(SASRec):
        def _batches(self, histories: Histories, rng: np.random.Generator, size: int) -> Iterator[Batch]:
            # The loop asks for the next batch when the step before it is over.
            for batch in islice(super()._batches(histories, rng, size), BATCHES + 1):
                yield batch
                starts.append(time.perf_counter())

        def _loss(self, network: Tied, batch: Batch) -> Tensor:
            losses.append(super()._loss(network, batch))
            return losses[-1]

    split = data()
    a = ARCHITECTURE
    method = Timed(
        epochs=1, embedding_dim=a["dim"], blocks=a["blocks"], heads=a["heads"], max_length=a["max_length"], dropout=a["dropout"],
        batch_size=a["batch_size"], learning_rate=a["learning_rate"],
    )  # fmt: skip
    method.fit(split.train, progress=False)
    mean = float(np.mean([float(one.detach()) for one in losses[1:]]))
    return {"value": scaled(starts, split.train.interactions()), "quality": mean, "size": size(split)}


def peer_frame(population: Any) -> Any:
    """Events as the peer wants them: pandas, with a time that keeps the order."""
    import pandas as pd
    from rectools import Columns

    events = population.interactions()
    order = np.arange(len(events))
    return pd.DataFrame(
        {
            Columns.User: events.people.array[events.rows],
            Columns.Item: events.items.array[events.indices],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2014-01-01") + pd.to_timedelta(order, unit="s"),
        }
    )


def peer_model(epochs: int, callbacks: list[Any], *, batches: int | None = None, **more: Any) -> Any:
    """RecTools' SASRec at the same architecture; at most so many batches per epoch; `more` goes to its constructor."""
    from pytorch_lightning import Trainer
    from rectools.models import SASRecModel
    from rectools.models.nn.item_net import IdEmbeddingsItemNet

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=epochs, min_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, callbacks=callbacks,
            limit_train_batches=batches,
        )  # fmt: skip

    a = ARCHITECTURE
    settings = {
        "n_factors": a["dim"], "n_blocks": a["blocks"], "n_heads": a["heads"], "session_max_len": a["max_length"], "dropout_rate": a["dropout"],
        "batch_size": a["batch_size"], "lr": a["learning_rate"], "loss": "softmax", "item_net_block_types": (IdEmbeddingsItemNet,),
        "get_trainer_func": trainer,
    }  # fmt: skip
    return SASRecModel(**{**settings, **more})


def peer() -> dict[str, Any]:
    import warnings

    from pytorch_lightning import Callback, seed_everything
    from rectools.dataset import Dataset

    warnings.filterwarnings("ignore")
    use_threads()
    starts, losses = [], []

    class Stopwatch(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            starts.append(time.perf_counter())
            losses.append(float(outputs["loss"]))

    seed_everything(0)
    split = data()
    peer_model(1, [Stopwatch()], batches=BATCHES + 1).fit(Dataset.construct(peer_frame(split.train)))
    return {"value": scaled(starts, split.train.interactions()), "quality": float(np.mean(losses[1:])), "size": size(split)}
