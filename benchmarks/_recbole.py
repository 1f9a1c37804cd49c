"""RecBole's GRU4Rec as a peer of `quality_sequence.py`: its model, loss, optimiser, data augmentation and batches, our lists and metrics.

RecBole asks for older libraries than ours and is not in the `bench` extra: `pip install --no-deps recbole colorlog colorama tabulate texttable thop
tensorboard absl-py` beside it. It trains on every prefix of a history, padded to the longest length allowed, and runs the recurrence over the
padding. Here the recurrence stops at the last real item: the same output (asserted on the first batch), in a fraction of the time on short histories.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np

from _next_item import VALIDATE_EVERY, judged, metrics, truth

SETTINGS = {"embedding_size": 64, "hidden_size": 128, "num_layers": 1, "dropout_prob": 0.3, "train_batch_size": 2048, "learning_rate": 1e-3}
"""Its defaults."""


class Peer:
    """RecBole's GRU4Rec on our split, trained some epochs at a time."""

    def __init__(self, split: Any, settings: dict[str, Any], folder: Path, seed: int) -> None:
        import torch
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.model.sequential_recommender import GRU4Rec
        from recbole.trainer import Trainer
        from recbole.utils import init_seed

        class Packed(GRU4Rec):  # type: ignore[misc]
            checked = False

            def forward(self, item_seq: Any, item_seq_len: Any) -> Any:
                if not type(self).checked:
                    type(self).checked = True
                    training = self.training
                    self.eval()
                    with torch.no_grad():
                        assert torch.allclose(GRU4Rec.forward(self, item_seq, item_seq_len), self.forward(item_seq, item_seq_len), atol=1e-5)
                    self.train(training)
                own = torch.nn.utils.rnn.pack_padded_sequence(
                    self.emb_dropout(self.item_embedding(item_seq)), item_seq_len, batch_first=True, enforce_sorted=False
                )
                return self.dense(self.gru_layers(own)[1][-1])

        folder.mkdir(parents=True, exist_ok=True)
        data = folder / "data" / "atomic"
        data.mkdir(parents=True, exist_ok=True)
        with (data / "atomic.inter").open("w") as file:
            file.write("user_id:token\titem_id:token\ttimestamp:float\n")
            for time, part in enumerate((split.evidence, split.test)):
                events = part.interactions()
                # Rows come in the order of time, and the test item is everybody's last.
                file.writelines(
                    f"{person}\t{item}\t{row + time * 1_000_000_000}\n"
                    for row, (person, item) in enumerate(zip(events.people.array[events.rows], events.items.array[events.indices], strict=True))
                )
        sys.argv = sys.argv[:1]  # It reads the command line by itself.
        config = Config(
            model=Packed, dataset="atomic",
            config_dict={
                **settings, "data_path": str(folder / "data"), "checkpoint_dir": str(folder),
                "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
                "USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp", "loss_type": "CE", "train_neg_sample_args": None,
                "MAX_ITEM_LIST_LENGTH": settings["max_length"], "use_gpu": False, "show_progress": False, "seed": seed, "reproducibility": True,
                "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}, "eval_batch_size": 4096,
            },
        )  # fmt: skip
        init_seed(seed, True)
        self.dataset = create_dataset(config)
        self.train, self.validation, self.test = data_preparation(config, self.dataset)
        init_seed(seed, True)
        self.model = Packed(config, self.train.dataset)
        self.trainer = Trainer(config, self.model)
        self.split, self.epochs = split, 0
        self.numbers = {item: number for number, item in enumerate(self.dataset.id2token("item_id", np.arange(self.dataset.item_num)))}

    def epoch(self) -> float:
        loss = float(self.trainer._train_epoch(self.train, self.epochs))
        self.epochs += 1
        return loss

    def lists(self, part: str, evidence: Any, people: list[Any], *, leave_out_seen: bool) -> list[list[str]]:
        """Everybody's best 10 items, as text."""
        import torch

        events = evidence.interactions()
        seen: dict[str, list[int]] = {}
        for person, item in zip(events.people.array[events.rows].tolist(), events.items.array[events.indices].tolist(), strict=True):
            seen.setdefault(str(person), []).append(self.numbers[str(item)])
        names, out = self.dataset.id2token("item_id", np.arange(self.dataset.item_num)), {}
        self.model.eval()
        with torch.no_grad():
            for batch, *_ in getattr(self, part):
                scores = self.model.full_sort_predict(batch).numpy()
                scores[:, 0] = -np.inf
                for person, own in zip(self.dataset.id2token("user_id", batch["user_id"].numpy()), scores, strict=True):
                    if leave_out_seen:
                        own[seen[person]] = -np.inf
                    best = np.argpartition(-own, 10)[:10]
                    out[person] = names[best[np.argsort(-own[best])]].tolist()
        return [out[str(one)] for one in people]


def train(split: Any, settings: dict[str, Any], epochs: int, patience: int, checkpoint: Path, seed: int) -> dict[str, Any]:
    """Train, keep the best epoch on validation, judge it on test; not resumable."""
    peer = Peer(split, settings, checkpoint, seed)
    items = split.train.interactions().items
    best: dict[str, float] = {"ndcg@10": -1.0}
    kept: Any = None
    people, wanted = truth(split.validation, items)
    while peer.epochs < epochs and not (patience and peer.epochs - best.get("epoch", 0) >= patience * VALIDATE_EVERY):
        loss = [peer.epoch() for _ in range(VALIDATE_EVERY)][-1]
        found = metrics(peer.lists("validation", split.validation_evidence, people, leave_out_seen=True), wanted.astype(str))
        print("recbole", peer.epochs, round(loss, 2), found, flush=True)
        if found["ndcg@10"] > best["ndcg@10"]:
            best, kept = {**found, "epoch": peer.epochs}, copy.deepcopy(peer.model.state_dict())
    peer.model.load_state_dict(kept)
    people, wanted = truth(split.test, items)
    test, with_seen = (
        judged(peer.lists("test", split.evidence, people, leave_out_seen=leave), wanted.astype(str), checkpoint / name)
        for name, leave in (("test.npy", True), ("test_with_seen.npy", False))
    )
    return {"validation": best, "epochs_run": peer.epochs, "test": test, "test_with_seen": with_seen}
