"""Tests of where datasets are looked for, and of what a user may declare."""

from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.config import UserConfig, find_config
from bob_gauntlet.datasets.locations import DataLocations, default_locations, find_locations
from bob_gauntlet.errors import UsageError

FOLDER = {"kind": "folder", "train": "a", "test": "b"}
COCO = {"kind": "coco", "train": "a/train.json", "test": "b/test.json"}


@pytest.fixture(autouse=True)
def _no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOB_DATA", raising=False)


def locations(tmp_path: Path, root: Path | None = None, **datasets: Any) -> DataLocations:
    """Return the locations of a session in tmp_path/below under a bob.toml in tmp_path that declares `datasets`."""
    (tmp_path / "below").mkdir(exist_ok=True)
    return find_locations(UserConfig(tmp_path, str(tmp_path / "bob.toml"), {}, datasets), tmp_path / "below", root)


def test_a_declared_path_comes_first_then_the_option_then_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A declared path comes first, then --bob-data, then $BOB_DATA, then the nearest .bob/data.

    Relative declared paths are relative to the declaring file, the others to the calling folder.
    """
    (tmp_path / ".bob").mkdir()
    assert locations(tmp_path).folder_of("eurosat") == tmp_path / ".bob/data/eurosat"
    monkeypatch.setenv("BOB_DATA", "variable")
    assert locations(tmp_path).folder_of("eurosat") == tmp_path / "below/variable/eurosat"
    assert locations(tmp_path, Path("option")).folder_of("eurosat") == tmp_path / "below/option/eurosat"
    assert locations(tmp_path, Path("/option")).folder_of("eurosat") == Path("/option/eurosat")
    declared = locations(tmp_path, Path("option"), eurosat="my/eurosat", chexpert="/x")
    assert declared.folder_of("eurosat") == tmp_path / "my/eurosat"
    assert declared.folder_of("chexpert") == Path("/x")
    assert declared.folder_of("visda-2017") == tmp_path / "below/option/visda-2017"


def test_a_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde is the home folder in a declared path, in the variable and in a table."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("BOB_DATA", "~/data")
    declared = locations(tmp_path, eurosat="~/e", mine=FOLDER | {"train": "~/t"})
    assert declared.folder_of("chexpert") == tmp_path / "me/data/chexpert"
    assert declared.folder_of("eurosat") == tmp_path / "me/e"
    assert declared.roots("mine") == {"train": tmp_path / "me/t", "test": tmp_path / "b"}


def test_the_roots_of_a_dataset(tmp_path: Path) -> None:
    """The roots are the folders of the dataset and of those that it needs; a dataset made by packages has none."""
    below_d = locations(tmp_path, Path("/d"))
    assert below_d.roots("imagenet-r") == {"imagenet-r": Path("/d/imagenet-r"), "imagenet-1k": Path("/d/imagenet-1k")}
    assert below_d.roots("eurosat") == {"eurosat": Path("/d/eurosat")}
    assert below_d.roots("photos") == {}
    assert below_d.roots("lvis-v1") == {"lvis-v1": Path("/d/lvis-v1"), "coco-2017": Path("/d/coco-2017")}
    both = {"sim10k": Path("/d/sim10k"), "cityscapes": Path("/d/cityscapes")}
    assert below_d.roots("sim10k-cityscapes") == both


def test_each_role_in_cocos_format_has_its_images(tmp_path: Path) -> None:
    """A role's images lie in its own image folder, else in that of all roles, else beside its annotations."""
    assert locations(tmp_path, mine=COCO).roots("mine") == {
        "train": tmp_path / "a/train.json",
        "test": tmp_path / "b/test.json",
        "image folder of train": tmp_path / "a",
        "image folder of test": tmp_path / "b",
    }
    roots = locations(tmp_path, mine=COCO | {"val": "v.json", "images": "i", "val_images": "/v"}).roots("mine")
    assert [roots[f"image folder of {role}"] for role in ("train", "test", "val")] == [
        tmp_path / "i", tmp_path / "i", Path("/v"),
    ]  # fmt: skip
    assert "objects" in locations(tmp_path, mine=COCO | {"classes": ["car"]}).spec("mine").about


def test_a_table_becomes_a_user_dataset(tmp_path: Path) -> None:
    """Fields of the table have their types, and fields that are left out have defaults."""
    table = {"kind": "csv", "train": "a.csv", "test": "/b.csv", "classes": ["x", "y"], "multi_label": True}
    dataset = locations(tmp_path, mine=table).user_datasets["mine"]
    assert (dataset.name, dataset.kind, dataset.classes, dataset.multi_label) == ("mine", "csv", ("x", "y"), True)
    assert dataset.paths == {"train": tmp_path / "a.csv", "test": Path("/b.csv")}
    assert (dataset.image_folders, dataset.licence, dataset.citation) == ({}, "not stated", "not stated")
    assert (dataset.declared_in, dataset.table) == (str(tmp_path / "bob.toml"), table)
    plain = locations(tmp_path, mine=FOLDER).user_datasets["mine"]
    assert (plain.classes, plain.multi_label) == (None, False)


def test_the_calling_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default locations are those of the calling folder and its bob.toml, without download."""
    (tmp_path / "bob.toml").write_text('[datasets]\neurosat = "e"\n')
    monkeypatch.chdir(tmp_path)
    assert default_locations().folder_of("eurosat") == tmp_path / "e"
    assert not default_locations().download
    assert find_locations(find_config(tmp_path), tmp_path, download=True).download


def test_a_users_own_dataset_is_described(tmp_path: Path) -> None:
    """A user's own dataset is described by its table; a misspelt name gets it as a suggestion."""
    declared = locations(tmp_path, mine=FOLDER | {"licence": "CC0", "classes": ["a", "b", "c"]})
    spec = declared.spec("mine")
    assert (spec.name, spec.source, spec.licence, spec.classes) == ("mine", "mine", "CC0", "3")
    assert str(tmp_path / "bob.toml") in spec.how_to_get
    assert declared.spec("photos").name == "photos"
    with pytest.raises(UsageError, match="unknown dataset 'mime'; did you mean mine"):
        declared.spec("mime")


@pytest.mark.parametrize(
    ("datasets", "says"),
    [
        ({"cifar100": "x"}, "'cifar100' is not in the catalog.*did you mean cifar-100"),
        ({"photos": "x"}, "'photos' is made from installed packages"),
        ({"eurosat": FOLDER}, "'eurosat' is in the catalog"),
        ({"sim10k-cityscapes": "x"}, 'is made of others; declare sim10k = "PATH" and cityscapes = "PATH" instead'),
        ({"mine": {"train": "a"}}, "kind has to be folder, csv or coco"),
        ({"mine": COCO | {"images": 3}}, 'images has to be "TEXT"'),
        ({"mine": COCO | {"image": "x"}}, "unknown field 'image'; did you mean images"),
        ({"mine": COCO | {"multi_label": True}}, "unknown field 'multi_label'"),
        ({"mine": COCO | {"classes": []}}, "classes has to be one name or more"),
        ({"mine": FOLDER | {"images": "x"}}, "unknown field 'images'"),
        ({"mine": FOLDER | {"kind": "foldr"}}, "kind has to be folder, csv or coco; did you mean folder"),
        ({"mine": FOLDER | {"tset": "x"}}, "unknown field 'tset'; did you mean test"),
        ({"mine": FOLDER | {"multi_label": True}}, "unknown field 'multi_label'"),
        ({"mine": FOLDER | {"kind": "csv", "multi_label": "yes"}}, "multi_label has to be true or false"),
        ({"mine": FOLDER | {"val": 3}}, 'val has to be "TEXT"'),
        ({"mine": FOLDER | {"val": ""}}, 'val has to be "TEXT"'),
        ({"mine": FOLDER | {"classes": ["a", "a"]}}, "classes has to be two names or more"),
        ({"mine": FOLDER | {"classes": ["a"]}}, "classes has to be two names or more"),
        ({"mine": FOLDER | {"classes": "ab"}}, "classes has to be two names or more"),
        ({"mine": {"kind": "folder", "train": "a"}}, "no field 'test'"),
        ({"my set": FOLDER}, "its name may only have letters"),
        ({"a@b": FOLDER}, "its name may only have letters"),
    ],
)
def test_a_wrong_declaration_is_one_line(tmp_path: Path, datasets: dict[str, Any], says: str) -> None:
    """A wrong declaration raises one line with the file, the dataset and the field."""
    with pytest.raises(UsageError, match=says) as caught:
        locations(tmp_path, **datasets)
    assert str(caught.value).startswith(f"{tmp_path / 'bob.toml'}: dataset {next(iter(datasets))!r}")
    assert len(str(caught.value).splitlines()) == 1
