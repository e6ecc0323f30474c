"""Tests that the catalog describes every dataset, its licence and how to get it."""

from importlib import import_module

import pytest

from bob_gauntlet.datasets.catalog import CATALOG, describe, find_dataset
from bob_gauntlet.datasets.spec import DatasetSpec
from bob_gauntlet.errors import UsageError
from bob_gauntlet.scores.settings import SETTINGS


@pytest.mark.parametrize("spec", CATALOG.values(), ids=CATALOG.keys())
def test_every_row_has_its_provenance(spec: DatasetSpec) -> None:
    """Every row has a licence, a citation, a source and sizes; a mini dataset has a reader and names its packages."""
    assert all((spec.about, spec.size, spec.classes, spec.licence, spec.citation, spec.how_to_get, spec.source))
    assert CATALOG[spec.name] is spec
    if spec.scale == "mini":
        assert spec.loader.startswith("bob_gauntlet.datasets.")
        assert spec.packages or spec.name == "noise"


@pytest.mark.parametrize("spec", CATALOG.values(), ids=CATALOG.keys())
def test_every_reader_is_there(spec: DatasetSpec) -> None:
    """Every reader exists; a reader of files has a layout to show, and needs only datasets that can be read."""
    if spec.loader:
        module, function = spec.loader.split(":")
        assert callable(getattr(import_module(module), function))
        assert bool(spec.layout) == (spec.scale == "paper")
    assert all(CATALOG[name].loader for name in spec.needs)


def test_datasets_of_one_pool_of_images_share_a_source() -> None:
    """Datasets made from the same images are not independent and share a source: LVIS and COCO, the crops of photos."""
    assert CATALOG["lvis-v1"].source == CATALOG["coco-2017"].source
    assert len({CATALOG[name].source for name in ("photos", "photos-instances", "copydays-mini")}) == 1


def test_every_setting_names_a_dataset_of_the_catalog() -> None:
    """Every setting is on a dataset of the catalog."""
    assert {setting.dataset for setting in SETTINGS.values()} - set(CATALOG) == set()


@pytest.mark.parametrize(("typed", "meant"), [("photo", "photos"), ("cifar100", "cifar-100"), ("qqqq", "")])
def test_an_unknown_name_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    """An unknown name raises one line with the nearest name, or without one where none is near."""
    with pytest.raises(UsageError) as caught:
        find_dataset(typed)
    message = str(caught.value)
    assert message.startswith(f"unknown dataset {typed!r}")
    assert f"; did you mean {meant}" in message if meant else "did you mean" not in message
    assert len(message.splitlines()) == 1


def test_a_page_on_a_dataset() -> None:
    """A dataset's page has all that the catalog knows, one line per field."""
    page = describe(CATALOG["cifar-100"])
    for field in (
        "cifar-100",
        "not stated",
        "Krizhevsky",
        "`bob data cifar-100 --download`",
        "cifar-100-python/train",
        "50,000 train, 10,000 test",
    ):
        assert field in page
    assert page.splitlines()[-1].endswith("in this version")
    assert describe(CATALOG["objectnet"]).splitlines()[-1].endswith("not in this version yet")
