"""`sartor leaderboard`: ways to search, measured alike on collections in BEIR's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sartor.cli import _face

REFERENCE = ["bm25", "bm25-multi", "dense:hashed", "hybrid:hashed"]


def leaderboard(
    collections: Annotated[list[Path], typer.Argument(metavar="COLLECTION...", help="Folders or archives: corpus.jsonl, queries.jsonl, qrels/.")],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method", "-m", help="bm25, bm25-multi, dense:ENCODER, hybrid:ENCODER, late:ENCODER, sparse:FOLDER; repeat.", show_default=False
        ),
    ] = None,
    board: Annotated[Path, typer.Option("--board", "-b", help="The leaderboard's file; runs go into a folder beside it.")] = Path(
        "leaderboard.jsonl"
    ),
    split: Annotated[str | None, typer.Option("--split", "-s", help="Which qrels. Default: test.", show_default=False)] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="ndcg@10 and the like; repeat. Default: ndcg@10, recall@100.", show_default=False)
    ] = None,
    against: Annotated[str, typer.Option("--against", help="The method that others are compared with.")] = "bm25",
    verify: Annotated[bool, typer.Option("--verify", help="Run nothing: measure the kept runs again and say which rows do not stand.")] = False,
    as_json: _face.Json = False,
) -> None:
    """Search every collection with every method, keep the runs, and show who is how good, how fast and how large.

    nDCG@10 and Recall@100 are BEIR's official pair and equal trec_eval's. A row stands while its run file, measured again, gives the same
    figures (`--verify`). ENCODER is hashed, minilm or the folder of a model.

        sartor leaderboard scifact/ nfcorpus/ --method bm25 --method dense:minilm
    """
    from sartor.evaluate.collections import read_collection
    from sartor.evaluate.ir import OFFICIAL
    from sartor.evaluate.leaderboard import Leaderboard
    from sartor.evaluate.retrievers import run

    read = [read_collection(path, split=split) for path in collections]
    kept = Leaderboard(board, metrics=metrics or OFFICIAL)
    if not verify:
        for collection in read:
            for name in methods or REFERENCE:
                _face.say(f"{name} on {collection!r}")
                kept.add(run(name, collection, progress=True), collection)
    wrong = kept.verify(read)
    names = {collection.name for collection in read}
    shown = kept.table()
    shown = shown.filter(shown["dataset"].is_in(list(names))) if shown.height else shown
    fallen, given = [row for row, _ in wrong], {(collection.name, collection.split) for collection in read}
    there = {row["method"] for row in kept.latest() if (row["dataset"], row["split"]) in given and row not in fallen}
    radar = kept.radar(read, against=against, metric=kept.metrics[0]) if against in there and len(there) > 1 else None
    if as_json:
        refused = [{"dataset": row["dataset"], "method": row["method"], "why": why} for row, why in wrong]
        _face.emit(
            {
                "board": str(board),
                "rows": shown.to_dicts(),
                "against": against,
                "radar": [] if radar is None else radar.to_dicts(),
                "refused": refused,
            }
        )
    else:
        out = _face.stdout()
        out.print(_face.table("leaderboard", shown.columns, [_cells(row) for row in shown.rows()]))
        if radar is not None and radar.height:
            rows: list[list[Any]] = [
                [one["dataset"], one["method"], _face.interval(one["difference"], (one["low"], one["high"]), sign=True), f"{one['p_holm']:.3g}"]
                for one in radar.to_dicts()
            ]
            title = f"{kept.metrics[0]} less that of {against}; p corrected for {radar.height} comparisons"
            out.print(_face.table(title, ["dataset", "method", "difference", "p"], rows))
        for row, why in wrong:
            _face.say(f"refused: {row['method']} on {row['dataset']}: {why}")
    if wrong:
        raise typer.Exit(1)


def _cells(row: tuple[Any, ...]) -> list[Any]:
    return [_face.short(value) if isinstance(value, float) else value for value in row]
