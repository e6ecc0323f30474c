"""Warnings that this package logs, collected so that a session or a command shows each of them once, at its end."""

import logging
from collections import Counter
from collections.abc import Mapping

SHOWN = 20
"""Warnings that are shown at most."""


class WarningCollector(logging.Handler):
    """Counts the warnings of this package's loggers, by message and in order, between `start` and `stop`.

    >>> collector = WarningCollector()
    >>> collector.start()
    >>> for _ in range(2):
    ...     logging.getLogger("bob_gauntlet.runtime").warning("the disk is full")
    >>> collector.stop()
    >>> collector.lines()
    ['the disk is full (2 times)']
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._counts: Counter[str] = Counter()

    def start(self) -> None:
        """Collect from now on."""
        logging.getLogger("bob_gauntlet").addHandler(self)

    def stop(self) -> None:
        """Collect no longer; what was collected stays."""
        logging.getLogger("bob_gauntlet").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count one message; a character that UTF-8 cannot hold becomes a question mark."""
        self._counts[record.getMessage().encode(errors="replace").decode()] += 1

    def take(self) -> dict[str, int]:
        """Return message -> how often it was logged since the last call, as plain types."""
        counts, self._counts = self._counts, Counter()
        return dict(counts)

    def add(self, counts: Mapping[str, int]) -> None:
        """Add what the collector of another process has taken."""
        self._counts.update(counts)

    def lines(self) -> list[str]:
        """Return a line for each of the first messages, with the number of times, and one for the others."""
        lines = [f"{text} ({count} times)" if count > 1 else text for text, count in self._counts.items()]
        more = len(lines) - SHOWN
        return lines if more <= 0 else [*lines[:SHOWN], f"and {more} more warnings"]
