"""Progress of long work, as the engine reports it; who shows it, and where, is the plugin's matter."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """Silent progress: the default, and the interface that the plugin's live one fills.

    >>> with Progress().step("extract train", total=64) as advance:
    ...     advance(32)
    """

    @contextmanager
    def step(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Announce `total` units of work called `what`; the yielded function counts finished units."""
        yield lambda count: None
