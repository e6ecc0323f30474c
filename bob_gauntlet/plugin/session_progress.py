"""Progress of the whole session: how many settings have ended, and the time that the others are expected to take."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from bob_gauntlet.plugin.node_ids import parse_node_id
from bob_gauntlet.plugin.timetable import Timetable, roughly

EVERY = 5.0
"""Seconds between two looks at what is expected: a session may have thousands of settings."""


class SessionProgress:
    """Hooks of the process that the user started; `text` is called by the thread that draws."""

    def __init__(self, timetable: Timetable) -> None:
        self.timetable = timetable
        self.items: list[str] = []
        # item -> when it started, and those that have ended
        self.started: dict[str, float] = {}
        self.ended: set[str] = set()
        # item that has not ended -> its expected seconds; replaced, never changed
        self._expected: dict[str, float] = {}
        self._is_known = False
        self._looked_at = -EVERY

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take note of the settings of a session that collects in this process."""
        self._begin([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """Do the same where workers collect."""
        self._begin(ids)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Take note of an item that starts; one whose worker died starts again."""
        self.started[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Take note of an item that has ended, and of what it says about the others."""
        self.ended.add(nodeid)
        if time.monotonic() - self._looked_at >= EVERY:
            self._look()

    def text(self, with_running: bool = False) -> str:
        """Return how far the session is: `12 of 37 settings, 3 min left`; "" before the first setting starts.

        The time left is that of all workers together, and at least that of the longest setting. With `with_running` the
        settings that run are added: no process says what it does.
        """
        if not self.started:
            return ""
        now, expected = time.monotonic(), self._expected
        left = [
            max(0.0, seconds - (now - self.started.get(item, now)))
            for item, seconds in expected.items()
            if item not in self.ended
        ]
        done = f"{sum(item in self.ended for item in self.items)} of {len(self.items)} settings"
        if self._is_known and left:
            done += f", {roughly(max(sum(left) / self.timetable.workers, max(left)))} left"
        running = (
            [parse_node_id(item)[1] for item in list(self.started) if item not in self.ended] if with_running else []
        )
        return "  |  ".join([done, *running])

    def _begin(self, items: Sequence[str]) -> None:
        """Take note of the settings among some items."""
        self.items = [item for item in items if parse_node_id(item)[1]]
        self._look()

    def _look(self) -> None:
        """Look up what is expected of the items that have not ended; the caller is the thread that runs pytest."""
        left = [item for item in self.items if item not in self.ended]
        measured = [item for item in left if not self.timetable.is_stored(item)]
        self._is_known = any(self.timetable.estimate(item).source != "guess" for item in measured)
        self._expected = {item: self.timetable.seconds(item) for item in left}
        self._looked_at = time.monotonic()
