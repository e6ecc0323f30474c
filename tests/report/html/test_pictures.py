"""Tests of the pictures: positions of boxes and labels, each image once, and no section without pictures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.report.content import Report, gather
from bob_gauntlet.report.html.page import render_html
from bob_gauntlet.report.html.pictures import BACKBONES, COLOURS, BoxOverlay, DetectionPictures, Picture, build_pictures
from bob_gauntlet.report.html.provenance import collect_facts
from bob_gauntlet.report.writing import write
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.schema import json_schema
from bob_gauntlet.scores.pictures import PicturesDict
from bob_gauntlet.scores.score import Score
from tests.helpers.report_pictures import box, masked_detection, stored_picture, stored_pictures

EVIL = "<script>alert(1)</script>"
SETTING = "detection-frozen@photo-scenes"
KEY = {"network": "n", "split": "s"}


def score(backbone: str = EVIL, metric: str = "ap_box", setting: str = SETTING, value: float = 41.2) -> Score:
    """Return a score whose provenance refers to its stored pictures."""
    provenance = {"pictures": {"kind": "pictures", "key": KEY}}
    return Score(setting=setting, metric=metric, task="Det", value=value, backbone=backbone, provenance=provenance)


def report(*scores: Score, pictures: Any = None, **stored_by_backbone: dict[str, Any]) -> Report:
    """Return a report on these scores, without a pool; `stored_by_backbone` holds the pictures in SETTING."""
    names = (*(score.backbone for score in scores), *stored_by_backbone)
    scores_by_backbone = {name: [score for score in scores if score.backbone == name] for name in names}
    if pictures is None:
        pictures = {(name, SETTING): stored for name, stored in stored_by_backbone.items()}
    return replace(gather(None, scores_by_backbone), pictures=pictures)


def built(stored: dict[str, Any]) -> Picture:
    """Return the only picture of a report on one stored picture."""
    pictures = build_pictures(report(backbone=stored_pictures(stored)))
    assert pictures is not None
    return pictures.settings[0].backbones[0].pictures[0]


def test_pictures_are_loaded_from_the_artefacts_that_scores_refer_to(tmp_path: Path) -> None:
    """Without artefacts, or after they were deleted, there are no pictures."""
    artifacts = Artifacts(tmp_path)
    assert gather(None, {EVIL: [score()]}, artifacts=artifacts).pictures == {}
    stored = stored_pictures(stored_picture())
    artifacts.memo("pictures", KEY, lambda: stored, json_schema(PicturesDict))
    assert gather(None, {EVIL: [score()]}, artifacts=artifacts).pictures == {(EVIL, SETTING): stored}
    assert gather(None, {EVIL: [score()]}).pictures == {}


@pytest.mark.parametrize(
    "without_pictures",
    [gather(None, {EVIL: [score()]}), gather(load_pool("paper", Path("nowhere")), {}, highlight=["resnet50.dino"])],
    ids=["gone", "published"],
)
def test_without_pictures_there_is_no_section(without_pictures: Report) -> None:
    """The page has neither the section nor a link to it."""
    assert build_pictures(without_pictures) is None
    assert "picture-" not in render_html(without_pictures)
    assert 'href="#pictures"' not in render_html(without_pictures)


def test_boxes_masks_and_labels_are_placed() -> None:
    """Boxes are in px and masks are paths; a detection has its label above the box, an object below."""
    picture = built(stored_picture([box("cat", 0, at=(20, 30, 40, 20))], [box("dog", 9, 0.876, (110, 30, 40, 20))]))
    assert picture.objects == (BoxOverlay(20, 30, 40, 20, "", "cat", "left:10.0%;top:50.0%", 0),)
    assert picture.detections == (BoxOverlay(110, 30, 40, 20, "", "dog 0.88", "right:25.0%;bottom:70.0%", 9 % COLOURS),)
    two = {**masked_detection("a", 0), "outline": [[0, 50, 100, 100, 0, 100.5], [1, 2, 3, 4, 5, 6]]}
    assert built(stored_picture((), [two])).detections[0].path == "M0,50 100,100 0,100.5ZM1,2 3,4 5,6Z"


def test_labels_stay_inside_the_image() -> None:
    """Labels of boxes that reach beyond the image lie inside it."""
    beyond = (-10, -5, 300, 110)
    picture = built(stored_picture([box("cat", 0, at=beyond)], [box("dog", 0, 0.5, beyond)]))
    assert picture.objects[0].label_style == "right:0.0%;bottom:0.0%"
    assert picture.detections[0].label_style == "right:0.0%;top:0.0%"


def test_the_detection_with_the_highest_score_is_on_top() -> None:
    """Detections are stored by falling score and drawn in the opposite order."""
    picture = built(stored_picture((), [box("a", 0, 0.9), box("b", 0, 0.4)]))
    assert [detection.label for detection in picture.detections] == ["b 0.40", "a 0.90"]


def test_screen_readers_get_a_description() -> None:
    """The description lists the annotated objects and the detections, and says which objects are crowds."""
    picture = built(stored_picture([box("cat", 0), {**box("cow", 1), "crowd": True}], [box("dog", 0, 0.876)]))
    assert picture.about == "scene-7. Annotated objects: cat, cow (crowd). Detections: dog 0.88."
    assert built(stored_picture()).about == "scene-7. Annotated objects: none. Detections: none."


def test_an_image_is_in_the_page_once() -> None:
    """If several backbones show the same image, the others refer to the first one."""
    one, other = stored_picture(grey=10), stored_picture(grey=200)
    text = render_html(report(a=stored_pictures(one, other), b=stored_pictures(one, other)))
    assert text.count(one["jpeg"]) == text.count(other["jpeg"]) == 1
    assert text.count('id="picture-1"') == text.count('<use href="#picture-1"/>') == 1
    assert text.count('id="picture-2"') == text.count('<use href="#picture-2"/>') == 1


def test_backbones_show_their_scores_and_settings_their_rule() -> None:
    """The scores are the average precision of boxes and masks in this setting alone."""
    scores = [
        score("a"),
        score("a", "ap_mask", value=38.0),
        score("a", setting="detection-scratch@photo-scenes", value=9.0),
    ]
    stored = stored_pictures(stored_picture())
    pictures = build_pictures(report(*scores, score("b", value=7.0), a=stored, b=stored))
    assert pictures is not None
    [setting] = pictures.settings
    assert setting.setting == SETTING
    assert setting.rule.startswith("1 of 120 images (test), evenly spaced in the order of ids. ")
    assert [(each.backbone, each.scores) for each in setting.backbones] == [
        ("a", "AP of boxes 41.2%, AP of masks 38.0%"),
        ("b", "AP of boxes 7.0%"),
    ]


def test_a_page_shows_the_first_backbones_and_counts_the_others() -> None:
    """Settings are in the order of the scores, each with the backbones that have pictures in it."""
    names = [f"b{i}" for i in range(BACKBONES + 2)]
    pictures: dict[Any, Any] = {(name, SETTING): stored_pictures(stored_picture()) for name in names}
    pictures["b1", "ood-detection-frozen@fonts-scenes"] = stored_pictures(stored_picture())
    shown = build_pictures(report(pictures=pictures))
    assert isinstance(shown, DetectionPictures)
    backbones = [[each.backbone for each in setting.backbones] for setting in shown.settings]
    assert backbones == [names[:BACKBONES], ["b1"]]
    assert shown.left_out == 2
    assert "2 more backbones have pictures" in render_html(report(pictures=pictures))


def test_the_page_draws_the_pictures() -> None:
    """The page links to the section, its policy allows images, and hostile names are escaped."""
    picture = stored_picture([box(EVIL, 0)], [masked_detection(EVIL, 3)], name=EVIL)
    text = render_html(report(score(), pictures={(EVIL, SETTING): stored_pictures(picture)}))
    section = text.partition('<section id="pictures"')[2].partition("</section>")[0]
    assert 'href="#pictures"' in text
    assert "img-src data:;" in text
    assert EVIL not in text
    assert f'href="data:image/jpeg;base64,{picture["jpeg"]}"' in section
    assert (
        '<g class="detection c3"><path d="M0,50 100,100 0,100Z"/><rect x="0" y="50" width="100" height="50"/>'
        in section
    )
    assert section.count('<rect class="object" x="20" y="30" width="40" height="20"/>') == 1
    assert 'aria-label="&lt;script&gt;alert(1)&lt;/script&gt;. Annotated objects:' in section
    assert "AP of boxes 41.2%" in section


def test_other_formats_are_written_too(tmp_path: Path) -> None:
    """JSON holds the reference to the pictures but no picture; the facts of a setting do not repeat it."""
    for suffix in ("md", "csv", "json"):
        write(tmp_path / f"report.{suffix}", report(score("a"), a=stored_pictures(stored_picture())))
        text = (tmp_path / f"report.{suffix}").read_text()
        assert SETTING in text
        assert stored_picture()["jpeg"] not in text
    provenance = json.loads((tmp_path / "report.json").read_text())["scores"][0]["provenance"]
    assert provenance["pictures"] == {"kind": "pictures", "key": KEY}
    assert "pictures" not in collect_facts(score())
