"""The table of settings: ids, measures, and their links to the paper's columns."""

import pytest

from bob_gauntlet.errors import UsageError
from bob_gauntlet.scores.score import METRICS
from bob_gauntlet.scores.settings import (
    IN_ALL,
    SETTINGS,
    TASKS,
    find_setting,
    ranked_measures,
    setting_on_user_dataset,
    settings_of_protocol,
)

SHIFTS = ("photos-sketch", "photos-rendition", "photos-recollected", "photos-hard", "fonts-digits")

# The number of result columns in Tables 8-19 (paper, appendix C), without the z of Table 19, which is derived.
PAPER_COLUMNS = {
    "table08": 8,
    "table09": 6,
    "table10": 3,
    "table11": 6,
    "table12": 6,
    "table13": 6,
    "table14": 5,
    "table15": 2,
    "table16": 8,
    "table17": 8,
    "table18": 8,
    "table19": 3,
}


def test_every_measure_is_known() -> None:
    """Every setting has measures, and their metrics and tasks are known."""
    for setting in SETTINGS.values():
        assert setting.measures
        for measure in setting.measures:
            assert measure.metric in METRICS
            assert measure.task in TASKS


def test_every_result_column_of_the_paper_has_one_measure() -> None:
    """Each printed column of the paper belongs to exactly one measure."""
    columns = [c for s in SETTINGS.values() for m in s.measures for c in m.paper]
    assert len(columns) == len(set(columns))
    count = {table: sum(c.startswith(table) for c in columns) for table in PAPER_COLUMNS}
    assert count == PAPER_COLUMNS


def test_what_runs_today() -> None:
    """A mini run without a choice measures these settings, and no planned one is among them."""
    protocols = dict.fromkeys(setting.protocol for setting in SETTINGS.values())
    settings = [setting for protocol in protocols for setting in settings_of_protocol(protocol, "mini")]
    assert not any(setting.planned for setting in settings)
    running = [setting.id for setting in settings]
    assert running == [
        "linear-probe@photos",
        "linear-probe@digits",
        "linear-probe@digit-scenes",
        "linear-probe-lars@photos",
        "finetune@photos",
        "finetune@digits",
        "finetune@digit-scenes",
        "low-shot-10pct@photos",
        "low-shot-10pct@digits",
        "low-shot-1pct@photos",
        "knn@photos",
        "knn@digits",
        "retrieval@photos-instances",
        "retrieval@copydays-mini",
        *(f"ood-{head}@{shift}" for head in ("linear-probe", "finetune") for shift in SHIFTS),
        *(f"adversarial-{head}-eps{e}@photos" for head in ("linear-probe", "finetune") for e in (1, 2)),
        "calibration-linear-probe@photos",
        "calibration-linear-probe@digits",
        "calibration-finetune@photos",
        "detection-frozen@photo-scenes",
        "detection-finetune@photo-scenes",
        "ood-detection-frozen@fonts-scenes",
        "ood-detection-finetune@fonts-scenes",
        "efficiency@noise",
    ]


def test_what_is_planned_at_paper_scale() -> None:
    """Retrieval is planned at paper scale, and every other protocol runs."""
    assert {s.protocol for s in SETTINGS.values() if s.planned} == {"retrieval"}


@pytest.mark.parametrize("mode", ["frozen", "finetune", "scratch"])
def test_a_users_boxes_join_detection_alone(mode: str) -> None:
    """A user's boxes are measured by detection alone, and are not ranked."""
    setting = settings_of_protocol(f"detection-{mode}", "mini", {"boxes": "coco"})[-1]
    assert (setting.id, setting.scales) == (f"detection-{mode}@boxes", ("mini", "paper"))
    assert [m.metric for m in setting.measures] == [
        "ap_box", "ap50_box", "ap75_box", "ap_mask", "ap50_mask", "ap75_mask",
    ]  # fmt: skip
    assert not any(m.ranked for m in setting.measures)
    assert setting_on_user_dataset(f"detection-{mode}", "boxes", "folder") is None
    assert setting_on_user_dataset("finetune", "boxes", "coco") is None
    assert setting_on_user_dataset(f"ood-detection-{mode}", "boxes", "coco") is None


def test_a_users_images_join_classification_alone() -> None:
    """A user's images are measured by classification alone, and are not ranked."""
    setting = settings_of_protocol("finetune", "paper", {"mine": "folder"})[-1]
    assert (setting.id, setting.scales) == ("finetune@mine", ("mini", "paper"))
    assert {m.metric for m in setting.measures} == {"top1", "top5", "mean_auc"}
    assert not any(m.ranked for m in setting.measures)
    assert setting_on_user_dataset("retrieval", "mine", "folder") is None
    assert setting_on_user_dataset("ood-finetune", "mine", "folder") is None
    assert {m.task for m in setting_on_user_dataset("calibration-finetune", "mine", "folder").measures} == {"Cal"}  # type: ignore[union-attr]
    assert {m.task for m in setting_on_user_dataset("adversarial-linear-probe-eps2", "mine", "folder").measures} == {
        "Adv"
    }  # type: ignore[union-attr]


def test_the_papers_six_tasks_are_ranked_at_paper_scale() -> None:
    """All six tasks have ranked measures, and top-5, LVIS, MRR and R@k have none."""
    ranked = ranked_measures("paper")
    assert {find_setting(s).measure(m).task for s, m in ranked} >= set(IN_ALL)
    assert not {m for _, m in ranked} & {"top5", "mrr", "recall5"}
    assert not any("lvis" in s for s, _ in ranked)


def test_an_unknown_setting_names_its_neighbours() -> None:
    """An unknown setting is answered with the nearest name, and an unknown metric with the known ones."""
    with pytest.raises(UsageError, match="did you mean linear-probe@photos"):
        find_setting("linear-prob@photos")
    with pytest.raises(UsageError, match="it has top1, top5"):
        find_setting("knn@photos").measure("top3")


def test_settings_of_a_protocol_follow_the_scale() -> None:
    """Retrieval has its mini datasets at mini scale and those of the paper at paper scale."""
    assert [s.dataset for s in settings_of_protocol("retrieval", "mini")] == ["photos-instances", "copydays-mini"]
    assert len(settings_of_protocol("retrieval", "paper")) == 8
