"""Progress of long work, as the engine reports it; the plugin shows it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Silent progress: the default, and the interface that the plugin implements.

    >>> with Progress().step("extract train", total=64) as advance:
    ...     advance(32)
    """

    @contextmanager
    def step(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Announce `total` units of work called `what`; the yielded function takes numbers of finished units."""
        yield lambda count: None


class LineProgress(Progress):
    """Progress on one line of a stream, which is drawn about once a second and wiped at the end of a step.

    >>> import sys
    >>> with LineProgress(sys.stdout).step("extract train", total=64) as advance:
    ...     advance(32)  # less than a second has passed: nothing is drawn
    """

    EVERY = 1.0
    """Seconds between two drawings, and before the first one."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        # stands before every step
        self.setting = ""

    @contextmanager
    def step(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Announce a step of `total` units; every call of the yielded function may draw the line again."""
        done, drawn, last = 0, False, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, drawn, last
            done += count
            if time.monotonic() - last >= self.EVERY:
                drawn, last = True, time.monotonic()
                self._write(f"{self.setting}: {what} {done}/{total}")

        try:
            yield advance
        finally:
            if drawn:
                self._write("")

    def _write(self, line: str) -> None:
        """Replace the line."""
        self.stream.write("\r\x1b[2K" + line)
        self.stream.flush()
