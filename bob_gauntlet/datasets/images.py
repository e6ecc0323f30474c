"""Reading images of any mode as RGB."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bob_gauntlet.errors import BobError

MAX_UNREADABLE_SHARE = 0.01
"""Share of a split's images that may be unreadable: they are counted, and grey stands for them."""


class UnreadableImage(BobError):
    """A file that is no image, or a broken one; the message is its path and the reason."""


def read_image(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """The image in a file, upright and in RGB; UnreadableImage where it is truncated or none.

    Where it has the annotated `size` (width, height) only as it lies in the file, that is how it was annotated, and it
    is left so.
    """
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _rgb(image if size == image.size != upright.size else upright)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path} ({error or type(error).__name__})") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB from any mode: EXIF rotation applied, 16 bits scaled to 8, transparency laid over white.

    >>> to_rgb(Image.new("L", (1, 1), 7)).getpixel((0, 0))
    (7, 7, 7)
    """
    return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Image.Image) -> Image.Image:
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
    """16-bit integers (0..65535, in mode F too) or floats in [0, 1] (mode F alone) as 0..255."""
    top = 1.0 if mode == "F" and values.max(initial=0) <= 1 else 65535.0
    return np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8)
