"""Progress of long work, as the engine reports it; the plugin shows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """Silent progress: the default, and the interface that the plugin implements.

    >>> with Progress().step("extract train", total=64) as advance:
    ...     advance(32)
    """

    @contextmanager
    def step(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Announce `total` units of work called `what`; the yielded function takes numbers of finished units."""
        yield lambda count: None
