"""The scheduler with simulated workers and a simulated clock: every item ends exactly once, and all workers end early.

The bounds are Graham's (1966, 1969): handing each unit to the worker that is free first takes at most total / workers +
longest, and in the order of their lengths at most 4/3 of the optimum.
"""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bob_gauntlet.plugin.xdist_scheduler import UnitScheduling


class Node:
    """A worker of xdist, as the scheduler sees it."""

    def __init__(self) -> None:
        self.queue: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        assert not self.shutting_down
        self.queue += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def runnable(self) -> bool:
        """Whether xdist starts an item, which it does when it knows the next one or that there is none."""
        return len(self.queue) >= 2 or (bool(self.queue) and self.shutting_down)


def scheduler(workers: int) -> UnitScheduling:
    """Return a scheduler that expects `workers` workers."""
    return UnitScheduling(workers, lambda node_id: 1.0, clock=lambda: 0.0)


def items(backbones: int, datasets: int, protocols: int) -> list[str]:
    """Return node ids like those of the suites."""
    return [
        f"suite.py::test[b{b}@{protocol}@d{d}]"
        for protocol in ("linear-probe", "knn", "retrieval")[:protocols]
        for b in range(backbones)
        for d in range(datasets)
    ]


def join(sched: UnitScheduling, collection: list[str]) -> Node:
    """Add a worker that has collected, and return it."""
    node: Any = Node()
    sched.add_node(node)
    sched.add_node_collection(node, collection)
    return node


def work(sched: UnitScheduling, collection: list[str], nodes: list[Node], rng: random.Random, kills: int) -> list[str]:
    """Run all items while `kills` workers die, and return the items in the order in which they ended."""
    ended: list[str] = []
    while sched.has_pending:
        ready = [node for node in nodes if node.runnable]
        assert ready, "nobody can go on and something is left"
        node: Any = rng.choice(ready)
        if kills and rng.random() < 0.2:
            kills -= 1
            nodes.remove(node)
            if failed := sched.remove_node(node):
                ended.append(failed)
            nodes.append(join(sched, collection))
            sched.schedule()
            continue
        index = node.queue.pop(0)
        ended.append(collection[index])
        sched.mark_test_complete(node, index)
    return ended


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 6), st.integers())
def test_every_item_ends_exactly_once(workers: int, b: int, d: int, p: int, kills: int, seed: int) -> None:
    """Every item ends exactly once for any number of workers and whenever they die."""
    collection = items(b, d, p)
    sched = scheduler(workers)
    nodes = [join(sched, collection) for _ in range(workers)]
    sched.schedule()
    assert sorted(work(sched, collection, nodes, random.Random(seed), kills)) == sorted(collection)
    assert sched.tests_finished


def test_an_item_is_tried_twice_and_then_has_failed() -> None:
    """The first death returns None, so that xdist reports nothing, and the second returns the id of the item."""
    collection = items(1, 1, 2)
    sched = scheduler(1)
    node: Any = join(sched, collection)
    sched.schedule()
    assert sched.remove_node(node) is None
    other: Any = join(sched, collection)
    sched.schedule()
    assert sched.remove_node(other) == collection[0]


def test_a_worker_keeps_its_dataset_and_its_backbone() -> None:
    """Of two workers and two backbones with two datasets each, no worker loads both backbones."""
    collection = items(backbones=2, datasets=2, protocols=2)
    sched = scheduler(2)
    nodes: list[Any] = [join(sched, collection) for _ in range(2)]
    sched.schedule()
    held: dict[int, set[str]] = {0: set(), 1: set()}
    for turn in range(len(collection)):
        number = turn % 2
        index = nodes[number].queue.pop(0)
        held[number].add(collection[index].partition("[")[2][:2])
        sched.mark_test_complete(nodes[number], index)
    assert held == {0: {"b0"}, 1: {"b1"}}


def test_one_backbone_keeps_both_workers_busy() -> None:
    """Two workers get different datasets of one backbone."""
    collection = items(backbones=1, datasets=2, protocols=2)
    sched = scheduler(2)
    nodes: list[Any] = [join(sched, collection) for _ in range(2)]
    sched.schedule()
    assert [[collection[i][-4:] for i in node.queue] for node in nodes] == [["@d0]"] * 2, ["@d1]"] * 2]


def test_a_replacement_gets_nothing_before_it_has_collected() -> None:
    """A new worker gets no item before it has collected; xdist's LoadScope has an INTERNALERROR there."""
    collection = items(2, 2, 2)
    sched = scheduler(1)
    first: Any = join(sched, collection)
    sched.schedule()
    late: Any = Node()
    sched.add_node(late)
    sched.remove_node(first)
    assert late.queue == []
    sched.add_node_collection(late, collection)
    sched.schedule()
    assert len(late.queue) == 2


def test_what_a_worker_gives_back_runs_elsewhere() -> None:
    """An item that a worker gives back is run again, and every item ends once."""
    collection = items(1, 2, 2)
    sched = scheduler(2)
    nodes: list[Any] = [join(sched, collection) for _ in range(2)]
    sched.schedule()
    returned = nodes[0].queue.pop()
    sched.remove_pending_tests_from_node(nodes[0], [returned])
    assert sorted(work(sched, collection, nodes, random.Random(0), kills=0)) == sorted(collection)


class Simulation:
    """Workers that run items of known durations on a simulated clock."""

    def __init__(self, durations: dict[str, float], workers: int, expected: dict[str, float] | None = None) -> None:
        self.durations, self.now = durations, 0.0
        self.collection = list(durations)
        seconds = (expected or durations).__getitem__
        self.scheduler = UnitScheduling(workers, seconds, clock=lambda: self.now)
        self.nodes = [join(self.scheduler, self.collection) for _ in range(workers)]
        # (start, end, worker, item)
        self.spans: list[tuple[float, float, int, str]] = []

    def run(self) -> float:
        """Run everything and return the seconds that it took."""
        running: dict[int, tuple[float, str]] = {}
        self.scheduler.schedule()
        while True:
            for number, node in enumerate(self.nodes):
                if number not in running and node.runnable:
                    item = self.collection[node.queue[0]]
                    running[number] = self.now + self.durations[item], item
            if not running:
                return self.now
            number = min(running, key=lambda n: running[n][0])
            end, item = running.pop(number)
            self.spans.append((end - self.durations[item], end, number, item))
            self.now = end
            self.nodes[number].queue.pop(0)
            self.scheduler.mark_test_complete(self.nodes[number], self.collection.index(item))


def alone(seconds: list[float]) -> dict[str, float]:
    """Return node id -> seconds of settings that share nothing."""
    return {f"t[x@low-shot-10pct@d{number}]": each for number, each in enumerate(seconds)}


def optimum(seconds: list[float], workers: int) -> float:
    """Return the least time in which workers can do some units, by trying every distribution."""
    choices = itertools.product(range(workers), repeat=len(seconds))
    return min(max(sum(s for s, w in zip(seconds, c, strict=True) if w == n) for n in range(workers)) for c in choices)


SECONDS = st.integers(1, 100).map(float)


@settings(max_examples=100, deadline=None)
@given(st.lists(SECONDS, min_size=1, max_size=7), st.integers(1, 3))
def test_workers_end_within_four_thirds_of_the_optimum(seconds: list[float], workers: int) -> None:
    """The cheapest unit, with which a worker begins, is all that is added to the bound of the longest first."""
    took = Simulation(alone(seconds), workers).run()
    assert took <= 4 / 3 * optimum(seconds, workers) + min(seconds) + 1e-9


@settings(max_examples=100, deadline=None)
@given(st.lists(SECONDS, min_size=1, max_size=40), st.integers(1, 8))
def test_every_item_ends_once_and_no_worker_waits_for_another(seconds: list[float], workers: int) -> None:
    """Many units on many workers take at most total / workers + longest; the longest and the cheapest start at once."""
    simulation = Simulation(alone(seconds), workers)
    took = simulation.run()
    assert sorted(item for *_, item in simulation.spans) == sorted(simulation.collection)
    assert took <= sum(seconds) / workers + max(seconds) + 1e-9
    at_once = [simulation.durations[item] for start, *_, item in simulation.spans if start == 0]
    assert min(seconds) in at_once
    assert max(seconds) in at_once or workers == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=20), st.integers(1, 5))
def test_wrong_expectations_lose_no_item(pairs: list[tuple[float, float]], workers: int) -> None:
    """Where nothing takes as long as expected, every item still ends exactly once."""
    durations, expected = alone([real for real, _ in pairs]), alone([guess for _, guess in pairs])
    simulation = Simulation(durations, workers, expected)
    simulation.run()
    assert sorted(item for *_, item in simulation.spans) == sorted(durations)


@pytest.mark.parametrize(
    ("seconds", "took"),
    [
        # no short unit waits behind the long one, whose worker is shut down
        ([10, 1, 1, 1], 10),
        # what runs counts from its own start
        ([9, 5, 12, 2, 9, 6], 23),
    ],
)
def test_a_unit_goes_to_the_worker_that_is_free_first(seconds: list[float], took: float) -> None:
    """Each of two workers knows its next item before it starts one, and still gets it by when it will be free."""
    assert Simulation(alone(seconds), 2).run() == took


def test_one_worker_does_what_is_cheap_first() -> None:
    """With one worker there is nothing to balance, and scores appear early."""
    simulation = Simulation(alone([5, 1, 3]), 1)
    simulation.run()
    assert [end - start for start, end, *_ in simulation.spans] == [1, 3, 5]


def test_the_rest_of_a_long_unit_is_shared() -> None:
    """A worker without a unit takes settings of another one's unit, once what they share has been computed."""
    shared = {f"t[x@{protocol}@photos]": 10.0 for protocol in ("finetune", "calibration-finetune")}
    shared |= {f"t[x@ood-finetune@photos-{shift}]": 10.0 for shift in ("hard", "sketch", "rendition", "recollected")}
    simulation = Simulation({**shared, **alone([12.0])}, 2)
    assert simulation.run() <= 40
    assert {number for *_, number, item in simulation.spans if item in shared} == {0, 1}
    first = min(simulation.spans, key=lambda span: (span[3] not in shared, span[0]))
    assert all(start >= first[1] for start, *_, item in simulation.spans if item in shared and item != first[3])


def test_nobody_waits_for_what_another_worker_computes() -> None:
    """A setting stays with the worker that computes what it needs, if another one could only wait for that."""
    shared = {
        "t[x@finetune@photos]": 30.0,
        "t[x@calibration-finetune@photos]": 0.0,
        "t[x@ood-finetune@photos-hard]": 1.0,
    }
    simulation = Simulation({**shared, **alone([5.0])}, 2)
    simulation.run()
    assert len({number for *_, number, item in simulation.spans if item in shared}) == 1


def test_what_runs_alone_comes_last() -> None:
    """A setting that makes all others wait starts when nothing else is left, however long it takes."""
    simulation = Simulation({"t[x@efficiency@noise]": 99.0, **alone([1, 2, 3, 4])}, 2)
    simulation.run()
    start = next(start for start, *_, item in simulation.spans if "efficiency" in item)
    assert start == max(span[0] for span in simulation.spans)


def test_the_session_is_announced_once() -> None:
    """The items are announced when they are known, and not again when a worker is replaced."""
    announced: list[int] = []
    collection = items(1, 2, 2)
    sched = UnitScheduling(1, lambda node_id: 1.0, lambda names: announced.append(len(names)))
    node: Any = join(sched, collection)
    sched.schedule()
    sched.remove_node(node)
    join(sched, collection)
    sched.schedule()
    assert announced == [4]
