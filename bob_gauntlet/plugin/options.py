"""The options of `pytest suites/`: one table that the parser, the README and the session agree on.

pytest loads this module in every session of the environment, so it imports nothing that takes time.
"""

from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from bob_gauntlet.errors import BobError

if TYPE_CHECKING:
    from bob_gauntlet.plugin.session_options import SessionOptions


_CHECKED: "pytest.StashKey[SessionOptions]" = pytest.StashKey()


@dataclass(frozen=True)
class Option:
    """One command-line option: its name, its value's name in the help, its default and its help text."""

    name: str
    about: str
    metavar: str | None = None
    default: Any = None
    kind: type = str
    repeatable: bool = False
    # the name that `suites/conftest.py` declares beside it
    short: str | None = None

    @property
    def dest(self) -> str:
        """The attribute under which pytest keeps its value."""
        return self.name.removeprefix("--").replace("-", "_")

    @property
    def shown(self) -> str:
        """The name in messages and in the README: the short one where there is one."""
        return self.short or self.name

    def declare(self, group: pytest.OptionGroup, name: str) -> None:
        """Declare the option in a group under `name`, its own or its short one; the values meet in `dest`."""
        if self.kind is bool:
            group.addoption(name, dest=self.dest, action="store_true", default=False, help=self.about)
        elif self.repeatable:
            group.addoption(name, dest=self.dest, action="append", default=[], metavar=self.metavar, help=self.about)
        else:
            group.addoption(name, dest=self.dest, default=self.default, metavar=self.metavar, help=self.about)


OPTIONS = (
    Option("--bob-backbone", "the backbone to measure; repeatable", "SPEC", repeatable=True, short="--backbone"),
    Option(
        "--bob-scale", "mini: minutes on a laptop; paper: the paper's datasets and schedules", "mini|paper", "mini",
        short="--scale",
    ),
    Option(
        "--bob-dataset", "run on this dataset only; a dataset of your own runs every protocol that fits it", "NAME",
        repeatable=True, short="--dataset",
    ),
    Option(
        "--bob-setting", "run the settings whose id matches only, such as 'linear-probe@*'", "GLOB", repeatable=True,
        short="--setting",
    ),
    Option(
        "--bob-task", "run the settings of this task only: a column of the ranking, such as Det", "TASK",
        repeatable=True, short="--task",
    ),
    Option("--bob-store", "folder of the scores (default: the nearest .bob/store from here upwards)", "DIR"),
    Option("--bob-cache", "folder of features, trained heads and per-example values (default: .bob/artifacts)", "DIR"),
    Option("--bob-data", "folder of the datasets, a folder each (default: $BOB_DATA, else .bob/data)", "DIR"),
    Option(
        "--bob-download", "download freely available datasets: cifar-100, flowers-102, fgvc-aircraft, eurosat",
        kind=bool,
    ),
    Option("--bob-rerun", "measure again what is already stored, and hash all files of the datasets again", kind=bool),
    Option("--bob-limit", "use the first N examples of every split; such scores are never ranked", "N", kind=int),
    Option("--bob-max-steps", "cut every training to N optimiser steps; such scores are never ranked", "N", kind=int),
    Option(
        "--bob-fidelity", "paper: use the original's splits and selection where ours differ", "sound|paper", "sound"
    ),
    Option("--bob-seeds", "repeat every seeded protocol with N seeds; mean and spread are reported", "N", 1, int),
    Option("--bob-device", "auto: a GPU where there is one, else the CPU", "auto|cpu|cuda", "auto"),
    Option("--bob-pool", "the pool to rank against: a name, a folder, or none (default: as --scale)", "NAME"),
    Option("--bob-json", "write every score of the session to FILE as a JSON list", "FILE"),
    Option("--bob-report", "write a report to FILE: .html for a browser, .md for pull requests, .csv or .json", "FILE"),
    Option("--bob-save", "save the session's scores as baselines NAME, to rank against later", "NAME"),
    Option(
        "--bob-allow-partial", "accept a checkpoint that fills only part of the backbone; such scores are never ranked",
        kind=bool,
    ),
    Option("--bob-progress", "auto: show progress on a terminal only", "auto|on|off", "auto"),
)  # fmt: skip


def add_options(parser: pytest.Parser) -> None:
    """Declare every option under its own name, which begins with `--bob-`."""
    group = parser.getgroup("bob", "bob-gauntlet: measure a pretrained vision backbone")
    for option in OPTIONS:
        option.declare(group, option.name)


def add_short_names(parser: pytest.Parser) -> None:
    """Declare the short names beside those that begin with `--bob-`: `--backbone` beside `--bob-backbone`.

    Raises pytest.UsageError where another plugin or conftest.py has declared one of them.
    """
    group = parser.getgroup("bob")
    for option in OPTIONS:
        if option.short:
            try:
                option.declare(group, option.short)
            except (ArgumentError, ValueError):
                raise pytest.UsageError(
                    f"{option.short} of bob-gauntlet's suites is also declared by another plugin or conftest.py; "
                    "start pytest in a folder without that conftest.py, or switch the plugin off with -p no:NAME"
                ) from None


def given_options(config: pytest.Config) -> Mapping[str, Any]:
    """Return shown name -> value of every option of a pytest session."""
    return {option.shown: config.getoption(option.dest) for option in OPTIONS}


def read_options(config: pytest.Config) -> "SessionOptions":
    """Return the options of a session; they are checked at the first call.

    Raises pytest.UsageError that names a bad option and what it may be.
    """
    if _CHECKED not in config.stash:
        from bob_gauntlet.plugin.session_options import check_options

        with usage_errors():
            options = check_options(given_options(config), config.invocation_params.dir)
        node_ids = [name for _, _, name in (argument.partition("::") for argument in config.args)]
        requested = " ".join([config.option.keyword, *node_ids, *options.choice.patterns])
        config.stash[_CHECKED] = replace(options, requested=requested)
    return config.stash[_CHECKED]


@contextmanager
def usage_errors() -> Iterator[None]:
    """Raise an error that a user can mend as pytest.UsageError: one line and exit code 4."""
    try:
        yield
    except BobError as error:
        raise pytest.UsageError(str(error)) from None
