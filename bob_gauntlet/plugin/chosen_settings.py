"""The settings that a session's options choose, and what to type where nothing is left of them."""

import shlex
from pathlib import Path

import pytest

from bob_gauntlet.config import find_config
from bob_gauntlet.datasets.locations import DataLocations, find_locations
from bob_gauntlet.errors import named
from bob_gauntlet.plugin.options import read_options, usage_errors
from bob_gauntlet.plugin.session_options import SessionOptions
from bob_gauntlet.protocols.recipe import Recipe
from bob_gauntlet.scores.setting_patterns import options_for_keywords
from bob_gauntlet.scores.settings import SETTINGS, Setting, settings_of_protocol

_CHOSEN: "pytest.StashKey[ChosenSettings]" = pytest.StashKey()

_BY_ID = "to choose settings by their ids, type"


class ChosenSettings:
    """The settings at a session's scale that --setting, --task and --dataset choose.

    A user's own dataset is among the settings where --dataset or --setting spells its name out. Raises UsageError for
    a pattern that matches nothing, and for options that exclude each other.
    """

    def __init__(self, options: SessionOptions, start: Path) -> None:
        self.choice, self.scale, self.requested = options.choice, options.run.scale, options.requested
        # the user's own datasets have to be known only where an option may name one
        names_datasets = self.choice.datasets or self.choice.patterns
        locations = find_locations(find_config(start), start, options.data) if names_datasets else DataLocations(start)
        self.kinds = {
            name: dataset.kind for name, dataset in locations.user_datasets.items() if self.choice.names_dataset(name)
        }
        self.ids: frozenset[str] | None = None
        if self.choice.patterns or self.choice.tasks:
            protocols = dict.fromkeys(setting.protocol for setting in SETTINGS.values())
            settings = [setting for protocol in protocols for setting in self._settings_of(protocol)]
            self.ids = frozenset(setting.id for setting in self.choice.choose(settings, self.scale))

    def __contains__(self, setting: str) -> bool:
        """Tell whether --setting and --task let a setting run."""
        return self.ids is None or setting in self.ids

    def datasets_of(self, recipe: Recipe) -> list[str]:
        """Return the datasets of a recipe: those of the table of settings, or of --dataset where it is given."""
        chosen = self.choice.datasets
        return [s.dataset for s in self._settings_of(recipe.id) if not chosen or s.dataset in chosen]

    def _settings_of(self, protocol: str) -> list[Setting]:
        """Return the settings of a protocol; those that run on request are among them where the user named them."""
        return settings_of_protocol(protocol, self.scale, self.kinds, self.requested)


def chosen_settings(config: pytest.Config) -> ChosenSettings:
    """Return the settings that a session's options choose.

    Raises pytest.UsageError where --setting and --task choose none.
    """
    if _CHOSEN not in config.stash:
        with usage_errors():
            config.stash[_CHOSEN] = ChosenSettings(read_options(config), config.invocation_params.dir)
    return config.stash[_CHOSEN]


def check_choice(config: pytest.Config) -> ChosenSettings:
    """Return the chosen settings. Raises pytest.UsageError also where -k, which takes words of names, holds ids."""
    keywords = config.option.keyword
    if ("@" in keywords or "*" in keywords) and (options := options_for_keywords(keywords)):
        raise pytest.UsageError(f"-k {shlex.quote(keywords)}: -k takes words of test names; {_BY_ID} {options}")
    return chosen_settings(config)


def explain_empty_session(config: pytest.Config) -> None:
    """Raise pytest.UsageError where settings were collected, none is left to run, and an option says what was meant."""
    chosen, keywords = config.stash.get(_CHOSEN, None), config.option.keyword
    if chosen is None:
        return
    if options := options_for_keywords(keywords):
        raise pytest.UsageError(f"-k {shlex.quote(keywords)} leaves no test; {_BY_ID} {options}")
    if chosen.ids is not None and not keywords:
        raise pytest.UsageError(
            f"none of the collected tests measures {named(sorted(chosen.ids))}; run pytest on the folder that "
            "`bob suites` prints"
        )
