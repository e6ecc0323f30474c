"""Baseline folders: what is written is read back, damage is reported, and the bundled folders are consistent."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools.folder import (
    BackboneRow,
    PerExampleValues,
    examples_path,
    read_backbones,
    read_examples,
    read_scores,
    write_examples,
    write_folder,
)
from bob_gauntlet.pools.pool import freeze_pool, load_pool
from bob_gauntlet.pools.saving import without_folders_of_a_machine
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import SETTINGS, ranked_measures
from bob_gauntlet.stats.zscores import reference
from tests.helpers.score_strategies import scores
from tests.helpers.small_pools import CLS, make_pool, make_score

MINI = Path(__file__).parents[2] / "baselines/mini"


def unique(drawn: list[Score]) -> list[Score]:
    """Return one score per backbone and measure, as a table holds them, without names that have line breaks or NUL."""
    by_key = {(s.backbone, *s.measure): s for s in drawn if s.backbone.isprintable()}
    return [replace(s, provenance={}) for s in by_key.values()]


@given(st.lists(scores, max_size=4).map(unique))
def test_scores_are_read_back_from_the_table(drawn: list[Score]) -> None:
    """Values are read back in full precision, and names in any script."""
    import tempfile

    written = [replace(s, backbone_fingerprint="f", protocol_hash="p") for s in drawn]
    with tempfile.TemporaryDirectory() as name:
        in_order = write_folder(Path(name), written, [])
        read = read_scores(Path(name))
    assert [s.to_dict() for s in read] == [s.to_dict() for s in in_order]
    assert {(s.backbone, s.measure): s.to_dict() for s in read} == {
        (s.backbone, s.measure): s.to_dict() for s in written
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with baselines of three backbones on one measure."""
    scores = [
        Score(
            setting="knn@photos", metric="top1", task="Cls", value=v, backbone=n, protocol_hash="p",
            provenance={"stderr": 0.5, "n": 10, "k": [5]},
        )
        for n, v in (("a", 1.0), ("b", 2.0), ("c", 3.0))
    ]  # fmt: skip
    write_folder(tmp_path, scores, [BackboneRow(s.backbone, "candidate", s.backbone) for s in scores])
    freeze_pool(tmp_path / "pool.json")
    return tmp_path


def test_provenance_is_read_with_its_row(folder: Path) -> None:
    """Standard error and n come from the table, the rest from provenance.json."""
    assert read_scores(folder)[0].provenance == {"stderr": 0.5, "n": 10, "k": [5]}


@pytest.mark.parametrize("cell", ["nonsense", "nan", ""])
def test_a_damaged_row_is_reported_and_skipped(folder: Path, caplog: pytest.LogCaptureFixture, cell: str) -> None:
    """The other rows are read as before, and mean and std stay frozen."""
    path = folder / "scores.csv"
    path.write_text(path.read_text().replace(",2.0,", f",{cell},"))
    pool = load_pool(str(folder), folder)
    assert sorted(pool.scores) == ["a", "c"]
    assert f"{path}, line 3 is damaged" in caplog.text
    assert pool.references["knn@photos", "top1"].mean == 2.0


@pytest.mark.parametrize("cell", ["many", "nan", "1,5"])
def test_a_size_that_is_not_a_number_is_an_error(folder: Path, cell: str) -> None:
    """The error names line, column and cell, since figures and analyses compute with the size."""
    path = folder / "backbones.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[lines[0].split(",").index("params")] = f'"{cell}"'
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with pytest.raises(UsageError, match=f"line 2: params '{cell}' is not a number; correct it or leave it empty"):
        read_backbones(folder)


def test_a_missing_column_is_an_error(folder: Path) -> None:
    """The error names the missing column and the unknown one."""
    path = folder / "scores.csv"
    path.write_text(path.read_text().replace("protocol_hash", "hash", 1))
    with pytest.raises(UsageError, match=r"has no column protocol_hash .it has 'hash'.; restore the file"):
        read_scores(folder)


@pytest.mark.parametrize("damage", ["edit", "cut", "remove"])
def test_a_pool_that_was_edited_by_hand_is_refused(folder: Path, damage: str) -> None:
    """A file with a changed mean, a shortened file and a missing file are errors."""
    path = folder / "pool.json"
    text = path.read_text()
    path.write_text(text.replace('"mean": 2.0', '"mean": 1.0') if damage == "edit" else text[:50])
    if damage == "remove":
        path.unlink()
    with pytest.raises(UsageError, match=r"cannot be used .*; restore it, or run `bob pool freeze"):
        load_pool(str(folder), folder)


def test_scores_of_two_protocols_make_no_pool(folder: Path) -> None:
    """Scores of one measure under two protocol hashes are never averaged: freezing the pool is an error."""
    saved = read_scores(folder)
    rows = read_backbones(folder).values()
    write_folder(folder, [replace(saved[0], protocol_hash="q"), *saved[1:]], rows)
    with pytest.raises(UsageError, match="measured under 2 protocols; run `bob baseline refresh"):
        freeze_pool(folder / "pool.json")


def test_examples_are_read_back_from_their_file(tmp_path: Path) -> None:
    """Values of every backbone are read back, with ids and clusters."""
    examples = PerExampleValues(("x", "ü"), ("p", "p"), {"b": np.array([1.0, 2.0]), "a": np.array([3.0, 4.0])})
    write_examples(tmp_path, "knn@photos", "top1", examples)
    read = read_examples(tmp_path, "knn@photos", "top1")
    assert read is not None
    assert (read.ids, read.clusters) == (("x", "ü"), ("p", "p"))
    assert {name: list(values) for name, values in read.values.items()} == {"a": [3.0, 4.0], "b": [1.0, 2.0]}


def test_damaged_examples_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file gives a warning and no values."""
    path = examples_path(tmp_path, "knn@photos", "top1")
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04 nonsense")
    assert read_examples(tmp_path, "knn@photos", "top1") is None
    assert "is damaged" in caplog.text


def test_the_mini_pool_matches_its_rows() -> None:
    """Mean and std are those of the rows.

    At least ten backbones are pretrained, at most four are random, and five have detection scores.
    """
    pool = load_pool("mini", MINI)
    missing = set(ranked_measures("mini")) - set(pool.references)
    assert {setting for setting, _ in missing} <= {"efficiency@noise"}  # times wait for a quiet machine
    for measure, frozen in pool.references.items():
        values = [rows[measure].value for rows in pool.scores.values() if measure in rows]
        assert reference(values) == pytest.approx(frozen), measure
        assert len(values) == (5 if "detection" in measure[0] else len(pool.members)), measure
    rows = pool.backbones
    random = [name for name, row in rows.items() if row.method == "random initialisation"]
    assert len(rows) - len(random) >= 10
    assert 1 <= len(random) <= 4
    assert not set(random) & set(pool.candidates)
    assert {name for name in random if ("detection-frozen@photo-scenes", "ap_box") in pool.scores[name]} == {
        "random-efficientnet_lite0"
    }


def test_every_mini_row_has_provenance() -> None:
    """Every row has protocol, versions, command and start; a mean has its seeds, our own networks their pretraining."""
    rows = read_backbones(MINI)
    for score in read_scores(MINI):
        provenance = score.provenance
        assert {"protocol", "versions", "command", "started", "seconds"} <= set(provenance), score
        assert score.scale == "mini"
        assert score.limit is None
        assert score.setting in SETTINGS
        if rows[score.backbone].role == "reference":
            assert len(provenance["mean_of"]) == 3
            assert np.mean([part["value"] for part in provenance["mean_of"]]) == pytest.approx(score.value)
        if rows[score.backbone].licence == "ours" and rows[score.backbone].role == "candidate":
            assert {"method", "seed", "sha256"} <= set(provenance["pretraining"])


def test_the_baselines_hold_no_paths_of_a_machine() -> None:
    """No absolute path is in the CSV and JSON files."""
    for path in MINI.rglob("*.*"):
        if path.suffix in (".csv", ".json"):
            # a slash that follows no word, number or other slash, and begins two levels: an absolute path
            absolute_paths = re.findall(r"(?<![\w.:/])/[A-Za-z][\w.-]*/[^\s\"]*", path.read_text())
            assert not absolute_paths, path


def test_every_mini_measure_was_measured_under_todays_protocol() -> None:
    """No row is stale; after a change of a recipe `bob baseline refresh mini` measures its rows again.

    Times have to be measured on a quiet machine; until then a pool without the ratios ranks no efficiency.
    """
    from bob_gauntlet.datasets.catalog import CATALOG
    from bob_gauntlet.protocols.adversarial import Adversarial
    from bob_gauntlet.protocols.calibration import Calibration
    from bob_gauntlet.protocols.detection import Detection, OODDetection
    from bob_gauntlet.protocols.efficiency import Efficiency
    from bob_gauntlet.protocols.finetune import FineTune
    from bob_gauntlet.protocols.knn import KNN
    from bob_gauntlet.protocols.linear_probe import LinearProbe
    from bob_gauntlet.protocols.linear_probe_lars import LinearProbeLARS
    from bob_gauntlet.protocols.low_shot import LowShot
    from bob_gauntlet.protocols.ood import OOD
    from bob_gauntlet.protocols.recipe import at_scale, protocol_hash
    from bob_gauntlet.protocols.retrieval import Retrieval

    recipes = (
        LinearProbe(),
        KNN(),
        Retrieval(),
        Efficiency(),
        Calibration(),
        OOD(),
        Adversarial(),
        Adversarial(epsilon_255=2),
        LinearProbeLARS(),
        FineTune(),
        LowShot(fraction=0.1),
        LowShot(fraction=0.01),
        Calibration(head=FineTune()),
        OOD(head=FineTune()),
        Adversarial(head=FineTune()),
        Adversarial(head=FineTune(), epsilon_255=2),
        *(Detection(mode=mode) for mode in ("frozen", "finetune", "scratch")),
        *(OODDetection(Detection(mode=mode, masks=False)) for mode in ("frozen", "finetune")),
    )
    by_id = {recipe.id: recipe for recipe in recipes}
    for score in read_scores(MINI):
        protocol, _, dataset = score.setting.partition("@")
        recipe = at_scale(by_id[protocol], "mini", CATALOG[dataset].overrides)
        assert score.protocol_hash == protocol_hash(recipe), score.setting


def test_the_pool_names_no_folder_of_the_machine_that_measured_it() -> None:
    """The commands in the provenance of the mini pool hold no path of a machine."""
    commands = {score.provenance["command"] for score in read_scores(MINI)}
    assert commands == set(map(without_folders_of_a_machine, commands))


def test_backbones_csv_names_each_once() -> None:
    """Each backbone has one row, and the pool has all of them as members."""
    with (MINI / "backbones.csv").open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert len(names) == len(set(names))
    assert json.loads((MINI / "pool.json").read_text())["members"] == sorted(names)


def test_members_of_another_input_size_are_left_out(tmp_path: Path) -> None:
    """They enter neither mean nor standard deviation, have no score in the pool, and a note names the size."""
    sizes = {"a": 96, "b": 96, "c": 98, "large": 224}
    members = [
        make_score(name, CLS, value, transform=f"{size}px crop 0.9")
        for (name, size), value in zip(sizes.items(), (10.0, 20.0, 30.0, 90.0), strict=True)
    ]
    pool = make_pool(tmp_path, members)
    assert (pool.references[CLS].mean, pool.references[CLS].n) == (20.0, 3)
    assert set(pool.scores) == {"a", "b", "c"}
    assert pool.notes == (
        "linear-probe@photos of large: left out, because its input is 224 px, which other members' is not",
    )
    assert load_pool("mini", tmp_path).notes == load_pool("paper", tmp_path).notes == ()
