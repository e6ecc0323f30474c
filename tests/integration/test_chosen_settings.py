"""`--setting` and `--task` as a user meets them: with and without workers, with -k, --lf and --collect-only."""

import pytest

# pytester unloads modules that a run imported, and torch cannot be imported twice, so it is imported before
import bob_gauntlet.backbones.build
import bob_gauntlet.datasets.mini.classification
import bob_gauntlet.gauntlet  # noqa: F401
from tests.helpers.plugin_suite import SUITE
from tests.helpers.sessions import ROOT

BACKBONE = "--bob-backbone=random:test_resnet"


@pytest.fixture
def workspace(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with a quick suite of kNN and retrieval, two settings each."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(test_quick=SUITE.replace('Quick("linear-probe"), ', ""))
    return pytester


def run(workspace: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run the quick suite without a pool, in this process unless workers are needed."""
    start = workspace.runpytest_subprocess if {"-n1", "-n2"} & {*options} else workspace.runpytest_inprocess
    return start("--bob-pool=none", *options)


def collected(result: pytest.RunResult) -> list[str]:
    """Return the settings of the tests that a session has collected."""
    return [line.partition("@")[2].rstrip("]") for line in result.outlines if line.startswith("test_quick.py::")]


def error_line(result: pytest.RunResult) -> str:
    """Return the line that says why a session has run nothing; check its exit code."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    [line] = [line for line in (*result.errlines, *result.outlines) if line.startswith("ERROR: ")]
    return line.removeprefix("ERROR: ")


def test_the_chosen_settings_run_and_the_failed_ones_again(workspace: pytest.Pytester) -> None:
    """The rest counts as deselected; -k chooses among the chosen; --lf repeats those that failed."""
    (workspace.path / "plan.txt").write_text("knn@photos fail\nretrieval@copydays-mini fail")
    options = (BACKBONE, "--bob-setting=knn@*", "--bob-setting=retrieval@copydays-mini")
    run(workspace, *options).assert_outcomes(passed=1, failed=2, deselected=1)
    run(workspace, *options, "--bob-task=cls", "--lf").assert_outcomes(failed=1, deselected=1)
    result = run(workspace, *options, "--collect-only", "-q", "-k", "photos or test_retrieval")
    assert collected(result) == ["knn@photos", "retrieval@copydays-mini"]


@pytest.mark.slow
def test_workers_run_the_chosen_settings(workspace: pytest.Pytester) -> None:
    """Workers run the chosen settings, and where none is left one line says so."""
    run(workspace, BACKBONE, "--bob-setting=*@photos*", "-n2").assert_outcomes(passed=2)
    line = error_line(run(workspace, BACKBONE, "--bob-task=Det", "-n1"))
    assert line.startswith("none of the collected tests measures detection-finetune@photo-scenes, ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bob-setting=knn@*", "--bob-task=Det"], "no setting at mini scale matches --setting 'knn@*' (knn@photos"),
        (["--bob-setting=linear-prob@*"], "--setting 'linear-prob@*' matches no setting; did you mean linear-probe@"),
        (["--bob-task=Dett"], "--task=Dett: has to be Cls or Det or Seg"),
        (
            ["--bob-setting=detection-frozen@*"],
            "none of the collected tests measures detection-frozen@photo-scenes; run pytest on the folder that "
            "`bob suites` prints",
        ),
        (
            ["-k", "detection-frozen"],
            "-k detection-frozen leaves no test; to choose settings by their ids, type --setting 'detection-frozen@*'",
        ),
        (
            ["-k", "knn@photos"],
            "-k knn@photos: -k takes words of test names; to choose settings by their ids, type --setting knn@photos",
        ),
    ],
)
def test_a_choice_of_nothing_is_one_line_and_exit_code_4(
    workspace: pytest.Pytester, options: list[str], message: str
) -> None:
    """The line says what each option matches, or what to type, also where nothing would run."""
    assert error_line(run(workspace, *options, "--collect-only")).startswith(message)


def test_k_keeps_its_exit_code_for_words_that_name_no_setting(workspace: pytest.Pytester) -> None:
    """Words that are in no test's name deselect everything, as in any session of pytest."""
    result = run(workspace, "--collect-only", "-k", "test_of_something_else")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_no_setting_runs_before_k_is_explained(workspace: pytest.Pytester) -> None:
    """In a session that would measure, a -k that leaves nothing is explained too."""
    line = error_line(run(workspace, BACKBONE, "-k", "linear-probe"))
    assert line.startswith("-k linear-probe leaves no test; to choose settings by their ids, type --setting 'linear-")
    assert not (workspace.path / "log.txt").exists()


def test_the_suites_have_the_short_names(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--setting` and `--task` are declared where the suites are."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    options = ("--setting=detection-*@*", "--setting=*frozen*", "--task=seg", "--scale=paper")
    result = pytester.runpytest_inprocess(str(ROOT / "suites"), "--collect-only", "-q", *options)
    assert [line.partition("@")[2] for line in result.outlines if "::" in line] == [
        "detection-frozen@coco-2017]",
        "detection-finetune@coco-2017]",
        "detection-finetune@lvis-v1]",
        "detection-scratch@coco-2017]",
    ]
