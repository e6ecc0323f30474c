"""`bob rank`, `bob report` and `bob pool` over published and stored scores."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bob_gauntlet.pools.folder import read_scores
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store
from tests.helpers.bob_command import run_bob

ROOT = Path(__file__).parents[2]
CLIP = "vit_base_patch16_clip_224.laion2b"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def create_own_score(setting: str = "linear-probe@photos", **fields: object) -> Score:
    """Return a score of backbone `mine` that is comparable with pool mini."""
    [pool_score] = [
        score
        for score in read_scores(ROOT / "baselines/mini")
        if (score.backbone, score.setting, score.metric) == ("resnet-simclr", setting, "top1")
    ]
    return replace(pool_score, backbone="mine", backbone_fingerprint="mine", **fields)  # type: ignore[arg-type]


def test_the_papers_adversarial_ranking_is_table_19() -> None:
    """The README's command ranks ResNet-50 CLIP at -0.58, which Table 19 prints without its sign."""
    result = run_bob("rank", "--pool", "paper", "--task", "Adv", "--members", "--format", "json")
    rows = {row["backbone"]: row["z"]["Adv"] for row in json.loads(result.output)}
    assert round(rows["resnet50_clip.openai"], 2) == -0.58
    assert sum(z is not None for z in rows.values()) == 20


def test_a_member_is_marked_where_it_is_asked_for() -> None:
    """A member that the user names is marked, without any score of the user."""
    [line] = [row for row in run_bob("rank", "--pool", "paper", "--backbone", CLIP).output.splitlines() if "►" in row]
    assert "ViT-Base CLIP (LAION-2B)" in line


def test_the_table_lists_what_was_applied() -> None:
    """The output lists the applied errata and the others; with --errata printed none is applied."""
    applied = run_bob("rank", "--pool", "paper").output
    assert "erratum E2 (10 figures, applied): the two SwinV2-Base rows carry wrong labels" in applied
    assert "errata that change no score here: E4, E5, E6, E7, S1" in applied
    printed = run_bob("rank", "--pool", "paper", "--errata", "printed").output
    assert ", applied)" not in printed
    assert "E1, E2, E3, E4" in printed
    assert run_bob("rank", "--pool", "mini").output.count("errat") == 0


def test_mini_scores_are_refused_in_the_papers_pool(folder: Path) -> None:
    """Scores of mini scale are refused in the paper's pool, in one line with the reason and what to type."""
    Store(folder / ".bob/store").append([create_own_score()])
    for command in ("rank", "report"):
        result = run_bob(command, "--pool", "paper", "--backbone", "mine")
        assert result.exit_code == 4
        [line] = result.output.splitlines()
        assert "mine was measured at mini scale, and pool paper holds paper-scale scores" in line
        assert "--pool mini" in line
    assert not (folder / "report.html").exists()


def test_coverage_can_be_set() -> None:
    """With --min-coverage 0 all backbones are ranked; a number outside 0 to 1 is refused."""
    apart = [row for row in json.loads(run_bob("rank", "--pool", "paper", "--format", "json").output) if row["apart"]]
    assert len(apart) == 1
    everyone = json.loads(run_bob("rank", "--pool", "paper", "--min-coverage", "0", "--format", "json").output)
    assert not any(row["apart"] for row in everyone)
    assert run_bob("rank", "--min-coverage", "2").exit_code != 0


@pytest.mark.parametrize("ending", ["html", "md", "csv", "json"])
def test_a_report_in_every_form(folder: Path, ending: str) -> None:
    """A report on a stored backbone is written in every format, with what changed since a file."""
    Store(folder / ".bob/store").append([create_own_score()])
    (folder / "before.json").write_text(json.dumps([create_own_score(value=50.0).to_dict()]))
    result = run_bob("report", "--backbone", "mine", "--compare", "before.json", "-o", f"r.{ending}")
    assert result.output == f"r.{ending} is written\n"
    text = (folder / f"r.{ending}").read_text()
    assert "mine" in text
    if ending != "csv":
        assert "before.json" in text


def test_a_report_that_cannot_be_written_says_why(folder: Path) -> None:
    """A wrong ending, a folder of that name, and a missing reference are reported."""
    result = run_bob("report", "-o", "r.pdf")
    assert "the file name must end in .html, .md, .csv, .json; type --output r.html" in result.output
    (folder / "r.html").mkdir()
    result = run_bob("report", "-o", "r.html")
    assert result.exit_code == 4
    assert "r.html cannot be written (" in result.output
    result = run_bob("report", "--compare", "mini", "-o", "r.md")
    assert "needs a backbone to compare; add --backbone NAME" in result.output
    named = ["report", "--pool", "paper", "--backbone", CLIP]
    assert "no baselines are called 'nope'" in run_bob(*named, "--compare", "nope", "-o", "r.md").output


def test_pools_are_shown() -> None:
    """`bob pool show` lists all pools, and one pool with its members, roles and errata."""
    lines = run_bob("pool", "show").output.splitlines()
    assert {line.split()[0] for line in lines[2:]} == {"mini", "paper", "paper-small"}
    page = run_bob("pool", "show", "paper").output
    assert "larger than Base (paper, section 2)" in page
    assert "erratum S6 (1 figure)" in page
    assert "frozen with hash " in page


def test_a_part_of_a_pool_is_frozen(folder: Path) -> None:
    """A part of a pool has its own mean and std, keeps its bound when frozen again, and may not be empty."""
    shutil.copytree(ROOT / "baselines/mini", folder / ".bob/baselines/ours")
    (folder / ".bob/baselines/ours/pool.json").unlink()
    assert "pool.json is written" in run_bob("pool", "freeze", "ours").output
    assert "pool-tiny.json is written" in run_bob("pool", "freeze", "ours-tiny", "--max-params", "2").output
    tiny = json.loads((folder / ".bob/baselines/ours/pool-tiny.json").read_text())
    assert not [name for name in tiny["members"] if "lite" in name]
    assert "pool-tiny.json is written" in run_bob("pool", "freeze", "ours-tiny").output
    assert json.loads((folder / ".bob/baselines/ours/pool-tiny.json").read_text()) == tiny
    assert json.loads(run_bob("rank", "--pool", "ours-tiny", "--format", "json").output)
    result = run_bob("pool", "freeze", "ours-tiny", "--max-params", "0.1")
    assert result.exit_code == 4
    assert "has no scores for that pool" in result.output


def test_a_table_that_was_edited_by_hand_is_named(folder: Path) -> None:
    """A wrong column and contradicting rows are reported; a BOM, CRLF and a repeated row change nothing."""
    own_baselines = folder / ".bob/baselines/ours"
    shutil.copytree(ROOT / "baselines/mini", own_baselines)
    before = run_bob("rank", "--pool", "ours", "--format", "json").output
    text = (own_baselines / "scores.csv").read_text()
    (own_baselines / "scores.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert run_bob("rank", "--pool", "ours", "--format", "json").output == before
    (own_baselines / "scores.csv").write_text(text.replace("stderr", "std_err", 1))
    assert "has no column stderr (it has 'std_err'); restore the file" in run_bob("rank", "--pool", "ours").output
    (own_baselines / "scores.csv").write_text(text.replace(",value,", ",value,note,", 1))
    assert "has an unknown column 'note'" in run_bob("rank", "--pool", "ours").output
    line = next(line for line in text.splitlines() if ",top1,Cls," in line)
    cells = line.split(",")
    cells[4] = "12.5"
    (own_baselines / "scores.csv").write_text(text + ",".join(cells) + "\n")
    assert "disagree on" in run_bob("rank", "--pool", "ours").output
    assert run_bob("rank", "--pool", "ours").exit_code == 4
    (own_baselines / "scores.csv").write_text(text + line + "\n")
    assert run_bob("rank", "--pool", "ours", "--format", "json").output == before, "an equal row twice is one row"
