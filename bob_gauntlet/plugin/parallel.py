"""Sessions that start workers on their own: the conditions for it, and the number of workers.

A second process does almost twice the work, a second thread hardly more (docs/parallel.md). So a session of the suites
starts workers of pytest-xdist where it has work for them. It collects first, since only then it is known which settings
are left: a session whose scores are all stored starts none.
"""

import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from bob_gauntlet.plugin.node_ids import parse_node_id
from bob_gauntlet.plugin.roles import is_worker
from bob_gauntlet.plugin.units import timed_units
from bob_gauntlet.runtime import devices, limits
from bob_gauntlet.runtime.threads import chosen_threads

if TYPE_CHECKING:
    from bob_gauntlet.plugin.session import Session
    from bob_gauntlet.plugin.timetable import Timetable

WORKER_MEMORY = 2 * 2**30
"""Bytes that a worker needs at mini scale, measured: 1.9 GB."""

WORTH = 30.0
"""Seconds of work for which another worker is started: its imports and the loading of a backbone take some ten."""

_SERIAL_HINTS = (
    "usepdb", "trace", "maxfail", "stepwise", "setuponly", "setupshow", "setupplan", "collectonly", "tx", "distload",
)  # fmt: skip
"""Options of pytest and xdist that ask for a serial run, or for certain workers, where they have a value."""


def count_workers(environment: Any, *, use_gpus: bool) -> int:
    """Return how many workers a machine can use: one for each GPU, else for each thread that cores and memory allow.

    `environment` is that of the user, who may have set a number of threads or which GPUs are visible.
    """
    gpus = devices.visible_gpus(environment, devices.present_gpus()) if use_gpus else []
    if gpus:
        return len(gpus)
    by_cores = limits.usable_cores() // (chosen_threads(environment) or 1)
    memory = limits.available_memory()
    return max(1, by_cores if memory is None else min(by_cores, memory // WORKER_MEMORY))


def may_start_workers(config: pytest.Config) -> bool:
    """Tell whether a session may start workers on its own.

    It runs the suites, which declare --backbone, xdist is there, and no option asks for a serial run or for workers.
    """
    option = config.option
    runs_suites = config.getoption("--backbone", None) is option.bob_backbone and not is_worker(config)
    if not runs_suites or not config.pluginmanager.hasplugin("xdist") or option.numprocesses is not None:
        return False
    if option.dist != "no" or option.capture == "no" or any(getattr(option, name, None) for name in _SERIAL_HINTS):
        return False
    return _most_workers(config) > 1


def overload_lines(config: pytest.Config, *, use_gpus: bool) -> Iterator[str]:
    """Yield a line where `-n` asks for more workers than there are GPUs or cores."""
    asked = config.getoption("numprocesses", None)
    if not isinstance(asked, int):
        return
    gpus = devices.visible_gpus(os.environ, devices.present_gpus()) if use_gpus else []
    most, what = (len(gpus), "visible GPU") if gpus else (limits.usable_cores(), "core")
    if asked > most:
        plural = "s" * (most != 1)
        yield f"! -n {asked}: more workers than the {most} {what}{plural} here; -n auto starts as many as pay"


class Parallel:
    """Hooks of a session that may start workers: it decides when everything is collected."""

    def __init__(self, config: pytest.Config, session: "Session", timetable: "Timetable") -> None:
        self.config, self.session, self.timetable = config, session, timetable
        # kept until the end of the session
        self._gpu_lease: Any = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Decide how many workers there will be."""
        items = [item.nodeid for item in session.items]
        if all(parse_node_id(item)[1] for item in items) and not session.testsfailed:
            self.timetable.workers = self.useful_workers(items, _most_workers(self.config))

    def pytest_report_collectionfinish(self) -> list[str]:
        """Say how many workers there will be, and how to do without."""
        workers = self.timetable.workers
        quiet = self.config.option.verbose < 0 or workers == 1
        return [] if quiet else [f"{workers} workers measure; -n0 measures in this process"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run the tests on workers, or in this process as pytest does."""
        if session.testsfailed:
            return None
        if self.timetable.workers > 1:
            from bob_gauntlet.plugin.xdist_scheduler import run_on_workers

            return run_on_workers(session, self.session.progress_folder, self.timetable)
        from bob_gauntlet.plugin.session import lease_gpu, uses_gpus

        if uses_gpus(self.session.options):
            self._gpu_lease = lease_gpu()
            self.session.measure_here()
        return None

    def useful_workers(self, items: Sequence[str], most: int) -> int:
        """Return for how many workers there is work: at most one for each unit that is left, and for WORTH seconds."""
        left = [item for item in items if not self.timetable.is_stored(item)]
        units = [unit for unit in timed_units(left, self.timetable.seconds) if not unit.exclusive]
        seconds = sum(unit.seconds for unit in units)
        return max(1, min(most, len(units), math.ceil(seconds / WORTH)))


def _most_workers(config: pytest.Config) -> int:
    """Return what `-n auto` would start."""
    most = int(config.hook.pytest_xdist_auto_num_workers(config=config))
    return min(most, config.getoption("maxprocesses", None) or most)
