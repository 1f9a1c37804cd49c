"""Real job titles: how often does an alternate title of O*NET find its occupation, with and without its software, before and after tuning?

O*NET 29.2: 1,016 occupations, 56,560 alternate titles, example products of technology skills. Alternate titles are split at random: the test
titles are in no training pair, in whatever case, and neither is an occupation's own title. Training pairs are (alternate title, eight of the
occupation's products). A title of several occupations is right with any of them. Smoke test: there is no mark to pass, and the occupation's
products are known for a test title here, which an advertisement would have to name.

    python benchmarks/onet_titles.py --test 600 --pairs 4800
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np
import polars as pl
import torch

from sartor.data.datasets import find
from sartor.represent.text import neural_encoder
from sartor.represent.vacancysbert import TitleEncoder, VacancySBERT
from sartor.retrieve.title_search import TitleSearch

SHOWN = 8
"""Products beside a title."""


def main() -> None:
    """Prints one JSON line per arm."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--test", type=int, default=600)
    asked.add_argument("--pairs", type=int, default=4_800)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    torch.set_num_threads(1)
    folder, rng = find("onet"), np.random.default_rng(given.seed)

    def read(name: str, *columns: str) -> pl.DataFrame:
        return pl.read_csv(folder / f"{name}.txt", separator="\t", quote_char=None).select("O*NET-SOC Code", *columns)

    occupations = read("Occupation Data", "Title")
    titles, number = occupations["Title"].to_list(), {code: at for at, code in enumerate(occupations["O*NET-SOC Code"])}
    products: dict[int, list[str]] = {}
    for code, product in read("Technology Skills", "Example").iter_rows():
        products.setdefault(number[code], []).append(product)
    right: dict[str, set[int]] = {}
    known = {title.casefold() for title in titles}
    for code, title in read("Alternate Titles", "Alternate Title").iter_rows():
        if title.casefold() not in known and number[code] in products:
            right.setdefault(title.casefold(), set()).add(number[code])
    every = rng.permutation(sorted(right)).tolist()
    test, train = every[: given.test], every[given.test :]

    def shown(occupation: int) -> list[str]:
        return [str(one) for one in rng.permutation(products[occupation])[:SHOWN]]

    skills = [shown(min(right[title])) for title in test]

    def told(encoder: TitleEncoder, arm: str, more: Sequence[Sequence[str]] | None) -> None:
        found = TitleSearch(encoder, titles, range(len(titles))).search(test, more, k=10).indices
        hits = {
            f"R@{k}": float(np.mean([bool(right[title] & set(row[:k].tolist())) for title, row in zip(test, found, strict=True)])) for k in (1, 5, 10)
        }
        print(json.dumps({"arm": arm, "test": len(test), **{name: round(value, 4) for name, value in hits.items()}}), flush=True)

    untuned = TitleEncoder(neural_encoder("minilm"))
    told(untuned, "zero-shot, title", None)
    told(untuned, "zero-shot, title and products", skills)
    pairs = [(title, occupation) for title in train for occupation in sorted(right[title])]
    chosen = [pairs[at] for at in rng.permutation(len(pairs))[: given.pairs]]
    start = time.process_time()
    tuned = VacancySBERT(seed=given.seed).fit(
        neural_encoder("minilm"), [title for title, _ in chosen], [shown(one) for _, one in chosen], normalised=[titles[one] for _, one in chosen]
    )
    print(json.dumps({"training pairs": len(chosen), "cpu_seconds": round(time.process_time() - start, 1)}), flush=True)
    told(tuned, "tuned, title", None)
    told(tuned, "tuned, title and products", skills)


if __name__ == "__main__":
    main()
