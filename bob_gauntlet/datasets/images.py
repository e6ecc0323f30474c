"""Functions that read image files of any mode as RGB."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bob_gauntlet.errors import BobError

MAX_UNREADABLE_SHARE = 0.01
"""Share of a split's images that may be unreadable; such images are counted and replaced by grey ones."""


NOT_DECODED = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"))
"""Formats that Pillow recognises but cannot decode, or not without another program."""


@cache
def image_endings() -> frozenset[str]:
    """Return the endings of the image files that Pillow reads, in lower case and with their dots.

    >>> {".jpg", ".jfif", ".png", ".webp", ".avif"} - image_endings(), ".h5" in image_endings()
    (set(), False)
    """
    Image.init()
    endings = Image.registered_extensions()
    return frozenset(ending for ending, kind in endings.items() if kind in Image.OPEN and kind not in NOT_DECODED)


class UnreadableImage(BobError):
    """A file is not an image, or a broken one; the message is its path and the reason."""


def read_image(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """Return the image in a file as upright RGB; a truncated image or a file without one raises UnreadableImage.

    `size` is the (width, height) that an annotation gives. An image that has this size only before its EXIF rotation
    was annotated without the rotation, so it is not rotated.
    """
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _rgb(image if size == image.size != upright.size else upright)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path} ({error or type(error).__name__})") from error


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; raise BobError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BobError(f"{path} cannot be read ({error.strerror}); replace the file or remove it") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB: apply EXIF rotation, scale 16 bits to 8, lay transparency over white.

    >>> to_rgb(Image.new("L", (1, 1), 7)).getpixel((0, 0))
    (7, 7, 7)
    """
    return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB, without EXIF rotation."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image, np.float64), image.mode)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """Scale 16-bit integers (0..65535, also in mode F) or floats in [0, 1] (mode F alone) to uint8 0..255.

    Raises ValueError where a float is NaN or infinite: it is no brightness, and would decide about the scale of all.
    """
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are NaN or infinite")
    top = 1.0 if mode == "F" and values.max(initial=0) <= 1 else 65535.0
    return np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8)
