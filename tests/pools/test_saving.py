"""Saving of measured scores as baselines: means over seeds, replaced rows, kept examples."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools.folder import BackboneRow, read_backbones, read_examples, read_scores
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.pools.saving import add, merge_seeds, save, split_seeds, without_folders_of_a_machine
from bob_gauntlet.runtime.artifacts import Artifacts, ExampleValues
from bob_gauntlet.scores.score import Score
from tests.helpers.small_pools import LATENCY, make_score


def score(name: str, value: float, **provenance: object) -> Score:
    """Return a score of a backbone."""
    return Score(
        setting="knn@photos", metric="top1", task="Cls", value=value, backbone=name, backbone_fingerprint=f"fp-{name}",
        protocol_hash="p", provenance=provenance,
    )  # fmt: skip


def with_examples(artifacts: Artifacts, name: str, values: list[float]) -> Score:
    """Return a score whose per-example values are an artefact."""
    key = {"of": name}
    text = np.frombuffer(b"x\ny", np.uint8)
    arrays = {"values": np.array(values, np.float32), "ids": text, "clusters": text}
    artifacts.get("examples", key, lambda: arrays, ExampleValues.schema(2))
    return score(name, float(np.mean(values)), examples={"kind": "examples", "key": key})


def test_a_mean_over_seeds_can_be_split_again() -> None:
    """Splitting a merged score gives the score of each seed under its own name and fingerprint."""
    seeds = [score("r,seed=0", 1.0, stderr=3.0), score("r,seed=1", 3.0, stderr=4.0)]
    merged = merge_seeds("r", seeds, None)
    assert merged.value == 2.0
    # errors over the same examples do not average out: root mean square of 3 and 4
    assert merged.provenance["stderr"] == pytest.approx(12.5**0.5)
    assert [(s.backbone, s.backbone_fingerprint, s.value) for s in split_seeds(merged)] == [
        ("r,seed=0", "fp-r,seed=0", 1.0),
        ("r,seed=1", "fp-r,seed=1", 3.0),
    ]
    assert {s.identity for s in split_seeds(merged)} == {s.identity for s in seeds}


@pytest.mark.parametrize(
    ("typed", "saved"),
    [
        ("pytest ../../code/suites -k 'knn or lars'", "pytest suites -k 'knn or lars'"),
        ("pytest /usr/lib/suites --bob-data=/data/", "pytest suites --bob-data=data/"),
        (
            "pytest suites/ --backbone=timm:resnet50@/home/me/best.pth",
            "pytest suites/ --backbone=timm:resnet50@best.pth",
        ),
        ("pytest suites/ --backbone=file:~/code/net.py:make", "pytest suites/ --backbone=file:net.py:make"),
        ("pytest '/my photos/suites' --bob-store=.bob/store", "pytest suites --bob-store=.bob/store"),
        ("pytest suites/ --backbone=hf-hub:timm/vit a=https://example.org/a/b", None),
        ("pytest suites/ --bob-json=.bob/refresh/mini.json -k 'finetune and not lars'", None),
    ],
)
def test_a_saved_command_names_no_folder_of_a_machine(typed: str, saved: str | None) -> None:
    """Folders of paths that are absolute or leave the current folder are left out, whatever precedes the path."""
    score = make_score("a", LATENCY, 1.0, provenance={"command": typed})
    for seeds in ([score], [score, score]):
        assert merge_seeds("a", seeds, None).provenance["command"] == (saved or typed)
    assert without_folders_of_a_machine(saved or typed) == (saved or typed)


def test_rows_are_added_and_replaced(tmp_path: Path) -> None:
    """Other rows stay with their examples, and the pool is frozen again."""
    folder, artifacts = tmp_path / "ours", Artifacts(tmp_path / "artifacts")
    rows = [BackboneRow(n, "candidate", n) for n in ("a", "b", "c")]
    add(folder, rows, [with_examples(artifacts, n, [v, v + 2]) for n, v in (("a", 1), ("b", 2), ("c", 3))], artifacts)
    add(folder, rows[:1], [with_examples(artifacts, "a2", [9, 9])], artifacts)
    assert load_pool(str(folder), folder).references["knn@photos", "top1"].mean == pytest.approx((2 + 3 + 4) / 3)
    other_artifacts = Artifacts(tmp_path / "others")
    add(folder, rows[:1], [with_examples(other_artifacts, "a", [9.0, 9.0])], other_artifacts)
    pool = load_pool(str(folder), folder)
    assert {n: s["knn@photos", "top1"].value for n, s in pool.scores.items()} == {"a": 9.0, "b": 3.0, "c": 4.0}
    examples = read_examples(folder, "knn@photos", "top1")
    assert examples is not None
    assert {n: v.tolist() for n, v in examples.values.items()} == {"a": [9, 9], "b": [2, 4], "c": [3, 5]}


def test_a_row_of_seeds_needs_all_of_them(tmp_path: Path) -> None:
    """A row whose seeds were not all measured is not saved."""
    folder, artifacts = tmp_path / "ours", Artifacts(tmp_path / "artifacts")
    rows = [BackboneRow("r", "reference", "r,seed=0 r,seed=1"), BackboneRow("a", "candidate", "a")]
    add(folder, rows, [score("r,seed=0", 1.0), score("a", 2.0)], artifacts)
    assert [s.backbone for s in read_scores(folder)] == ["a"]
    add(folder, rows, [score("r,seed=0", 1.0), score("r,seed=1", 2.0)], artifacts)
    assert {s.backbone: s.value for s in read_scores(folder)} == {"a": 2.0, "r": 1.5}


def test_a_part_of_a_backbone_is_no_baseline(tmp_path: Path) -> None:
    """The scores of a partly loaded checkpoint are not saved, and the error says why."""
    spec = BackboneSpec(name="a", text="timm:a@w.pth", scheme="timm", target="a")
    scores = [score("a", 1.0, backbone={"partial": "partial: 51% of the parameters were in the file"})]
    with pytest.raises(UsageError, match=r"scores of a cannot be baselines \(partial: 51% .*--bob-allow-partial"):
        save(tmp_path / "ours", [spec], scores, Artifacts(tmp_path / "artifacts"))
    assert not (tmp_path / "ours").exists()


def test_saving_the_same_scores_again_changes_no_byte(tmp_path: Path) -> None:
    """Scores of the mini pool that are saved over themselves leave every file as it was, the frozen pool included."""
    bundled = Path(__file__).parents[2] / "baselines/mini"
    folder = tmp_path / "mini"
    shutil.copytree(bundled, folder)
    (folder / "pool.json").unlink()
    rows = {row.name: row for row in read_backbones(bundled).values() if len(row.specs.split()) == 1}
    scores = [score for score in read_scores(bundled) if score.backbone in rows]
    add(folder, list(rows.values()), scores, Artifacts(tmp_path / "artifacts"))
    for path in bundled.rglob("*.*"):
        assert (folder / path.relative_to(bundled)).read_bytes() == path.read_bytes(), path


def test_times_of_a_busy_machine_are_no_baselines(tmp_path: Path) -> None:
    """The ranked time of a busy machine is left out, and an earlier one of a quiet machine stays."""
    folder, artifacts = tmp_path / "ours", Artifacts(tmp_path / "artifacts")
    rows = [BackboneRow(n, "candidate", n) for n in ("a", "b", "c")]
    add(folder, rows, [make_score(n, LATENCY, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 3.0))], artifacts)
    busy = {"timing": {"spread": 0.5}}
    add(folder, rows, [make_score("a", LATENCY, 9.0, provenance=busy), make_score("b", LATENCY, 4.0)], artifacts)
    assert {s.backbone: s.value for s in read_scores(folder)} == {"a": 1.0, "b": 4.0, "c": 3.0}
