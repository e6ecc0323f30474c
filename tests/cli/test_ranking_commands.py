"""`bob rank`, `bob report` and `bob pool` over published and stored scores, as they are typed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bob_gauntlet.pools.folder import read_scores
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store
from tests.cli.test_main import bob

ROOT = Path(__file__).parents[2]
CLIP = "vit_base_patch16_clip_224.laion2b"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measured(setting: str = "linear-probe@photos", **fields: object) -> Score:
    """A score of mine as the mini pool's are."""
    [theirs] = [
        score
        for score in read_scores(ROOT / "baselines/mini")
        if (score.backbone, score.setting, score.metric) == ("resnet-simclr", setting, "top1")
    ]
    return replace(theirs, backbone="mine", backbone_fingerprint="mine", **fields)  # type: ignore[arg-type]


def test_the_papers_adversarial_ranking_is_table_19() -> None:
    """The command of the README; ResNet-50 CLIP is at -0.58, which the paper prints without its sign (Table 19)."""
    result = bob("rank", "--pool", "paper", "--task", "Adv", "--members", "--format", "json")
    rows = {row["backbone"]: row["z"]["Adv"] for row in json.loads(result.output)}
    assert round(rows["resnet50_clip.openai"], 2) == -0.58
    assert sum(z is not None for z in rows.values()) == 20


def test_a_member_is_marked_where_it_is_asked_for() -> None:
    """Without any score of its own."""
    [line] = [row for row in bob("rank", "--pool", "paper", "--backbone", CLIP).output.splitlines() if "►" in row]
    assert "ViT-Base CLIP (LAION-2B)" in line


def test_the_table_lists_what_was_applied() -> None:
    """And names the rest; with --errata printed nothing is applied."""
    applied = bob("rank", "--pool", "paper").output
    assert "erratum E2 (10 figures, applied): the two SwinV2-Base rows carry wrong labels" in applied
    assert "errata that change no score here: E4, E5, E6, E7, S1" in applied
    printed = bob("rank", "--pool", "paper", "--errata", "printed").output
    assert ", applied)" not in printed
    assert "E1, E2, E3, E4" in printed
    assert bob("rank", "--pool", "mini").output.count("errat") == 0


def test_mini_scores_are_refused_in_the_papers_pool(folder: Path) -> None:
    """One line with the reason and what to type."""
    Store(folder / ".bob/store").append([measured()])
    for command in ("rank", "report"):
        result = bob(command, "--pool", "paper", "--backbone", "mine")
        assert result.exit_code == 4
        [line] = result.output.splitlines()
        assert "mine was measured at mini scale, and pool paper holds paper-scale scores" in line
        assert "--pool mini" in line
    assert not (folder / "report.html").exists()


def test_coverage_can_be_set() -> None:
    """At 0 everybody is ranked; a number outside 0 to 1 is refused."""
    apart = [row for row in json.loads(bob("rank", "--pool", "paper", "--format", "json").output) if row["apart"]]
    assert len(apart) == 1
    everyone = json.loads(bob("rank", "--pool", "paper", "--min-coverage", "0", "--format", "json").output)
    assert not any(row["apart"] for row in everyone)
    assert bob("rank", "--min-coverage", "2").exit_code != 0


@pytest.mark.parametrize("ending", ["html", "md", "csv", "json"])
def test_a_report_in_every_form(folder: Path, ending: str) -> None:
    """Of a stored backbone, with what changed since a file."""
    Store(folder / ".bob/store").append([measured()])
    (folder / "before.json").write_text(json.dumps([measured(value=50.0).to_dict()]))
    result = bob("report", "--backbone", "mine", "--compare", "before.json", "-o", f"r.{ending}")
    assert result.output == f"r.{ending} is written\n"
    text = (folder / f"r.{ending}").read_text()
    assert "mine" in text
    if ending != "csv":
        assert "before.json" in text


def test_a_report_that_cannot_be_written_says_why(folder: Path) -> None:
    """A bad ending, a folder in its place, a reference that is not there."""
    assert (
        "the file name must end in .html, .md, .csv, .json; type --output r.html" in bob("report", "-o", "r.pdf").output
    )
    (folder / "r.html").mkdir()
    result = bob("report", "-o", "r.html")
    assert result.exit_code == 4
    assert "r.html cannot be written (" in result.output
    assert "needs a backbone to compare; add --backbone NAME" in bob("report", "--compare", "mini", "-o", "r.md").output
    named = ["report", "--pool", "paper", "--backbone", CLIP]
    assert "no baselines are called 'nope'" in bob(*named, "--compare", "nope", "-o", "r.md").output


def test_pools_are_shown() -> None:
    """All of them, and one with its members, roles and errata."""
    assert {line.split()[0] for line in bob("pool", "show").output.splitlines()[2:]} == {"mini", "paper", "paper-small"}
    page = bob("pool", "show", "paper").output
    assert "larger than Base (paper, section 2)" in page
    assert "erratum S6 (1 figure)" in page
    assert "frozen with hash " in page


def test_a_part_of_a_pool_is_frozen(folder: Path) -> None:
    """Mean and std of its own; frozen again it keeps its bound; a bound that nobody meets is refused."""
    shutil.copytree(ROOT / "baselines/mini", folder / ".bob/baselines/ours")
    (folder / ".bob/baselines/ours/pool.json").unlink()
    assert "pool.json is written" in bob("pool", "freeze", "ours").output
    assert "pool-tiny.json is written" in bob("pool", "freeze", "ours-tiny", "--max-params", "2").output
    tiny = json.loads((folder / ".bob/baselines/ours/pool-tiny.json").read_text())
    assert not [name for name in tiny["members"] if "lite" in name]
    assert "pool-tiny.json is written" in bob("pool", "freeze", "ours-tiny").output
    assert json.loads((folder / ".bob/baselines/ours/pool-tiny.json").read_text()) == tiny
    assert json.loads(bob("rank", "--pool", "ours-tiny", "--format", "json").output)
    result = bob("pool", "freeze", "ours-tiny", "--max-params", "0.1")
    assert result.exit_code == 4
    assert "has no scores for that pool" in result.output


def test_a_table_that_was_edited_by_hand_is_named(folder: Path) -> None:
    """A wrong column, two rows that disagree; with BOM and CRLF it is read as it is."""
    ours = folder / ".bob/baselines/ours"
    shutil.copytree(ROOT / "baselines/mini", ours)
    before = bob("rank", "--pool", "ours", "--format", "json").output
    text = (ours / "scores.csv").read_text()
    (ours / "scores.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert bob("rank", "--pool", "ours", "--format", "json").output == before
    (ours / "scores.csv").write_text(text.replace("stderr", "std_err", 1))
    assert "has no column stderr (it has 'std_err'); restore the file" in bob("rank", "--pool", "ours").output
    (ours / "scores.csv").write_text(text.replace(",value,", ",value,note,", 1))
    assert "has an unknown column 'note'" in bob("rank", "--pool", "ours").output
    line = next(line for line in text.splitlines() if ",top1,Cls," in line)
    cells = line.split(",")
    cells[4] = "12.5"
    (ours / "scores.csv").write_text(text + ",".join(cells) + "\n")
    assert "disagree on" in bob("rank", "--pool", "ours").output
    assert bob("rank", "--pool", "ours").exit_code == 4
    (ours / "scores.csv").write_text(text + line + "\n")
    assert bob("rank", "--pool", "ours", "--format", "json").output == before, "an equal row twice is one row"
