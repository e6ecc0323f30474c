"""The plugin as its users meet it: options, node ids, reports and exit codes, with and without workers."""

import errno
import json
import re
import sys
from pathlib import Path

import pytest

# pytester unloads modules that a run imported, and torch cannot be imported twice, so it is imported before
import bob_gauntlet.backbones.build
import bob_gauntlet.datasets.mini.classification
import bob_gauntlet.datasets.mini.retrieval  # noqa: F401
from bob_gauntlet.plugin.options import OPTIONS
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store
from tests.helpers.plugin_suite import SETTINGS, SUITE

WORLDS = {"no xdist": ["-p", "no:xdist"], "-n0": ["-n0"], "-n2": ["-n2"]}

BACKBONE = "--bob-backbone=random:test_resnet"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of artefacts that all these tests share, so that identities and manifests are computed once."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def workspace(pytester: pytest.Pytester, cache: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with the quick suite."""
    monkeypatch.setenv("COLUMNS", "200")
    pytester.makepyfile(test_quick=SUITE)
    # the suite measures top-1, which does not exist for images with several labels
    pytester.makeini("[pytest]\naddopts = -k 'not scenes'\n")
    return pytester


def run(workspace: pytest.Pytester, cache: Path, *options: str) -> pytest.RunResult:
    """Run the quick suite without a pool, in this process, which has loaded torch, unless workers are needed."""
    pool = [] if any("--bob-pool" in option for option in options) else ["--bob-pool=none"]
    start = workspace.runpytest_subprocess if "-n2" in options else workspace.runpytest_inprocess
    return start(f"--bob-cache={cache}", *pool, *options)


def stored(workspace: pytest.Pytester) -> list[Score]:
    """Return the scores in the session's store."""
    return list(Store(workspace.path / ".bob/store"))


@pytest.mark.parametrize("world", WORLDS)
def test_every_setting_is_measured_stored_and_then_read(workspace: pytest.Pytester, cache: Path, world: str) -> None:
    """The first run measures, the second reads, both pass, and only the first adds scores to the store."""
    first = run(workspace, cache, BACKBONE, *WORLDS[world])
    first.assert_outcomes(passed=len(SETTINGS))
    first.stdout.fnmatch_lines(["*measured 6 settings, 0 were already in the store, 0 skipped, 0 failed*"])
    assert sorted(s.setting for s in stored(workspace)) == sorted(SETTINGS)
    second = run(workspace, cache, BACKBONE, *WORLDS[world])
    second.assert_outcomes(passed=len(SETTINGS))
    second.stdout.fnmatch_lines(["*measured 0 settings, 6 were already in the store, 0 skipped, 0 failed*"])
    assert len(stored(workspace)) == len(SETTINGS)
    assert len((workspace.path / "log.txt").read_text().splitlines()) == len(SETTINGS)


@pytest.mark.parametrize("world", WORLDS)
def test_failures_and_skips_are_grouped_by_reason(workspace: pytest.Pytester, cache: Path, world: str) -> None:
    """Every reason is printed in one line without a traceback, and the other settings are measured."""
    (workspace.path / "plan.txt").write_text("knn@photos fail\nknn@digits skip\nlinear-probe@digits skip")
    result = run(workspace, cache, BACKBONE, *WORLDS[world])
    result.assert_outcomes(passed=3, failed=1, skipped=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["failed: knn@photos of random:test_resnet: it does not work; type something else"])
    assert "digits of random:test_resnet: its data is absent; get it there" in result.stdout.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert len(stored(workspace)) == 3


@pytest.mark.parametrize("world", WORLDS)
def test_a_suite_without_backbone_is_a_usage_error(workspace: pytest.Pytester, cache: Path, world: str) -> None:
    """Without a backbone the session ends with exit code 4 and says what to type next."""
    result = run(workspace, cache, *WORLDS[world])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "no backbone is named: add --backbone=efficientnet_lite0" in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize("world", WORLDS)
def test_an_unknown_backbone_stops_the_session_before_it_starts(
    workspace: pytest.Pytester, cache: Path, world: str
) -> None:
    """An unknown backbone ends the session with exit code 4 and the nearest names before any test runs."""
    result = run(workspace, cache, "--bob-backbone=efficientnet_lite9", *WORLDS[world])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "did you mean efficientnet_lite4, " in result.stderr.str()
    assert not (workspace.path / "log.txt").exists()


def test_scores_agree_between_the_worlds(workspace: pytest.Pytester, cache: Path) -> None:
    """Serial runs and a run on two workers give equal records, apart from the provenance of the run."""
    sorted_records = []
    for world in WORLDS.values():
        name = f"{world[0].strip('-')}.json"
        run(workspace, cache, BACKBONE, f"--bob-store=store-{name}", f"--bob-json={name}", *world)
        records = json.loads((workspace.path / name).read_text())
        sorted_records.append(sorted((r["setting"], r["metric"], r["value"], r["protocol_hash"]) for r in records))
    assert sorted_records[0] == sorted_records[1] == sorted_records[2]
    assert len(sorted_records[0]) == len(SETTINGS)


def test_two_workers_share_one_backbone(workspace: pytest.Pytester, cache: Path) -> None:
    """With `-n 2` both workers are busy, because each takes a dataset of the same backbone."""
    (workspace.path / "plan.txt").write_text("\n".join(f"{setting} sleep 0.3" for setting in SETTINGS))
    run(workspace, cache, BACKBONE, "-n2").assert_outcomes(passed=len(SETTINGS))
    lines = (workspace.path / "log.txt").read_text().splitlines()
    assert len({line.rpartition(" ")[2] for line in lines}) == 2


def test_json_lists_every_score(workspace: pytest.Pytester, cache: Path) -> None:
    """--bob-json writes records that `Score.from_dict` reads, also in a second run that measures nothing."""
    for _ in range(2):
        run(workspace, cache, BACKBONE, "--bob-json=scores.json")
        records = json.loads((workspace.path / "scores.json").read_text())
        assert {r["setting"] for r in records} == set(SETTINGS)
        assert {"setting", "metric", "value", "backbone", "task"} <= set(records[0])
        assert [Score.from_dict(r) for r in records]


def test_rerun_measures_again(workspace: pytest.Pytester, cache: Path) -> None:
    """With --bob-rerun every setting is measured and stored again."""
    run(workspace, cache, BACKBONE)
    run(workspace, cache, BACKBONE, "--bob-rerun").stdout.fnmatch_lines(["*measured 6 settings*"])
    assert len(stored(workspace)) == 2 * len(SETTINGS)


def test_a_limit_is_another_measurement(workspace: pytest.Pytester, cache: Path) -> None:
    """A score of the first 8 examples is not read for all examples, nor the other way round."""
    run(workspace, cache, BACKBONE, "--bob-limit=8").stdout.fnmatch_lines(["*measured 6 settings*"])
    run(workspace, cache, BACKBONE).stdout.fnmatch_lines(["*measured 6 settings*"])
    run(workspace, cache, BACKBONE, "--bob-limit=8").stdout.fnmatch_lines(["*measured 0 settings, 6 were already*"])
    assert {s.limit for s in stored(workspace)} == {8, None}


def test_backbones_are_repeatable_and_each_is_worked_off_at_a_stretch(workspace: pytest.Pytester, cache: Path) -> None:
    """All settings of the first backbone run before those of the second, so that each is loaded once."""
    run(workspace, cache, BACKBONE, "--bob-backbone=random:test_resnet,seed=1").assert_outcomes(
        passed=2 * len(SETTINGS)
    )
    names = [line.split(" ")[0] for line in (workspace.path / "log.txt").read_text().splitlines()]
    a, b = "random:test_resnet", "random:test_resnet,seed=1"
    assert names == [a] * 6 + [b] * 6


@pytest.mark.parametrize("world", WORLDS)
def test_each_backbone_is_loaded_once_a_process(workspace: pytest.Pytester, cache: Path, world: str) -> None:
    """No process calls the factory of a backbone twice."""
    workspace.makepyfile(
        ours="""
        import os, timm
        def build(name):
            with open("loads.txt", "a") as file:
                file.write(f"{name} {os.getpid()}\\n")
            return timm.create_model("test_resnet", num_classes=0)
        def a(): return build("a")
        def b(): return build("b")
        def c(): return build("c")
        """
    )
    names = [f"--bob-backbone=ours:{name}" for name in "abc"]
    run(workspace, cache, *names, *WORLDS[world]).assert_outcomes(passed=3 * len(SETTINGS))
    loads = (workspace.path / "loads.txt").read_text().splitlines()
    assert len(loads) == len(set(loads))


def test_what_has_to_be_alone_is_alone(workspace: pytest.Pytester, cache: Path) -> None:
    """On two workers no other setting runs while an exclusive setting runs."""
    (workspace.path / "plan.txt").write_text("\n".join(f"{setting} sleep 0.2" for setting in SETTINGS))
    run(workspace, cache, BACKBONE, "--bob-backbone=random:test_resnet,seed=1", "-n2").assert_outcomes(passed=12)
    spans = [line.split() for line in (workspace.path / "spans.txt").read_text().splitlines()]
    times = [(setting, float(start), float(end)) for setting, start, end in spans]
    assert len(times) == 12
    for setting, start, end in times:
        if setting.startswith("retrieval"):
            assert not [other for other, first, last in times if first < end and start < last and first != start]


def test_collecting_needs_no_backbone(workspace: pytest.Pytester, cache: Path) -> None:
    """--collect-only shows which tests would run, also without a backbone."""
    result = run(workspace, cache, "--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    assert "test_quick[BACKBONE@knn@photos]" in result.stdout.str()


def test_nothing_measured_is_exit_code_5(workspace: pytest.Pytester, cache: Path) -> None:
    """A session in which every setting is skipped ends with exit code 5."""
    (workspace.path / "plan.txt").write_text("\n".join(f"{setting} skip" for setting in SETTINGS))
    result = run(workspace, cache, BACKBONE)
    result.assert_outcomes(skipped=len(SETTINGS))
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--bob-scale=minni", "--scale=minni: has to be mini or paper; did you mean mini?"),
        ("--bob-limit=none", "--bob-limit=none: has to be a whole number from 2"),
        ("--bob-limit=1", "--bob-limit=1: has to be a whole number from 2"),
        ("--bob-seeds=0", "--bob-seeds=0: has to be a whole number from 1"),
        ("--bob-device=tpu", "--bob-device=tpu: has to be auto or cpu or cuda"),
        ("--bob-json=nowhere/scores.json", "--bob-json=nowhere/scores.json: its folder does not exist"),
        ("--bob-report=.", "--bob-report=.: is a folder"),
        (
            "--bob-report=r.pdf",
            "--bob-report r.pdf: the file name must end in .html, .md, .csv, .json; type --bob-report r.html",
        ),
        (
            "--bob-pool=paper",
            "--bob-pool=paper holds paper-scale scores, and this run is at mini scale: the two are never",
        ),
        ("--bob-pool=minni", "no pool is called 'minni'; did you mean mini?"),
        ("--bob-store=test_quick.py/store", "scores cannot be stored in "),
        (BACKBONE, "random:test_resnet is given twice"),
        ("--bob-backbone=", "names nothing; `bob zoo` lists the known names"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_code_4(
    workspace: pytest.Pytester, cache: Path, option: str, message: str
) -> None:
    """A wrong option ends the session with exit code 4 and one line that says what is wrong."""
    result = run(workspace, cache, BACKBONE, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    [line] = [line for line in result.stderr.str().splitlines() if line.startswith("ERROR: ")]
    assert message in line


def test_the_cuda_device_is_refused_where_there_is_none(
    workspace: pytest.Pytester, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no GPU is visible, --bob-device=cuda ends the session with exit code 4 and says so."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = run(workspace, cache, BACKBONE, "--bob-device=cuda")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "no NVIDIA GPU is visible" in result.stderr.str()


def test_names_and_folders_of_any_script_work(workspace: pytest.Pytester, cache: Path) -> None:
    """A declared name and the path of a store may have spaces and umlauts."""
    (workspace.path / "bob.toml").write_text('[backbones]\n"mein Rückgrat [v2]@home" = "random:test_resnet"\n', "utf-8")
    options = ["--bob-backbone=mein Rückgrat [v2]@home", "--bob-store=mein Ort/störe", "-n2"]
    result = run(workspace, cache, *options)
    result.assert_outcomes(passed=len(SETTINGS))
    assert {s.backbone for s in Store(workspace.path / "mein Ort/störe")} == {"mein Rückgrat [v2]@home"}


def test_interrupting_keeps_what_is_measured(workspace: pytest.Pytester, cache: Path) -> None:
    """After Ctrl-C in the third setting two scores are stored, and the next run measures the other four."""
    (workspace.path / "plan.txt").write_text("knn@photos interrupt")
    command = [sys.executable, "-m", "pytest", BACKBONE, f"--bob-cache={cache}", "--bob-pool=none"]
    result = workspace.run(*command)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert len(stored(workspace)) == 2
    result.stdout.fnmatch_lines(
        [f"Interrupted by Ctrl-C: 2 of 6 settings have scores. To continue: pytest {' '.join(command[3:])}"]
    )
    (workspace.path / "plan.txt").unlink()
    run(workspace, cache, BACKBONE).stdout.fnmatch_lines(["*measured 4 settings, 2 were already in the store*"])


def test_a_session_ranks_against_its_pool(workspace: pytest.Pytester, cache: Path) -> None:
    """--bob-save makes baselines of three backbones, and a fourth backbone is ranked among them."""
    baseline_options = [f"--bob-backbone=random:{name}" for name in ("test_vit", "test_resnet", "test_convnext")]
    run(workspace, cache, *baseline_options, "--bob-save=ours").assert_outcomes(passed=3 * len(SETTINGS))
    (workspace.path / "plan.txt").write_text("retrieval@copydays-mini interrupt")
    command = ["--bob-backbone=random:test_efficientnet", "--bob-pool=ours", f"--bob-cache={cache}"]
    interrupted = workspace.run(sys.executable, "-m", "pytest", *command).stdout.str().partition(" ranking =")[2]
    assert "3/3" in interrupted, "the ranking is over the three measures that have a score"
    assert interrupted.index("3/3") < interrupted.index("Interrupted by Ctrl-C: 5 of 6 settings have scores. To conti")
    (workspace.path / "plan.txt").unlink()
    result = run(workspace, cache, "--bob-backbone=random:test_efficientnet", "--bob-pool=ours", "--bob-report=r.md")
    table = result.stdout.str().partition(" ranking =")[2]
    assert "random:test_efficientnet" in table
    assert "6/6" not in table, "kNN is measured and not ranked"
    assert "4/4" in table
    assert table.rindex("measured 1 setting,") > table.rindex("random:test_efficientnet"), "counts come last"
    page = (workspace.path / "r.md").read_text()
    assert "| random:test_efficientnet" in page
    assert "## How the scores were measured" in page


def test_a_limited_run_is_not_ranked(workspace: pytest.Pytester, cache: Path) -> None:
    """A score with a limit is not ranked, and the note names the field that differs."""
    run(workspace, cache, BACKBONE, "--bob-save=ours")
    result = run(workspace, cache, BACKBONE, "--bob-pool=ours", "--bob-limit=8")
    assert "not ranked, because limit differs from that of pool ours (first 8 examples)" in result.stdout.str()


def test_a_failure_of_the_disk_is_no_success(
    workspace: pytest.Pytester, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores that cannot be stored are counted at the end and written to --bob-json, and the exit code is 1."""

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bob_gauntlet.scores.store._append_whole", full)
    result = run(workspace, cache, BACKBONE, "--bob-json=scores.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["6 scores are not stored: *No space left on device; free some space and run again*"])
    assert len(json.loads((workspace.path / "scores.json").read_text())) == len(SETTINGS)


def test_an_unforeseen_error_fails_with_its_own_message(workspace: pytest.Pytester, cache: Path) -> None:
    """An unforeseen error is reported with its type and message, without the file in which it was raised."""
    (workspace.path / "plan.txt").write_text("knn@photos crash")
    result = run(workspace, cache, BACKBONE)
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["failed: knn@photos of random:test_resnet: *ZeroDivisionError: division by zero"])


def test_junit_names_the_reason(workspace: pytest.Pytester, cache: Path) -> None:
    """The JUnit file of a CI holds the one-line reason of a failed setting."""
    (workspace.path / "plan.txt").write_text("knn@photos fail")
    run(workspace, cache, BACKBONE, "--junitxml=junit.xml")
    assert "it does not work; type something else" in (workspace.path / "junit.xml").read_text()


def test_the_documentation_lists_every_option() -> None:
    """The table of docs/options.md has every option, in the order of the code, and nothing else."""
    page = (Path(__file__).parents[2] / "docs/options.md").read_text()
    listed = re.findall(r"^\| `(--[a-z-]+)", page, re.MULTILINE)
    assert listed == [option.shown for option in OPTIONS]


def test_a_report_says_what_changed_and_what_was_skipped(workspace: pytest.Pytester, cache: Path) -> None:
    """A report compares a backbone with its last stored weights, and lists what was skipped."""
    toml = workspace.path / "bob.toml"
    for seed, name in ((0, "first.html"), (1, "second.html")):
        toml.write_text(f'[backbones]\nmine = "random:test_resnet,seed={seed}"\n')
        run(workspace, cache, "--bob-backbone=mine", f"--bob-report={name}")
        (workspace.path / "plan.txt").write_text(f"{SETTINGS[0]} skip")
    first, second = ((workspace.path / name).read_text() for name in ("first.html", "second.html"))
    assert "the last stored weights of that name" not in first
    assert "the last stored weights of that name" in second
    assert 'id="changes"' in second
    assert 'id="unscored"' in second
    assert 'id="unscored"' not in first
    run(workspace, cache, "--bob-backbone=mine", "--bob-report=third.json")
    changes = json.loads((workspace.path / "third.json").read_text())["changes"]
    assert any(change["delta"] == 0 for change in changes), "the quick suite measures the length of a name"
