"""Units of settings that share an expensive artefact, and the order in which they run.

A unit is one backbone's settings on its features of a dataset, or on its network fine-tuned on one. Serial runs do what
is cheap first, so that scores appear early; workers take the longest unit first, so that all of them end together.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.plugin.node_ids import parse_node_id
from bob_gauntlet.protocols.catalog import PROTOCOLS
from bob_gauntlet.protocols.recipe import find_trait

Expected = Callable[[str], float]
"""From a node id to the seconds that it is expected to take."""


@dataclass
class Unit:
    """Some items that one worker runs at a stretch, and the seconds that they are expected to take together."""

    items: list[str]
    seconds: float

    @property
    def backbone(self) -> str:
        """The backbone of all items; "" for a test that measures no setting."""
        return parse_node_id(self.items[0])[0]

    @property
    def exclusive(self) -> bool:
        """Whether no other setting may run meanwhile; such a unit comes last."""
        return bool(_trait(self.items[0], "exclusive", False))


def units_of(collection: Sequence[str]) -> list[list[str]]:
    """Group node ids into units, in order; a setting that reuses nothing, and any other test, is a unit of its own.

    The settings of a unit share a backbone, the dataset that heads are trained on (a shifted dataset belongs to the one
    without the shift), and the kind of artefact that their recipes reuse: features, or a fine-tuned network.

    >>> units_of(["t[x@knn@photos]", "t[x@finetune@photos]", "t[x@ood-finetune@photos-hard]"])
    [['t[x@knn@photos]'], ['t[x@finetune@photos]', 't[x@ood-finetune@photos-hard]']]
    """
    units: dict[tuple[str, ...], list[str]] = {}
    for node_id in collection:
        backbone, setting = parse_node_id(node_id)
        dataset = setting.partition("@")[2]
        reuses = str(_trait(node_id, "reuses", ""))
        spec = CATALOG.get(dataset)
        trained_on = spec.training_dataset if spec else dataset
        key: tuple[str, ...] = (backbone, trained_on, reuses) if reuses else (node_id,)
        units.setdefault(key, []).append(node_id)
    return list(units.values())


def timed_units(collection: Sequence[str], expected: Expected) -> list[Unit]:
    """Return the units with the seconds that they are expected to take, the longest first and exclusive ones last."""
    units = [Unit(items, sum(map(expected, items))) for items in units_of(collection)]
    return sorted(units, key=lambda unit: (unit.exclusive, -unit.seconds))


def cheap_first(collection: Sequence[str], expected: Expected) -> list[str]:
    """Return the node ids in the order of a serial run.

    Settings that share a trained network stay together, since the first of them pays for the training. Settings that
    share features do not: features are cheap beside an attack.
    """
    order = {node_id: place for place, node_id in enumerate(collection)}
    places = {node_id: (expected(node_id), place) for node_id, place in order.items()}
    for items in units_of(collection):
        if _trait(items[0], "reuses", "") == "network":
            places |= dict.fromkeys(items, (sum(map(expected, items)), order[items[0]]))
    return sorted(collection, key=lambda node_id: places[node_id])


def share_of(worker: int, free: Sequence[float], units: Sequence[Unit]) -> list[Unit]:
    """Return the units that one of several workers gets if each unit goes to the worker that is free first.

    `free` are the seconds after which each worker has finished what it has, and `units` are in the order in which they
    are handed out. Of workers that are free at the same time the first one gets the unit.

    >>> share_of(0, [10.0, 0.0], [Unit(["a"], 9.0), Unit(["b"], 8.0), Unit(["c"], 1.0)])
    [Unit(items=['c'], seconds=1.0)]
    """
    queue = [(seconds, index) for index, seconds in enumerate(free)]
    heapq.heapify(queue)
    share = []
    for unit in units:
        seconds, index = queue[0]
        heapq.heapreplace(queue, (seconds + unit.seconds, index))
        if index == worker:
            share.append(unit)
    return share


def _trait(node_id: str, name: str, default: object) -> object:
    """Return a trait of the recipe that a node id names; the default for a recipe that is not in the catalog."""
    protocol = parse_node_id(node_id)[1].partition("@")[0]
    return find_trait(PROTOCOLS[protocol], name, default) if protocol in PROTOCOLS else default
