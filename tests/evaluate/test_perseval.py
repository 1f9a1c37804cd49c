"""PerSEval: a worked example, its invariants, and what it refuses."""

import math

import numpy as np
import pytest

from sartor.errors import BadValue, ConfigError, EmptyData, UnknownId
from sartor.evaluate.perseval import Document, perseval, sigmoid, stability

TABLE = {
    # Golds x, y, z; outputs p, q, r; document d.
    "xy": 0.6, "xz": 0.8, "yz": 0.4, "xd": 0.5, "yd": 0.4, "zd": 0.8,
    "pq": 0.3, "pr": 0.8, "qr": 0.5, "pd": 0.6, "qd": 0.5, "rd": 0.0,
    "px": 0.1, "qy": 0.3, "rz": 0.2,
}  # fmt: skip


def looked_up(a: object, b: object) -> float:
    first, second = "".join(a), "".join(b)  # type: ignore[call-overload]
    return 0.0 if first == second else TABLE.get(first + second, TABLE.get(second + first, math.nan))


def test_a_worked_example_of_three_people() -> None:
    document = Document("d", {1: "x", 2: "y", 3: "z"}, {1: "p", 2: "q", 3: "r"})
    found = perseval([document], distance=looked_up, tokens=list)

    def weighted(own: str, others: str, source: float) -> list[float]:
        gaps = [looked_up([own], [other]) for other in others]
        raw = [math.exp(gap / source) if source else 1.0 for gap in gaps]
        return [value / sum(raw) * gap for value, gap in zip(raw, gaps, strict=True)]

    wanted = [weighted("x", "yz", 0.5), weighted("y", "xz", 0.4), weighted("z", "xy", 0.8)]
    # r is the document itself: its distance 0 divides nothing, and its weights are even.
    given = [weighted("p", "qr", 0.6), weighted("q", "pr", 0.5), weighted("r", "pq", 0.0)]
    responsive = [sum((min(a, b) + 1e-5) / (max(a, b) + 1e-5) for a, b in zip(*pair, strict=True)) / 2 for pair in zip(wanted, given, strict=True)]
    drop = 1 / (1 + 1e4 * math.exp(-10 * 0.1 / (0.9 + 1e-5)))
    uneven = [1 / (1 + 1e4 * math.exp(-10 * (a - 0.1) / (0.2 - 0.1 + 1e-5))) for a in (0.1, 0.3, 0.2)]
    discount = [1 - 1 / (1 + 1e3 * math.exp(-10 * (drop + one))) + 1e-5 for one in uneven]
    assert found.degress == pytest.approx(sum(responsive) / 3, abs=1e-9)
    assert found.edp == pytest.approx(sum(discount) / 3, abs=1e-9)
    assert found.perseval == pytest.approx(sum(a * b for a, b in zip(responsive, discount, strict=True)) / 3, abs=1e-9)
    assert found.per_person[2] == pytest.approx(responsive[1] * discount[1], abs=1e-9)
    assert found.egises == pytest.approx(1 - found.degress)


def test_sigmoid() -> None:
    assert sigmoid(0.0) == pytest.approx(1 / 10_001)


def test_right_equal_and_missing_outputs() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(40)]
    golds = [{person: " ".join(rng.choice(words, 6)) for person in range(5)} for _ in range(8)]
    right = [Document(" ".join(words), gold, gold) for gold in golds]
    same = [Document(" ".join(words), gold, dict.fromkeys(gold, gold[0])) for gold in golds]
    none = [Document(" ".join(words), gold, {}) for gold in golds]
    for distance in ("jsd", "rouge-l", "rouge-su4", "bleu"):
        assert perseval(right, distance=distance).perseval > 0.99
        assert perseval(same, distance=distance).degress < 0.01
        assert perseval(none, distance=distance).perseval < 0.1
    assert set(stability(right, draws=2)) == {1.0, 0.8, 0.6, 0.4, 0.2}
    assert perseval(right).to_dict()["per_person"].keys() == {"0", "1", "2", "3", "4"}


def far(a: object, b: object) -> float:
    return 3.0


def test_what_it_refuses() -> None:
    two, one = Document("d", {1: "x", 2: "y"}, {1: "x"}), Document("d", {1: "x"}, {1: "x"})
    assert perseval([two, one]).skipped == 1
    with pytest.raises(EmptyData, match="two people"):
        perseval([one])
    with pytest.raises(BadValue, match="far"):
        perseval([two], distance=far)
    with pytest.raises(UnknownId, match="without a gold"):
        perseval([Document("d", {1: "x", 2: "y"}, {3: "x"})])
    with pytest.raises(ConfigError, match="share"):
        perseval([two], share=0.0)
