"""Tests that any image file becomes an upright RGB image, or raises an error that names it."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bob_gauntlet.datasets.images import UnreadableImage, read_image, to_rgb

RED, WHITE = (255, 0, 0), (255, 255, 255)


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    """Return the pixels row by row."""
    return [tuple(p) for p in np.asarray(image).reshape(-1, 3).tolist()]


def reread(image: Image.Image, path: Path, **options: Any) -> Image.Image:
    """Save an image and read it again."""
    image.save(path, **options)
    image = read_image(path)
    assert image.mode == "RGB"
    return image


def test_one_pixel(tmp_path: Path) -> None:
    """The smallest image is read, from a file whose name is not ASCII."""
    image = reread(Image.new("RGB", (1, 1), RED), tmp_path / "ein Pixel é.png")
    assert (image.size, pixels(image)) == ((1, 1), [RED])


@pytest.mark.parametrize(("mode", "value", "grey"), [("L", 7, 7), ("1", 1, 255)])
def test_grey_is_equal_in_every_channel(tmp_path: Path, mode: str, value: int, grey: int) -> None:
    """Grey images of 8 bits and of 1 bit get the same value in every channel."""
    assert pixels(reread(Image.new(mode, (2, 1), value), tmp_path / "x.png")) == [(grey,) * 3] * 2


def test_cmyk_is_read_as_ink(tmp_path: Path) -> None:
    """No ink is white and black ink is black; full magenta and yellow is red, up to JPEG's rounding."""
    image = Image.new("CMYK", (48, 16), (0, 0, 0, 0))
    image.paste((0, 255, 255, 0), (16, 0, 32, 16))
    image.paste((0, 0, 0, 255), (32, 0, 48, 16))
    rgb = reread(image, tmp_path / "x.jpg", quality=100)
    np.testing.assert_allclose(np.asarray(rgb)[8, [8, 24, 40]].astype(int), [WHITE, RED, (0, 0, 0)], atol=3)


def palette() -> Image.Image:
    """Return an image of two pixels, of the palette's colours 0 (red) and 1 (blue)."""
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return image


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    """The indices of a palette become its colours, not grey levels."""
    assert pixels(reread(palette(), tmp_path / "x.png")) == [RED, (0, 0, 255)]


def test_a_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    """A transparent colour of a palette becomes white."""
    assert pixels(reread(palette(), tmp_path / "x.png", transparency=1)) == [RED, WHITE]
    assert pixels(reread(palette(), tmp_path / "x.gif", transparency=1)) == [RED, WHITE]


def test_a_palette_with_half_transparent_colours(tmp_path: Path) -> None:
    """PNG's tRNS gives each colour its own opacity: blue at 51 of 255 over white is 4/5 white, (204, 204, 255)."""
    assert pixels(reread(palette(), tmp_path / "x.png", transparency=bytes([255, 51]))) == [RED, (204, 204, 255)]


def test_a_transparent_colour_of_an_rgb_image_is_white(tmp_path: Path) -> None:
    """The colour that PNG's tRNS of a truecolour image names becomes white."""
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), (0, 0, 255))
    assert pixels(reread(image, tmp_path / "x.png", transparency=(0, 0, 255))) == [RED, WHITE]
    assert pixels(reread(image, tmp_path / "y.png")) == [RED, (0, 0, 255)]


# 0 at opacity 51/255 = 1/5 over 255 is 255 * 4/5 = 204
@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (0, 0, 0, 51)), ("LA", (0, 51))])
def test_transparency_lies_over_white(tmp_path: Path, mode: str, colour: tuple[int, ...]) -> None:
    """Transparent pixels are laid over white, since black would add shapes that nobody sees."""
    assert pixels(reread(Image.new(mode, (1, 1), colour), tmp_path / "x.png")) == [(204, 204, 204)]


# 65535 -> 255, 32768 -> 127.5 up, 257 -> 1 (65535 = 255 * 257), 1 -> 0.004
@pytest.mark.parametrize("values", [[0, 257, 32768, 65535], [0, 1, 1, 0]], ids=["full range", "nearly black"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, values: list[int]) -> None:
    """16 bits are scaled by the range of the format, not by the image's own range: a dark image stays dark."""
    wanted = [{0: 0, 1: 0, 257: 1, 32768: 128, 65535: 255}[value] for value in values]
    for ending in ("png", "tif"):
        image = Image.fromarray(np.array([values], np.uint16))
        assert pixels(reread(image, tmp_path / f"x.{ending}")) == [(grey,) * 3 for grey in wanted]


def test_sixteen_bits_a_channel(tmp_path: Path) -> None:
    """A PNG of three 16-bit channels keeps the high bytes; it is written by hand, since Pillow cannot write it."""
    row = b"\0" + struct.pack(">6H", 65535, 0, 0, 0x1234, 0x5678, 0x9ABC)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert pixels(read_image(tmp_path / "x.png")) == [RED, (0x12, 0x56, 0x9A)]


def test_floats_in_the_unit_interval(tmp_path: Path) -> None:
    """In mode F the range from 0 to 1 is black to white."""
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))
    assert [p[0] for p in pixels(reread(image, tmp_path / "x.tif"))] == [0, 128, 255]


# EXIF 2.3, tag 0x0112: 1 upright, 3 upside down, 6 to be turned right, 8 to be turned left; 2, 4, 5, 7 mirrored
@pytest.mark.parametrize(
    ("orientation", "size", "red"),
    [(1, (3, 2), (0, 0)), (3, (3, 2), (2, 1)), (6, (2, 3), (1, 0)), (8, (2, 3), (0, 2)), (2, (3, 2), (2, 0))],
)
def test_exif_turns_the_image(tmp_path: Path, orientation: int, size: tuple[int, int], red: tuple[int, int]) -> None:
    """The stored top left pixel is red, and is seen where the orientation tag puts it."""
    image, exif = Image.new("RGB", (3, 2)), Image.Exif()
    image.putpixel((0, 0), RED)
    exif[0x0112] = orientation
    upright = reread(image, tmp_path / "x.png", exif=exif)
    assert (upright.size, upright.getpixel(red)) == (size, RED)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_of_nan_makes_an_image_unreadable(tmp_path: Path, bad: float) -> None:
    """Such an image counts as unreadable: one NaN used to turn all other pixels black."""
    path = tmp_path / "a.tiff"
    Image.fromarray(np.array([[0.5, bad, 0.5]], np.float32)).save(path)
    with pytest.raises(UnreadableImage, match=r"a\.tiff \(it has pixels that are NaN or infinite\)"):
        read_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    """An image of any mode becomes RGB of the same size."""
    rgb = to_rgb(Image.new(mode, (3, 2)))
    assert (rgb.mode, rgb.size) == ("RGB", (3, 2))


def assert_refused(path: Path) -> None:
    """Assert that reading the file raises an error of one line that names it."""
    with pytest.raises(UnreadableImage) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path} (")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "tif", "webp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_a_truncated_file_is_named(tmp_path: Path, ending: str, share: float) -> None:
    """A truncated file is refused, never read as half an image: Pillow's LOAD_TRUNCATED_IMAGES is off."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / f"whole.{ending}")
    content = (tmp_path / f"whole.{ending}").read_bytes()
    path = tmp_path / f"ç cut.{ending}"
    path.write_bytes(content[: int(len(content) * share)])
    assert_refused(path)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    """A text, a folder, an absent file, and a header that claims 10 gigapixels are refused."""
    (tmp_path / "text.jpg").write_text("hello")
    assert_refused(tmp_path / "text.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert_refused(tmp_path / "folder.jpg")
    assert_refused(tmp_path / "absent.jpg")
    (tmp_path / "bomb.ppm").write_bytes(b"P6 100000 100000 255\n")
    assert_refused(tmp_path / "bomb.ppm")


@pytest.mark.parametrize(
    ("annotated_size", "size"), [(None, (10, 20)), ((10, 20), (10, 20)), ((20, 10), (20, 10)), ((5, 5), (10, 20))]
)
def test_an_image_lies_as_its_annotation_does(
    annotated_size: tuple[int, int] | None, size: tuple[int, int], tmp_path: Path
) -> None:
    """An image is upright, unless its annotation is of the pixels as the camera stored them."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image = Image.new("RGB", (20, 10))
    image.putpixel((0, 0), (255, 255, 255))
    image.save(tmp_path / "turned.png", exif=exif)
    read = read_image(tmp_path / "turned.png", annotated_size)
    assert read.size == size
    corner = (0, 0) if size == (20, 10) else (9, 0)
    assert read.getpixel(corner) == (255, 255, 255)
