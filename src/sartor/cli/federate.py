"""`sartor federate`: learn without pooling data, and see what it was worth to each client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sartor.cli import _face
from sartor.errors import ConfigError

_HELD_OUT = "Share of clients that join only after the last round."
_ENCODER = "A folder with a frozen vision transformer: all methods learn a prompt and a head over it, pfedpg among them."
_SERVER = "So many clients with all labels are the server's, and judged nowhere; semipfl needs them, to all others they are clients."


def federate(
    data: Annotated[str, typer.Argument(help="digits, mnist-t10k, omniglot-small1, wisdm-ar, ml-100k or cora.", show_default=False)],
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="Repeat for several. Default: the baselines and what suits the data.", show_default=False),
    ] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Repeat for several; default 0, 1, 2.", show_default=False)] = None,
    rounds: Annotated[int, typer.Option("--rounds")] = 40,
    epochs: Annotated[int, typer.Option("--epochs", help="Of each local phase.")] = 3,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate.")] = 0.1,
    batch: Annotated[int, typer.Option("--batch", help="Examples a step.")] = 10,
    network: Annotated[str, typer.Option("--network", help="linear, mlp, cnn or gcn.")] = "mlp",
    clients: Annotated[int | None, typer.Option("--clients", help="How many, where a set is cut into clients.", show_default=False)] = None,
    alpha: Annotated[float | None, typer.Option("--alpha", help="Label skew of digits and mnist-t10k: smaller is more.", show_default=False)] = None,
    participation: Annotated[float, typer.Option("--participation", help="Share of clients asked in a round.")] = 1.0,
    held_out: Annotated[float, typer.Option("--held-out", help=_HELD_OUT)] = 0.2,
    encoder: Annotated[str | None, typer.Option("--encoder", help=_ENCODER, show_default=False)] = None,
    tokens: Annotated[int, typer.Option("--tokens", help="In a prompt, with --encoder.")] = 10,
    server: Annotated[int, typer.Option("--server", help=_SERVER, show_default=False)] = 0,
    labels: Annotated[
        int | None, typer.Option("--labels", help="Of each class, for every client but the server's; default all.", show_default=False)
    ] = None,
    board: Annotated[
        Path | None, typer.Option("--board", "-b", help="A folder that remembers every fit, so that the same call goes on.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file for the results as JSON.", show_default=False)] = None,
    as_json: _face.Json = False,
) -> None:
    """Fit federated methods on one partition of DATA and compare them, client by client.

    shared = the model without a state; before, after = each client's own state without and with one last local phase; swapped = the most
    different client's state; joined = clients that took no part in any round. Accuracy after the last round, means over clients and seeds.

        sartor federate digits -m fedavg -m fedcluster --seed 0 --json
    """  # fmt: skip
    from sartor.evaluate.federated import compare

    options: dict[str, Any] = {name: value for name, value in (("clients", clients), ("alpha", alpha)) if value is not None}
    settings: dict[str, Any] = {"rounds": rounds, "epochs": epochs, "lr": lr, "batch": batch, "network": network, "participation": participation}
    if data == "cora":
        # One step a round on a whole graph: what its optimiser remembers must outlive the round.
        settings |= {"network": "gcn", "hidden": (128,), "epochs": 1, "batch": 0, "optimizer": "adam", "lr": 0.01, "keep_moments": True}
    if encoder is not None:
        settings["tokens"] = tokens
    chosen = methods or _suiting(data, encoder, server)
    try:
        found = compare(
            data, chosen, seeds=seeds or (0, 1, 2), held_out=held_out, options=options, settings=settings, encoder=encoder, server=server,
            labels=labels, board=board,
        )  # fmt: skip
    except TypeError as strange:
        raise ConfigError(f"{data} takes no such option ({strange})", fix="leave --clients or --alpha out") from strange
    result = {**found.as_dict(), "settings": settings, "options": options, "seeds": seeds or [0, 1, 2]}
    result |= {name: value for name, value in (("encoder", encoder), ("server", server or None), ("labels", labels)) if value is not None}
    if out is not None:
        from sartor.evaluate.claim import plain

        _face.write(out, json.dumps(plain(result), indent=1))
        _face.say(f"saved {out}")
    if as_json:
        _face.emit(result)
    else:
        _show(result)


def _suiting(data: str, encoder: str | None, server: int) -> list[str]:
    """The baselines, and the methods that suit the data and what else is given."""
    from sartor.evaluate.federated import PROMPTED

    if encoder is not None:
        return list(PROMPTED)
    baselines = ["local", "fedavg", "fedper", "pooled"]
    if data == "cora":
        return [*baselines, "fedpub"]
    return [*baselines, "fedcac", "fedcluster", "pfedgate", "fedd2s", *(["semipfl"] if server else [])]


def _show(result: dict[str, Any]) -> None:
    out, lines = _face.stdout(), result["methods"]
    accuracy = [
        [
            name, *(one[arm] for arm in ("shared", "before", "after")), one["worst_decile"], one["joined"],
            _face.interval(one["gain"], one["gain_interval"], sign=True), _face.interval(one["swap_gap"], one["swap_gap_interval"], sign=True),
            _face.interval(one["over_fedavg"], one["over_fedavg_interval"], sign=True) if "over_fedavg" in one else "", one.get("verdict", ""),
        ]
        for name, one in lines.items()
    ]  # fmt: skip
    columns = ["method", "shared", "before", "after", "worst 10%", "joined", "gain", "swap gap", "over FedAvg-FT", "verdict"]
    out.print(_face.table(f"{result['data']}: accuracy, means over clients and seeds", columns, accuracy))
    out.print()
    cost = [
        [
            name, _face.size(one["down"]), _face.size(one["up"]), _face.duration(one["cpu"]), _face.size(one["state_bytes"]),
            _face.size(one["tuned_bytes"]), "; ".join(f"{what} {_face.size(sent['bytes'])}" for what, sent in one["sent"].items()) or "nothing",
        ]
        for name, one in lines.items()
    ]  # fmt: skip
    columns = ["method", "down", "up", "CPU, all rounds", "state before", "state after", "what left a device, each time"]
    out.print(_face.table("one client: bytes a round, time, state", columns, cost))
