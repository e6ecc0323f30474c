"""The progress of a whole session: settings that have ended, and the time left for the others."""

from types import SimpleNamespace
from typing import Any

import pytest

from bob_gauntlet.plugin.session_progress import SessionProgress
from bob_gauntlet.scores.durations import ExpectedTime

SECONDS = {"t[x@finetune@photos]": 300.0, "t[x@knn@photos]": 60.0, "t[x@retrieval@copydays-mini]": 60.0}
FINETUNE, KNN, RETRIEVAL = SECONDS


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the progress looks at."""
    moved = Clock()
    monkeypatch.setattr("bob_gauntlet.plugin.session_progress.time", moved)
    return moved


def progress(workers: int = 1, source: Any = "pool", stored: tuple[str, ...] = ()) -> SessionProgress:
    """Return the progress of a session of three settings on some workers."""
    timetable: Any = SimpleNamespace(
        workers=workers,
        seconds=lambda item: 0.02 if item in stored else SECONDS[item],
        is_stored=lambda item: item in stored,
        estimate=lambda item: ExpectedTime(SECONDS[item], source),
    )
    made = SessionProgress(timetable)
    made.pytest_xdist_node_collection_finished(None, [*SECONDS, "tests/test_x.py::test_other"])
    return made


def test_settings_are_counted_and_time_runs_down(clock: Clock) -> None:
    """A running setting adds less to the time left the longer it runs, and one that has ended adds nothing."""
    shown = progress()
    assert shown.text() == ""
    shown.pytest_runtest_logstart(KNN)
    assert shown.text() == "0 of 3 settings, 7 min left"
    clock.now += 30
    assert shown.text() == "0 of 3 settings, 7 min left"
    clock.now += 600
    assert shown.text() == "0 of 3 settings, 6 min left", "a setting that takes longer than expected is about to end"
    shown.pytest_runtest_logfinish(KNN)
    shown.pytest_runtest_logstart(FINETUNE)
    clock.now += 240
    assert shown.text() == "1 of 3 settings, 120 s left"
    for item in (FINETUNE, RETRIEVAL):
        shown.pytest_runtest_logfinish(item)
    assert shown.text() == "3 of 3 settings"


def test_workers_share_the_time_that_is_left(clock: Clock) -> None:
    """No number of workers makes the longest setting shorter."""
    texts = []
    for workers in (1, 2, 3):
        shown = progress(workers)
        shown.pytest_runtest_logstart(RETRIEVAL)
        texts.append(shown.text())
    assert texts == ["0 of 3 settings, 7 min left", "0 of 3 settings, 5 min left", "0 of 3 settings, 5 min left"]


@pytest.mark.parametrize(("source", "stored"), [("guess", ()), ("pool", tuple(SECONDS))])
def test_nothing_is_promised_without_durations(clock: Clock, source: str, stored: tuple[str, ...]) -> None:
    """Where durations are guessed, or all scores are only read, settings are counted."""
    shown = progress(1, source, stored)
    shown.pytest_runtest_logstart(KNN)
    assert shown.text() == "0 of 3 settings"


def test_settings_that_run_are_named_on_request(clock: Clock) -> None:
    """While no process says what it does, the settings that run are on the line."""
    shown = progress()
    for item in (FINETUNE, KNN):
        shown.pytest_runtest_logstart(item)
    shown.pytest_runtest_logfinish(FINETUNE)
    assert shown.text(True) == "1 of 3 settings, 120 s left  |  knn@photos"
    assert shown.text(False) == "1 of 3 settings, 120 s left"


def test_an_item_that_is_tried_again_is_counted_once(clock: Clock) -> None:
    """An item whose worker died starts anew."""
    shown = progress()
    shown.pytest_runtest_logstart(FINETUNE)
    clock.now += 290
    shown.pytest_runtest_logstart(FINETUNE)
    assert shown.text() == "0 of 3 settings, 7 min left"
    for _ in range(2):
        shown.pytest_runtest_logfinish(FINETUNE)
    assert shown.text() == "1 of 3 settings, 120 s left"
