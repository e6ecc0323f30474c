"""Choice of settings by patterns, tasks and datasets: what is chosen, and what is said where nothing is."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.errors import UsageError
from bob_gauntlet.scores.setting_patterns import SettingChoice, find_task, nearest_ids, options_for_keywords
from bob_gauntlet.scores.settings import SETTINGS, TASKS

MINI = [setting for setting in SETTINGS.values() if "mini" in setting.scales]
IDS = [setting.id for setting in MINI]


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    """Draw up to three of the values."""
    return st.lists(st.sampled_from(values), max_size=3)


@given(
    some(["knn@*", "*@photos", "detection-*", "*finetune*", "knn@digits"]), some(list(TASKS)), some(["photos", "noise"])
)
def test_values_of_one_option_add_up_and_options_combine(
    patterns: list[str], tasks: list[str], datasets: list[str]
) -> None:
    """A setting is chosen if each option that is given matches it with one of its values; the order stays."""
    choice = SettingChoice(patterns=tuple(patterns), tasks=tuple(tasks), datasets=tuple(datasets))
    expected = [
        s.id
        for s in MINI
        if (not patterns or any(fnmatchcase(s.id, pattern) for pattern in patterns))
        and (not tasks or {measure.task for measure in s.measures} & set(tasks))
        and (not datasets or s.dataset in datasets)
    ]
    if expected:
        assert [setting.id for setting in choice.choose(MINI, "mini")] == expected
        return
    with pytest.raises(UsageError, match="no setting at mini scale matches") as caught:
        choice.choose(MINI, "mini")
    for option, values in {"--setting": patterns, "--task": tasks, "--dataset": datasets}.items():
        assert str(caught.value).count(f"{option} ") == len(values)


def test_options_that_exclude_each_other_are_named_with_what_each_matches() -> None:
    """The message names both options, as one can type them, and the settings that each of them matches."""
    choice = SettingChoice(patterns=("linear-probe@*",), tasks=("Det",))
    with pytest.raises(UsageError) as caught:
        choice.choose(MINI, "mini")
    assert str(caught.value) == (
        "no setting at mini scale matches --setting 'linear-probe@*' (linear-probe@photos, linear-probe@digits, "
        "linear-probe@digit-scenes) and --task Det (detection-frozen@photo-scenes, detection-finetune@photo-scenes, "
        "detection-scratch@photo-scenes); leave one of these options out"
    )


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "linear-probe",
            "--setting linear-probe matches no setting; did you mean 'linear-probe@*' (linear-probe@photos",
        ),
        ("photo-scenes", "; did you mean '*@photo-scenes' (detection-frozen@photo-scenes, detection-finetune@"),
        ("knn@digitz", "; did you mean knn@digits, "),
        ("detection-frozn@*", "; did you mean detection-frozen@photo-scenes?"),
        ("*@photo-scene", "; did you mean detection-frozen@photo-scenes, "),
        ("Detection-Frozen@*", "; did you mean detection-frozen@photo-scenes?"),
        ("knn@coco-2017", "; did you mean knn@"),
        ("linear-probe@imagenet-1k", "matches nothing at mini scale; add --scale paper"),
        ("zzz", "; a setting is PROTOCOL@DATASET, such as"),
        ("", "--setting '' matches no setting; a setting is PROTOCOL@DATASET"),
        ("[", "; a setting is PROTOCOL@DATASET, such as"),
    ],
)
def test_a_pattern_that_matches_nothing_gets_the_nearest_ids(pattern: str, message: str) -> None:
    """One line names the nearest ids, the other scale, or the form of an id."""
    with pytest.raises(UsageError) as caught:
        SettingChoice(patterns=("knn@*", pattern)).choose(MINI, "mini")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(IDS), st.integers(0, 40), st.sampled_from("aeox"))
def test_an_id_with_one_wrong_letter_is_among_the_nearest(setting: str, place: int, letter: str) -> None:
    """Whichever letter is wrong, the id that was meant is proposed."""
    place %= len(setting)
    typed = setting[:place] + letter + setting[place + 1 :]
    if typed not in IDS and setting[place] != "@":
        assert setting in nearest_ids(typed, IDS)


@pytest.mark.parametrize("typed", ["Det", "det", "DET"])
def test_a_task_is_found_in_any_case(typed: str) -> None:
    """`--task det` is `--task Det`; another text gets all tasks and the nearest one."""
    assert find_task(typed) == "Det"
    with pytest.raises(UsageError, match=r"--task=Sseg: has to be Cls or Det or .*; did you mean Seg\?"):
        find_task("Sseg")


@pytest.mark.parametrize(
    ("keywords", "options"),
    [
        ("detection-frozen", "--setting 'detection-frozen@*'"),
        ("detection_frozen", "--setting 'detection-frozen@*'"),
        ("linear-probe and detection-frozen", "--setting 'linear-probe@*' --setting 'detection-frozen@*'"),
        ("(photo-scenes or knn@digits)", "--setting '*@photo-scenes' --setting knn@digits"),
        ("Cls", "--task Cls"),
        ("knn and not (photos or digits)", "--setting 'knn@*'"),
        ("not efficiency", ""),
        ("test_quick", ""),
        ("", ""),
    ],
)
def test_words_of_k_that_name_settings_become_options(keywords: str, options: str) -> None:
    """Settings, protocols, datasets and tasks are recognised; names of tests and what is negated are not."""
    assert options_for_keywords(keywords) == options
