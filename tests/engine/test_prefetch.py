"""Prefetching: results come in order, few are prepared ahead, and errors reach the caller."""

import threading
import time
from collections.abc import Iterator

import pytest

from bob_gauntlet.engine.prefetch import prefetch


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_results_come_in_the_order_of_the_tasks(threads: int, count: int) -> None:
    """Results are in order although early tasks take longer than late ones."""

    def prepare(number: int) -> int:
        time.sleep(0.002 if number % 2 == 0 else 0)
        return number * number

    assert list(prefetch(prepare, range(count), threads=threads)) == [number * number for number in range(count)]


def test_few_tasks_are_prepared_ahead() -> None:
    """At most twice as many tasks as threads are taken before the caller has asked for a second result."""
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = prefetch(lambda number: number, tasks(), threads=2)
    assert taken == []
    assert next(results) == 0
    assert taken == [0, 1, 2, 3, 4]
    assert next(results) == 1
    assert taken == [0, 1, 2, 3, 4, 5]


def test_tasks_are_prepared_at_the_same_time() -> None:
    """Two threads wait for each other, which needs both to be running."""
    barrier = threading.Barrier(2, timeout=30)
    assert len(list(prefetch(lambda number: barrier.wait(), range(4), threads=2))) == 4


def test_an_error_reaches_the_caller_in_its_place() -> None:
    """The results before the error are delivered, and the error is raised where its result would be."""

    def prepare(number: int) -> int:
        if number == 3:
            raise ValueError("the fourth task")
        return number

    results = prefetch(prepare, range(10), threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth task"):
        next(results)
