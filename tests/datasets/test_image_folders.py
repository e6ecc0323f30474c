"""Tests of class folders and lists of images: what is read, what is refused, and what a fingerprint depends on."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bob_gauntlet.datasets.file_stamps import file_stamp
from bob_gauntlet.datasets.image_folders import (
    images_in_class_folders,
    images_in_list,
    labelled_split,
    missing_data_error,
)
from bob_gauntlet.errors import BobError
from tests.helpers.dataset_trees import write_class_folders, write_noise_image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes with two images each."""
    write_class_folders(tmp_path / "set", ("cat", "dog"), 2)
    return tmp_path / "set"


def test_images_are_sorted_and_labelled_by_folder(root: Path) -> None:
    """Images have endings in any case; hidden files, other files and hidden folders are ignored."""
    write_noise_image(root / "cat/a b é.JPEG")
    write_noise_image(root / ".git/x.jpg")
    for name in ("cat/._cat_0.jpg", "cat/Thumbs.db", "README.txt", "dog/.DS_Store"):
        (root / name).write_text("x")
    files = images_in_class_folders(root, "mine")
    assert files.classes == ("cat", "dog")
    assert files.paths == ("cat/a b é.JPEG", "cat/cat_0.jpg", "cat/cat_1.jpg", "dog/dog_0.jpg", "dog/dog_1.jpg")
    assert files.labels.tolist() == [0, 0, 0, 1, 1]
    assert files.labels.dtype == np.int64
    assert files.stamps.tolist() == [list(file_stamp(root / path)) for path in files.paths]


@pytest.mark.parametrize("ending", [".jfif", ".JPE", ".avif", ".tga", ".jp2", ".pbm", ".qoi", ".ico"])
def test_whatever_pillow_reads_is_an_image(root: Path, ending: str) -> None:
    """An image of every format that Pillow writes and reads is found by its ending, and read."""
    Image.new("RGB", (32, 32), (200, 30, 30)).save(root / f"cat/new{ending}")
    files = images_in_class_folders(root, "mine")
    assert f"cat/new{ending}" in files.paths
    assert files.reader(files.paths.index(f"cat/new{ending}")).size == (32, 32)


def test_files_that_are_ignored_are_counted_by_ending(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning counts the files in class folders that are no images; hidden files are not among them."""
    for name in ("cat/a.txt", "cat/b.TXT", "dog/a.h5", "dog/README", "dog/.hidden", "about.txt"):
        (root / name).write_text("x")
    images_in_class_folders(root, "mine's train")
    [record] = caplog.records
    message = record.getMessage()
    assert message.startswith(f"mine's train: 4 files in the class folders of {root} are ignored, since Pillow")
    assert message.endswith(": .txt 2, .h5 1, without an ending 1")


def test_labels_index_the_classes_that_are_given(root: Path) -> None:
    """Labels are indices into the given classes, of which a role may lack some."""
    files = images_in_class_folders(root, "mine", ("ant", "cat", "cow", "dog"))
    assert files.classes == ("ant", "cat", "cow", "dog")
    assert files.labels.tolist() == [1, 1, 3, 3]


def _add_class_without_images(root: Path) -> None:
    (root / "eel").mkdir()
    (root / "eel/list.txt").write_text("x")


def _add_class_of_other_files(root: Path) -> None:
    (root / "eel").mkdir()
    for name in ("a.HEIC", "b.heic", "c"):
        (root / "eel" / name).write_text("x")


def _remove_class_folders(root: Path) -> None:
    shutil.rmtree(root)
    write_noise_image(root / "x.jpg")


def _add_dangling_link(root: Path) -> None:
    (root / "cat/gone.jpg").symlink_to(root / "nowhere")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_add_class_without_images, "no image in class folder .*eel"),
        (_add_class_of_other_files, r"eel, but files with endings .* \(.heic 2, without an ending 1\); convert them"),
        (_remove_class_folders, "no class folders in"),
        (shutil.rmtree, "cannot be read .No such file"),
        (lambda root: shutil.rmtree(root / "dog"), "only one class .cat."),
        (lambda root: write_noise_image(root / "Cat/x.jpg"), "'Cat' and 'cat' differ only by case or spaces"),
        (lambda root: write_noise_image(root / "dog /x.jpg"), "'dog' and 'dog ' differ only by case or spaces"),
        (lambda root: write_noise_image(root / "dog/more/x.jpg"), "class folder dog has a folder more in it"),
        (_add_dangling_link, "gone.jpg cannot be found"),
    ],
)
def test_a_wrong_folder_is_one_line(root: Path, change: Callable[[Path], object], says: str) -> None:
    """A wrong folder raises one line that begins with what the folder is of."""
    change(root)
    with pytest.raises(BobError, match=says) as caught:
        images_in_class_folders(root, "mine's train")
    assert str(caught.value).startswith("mine's train: ")
    assert len(str(caught.value).splitlines()) == 1


def test_classes_that_train_lacks_are_counted_and_named(root: Path) -> None:
    """The error has the number and the names of unknown class folders, and the known class nearest to the first."""
    write_class_folders(root, ("dgo", "emu", "fox", "gnu"), 1)
    with pytest.raises(BobError) as caught:
        images_in_class_folders(root, "mine's test", ("cat", "dog"))
    assert str(caught.value) == (
        "mine's test: 4 of 6 class folders are not among the 2 classes of train: dgo, emu, fox and 1 more; "
        "did you mean dog?"
    )


def test_a_list_of_files(root: Path) -> None:
    """Listed files are sorted with their labels; an image may have several labels."""
    files = images_in_list(root, "mine", ("dog/dog_1.jpg", "cat/cat_0.jpg"), np.array([[1, 0], [0, 1]]), ("a", "b"))
    assert files.paths == ("cat/cat_0.jpg", "dog/dog_1.jpg")
    assert files.labels.tolist() == [[0, 1], [1, 0]]
    assert files.stamps[1].tolist() == list(file_stamp(root / "dog/dog_1.jpg"))


@pytest.mark.parametrize(
    ("paths", "labels", "says"),
    [
        (("cat/cat_0.jpg",), [0, 1], "1 images and 2 labels"),
        ((), [], "0 images and 0 labels"),
        (("cat/cat_0.jpg", "cat/cat_0.jpg"), [0, 1], "names cat/cat_0.jpg twice"),
        (("cat/cat_0.jpg", "cat/cat_7.jpg", "cat/cat_8.jpg"), [0, 1, 1], "cat_7.jpg cannot be found"),
    ],
)
def test_a_wrong_list_names_the_first_wrong_image(
    root: Path, paths: tuple[str, ...], labels: list[int], says: str
) -> None:
    """Too many labels, an empty list, a file twice or an absent file raise an error that names the first."""
    with pytest.raises(BobError, match=says):
        images_in_list(root, "mine", paths, np.array(labels), ("a", "b"))


def test_a_split_reads_its_images_late(root: Path) -> None:
    """Images are read when asked for; ids are relative paths; every image is a cluster unless clusters are given."""
    (root / "cat/cat_0.jpg").write_text("no image, but it is not read")
    split = labelled_split("test", images_in_class_folders(root, "mine"))
    assert (split.role, split.ids[2]) == ("test", "dog/dog_0.jpg")
    assert split.image(2).size == (40, 40)
    assert split.image(2).mode == "RGB"
    assert split.clusters == split.ids
    assert labelled_split("test", images_in_class_folders(root, "mine"), ["a", "a", "b", "b"]).clusters == (
        "a",
        "a",
        "b",
        "b",
    )


def fingerprint(root: Path) -> str:
    """Return the fingerprint of the folder as it is now."""
    return labelled_split("train", images_in_class_folders(root, "mine")).fingerprint


def test_a_fingerprint_depends_on_files_and_not_on_their_folder(root: Path, tmp_path: Path) -> None:
    """It is equal when the folder is read twice or copied, and differs when a file or folder is added or renamed."""
    first = fingerprint(root)
    assert fingerprint(root) == first
    shutil.copytree(root, tmp_path / "other/place")
    assert fingerprint(tmp_path / "other/place") == first
    seen = {first}
    for change in (
        lambda: write_noise_image(root / "cat/new.jpg"),
        lambda: (root / "cat/new.jpg").rename(root / "cat/newer.jpg"),
        lambda: (root / "cat/newer.jpg").rename(root / "dog/newer.jpg"),
        lambda: (root / "dog").rename(root / "dogs"),
    ):
        change()
        seen.add(fingerprint(root))
    assert len(seen) == 5


def test_labels_and_classes_are_in_the_fingerprint(root: Path) -> None:
    """The same files with other labels or classes have another fingerprint."""
    files = images_in_class_folders(root, "mine")
    others = [files, replace(files, labels=files.labels[::-1]), replace(files, classes=("a", "b"))]
    assert len({labelled_split("train", one).fingerprint for one in others}) == 3


def test_the_error_of_absent_data_says_how_to_get_it() -> None:
    """The error says where the data was looked for, its source and licence, and what to type."""
    message = str(missing_data_error("imagenet-a", Path("/data/imagenet-a")))
    assert message.startswith("imagenet-a is not in /data/imagenet-a; get it from github.com/hendrycks")
    assert "licence: MIT" in message
    assert "`bob data imagenet-a`" in message
    assert os.linesep not in message
