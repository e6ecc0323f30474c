"""The options of a session, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bob_gauntlet.config import bob_folder
from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.report.writing import check
from bob_gauntlet.runtime.run_config import DeviceChoice, RunConfig
from bob_gauntlet.scores.setting_patterns import SettingChoice, find_task

_CHOICES = {
    "--scale": ("mini", "paper"),
    "--bob-fidelity": ("sound", "paper"),
    "--bob-device": ("auto", "cpu", "cuda"),
    "--bob-progress": ("auto", "on", "off"),
}


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """The options of a session that a user typed."""

    # --backbone as typed
    backbones: tuple[str, ...]
    # what is asked of every setting; its device is still the process's default
    run: RunConfig
    device: DeviceChoice = "auto"
    # --setting, --task and --dataset
    choice: SettingChoice = field(default_factory=SettingChoice)
    # what was typed to choose settings (-k, node ids, --setting): it may name settings that run on request only
    requested: str = ""
    # the .bob folder, and what lies in it unless an option says otherwise
    home: Path
    store: Path
    cache: Path
    # --bob-data; None for $BOB_DATA or .bob/data
    data: Path | None = None
    download: bool = False
    allow_partial: bool = False
    # a name, a folder, or "none"
    pool: str
    # the files to write at the end
    json: Path | None = None
    report: Path | None = None
    save: str | None = None
    progress: str = "auto"


def check_options(given: Mapping[str, Any], start: Path) -> SessionOptions:
    """Return the options of a session that starts in `start`, from option name -> value as pytest parsed it.

    Raises UsageError that names the option, its value and what it may be.
    """
    for name, choices in _CHOICES.items():
        if given[name] not in choices:
            raise UsageError(
                f"{name}={given[name]}: has to be {' or '.join(choices)}{nearest(str(given[name]), choices)}"
            )
    if given["--bob-save"] and (cut := [n for n in ("--bob-limit", "--bob-max-steps") if given[n] is not None]):
        raise UsageError(
            f"--bob-save cannot be combined with {' and '.join(cut)}: a shortened run is no baseline; leave one out"
        )
    home = bob_folder(start)
    return SessionOptions(
        backbones=tuple(given["--backbone"]),
        run=RunConfig(
            scale=given["--scale"],
            fidelity=given["--bob-fidelity"],
            limit=_count(given, "--bob-limit", 2),
            max_steps=_count(given, "--bob-max-steps", 1),
            seeds=tuple(range(_count(given, "--bob-seeds", 1) or 1)),
            rerun=given["--bob-rerun"],
        ),
        device=given["--bob-device"],
        choice=_choice(given),
        home=home,
        store=start / given["--bob-store"] if given["--bob-store"] else home / "store",
        cache=start / given["--bob-cache"] if given["--bob-cache"] else home / "artifacts",
        data=_folder(given, "--bob-data", start),
        download=given["--bob-download"],
        allow_partial=given["--bob-allow-partial"],
        pool=given["--bob-pool"] or given["--scale"],
        json=_file(given, "--bob-json", start),
        report=_report(given, start),
        save=given["--bob-save"],
        progress=given["--bob-progress"],
    )


def _choice(given: Mapping[str, Any]) -> SettingChoice:
    """Return what --setting, --task and --dataset choose."""
    tasks = tuple(find_task(text) for text in given["--task"])
    return SettingChoice(patterns=tuple(given["--setting"]), tasks=tasks, datasets=tuple(given["--dataset"]))


def _count(given: Mapping[str, Any], name: str, least: int) -> int | None:
    """Return a whole number of at least `least`, or None where the option was not given."""
    text = given[name]
    if text is None:
        return None
    if not str(text).isdecimal() or int(text) < least:
        raise UsageError(f"{name}={text}: has to be a whole number from {least}")
    return int(text)


def _report(given: Mapping[str, Any], start: Path) -> Path | None:
    """Return the file of --bob-report, whose ending has to be one that a report is written in."""
    path = _file(given, "--bob-report", start)
    if path is not None:
        check(path, "--bob-report")
    return path


def _folder(given: Mapping[str, Any], name: str, start: Path) -> Path | None:
    """Return a folder, which need not exist, or None where the option was not given."""
    if not given[name]:
        return None
    path = start / Path(given[name]).expanduser()
    if path.exists() and not path.is_dir():
        raise UsageError(f"{name}={given[name]}: is a file, and has to be a folder")
    return path


def _file(given: Mapping[str, Any], name: str, start: Path) -> Path | None:
    """Return a file in a folder that exists, or None where the option was not given."""
    if not given[name]:
        return None
    path = start / Path(given[name]).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{name}={given[name]}: {'is a folder' if path.is_dir() else 'its folder does not exist'}")
    return path
