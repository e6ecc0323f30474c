"""The `bob` command: its subcommands, and errors in one line."""

import json
from pathlib import Path

import pytest

from bob_gauntlet.pools.folder import read_backbones
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store
from tests.helpers.bob_command import run_bob

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_suites_prints_their_folder() -> None:
    """`bob suites` prints the folder that `pytest $(bob suites)` needs."""
    assert run_bob("suites").output.strip() == str(ROOT / "suites")


def test_rank_lists_the_candidates_of_the_mini_pool() -> None:
    """Candidates of pool mini are ranked; with --members also all others, including random initialisations."""
    rows = read_backbones(ROOT / "baselines/mini")
    records = json.loads(run_bob("rank", "--pool", "mini", "--format", "json").output)
    assert {r["backbone"] for r in records} == {n for n, row in rows.items() if row.role == "candidate"}
    assert [r["rank"] for r in records] == sorted(r["rank"] for r in records)
    assert all({"All", "Cls", "Ret"} <= set(r["z"]) for r in records)
    # detection, three of six tasks, is measured for four
    assert sorted(r["coverage"] for r in records) == [0.5] * (len(records) - 4) + [1] * 4
    everyone = json.loads(run_bob("rank", "--members", "--format", "json").output)
    assert {r["backbone"] for r in everyone} == set(rows)


def test_rank_by_one_task() -> None:
    """With --task, backbones are ordered by that task."""
    records = json.loads(run_bob("rank", "--task", "Ret", "--format", "json").output)
    values = [r["z"]["Ret"] for r in records]
    assert values == sorted(values, reverse=True)
    assert set(records[0]["z"]) == {"Ret"}


@pytest.mark.parametrize("form", ["table", "csv", "markdown"])
def test_rank_in_other_forms(form: str) -> None:
    """All output formats name the backbones."""
    assert "efficientnet_lite0" in run_bob("rank", "--format", form).output


def test_rank_with_a_backbone_of_the_store(folder: Path) -> None:
    """A stored backbone is ranked; an unknown one gets the nearest names and exit code 4."""
    score = Score(setting="knn@photos", metric="top1", task="Cls", value=1.0, backbone="mine")
    Store(folder / ".bob/store").append([score])
    assert "mine" in run_bob("rank", "--backbone", "mine").output
    result = run_bob("rank", "--backbone", "mime")
    assert result.exit_code == 4
    assert "did you mean mine?" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rank", "--pool", "minni"), "bob: no pool is called 'minni'; did you mean mini?"),
        (("data", "photo"), "bob: unknown dataset 'photo'; did you mean photos"),
        (("zoo", "nothing-like-it"), "bob: no known backbone matches 'nothing-like-it'"),
        (("list",), "bob: no scores are stored yet; run: pytest $(bob suites) --backbone="),
        (("pool", "freeze", "minni"), "bob: no pool is called 'minni'"),
    ],
)
def test_a_wrong_name_is_one_line_and_exit_code_4(arguments: tuple[str, ...], message: str) -> None:
    """A wrong name gives one line that says what to type, and exit code 4."""
    result = run_bob(*arguments)
    assert result.exit_code == 4
    [line] = result.output.splitlines()
    assert line.startswith(message)


def test_data_lists_and_describes() -> None:
    """`bob data` lists the datasets, and a dataset's page shows its licence and how to get it."""
    assert "copydays-mini" in run_bob("data").output
    page = run_bob("data", "imagenet-1k").output
    assert "licence" in page
    assert "how to get it" in page


def test_zoo_searches_names_methods_and_data() -> None:
    """`bob zoo clip` lists what was pretrained with CLIP."""
    output = run_bob("zoo", "clip").output
    assert "resnet50_clip.openai" in output
    assert "resnet50.a1_in1k" not in output


def test_list_shows_what_is_stored(folder: Path) -> None:
    """`bob list` shows the newest score of each measure."""
    for value in (1.0, 2.0):
        score = Score(setting="knn@photos", metric="top1", task="Cls", value=value, backbone="mine")
        Store(folder / ".bob/store").append([score])
    [line] = [line for line in run_bob("list").output.splitlines() if line.startswith("mine")]
    assert line.split()[3] == "2"


def test_warnings_are_printed_once_on_standard_error(folder: Path) -> None:
    """A damaged line of the store is named once, although it is read several times; the output is as without it."""
    score = Score(setting="knn@photos", metric="top1", task="Cls", value=1.0, backbone="mine")
    Store(folder / ".bob/store").append([score])
    before = run_bob("list").stdout
    [path] = (folder / ".bob/store").glob("*.jsonl")
    path.write_text(path.read_text() + "[]\n")
    for command in (["list"], ["export"], ["rank", "--backbone=mine"], ["rank", "--backbone=unknown"]):
        result = run_bob(*command)
        warning = f"bob: warning: line 2 of {path} is damaged and skipped: "
        assert [line for line in result.stderr.splitlines() if line.startswith(warning)] == [
            f"{warning}not a score record: it is [], and has to be an object"
        ]
    assert run_bob("list").stdout == before
