"""Mini photos of which only the region of one role can be seen."""

from PIL import Image

from bob_gauntlet.datasets.mini.classification import role_region
from bob_gauntlet.datasets.mini.sources import read_photos


def paint_over_other_roles(role: str) -> dict[str, Image.Image]:
    """Return the mini photos by name, with magenta everywhere outside the region of a role."""
    painted = {}
    for name, photo in read_photos().items():
        box = role_region(photo.size, role)
        painted[name] = Image.new("RGB", photo.size, (255, 0, 255))
        painted[name].paste(photo.crop(box), box)
    return painted
