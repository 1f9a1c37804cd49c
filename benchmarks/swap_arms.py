"""What would the swap gap be if a donor's own items could not be shown?

In the swap arm of `evaluate`, a list is made with another person's state (the donor's). What the person has seen is left out, what only the
donor has seen is not: it fills most of such a list, and is hit or missed for reasons that are not all taste. Here the swap gap is measured
in three ways: as `evaluate` does; with the donor's items left out of the swapped list too, which then cannot hold what both like; and with both
people's items left out of both lists and of what is asked for, so that both lists choose from the same items. Prints one line per method.

    python benchmarks/swap_arms.py ml-100k --split random --methods ease als
"""

from __future__ import annotations

import argparse
import json

import numpy as np

import sartor
from sartor.data import dataset, splits
from sartor.evaluate.arms import Ranker, partners, states_of
from sartor.evaluate.case import Case
from sartor.evaluate.metrics.beyond import hit_mask, in_rows
from sartor.evaluate.metrics.ranking import Truth, ranking
from sartor.parts.statistics import bootstrap

K = 10


def measure(slug: str, split: splits.Split, seed: int) -> dict[str, object]:
    """NDCG@10 of the arms, and the swap gap in three ways with 95% intervals."""
    method = sartor.make(slug, seed=seed).fit(split.train, validation=split.validation, progress=False)
    case = Case.of(method, split, "test", "seen", None, seed, False, None)
    ranker = Ranker(method, case.items, K, seed)
    people = np.random.default_rng([seed, len(case.people)]).permutation(len(case.people))
    people = people[case.events[people] > 0]
    donors = partners(people, case.seen, seed, "random")[people]
    states, ids = states_of(method, case.evidence, case.people.array.tolist()), case.people.array
    own, swapped = ([states[ids[row]] for row in rows] for rows in (people, donors))
    truth, seen, theirs = case.truth.take(people), case.seen.take(people), case.seen.take(donors)
    both = Truth.from_pairs(np.concatenate([seen.rows, theirs.rows]), np.concatenate([seen.indices, theirs.indices]), people.size)
    rest = truth.keep(~in_rows(truth, theirs))

    def lists(who: list[sartor.State], left_out: Truth, asked: Truth) -> tuple[np.ndarray, np.ndarray]:
        best, _ = ranker.lists(who, left_out, asked)
        return best, ranking(best, asked, (K,))["ndcg"][:, 0]

    mine = lists(own, seen, truth)[1]
    shown, as_is = lists(swapped, seen, truth)
    one_sided = lists(swapped, both, truth)[1]
    fair, fair_swapped = lists(own, both, rest)[1], lists(swapped, both, rest)[1]
    return {
        "method": slug,
        "own": round(float(mine.mean()), 4),
        "gap": _gap(mine - as_is),
        "gap, donor's items not shown": _gap(mine - one_sided),
        "gap, both people's items neither shown nor asked for": _gap(fair - fair_swapped),
        "share of swapped lists that is the donor's": round(float(hit_mask(shown, theirs).mean()), 3),
        "share of what is asked for that the donor has": round(float(in_rows(truth, theirs).mean()), 3),
        "people": [people.size, int((~np.isnan(fair)).sum())],
    }


def _gap(values: np.ndarray) -> list[float]:
    known = values[~np.isnan(values)]
    return [round(float(one), 4) for one in (known.mean(), *bootstrap(known, resamples=1000, seed=0))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--split", default="random")
    parser.add_argument("--methods", nargs="+", default=["ease", "als", "item-knn", "bpr"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    split = splits.make(options.split, dataset(options.data), seed=options.seed)
    for slug in options.methods:
        print(json.dumps({"data": options.data, "split": options.split, **measure(slug, split, options.seed)}), flush=True)


if __name__ == "__main__":
    main()
