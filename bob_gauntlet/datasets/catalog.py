"""Every dataset of the gauntlet: what it is, its licence, its source and how to get it. Nothing is loaded here."""

from collections.abc import Mapping

from bob_gauntlet.datasets.mini_catalog import MINI
from bob_gauntlet.datasets.paper_catalog import PAPER
from bob_gauntlet.datasets.spec import DatasetSpec
from bob_gauntlet.errors import UsageError, nearest

CATALOG: Mapping[str, DatasetSpec] = {spec.name: spec for spec in (*MINI, *PAPER)}
"""Dataset name -> what it is."""


def find_dataset(name: str) -> DatasetSpec:
    """The dataset of that name; UsageError with the nearest names where there is none."""
    if name not in CATALOG:
        raise UsageError(f"unknown dataset {name!r}{nearest(name, CATALOG)}")
    return CATALOG[name]


def describe(spec: DatasetSpec) -> str:
    """What is known of a dataset, a line each, as `bob data NAME` prints it."""
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
