"""Distribution of settings over the workers of pytest-xdist. No other module imports xdist.

One worker runs a unit (`units.py`). The first worker begins with the cheapest unit, so that scores appear early. Then
every unit goes to the worker that is expected to be free first, the longest unit first; a worker prefers a backbone
that it has loaded. Where no unit is left, a worker takes the last settings of another one's unit, if they end earlier
so. An item whose worker dies is tried once more on another worker; if that one dies too, the item has failed. Settings
that have to be alone wait for that themselves (`device_lock`).

A worker of xdist starts an item when it knows the next one, or that there is none. So every worker is sent two items at
a time, and its shutdown starts the last one. A worker that would get none of the units that are left is shut down.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from xdist.dsession import DSession
from xdist.workermanage import WorkerController, parse_tx_spec_config

from bob_gauntlet.plugin.timetable import Timetable
from bob_gauntlet.plugin.units import Expected, Unit, share_of, timed_units
from bob_gauntlet.runtime import limits
from bob_gauntlet.runtime.threads import chosen_threads

_AHEAD = 2
"""Items that a worker is sent at a time."""

_THREADS = "OMP_NUM_THREADS"


class Distribution:
    """xdist's hooks, on the controller."""

    def __init__(self, config: pytest.Config, progress_folder: Path, timetable: Timetable) -> None:
        self.config, self.progress_folder, self.timetable = config, progress_folder, timetable
        self.threads = os.environ.get(_THREADS)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[Any]) -> None:
        """Divide the cores among the workers: their libraries read the number of threads when they are loaded."""
        share = max(1, limits.usable_cores() // len(specs))
        os.environ.setdefault(_THREADS, str(chosen_threads(os.environ) or share))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker, also one that replaces another, where to report progress and how many workers there are."""
        node.workerinput["bob_live"] = str(self.progress_folder)
        node.workerinput["bob_workers"] = len(parse_tx_spec_config(self.config))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> "UnitScheduling | None":
        """Return our scheduler, unless --dist asks for another distribution."""
        if config.getoption("dist") != "load":
            return None
        workers = len(parse_tx_spec_config(config))
        if self.timetable.workers == workers:
            # the controller has collected, and said how long it takes
            return UnitScheduling(workers, self.timetable.seconds)
        self.timetable.workers = workers
        return UnitScheduling(workers, self.timetable.seconds, self._announce)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: Any) -> None:
        """Say what became of an item that killed two workers."""
        report.longrepr = f"{crashitem} killed its worker twice: it ran out of memory, or native code crashed"

    def _announce(self, items: Sequence[str]) -> None:
        """Say how long the items of the session are expected to take."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and self.config.option.verbose >= 0:
            for line in self.timetable.lines(items):
                reporter.write_line(line)

    def pytest_unconfigure(self) -> None:
        """Restore the environment."""
        if self.threads is None:
            os.environ.pop(_THREADS, None)


def run_on_workers(session: pytest.Session, progress_folder: Path, timetable: Timetable) -> bool:
    """Run the tests of a session that has collected on new workers, as `-n` would have from the start."""
    config = session.config
    config.option.numprocesses, config.option.dist = timetable.workers, "load"
    config.option.tx = ["popen"] * timetable.workers
    config.pluginmanager.register(Distribution(config, progress_folder, timetable), "bob-distribution")
    controller = DSession(config)
    config.pluginmanager.register(controller, "dsession")
    if (reporter := config.pluginmanager.getplugin("terminalreporter")) is not None:
        reporter.showfspath = False
    controller.pytest_sessionstart(session)
    return bool(controller.pytest_runtestloop())


@dataclass
class _Worker:
    """The state of one worker, as the controller knows it."""

    # node id -> index in the worker's own collection; None until it has collected
    positions: dict[str, int] | None = None
    collection: Sequence[str] = ()
    # items sent and not finished, the running one first, and when it started
    sent: list[str] = field(default_factory=list)
    since: float = 0.0
    # the rest of its unit, not sent yet, and the item that computes what they share
    later: list[str] = field(default_factory=list)
    first: str = ""
    backbone: str = ""


class UnitScheduling:
    """xdist's scheduling interface (`xdist.scheduler.protocol.Scheduling`)."""

    def __init__(
        self,
        workers: int,
        seconds: Expected,
        announce: Callable[[Sequence[str]], None] = lambda items: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.expected, self.seconds, self.announce, self.clock = workers, seconds, announce, clock
        self.units: list[Unit] | None = None
        self.workers: dict[WorkerController, _Worker] = {}
        self.killed: dict[str, int] = {}
        # whether a worker has to begin with a cheap unit
        self.quick_start = True

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
            self.announce(first.collection)
            self.units = timed_units(first.collection, self.seconds)
        self._fill()

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Take note of a finished item and send the next one."""
        worker = self.workers[node]
        worker.sent.remove(worker.collection[item_index])
        worker.since = self.clock()
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
            self.units.insert(0, Unit(list(names), sum(map(self.seconds, names))))

    def _fill(self) -> None:
        """Send every worker items until it holds two; shut down a worker for which none is left."""
        if self.units is None:
            return
        ready = [(n, w) for n, w in self.workers.items() if w.positions is not None and not n.shutting_down]
        # every worker has an item to run before any gets a second one
        for ahead in range(_AHEAD):
            for node, worker in ready:
                if len(worker.sent) <= ahead and (name := self._next(node, worker)):
                    self._send(node, worker, name)
        for node, worker in ready:
            if len(worker.sent) < _AHEAD:
                node.shutdown()

    def _send(self, node: WorkerController, worker: _Worker, name: str) -> None:
        """Send a worker an item. Raises pytest.UsageError where it has not collected that item."""
        assert worker.positions is not None
        if name not in worker.positions:
            raise pytest.UsageError(f"workers collected different tests: one of them has no {name}")
        worker.since = worker.since if worker.sent else self.clock()
        worker.sent.append(name)
        node.send_runtest_some([worker.positions[name]])

    def _next(self, node: WorkerController, worker: _Worker) -> str | None:
        """Return the worker's next item: of its unit, else of another unit, else of another worker's unit."""
        if not worker.later and (unit := self._take_unit(node, worker)):
            worker.later, worker.first, worker.backbone = list(unit.items), unit.items[0], unit.backbone
        return worker.later.pop(0) if worker.later else self._split_off(worker)

    def _take_unit(self, node: WorkerController, worker: _Worker) -> Unit | None:
        """Take and return the worker's next unit; None where the other workers will be ready for all units earlier."""
        assert self.units is not None
        if not self.units:
            return None
        if self.quick_start or self.expected == 1:
            self.quick_start = False
            best = min(self.units, key=lambda unit: (unit.exclusive, unit.seconds))
        else:
            ready = [n for n, w in self.workers.items() if w.positions is not None and not n.shutting_down]
            share = share_of(ready.index(node), [self._busy(self.workers[n]) for n in ready], self.units)
            if worker.sent and not share:
                return None
            kept = {id(unit) for unit in share}
            held = {other.backbone for other in self._all() if other is not worker}
            best = min(
                self.units,
                key=lambda unit: (unit.backbone != worker.backbone, unit.backbone in held, id(unit) not in kept),
            )
        self.units.remove(best)
        return best

    def _split_off(self, worker: _Worker) -> str | None:
        """Take and return the last item of the unit that ends last, if the worker would end it earlier; else None."""
        donors = [other for other in self._all() if other.later]
        if self.units or not donors:
            return None
        donor = max(donors, key=self._busy)
        shared_after = self._busy(donor, until=donor.first) if donor.first in donor.sent else 0.0
        end = max(self._busy(worker), shared_after) + self.seconds(donor.later[-1])
        return donor.later.pop() if end < self._busy(donor) else None

    def _busy(self, worker: _Worker, until: str = "") -> float:
        """Return the seconds after which a worker has finished its items, or has finished the item `until`."""
        items = [*worker.sent, *worker.later]
        items = items[: items.index(until) + 1] if until else items
        if not items:
            return 0.0
        running = self.clock() - worker.since if worker.sent else 0.0
        return max(0.0, self.seconds(items[0]) - running) + sum(map(self.seconds, items[1:]))
