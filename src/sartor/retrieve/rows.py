"""Arrays that grow at their end without being copied every time."""

from __future__ import annotations

import numpy as np


class Rows:
    """Rows of one array, with room for more behind them."""

    def __init__(self, array: np.ndarray) -> None:
        self._room, self._used = array, len(array)

    @property
    def array(self) -> np.ndarray:
        """What there is, as a view."""
        return self._room[: self._used]

    def own(self) -> np.ndarray:
        """The same view, to be written into; of a file's pages a copy is made first."""
        if not self._room.flags.writeable:
            self._room = self._room.copy()
        return self.array

    def append(self, more: np.ndarray) -> None:
        """Put rows behind the last; views taken before stay as they were."""
        end = self._used + len(more)
        if end > len(self._room):
            room = np.empty((max(end, self._used + self._used // 2), *self._room.shape[1:]), self._room.dtype)
            room[: self._used] = self.array
            self._room = room
        self._room[self._used : end] = more
        self._used = end
