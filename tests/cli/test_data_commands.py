"""`bob data`, and the options of a session that say where the data are."""

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from bob_gauntlet.config import find_config
from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.loading import load
from bob_gauntlet.datasets.locations import DataLocations, find_locations
from bob_gauntlet.datasets.manifests import fingerprints
from bob_gauntlet.errors import UsageError
from bob_gauntlet.gauntlet import Workspace
from bob_gauntlet.plugin.options import read_options
from bob_gauntlet.plugin.session import open_session
from bob_gauntlet.runtime.artifacts import Artifacts
from tests.helpers.bob_command import run_bob
from tests.helpers.dataset_trees import DETECTION, TREES, imagenet, imagenet_a, write_class_folders, write_noise_image
from tests.helpers.tiny_images import hide_change_times, rewrite, settle, write_colours


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a .bob folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOB_DATA", raising=False)
    (tmp_path / ".bob").mkdir()
    return tmp_path


def bob_data(line: str) -> Result:
    """Run `bob data` with the arguments of a command line."""
    return run_bob("data", *shlex.split(line))


def rows(output: str) -> dict[str, list[str]]:
    """Return dataset -> its cells in the overview."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in output.splitlines()[2:]]
    return {cells[0]: cells for cells in lines}


def test_the_overview_says_what_is_present(folder: Path) -> None:
    """All datasets are listed, own ones too; an empty folder and a missing required dataset count as not present."""
    (folder / "bob.toml").write_text('[datasets.mine]\nkind = "folder"\ntrain = "t/a"\ntest = "t/b"\nlicence = "CC0"\n')
    imagenet_a(folder / ".bob/data")
    (folder / ".bob/data/eurosat").mkdir()
    cells = rows(bob_data("").output)
    assert list(cells) == [*CATALOG, "mine"]
    assert cells["imagenet-a"][2:4] == ["no", str(folder / ".bob/data/imagenet-a")]
    assert cells["eurosat"][2] == cells["mine"][2] == "no"
    assert cells["photos"][2] == "with packages"
    assert cells["objectnet"][2] == "no reader yet"
    assert cells["mine"][3:] == [str(folder / "t/a"), "as found", "as found", "CC0"]
    imagenet(folder / ".bob/data")
    for role in "ab":
        write_class_folders(folder / "t" / role, ("cat", "dog"), 1)
    cells = rows(bob_data("").output)
    assert cells["imagenet-a"][2] == cells["imagenet-1k"][2] == cells["mine"][2] == "yes"


@pytest.mark.parametrize("name", TREES)
def test_a_present_dataset_is_counted(folder: Path, name: str) -> None:
    """The page of a dataset has one line for each role, and --data says where to look."""
    imagenet(folder / "d")
    TREES[name](folder / "d")
    result = bob_data(f"{name} --data d")
    assert result.exit_code == 0, result.output
    spec = CATALOG[name]
    roots = [str(folder / "d" / one) for one in (spec.needs if spec.combined else (name,))]
    for text in (spec.licence, spec.citation, "layout  ", *roots, "[datasets]"):
        assert text in result.output
    table = result.output.split("fingerprint")[1].splitlines()
    assert [line.split()[0] for line in table if line.startswith(("train", "test"))] == ["train", "test"]
    objects = [" ".join(line.split()[:3]) for line in table if line.startswith("objects")]
    assert objects == (["objects of train:", "objects of test:"] if name in DETECTION else [])
    assert ("subset 1% of train: 3 images" in result.output) == (name == "imagenet-1k")


def test_a_missing_dataset_is_exit_1(folder: Path) -> None:
    """A missing dataset gives exit code 1, with its page and the path that was looked at."""
    result = bob_data("chexpert")
    assert result.exit_code == 1
    assert "Stanford research use agreement" in result.output
    assert f"bob: chexpert is not in {folder / '.bob/data/chexpert'}; get it from" in result.output


def test_wrong_files_are_exit_1(folder: Path) -> None:
    """An error in the files gives exit code 1 and a line that names it."""
    imagenet(folder / "d")
    (folder / "d/imagenet-1k/train/n00000001").mkdir()
    result = bob_data("imagenet-1k --data d")
    assert result.exit_code == 1
    assert "no image in class folder" in result.output.splitlines()[-1]


def test_pages_of_datasets_without_folders() -> None:
    """A dataset without a reader is only described; one of Python packages is loaded."""
    page = bob_data("objectnet")
    assert page.exit_code == 0
    assert page.output.splitlines()[-1].endswith("not in this version yet")
    made = bob_data("digits")
    assert made.exit_code == 0
    assert "looked for" not in made.output
    assert "10 of 10" in made.output
    assert bob_data("noise").exit_code == 0


def test_a_user_dataset_has_a_page(folder: Path) -> None:
    """The page of an own dataset shows all of its folders."""
    (folder / "bob.toml").write_text('[datasets.mine]\nkind = "folder"\ntrain = "t/a"\ntest = "t/b"\n')
    for role, count in (("a", 3), ("b", 2)):
        write_class_folders(folder / "t" / role, ("cat", "dog"), count, f"{role}{{i}}.png")
    result = bob_data("mine")
    assert result.exit_code == 0
    assert f"looked for     train: {folder / 't/a'}" in result.output
    assert [line.split()[:5] for line in result.output.splitlines()[-2:]] == [
        ["train", "6", "2", "of", "2"],
        ["test", "4", "2", "of", "2"],
    ]


def test_verify_decodes_every_image(folder: Path) -> None:
    """--verify names broken images; 4 of 24 are more than the accepted 1% and give exit code 1."""
    imagenet(folder / "d")
    whole = bob_data("imagenet-1k --data d --verify")
    assert whole.exit_code == 0
    assert "every image can be read" in whole.output
    broken = sorted((folder / "d/imagenet-1k/train").rglob("*.JPEG"))[:4]
    for path in broken:
        path.write_text("no image")
    result = bob_data("imagenet-1k --data d --verify")
    assert result.exit_code == 1
    names = ", ".join(f"{path.parent.name}/{path.name}" for path in broken[:3])
    assert f"bob: train: 4 of 24 images cannot be read: {names} and 1 more; at most 1% may be" in result.output
    assert bob_data("imagenet-1k --data d").exit_code == 0
    imagenet_a(folder / "d")
    assert bob_data("imagenet-a --data d --verify").exit_code == 0  # its own files are read, not those of imagenet-1k


def test_a_few_unreadable_images_are_counted(folder: Path) -> None:
    """One unreadable image in a hundred is accepted."""
    (folder / "bob.toml").write_text('[datasets.mine]\nkind = "folder"\ntrain = "t/a"\ntest = "t/b"\n')
    write_class_folders(folder / "t/a", ("cat", "dog"), 50)
    write_class_folders(folder / "t/b", ("cat", "dog"), 1)
    (folder / "t/a/dog/dog_7.jpg").write_bytes(b"")
    result = bob_data("mine --verify")
    assert result.exit_code == 0
    assert "train: 1 of 100 images cannot be read: dog/dog_7.jpg" in result.output


def object_counts(folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """Return what `bob data coco-2017` prints on the objects of test, after a change of their annotations."""
    TREES["coco-2017"](folder / "d")
    path = folder / "d/coco-2017/annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    [line] = [
        line for line in bob_data("coco-2017 --data d").output.splitlines() if line.startswith("objects of test: ")
    ]
    return line.removeprefix("objects of test: ")


def test_unusual_objects_are_counted(folder: Path) -> None:
    """Crowds, boxes without area or beyond the image, images without objects, and missing files are counted."""
    whole = "12; 3 crowds, 0 boxes without area, 0 boxes that reach outside, 1 images without objects, 0 missing images"
    assert object_counts(folder, lambda content: None) == whole

    def odd(content: dict[str, Any]) -> None:
        boxes = [one["bbox"] for one in content["annotations"]]
        # flat; beyond the left, and by less than a hundredth of a pixel below
        boxes[0][3], boxes[1][0], boxes[4][3] = 0, -1, content["images"][1]["height"] - boxes[4][1] + 0.009
        content["annotations"][2]["iscrowd"] = 1
        del content["annotations"][8:]
        content["images"] += [{"id": 1000 + i, "file_name": f"{i}.jpg", "width": 8, "height": 8} for i in range(100)]
        for i in range(99):
            write_noise_image(folder / f"d/coco-2017/val2017/{i}.jpg", 8)

    expected = (
        "8; 3 crowds, 1 boxes without area, 1 boxes that reach outside, 102 images without objects, 1 missing images"
    )
    assert object_counts(folder, odd) == expected


def test_verify_finds_images_of_another_size(folder: Path) -> None:
    """An image of another size than annotated counts as bad: one of four is more than 1%."""
    TREES["coco-2017"](folder / "d")
    assert "every image can be read" in bob_data("coco-2017 --data d --verify").output
    write_noise_image(folder / "d/coco-2017/val2017/000000000109.jpg", 20)
    result = bob_data("coco-2017 --data d --verify")
    assert result.exit_code == 1
    assert (
        "bob: test: 1 of 4 images are of another size than annotated: val2017/000000000109.jpg; at most 1%"
        in result.output
    )


def test_verify_reads_all_roles_but_those_of_another_dataset(folder: Path) -> None:
    """The roles of a required dataset are not decoded, but Sim10k, which trains, is part of this one."""
    TREES["sim10k-cityscapes"](folder / "d")
    image = folder / "d/sim10k/VOC2012/JPEGImages/3384645.jpg"
    image.write_text("no image")
    assert bob_data("cityscapes --data d --verify").exit_code == 0
    for name in ("sim10k", "sim10k-cityscapes"):
        result = bob_data(f"{name} --data d --verify")
        assert result.exit_code == 1
        assert "train: 1 of 6 images cannot be read: JPEGImages/3384645.jpg" in result.output


def test_a_combined_dataset_says_how_to_declare_both(folder: Path) -> None:
    """The page of a combined dataset says how to declare both, and checks that both are present."""
    TREES["sim10k-cityscapes"](folder / ".bob/data")
    page = bob_data("sim10k-cityscapes").output
    hint = 'elsewhere: sim10k = "PATH" and cityscapes = "PATH" under [datasets] of bob.toml, or folders sim10k and city'
    assert hint in page
    assert rows(bob_data("").output)["sim10k-cityscapes"][2] == "yes"
    (folder / "bob.toml").write_text('[datasets]\ncityscapes = "elsewhere"\n')
    assert rows(bob_data("").output)["sim10k-cityscapes"][2] == "no"
    result = bob_data("sim10k-cityscapes")
    assert "sim10k-cityscapes is made of sim10k and cityscapes: cityscapes is not in" in result.output
    result = bob_data("coco")
    assert result.exit_code == 4
    assert "unknown dataset 'coco'; did you mean coco-2017" in result.output


def test_an_own_dataset_in_cocos_format_has_a_page(folder: Path) -> None:
    """The page of an own dataset in COCO's format shows its folders and its objects."""
    TREES["coco-2017"](folder / "d")
    notes = "d/coco-2017/annotations/instances"
    (folder / "bob.toml").write_text(
        f'[datasets.mine]\nkind = "coco"\ntrain = "{notes}_train2017.json"\ntest = "{notes}_val2017.json"\n'
        'train_images = "d/coco-2017/train2017"\ntest_images = "d/coco-2017/val2017"\n'
    )
    result = bob_data("mine --verify")
    assert result.exit_code == 0, result.output
    assert f"image folder of test: {folder / 'd/coco-2017/val2017'}" in result.output
    assert "objects of train: 20; 5 crowds" in result.output


@pytest.mark.parametrize(("option", "cache"), [("", ".bob/artifacts"), ("--cache c", "c")])
@pytest.mark.parametrize("name", ["imagenet-1k", "mine"])
def test_verify_sees_an_edit_without_any_trace(
    folder: Path, monkeypatch: pytest.MonkeyPatch, option: str, cache: str, name: str
) -> None:
    """Where size and times are as before, only --verify reads the file; sessions with the same cache then see it."""
    settle(monkeypatch)
    hide_change_times(monkeypatch)
    imagenet(folder / "d")
    (folder / "bob.toml").write_text(
        '[datasets.mine]\nkind = "folder"\ntrain = "d/imagenet-1k/train"\ntest = "d/imagenet-1k/val"\n'
    )
    locations, artifacts = find_locations(find_config(folder), folder, folder / "d"), Artifacts(folder / cache)
    first = fingerprints(name, artifacts, locations)
    path = folder / "d/imagenet-1k/train/n01443537/n01443537_3.JPEG"
    content = path.read_bytes()
    # after the end of the image, so that it can still be decoded
    path.write_bytes(content + b"a")
    os.utime(path, ns=(0, 10**18))
    before = fingerprints(name, artifacts, locations)
    rewrite(path, content + b"b", keep_time=True)
    assert bob_data(f"{name} --data d {option}").exit_code == 0
    assert fingerprints(name, artifacts, locations) == before != first
    result = bob_data(f"{name} --data d {option} --verify")
    assert result.exit_code == 0
    assert (
        "1 files have other content than before under the same size and times: n01443537/n01443537_3.JPEG; "
        f"settings on {name} will be measured again"
    ) in result.output
    after = fingerprints(name, artifacts, locations)
    assert {role for role in first if after[role] != before[role]} == {"train"}
    assert after["train"] in result.output
    assert "other content" not in bob_data(f"{name} --data d {option} --verify").output


def test_a_page_names_images_that_two_roles_share(folder: Path) -> None:
    """Copies and links are named."""
    (folder / "bob.toml").write_text('[datasets.mine]\nkind = "folder"\ntrain = "t/a"\ntest = "t/b"\n')
    train = write_colours(folder / "t/a", {"cat": 2, "dog": 2})
    write_colours(folder / "t/b", {"cat": 1, "dog": 1}, first=100)
    assert "copies" not in bob_data("mine").output
    (folder / "t/b/dog/link.bmp").symlink_to(train[3])
    assert (
        "mine: 1 of 3 images of test are copies of images of train, or links to them: "
        "dog/link.bmp is dog/00001.bmp; remove them from one role\n"
    ) in bob_data("mine").output


def test_only_free_datasets_are_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--download reaches the reader; for datasets that are not freely available, the command says where to get them."""
    seen: list[bool] = []

    def stopped(name: str, locations: DataLocations, hashes: FileHashes) -> None:
        seen.append(locations.download)
        raise UsageError("stop here")

    monkeypatch.setattr("bob_gauntlet.datasets.loading.load", stopped)
    bob_data("eurosat --download")
    bob_data("eurosat")
    assert seen == [True, False]
    result = bob_data("imagenet-1k --download")
    assert result.exit_code == 4
    assert "imagenet-1k cannot be downloaded by this command; get it from image-net.org" in result.output
    assert "noise needs no download: nothing to get, it is generated" in bob_data("noise --download").output


def test_a_session_takes_its_locations_from_the_options(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--bob-data and --bob-download are used together with bob.toml, and a file is refused as data folder."""
    monkeypatch.delenv("BOB_DATA", raising=False)
    pytester.makefile(".toml", bob='[datasets]\nchexpert = "c"')
    start = pytester.path

    def locations(*given: str) -> DataLocations:
        session = open_session(read_options(pytester.parseconfig(*given)), start, {}, hands_out=True)
        assert session.workspace.locations is not None
        return session.workspace.locations

    with_options = locations("--bob-data=d", "--bob-download")
    assert (with_options.folder_of("eurosat"), with_options.folder_of("chexpert"), with_options.download) == (
        start / "d/eurosat",
        start / "c",
        True,
    )
    imagenet(start / "d")
    write_class_folders(start / ".bob/data/imagenet-1k/train", ("a", "b"), 1)  # what is looked at without options
    write_class_folders(start / ".bob/data/imagenet-1k/val", ("a", "b"), 1)
    workspace = Workspace(Artifacts(start / "artifacts"), locations=with_options)
    assert workspace.dataset("imagenet-1k").fingerprints == load("imagenet-1k", with_options).fingerprints
    assert workspace.fingerprints("imagenet-1k") == load("imagenet-1k", with_options).fingerprints
    assert not locations().download
    assert locations().folder_of("eurosat").name == "eurosat"
    (start / "file").write_text("x")
    with pytest.raises(pytest.UsageError, match="--bob-data=file: is a file"):
        read_options(pytester.parseconfig("--bob-data=file"))
