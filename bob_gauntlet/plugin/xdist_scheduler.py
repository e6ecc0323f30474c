"""How settings spread over the workers of pytest-xdist. The only module that knows xdist.

A unit is what shares one backbone's features of a dataset, or its network fine-tuned on one: one worker takes it all.
A worker prefers a backbone that it has loaded. An item whose worker dies is tried once more, elsewhere; the second
time it has failed. What has to run alone waits for its turn itself (`session.alone`).

xdist's workers start an item when they know the next one or that there is none: so every worker holds two, and the
last ones are started by its shutdown.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from xdist.workermanage import WorkerController, parse_tx_spec_config

from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.plugin.node_ids import of_node
from bob_gauntlet.runtime import devices

_AHEAD = 2
_THREADS = "OMP_NUM_THREADS"


class Distribution:
    """The hooks of xdist, on the controller."""

    def __init__(self, config: pytest.Config, live: Path) -> None:
        self.config, self.live = config, live
        self.threads = os.environ.get(_THREADS)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[Any]) -> None:
        """Workers share the cores: their libraries read the number of threads when they are loaded."""
        os.environ.setdefault(_THREADS, str(max(1, devices.cores() // len(specs))))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker, also one that replaces another, where progress goes and how many they are."""
        node.workerinput["bob_live"] = str(self.live)
        node.workerinput["bob_workers"] = len(parse_tx_spec_config(self.config))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> "UnitScheduling | None":
        """Ours, unless another distribution was asked for by --dist."""
        return UnitScheduling(config) if config.getoption("dist") == "load" else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: Any) -> None:
        """Only an item that was tried twice gets here."""
        report.longrepr = f"{crashitem} killed its worker twice: out of memory, or a crash in native code"

    def pytest_unconfigure(self) -> None:
        """Leave the environment as it was."""
        if self.threads is None:
            os.environ.pop(_THREADS, None)


@dataclass
class _Worker:
    """What the controller knows of one worker."""

    # node id -> index in the worker's own collection; None until it has collected
    positions: dict[str, int] | None = None
    collection: Sequence[str] = ()
    # sent and not finished, first the one that runs; and taken for later
    sent: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    backbone: str = ""


class UnitScheduling:
    """xdist's scheduling interface (`xdist.scheduler.protocol.Scheduling`)."""

    def __init__(self, config: pytest.Config) -> None:
        self.expected = len(parse_tx_spec_config(config))
        self.units: list[list[str]] | None = None
        self.workers: dict[WorkerController, _Worker] = {}
        self.killed: dict[str, int] = {}

    @property
    def nodes(self) -> list[WorkerController]:
        """Every worker that is up."""
        return list(self.workers)

    @property
    def collection_is_completed(self) -> bool:
        """Whether every worker of the start has collected; ever after, since replacements join one by one."""
        return self.units is not None or sum(w.positions is not None for w in self.workers.values()) >= self.expected

    @property
    def tests_finished(self) -> bool:
        """Whether all that is left has been started."""
        return self.units is not None and not self.units and all(len(w.sent) + len(w.later) < 2 for w in self._all())

    @property
    def has_pending(self) -> bool:
        """Whether anything is left."""
        return bool(self.units) or any(w.sent or w.later for w in self._all())

    def add_node(self, node: WorkerController) -> None:
        """A worker is up; it collects before it gets work."""
        self.workers[node] = _Worker()

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """A worker has collected."""
        worker = self.workers[node]
        worker.collection = list(collection)
        worker.positions = {name: index for index, name in enumerate(collection)}

    def schedule(self) -> None:
        """Give every worker that has collected its work."""
        if self.units is None:
            first = next(w for w in self._all() if w.positions is not None)
            self.units = units_of(first.collection)
        self._fill()

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """A worker has finished an item."""
        worker = self.workers[node]
        worker.sent.remove(worker.collection[item_index])
        self._fill()

    def mark_test_pending(self, item: str) -> None:
        """An item has to run again."""
        self._return([item])
        self._fill()

    def remove_pending_tests_from_node(self, node: WorkerController, indices: Sequence[int]) -> None:
        """A worker gave items back unrun: they go to whoever is next."""
        worker = self.workers[node]
        names = [worker.collection[index] for index in indices]
        worker.sent = [name for name in worker.sent if name not in names]
        self._return(names)
        self._fill()

    def remove_node(self, node: WorkerController) -> str | None:
        """A worker is gone. What it ran is tried once more; returns it where that was its second worker."""
        worker = self.workers.pop(node)
        running, waiting = worker.sent[:1], [*worker.sent[1:], *worker.later]
        failed = None
        for name in running:
            self.killed[name] = self.killed.get(name, 0) + 1
            if self.killed[name] > 1:
                failed, running = name, []
        self._return(waiting)
        self._return(running)
        self._fill()
        return failed

    def _all(self) -> list[_Worker]:
        return list(self.workers.values())

    def _return(self, names: Sequence[str]) -> None:
        if names and self.units is not None:
            self.units.insert(0, list(names))

    def _fill(self) -> None:
        """Two items for every worker; a worker for which nothing is left may end."""
        if self.units is None:
            return
        for node, worker in self.workers.items():
            if worker.positions is None or node.shutting_down:
                continue
            while len(worker.sent) < _AHEAD and (name := self._next(worker)):
                worker.sent.append(name)
                node.send_runtest_some([worker.positions[name]])
            if len(worker.sent) < _AHEAD:
                node.shutdown()

    def _next(self, worker: _Worker) -> str | None:
        """The worker's next item: of its unit, else of a unit of its backbone, else of one that no other holds."""
        assert self.units is not None
        assert worker.positions is not None
        if not worker.later and self.units:
            held = {other.backbone for other in self._all() if other is not worker}
            order = sorted(
                range(len(self.units)),
                key=lambda i: ((b := of_node(self.units[i][0])[0]) != worker.backbone, b in held, i),  # type: ignore[index]
            )
            worker.later = self.units.pop(order[0])
            worker.backbone = of_node(worker.later[0])[0]
        if not worker.later:
            return None
        if worker.later[0] not in worker.positions:
            raise pytest.UsageError(f"workers collected different tests: one of them has no {worker.later[0]}")
        return worker.later.pop(0)


def units_of(collection: Sequence[str]) -> list[list[str]]:
    """Node ids in units that share what is dear, in order; what has no bracket is a unit of its own.

    One backbone's features or probe of one training set, or its network fine-tuned on that: a shifted set is in the
    unit of the set that its head is trained on. Detectors share nothing.

    >>> units_of(["a::test_knn[x@photos]", "a::test_finetune[x@photos]", "a::test_ood_finetune[x@photos-hard]"])
    [['a::test_knn[x@photos]'], ['a::test_finetune[x@photos]', 'a::test_ood_finetune[x@photos-hard]']]
    """
    units: dict[tuple[str, ...], list[str]] = {}
    for name in collection:
        backbone, dataset = of_node(name)
        spec = CATALOG.get(dataset)
        trained_on = spec.training_dataset if spec else dataset
        protocol = name.partition("[")[0]
        tuned = "finetune" if "finetune" in protocol else ""
        alone = not dataset or "detection" in protocol.partition("::")[2]
        units.setdefault((name,) if alone else (backbone, trained_on, tuned), []).append(name)
    return list(units.values())
