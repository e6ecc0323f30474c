"""Selection of stored scores: for each backbone the newest scores of one set of weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bob_gauntlet.errors import UsageError
from bob_gauntlet.ranking import selection
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store


def score(setting: str, value: float, weights: str = "new", name: str = "mine") -> Score:
    """Return a score of a backbone with the fingerprint `weights`."""
    return Score(setting=setting, metric="top1", task="Cls", value=value, backbone=name, backbone_fingerprint=weights)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two checkpoints under one name; the older one has one more setting."""
    store = Store(tmp_path / "store")
    store.append([score("knn@photos", 1.0, "old"), score("knn@digits", 2.0, "old"), score("knn@photos", 3.0)])
    return store


def test_two_checkpoints_never_share_a_row(store: Store) -> None:
    """A score that only the old weights have is not selected."""
    scores_by_name, members = selection.select_backbones(store, ["mine"])
    assert [(s.setting, s.value) for s in scores_by_name["mine"]] == [("knn@photos", 3.0)]
    assert members == []


def test_a_limited_run_does_not_count(store: Store) -> None:
    """A newer score of the first eight examples is not selected."""
    store.append([replace(score("knn@photos", 99.0, "newest"), limit=8)])
    assert selection.select_backbones(store, ["mine"])[0]["mine"][0].value == 3.0


def test_a_member_of_the_pool_needs_no_stored_scores(store: Store) -> None:
    """A member is returned by name; for a name that is neither stored nor a member the error shows the nearest one."""
    assert selection.select_backbones(store, ["resnet50.dino"], ["resnet50.dino"]) == ({}, ["resnet50.dino"])
    with pytest.raises(UsageError, match=r"no scores of 'resnet50\.dine'.*did you mean resnet50.dino"):
        selection.select_backbones(store, ["resnet50.dine"], ["resnet50.dino"])


def test_previous_scores_are_those_of_other_weights(store: Store) -> None:
    """The newest scores of other weights under the same name are selected."""
    previous = selection.select_previous(store, {"mine": [score("knn@photos", 3.0)]})
    assert [(s.setting, s.value) for s in previous] == [("knn@photos", 1.0), ("knn@digits", 2.0)]
    assert selection.select_previous(store, {"other": []}) == []


def test_scores_to_compare_with_come_from_a_file(tmp_path: Path) -> None:
    """Scores are selected by name; a single backbone under another name is compared with the one measured now."""
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
    """The error names the file, and the option that writes such a file."""
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"is not a file of scores .*; --bob-json=FILE writes one"):
        selection.load_comparison_scores(str(path), tmp_path, ["mine"])


def test_scores_to_compare_with_come_from_baselines(tmp_path: Path) -> None:
    """Bundled baselines can be named, and a wrong name is an error that shows the nearest one."""
    scores = selection.load_comparison_scores("mini", tmp_path, ["efficientnet_lite0"])
    assert {s.backbone for s in scores} == {"efficientnet_lite0"}
    with pytest.raises(UsageError, match="no baselines are called 'minni'; did you mean mini"):
        selection.load_comparison_scores("minni", tmp_path, ["mine"])


def test_a_name_with_limited_scores_alone_is_explained(store: Store) -> None:
    """The error does not point to `bob list`, which shows these scores, too."""
    store.append([replace(score("knn@photos", 1.0, name="quick"), max_steps=2)])
    with pytest.raises(
        UsageError, match=r"all scores of 'quick' in .* were measured with --bob-limit or --bob-max-steps"
    ):
        selection.select_backbones(store, ["quick"])


def test_a_score_on_other_data_is_found() -> None:
    """The newest score that differs only in the data is found; scores of other weights, limit or protocol are not."""

    def dated_score(data: str, day: int, **fields: object) -> Score:
        dated = replace(score("knn@mine", 1.0), datasets={"train": data}, provenance={"started": f"2026-11-0{day}"})
        return replace(dated, **fields)  # type: ignore[arg-type]

    now = [dated_score("c", 9)]
    first, second = dated_score("a", 1), dated_score("b", 2)
    assert selection.find_score_on_other_data([second, first], now) == second
    same_data = dated_score("c", 3)
    assert selection.find_score_on_other_data([first, same_data], now) is None, "measured again on the same data"
    others = [
        dated_score("a", 1, limit=8),
        dated_score("a", 1, backbone_fingerprint="x"),
        dated_score("a", 1, protocol_hash="p"),
    ]
    assert selection.find_score_on_other_data(others, now) is None
