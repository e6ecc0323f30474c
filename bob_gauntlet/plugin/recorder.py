"""The controller's part of a session: it stores scores as soon as a test ends, and reports at the end."""

from collections.abc import Sequence
from typing import Any

import pytest

from bob_gauntlet.plugin import outputs, terminal
from bob_gauntlet.plugin.node_ids import parse_node_id
from bob_gauntlet.plugin.outcome import ItemOutcome
from bob_gauntlet.plugin.session import Session
from bob_gauntlet.plugin.timetable import Timetable


class Recorder:
    """Hooks of the process that the user started."""

    def __init__(self, session: Session, timetable: Timetable) -> None:
        self.session, self.timetable = session, timetable

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Store the scores of one report. A report without any comes from a worker that was killed."""
        self.session.warnings.add(getattr(report, "bob_warnings", {}))
        if plain := getattr(report, "bob", None):
            outcome = ItemOutcome.from_dict(plain)
            self.session.record(report.nodeid, outcome)
            if outcome.outcome == "measured":
                self.timetable.learn(outcome.scores)
            return
        backbone, setting = parse_node_id(report.nodeid)
        if report.failed and report.when not in ("setup", "call", "teardown") and setting:
            self.session.record(report.nodeid, ItemOutcome(setting, backbone, "failed", str(report.longrepr)))

    def pytest_report_collectionfinish(self, config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
        """Say how long the settings are expected to take."""
        quiet = config.option.verbose < 0 or config.option.collectonly
        return [] if quiet else list(self.timetable.lines([item.nodeid for item in items]))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the files; exit with 1 where scores could not be stored, with 5 where none was measured or read."""
        self.session.close()
        self.session.problems += outputs.write_all(self.session)
        if exitstatus == pytest.ExitCode.OK and self.session.problems:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif exitstatus == pytest.ExitCode.OK and self.session.outcomes and not self.session.scores:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the scores, and last the ranking and the outcome of every setting."""
        for title, lines in terminal.summary(self.session):
            terminalreporter.write_sep("=", title)
            for line in lines:
                terminalreporter.write_line(line)
