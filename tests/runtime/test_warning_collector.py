"""Warnings of the package's loggers, collected by message."""

import logging

import pytest

from bob_gauntlet.runtime.warning_collector import SHOWN, WarningCollector

LOG = logging.getLogger("bob_gauntlet.anything")


@pytest.fixture
def collector() -> "pytest.Generator[WarningCollector]":
    """A collector that has started; it stops after the test."""
    started = WarningCollector()
    started.start()
    yield started
    started.stop()


def test_each_warning_is_shown_once_with_its_number(collector: WarningCollector) -> None:
    """Equal messages are one line; messages below a warning and of other packages are none."""
    for _ in range(3):
        LOG.warning("%s is full", "the disk")
    LOG.error("worse")
    LOG.info("fine")
    logging.getLogger("another").warning("not ours")
    assert collector.lines() == ["the disk is full (3 times)", "worse"]


def test_taken_warnings_can_be_added_elsewhere(collector: WarningCollector) -> None:
    """Warnings that a worker collects are added once to those of the controller."""
    LOG.warning("a")
    taken = collector.take()
    assert taken == {"a": 1}
    assert collector.take() == {}
    LOG.warning("a")
    collector.add(taken)
    assert collector.lines() == ["a (2 times)"]


def test_after_the_end_nothing_is_collected() -> None:
    """A collector that was stopped keeps what it has and collects nothing more."""
    collector = WarningCollector()
    collector.start()
    LOG.warning("a")
    collector.stop()
    LOG.warning("b")
    assert collector.lines() == ["a"]


def test_only_the_first_warnings_are_shown(collector: WarningCollector) -> None:
    """Of many warnings the first are shown, and how many more there are."""
    for number in range(SHOWN + 5):
        LOG.warning("line %d", number)
    assert collector.lines()[-2:] == [f"line {SHOWN - 1}", "and 5 more warnings"]
    assert len(collector.lines()) == SHOWN + 1


def test_half_a_surrogate_pair_can_be_printed(collector: WarningCollector) -> None:
    """A path with a byte that is no UTF-8 is printed with a question mark."""
    LOG.warning("%s is damaged", "caf\udce9")
    assert collector.lines() == ["caf? is damaged"]
