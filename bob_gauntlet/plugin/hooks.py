"""pytest's hooks: options, parametrisation, the `gauntlet` fixture, test reports.

Hooks that every session calls return at once where no backbone was named and no test is a setting.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from bob_gauntlet.errors import BobError, MissingError
from bob_gauntlet.plugin.collected import TIMETABLE, case_of, in_order, setting_of
from bob_gauntlet.plugin.node_ids import item_id, parse_node_id
from bob_gauntlet.plugin.options import add_options, read_options, usage_errors
from bob_gauntlet.plugin.roles import hands_out, is_worker

if TYPE_CHECKING:
    from bob_gauntlet.gauntlet import Gauntlet
    from bob_gauntlet.plugin.session import Session
    from bob_gauntlet.protocols.recipe import Recipe
    from bob_gauntlet.runtime.warning_collector import WarningCollector

Test = TypeVar("Test", bound=Callable[..., None])

MARK = "bob"
"""The marker of tests that measure settings; its arguments are recipes."""

NO_BACKBONE = "BACKBONE"
"""Stands in node ids where no backbone was named."""

SESSION: "pytest.StashKey[Session]" = pytest.StashKey()
"""The key of the session in `config.stash`; it is absent where no backbone was named."""

_GAUNTLET: "pytest.StashKey[Gauntlet]" = pytest.StashKey()
_GPU_LEASE: pytest.StashKey[Any] = pytest.StashKey()


def settings(*recipes: "Recipe") -> Callable[[Test], Test]:
    """Run a test once for every backbone, each of the recipes, and every dataset that the recipe is measured on.

    The test takes `gauntlet`, `recipe` and `dataset`.

        @settings(LinearProbe(), KNN())
        def test_probes(gauntlet, recipe, dataset):
            gauntlet.run(recipe, dataset)
    """

    def mark(test: Test) -> Test:
        return getattr(pytest.mark, MARK)(*recipes)(test)  # type: ignore[no-any-return]

    return mark


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options and open the session; a worker leases its GPU here, before torch is imported."""
    config.addinivalue_line("markers", f"{MARK}(*recipes): a test that measures settings (bob_gauntlet.plugin)")
    if config.option.bob_backbone or config.option.bob_setting or config.option.bob_task:
        from bob_gauntlet.plugin.chosen_settings import check_choice

        # before anything is collected: an error in pytest_generate_tests counts as an error of the test file
        check_choice(config)
    if not config.option.bob_backbone or config.option.collectonly:
        return
    from bob_gauntlet.plugin.parallel import may_start_workers
    from bob_gauntlet.plugin.session import lease_gpu, open_session, uses_gpus
    from bob_gauntlet.plugin.signals import watch_signals

    watch_signals(config)
    warnings = _collect_warnings(config)
    _bound_waiting(config)
    with usage_errors():
        options = read_options(config)
        # a worker takes a GPU of its own
        leaves_gpus = hands_out(config) or (uses_gpus(options) and may_start_workers(config))
        if options.device != "cpu" and not leaves_gpus:
            config.stash[_GPU_LEASE] = lease_gpu()
        session = config.stash[SESSION] = open_session(
            options, config.invocation_params.dir, getattr(config, "workerinput", {}), hands_out=leaves_gpus
        )
        session.warnings = warnings
    if is_worker(config):
        # about the store, which the controller reads too
        warnings.take()
    else:
        from bob_gauntlet.plugin.controller import register_controller

        register_controller(config, session)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return how many workers `-n auto` starts for the suites; None where xdist or its variable decide."""
    if not config.option.bob_backbone or os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    from bob_gauntlet.plugin.parallel import count_workers

    return count_workers(os.environ, use_gpus=config.option.bob_device != "cpu")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Delete the progress files."""
    session = config.stash.get(SESSION, None)
    if session is not None and not is_worker(config):
        session.delete_progress_files()


@pytest.hookimpl(trylast=True)
def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is being run."""
    session = config.stash.get(SESSION, None)
    if session is None:
        return []
    from bob_gauntlet.plugin.parallel import overload_lines
    from bob_gauntlet.plugin.terminal import header

    return [*header(session), *overload_lines(config, use_gpus=session.options.device != "cpu")]


@pytest.hookimpl
def pytest_sessionstart(session: pytest.Session) -> None:
    """Check everything that can be checked before a forward pass; start the progress display."""
    config = session.config
    bob_session = config.stash.get(SESSION, None)
    if bob_session is None or is_worker(config):
        return
    from bob_gauntlet.plugin.session import check

    reporter = config.pluginmanager.getplugin("terminalreporter")
    with usage_errors():
        check(bob_session, reporter.write_line if reporter else print)
    choice = bob_session.options.progress
    if reporter is not None and (choice == "on" or (choice == "auto" and reporter.isatty)):
        from bob_gauntlet.plugin.progress_bar import show_progress
        from bob_gauntlet.plugin.session_progress import SessionProgress

        progress = SessionProgress(config.stash[TIMETABLE])
        config.pluginmanager.register(progress, "bob-session-progress")
        show_progress(config, bob_session.progress_folder, reporter, progress.text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item for every backbone, recipe and dataset."""
    mark = metafunc.definition.get_closest_marker(MARK)
    if mark is None:
        return
    from bob_gauntlet.plugin.chosen_settings import chosen_settings

    options, chosen = read_options(metafunc.config), chosen_settings(metafunc.config)
    session = metafunc.config.stash.get(SESSION, None)
    specs = session.specs if session is not None else list(options.backbones) or [NO_BACKBONE]
    cases = [
        (spec, recipe, dataset) for spec in specs for recipe in mark.args for dataset in chosen.datasets_of(recipe)
    ]
    ids = [item_id(getattr(spec, "name", str(spec)), f"{recipe.id}@{dataset}") for spec, recipe, dataset in cases]
    metafunc.parametrize(("gauntlet", "recipe", "dataset"), cases, ids=ids, indirect=["gauntlet"])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the settings backbone by backbone, so that each is loaded once, and of each the cheap ones first.

    Deselected are settings that --setting or --task excludes, and tests of a protocol without a dataset, at this scale
    or among those asked for. `-k` also finds a protocol under its name with underscores.
    """
    if not any(item.get_closest_marker(MARK) for item in items):
        return
    from bob_gauntlet.plugin.chosen_settings import check_choice

    chosen = check_choice(config)
    dropped = [
        item
        for item in items
        if item.get_closest_marker(MARK) and (item.nodeid.endswith("[NOTSET]") or setting_of(item) not in chosen)
    ]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]
    positions = [index for index, item in enumerate(items) if item.get_closest_marker(MARK)]
    session = config.stash.get(SESSION, None)
    names = [spec.name for spec in session.specs] if session is not None else []
    ordered = in_order([items[index] for index in positions], names, config.stash.get(TIMETABLE, None))
    for index, item in zip(positions, ordered, strict=True):
        item.extra_keyword_matches.add(case_of(item)["recipe"].id.replace("-", "_"))
        items[index] = item


def pytest_collection_finish(session: pytest.Session) -> None:
    """Stop where settings were collected and none is left to run, or no backbone was named."""
    config = session.config
    if not session.items and not is_worker(config):
        from bob_gauntlet.plugin.chosen_settings import explain_empty_session

        explain_empty_session(config)
    if not config.option.collectonly and not is_worker(config):
        _require_backbone(config, any(item.get_closest_marker(MARK) for item in session.items))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """Do the same under xdist, where only the workers collect."""
    if not ids:
        from bob_gauntlet.plugin.chosen_settings import explain_empty_session

        explain_empty_session(node.config)
    _require_backbone(node.config, any(parse_node_id(node_id)[0] == NO_BACKBONE for node_id in ids))


@pytest.fixture
def gauntlet(request: pytest.FixtureRequest) -> "Gauntlet":
    """The gauntlet of one backbone: `gauntlet.run(recipe, dataset)` measures, or reads what is stored."""
    from bob_gauntlet.gauntlet import Gauntlet
    from bob_gauntlet.plugin.progress_bar import ProgressFile

    session, item = request.config.stash[SESSION], request.node
    if isinstance(session.workspace.progress, ProgressFile):
        session.workspace.progress.setting = setting_of(item)
    prepared = item.stash[_GAUNTLET] = Gauntlet(request.param, session.workspace)
    return prepared


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Skip a setting whose data is missing, with the reason; fail in one line where a user can mend the cause."""
    if item.get_closest_marker(MARK) is None:
        return (yield)
    try:
        return (yield)
    except MissingError as error:
        pytest.skip(str(error))
    except BobError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put the outcome of a setting on its test report, as plain types that travel to the controller."""
    report: Any = yield
    session = item.config.stash.get(SESSION, None)
    if session is not None and is_worker(item.config) and (warnings := session.warnings.take()):
        report.bob_warnings = warnings
    measures_setting = item.get_closest_marker(MARK) is not None
    if measures_setting and (report.when == "call" or (report.when == "setup" and not report.passed)):
        from bob_gauntlet.plugin.outcome import outcome_of

        reason = call.excinfo.exconly(tryshort=True) if call.excinfo is not None else ""
        prepared = item.stash.get(_GAUNTLET, None)
        backbone = getattr(case_of(item)["gauntlet"], "name", NO_BACKBONE)
        report.bob = outcome_of(report, reason, setting_of(item), backbone, prepared).to_dict()
    return report  # type: ignore[no-any-return]


def _collect_warnings(config: pytest.Config) -> "WarningCollector":
    """Return a collector of this package's warnings, until the end of the session."""
    from bob_gauntlet.runtime.warning_collector import WarningCollector

    warnings = WarningCollector()
    warnings.start()
    config.add_cleanup(warnings.stop)
    return warnings


def _bound_waiting(config: pytest.Config) -> None:
    """Limit how long threads wait for each other, in this process and in workers, until the end of the session."""
    from bob_gauntlet.runtime.threads import bounded_waiting

    stack = ExitStack()
    stack.enter_context(bounded_waiting())
    config.add_cleanup(stack.close)


def _require_backbone(config: pytest.Config, settings_without_backbone: bool) -> None:
    """Raise pytest.UsageError where settings would run and no backbone was named."""
    if settings_without_backbone and not config.option.bob_backbone:
        raise pytest.UsageError(
            "no backbone is named: add --backbone=efficientnet_lite0, another name of `bob zoo`, or your own "
            "--backbone=timm:NAME@PATH"
        )
