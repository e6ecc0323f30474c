"""Content hashes of files and the fingerprints made of them: what is read, what is kept, and what is seen."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.datasets import file_hashes, hash_log
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.file_stamps import ChangedFile
from bob_gauntlet.datasets.image_folders import ImageFiles, images_in_class_folders, images_in_list, labelled_split
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.artifacts import Artifacts
from tests.helpers.tiny_images import (
    HashedFiles,
    bmp,
    hide_change_times,
    rewrite,
    settle,
    swap_contents,
    write_colours,
)

MANY = {"cat": 520, "dog": 500}
"""More files than one hash of all bytes covers."""


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> HashedFiles:
    """The files that are read to hash them; files count as settled at once."""
    settle(monkeypatch)
    return HashedFiles(monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> Artifacts:
    """An empty cache."""
    return Artifacts(tmp_path / "cache")


def fingerprint(root: Path, cache: Artifacts | None = None, since: int = 0) -> str:
    """Return the fingerprint of the class folders of `root`, as a new process computes it."""
    return labelled_split(
        "train", images_in_class_folders(root, "x"), hashes=FileHashes(cache, since=since)
    ).fingerprint


def old_formula(files: ImageFiles) -> str:
    """Return the fingerprint as all versions before computed it for 1,000 files and fewer."""
    sha = hashlib.sha256("\n".join(files.classes).encode())
    sizes = [(files.root / path).stat().st_size for path in files.paths]
    sha.update("\n".join(f"{path}\t{size}" for path, size in zip(files.paths, sizes, strict=True)).encode())
    sha.update(files.labels.astype("<i8").tobytes())
    for path in files.paths:
        sha.update((files.root / path).read_bytes())
    return sha.hexdigest()[:16]


def test_fingerprints_of_few_files_are_the_old_ones(tmp_path: Path, cache: Artifacts) -> None:
    """Stored scores stay valid: the value is that of the old formula, with and without a cache, and from the cache."""
    write_colours(tmp_path / "t", {"cat": 5, "dog": 4})
    expected = old_formula(images_in_class_folders(tmp_path / "t", "x"))
    assert [fingerprint(tmp_path / "t", one) for one in (None, cache, cache)] == [expected] * 3


def test_one_file_more_is_the_other_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond MAX_FILES_IN_ONE_HASH it is a hash of the first 16 bytes of every file's SHA-256."""
    write_colours(tmp_path / "t", {"cat": 5, "dog": 4})
    files = images_in_class_folders(tmp_path / "t", "x")
    monkeypatch.setattr(file_hashes, "MAX_FILES_IN_ONE_HASH", 9)
    assert fingerprint(tmp_path / "t") == old_formula(files)
    monkeypatch.setattr(file_hashes, "MAX_FILES_IN_ONE_HASH", 8)
    sha = hashlib.sha256("\n".join(files.classes).encode())
    sha.update("\n".join(f"{path}\t{246}" for path in files.paths).encode())
    sha.update(files.labels.astype("<i8").tobytes())
    for path in files.paths:
        sha.update(hashlib.sha256((files.root / path).read_bytes()).digest()[:16])
    assert fingerprint(tmp_path / "t") == sha.hexdigest()[:16]


@pytest.mark.parametrize("counts", [{"cat": 5, "dog": 4}, MANY], ids=["few", "many"])
def test_only_changed_files_are_read_again(
    tmp_path: Path, cache: Artifacts, hashed: HashedFiles, counts: dict[str, int]
) -> None:
    """At a second start no file is read; after edits of the same size those files alone, and the value is another."""
    paths = write_colours(tmp_path / "t", counts)
    first = fingerprint(tmp_path / "t", cache)
    assert len(hashed.since_last()) == len(paths)
    assert fingerprint(tmp_path / "t", cache) == first
    assert hashed.since_last() == []
    seen = {first}
    edits: list[Callable[[Path], object]] = [
        lambda path: rewrite(path, bmp(1, 2, 3)),
        lambda path: rewrite(path, bmp(4, 5, 6), keep_time=True),
        lambda path: path.write_bytes(bmp(7, 8, 9) + b"more"),
    ]
    for number, edit in enumerate(edits):
        edit(paths[number])
        seen.add(fingerprint(tmp_path / "t", cache))
        assert hashed.since_last() == [f"cat/{number:05}.bmp"]
    assert len(seen) == 4
    assert fingerprint(tmp_path / "t") in seen


@pytest.mark.parametrize("counts", [{"cat": 5, "dog": 5}, {"cat": 510, "dog": 510}], ids=["few", "many"])
def test_swapped_classes_are_another_dataset(
    tmp_path: Path, cache: Artifacts, hashed: HashedFiles, counts: dict[str, int]
) -> None:
    """Exchanged contents of the same size are seen, and exchanged back the value is the first one again."""
    paths = write_colours(tmp_path / "t", counts)
    first = fingerprint(tmp_path / "t", cache)
    swap_contents(paths[:5], paths[-5:])
    assert fingerprint(tmp_path / "t", cache) != first
    swap_contents(paths[:5], paths[-5:], keep_time=True)
    assert fingerprint(tmp_path / "t", cache) == first


def test_files_that_swap_their_names_are_seen(tmp_path: Path, cache: Artifacts, hashed: HashedFiles) -> None:
    """Also where both have the same size and modification time, as from an archive."""
    paths = write_colours(tmp_path / "t", {"cat": 2, "dog": 2})
    for path in paths:
        os.utime(path, ns=(0, 0))
    first = fingerprint(tmp_path / "t", cache)
    time.sleep(0.02)
    paths[0].rename(tmp_path / "x")
    paths[2].rename(paths[0])
    (tmp_path / "x").rename(paths[2])
    assert fingerprint(tmp_path / "t", cache) != first


def test_an_edit_without_any_trace_needs_a_reading(
    tmp_path: Path, cache: Artifacts, hashed: HashedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without change times an edit that puts the time back is not seen, unless older hashes are not used."""
    hide_change_times(monkeypatch)
    paths = write_colours(tmp_path / "t", MANY)
    first = fingerprint(tmp_path / "t", cache)
    rewrite(paths[7], bmp(1, 2, 3), keep_time=True)
    assert fingerprint(tmp_path / "t", cache) == first
    hashed.since_last()
    hashes = FileHashes(cache, since=time.time_ns())
    verified = labelled_split("train", images_in_class_folders(tmp_path / "t", "x"), hashes=hashes).fingerprint
    assert verified != first
    assert hashes.unseen_changes == ["cat/00007.bmp"]
    assert len(hashed.since_last()) == len(paths)
    assert fingerprint(tmp_path / "t", cache) == verified
    assert hashed.since_last() == []


def test_files_that_were_just_written_are_read_again(
    tmp_path: Path, cache: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another edit within the same step of the clock would leave the same times."""
    hashed = HashedFiles(monkeypatch)
    hide_change_times(monkeypatch)
    paths = write_colours(tmp_path / "t", {"cat": 3, "dog": 2})
    for path in paths[1:]:
        os.utime(path, ns=(0, 1_000_000_000))
    first = fingerprint(tmp_path / "t", cache)
    hashed.since_last()
    rewrite(paths[0], bmp(1, 2, 3), keep_time=True)
    assert fingerprint(tmp_path / "t", cache) != first
    assert hashed.since_last() == ["cat/00000.bmp"]


def test_hashing_goes_on_after_a_kill(
    tmp_path: Path, cache: Artifacts, hashed: HashedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the blocks that were written are not read again, and the value is that of one run."""
    monkeypatch.setattr(hash_log, "FILES_IN_BLOCK", 100)
    monkeypatch.setattr(hash_log, "SECONDS_IN_BLOCK", 1e9)
    monkeypatch.setattr(file_hashes, "_CHUNK", 20)
    monkeypatch.setattr(file_hashes, "cores", lambda: 1)
    write_colours(tmp_path / "t", MANY)
    append, blocks = hash_log.HashLog.append, []

    def killed(log: hash_log.HashLog, records: hash_log.HashRecords) -> None:
        if len(blocks) == 4:
            raise SystemExit
        blocks.append(len(records))
        append(log, records)

    with monkeypatch.context() as patch:
        patch.setattr(hash_log.HashLog, "append", killed)
        with pytest.raises(SystemExit):
            fingerprint(tmp_path / "t", cache)
    assert blocks == [100] * 4
    hashed.since_last()
    value = fingerprint(tmp_path / "t", cache)
    assert len(hashed.since_last()) == 1_020 - 400
    assert value == fingerprint(tmp_path / "t")


def test_two_processes_read_every_file_once(tmp_path: Path, cache: Artifacts, hashed: HashedFiles) -> None:
    """The second one waits for the first one and reads its hashes."""
    write_colours(tmp_path / "t", MANY)
    values: list[str] = []
    threads = [
        threading.Thread(target=lambda: values.append(fingerprint(tmp_path / "t", Artifacts(cache.root))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(values)) == 1
    assert len(hashed.since_last()) == 1_020


def test_roles_below_one_folder_share_a_file(tmp_path: Path, cache: Artifacts, hashed: HashedFiles) -> None:
    """Lists name files of one folder, also outside of it and through links; each is followed and watched."""
    write_colours(tmp_path / "t", {"a": 3})
    write_colours(tmp_path / "elsewhere", {"b": 2})
    (tmp_path / "t/link.bmp").symlink_to(tmp_path / "elsewhere/b/00000.bmp")
    lists = {"train": ["a/00000.bmp", "link.bmp"], "test": ["a/00001.bmp", "../elsewhere/b/00001.bmp"]}

    def fingerprints() -> dict[str, str]:
        return {
            role: labelled_split(
                role,
                images_in_list(tmp_path / "t", "x", paths, np.array([0, 1]), ("k", "l")),
                hashes=FileHashes(cache),
            ).fingerprint
            for role, paths in lists.items()
        }

    first = fingerprints()
    assert len(hashed.since_last()) == 4
    assert fingerprints() == first
    assert hashed.since_last() == []
    assert len(list((cache.root / "hashes").glob("*.hashes"))) == 1
    rewrite(tmp_path / "elsewhere/b/00000.bmp", bmp(1, 2, 3))
    assert {role for role, value in fingerprints().items() if value != first[role]} == {"train"}
    rewrite(tmp_path / "elsewhere/b/00001.bmp", bmp(1, 2, 3))
    assert {role for role, value in fingerprints().items() if value != first[role]} == {"train", "test"}
    assert hashed.since_last() == ["../elsewhere/b/00001.bmp", "link.bmp"]


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path, hashed: HashedFiles) -> None:
    """All files are read each time, and the value is the same."""
    write_colours(tmp_path / "t", MANY)
    (tmp_path / "file").write_text("x")
    assert fingerprint(tmp_path / "t", Artifacts(tmp_path / "file/cache")) == fingerprint(tmp_path / "t")
    assert len(hashed.since_last()) == 2 * 1_020


def test_a_damaged_log_is_made_again(tmp_path: Path, cache: Artifacts, hashed: HashedFiles) -> None:
    """A flipped byte costs a reading and no wrong value."""
    write_colours(tmp_path / "t", MANY)
    first = fingerprint(tmp_path / "t", cache)
    [log] = (cache.root / "hashes").glob("*.hashes")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    hashed.since_last()
    assert fingerprint(tmp_path / "t", cache) == first
    assert len(hashed.since_last()) == 1_020


@pytest.mark.parametrize("counts", [{"cat": 5, "dog": 4}, MANY], ids=["few", "many"])
def test_a_file_that_changes_before_it_is_hashed_is_an_error(tmp_path: Path, counts: dict[str, int]) -> None:
    """A fingerprint is of the files as they were listed."""
    paths = write_colours(tmp_path / "t", counts)
    files = images_in_class_folders(tmp_path / "t", "x")
    rewrite(paths[2], bmp(1, 2, 3))
    with pytest.raises(ChangedFile, match=r"00002.bmp changed while its dataset was in use; run again"):
        labelled_split("train", files)
    paths[2].unlink()
    with pytest.raises(BobError, match=r"00002.bmp cannot be read \(No such file"):
        labelled_split("train", files)


def test_a_file_that_changes_between_two_readings_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few files are read twice, and both readings have to agree."""
    paths = write_colours(tmp_path / "t", {"cat": 2, "dog": 2})
    read_bytes = file_hashes.read_bytes

    def edited(path: Path) -> bytes:
        rewrite(paths[3], bmp(1, 2, 3))
        return read_bytes(path)

    monkeypatch.setattr(file_hashes, "read_bytes", edited)
    with pytest.raises(ChangedFile):
        fingerprint(tmp_path / "t")
