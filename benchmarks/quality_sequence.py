"""How good is SASRec beside RecTools' SASRec and beside published figures, and GRU4Rec beside RecBole's, tuned alike on the same validation split?

Leave-last split, full ranking; what the person already has is left out of the lists, and, since published figures leave nothing out, test
figures are given without that as well (`test_with_seen`). Both sides try the same grid for at most the same number of epochs (validated every
second one, stopped early alike), keep the epoch with the best NDCG@10 on the validation item (ours looks at 2,000 people, as it does for its users;
the peers at everybody) and the setting with the best on everybody's, and are then judged once on the test item, with the validation item as the
newest of the history. One line per trial is appended to `quality.jsonl`; everybody's test NDCG@10
stays in the trial's checkpoint folder, and `compare` takes two such folders for a paired difference.

    python benchmarks/quality_sequence.py amazon-beauty ours --epochs 40 --patience 3 --grid '{"dropout": [0.3, 0.5]}' --checkpoint runs/quality
    python benchmarks/quality_sequence.py amazon-beauty rectools --epochs 40 --patience 3 --grid '{"dropout": [0.3, 0.5]}' --checkpoint runs/quality
    python benchmarks/quality_sequence.py amazon-beauty compare --checkpoint runs/quality
    python benchmarks/quality_sequence.py amazon-beauty recbole --method gru4rec --epochs 20 --checkpoint runs/quality

RecTools computes scores at every padded position and throws most of them away. Here its loss is computed at the real positions only: the same
value and gradients (asserted on the first batch), in a fraction of the time. Stopped runs of either side go on from the checkpoint folder.

Published, same data (Amazon Beauty 2014 5-core, leave-last, full ranking). SASRec with the softmax over all items, as in RecBole, which leaves
nothing out for sequential models (its issue 1449): HR@10 0.083, NDCG@10 0.0416 (RUCAIBox/RecBole issue 1290); 0.0830 and 0.0415
(RuihongQiu/DuoRec issue 3); 0.0821 and 0.0405 (HonghuiBao2000/LETTER issue 20, on this very file). With the published loss of one negative
and seen items left out: 0.0605 and 0.0318 (Rajput et al., NeurIPS 2023, table 1, from S3-Rec).
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import _recbole
import sasrec_epoch as shared
from _next_item import VALIDATE_EVERY, judged, metrics, truth

RESULTS = Path(__file__).parent / "quality.jsonl"
BASE: dict[str, dict[str, Any]] = {
    "sasrec": {"embedding_dim": 64, "blocks": 2, "heads": 1, "max_length": 50, "dropout": 0.5, "batch_size": 128, "learning_rate": 1e-3},
    "gru4rec": {"max_length": 50},
}
"""Both sides of SASRec are one architecture; the two GRU4Rec differ by design, so each starts from its own defaults."""


def peer_lists(model: Any, dataset: Any, people: list[Any], *, leave_out_seen: bool = True) -> list[list[Any]]:
    from rectools import Columns

    given = model.recommend(users=np.array(people), dataset=dataset, k=10, filter_viewed=leave_out_seen)
    lists = given.sort_values(Columns.Rank).groupby(Columns.User)[Columns.Item].apply(list)
    return [lists.get(one, []) for one in people]


def ours(name: str, split: Any, settings: dict[str, Any], epochs: int, patience: int, checkpoint: Path, seed: int) -> dict[str, Any]:
    from sartor.systems import make

    method = make(name, **settings, epochs=epochs, patience=patience, validate_every=VALIDATE_EVERY, seed=seed)
    method.fit(split.train, validation=split.validation, progress=False, checkpoint=checkpoint)
    out = {}
    for stage, evidence, part, exclude in (
        ("validation", split.validation_evidence, split.validation, "seen"),
        ("test", split.evidence, split.test, "seen"),
        ("test_with_seen", split.evidence, split.test, None),
    ):
        people, wanted = truth(part, method.items_)
        states = method.adapt_all(evidence)
        lists = list(method.recommend([states[one] for one in people], 10, exclude=exclude))
        out[stage] = metrics(lists, wanted) if stage == "validation" else judged(lists, wanted, checkpoint / f"{stage}.npy")
    method.save(checkpoint / "model")
    return out


def rectools(split: Any, settings: dict[str, Any], epochs: int, patience: int, checkpoint: Path, seed: int) -> dict[str, Any]:
    import warnings

    import torch
    from pytorch_lightning import seed_everything
    from rectools.dataset import Dataset
    from rectools.models.nn.transformers.lightning import TransformerLightningModule

    warnings.filterwarnings("ignore")
    seed_everything(seed)

    class RealPositions(TransformerLightningModule):
        checked = False

        def training_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
            table = self.torch_model.item_model.get_all_embeddings()
            real = batch["y"] != 0
            if not self.checked:
                type(self).checked = True
                self.eval()
                with torch.no_grad():
                    x = self.torch_model.encode_sessions(batch, table)[real]
                    own = torch.nn.functional.cross_entropy(x @ table.T, batch["y"][real])
                    assert torch.allclose(own, self._calc_softmax_loss(self.get_batch_logits(batch), batch["y"], batch["yw"]), rtol=1e-4)
                self.train()
            x = self.torch_model.encode_sessions(batch, table)[real]
            return torch.nn.functional.cross_entropy(x @ table.T, batch["y"][real])

    names = {"embedding_dim": "n_factors", "blocks": "n_blocks", "heads": "n_heads", "max_length": "session_max_len", "dropout": "dropout_rate",
             "batch_size": "batch_size", "learning_rate": "lr"}  # fmt: skip
    model = shared.peer_model(epochs, [], **{names[key]: value for key, value in settings.items()}, lightning_module_type=RealPositions)
    items = split.train.interactions().items
    train, whole = (Dataset.construct(shared.peer_frame(part)) for part in (split.validation_evidence, split.evidence))
    people, wanted = truth(split.validation, items)
    best: dict[str, float] = {"ndcg@10": -1.0}
    done = 0
    facts, weights = checkpoint / "facts.json", checkpoint / "model.pt"
    checkpoint.mkdir(parents=True, exist_ok=True)
    if facts.exists():
        done, best = json.loads(facts.read_text())
    model._build_model_from_dataset(train)
    model.fit_trainer, model.is_fitted = model._trainer, True
    state = model.lightning_model
    if done:
        saved = torch.load(weights, weights_only=True)
        state.torch_model.load_state_dict(saved["model"])
        state.is_fitted = True
        state.configure_optimizers().load_state_dict(saved["optimizer"])
    while done < epochs and not (patience and done - best.get("epoch", 0) >= patience * VALIDATE_EVERY):
        model.fit_partial(train, min_epochs=VALIDATE_EVERY, max_epochs=VALIDATE_EVERY)
        done += VALIDATE_EVERY
        found = metrics(peer_lists(model, train, people), wanted)
        print("rectools", done, found, flush=True)
        if found["ndcg@10"] > best["ndcg@10"]:
            best = {**found, "epoch": done}
            torch.save(state.torch_model.state_dict(), checkpoint / "best.pt")
        torch.save({"model": state.torch_model.state_dict(), "optimizer": state.optimizer.state_dict()}, weights)
        facts.write_text(json.dumps([done, best]))
    state.torch_model.load_state_dict(torch.load(checkpoint / "best.pt", weights_only=True))
    people, wanted = truth(split.test, items)
    test, with_seen = (
        judged(peer_lists(model, whole, people, leave_out_seen=leave), wanted, checkpoint / name)
        for name, leave in (("test.npy", True), ("test_with_seen.npy", False))
    )
    return {"validation": best, "epochs_run": done, "test": test, "test_with_seen": with_seen}


def compare(data: str, method: str, folder: Path) -> None:
    """Ours over the peer's on test, each with the setting that its own validation chose, and the paired difference over people."""
    trials = [(json.loads(file.read_text()), file.parent) for file in folder.glob("*/line.json")]
    for name in ("test", "test_with_seen"):
        gains = []
        for mine in (True, False):
            of_side = [one for one in trials if (one[0]["data"], one[0]["method"], one[0]["library"] == "sartor") == (data, method, mine)]
            line, best = max(of_side, key=lambda one: one[0]["validation"]["ndcg@10"])
            gains.append(np.load(best / f"{name}.npy"))
            print(f"{name} {line['library']}: {best.name}, chosen from {len(of_side)}: NDCG@10 {gains[-1].mean():.4f}")
        difference = gains[0] - gains[1]
        error = difference.std() / np.sqrt(difference.size)
        print(f"{name}: ratio {gains[0].mean() / gains[1].mean():.4f}, difference {difference.mean():+.4f} +- {1.96 * error:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("side", choices=["ours", "rectools", "recbole", "compare"])
    parser.add_argument("--method", choices=BASE, default="sasrec")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--patience", type=int, default=0, help="validations without a better score before stopping; 0 never stops early")
    parser.add_argument("--grid", type=json.loads, default={}, help="JSON: lists of settings to try, all combinations")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a folder; a stopped trial goes on from there")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.side == "compare":
        compare(options.data, options.method, options.checkpoint)
        return

    from sartor.data import dataset, splits

    split = splits.make("leave-last", dataset(options.data))
    shared.use_threads()
    package = "sartor" if options.side == "ours" else options.side
    for values in itertools.product(*options.grid.values()):
        settings = {**BASE[options.method], **dict(zip(options.grid, values, strict=True))}
        start = time.process_time()
        trial = [options.data, options.side, *([options.method] if options.method != "sasrec" else []), options.epochs, options.seed, *values]
        folder = options.checkpoint / "-".join(map(str, trial))
        if options.side == "ours":
            found = ours(options.method, split, settings, options.epochs, options.patience, folder, options.seed)
        elif options.method == "sasrec":
            found = rectools(split, settings, options.epochs, options.patience, folder, options.seed)
        else:
            settings = _recbole.SETTINGS | settings
            found = _recbole.train(split, settings, options.epochs, options.patience, folder, options.seed)
        line = {
            "data": options.data, "split": "leave-last", "method": options.method, "library": package,
            "version": importlib.metadata.version(package), "settings": settings,
            "epochs": options.epochs, "patience": options.patience, "seed": options.seed, **found,
            "cpu_seconds_of_last_chunk": round(time.process_time() - start, 1),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        with RESULTS.open("a") as file:
            file.write(json.dumps(line) + "\n")
        (folder / "line.json").write_text(json.dumps(line))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
