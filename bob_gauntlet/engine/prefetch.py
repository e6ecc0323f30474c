"""Threads that prepare the next batches while the network works on the present one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def prefetch(prepare: Callable[[Task], Result], tasks: Iterable[Task], *, threads: int) -> Iterator[Result]:
    """Yield `prepare(task)` of every task, in the order of the tasks.

    Up to `2 * threads` results are prepared ahead of the caller, so that memory is bounded. Pillow and NumPy release
    Python's lock, so that the threads decode images while the caller's network runs.

    >>> list(prefetch(str.upper, "abc", threads=2))
    ['A', 'B', 'C']
    """
    remaining = iter(tasks)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(prepare, task) for task in islice(remaining, 2 * threads))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(prepare, task) for task in islice(remaining, 1))
            yield result
