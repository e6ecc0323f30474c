"""Collected items that measure settings: what an item measures, and the order of a serial run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bob_gauntlet.plugin.timetable import Timetable

TIMETABLE: "pytest.StashKey[Timetable]" = pytest.StashKey()
"""The key of the session's timetable in `config.stash`; it is absent in workers."""


def case_of(item: pytest.Item) -> dict[str, Any]:
    """Return the parameters of an item: `gauntlet` (a BackboneSpec), `recipe` and `dataset`."""
    params: dict[str, Any] = item.callspec.params  # type: ignore[attr-defined]
    return params


def setting_of(item: pytest.Item) -> str:
    """Return the setting that an item measures."""
    return f"{case_of(item)['recipe'].id}@{case_of(item)['dataset']}"


def in_order(
    items: Sequence[pytest.Item], backbones: Sequence[str], timetable: "Timetable | None"
) -> list[pytest.Item]:
    """Return the items backbone by backbone; of each the cheap ones first, and last those that have to run alone.

    A worker has no timetable: its items keep their order, and the scheduler tells it what to run.
    """
    from bob_gauntlet.protocols.recipe import find_trait

    ranks: dict[str, int] = {}
    if timetable is not None:
        timetable.know(case_of(item)["recipe"] for item in items)
        ranks = timetable.rank_cheap_first([item.nodeid for item in items])

    def order(item: pytest.Item) -> tuple[int, bool, int]:
        backbone = getattr(case_of(item)["gauntlet"], "name", "")
        place = backbones.index(backbone) if backbone in backbones else 0
        return place, bool(find_trait(case_of(item)["recipe"], "exclusive", False)), ranks.get(item.nodeid, 0)

    return sorted(items, key=order)
