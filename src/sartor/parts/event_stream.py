"""Server-sent events out of bytes as they come: lines end at LF, CR LF or CR, and nowhere else (WHATWG HTML, 9.2.6).

Text lines as Python and HTTP libraries split them also end at U+2028 and U+0085, which a language model may well write.
"""

from __future__ import annotations

import re

from sartor.errors import TooLarge

LONGEST = 16_000_000
_END = re.compile(rb"\r\n|\n|\r")


class EventStream:
    """Gives the `data` of each line once it is whole.

    Parameters
    ----------
    longest: bytes of a line; a longer one raises `TooLarge`, rather than filling the memory.
    """

    def __init__(self, *, longest: int = LONGEST) -> None:
        self.longest = longest
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """What became whole with this chunk."""
        whole = self._rest + chunk
        # A CR at the end may be half of a line end.
        held = whole.endswith(b"\r")
        *lines, self._rest = _END.split(whole[:-1] if held else whole)
        if held:
            self._rest += b"\r"
        if len(self._rest) > self.longest:
            raise TooLarge(f"a line of more than {self.longest:,} bytes", fix="this is no event stream")
        return _data(lines)

    def end(self) -> list[bytes]:
        """What stood in the last line, if nothing ended it."""
        lines, self._rest = [self._rest.rstrip(b"\r")], b""
        return _data(lines)


def _data(lines: list[bytes]) -> list[bytes]:
    return [found for line in lines if line.startswith(b"data:") and (found := line[5:].strip(b" "))]
