"""The scheduler with simulated workers: whenever a worker dies, every item ends exactly once."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bob_gauntlet.plugin.xdist_scheduler import UnitScheduling, units_of


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
    made = UnitScheduling.__new__(UnitScheduling)
    made.expected, made.units, made.workers, made.killed = workers, None, {}, {}
    return made


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


def test_a_unit_shares_a_trained_head() -> None:
    """Shifts and attacks of a fine-tuned network are in its unit, and settings on features are in another."""
    units = units_of(
        [
            "c.py::t[x@adversarial-finetune-eps1@photos]",
            "c.py::t[x@linear-probe@photos]",
            "c.py::t[x@finetune@photos]",
            "c.py::t[x@ood-finetune@photos-sketch]",
            "c.py::t[x@ood-linear-probe@photos-sketch]",
            "c.py::t[x@ood-finetune@imagenet-a]",
            "c.py::t[x@finetune@mine]",
        ]
    )
    assert [len(unit) for unit in units] == [3, 2, 1, 1]
    assert units[0][-1] == "c.py::t[x@ood-finetune@photos-sketch]"


@pytest.mark.parametrize(
    "protocol",
    ["low-shot-10pct", "linear-probe-lars", "detection-frozen", "ood-detection-frozen", "efficiency", "of-a-user"],
)
def test_a_protocol_that_reuses_nothing_is_a_unit_of_its_own(protocol: str) -> None:
    """A protocol that reuses nothing of the linear probe or of fine-tuning on its dataset is a unit of its own."""
    ids = [f"t[x@{name}@photos]" for name in ("linear-probe", protocol, "finetune")]
    assert units_of(ids) == [[each] for each in ids]


def test_other_tests_are_units_of_their_own() -> None:
    """Each test outside the suites is a unit of its own."""
    assert units_of(["t.py::a", "t.py::b[1]", "s.py::c[x@knn@d]"]) == [
        ["t.py::a"],
        ["t.py::b[1]"],
        ["s.py::c[x@knn@d]"],
    ]
