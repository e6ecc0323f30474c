"""Tests of the HTML page in a browser: loading, sorting, filters, tooltips, themes and legibility."""

import importlib.util
import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.report.content import SettingOutcome, gather
from bob_gauntlet.report.html.page import render_html
from bob_gauntlet.scores.score import Score
from tests.helpers.report_pictures import box, masked_detection, stored_picture, stored_pictures

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<script>alert(1)</script>"
CLIP = "vit_base_patch16_clip_224.laion2b"
NOWHERE = Path("no-such-folder")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="pip install playwright"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
]

CONTRAST = """([selectors, ratio]) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const weak = [];
  for (const node of document.querySelectorAll(selectors)) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    const style = getComputedStyle(node);
    const ink = light(rgb(node instanceof SVGElement ? style.fill : style.color));
    // the label of a dot is above the dot, so the background is that of the track
    const ground = light(behind(node.closest(".dot")?.parentElement ?? node));
    const [a, b] = [ink, ground].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < ratio) weak.push(`${node.outerHTML.slice(0, 80)}: ${contrast.toFixed(2)}`);
  }
  return weak;
}"""
"""Script that lists the elements whose text has too little contrast with its background."""

ROWS = (
    "[...document.querySelectorAll('#ranking-table tbody:first-of-type tr[data-row]:not([hidden]) th')]"
    ".map(cell => cell.innerText)"
)
"""Script that lists the visible ranked backbones in their order on the page."""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A Chromium that all tests share."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages on published scores, and on measured scores of a backbone whose name is a script."""
    mini = load_pool("mini", NOWHERE)
    member = mini.scores["resnet-supervised"].values()
    scores = [replace(s, backbone=EVIL, backbone_fingerprint="f", provenance=dict(s.provenance)) for s in member]
    before = [changed(score) for score in scores]
    outcomes = [
        SettingOutcome(EVIL, "knn@photos", "measured"),
        SettingOutcome(EVIL, "finetune@eurosat", "failed", EVIL),
    ]
    paper = load_pool("paper", NOWHERE)
    reports = {
        "paper": gather(paper, {}, highlight=[CLIP]),
        "trained": gather(
            mini, {name: [trained(score, name) for score in scores] for name in (EVIL, "one " * 30, "another")}
        ),
        "mini": gather(mini, {EVIL: scores}, before=before, since=EVIL, outcomes=outcomes, command=EVIL),
    }
    detections = [masked_detection(EVIL, 3), box("d", 1, 0.9, (120, 10, 40, 30))]
    pictures = stored_pictures(*(stored_picture([box("a", 0)], detections, grey=grey) for grey in (10, 90, 200)))
    shown = {(name, f"detection-{mode}@a"): pictures for name in (EVIL, "another") for mode in ("frozen", "finetune")}
    reports["trained"] = replace(reports["trained"], pictures=shown)
    folder = tmp_path_factory.mktemp("pages")
    for name, report in reports.items():
        (folder / f"{name}.html").write_text(render_html(report), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in reports}


def changed(score: Score) -> Score:
    """Return the same measure with another value."""
    return replace(score, value=score.value * 0.9)


def trained(score: Score, name: str) -> Score:
    """Return the same score of another backbone, with a training curve if its metric is top-1."""
    epochs = list(range(1, 13))
    curve = {"epoch": epochs, "validation": [90.0 - len(name) / epoch for epoch in epochs], "loss": [0.5] * 12}
    return replace(score, backbone=name, provenance={"curve": curve} if score.metric == "top1" else {})


class Visit:
    """An open page. At the end it fails if the page logged a message, sent a request or opened a dialog."""

    def __init__(self, browser: "Browser", path: Path, *, width: int = 1280, theme: Any = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda message: self.problems.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.problems.append("dialog"), dialog.dismiss()))
        self.page.route("**/*", self._answer)
        self.path = path.as_uri()
        self.page.goto(self.path)
        self.page.wait_for_selector(".plot .mark")

    def _answer(self, route: Any) -> None:
        if route.request.url.split("#")[0] != self.path:
            self.problems.append(f"request: {route.request.url}")
        route.continue_()

    def __enter__(self) -> "Page":
        return self.page

    def __exit__(self, *what: object) -> None:
        self.context.close()
        if what[0] is None:
            assert not self.problems, self.problems


@pytest.mark.parametrize("name", ["paper", "mini"])
def test_it_loads_without_messages_and_requests(browser: "Browser", files: dict[str, Path], name: str) -> None:
    """Every figure is drawn, without a warning, error, request or dialog."""
    with Visit(browser, files[name]) as page:
        drawn = page.evaluate("[...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('.mark').length)")
        assert drawn
        assert all(count >= 3 for count in drawn), drawn


def test_a_heading_sorts_by_click_and_by_keyboard(browser: "Browser", files: dict[str, Path]) -> None:
    """A heading sorts best first, then worst first; rows without a value stay last; screen readers get the state."""
    with Visit(browser, files["paper"]) as page:
        start = page.evaluate(ROWS)
        column = page.locator("#ranking-table thead th", has_text="Ret")
        column.get_by_role("button").click()
        assert column.get_attribute("aria-sort") == "descending"
        values = page.evaluate(
            "[...document.querySelectorAll('#ranking-table tbody:first-of-type tr')].map(r => r.cells[6].dataset.value)"
        )
        numbers = [float(v) for v in values if v]
        assert numbers == sorted(numbers, reverse=True)
        assert [bool(v) for v in values] == sorted((bool(v) for v in values), reverse=True)
        assert page.evaluate(ROWS) != start
        name = page.locator("#ranking-table thead th", has_text="Backbone")
        name.get_by_role("button").focus()
        page.keyboard.press("Enter")
        names = page.evaluate(ROWS)
        assert names == sorted(names, key=str.lower)
        page.keyboard.press("Space")
        assert page.evaluate(ROWS)[0] == names[-1]
        assert name.get_attribute("aria-sort") == "descending"
        assert page.locator("#ranking-table [aria-sort]").count() == 1


def test_filters_hide_rows(browser: "Browser", files: dict[str, Path]) -> None:
    """Words, a choice and the box for the report's backbones hide rows; the count says how many are left."""
    with Visit(browser, files["paper"]) as page:
        everything = len(page.evaluate(ROWS))
        page.get_by_label("Find").fill("dino resnet")
        assert page.evaluate(ROWS) == ["ResNet-50 DINO (IN-1k)\nresnet50.dino"]
        assert "1 of" in page.locator(".filters output").inner_text()
        page.get_by_label("Find").fill("")
        page.get_by_label("Style").select_option("vision-language")
        chosen = page.evaluate(ROWS)
        assert 0 < len(chosen) < everything
        assert all("CLIP" in name or "Stable Diffusion" in name for name in chosen)
        page.get_by_label("only backbones of this report").check()
        assert len(page.evaluate(ROWS)) == 1
        assert page.locator("#ranking-table tr.group-title:visible", has_text="too few measures").count() == 0


def test_pointing_at_a_mark_names_the_backbone(browser: "Browser", files: dict[str, Path]) -> None:
    """Figures, profile and heat map have tooltips; the backbone is highlighted everywhere; arrow keys work too."""
    with Visit(browser, files["paper"]) as page:
        tooltip = page.locator("#tooltip")
        assert not tooltip.is_visible()
        own_mark = page.locator(".plot .mark.own").first
        own_mark.scroll_into_view_if_needed()
        box = own_mark.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        text = tooltip.inner_text()
        assert text.startswith("ViT-Base CLIP (LAION-2B)\n")
        assert "CLIP on LAION-2B" in text
        assert "Cls +0." in text
        assert "Det −0." in text
        assert page.locator(".mark.highlighted").count() > 1
        cell = page.locator("table.heatmap tr.own td[data-tip]").first
        cell.scroll_into_view_if_needed()
        cell.hover()
        page.mouse.move(*centre(cell))
        assert "Table 8" in tooltip.inner_text()
        assert "z +" in tooltip.inner_text()
        page.locator(".plot svg").first.focus()
        page.keyboard.press("ArrowRight")
        first = tooltip.inner_text()
        page.keyboard.press("ArrowRight")
        assert tooltip.inner_text() != first
        page.keyboard.press("Escape")
        assert not tooltip.is_visible()


def test_pointing_at_a_curve_names_the_epoch(browser: "Browser", files: dict[str, Path]) -> None:
    """The tooltip shows the backbone, the epoch, the validation score and the loss."""
    with Visit(browser, files["trained"], width=400) as page:
        point = page.locator("#convergence .curve-point").nth(2)
        point.scroll_into_view_if_needed()
        page.mouse.move(*centre(point))
        expected = f"{EVIL}\nepoch 3: validation {90 - len(EVIL) / 3:.2f}%\ntraining loss 0.5"
        assert page.locator("#tooltip").inner_text() == expected


@pytest.mark.parametrize("position", [0, 3], ids=["first", "repeated"])
def test_boxes_and_masks_are_drawn_in_colour(browser: "Browser", files: dict[str, Path], position: int) -> None:
    """Edges of detections, the inside of a mask and dashes of an object are seen, also on a repeated image."""
    cyan, green, grey = (76, 224, 230), (143, 240, 90), (10, 10, 10)
    with Visit(browser, files["trained"]) as page:
        shown = page.locator("#pictures .picture[role=img]").nth(position)
        shown.scroll_into_view_if_needed()
        image = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")

    def pixel(x: float, y: float) -> Any:
        return image.getpixel((round(x * image.width / 200), round(y * image.width / 200)))

    assert pixel(150, 60) == pytest.approx(grey, abs=3)
    for x, y, colour in ((120, 25, cyan), (160, 25, cyan), (99.5, 75, green)):
        edge = [pixel(x + step / 2, y) for step in (-1, 0, 1)]
        assert any(near == pytest.approx(colour, abs=12) for near in edge), edge
        assert pixel(x + 3, y) == pytest.approx(grey, abs=3)
    # the mask has 38% of the colour over the grey; beside the mask, the box is not filled
    assert pixel(12, 90) == pytest.approx([0.38 * colour + 0.62 * 10 for colour in green], abs=4)
    assert pixel(80, 60) == pytest.approx(grey, abs=3)
    dashed = [max(min(pixel(x / 4, 30 + step / 2)) for step in (-1, 0, 1)) for x in range(4 * 22, 4 * 58)]
    assert max(dashed) > 230
    assert min(dashed) < 60


def centre(locator: Any) -> tuple[float, float]:
    """Return the centre of an element in the window, in px."""
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_legend_and_the_switch_redraw(browser: "Browser", files: dict[str, Path]) -> None:
    """The legend hides a style in every figure, and the switch changes the axis of costs."""
    with Visit(browser, files["paper"]) as page:
        before = page.locator(".plot .mark").count()
        button = page.locator(".legend button", has_text="none").first
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        assert page.locator(".plot .mark").count() < before
        assert page.locator(".plot .mark.s3").count() == 0
        button.click()
        assert page.locator(".plot .mark").count() == before
        page.locator(".switch button", has_text="GFLOPs").click()
        assert page.locator(".wide .plot text", has_text="GFLOPs of one image").count() == 1
        assert page.locator(".wide .plot .front").count() == 1


def test_a_name_that_is_a_script_is_text(browser: "Browser", files: dict[str, Path]) -> None:
    """The name is shown as typed in heading, table, figure and tooltip, and it is not executed."""
    with Visit(browser, files["mini"]) as page:
        assert page.locator("h1").inner_text() == f"How {EVIL} ranks"
        assert EVIL in page.locator("#ranking-table tr.own th").inner_text()
        assert page.locator(".plot .label.own").first.text_content() == EVIL
        own_mark = page.locator(".plot .mark.own").first
        own_mark.scroll_into_view_if_needed()
        page.mouse.move(*centre(own_mark))
        assert page.locator("#tooltip").inner_text().startswith(EVIL)
        assert EVIL in page.locator("#changes h2").inner_text()
        assert EVIL in page.locator("#unscored").inner_text()
        assert page.locator("script").count() == 2


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["paper", "mini", "trained"])
def test_the_page_never_scrolls_sideways(browser: "Browser", files: dict[str, Path], name: str, width: int) -> None:
    """Only the boxes of tables scroll; no text is smaller than 12 px and no label is outside its figure."""
    with Visit(browser, files[name], width=width) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            "[...document.querySelectorAll('main *, .page-bar *')].filter(e => e.innerText && "
            "parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.outerHTML.slice(0, 60))"
        )
        assert not small
        clipped = page.evaluate(
            "[...document.querySelectorAll('.plot text, .curve text')].filter(t => { "
            "const a = t.getBoundingClientRect(), b = t.closest('svg').getBoundingClientRect(); "
            "return a.left < b.left - 1 || a.right > b.right + 1; })"
            ".map(t => t.textContent)"
        )
        assert not clipped


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["paper", "mini", "trained"])
def test_text_can_be_read_in_both_themes(browser: "Browser", files: dict[str, Path], name: str, theme: str) -> None:
    """All text has a contrast of at least 4.5, also in coloured cells."""
    with Visit(browser, files[name], theme=theme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert page.locator("td.p1, td.p2").count()
        weak = page.evaluate(CONTRAST, ["main *:not(option), .page-bar *, footer *", 4.5])
        assert not weak, weak[:5]


def test_the_theme_can_be_changed(browser: "Browser", files: dict[str, Path]) -> None:
    """The button changes the theme back and forth, and a reload keeps it."""
    with Visit(browser, files["paper"], theme="light") as page:
        background = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(background)
        button = page.get_by_role("button", name="Change to the dark theme")
        button.click()
        dark = page.evaluate(background)
        assert dark != light
        page.reload()
        assert page.evaluate(background) == dark
        page.get_by_role("button", name="Change to the light theme").click()
        assert page.evaluate(background) == light


def test_the_theme_needs_no_storage(browser: "Browser", files: dict[str, Path]) -> None:
    """The button works although the browser refuses to store anything."""
    with Visit(browser, files["mini"], theme="dark") as page:
        page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } });")
        page.reload()
        page.wait_for_selector(".plot .mark")
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
