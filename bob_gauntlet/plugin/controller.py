"""The plugins of the process that the user started, which stores scores and may hand its tests to workers."""

import pytest

from bob_gauntlet.plugin.collected import TIMETABLE
from bob_gauntlet.plugin.parallel import Parallel, may_start_workers
from bob_gauntlet.plugin.recorder import Recorder
from bob_gauntlet.plugin.roles import hands_out
from bob_gauntlet.plugin.session import Session, uses_gpus
from bob_gauntlet.plugin.timetable import Timetable


def register_controller(config: pytest.Config, session: Session) -> None:
    """Register the plugins of the process that the user started."""
    timetable = config.stash[TIMETABLE] = Timetable(session, on_cpu=not uses_gpus(session.options))
    config.pluginmanager.register(Recorder(session, timetable), "bob-recorder")
    if may_start_workers(config):
        config.pluginmanager.register(Parallel(config, session, timetable), "bob-parallel")
    elif hands_out(config):
        from bob_gauntlet.plugin.xdist_scheduler import Distribution

        distribution = Distribution(config, session.progress_folder, timetable)
        config.pluginmanager.register(distribution, "bob-distribution")
