"""The pytest plugin: options, parametrisation, the `gauntlet` fixture, reports, exit codes."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest

from bob_gauntlet.errors import BobError, MissingError, UsageError
from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin import outputs, terminal
from bob_gauntlet.plugin.node_ids import bracket, of_node
from bob_gauntlet.plugin.options import Options, add_options, read_options
from bob_gauntlet.plugin.progress_bar import Display, LiveProgress
from bob_gauntlet.plugin.session import KEY, MARK, Entry, Session, alone, check, open_session, require_backbones
from bob_gauntlet.runtime import devices
from bob_gauntlet.scores.settings import of_protocol

Test = TypeVar("Test", bound=Callable[..., None])

NOBODY = "BACKBONE"
"""Stands in ids where no backbone was named."""

_OPTIONS: pytest.StashKey[Options] = pytest.StashKey()
_GAUNTLET: pytest.StashKey[Gauntlet] = pytest.StashKey()
_LEASE: pytest.StashKey[Any] = pytest.StashKey()


def settings(protocol: str, *, exclusive: bool = False) -> Callable[[Test], Test]:
    """Run a test once for every backbone and every dataset that the table of settings gives this protocol.

    The test takes `gauntlet` and `dataset`. An `exclusive` one runs while no other setting does.
    """

    def mark(test: Test) -> Test:
        return getattr(pytest.mark, MARK)(protocol, exclusive=exclusive)(test)  # type: ignore[no-any-return]

    return mark


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options; a worker leases its GPU here, before torch is imported."""
    config.addinivalue_line("markers", f"{MARK}(protocol, exclusive): a setting of the gauntlet (bob_gauntlet.plugin)")
    try:
        options = config.stash[_OPTIONS] = read_options(config)
        if not options.backbones or config.option.collectonly:
            return
        if options.device != "cpu" and not _spreads(config):
            config.stash[_LEASE] = devices.lease_gpu(devices.visible_gpus(os.environ, devices.present_gpus()))
        own = config.stash[KEY] = open_session(
            options, config.invocation_params.dir, getattr(config, "workerinput", {}), spreads=_spreads(config)
        )
    except BobError as error:
        raise pytest.UsageError(str(error)) from None
    if not _works(config):
        config.pluginmanager.register(Recorder(own), "bob-recorder")
    if _spreads(config):
        from bob_gauntlet.plugin.xdist_scheduler import Distribution

        config.pluginmanager.register(Distribution(config, own.live), "bob-distribution")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing stays behind."""
    session = config.stash.get(KEY, None)
    if session is not None and not _works(config):
        shutil.rmtree(session.live, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_report_header(config: pytest.Config) -> list[str]:
    """What is being run."""
    session = config.stash.get(KEY, None)
    return terminal.header(session) if session is not None else []


@pytest.hookimpl
def pytest_sessionstart(session: pytest.Session) -> None:
    """Check everything that can be checked before a forward pass; start the display."""
    config = session.config
    own = config.stash.get(KEY, None)
    if own is None or _works(config):
        return
    reporter = config.pluginmanager.getplugin("terminalreporter")
    try:
        check(own, reporter.write_line if reporter else print)
    except BobError as error:
        raise pytest.UsageError(str(error)) from None
    wanted = own.options.progress
    if reporter is not None and (wanted == "on" or (wanted == "auto" and reporter.isatty)):
        display = Display(own.live, reporter._tw._file, lambda: int(reporter._tw.fullwidth))
        config.pluginmanager.register(Liner(display, reporter), "bob-progress")
        display.start()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for every backbone and dataset."""
    mark = metafunc.definition.get_closest_marker(MARK)
    if mark is None:
        return
    options = metafunc.config.stash[_OPTIONS]
    own = metafunc.config.stash.get(KEY, None)
    specs = own.specs if own is not None else list(options.backbones) or [NOBODY]
    chosen = options.datasets
    locations = own.workspace.locations if own is not None else None
    user_datasets = locations.user_datasets if locations is not None else {}
    kinds = {name: user_datasets[name].kind for name in chosen if name in user_datasets}
    found = [s.dataset for s in of_protocol(mark.args[0], options.scale, kinds)]
    pairs = [(spec, dataset) for spec in specs for dataset in found if not chosen or dataset in chosen]
    ids = [bracket(getattr(spec, "name", str(spec)), dataset) for spec, dataset in pairs]
    metafunc.parametrize(("gauntlet", "dataset"), pairs, ids=ids, indirect=["gauntlet"])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Backbone by backbone, so that each is loaded once; what has to run alone is the last of its backbone."""
    idle = [item for item in items if item.get_closest_marker(MARK) and item.nodeid.endswith("[NOTSET]")]
    if idle:
        # a protocol without a dataset at this scale, or among those that were asked for
        config.hook.pytest_deselected(items=idle)
        items[:] = [item for item in items if item not in idle]
    places = [index for index, item in enumerate(items) if item.get_closest_marker(MARK)]
    own = config.stash.get(KEY, None)
    names = [spec.name for spec in own.specs] if own is not None else []

    def order(item: pytest.Item) -> tuple[int, bool]:
        backbone = of_node(item.nodeid)[0]
        return names.index(backbone) if backbone in names else 0, _exclusive(item)

    for index, item in zip(places, sorted((items[i] for i in places), key=order), strict=True):
        items[index] = item


def pytest_collection_finish(session: pytest.Session) -> None:
    """Suites without a backbone are a mistake, not a session that passes."""
    config = session.config
    if not config.option.collectonly and not _works(config):
        _require(config, [item.nodeid for item in session.items if item.get_closest_marker(MARK)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """The same under xdist, where only the workers collect."""
    _require(node.config, [i for i in ids if of_node(i)[0] == NOBODY])


def _require(config: pytest.Config, node_ids: list[str]) -> None:
    try:
        require_backbones(node_ids, config.stash[_OPTIONS])
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture
def gauntlet(request: pytest.FixtureRequest) -> Iterator[Gauntlet]:
    """The gauntlet of one backbone: `gauntlet.run(recipe, dataset)` measures, or reads what is stored."""
    own = request.config.stash[KEY]
    node = request.node
    if isinstance(own.workspace.progress, LiveProgress):
        mark = node.get_closest_marker(MARK)
        own.workspace.progress.setting = f"{mark.args[0]}@{of_node(node.nodeid)[1]}"
    found = node.stash[_GAUNTLET] = Gauntlet(request.param, own.workspace)
    with alone(own.options.home, own.workspace.device, exclusive=_exclusive(node)):
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Absent data skips with its reason; what a user can mend fails in one line, without a traceback."""
    try:
        return (yield)
    except MissingError as error:
        pytest.skip(str(error))
    except BobError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put what became of a setting on its report, as plain types."""
    report: Any = yield
    mark = item.get_closest_marker(MARK)
    if mark is not None and (report.when == "call" or (report.when == "setup" and not report.passed)):
        backbone, dataset = of_node(item.nodeid)
        reason = call.excinfo.exconly(tryshort=True) if call.excinfo is not None else ""
        report.bob = _entry(item, report, reason, f"{mark.args[0]}@{dataset}", backbone).to_dict()
    return report  # type: ignore[no-any-return]


def _entry(item: pytest.Item, report: Any, reason: str, setting: str, backbone: str) -> Entry:
    run = item.stash.get(_GAUNTLET, None)
    outcomes = run.outcomes if run is not None else []
    scores = tuple(score for outcome in outcomes for score in outcome.scores)
    reason = reason.partition("\n")[0].removeprefix("Skipped: ").removeprefix("Failed: ")
    if report.skipped:
        return Entry(setting, backbone, "skipped", reason, scores)
    if report.failed:
        return Entry(setting, backbone, "failed", reason, scores)
    measured = any(outcome.origin == "measured" for outcome in outcomes)
    return Entry(setting, backbone, "measured" if measured else "store", "", scores)


class Recorder:
    """The controller's part: takes the scores off the reports as soon as each test ends, and reports at the end."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Store the scores of one report; a report without any comes from a worker that was killed."""
        if plain := getattr(report, "bob", None):
            self.session.record(report.nodeid, Entry.from_dict(plain))
        elif report.failed and report.when not in ("setup", "call", "teardown") and of_node(report.nodeid)[1]:
            backbone, dataset = of_node(report.nodeid)
            test = report.nodeid.partition("::test_")[2].partition("[")[0]
            entry = Entry(f"{test.replace('_', '-')}@{dataset}", backbone, "failed", str(report.longrepr))
            self.session.record(report.nodeid, entry)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Nothing measured and nothing read is exit code 5; scores that are not stored are no success."""
        self.session.close()
        self.session.problems += outputs.write_all(self.session)
        if exitstatus == pytest.ExitCode.OK and self.session.problems:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif exitstatus == pytest.ExitCode.OK and self.session.entries and not self.session.scores:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The scores, and last the ranking and what became of every setting."""
        for title, lines in terminal.summary(self.session):
            terminalreporter.write_sep("=", title)
            for line in lines:
                terminalreporter.write_line(line)


class Liner:
    """Wipes the progress line before pytest prints."""

    def __init__(self, display: Display, reporter: Any) -> None:
        self.display, self.reporter = display, reporter

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self) -> None:
        """A result is about to be printed: on a line of its own where progress stood."""
        if self.display.wipe():
            self.reporter.currentfspath = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Draw no more."""
        self.display.stop()


def _works(config: pytest.Config) -> bool:
    """Whether this process is a worker of xdist."""
    return hasattr(config, "workerinput")


def _spreads(config: pytest.Config) -> bool:
    """Whether this process hands its tests to workers of xdist."""
    return not _works(config) and config.getoption("dist", "no") != "no"


def _exclusive(item: pytest.Item) -> bool:
    mark = item.get_closest_marker(MARK)
    return bool(mark and mark.kwargs.get("exclusive"))
