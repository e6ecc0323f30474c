"""From runs to baselines: means over seeds, rows that are replaced, examples that are kept."""

from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.pools.folder import BackboneRow, read_examples, read_scores
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.pools.saving import add, merge_seeds, split_seeds
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.scores.score import Score


def score(name: str, value: float, **provenance: object) -> Score:
    """One score."""
    return Score(
        setting="knn@photos", metric="top1", task="Cls", value=value, backbone=name, backbone_fingerprint=f"fp-{name}",
        protocol_hash="p", provenance=provenance,
    )  # fmt: skip


def with_examples(artifacts: Artifacts, name: str, values: list[float]) -> Score:
    """A score whose per-example values are an artefact."""
    key = {"of": name}
    text = np.frombuffer(b"x\ny", np.uint8)
    artifacts.get("examples", key, lambda: {"values": np.array(values, np.float32), "ids": text, "clusters": text})
    return score(name, float(np.mean(values)), examples={"kind": "examples", "key": key})


def test_a_mean_over_seeds_can_be_taken_apart_again() -> None:
    """What `bob baseline refresh` puts into its store: each seed under its own name and fingerprint."""
    found = [score("r,seed=0", 1.0, stderr=3.0), score("r,seed=1", 3.0, stderr=4.0)]
    one = merge_seeds("r", found, None)
    assert one.value == 2.0
    # errors of the same examples do not average out: root mean square of 3 and 4
    assert one.provenance["stderr"] == pytest.approx(12.5**0.5)
    assert [(s.backbone, s.backbone_fingerprint, s.value) for s in split_seeds(one)] == [
        ("r,seed=0", "fp-r,seed=0", 1.0),
        ("r,seed=1", "fp-r,seed=1", 3.0),
    ]
    assert {s.identity for s in split_seeds(one)} == {s.identity for s in found}


def test_rows_are_added_and_replaced(tmp_path: Path) -> None:
    """The others stay, with their examples; the pool is frozen anew."""
    folder, artifacts = tmp_path / "ours", Artifacts(tmp_path / "artifacts")
    rows = [BackboneRow(n, "candidate", n) for n in ("a", "b", "c")]
    add(folder, rows, [with_examples(artifacts, n, [v, v + 2]) for n, v in (("a", 1), ("b", 2), ("c", 3))], artifacts)
    add(folder, rows[:1], [with_examples(artifacts, "a2", [9, 9])], artifacts)
    assert load_pool(str(folder), folder).references["knn@photos", "top1"].mean == pytest.approx((2 + 3 + 4) / 3)
    again = Artifacts(tmp_path / "others")
    add(folder, rows[:1], [with_examples(again, "a", [9.0, 9.0])], again)
    pool = load_pool(str(folder), folder)
    assert {n: s["knn@photos", "top1"].value for n, s in pool.scores.items()} == {"a": 9.0, "b": 3.0, "c": 4.0}
    examples = read_examples(folder, "knn@photos", "top1")
    assert examples is not None
    assert {n: v.tolist() for n, v in examples.values.items()} == {"a": [9, 9], "b": [2, 4], "c": [3, 5]}


def test_a_row_of_seeds_needs_all_of_them(tmp_path: Path) -> None:
    """Two of three are no mean over three."""
    folder, artifacts = tmp_path / "ours", Artifacts(tmp_path / "artifacts")
    rows = [BackboneRow("r", "reference", "r,seed=0 r,seed=1"), BackboneRow("a", "candidate", "a")]
    add(folder, rows, [score("r,seed=0", 1.0), score("a", 2.0)], artifacts)
    assert [s.backbone for s in read_scores(folder)] == ["a"]
    add(folder, rows, [score("r,seed=0", 1.0), score("r,seed=1", 2.0)], artifacts)
    assert {s.backbone: s.value for s in read_scores(folder)} == {"a": 2.0, "r": 1.5}
