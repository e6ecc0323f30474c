"""Where datasets are looked for, and what may be declared of them."""

from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.config import UserConfig, find_config
from bob_gauntlet.datasets.locations import DataLocations, default_locations, find_locations
from bob_gauntlet.errors import UsageError

OWN = {"kind": "folder", "train": "a", "test": "b"}
COCO = {"kind": "coco", "train": "a/train.json", "test": "b/test.json"}


@pytest.fixture(autouse=True)
def _no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOB_DATA", raising=False)


def locations(tmp_path: Path, root: Path | None = None, **datasets: Any) -> DataLocations:
    """Of a session in tmp_path/below, under a bob.toml in tmp_path."""
    (tmp_path / "below").mkdir(exist_ok=True)
    return find_locations(UserConfig(tmp_path, str(tmp_path / "bob.toml"), {}, datasets), tmp_path / "below", root)


def test_a_declared_path_comes_first_then_the_option_then_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths are relative to the declaring file or to the calling folder; at last .bob/data, looked up."""
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
    """In a declaration, in the variable and in a table."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("BOB_DATA", "~/data")
    found = locations(tmp_path, eurosat="~/e", mine=OWN | {"train": "~/t"})
    assert found.folder_of("chexpert") == tmp_path / "me/data/chexpert"
    assert found.folder_of("eurosat") == tmp_path / "me/e"
    assert found.roots("mine") == {"train": tmp_path / "me/t", "test": tmp_path / "b"}


def test_the_roots_of_a_dataset(tmp_path: Path) -> None:
    """Those that it needs are looked at, too; what packages make has none."""
    found = locations(tmp_path, Path("/d"))
    assert found.roots("imagenet-r") == {"imagenet-r": Path("/d/imagenet-r"), "imagenet-1k": Path("/d/imagenet-1k")}
    assert found.roots("eurosat") == {"eurosat": Path("/d/eurosat")}
    assert found.roots("photos") == {}
    assert found.roots("lvis-v1") == {"lvis-v1": Path("/d/lvis-v1"), "coco-2017": Path("/d/coco-2017")}
    made = {"sim10k": Path("/d/sim10k"), "cityscapes": Path("/d/cityscapes")}
    assert found.roots("sim10k-cityscapes") == made


def test_each_role_in_cocos_format_has_its_images(tmp_path: Path) -> None:
    """In a folder of its own, else in that of all, else beside its file of annotations."""
    found = locations(tmp_path, mine=COCO).roots("mine")
    assert found == {
        "train": tmp_path / "a/train.json",
        "test": tmp_path / "b/test.json",
        "image folder of train": tmp_path / "a",
        "image folder of test": tmp_path / "b",
    }
    found = locations(tmp_path, mine=COCO | {"val": "v.json", "images": "i", "val_images": "/v"}).roots("mine")
    assert [found[f"image folder of {role}"] for role in ("train", "test", "val")] == [
        tmp_path / "i", tmp_path / "i", Path("/v"),
    ]  # fmt: skip
    assert "objects" in locations(tmp_path, mine=COCO | {"classes": ["car"]}).spec("mine").about


def test_the_calling_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its bob.toml; nothing is downloaded."""
    (tmp_path / "bob.toml").write_text('[datasets]\neurosat = "e"\n')
    monkeypatch.chdir(tmp_path)
    assert default_locations().folder_of("eurosat") == tmp_path / "e"
    assert not default_locations().download
    assert find_locations(find_config(tmp_path), tmp_path, download=True).download


def test_a_dataset_of_ones_own_is_described(tmp_path: Path) -> None:
    """By what its table says; the nearest name includes it."""
    found = locations(tmp_path, mine=OWN | {"licence": "CC0", "classes": ["a", "b", "c"]})
    spec = found.spec("mine")
    assert (spec.name, spec.source, spec.licence, spec.classes) == ("mine", "mine", "CC0", "3")
    assert str(tmp_path / "bob.toml") in spec.how_to_get
    assert found.spec("photos").name == "photos"
    with pytest.raises(UsageError, match="unknown dataset 'mime'; did you mean mine"):
        found.spec("mime")


@pytest.mark.parametrize(
    ("datasets", "says"),
    [
        ({"cifar100": "x"}, "'cifar100' is not in the catalog.*did you mean cifar-100"),
        ({"photos": "x"}, "'photos' is made from installed packages"),
        ({"eurosat": OWN}, "'eurosat' is in the catalog"),
        ({"sim10k-cityscapes": "x"}, 'is made of others; declare sim10k = "PATH" and cityscapes = "PATH" instead'),
        ({"mine": {"train": "a"}}, "kind has to be folder, csv or coco"),
        ({"mine": COCO | {"images": 3}}, 'images has to be "TEXT"'),
        ({"mine": COCO | {"image": "x"}}, "unknown field 'image'; did you mean images"),
        ({"mine": COCO | {"multi_label": True}}, "unknown field 'multi_label'"),
        ({"mine": COCO | {"classes": []}}, "classes has to be one name or more"),
        ({"mine": OWN | {"images": "x"}}, "unknown field 'images'"),
        ({"mine": OWN | {"kind": "foldr"}}, "kind has to be folder, csv or coco; did you mean folder"),
        ({"mine": OWN | {"tset": "x"}}, "unknown field 'tset'; did you mean test"),
        ({"mine": OWN | {"multi_label": True}}, "unknown field 'multi_label'"),
        ({"mine": OWN | {"kind": "csv", "multi_label": "yes"}}, "multi_label has to be true or false"),
        ({"mine": OWN | {"val": 3}}, 'val has to be "TEXT"'),
        ({"mine": OWN | {"val": ""}}, 'val has to be "TEXT"'),
        ({"mine": OWN | {"classes": ["a", "a"]}}, "classes has to be two names or more"),
        ({"mine": OWN | {"classes": ["a"]}}, "classes has to be two names or more"),
        ({"mine": OWN | {"classes": "ab"}}, "classes has to be two names or more"),
        ({"mine": {"kind": "folder", "train": "a"}}, "no field 'test'"),
        ({"my set": OWN}, "its name may only have letters"),
        ({"a@b": OWN}, "its name may only have letters"),
    ],
)
def test_a_wrong_declaration_is_one_line(tmp_path: Path, datasets: dict[str, Any], says: str) -> None:
    """File, dataset and field."""
    with pytest.raises(UsageError, match=says) as caught:
        locations(tmp_path, **datasets)
    assert str(caught.value).startswith(f"{tmp_path / 'bob.toml'}: dataset {next(iter(datasets))!r}")
    assert len(str(caught.value).splitlines()) == 1
