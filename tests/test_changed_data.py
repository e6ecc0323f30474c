"""Gauntlet.run on files that change: a score is of the data that it names, whatever the store and the cache hold."""

from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.datasets.file_stamps import ChangedFile
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.spec import UserDataset
from bob_gauntlet.gauntlet import Gauntlet, Workspace
from bob_gauntlet.protocols.knn import KNN
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.run_config import RunConfig
from bob_gauntlet.scores.score import Score
from tests.helpers.dataset_trees import imagenet
from tests.helpers.synthetic_images import Colours, backbone
from tests.helpers.tiny_images import (
    HashedFiles,
    bmp,
    hide_change_times,
    rewrite,
    settle,
    swap_contents,
    write_colours,
)

PROTOCOL = KNN(input_size=16, ks=(1,))
CLASSES = {"cat": 20, "dog": 20, "eel": 990}


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once."""
    settle(monkeypatch)


@pytest.fixture
def train(tmp_path: Path) -> list[Path]:
    """1,030 images to train on, of three classes by colour; six others of the colours of the first two classes test."""
    write_colours(tmp_path / "test", {"cat": 3, "dog": 3}, first=5_000)
    return write_colours(tmp_path / "train", CLASSES)


def on_folder(folder: Path, scores: list[Score] | None = None, **options: Any) -> Gauntlet:
    """Return the gauntlet of a new process with the cache of `folder`, which has these scores in its store."""
    declared = UserDataset.from_table(
        "mine", {"kind": "folder", "train": "train", "test": "test"}, folder, declared_in="bob.toml"
    )
    again = [Score.from_dict(score.to_dict()) for score in scores or []]
    colours = backbone(Colours())
    workspace = Workspace(
        Artifacts(folder / "cache"),
        RunConfig(**options),
        {score.identity: score for score in again},
        locations=DataLocations(folder, user_datasets={"mine": declared}),
        _identities={colours.name: colours.identity},
        _backbones={colours.name: colours},
    )
    return Gauntlet(colours.spec, workspace)


def run(folder: Path, scores: list[Score] | None = None, **options: Any) -> tuple[float, str, list[Score]]:
    """Return top-1 of kNN, whether it was measured or stored, and the scores."""
    gauntlet = on_folder(folder, scores, **options)
    measured = gauntlet.run(PROTOCOL, "mine")
    return measured[0].value, gauntlet.results[0].origin, measured


@pytest.mark.parametrize("keep_time", [False, True], ids=["new times", "times put back"])
def test_swapped_pixels_are_measured(tmp_path: Path, train: list[Path], keep_time: bool) -> None:
    """The contents of two classes are exchanged in place, in more than 1,000 files: the score is another."""
    value, origin, first = run(tmp_path)
    assert (value, origin) == (100.0, "measured")
    assert run(tmp_path, first)[:2] == (100.0, "store")
    swap_contents(train[:20], train[20:40], keep_time=keep_time)
    value, origin, second = run(tmp_path, first)
    assert (value, origin) == (0.0, "measured")
    assert second[0].datasets["train"] != first[0].datasets["train"]
    assert run(tmp_path, [*first, *second])[:2] == (0.0, "store")


def test_rerun_uses_nothing_that_it_has_not_verified(
    tmp_path: Path, train: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the edit left size and times as they were, `rerun` reads all files, and so does not use old features."""
    hide_change_times(monkeypatch)
    _, _, first = run(tmp_path)
    swap_contents(train[:20], train[20:40], keep_time=True)
    assert run(tmp_path, first)[:2] == (100.0, "store")  # no trace: documented
    hashed = HashedFiles(monkeypatch)
    value, origin, second = run(tmp_path, first, rerun=True)
    assert (value, origin) == (0.0, "measured")
    assert len(hashed.since_last()) == 1_036
    # from then on every process knows
    assert run(tmp_path, [*first, *second])[:2] == (0.0, "store")
    assert hashed.since_last() == []


def test_rerun_hashes_once_in_a_process(tmp_path: Path, train: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second setting of a process does not hash again, and features of verified content are read."""
    _, _, first = run(tmp_path)
    hashed = HashedFiles(monkeypatch)
    gauntlet = on_folder(tmp_path, first, rerun=True)
    features = (tmp_path / "cache/features").glob("*.safetensors")
    written = {path: path.stat().st_mtime_ns for path in features}
    for ks in ((1,), (3,)):
        gauntlet.run(KNN(input_size=16, ks=ks), "mine")
    assert [result.origin for result in gauntlet.results] == ["measured"] * 2
    assert len(hashed.since_last()) == 1_036
    assert written
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_file_that_changes_before_it_is_read_stops_the_setting(tmp_path: Path, train: list[Path]) -> None:
    """No score is stamped with data that was not read, and no features are kept; the next run is right."""
    gauntlet = on_folder(tmp_path)
    listed = gauntlet.workspace.fingerprints("mine")
    rewrite(train[7], bmp(1, 2, 3))
    with pytest.raises(ChangedFile, match=r"00007.bmp changed while its dataset was in use"):
        gauntlet.run(PROTOCOL, "mine")
    assert gauntlet.results == []
    assert not list((tmp_path / "cache").glob("features/*.safetensors"))
    [score, *_] = gauntlet.run(PROTOCOL, "mine")
    assert score.datasets["train"] != listed["train"]
    assert (
        score.datasets == gauntlet.workspace.fingerprints("mine") == on_folder(tmp_path).workspace.fingerprints("mine")
    )


def test_a_score_is_stamped_with_what_was_loaded(
    tmp_path: Path, train: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the files change between the look at the store and loading, the score has the later fingerprints."""
    gauntlet = on_folder(tmp_path)
    stale = dict(gauntlet.workspace.fingerprints("mine"))
    gauntlet.workspace._dataset = None
    rewrite(train[7], bmp(1, 2, 3))
    [score, *_] = gauntlet.run(PROTOCOL, "mine")
    assert score.datasets["train"] != stale["train"]
    assert score.datasets == on_folder(tmp_path).workspace.fingerprints("mine")


def test_shared_images_are_in_the_provenance(tmp_path: Path, train: list[Path]) -> None:
    """A link of test to train is counted in every score of the setting."""
    assert "leaks" not in run(tmp_path)[2][0].provenance
    (tmp_path / "test/cat/link.bmp").symlink_to(train[3])
    for score in run(tmp_path)[2]:
        [leak] = score.provenance["leaks"]
        assert (leak["role"], leak["other"], leak["count"], leak["total"]) == ("test", "train", 1, 7)
        assert leak["names"] == [["cat/link.bmp", "cat/00003.bmp"]]


def test_rerun_reads_no_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest of a dataset of the catalog is written anew; other processes read the new one."""
    hide_change_times(monkeypatch)
    imagenet(tmp_path)

    def workspace(**options: Any) -> Workspace:
        return Workspace(Artifacts(tmp_path / "cache"), RunConfig(**options), locations=DataLocations(tmp_path))

    first = dict(workspace().fingerprints("imagenet-1k"))
    path = next((tmp_path / "imagenet-1k/train/n01443537").iterdir())
    rewrite(path, path.read_bytes()[::-1], keep_time=True)
    assert workspace().fingerprints("imagenet-1k") == first
    verified = workspace(rerun=True).fingerprints("imagenet-1k")
    assert {role for role in first if verified[role] != first[role]} == {"train"}
    assert workspace().fingerprints("imagenet-1k") == verified
