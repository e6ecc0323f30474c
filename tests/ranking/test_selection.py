"""Which stored scores stand for a backbone: one set of weights, the newest."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bob_gauntlet.errors import UsageError
from bob_gauntlet.ranking import selection
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store


def score(setting: str, value: float, weights: str = "new", name: str = "mine") -> Score:
    """A stored score."""
    return Score(setting=setting, metric="top1", task="Cls", value=value, backbone=name, backbone_fingerprint=weights)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two checkpoints under one name; the older one has a setting more."""
    found = Store(tmp_path / "store")
    found.append([score("knn@photos", 1.0, "old"), score("knn@digits", 2.0, "old"), score("knn@photos", 3.0)])
    return found


def test_two_checkpoints_never_share_a_row(store: Store) -> None:
    """The digits of the old weights are not the new ones'."""
    own, highlight = selection.select_backbones(store, ["mine"])
    assert [(s.setting, s.value) for s in own["mine"]] == [("knn@photos", 3.0)]
    assert highlight == []


def test_a_limited_run_does_not_count(store: Store) -> None:
    """The first eight examples say nothing."""
    store.append([replace(score("knn@photos", 99.0, "newest"), limit=8)])
    assert selection.select_backbones(store, ["mine"])[0]["mine"][0].value == 3.0


def test_a_member_of_the_pool_needs_no_scores_of_its_own(store: Store) -> None:
    """It is shown as the one that was asked for; a name that is neither gets the nearest ones."""
    assert selection.select_backbones(store, ["resnet50.dino"], ["resnet50.dino"]) == ({}, ["resnet50.dino"])
    with pytest.raises(UsageError, match=r"no scores of 'resnet50\.dine'.*did you mean resnet50.dino"):
        selection.select_backbones(store, ["resnet50.dine"], ["resnet50.dino"])


def test_what_was_before(store: Store) -> None:
    """The newest other weights under that name."""
    found = selection.select_previous(store, {"mine": [score("knn@photos", 3.0)]})
    assert [(s.setting, s.value) for s in found] == [("knn@photos", 1.0), ("knn@digits", 2.0)]
    assert selection.select_previous(store, {"other": []}) == []


def test_a_reference_is_a_file_of_scores(tmp_path: Path) -> None:
    """By name; a single backbone under another name is compared with whatever was measured now."""
    path = tmp_path / "scores.json"
    path.write_text("\ufeff" + json.dumps([score("knn@photos", 1.0).to_dict()]), encoding="utf-8")
    assert selection.load_comparison_scores(str(path), tmp_path, ["mine"])[0].value == 1.0
    [renamed] = selection.load_comparison_scores(str(path), tmp_path, ["next"])
    assert renamed.backbone == "next"
    two = [score("knn@photos", 1.0).to_dict(), score("knn@photos", 2.0, name="other").to_dict()]
    path.write_text(json.dumps(two))
    assert [s.backbone for s in selection.load_comparison_scores(str(path), tmp_path, ["other"])] == ["other"]
    with pytest.raises(UsageError, match="has no scores of next; it has mine, other"):
        selection.load_comparison_scores(str(path), tmp_path, ["next"])


@pytest.mark.parametrize("text", ["{", "[1]", '[{"setting": 1}]', "null"])
def test_a_file_that_holds_no_scores_is_named(tmp_path: Path, text: str) -> None:
    """One line."""
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"is not a file of scores .*; --bob-json=FILE writes one"):
        selection.load_comparison_scores(str(path), tmp_path, ["mine"])


def test_a_reference_may_be_saved_baselines(tmp_path: Path) -> None:
    """The bundled ones among them."""
    found = selection.load_comparison_scores("mini", tmp_path, ["efficientnet_lite0"])
    assert {s.backbone for s in found} == {"efficientnet_lite0"}
    with pytest.raises(UsageError, match="no baselines are called 'minni'; did you mean mini"):
        selection.load_comparison_scores("minni", tmp_path, ["mine"])


def test_a_name_with_limited_scores_alone_says_so(store: Store) -> None:
    """`bob list` shows them, so that it would not help to be sent there."""
    store.append([replace(score("knn@photos", 1.0, name="quick"), max_steps=2)])
    with pytest.raises(
        UsageError, match=r"all scores of 'quick' in .* were measured with --bob-limit or --bob-max-steps"
    ):
        selection.select_backbones(store, ["quick"])


def test_a_score_of_other_data_is_found() -> None:
    """The newest that differs in the data alone; not one of other weights, limit or protocol."""

    def of(data: str, day: int, **fields: object) -> Score:
        made = replace(score("knn@mine", 1.0), datasets={"train": data}, provenance={"started": f"2026-11-0{day}"})
        return replace(made, **fields)  # type: ignore[arg-type]

    now = [of("c", 9)]
    first, second = of("a", 1), of("b", 2)
    assert selection.find_score_on_other_data([second, first], now) == second
    assert selection.find_score_on_other_data([first, of("c", 3)], now) is None, "measured again on the same data"
    others = [of("a", 1, limit=8), of("a", 1, backbone_fingerprint="x"), of("a", 1, protocol_hash="p")]
    assert selection.find_score_on_other_data(others, now) is None
