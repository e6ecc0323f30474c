"""The catalog: content, licence, source and location of every dataset, without loading any of them."""

from collections.abc import Mapping

from bob_gauntlet.datasets.mini_catalog import MINI
from bob_gauntlet.datasets.paper_catalog import PAPER
from bob_gauntlet.datasets.spec import DatasetSpec
from bob_gauntlet.errors import UsageError, nearest

CATALOG: Mapping[str, DatasetSpec] = {spec.name: spec for spec in (*MINI, *PAPER)}
"""Dataset name -> description of the dataset."""


def find_dataset(name: str) -> DatasetSpec:
    """Return the description of the dataset `name`; an unknown name raises UsageError with the nearest names."""
    if name not in CATALOG:
        raise UsageError(f"unknown dataset {name!r}{nearest(name, CATALOG)}")
    return CATALOG[name]


def describe(spec: DatasetSpec) -> str:
    """Return what is known of a dataset as `bob data NAME` prints it, one line per field."""
    rows = {
        "dataset": spec.name,
        "about": spec.about,
        "scale": spec.scale,
        "images": spec.size,
        "classes": spec.classes,
        "licence": spec.licence,
        "citation": spec.citation,
        "how to get it": spec.how_to_get,
        "layout": spec.layout.replace("\n", f"\n{'':15}"),
        "reader": "in this version" if spec.loader else "not in this version yet",
    }
    return "\n".join(f"{field:14} {value}" for field, value in rows.items() if value)
