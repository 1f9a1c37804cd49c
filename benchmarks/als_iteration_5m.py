"""One iteration of implicit ALS (people, then items) with 64 factors on 5 million generated events, against implicit's default solver.

`quality` is minus the loss that both minimise, after equally many iterations, people solved exactly at the end: higher is better.
"""

from __future__ import annotations

from typing import Any

import _als

NAME = "als-iteration-5m"
UNIT = "seconds per iteration"
PEER = "implicit"


def ours() -> dict[str, Any]:
    return _als.measure_ours(_als.generated())


def peer() -> dict[str, Any]:
    return _als.measure_peer(_als.generated())
