"""Choice of settings by id pattern, task and dataset, and messages for a choice that matches nothing."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bob_gauntlet.errors import UsageError, named, nearest
from bob_gauntlet.scores.settings import SETTINGS, TASKS, Setting


@dataclass(frozen=True, kw_only=True)
class SettingChoice:
    """The options that choose among settings: those of one kind add up, and a setting has to satisfy every kind.

    >>> choice = SettingChoice(patterns=("*detection*",), tasks=("Seg",))
    >>> [setting.id for setting in choice.choose([SETTINGS["knn@photos"], SETTINGS["detection-frozen@photo-scenes"]], "mini")]
    ['detection-frozen@photo-scenes']
    """  # noqa: E501

    # --setting: patterns of ids
    patterns: tuple[str, ...] = ()
    # --task: keys of TASKS
    tasks: tuple[str, ...] = ()
    # --dataset
    datasets: tuple[str, ...] = ()

    def names_dataset(self, name: str) -> bool:
        """Tell whether --dataset or a pattern spells out a dataset, without a wildcard."""
        return name in self.datasets or any(pattern.rpartition("@")[2] == name for pattern in self.patterns)

    def choose(self, settings: Sequence[Setting], scale: str) -> list[Setting]:
        """Return the chosen of the settings that exist at a scale.

        Raises UsageError for a pattern that matches none of them, with the nearest ids, and for options that exclude
        each other, with the settings that each of them matches.
        """
        for pattern in self.patterns:
            if not any(fnmatchcase(setting.id, pattern) for setting in settings):
                typed = f"--setting {shlex.quote(pattern)}"
                raise UsageError(no_match(pattern, typed, "add --scale {}", scale, [s.id for s in settings]))
        matches = {
            _typed("--setting", self.patterns): [
                s for s in settings if any(fnmatchcase(s.id, p) for p in self.patterns)
            ],
            _typed("--task", self.tasks): [s for s in settings if any(m.task in self.tasks for m in s.measures)],
            _typed("--dataset", self.datasets): [s for s in settings if s.dataset in self.datasets],
        }
        by_option = {option: matched for option, matched in matches.items() if option}
        chosen = [setting for setting in settings if all(setting in matched for matched in by_option.values())]
        if not chosen:
            texts = [f"{option} ({named([s.id for s in matched]) or 'none'})" for option, matched in by_option.items()]
            raise UsageError(
                f"no setting at {scale} scale matches {' and '.join(texts)}; leave one of these options out"
            )
        return chosen


def find_task(text: str) -> str:
    """Return the task that a text names in any case. Raises UsageError where there is none.

    >>> find_task("ood-det")
    'OOD-Det'
    """
    by_lower_case = {task.lower(): task for task in TASKS}
    if text.lower() not in by_lower_case:
        raise UsageError(f"--task={text}: has to be {' or '.join(TASKS)}{nearest(text, TASKS)}")
    return by_lower_case[text.lower()]


def no_match(pattern: str, typed: str, other_scale: str, scale: str, known: Sequence[str]) -> str:
    """Return the message for a pattern that matches none of the `known` ids at a scale.

    `typed` is the pattern as the user gave it, and `other_scale` tells how to choose the scale in its place for {}.
    """
    matching = [setting for setting in SETTINGS.values() if fnmatchcase(setting.id, pattern)]
    if on_request := [setting.id for setting in matching if scale in setting.on_request]:
        return f"{typed} matches only what runs on request at {scale} scale; name it: {on_request[0]!r}"
    if others := sorted({s for setting in matching for s in setting.scales} - {scale}):
        return f"{typed} matches nothing at {scale} scale; {other_scale.format(others[0])}"
    hint = nearest_ids(pattern, known) or '; a setting is PROTOCOL@DATASET, such as "knn@digits" or "retrieval@*"'
    return f"{typed} matches no setting{hint}"


def nearest_ids(pattern: str, known: Sequence[str]) -> str:
    """Return the known ids closest to a pattern, as the end of an error message; "" where none is close.

    >>> ids = ["knn@photos", "knn@digits", "detection-frozen@photo-scenes"]
    >>> nearest_ids("knn", ids)
    "; did you mean 'knn@*' (knn@photos, knn@digits)?"
    >>> nearest_ids("*@photo-scene", ids), nearest_ids("detection-frozn@*", ids)
    ('; did you mean detection-frozen@photo-scenes?', '; did you mean detection-frozen@photo-scenes?')
    """
    for whole in (f"{pattern}@*", f"*@{pattern}"):
        if matched := [each for each in known if fnmatchcase(each, whole)]:
            return f"; did you mean {whole!r} ({named(matched)})?"
    if "*" not in pattern and (hint := nearest(pattern, known)):
        return hint
    # half by half, since a wildcard for one half hides how close the other one is
    protocol, at, dataset = pattern.partition("@")
    near_protocols = _close(protocol, [each.partition("@")[0] for each in known])
    near_datasets = _close(dataset if at else pattern, [each.partition("@")[2] for each in known])
    near = [
        each for each in known if each.partition("@")[0] in near_protocols or each.partition("@")[2] in near_datasets
    ]
    return f"; did you mean {named(near)}?" if near else ""


def options_for_keywords(expression: str) -> str:
    """Return the options that choose what an expression of pytest's -k names; "" where it names no setting.

    >>> options_for_keywords("detection-frozen"), options_for_keywords("knn@digits or linear_probe")
    ("--setting 'detection-frozen@*'", "--setting knn@digits --setting 'linear-probe@*'")
    >>> options_for_keywords("photo-scenes and not knn"), options_for_keywords("seg"), options_for_keywords("my_test")
    ("--setting '*@photo-scenes'", '--task Seg', '')
    """
    without_negations = re.sub(r"\bnot\s*(\([^)]*\)|[^\s()]+)", " ", expression)
    words = [word for word in re.split(r"[\s()]+", without_negations) if word not in ("", "and", "or")]
    return " ".join(option for word in words if (option := _option_for_word(word.replace("_", "-"))))


def _option_for_word(word: str) -> str:
    """Return the option that chooses what a word names: a setting, a protocol, a dataset or a task; "" for none."""
    for pattern in (word, f"{word}@*", f"*@{word}"):
        if any(fnmatchcase(setting, pattern) for setting in SETTINGS):
            return f"--setting {shlex.quote(pattern)}"
    tasks = [task for task in TASKS if task.lower() == word.lower()]
    return f"--task {tasks[0]}" if tasks else ""


def _typed(option: str, values: Iterable[str]) -> str:
    """Return an option with its values as the user typed them; "" where there are none."""
    return " ".join(f"{option} {shlex.quote(value)}" for value in values)


def _close(text: str, known: Iterable[str]) -> list[str]:
    """Return the known name closest to a text without its outer wildcards; none where only wildcards are left."""
    from difflib import get_close_matches

    return get_close_matches(text.strip("*"), list(dict.fromkeys(known)), n=1, cutoff=0.6)
