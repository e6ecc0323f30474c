"""Setting ids with shell patterns (`retrieval@*`), as `bob_gauntlet.evaluate` takes them."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.protocols.catalog import PROTOCOLS
from bob_gauntlet.protocols.recipe import Recipe
from bob_gauntlet.scores.settings import SETTINGS, settings_of_protocol


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
            raise UsageError(_no_match(pattern, scale, list(settings)))
    return [pair for setting, pair in settings.items() if any(fnmatchcase(setting, each) for each in patterns)]


def _no_match(pattern: str, scale: str, known: Sequence[str]) -> str:
    """Return the message for a pattern without a setting at a scale."""
    matching = [setting for setting in SETTINGS.values() if fnmatchcase(setting.id, pattern)]
    if on_request := [setting.id for setting in matching if scale in setting.on_request]:
        return f"settings: {pattern!r} matches only what runs on request at {scale} scale; name it: {on_request[0]!r}"
    if others := sorted({each for setting in matching for each in setting.scales}):
        return f"settings: {pattern!r} matches nothing at {scale} scale; pass scale={others[0]!r}"
    hint = nearest(pattern, known) or '; a setting is PROTOCOL@DATASET, such as "knn@digits" or "retrieval@*"'
    return f"settings: {pattern!r} matches no setting{hint}"
