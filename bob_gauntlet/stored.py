"""Picking scores out of the store by backbone."""

from collections.abc import Sequence

from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.scores import Score
from bob_gauntlet.store import Store


def of_backbones(
    store: Store, names: Sequence[str], members: Sequence[str] = ()
) -> tuple[dict[str, list[Score]], list[str]]:
    """Name -> its newest scores of the full data, and those names that are members of a pool and were never measured.

    UsageError for a name that is neither.
    """
    found: dict[str, dict[tuple[str, str], Score]] = {}
    for score in store:
        if score.limit is None:
            found.setdefault(score.backbone, {})[score.measure] = score
    for name in names:
        if name not in found and name not in members:
            close = nearest(name, [*found, *members]) or "; `bob list` shows them"
            raise UsageError(f"no scores of {name!r} in {store.folder}{close}")
    own = {name: list(found[name].values()) for name in names if name in found}
    return own, [name for name in names if name not in found]
