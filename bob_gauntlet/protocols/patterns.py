"""Setting ids with shell patterns (`retrieval@*`), as `bob_gauntlet.evaluate` takes them."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from bob_gauntlet.errors import UsageError
from bob_gauntlet.protocols.catalog import PROTOCOLS
from bob_gauntlet.protocols.recipe import Recipe
from bob_gauntlet.scores.setting_patterns import no_match
from bob_gauntlet.scores.settings import settings_of_protocol


def match_settings(patterns: Sequence[str], scale: str, user_datasets: Mapping[str, str]) -> list[tuple[Recipe, str]]:
    """Return recipe and dataset of every setting at a scale that matches one of the patterns, in the suites' order.

    `user_datasets` maps the names of the user's own datasets to their kinds. A setting that runs on request needs its
    protocol's name in a pattern. Raises UsageError for a pattern that matches nothing, with the nearest ids.

    >>> [f"{recipe.id}@{dataset}" for recipe, dataset in match_settings(["knn@*"], "mini", {})]
    ['knn@photos', 'knn@digits']
    """
    if not patterns:
        raise UsageError('settings is empty; name at least one, such as "knn@digits" or "retrieval@*"')
    settings = {
        f"{recipe.id}@{setting.dataset}": (recipe, setting.dataset)
        for recipe in PROTOCOLS.values()
        for setting in settings_of_protocol(recipe.id, scale, user_datasets, " ".join(patterns))
    }
    for pattern in patterns:
        if not any(fnmatchcase(setting, pattern) for setting in settings):
            raise UsageError(no_match(pattern, f"settings: {pattern!r}", "pass scale='{}'", scale, list(settings)))
    return [pair for setting, pair in settings.items() if any(fnmatchcase(setting, each) for each in patterns)]
