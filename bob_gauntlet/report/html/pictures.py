"""The pictures of a page: a few test images with their annotated objects and each detector's detections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bob_gauntlet.report.content import Report
from bob_gauntlet.scores.score import Score

BACKBONES = 3
"""Most backbones with pictures on a page: each adds pictures to every setting."""

COLOURS = 8
"""Number of colours of classes. The ninth class has the colour of the first one again."""

LABEL_HEIGHT = 8
"""Height of a label in % of the image's height: the space that it needs outside its box."""


@dataclass(frozen=True)
class BoxOverlay:
    """An object or a detection as it is drawn: its box in px of the image, a path around its mask or "", and a label.

    `label_style` is the CSS position of the label, in % of the image; `colour` is the number of a class colour.
    """

    left: float
    top: float
    width: float
    height: float
    path: str
    label: str
    label_style: str
    colour: int = 0


@dataclass(frozen=True)
class Picture:
    """One image with its objects and detections.

    `source` is a data URL the first time that an image is on the page; a repeated image has "" and refers to `anchor`.
    """

    name: str
    about: str
    width: int
    height: int
    anchor: str
    source: str
    objects: tuple[BoxOverlay, ...]
    detections: tuple[BoxOverlay, ...]


@dataclass(frozen=True)
class BackbonePictures:
    """The pictures of one backbone in one setting, with its scores there."""

    backbone: str
    scores: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class SettingPictures:
    """The pictures of one setting, and the rule that chose the images and the detections."""

    setting: str
    rule: str
    backbones: tuple[BackbonePictures, ...]


@dataclass(frozen=True)
class DetectionPictures:
    """The pictures of every setting; `left_out` is the number of backbones beyond the first BACKBONES."""

    settings: tuple[SettingPictures, ...]
    left_out: int


def build_pictures(report: Report) -> DetectionPictures | None:
    """Build the pictures of the report's backbones; None if no pictures are stored, as for published scores."""
    names = list(dict.fromkeys(backbone for backbone, _ in report.pictures))
    shown = names[:BACKBONES]
    stored_by_setting: dict[str, dict[str, Mapping[str, Any]]] = {}
    for (backbone, setting), stored in report.pictures.items():
        if backbone in shown:
            stored_by_setting.setdefault(setting, {})[backbone] = stored
    if not stored_by_setting:
        return None
    anchors: dict[str, str] = {}
    settings = (
        _build_setting(report.scores, setting, stored_by_backbone, anchors)
        for setting, stored_by_backbone in stored_by_setting.items()
    )
    return DetectionPictures(tuple(settings), len(names) - len(shown))


def _build_setting(
    scores: Sequence[Score],
    setting: str,
    stored_by_backbone: Mapping[str, Mapping[str, Any]],
    anchors: dict[str, str],
) -> SettingPictures:
    """Build the pictures of one setting; `anchors` maps images that are on the page already to their ids."""
    backbones = (
        BackbonePictures(
            name,
            _describe_scores(scores, name, setting),
            tuple(_build_picture(picture, anchors) for picture in stored["pictures"]),
        )
        for name, stored in stored_by_backbone.items()
    )
    return SettingPictures(setting, _describe_rule(next(iter(stored_by_backbone.values()))), tuple(backbones))


def _describe_rule(stored: Mapping[str, Any]) -> str:
    """Return how the images and the detections of a setting were chosen.

    >>> _describe_rule({"pictures": [1, 2], "images": 120, "role": "test", "least_score": 0.3, "most": 25})
    '2 of 120 images (test), evenly spaced in the order of ids. At most 25 detections with a score of at least 0.3'
    """
    return (
        f"{len(stored['pictures'])} of {stored['images']} images ({stored['role']}), evenly spaced in the order of "
        f"ids. At most {stored['most']} detections with a score of at least {stored['least_score']}"
    )


def _describe_scores(scores: Sequence[Score], backbone: str, setting: str) -> str:
    """Return the average precision of a backbone's boxes and masks in a setting, as far as they were measured."""
    values = {score.metric: score.value for score in scores if (score.backbone, score.setting) == (backbone, setting)}
    kinds = (("ap_box", "boxes"), ("ap_mask", "masks"))
    return ", ".join(f"AP of {kind} {values[metric]:.1f}%" for metric, kind in kinds if metric in values)


def _build_picture(stored: Mapping[str, Any], anchors: dict[str, str]) -> Picture:
    width, height, jpeg = stored["width"], stored["height"], stored["jpeg"]
    is_new = jpeg not in anchors
    anchor = anchors.setdefault(jpeg, f"picture-{len(anchors) + 1}")
    return Picture(
        name=stored["id"],
        about=_describe_picture(stored),
        width=width,
        height=height,
        anchor=anchor,
        source=f"data:image/jpeg;base64,{jpeg}" if is_new else "",
        objects=tuple(_build_overlay(each, width, height, _object_label(each)) for each in stored["objects"]),
        # stored by falling score; the detection with the highest score is drawn last, above the others
        detections=tuple(
            _build_overlay(each, width, height, _detection_label(each), label_above=True)
            for each in reversed(stored["detections"])
        ),
    )


def _describe_picture(stored: Mapping[str, Any]) -> str:
    """Return the objects and the detections of an image as text, for screen readers."""
    objects = ", ".join(map(_object_label, stored["objects"])) or "none"
    detections = ", ".join(map(_detection_label, stored["detections"])) or "none"
    return f"{stored['id']}. Annotated objects: {objects}. Detections: {detections}."


def _object_label(annotated: Mapping[str, Any]) -> str:
    return f"{annotated['class']} (crowd)" if annotated["crowd"] else str(annotated["class"])


def _detection_label(detection: Mapping[str, Any]) -> str:
    return f"{detection['class']} {detection['score']:.2f}"


def _build_overlay(
    stored: Mapping[str, Any], width: int, height: int, label: str, *, label_above: bool = False
) -> BoxOverlay:
    """Build the overlay of an object or a detection on an image of `width` x `height` px.

    The label is above or below the box, or inside it where the image ends.
    """
    left, top, box_width, box_height = stored["box"]
    left_percent, top_percent = 100 * left / width, 100 * top / height
    right_percent, bottom_percent = 100 * (left + box_width) / width, 100 * (top + box_height) / height
    # the label starts at the box's outer side and extends towards the middle of the image, where there is room
    if left_percent + right_percent <= 100:
        horizontal = f"left:{max(left_percent, 0):.1f}%"
    else:
        horizontal = f"right:{max(100 - right_percent, 0):.1f}%"
    if label_above:
        fits = top_percent > LABEL_HEIGHT
        vertical = f"bottom:{100 - top_percent:.1f}%" if fits else f"top:{max(top_percent, 0):.1f}%"
    else:
        fits = bottom_percent < 100 - LABEL_HEIGHT
        vertical = f"top:{bottom_percent:.1f}%" if fits else f"bottom:{max(100 - bottom_percent, 0):.1f}%"
    path = "".join(_closed_path(polygon) for polygon in stored["outline"])
    colour = stored["label"] % COLOURS
    return BoxOverlay(left, top, box_width, box_height, path, label, f"{horizontal};{vertical}", colour)


def _closed_path(polygon: Sequence[float]) -> str:
    """Return an SVG path around the polygon [x, y, x, y, ...].

    >>> _closed_path([0, 1.5, 2, 1.5, 2.0, 3])
    'M0,1.5 2,1.5 2,3Z'
    """
    points = (f"{x:g},{y:g}" for x, y in zip(polygon[::2], polygon[1::2], strict=True))
    return f"M{' '.join(points)}Z"
