"""The reader of image files refuses a file that is no longer the one that was listed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bob_gauntlet.datasets.file_stamps import ChangedFile, file_stamp, stamp_array
from bob_gauntlet.datasets.image_reader import ImageReader
from bob_gauntlet.datasets.images import UnreadableImage
from tests.helpers.tiny_images import bmp, rewrite

RED, BLUE = bmp(255, 0, 0), bmp(0, 0, 255)


@pytest.fixture
def reader(tmp_path: Path) -> ImageReader:
    """The reader of a red image, of a file that is no image, and of a file that does not exist."""
    (tmp_path / "red.bmp").write_bytes(RED)
    (tmp_path / "text.bmp").write_text("no image")
    paths = ("red.bmp", "text.bmp", "absent.bmp")
    return ImageReader(tmp_path, paths, stamp_array([file_stamp(tmp_path / path) for path in paths]))


def test_an_unchanged_file_is_read(reader: ImageReader) -> None:
    """A file that cannot be read raises UnreadableImage, and `missing` names what does not exist."""
    assert reader(0).getpixel((0, 0)) == (255, 0, 0)
    for index in (1, 2):
        with pytest.raises(UnreadableImage):
            reader(index)
    assert reader.missing == ("absent.bmp",)


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (0, lambda path: rewrite(path, BLUE)),
        (0, lambda path: rewrite(path, BLUE, keep_time=True)),
        (0, lambda path: path.write_text("longer than no image")),
        (0, lambda path: path.unlink()),
        (1, lambda path: path.write_bytes(RED)),
        (2, lambda path: path.write_bytes(RED)),
    ],
    ids=["rewritten", "time put back", "broken", "deleted", "mended", "added"],
)
def test_a_changed_file_is_refused(reader: ImageReader, index: int, change: Callable[[Path], object]) -> None:
    """The error is one line that names the file, and not UnreadableImage, which would be a grey image."""
    change(reader.path(index))
    with pytest.raises(ChangedFile, match=rf"{reader.paths[index]} changed while .*; run again when") as caught:
        reader(index)
    assert not isinstance(caught.value, UnreadableImage)


def test_a_change_while_the_image_is_decoded_is_seen(reader: ImageReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stamp is compared after reading."""
    from bob_gauntlet.datasets import image_reader

    original = image_reader.read_image

    def slow(path: Path, size: object) -> object:
        image = original(path)
        rewrite(path, BLUE)
        return image

    monkeypatch.setattr(image_reader, "read_image", slow)
    with pytest.raises(ChangedFile):
        reader(0)
