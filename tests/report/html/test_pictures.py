"""Images in a page: marks where the boxes say, each image once, and nothing where none are kept."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.report.content import Report, gather
from bob_gauntlet.report.html.page import page
from bob_gauntlet.report.html.pictures import BACKBONES, COLOURS, Mark, Picture, Sights, sights
from bob_gauntlet.report.html.provenance import facts
from bob_gauntlet.report.writing import write
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.scores.score import Score

EVIL = "<script>alert(1)</script>"
SETTING = "detection-frozen@photo-scenes"
KEY = {"network": "n", "split": "s"}


def box(name: str, label: int, score: float | None = None, at: Any = (20, 30, 40, 20)) -> dict[str, Any]:
    """An object without a mask, or a detection where there is a score."""
    found = {"box": list(at), "label": label, "class": name, "outline": []}
    return {**found, "crowd": False} if score is None else {**found, "score": score}


def detection(name: str, label: int) -> dict[str, Any]:
    """One with a mask: a triangle in the lower left quarter of 200 x 100 pixels."""
    return {**box(name, label, 0.5, (0, 50, 100, 50)), "outline": [[0, 50, 100, 100, 0, 100]]}


def picture(objects: Any = (), detections: Any = (), name: str = "scene-7", hue: int = 0) -> dict[str, Any]:
    """200 x 100 pixels of one grey."""
    file = io.BytesIO()
    Image.new("RGB", (200, 100), (hue, hue, hue)).save(file, "JPEG")
    packed = base64.b64encode(file.getvalue()).decode()
    return {
        "id": name, "width": 200, "height": 100, "jpeg": packed, "objects": list(objects),
        "detections": list(detections),
    }  # fmt: skip


def kept(*pictures: dict[str, Any]) -> dict[str, Any]:
    """What `engine.pictures` keeps of a split."""
    return {"role": "test", "images": 120, "least_score": 0.3, "most": 25, "pictures": list(pictures)}


def score(backbone: str = EVIL, metric: str = "ap_box", setting: str = SETTING, value: float = 41.2) -> Score:
    """A score that says where its pictures are."""
    where = {"pictures": {"kind": "pictures", "key": KEY}}
    return Score(setting=setting, metric=metric, task="Det", value=value, backbone=backbone, provenance=where)


def report(*scores: Score, pictures: Any = None, **found: dict[str, Any]) -> Report:
    """Of these scores, without a pool; `found` is what each backbone has in SETTING."""
    own = {name: [s for s in scores if s.backbone == name] for name in (*(s.backbone for s in scores), *found)}
    shown = {(name, SETTING): each for name, each in found.items()} if pictures is None else pictures
    return replace(gather(None, own), pictures=shown)


def drawn(made: dict[str, Any]) -> Picture:
    """The only picture of a report."""
    found = sights(report(mine=kept(made)))
    assert found is not None
    return found.settings[0].rows[0].pictures[0]


def test_they_are_read_from_the_artefacts_that_scores_name(tmp_path: Path) -> None:
    """And where they are gone, or nobody kept artefacts, there is no section."""
    artifacts = Artifacts(tmp_path)
    assert gather(None, {EVIL: [score()]}, artifacts=artifacts).pictures == {}
    artifacts.memo("pictures", KEY, lambda: kept(picture()))
    assert gather(None, {EVIL: [score()]}, artifacts=artifacts).pictures == {(EVIL, SETTING): kept(picture())}
    assert gather(None, {EVIL: [score()]}).pictures == {}


@pytest.mark.parametrize(
    "found",
    [gather(None, {EVIL: [score()]}), gather(load_pool("paper", Path("nowhere")), {}, highlight=["resnet50.dino"])],
    ids=["gone", "published"],
)
def test_without_pictures_there_is_no_section(found: Report) -> None:
    """Nor a name in the navigation."""
    assert sights(found) is None
    assert "picture-" not in page(found)
    assert 'href="#pictures"' not in page(found)


def test_boxes_masks_and_labels_stand_where_they_were_found() -> None:
    """Boxes in px; a mask as a path; a detection's label above its box, an object's below, at the inner side."""
    own = drawn(picture([box("cat", 0, at=(20, 30, 40, 20))], [box("dog", 9, 0.876, (110, 30, 40, 20))]))
    assert own.objects == (Mark(20, 30, 40, 20, "", "cat", "left:10.0%;top:50.0%", 0),)
    assert own.detections == (Mark(110, 30, 40, 20, "", "dog 0.88", "right:25.0%;bottom:70.0%", 9 % COLOURS),)
    two = {**detection("a", 0), "outline": [[0, 50, 100, 100, 0, 100.5], [1, 2, 3, 4, 5, 6]]}
    assert drawn(picture((), [two])).detections[0].path == "M0,50 100,100 0,100.5ZM1,2 3,4 5,6Z"


def test_labels_stay_inside_the_image() -> None:
    """Of what touches the upper or lower edge, or sticks out of one."""
    at = (-10, -5, 300, 110)
    own = drawn(picture([box("cat", 0, at=at)], [box("dog", 0, 0.5, at)]))
    assert own.objects[0].place == "right:0.0%;bottom:0.0%"
    assert own.detections[0].place == "right:0.0%;top:0.0%"


def test_the_surest_detection_lies_on_top() -> None:
    """They are kept best first, and drawn the other way round."""
    own = drawn(picture((), [box("a", 0, 0.9), box("b", 0, 0.4)]))
    assert [mark.label for mark in own.detections] == ["b 0.40", "a 0.90"]


def test_who_does_not_see_it_is_told() -> None:
    """What is there and what was found, crowds as such."""
    own = drawn(picture([box("cat", 0), {**box("cow", 1), "crowd": True}], [box("dog", 0, 0.876)]))
    assert own.about == "scene-7. There: cat, cow (crowd). Found: dog 0.88."
    assert drawn(picture()).about == "scene-7. There: nothing. Found: nothing."


def test_an_image_is_in_the_page_once() -> None:
    """Where several backbones show the same one, the others point to it."""
    one, other = picture(hue=10), picture(hue=200)
    text = page(report(a=kept(one, other), b=kept(one, other)))
    assert text.count(one["jpeg"]) == text.count(other["jpeg"]) == 1
    assert text.count('id="picture-1"') == text.count('<use href="#picture-1"/>') == 1
    assert text.count('id="picture-2"') == text.count('<use href="#picture-2"/>') == 1


def test_rows_say_the_scores_and_settings_the_rule() -> None:
    """Boxes and masks, of this setting and backbone alone."""
    scores = [
        score("a"),
        score("a", "ap_mask", value=38.0),
        score("a", setting="detection-scratch@photo-scenes", value=9.0),
    ]
    found = sights(report(*scores, score("b", value=7.0), a=kept(picture()), b=kept(picture())))
    assert found is not None
    [sight] = found.settings
    assert sight.setting == SETTING
    assert sight.rule.startswith("1 of 120 images (test), evenly spaced in the order of ids; ")
    assert [(row.backbone, row.scores) for row in sight.rows] == [
        ("a", "AP of boxes 41.2%, AP of masks 38.0%"),
        ("b", "AP of boxes 7.0%"),
    ]


def test_a_page_shows_the_first_backbones_and_counts_the_others() -> None:
    """Settings in the order of the scores, each with the backbones that have it."""
    names = [f"b{i}" for i in range(BACKBONES + 2)]
    pictures: dict[Any, Any] = {(name, SETTING): kept(picture()) for name in names}
    pictures["b1", "ood-detection-frozen@fonts-scenes"] = kept(picture())
    found = sights(report(pictures=pictures))
    assert isinstance(found, Sights)
    assert [[row.backbone for row in sight.rows] for sight in found.settings] == [names[:BACKBONES], ["b1"]]
    assert found.left_out == 2
    assert "2 more backbones with images" in page(report(pictures=pictures))


def test_the_page_draws_it() -> None:
    """With its name in the navigation, the policy that lets images in, and hostile names as text."""
    made = picture([box(EVIL, 0)], [detection(EVIL, 3)], name=EVIL)
    text = page(report(score(), pictures={(EVIL, SETTING): kept(made)}))
    section = text.partition('<section id="pictures"')[2].partition("</section>")[0]
    assert 'href="#pictures"' in text
    assert "img-src data:;" in text
    assert EVIL not in text
    assert f'href="data:image/jpeg;base64,{made["jpeg"]}"' in section
    assert '<g class="found c3"><path d="M0,50 100,100 0,100Z"/><rect x="0" y="50" width="100" height="50"/>' in section
    assert section.count('<rect class="true" x="20" y="30" width="40" height="20"/>') == 1
    assert 'aria-label="&lt;script&gt;alert(1)&lt;/script&gt;. There:' in section
    assert "AP of boxes 41.2%" in section


def test_other_formats_do_not_mind(tmp_path: Path) -> None:
    """JSON keeps where pictures are, and no picture; the facts about a setting do not repeat it."""
    for suffix in ("md", "csv", "json"):
        write(tmp_path / f"report.{suffix}", report(score("mine"), mine=kept(picture())))
        text = (tmp_path / f"report.{suffix}").read_text()
        assert SETTING in text
        assert picture()["jpeg"] not in text
    told = json.loads((tmp_path / "report.json").read_text())["scores"][0]["provenance"]
    assert told["pictures"] == {"kind": "pictures", "key": KEY}
    assert "pictures" not in facts(score())
