"""Fills the tables in README and docs from the table of systems and from measured results: `python -m sartor.cli.tables README.md docs`.

A table stands between `<!-- table: NAME -->` and `<!-- /table -->`; what is there is replaced.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sartor.errors import ConfigError, CorruptFile, FileProblem

_MARKED = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def filled(text: str) -> str:
    """The same text with every marked table made anew; raises `ConfigError` on a name that is not one."""

    def fill(found: re.Match[str]) -> str:
        start, name, end = found.groups()
        if name not in TABLES:
            raise ConfigError(f"there is no table '{name}'", fix=f"there are {', '.join(TABLES)}")
        return f"{start}{TABLES[name]()}\n{end}"

    return _MARKED.sub(fill, text)


def methods() -> str:
    """The strong baselines, one line of each class's own docstring."""
    from sartor.systems import SYSTEMS

    rows = [[f"`{one.slug}`", _first_line(one.resolve), _source(one), one.extra or ""] for one in SYSTEMS.values() if not one.has_claim]
    return _markdown(["method", "what it is", "source", "extra"], rows)


def systems() -> str:
    """The published systems, with each one's last claim check."""
    from sartor.evaluate import claim
    from sartor.systems import SYSTEMS

    last = _or_nothing(claim.last_results)
    rows = []
    for one in SYSTEMS.values():
        if one.has_claim:
            result = last.get(one.slug)
            verdict = "not run yet" if result is None else "passed" if result["passed"] else "**failed**"
            scales = [_scale(result, "gain"), _scale(result, "swap_gap")] if result else ["", ""]
            rows.append([f"`{one.slug}`", f"{one.title} ({_source(one)})", one.kind, verdict, *scales])
    return _markdown(["system", "paper", "kind", "claim check", "gain", "swap gap"], rows)


def claims() -> str:
    """What the papers claim, what had to be seen, what was seen."""
    from sartor.evaluate import claim

    last = _or_nothing(claim.last_results)
    rows = [
        [
            f"`{slug}`", "passed" if one["passed"] else "**failed**", one["claim"], one["passes"], one["notes"] or "", ", ".join(one["data"]),
            len(one["seeds"]), one["date"][:10],
        ]
        for slug, one in sorted(last.items())
    ]  # fmt: skip
    return _markdown(["system", "result", "the paper's claim", "passes when", "what was seen", "data", "seeds", "date"], rows)


def benchmarks() -> str:
    """The newest line of every benchmark against a peer."""
    from sartor.evaluate import benchmark

    lines = _lines(benchmark.folder() / "results.jsonl")
    newest = {one["name"]: one for one in lines if one.get("peer_name")}
    rows = []
    for name, one in sorted(newest.items()):
        ours, peer = (f"{_number(one[side])} {one['unit']}" for side in ("ours", "peer"))
        quality = _pair(one["quality_ours"], one["quality_peer"])
        rows.append(
            [f"`{name}`", f"{one['peer_name']} {one['peer_version']}", ours, peer, f"{one['ratio']:.2f}", quality, one["threads"], one["date"][:10]]
        )
    return _markdown(["benchmark", "peer", "sartor", "peer's", "times better", "quality, ours / peer's", "threads", "date"], rows)


def movielens() -> str:
    """What `sartor demo --data ml-1m` measured last: `docs/ml-1m.json` is its demo.json without the three people."""
    file = Path(__file__).parents[3] / "docs" / "ml-1m.json"
    if not file.is_file():
        return "Nothing has been measured yet."
    rows = []
    for one in _lines(file)[0]["methods"].values():
        metric, new = one["headline"], one["new_people"]
        ratio = f"{new['ratio']:.2f} [{new['ratio_interval'][0]:.2f}, {new['ratio_interval'][1]:.2f}]"
        value = f"{one['metrics'][metric]:.3f}"
        rows.append([f"`{one['method']}`", value, _scale(one, "gain"), _scale(one, "swap_gap"), ratio, f"{one['cost']['state_bytes']:,.0f}"])
    return _markdown(["method", "NDCG@10", "gain", "swap gap", "never seen / fitted on", "bytes per person"], rows)


def schemas() -> str:
    """The frames of a population and their columns."""
    from sartor.data.schema import SCHEMAS

    rows = [
        [f"`{frame}`" if number == 0 else "", f"**`{name}`**" if column.required else f"`{name}`", column.kind, column.meaning]
        for frame, columns in SCHEMAS.items()
        for number, (name, column) in enumerate(columns.items())
    ]
    return _markdown(["frame", "column (bold: needed)", "kind", "meaning"], rows)


def formats() -> str:
    """The formats that are read."""
    from sartor.data.loaders import formats as known

    rows = [[f"`{one.name}`", one.title, ", ".join(f"`{name}`" for name in one.options)] for one in known().values()]
    return _markdown(["format", "files", "options"], rows)


def commands() -> str:
    """The commands of the command line."""
    from sartor.cli import app

    found: list[list[str]] = []
    for group, prefix in ((app, "sartor"), *((one.typer_instance, f"sartor {one.name}") for one in app.registered_groups)):
        for command in group.registered_commands if group else ():
            name = command.name or getattr(command.callback, "__name__", "")
            found.append([f"`{prefix} {name}`", " ".join((command.callback.__doc__ or "").split("\n\n")[0].split()) if command.callback else ""])
    return _markdown(["command", "what it does"], found)


TABLES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "movielens": movielens,
    "methods": methods,
    "systems": systems,
    "claims": claims,
    "benchmarks": benchmarks,
    "schemas": schemas,
    "formats": formats,
}


def _first_line(resolve: Callable[[], Any]) -> str:
    """The first sentence of a class's docstring."""
    text = " ".join((resolve().__doc__ or "").split())
    return text.split(". ")[0].rstrip(".")


def _source(one: Any) -> str:
    if one.venue == "-":
        return str(one.authors)
    return f"{one.authors}, {one.venue}" if re.search(r"\d{4}$", one.venue) else f"{one.authors}, {one.venue} {one.year}"


def _scale(result: dict[str, Any], name: str) -> str:
    value, ends = result.get(name), result.get(f"{name}_interval")
    if value is None:
        return "does not apply"
    return f"{value:+.3f}" + (f" [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends and None not in ends else "")


def _pair(ours: float | None, peer: float | None) -> str:
    return "" if ours is None or peer is None else f"{ours:.4f} / {peer:.4f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as cause:
        raise CorruptFile("a line is not JSON", file=path) from cause


def _or_nothing(results: Callable[[], dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    try:
        return results()
    except FileProblem:
        return {}


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(columns), "|" + "---|" * len(columns), *map(line, rows)]) if rows else "Nothing has been measured yet."


def main(paths: Sequence[str]) -> None:
    """Rewrite the Markdown files given, and those in the folders given, where a table changed."""
    for place in map(Path, paths):
        for file in sorted(place.glob("**/*.md")) if place.is_dir() else [place]:
            text = file.read_text(encoding="utf-8")
            if (new := filled(text)) != text:
                file.write_text(new, encoding="utf-8")
                print(file)


if __name__ == "__main__":
    main(sys.argv[1:] or ["README.md", "docs"])
