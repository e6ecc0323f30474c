"""The settings that a session's options choose: the tests that are made, and those that are left."""

from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.errors import UsageError
from bob_gauntlet.plugin.chosen_settings import ChosenSettings
from bob_gauntlet.plugin.options import OPTIONS
from bob_gauntlet.plugin.session_options import check_options
from bob_gauntlet.protocols.catalog import PROTOCOLS

USER_DATASET = '[datasets]\nmine = { kind = "folder", train = "pets", test = "pets" }\n'


def chosen(folder: Path, **given: Any) -> list[str]:
    """Return the settings that options choose in a folder: those for which a test is made and not deselected."""
    defaults = {option.shown: [] if option.repeatable else option.default for option in OPTIONS}
    options = check_options(defaults | {f"--{name}": value for name, value in given.items()}, folder)
    settings = ChosenSettings(options, folder)
    ids = [f"{recipe.id}@{dataset}" for recipe in PROTOCOLS.values() for dataset in settings.datasets_of(recipe)]
    return [setting for setting in ids if setting in settings]


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({"setting": ["knn@*"]}, ["knn@photos", "knn@digits"]),
        ({"setting": ["knn@photos", "*@copydays-mini"]}, ["knn@photos", "retrieval@copydays-mini"]),
        ({"task": ["OOD-det"]}, ["ood-detection-frozen@fonts-scenes", "ood-detection-finetune@fonts-scenes"]),
        ({"task": ["Det"], "setting": ["*frozen*"]}, ["detection-frozen@photo-scenes"]),
        ({"task": ["Cal"], "dataset": ["digits"]}, ["calibration-linear-probe@digits"]),
        ({"task": ["det"], "scale": "paper", "setting": ["*@lvis-v1"]}, ["detection-finetune@lvis-v1"]),
        # a user's own dataset is chosen where it is spelled out, and takes part in no pattern otherwise
        ({"setting": ["knn@mine"]}, ["knn@mine"]),
        ({"dataset": ["mine"], "setting": ["knn@*"]}, ["knn@mine"]),
        ({"setting": ["*@mine"], "task": ["Cal"]}, ["calibration-linear-probe@mine", "calibration-finetune@mine"]),
    ],
)
def test_options_combine(tmp_path: Path, given: dict[str, Any], settings: list[str]) -> None:
    """Patterns, tasks, datasets and scale choose together, also on datasets that bob.toml declares."""
    (tmp_path / "bob.toml").write_text(USER_DATASET)
    assert chosen(tmp_path, **given) == settings


def test_without_options_every_setting_of_the_scale_is_chosen(tmp_path: Path) -> None:
    """No option leaves all settings, without a user's own datasets."""
    (tmp_path / "bob.toml").write_text(USER_DATASET)
    assert len(chosen(tmp_path)) == 36
    assert not any("mine" in setting for setting in chosen(tmp_path))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"setting": ["knn@*"], "task": ["Det"]},
            r"--setting 'knn@\*' \(knn@photos, knn@digits\) and --task Det \(det",
        ),
        ({"setting": ["knn@*"], "dataset": ["noise"]}, r"and --dataset noise \(efficiency@noise\); leave one of"),
        ({"setting": ["knn@*"], "dataset": ["nothing"]}, r"and --dataset nothing \(none\); leave one of"),
        ({"setting": ["knn@mime"]}, r"--setting knn@mime matches no setting; did you mean knn@"),
        ({"setting": ["retrieval@cub-200"]}, r"matches nothing at mini scale; add --scale paper"),
        ({"task": ["Dett"]}, r"--task=Dett: has to be Cls or Det or Seg"),
    ],
)
def test_a_choice_of_nothing_is_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    """The message says what each option matches, or what is near."""
    (tmp_path / "bob.toml").write_text(USER_DATASET)
    with pytest.raises(UsageError, match=message):
        chosen(tmp_path, **given)
