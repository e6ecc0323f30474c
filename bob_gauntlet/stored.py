"""Picking scores out of the store by backbone."""

from collections.abc import Sequence

from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.scores import Score
from bob_gauntlet.store import Store


def of_backbones(store: Store, names: Sequence[str]) -> dict[str, list[Score]]:
    """Name -> its newest scores of the full data. UsageError for a name that was never measured."""
    found: dict[str, dict[tuple[str, str], Score]] = {}
    for score in store:
        if score.limit is None:
            found.setdefault(score.backbone, {})[score.measure] = score
    for name in names:
        if name not in found:
            raise UsageError(
                f"no scores of {name!r} in {store.folder}{nearest(name, found) or '; `bob list` shows them'}"
            )
    return {name: list(found[name].values()) for name in names}
