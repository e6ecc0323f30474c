"""Manifests: fingerprints without loading a dataset, and every change that makes them invalid."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bob_gauntlet.datasets import loading, manifests
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.manifests import fingerprints, kept_fingerprints, load_dataset
from bob_gauntlet.errors import MissingError
from bob_gauntlet.runtime.artifacts import Artifacts
from tests.helpers.dataset_trees import TREES, imagenet, imagenet_a, imagenet_kaggle, write_noise_image
from tests.helpers.tiny_images import HashedFiles, hide_change_times, rewrite, settle


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    """An empty cache."""
    return Artifacts(tmp_path / "artifacts")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the datasets that were loaded; files count as settled at once."""
    settle(monkeypatch)
    names: list[str] = []
    load = loading.load

    def counted_load(name: str, *rest: object) -> Dataset:
        names.append(name)
        return load(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "load", counted_load)
    return names


def test_a_manifest_is_of_the_versions_of_packages(
    artifacts: Artifacts, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rendered dataset is loaded for its fingerprints once, and again with another version of its package."""
    nowhere = DataLocations(Path("nowhere"))
    first = fingerprints("digits", artifacts, nowhere)
    assert first == loading.load("digits").fingerprints == fingerprints("digits", artifacts, nowhere)
    assert loaded == ["digits"] * 2
    monkeypatch.setattr(manifests, "version", lambda package: "99")
    assert fingerprints("digits", artifacts, nowhere) == first
    assert loaded == ["digits"] * 3


def test_an_absent_package_is_a_version_too(artifacts: Artifacts) -> None:
    """An absent package has the version "absent", and a dataset without packages has fingerprints."""
    assert fingerprints("noise", artifacts, DataLocations(Path("nowhere"))) == {}
    assert manifests._version("no-such-package-of-ours") == "absent"


@pytest.mark.parametrize("name", TREES)
def test_every_paper_dataset_is_loaded_once(
    name: str, tmp_path: Path, artifacts: Artifacts, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the second start nothing is loaded; when it is loaded again, no file is read again."""
    if name != "imagenet-1k":
        imagenet(tmp_path / "d")
    TREES[name](tmp_path / "d")
    locations = DataLocations(tmp_path / "d")
    hashed = HashedFiles(monkeypatch)
    first = fingerprints(name, artifacts, locations)
    assert fingerprints(name, artifacts, locations) == first
    assert loaded == [name]
    hashed.since_last()
    assert load_dataset(name, artifacts, locations, FileHashes(artifacts)).fingerprints == first
    assert hashed.since_last() == []


CHANGES: dict[str, Callable[[Path], object]] = {
    "file added": lambda root: write_noise_image(root / "imagenet-1k/train/n01443537/new.JPEG"),
    "file of the same size": lambda root: edit(root / "imagenet-1k/train/n01443537/n01443537_0.JPEG"),
    "time put back": lambda root: edit(root / "imagenet-1k/train/n01443537/n01443537_0.JPEG", keep_time=True),
}


def edit(path: Path, *, keep_time: bool = False) -> None:
    """Change the last byte of a file."""
    content = path.read_bytes()
    rewrite(path, content[:-1] + bytes([content[-1] ^ 1]), keep_time=keep_time)


@pytest.mark.parametrize("change", CHANGES)
def test_a_manifest_holds_until_a_file_of_any_root_changes(
    tmp_path: Path, artifacts: Artifacts, loaded: list[str], change: str
) -> None:
    """ImageNet-A needs ImageNet-1k: it is loaded again when a file of either changes."""
    locations = DataLocations(tmp_path / "d")
    with pytest.raises(MissingError):
        fingerprints("imagenet-a", artifacts, locations)
    imagenet(tmp_path / "d")
    imagenet_a(tmp_path / "d")
    first = fingerprints("imagenet-a", artifacts, locations)
    CHANGES[change](tmp_path / "d")
    assert kept_fingerprints("imagenet-a", artifacts, locations) is None
    second = fingerprints("imagenet-a", artifacts, locations)
    assert {role for role in first if first[role] != second[role]} == {"train"}
    assert kept_fingerprints("imagenet-a", artifacts, locations) == second


def test_a_list_beside_the_folder_is_watched(tmp_path: Path, artifacts: Artifacts, loaded: list[str]) -> None:
    """ImageNet's labels may lie above its folder."""
    imagenet_kaggle(tmp_path / "d")
    labels = tmp_path / "d/LOC_val_solution.csv"
    (tmp_path / "d/imagenet-1k/LOC_val_solution.csv").rename(labels)
    locations = DataLocations(tmp_path / "d")
    first = fingerprints("imagenet-1k", artifacts, locations)
    assert kept_fingerprints("imagenet-1k", artifacts, locations) == first
    lines = labels.read_text().splitlines()
    one, other = lines[1].partition(","), lines[2].partition(",")
    rewrite(labels, "\n".join([lines[0], f"{one[0]},{other[2]}", f"{other[0]},{one[2]}", *lines[3:]]).encode())
    assert fingerprints("imagenet-1k", artifacts, locations)["test"] != first["test"]


def test_files_that_were_just_written_have_no_manifest(tmp_path: Path, artifacts: Artifacts) -> None:
    """Their next change might leave the same times."""
    imagenet(tmp_path / "d")
    locations = DataLocations(tmp_path / "d")
    fingerprints("imagenet-1k", artifacts, locations)
    assert kept_fingerprints("imagenet-1k", artifacts, locations) is None


def test_data_that_is_gone_has_no_manifest(tmp_path: Path, artifacts: Artifacts, loaded: list[str]) -> None:
    """Also where it was loaded by a download that began without it."""
    locations = DataLocations(tmp_path / "d")
    load = loading.load

    def download(name: str, *rest: object) -> Dataset:
        imagenet(tmp_path / "d")
        return load(name, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load", download)
        fingerprints("imagenet-1k", artifacts, locations)
    (tmp_path / "d").rename(tmp_path / "e")
    with pytest.raises(MissingError):
        fingerprints("imagenet-1k", artifacts, locations)


def test_files_outside_the_folders_are_looked_at_each_time(
    tmp_path: Path, artifacts: Artifacts, loaded: list[str]
) -> None:
    """A list of a publisher that was edited may name a file above its folder, whose change the folder does not show."""
    TREES["coco-2017"](tmp_path / "d")
    annotations = tmp_path / "d/coco-2017/annotations/instances_val2017.json"
    image = sorted((tmp_path / "d/coco-2017/val2017").glob("*.jpg"))[0]
    image.rename(tmp_path / "d" / image.name)
    annotations.write_text(annotations.read_text().replace(image.name, f"../../{image.name}"))
    locations = DataLocations(tmp_path / "d")
    first = fingerprints("coco-2017", artifacts, locations)
    assert kept_fingerprints("coco-2017", artifacts, locations) is None
    edit(tmp_path / "d" / image.name)
    assert fingerprints("coco-2017", artifacts, locations)["test"] != first["test"]


def test_a_verified_dataset_gets_a_new_manifest(
    tmp_path: Path, artifacts: Artifacts, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of the files is the one before, and the fingerprints are those of their content now."""
    hide_change_times(monkeypatch)
    imagenet(tmp_path / "d")
    locations = DataLocations(tmp_path / "d")
    first = fingerprints("imagenet-1k", artifacts, locations)
    edit(tmp_path / "d/imagenet-1k/train/n01443537/n01443537_0.JPEG", keep_time=True)
    assert fingerprints("imagenet-1k", artifacts, locations) == first
    hashes = FileHashes(artifacts, since=time.time_ns())
    verified = load_dataset("imagenet-1k", artifacts, locations, hashes).fingerprints
    assert hashes.unseen_changes == ["n01443537/n01443537_0.JPEG"]
    assert verified["train"] != first["train"]
    assert kept_fingerprints("imagenet-1k", artifacts, locations) == verified
