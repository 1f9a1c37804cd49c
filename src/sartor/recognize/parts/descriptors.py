"""What a picture looks like at a glance, with nothing learned: enough to tell places, cameras, seasons and nights apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from sartor.recognize.parts.images import checked

ROWS, COLUMNS = 4, 2
DIM = ROWS * COLUMNS * 10


def appearance(images: np.ndarray) -> np.ndarray:
    """float32 [n, 80] of uint8 [n, h, w, 3]: in each of 4 x 2 cells the mean and the spread of the three colours, and how much changes along the
    four directions. Colours are from 0 to 1, changes of the same order.

    A frozen network's pooled features say more where there is one; this is what is always there.
    """
    x = checked(images).astype(np.float32) / 255
    grey = x.mean(-1)
    middle = grey[:, 1:-1, 1:-1]
    steps = (grey[:, 1:-1, 2:] - middle, grey[:, 2:, 1:-1] - middle, grey[:, 2:, 2:] - middle, grey[:, 2:, :-2] - middle)
    changes = np.pad(np.abs(np.stack(steps, -1)), ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = (np.linspace(0, size, parts + 1).astype(int) for size, parts in ((x.shape[1], ROWS), (x.shape[2], COLUMNS)))
    cells = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            part = x[:, top:bottom, left:right]
            cells += [part.mean((1, 2)), part.std((1, 2)), 4 * changes[:, top:bottom, left:right].mean((1, 2))]
    return np.concatenate(cells, 1).astype(np.float32)
