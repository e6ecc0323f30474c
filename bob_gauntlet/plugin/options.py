"""The options of `pytest suites/`: one table that the parser, the README's table and the session agree on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.config import bob_folder
from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.report.writing import check


@dataclass(frozen=True)
class Option:
    """One command-line option: its name, what follows it, and its help."""

    name: str
    about: str
    metavar: str | None = None
    default: Any = None
    kind: type = str
    repeatable: bool = False

    @property
    def dest(self) -> str:
        """The attribute under which pytest keeps its value."""
        return "bob_" + self.name.removeprefix("--").removeprefix("bob-").replace("-", "_")


OPTIONS = (
    Option("--backbone", "the backbone to judge; may be repeated", "SPEC", repeatable=True),
    Option("--scale", "mini: minutes on a laptop; paper: the paper's datasets and schedules", "mini|paper", "mini"),
    Option("--bob-store", "where scores are kept (default: .bob/store, looked up from here upwards)", "DIR"),
    Option("--bob-cache", "where features, heads and per-example values are kept (default: .bob/artifacts)", "DIR"),
    Option("--bob-data", "where datasets are looked for, a folder each (default: $BOB_DATA, else .bob/data)", "DIR"),
    Option("--bob-download", "fetch where anybody may: cifar-100, flowers-102, fgvc-aircraft, eurosat", kind=bool),
    Option("--dataset", "only this dataset; of one of your own, every classification setting", "NAME", repeatable=True),
    Option("--bob-rerun", "measure again what is already stored", kind=bool),
    Option("--bob-limit", "only the first N examples of every split; such scores are never ranked", "N", kind=int),
    Option("--bob-max-steps", "cut every training to N optimiser steps; never ranked either", "N", kind=int),
    Option("--bob-fidelity", "paper: the original's splits and selection where ours differ", "sound|paper", "sound"),
    Option("--bob-seeds", "repeat what has a seed N times: mean and spread", "N", 1, int),
    Option("--bob-device", "auto: a GPU where there is one, else the CPU", "auto|cpu|cuda", "auto"),
    Option("--bob-pool", "the pool to rank against: a name, a folder, or none; default: as --scale", "NAME"),
    Option("--bob-json", "write every score of the session to FILE as a JSON list", "FILE"),
    Option("--bob-report", "write a report to FILE: .html to look at, .md for a pull request, .csv or .json", "FILE"),
    Option("--bob-save", "keep the session's scores as baselines NAME, to rank against later", "NAME"),
    Option("--bob-allow-partial", "take a checkpoint that fills less than the whole backbone", kind=bool),
    Option("--bob-progress", "auto: show progress on a terminal only", "auto|on|off", "auto"),
)

_CHOICES = {
    "--scale": ("mini", "paper"),
    "--bob-fidelity": ("sound", "paper"),
    "--bob-device": ("auto", "cpu", "cuda"),
    "--bob-progress": ("auto", "on", "off"),
}


def add_options(parser: pytest.Parser) -> None:
    """Declare every option in a group of its own."""
    group = parser.getgroup("bob", "bob-gauntlet: judge a pretrained vision backbone")
    for option in OPTIONS:
        if option.kind is bool:
            group.addoption(option.name, dest=option.dest, action="store_true", default=False, help=option.about)
        elif option.repeatable:
            group.addoption(
                option.name, dest=option.dest, action="append", default=[], metavar=option.metavar, help=option.about
            )
        else:
            group.addoption(
                option.name, dest=option.dest, default=option.default, metavar=option.metavar, help=option.about
            )


@dataclass(frozen=True)
class Options:
    """The values of a session, checked."""

    backbones: tuple[str, ...]
    scale: str
    store: Path
    cache: Path
    rerun: bool
    limit: int | None
    seeds: int
    device: str
    pool: str
    json: Path | None
    report: Path | None
    save: str | None
    allow_partial: bool
    progress: str
    # where the .bob folder is or will be
    home: Path
    # of --bob-data, where it was given
    data: Path | None = None
    download: bool = False
    datasets: tuple[str, ...] = ()
    max_steps: int | None = None
    fidelity: str = "sound"


def read_options(config: pytest.Config) -> Options:
    """The session's options. UsageError names the option, its value and what it may be."""
    given = {option.name: config.getoption(option.dest) for option in OPTIONS}
    for name, choices in _CHOICES.items():
        if given[name] not in choices:
            raise UsageError(
                f"{name}={given[name]}: has to be {' or '.join(choices)}{nearest(str(given[name]), choices)}"
            )
    if given["--bob-save"] and (cut := [n for n in ("--bob-limit", "--bob-max-steps") if given[n] is not None]):
        raise UsageError(f"--bob-save: scores of {' and '.join(cut)} are no baselines; take one or the other out")
    start = config.invocation_params.dir
    home = bob_folder(start)
    return Options(
        backbones=tuple(given["--backbone"]),
        scale=given["--scale"],
        store=start / given["--bob-store"] if given["--bob-store"] else home / "store",
        cache=start / given["--bob-cache"] if given["--bob-cache"] else home / "artifacts",
        data=_folder(given, "--bob-data", start),
        download=given["--bob-download"],
        datasets=tuple(given["--dataset"]),
        max_steps=_count(given, "--bob-max-steps", 1),
        fidelity=given["--bob-fidelity"],
        rerun=given["--bob-rerun"],
        limit=_count(given, "--bob-limit", 2),
        seeds=_count(given, "--bob-seeds", 1) or 1,
        device=given["--bob-device"],
        pool=given["--bob-pool"] or given["--scale"],
        json=_file(given, "--bob-json", start),
        report=_report(given, start),
        save=given["--bob-save"],
        allow_partial=given["--bob-allow-partial"],
        progress=given["--bob-progress"],
        home=home,
    )


def _count(given: Mapping[str, Any], name: str, least: int) -> int | None:
    text = given[name]
    if text is None:
        return None
    if not str(text).isdecimal() or int(text) < least:
        raise UsageError(f"{name}={text}: has to be a whole number from {least}")
    return int(text)


def _report(given: Mapping[str, Any], start: Path) -> Path | None:
    path = _file(given, "--bob-report", start)
    if path is not None:
        check(path, "--bob-report")
    return path


def _folder(given: Mapping[str, Any], name: str, start: Path) -> Path | None:
    if not given[name]:
        return None
    path = start / Path(given[name]).expanduser()
    if path.exists() and not path.is_dir():
        raise UsageError(f"{name}={given[name]}: is a file, and has to be a folder")
    return path


def _file(given: Mapping[str, Any], name: str, start: Path) -> Path | None:
    if not given[name]:
        return None
    path = start / Path(given[name]).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{name}={given[name]}: {'is a folder' if path.is_dir() else 'its folder does not exist'}")
    return path
