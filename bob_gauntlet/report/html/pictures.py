"""The images of a page: what is on a few test images, and what each backbone's detector found there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bob_gauntlet.report.content import Report
from bob_gauntlet.scores.score import Score

BACKBONES = 3
"""Backbones of a page at most, the first ones: each brings images to every setting."""

COLOURS = 8
"""Of classes; they come again from the ninth on."""

ROOM = 8
"""% of an image's height that a label needs outside its box."""


@dataclass(frozen=True)
class Mark:
    """An object or a detection: its box in px of the image, a path around its mask or "", and a label.

    `place` is the CSS position of the label, in % of the image; `colour` the number of a detection's.
    """

    left: float
    top: float
    width: float
    height: float
    path: str
    label: str
    place: str
    colour: int = 0


@dataclass(frozen=True)
class Picture:
    """One image: `source` is a data URL where it first stands in the page, and "" where `anchor` is used again."""

    name: str
    about: str
    width: int
    height: int
    anchor: str
    source: str
    objects: tuple[Mark, ...]
    detections: tuple[Mark, ...]


@dataclass(frozen=True)
class Row:
    """One backbone in one setting."""

    backbone: str
    scores: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Sight:
    """One setting, with how its images and what is drawn on them were chosen."""

    setting: str
    rule: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Sights:
    """A sight a setting; `left_out` counts backbones beyond BACKBONES."""

    settings: tuple[Sight, ...]
    left_out: int


def sights(report: Report) -> Sights | None:
    """The images that the report's backbones were tested on; None where none are kept (published scores)."""
    names = list(dict.fromkeys(backbone for backbone, _ in report.pictures))
    shown = names[:BACKBONES]
    by_setting: dict[str, dict[str, Mapping[str, Any]]] = {}
    for (backbone, setting), kept in report.pictures.items():
        if backbone in shown:
            by_setting.setdefault(setting, {})[backbone] = kept
    if not by_setting:
        return None
    anchors: dict[str, str] = {}
    found = (_sight(report.scores, setting, kept, anchors) for setting, kept in by_setting.items())
    return Sights(tuple(found), len(names) - len(shown))


def _sight(
    scores: Sequence[Score], setting: str, kept: Mapping[str, Mapping[str, Any]], anchors: dict[str, str]
) -> Sight:
    rows = (
        Row(name, _scores(scores, name, setting), tuple(_picture(each, anchors) for each in own["pictures"]))
        for name, own in kept.items()
    )
    return Sight(setting, _rule(next(iter(kept.values()))), tuple(rows))


def _rule(kept: Mapping[str, Any]) -> str:
    """How images and marks were chosen.

    >>> _rule({"pictures": [1, 2], "images": 120, "role": "test", "least_score": 0.3, "most": 25})
    '2 of 120 images (test), evenly spaced in the order of ids; detections with a score of at least 0.3, 25 at most'
    """
    return (
        f"{len(kept['pictures'])} of {kept['images']} images ({kept['role']}), evenly spaced in the order of ids; "
        f"detections with a score of at least {kept['least_score']}, {kept['most']} at most"
    )


def _scores(scores: Sequence[Score], backbone: str, setting: str) -> str:
    """The average precision of a backbone's boxes, and of masks where there are any."""
    own = {score.metric: score.value for score in scores if (score.backbone, score.setting) == (backbone, setting)}
    kinds = (("ap_box", "boxes"), ("ap_mask", "masks"))
    return ", ".join(f"AP of {kind} {own[metric]:.1f}%" for metric, kind in kinds if metric in own)


def _picture(kept: Mapping[str, Any], anchors: dict[str, str]) -> Picture:
    width, height, packed = kept["width"], kept["height"], kept["jpeg"]
    new = packed not in anchors
    anchor = anchors.setdefault(packed, f"picture-{len(anchors) + 1}")
    return Picture(
        name=kept["id"],
        about=_about(kept),
        width=width,
        height=height,
        anchor=anchor,
        source=f"data:image/jpeg;base64,{packed}" if new else "",
        objects=tuple(_mark(one, width, height, _true(one)) for one in kept["objects"]),
        # the surest is drawn last, over the others
        detections=tuple(_mark(one, width, height, _guess(one), above=True) for one in reversed(kept["detections"])),
    )


def _about(kept: Mapping[str, Any]) -> str:
    """What an image shows, for those who do not see it."""
    there = ", ".join(map(_true, kept["objects"])) or "nothing"
    found = ", ".join(map(_guess, kept["detections"])) or "nothing"
    return f"{kept['id']}. There: {there}. Found: {found}."


def _true(one: Mapping[str, Any]) -> str:
    return f"{one['class']} (crowd)" if one["crowd"] else str(one["class"])


def _guess(one: Mapping[str, Any]) -> str:
    return f"{one['class']} {one['score']:.2f}"


def _mark(one: Mapping[str, Any], width: int, height: int, label: str, *, above: bool = False) -> Mark:
    """A detection's label stands above its box, an object's below; each inside where there is no room."""
    left, top, across, down = one["box"]
    x, y = 100 * left / width, 100 * top / height
    right, bottom = 100 * (left + across) / width, 100 * (top + down) / height
    # towards the middle, where there is room
    sideways = f"left:{max(x, 0):.1f}%" if x + right <= 100 else f"right:{max(100 - right, 0):.1f}%"
    if above:
        upright = f"bottom:{100 - y:.1f}%" if y > ROOM else f"top:{max(y, 0):.1f}%"
    else:
        upright = f"top:{bottom:.1f}%" if bottom < 100 - ROOM else f"bottom:{max(100 - bottom, 0):.1f}%"
    path = "".join(_closed(polygon) for polygon in one["outline"])
    return Mark(left, top, across, down, path, label, f"{sideways};{upright}", one["label"] % COLOURS)


def _closed(polygon: Sequence[float]) -> str:
    """A path around [x, y, x, y, ...].

    >>> _closed([0, 1.5, 2, 1.5, 2.0, 3])
    'M0,1.5 2,1.5 2,3Z'
    """
    return f"M{' '.join(_pairs(polygon))}Z"


def _pairs(polygon: Sequence[float]) -> Iterator[str]:
    for x, y in zip(polygon[::2], polygon[1::2], strict=True):
        yield f"{x:g},{y:g}"
