"""Distribution of settings over the workers of pytest-xdist. The only module that knows xdist.

A unit is a group of settings that reuse one expensive artefact: one backbone's features of a dataset, or its network
fine-tuned on one. One worker runs the whole unit. A worker prefers a backbone that it has loaded. An item whose worker
dies is tried once more on another worker; if that one dies too, the item has failed. Settings that have to be alone
wait for that themselves (`device_lock`).

A worker of xdist starts an item when it knows the next one, or that there is none. So every worker is sent two items at
a time, and its shutdown starts the last one.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from xdist.workermanage import WorkerController, parse_tx_spec_config

from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.plugin.node_ids import parse_node_id
from bob_gauntlet.protocols.catalog import PROTOCOLS
from bob_gauntlet.protocols.recipe import find_trait
from bob_gauntlet.runtime import devices

_AHEAD = 2
"""Items that a worker is sent at a time."""

_THREADS = "OMP_NUM_THREADS"


class Distribution:
    """xdist's hooks, on the controller."""

    def __init__(self, config: pytest.Config, progress_folder: Path) -> None:
        self.config, self.progress_folder = config, progress_folder
        self.threads = os.environ.get(_THREADS)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[Any]) -> None:
        """Divide the cores among the workers: their libraries read the number of threads when they are loaded."""
        os.environ.setdefault(_THREADS, str(max(1, devices.cores() // len(specs))))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker, also one that replaces another, where to report progress and how many workers there are."""
        node.workerinput["bob_live"] = str(self.progress_folder)
        node.workerinput["bob_workers"] = len(parse_tx_spec_config(self.config))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> "UnitScheduling | None":
        """Return our scheduler, unless --dist asks for another distribution."""
        return UnitScheduling(config) if config.getoption("dist") == "load" else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: Any) -> None:
        """Say what became of an item that killed two workers."""
        report.longrepr = f"{crashitem} killed its worker twice: it ran out of memory, or native code crashed"

    def pytest_unconfigure(self) -> None:
        """Restore the environment."""
        if self.threads is None:
            os.environ.pop(_THREADS, None)


@dataclass
class _Worker:
    """The state of one worker, as the controller knows it."""

    # node id -> index in the worker's own collection; None until it has collected
    positions: dict[str, int] | None = None
    collection: Sequence[str] = ()
    # items sent and not finished, the running one first; and the rest of its unit, not sent yet
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
        """Every worker that runs."""
        return list(self.workers)

    @property
    def collection_is_completed(self) -> bool:
        """Whether every first worker has collected; true ever after, since replacements join one by one."""
        return self.units is not None or sum(w.positions is not None for w in self.workers.values()) >= self.expected

    @property
    def tests_finished(self) -> bool:
        """Whether every remaining item has been started."""
        return self.units is not None and not self.units and all(len(w.sent) + len(w.later) < 2 for w in self._all())

    @property
    def has_pending(self) -> bool:
        """Whether any item is left."""
        return bool(self.units) or any(w.sent or w.later for w in self._all())

    def add_node(self, node: WorkerController) -> None:
        """Take note of a new worker; it collects before it gets work."""
        self.workers[node] = _Worker()

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Take note of what a worker has collected."""
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
        """Take note of a finished item and send the next one."""
        worker = self.workers[node]
        worker.sent.remove(worker.collection[item_index])
        self._fill()

    def mark_test_pending(self, item: str) -> None:
        """Queue an item to run again."""
        self._return([item])
        self._fill()

    def remove_pending_tests_from_node(self, node: WorkerController, indices: Sequence[int]) -> None:
        """Queue the items that a worker returned without running them."""
        worker = self.workers[node]
        names = [worker.collection[index] for index in indices]
        worker.sent = [name for name in worker.sent if name not in names]
        self._return(names)
        self._fill()

    def remove_node(self, node: WorkerController) -> str | None:
        """Queue the items of a worker that died. Returns the item that it ran where that was its second try."""
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
        """Return what is known about every worker."""
        return list(self.workers.values())

    def _return(self, names: Sequence[str]) -> None:
        """Put items back, before all others."""
        if names and self.units is not None:
            self.units.insert(0, list(names))

    def _fill(self) -> None:
        """Send every worker items until it holds two; shut down a worker for which no item is left."""
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
        """Return the worker's next item: of its unit, else of its backbone, else of a backbone nobody holds."""
        assert self.units is not None
        assert worker.positions is not None
        if not worker.later and self.units:
            held = {other.backbone for other in self._all() if other is not worker}
            backbones = [parse_node_id(unit[0])[0] for unit in self.units]
            best = min(range(len(backbones)), key=lambda i: (backbones[i] != worker.backbone, backbones[i] in held, i))
            worker.later, worker.backbone = self.units.pop(best), backbones[best]
        if not worker.later:
            return None
        if worker.later[0] not in worker.positions:
            raise pytest.UsageError(f"workers collected different tests: one of them has no {worker.later[0]}")
        return worker.later.pop(0)


def units_of(collection: Sequence[str]) -> list[list[str]]:
    """Group node ids into units, in order; a setting that reuses nothing, and any other test, is a unit of its own.

    The settings of a unit share a backbone, the dataset that heads are trained on (a shifted dataset belongs to the one
    without the shift), and the kind of artefact that their recipes reuse: features, or a fine-tuned network.

    >>> units_of(["t[x@knn@photos]", "t[x@finetune@photos]", "t[x@ood-finetune@photos-hard]"])
    [['t[x@knn@photos]'], ['t[x@finetune@photos]', 't[x@ood-finetune@photos-hard]']]
    """
    units: dict[tuple[str, ...], list[str]] = {}
    for node_id in collection:
        backbone, setting = parse_node_id(node_id)
        protocol, _, dataset = setting.partition("@")
        reuses = find_trait(PROTOCOLS[protocol], "reuses", "") if protocol in PROTOCOLS else ""
        spec = CATALOG.get(dataset)
        key = (backbone, spec.training_dataset if spec else dataset, reuses) if reuses else (node_id,)
        units.setdefault(key, []).append(node_id)
    return list(units.values())
