"""The HTML page in a browser: it loads alone, sorts, filters, names what is pointed at, and can be read."""

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
from bob_gauntlet.report.html.page import page as html
from bob_gauntlet.scores.score import Score
from tests.report.html.test_pictures import box, detection, kept, picture

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
    // a label of a dot stands above it
    const ground = light(behind(node.closest(".dot")?.parentElement ?? node));
    const [a, b] = [ink, ground].sort((x, y) => y - x);
    const found = (a + 0.05) / (b + 0.05);
    if (found < ratio) weak.push(`${node.outerHTML.slice(0, 80)}: ${found.toFixed(2)}`);
  }
  return weak;
}"""
"""Elements with text of their own whose contrast to what is behind them is below a ratio."""

ROWS = (
    "[...document.querySelectorAll('#ranks tbody:first-of-type tr[data-row]:not([hidden]) th')].map(t => t.innerText)"
)
"""Names of the ranked backbones as they stand."""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """One chromium for all tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages: published scores, and measured ones with everything in them, under a name that is a script."""
    mini = load_pool("mini", NOWHERE)
    found = mini.scores["resnet-supervised"].values()
    own = [replace(s, backbone=EVIL, backbone_fingerprint="f", provenance=dict(s.provenance)) for s in found]
    before = [changed(s) for s in own]
    outcomes = [
        SettingOutcome(EVIL, "knn@photos", "measured"),
        SettingOutcome(EVIL, "finetune@eurosat", "failed", EVIL),
    ]
    paper = load_pool("paper", NOWHERE)
    reports = {
        "paper": gather(paper, {}, highlight=[CLIP]),
        "trained": gather(mini, {name: [trained(s, name) for s in own] for name in (EVIL, "one " * 30, "another")}),
        "mini": gather(mini, {EVIL: own}, before=before, since=EVIL, outcomes=outcomes, command=EVIL),
    }
    marks = [detection(EVIL, 3), box("d", 1, 0.9, (120, 10, 40, 30))]
    seen = kept(*(picture([box("a", 0)], marks, hue=hue) for hue in (10, 90, 200)))
    shown = {(name, f"detection-{mode}@a"): seen for name in (EVIL, "another") for mode in ("frozen", "finetune")}
    reports["trained"] = replace(reports["trained"], pictures=shown)
    folder = tmp_path_factory.mktemp("pages")
    for name, report in reports.items():
        (folder / f"{name}.html").write_text(html(report), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in reports}


def changed(score: Score) -> Score:
    """The same measure at another value."""
    return replace(score, value=score.value * 0.9)


def trained(score: Score, name: str) -> Score:
    """The same score of another backbone, with a curve where it is a top-1."""
    epochs = list(range(1, 13))
    curve = {"epoch": epochs, "validation": [90.0 - len(name) / epoch for epoch in epochs], "loss": [0.5] * 12}
    return replace(score, backbone=name, provenance={"curve": curve} if score.metric == "top1" else {})


class Visit:
    """A page that is open, and everything that it complained about, asked for or popped up."""

    def __init__(self, browser: "Browser", path: Path, *, width: int = 1280, theme: Any = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.page: Page = self.context.new_page()
        self.trouble: list[str] = []
        self.page.on("console", lambda message: self.trouble.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.trouble.append("dialog"), dialog.dismiss()))
        self.page.route("**/*", self._answer)
        self.path = path.as_uri()
        self.page.goto(self.path)
        self.page.wait_for_selector(".plot .mark")

    def _answer(self, route: Any) -> None:
        if route.request.url.split("#")[0] != self.path:
            self.trouble.append(f"request: {route.request.url}")
        route.continue_()

    def __enter__(self) -> "Page":
        return self.page

    def __exit__(self, *what: object) -> None:
        self.context.close()
        if what[0] is None:
            assert not self.trouble, self.trouble


@pytest.mark.parametrize("name", ["paper", "mini"])
def test_it_loads_without_a_word_and_asks_for_nothing(browser: "Browser", files: dict[str, Path], name: str) -> None:
    """No warning, no error, no request, no dialog; every figure is drawn."""
    with Visit(browser, files[name]) as page:
        drawn = page.evaluate("[...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('.mark').length)")
        assert drawn
        assert all(count >= 3 for count in drawn), drawn


def test_a_heading_sorts_by_click_and_by_keyboard(browser: "Browser", files: dict[str, Path]) -> None:
    """Best first, then worst first; what has no value stays last; the state is told to screen readers."""
    with Visit(browser, files["paper"]) as page:
        start = page.evaluate(ROWS)
        column = page.locator("#ranks thead th", has_text="Ret")
        column.get_by_role("button").click()
        assert column.get_attribute("aria-sort") == "descending"
        values = page.evaluate(
            "[...document.querySelectorAll('#ranks tbody:first-of-type tr')].map(r => r.cells[6].dataset.v)"
        )
        numbers = [float(v) for v in values if v]
        assert numbers == sorted(numbers, reverse=True)
        assert [bool(v) for v in values] == sorted((bool(v) for v in values), reverse=True)
        assert page.evaluate(ROWS) != start
        name = page.locator("#ranks thead th", has_text="Backbone")
        name.get_by_role("button").focus()
        page.keyboard.press("Enter")
        names = page.evaluate(ROWS)
        assert names == sorted(names, key=str.lower)
        page.keyboard.press("Space")
        assert page.evaluate(ROWS)[0] == names[-1]
        assert name.get_attribute("aria-sort") == "descending"
        assert page.locator("#ranks [aria-sort]").count() == 1


def test_filters_hide_rows(browser: "Browser", files: dict[str, Path]) -> None:
    """By words, by a choice, by own only; the count says how many are left."""
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
        page.get_by_label("own only").check()
        assert len(page.evaluate(ROWS)) == 1
        assert page.locator("tr.apart:visible", has_text="Listed apart").count() == 0


def test_pointing_at_a_mark_names_the_backbone(browser: "Browser", files: dict[str, Path]) -> None:
    """In figures, profile and heat map; the same backbone lights up elsewhere, and the arrows do the same."""
    with Visit(browser, files["paper"]) as page:
        tip = page.locator("#tip")
        assert not tip.is_visible()
        own = page.locator(".plot .mark.own").first
        own.scroll_into_view_if_needed()
        box = own.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        text = tip.inner_text()
        assert text.startswith("ViT-Base CLIP (LAION-2B)\n")
        assert "CLIP on LAION-2B" in text
        assert "Cls +0." in text
        assert "Det −0." in text
        assert page.locator(".mark.hot").count() > 1
        cell = page.locator("table.heat tr.own td[data-tip]").first
        cell.scroll_into_view_if_needed()
        cell.hover()
        page.mouse.move(*centre(cell))
        assert "Table 8" in tip.inner_text()
        assert "z +" in tip.inner_text()
        page.locator(".plot svg").first.focus()
        page.keyboard.press("ArrowRight")
        first = tip.inner_text()
        page.keyboard.press("ArrowRight")
        assert tip.inner_text() != first
        page.keyboard.press("Escape")
        assert not tip.is_visible()


def test_pointing_at_a_curve_names_the_epoch(browser: "Browser", files: dict[str, Path]) -> None:
    """The backbone, the epoch, validation score and loss."""
    with Visit(browser, files["trained"], width=400) as page:
        knot = page.locator("#convergence .knot").nth(2)
        knot.scroll_into_view_if_needed()
        page.mouse.move(*centre(knot))
        told = f"{EVIL}\nepoch 3: validation {90 - len(EVIL) / 3:.2f}%\ntraining loss 0.5"
        assert page.locator("#tip").inner_text() == told


@pytest.mark.parametrize("place", [0, 3], ids=["new", "again"])
def test_marks_have_their_colours_where_they_were_found(browser: "Browser", files: dict[str, Path], place: int) -> None:
    """On grey: edges of found boxes, the inside of a mask, dashes of a true box; also where an image stands again."""
    cyan, green, grey = (76, 224, 230), (143, 240, 90), (10, 10, 10)
    with Visit(browser, files["trained"]) as page:
        shown = page.locator("#pictures .picture[role=img]").nth(place)
        shown.scroll_into_view_if_needed()
        image = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")

    def seen(x: float, y: float) -> Any:
        return image.getpixel((round(x * image.width / 200), round(y * image.width / 200)))

    assert seen(150, 60) == pytest.approx(grey, abs=3)
    for x, y, colour in ((120, 25, cyan), (160, 25, cyan), (99.5, 75, green)):
        edge = [seen(x + step / 2, y) for step in (-1, 0, 1)]
        assert any(near == pytest.approx(colour, abs=12) for near in edge), edge
        assert seen(x + 3, y) == pytest.approx(grey, abs=3)
    # 38% of the colour over the grey, and beside the mask inside the box none
    assert seen(12, 90) == pytest.approx([0.38 * colour + 0.62 * 10 for colour in green], abs=4)
    assert seen(80, 60) == pytest.approx(grey, abs=3)
    dashed = [max(min(seen(x / 4, 30 + step / 2)) for step in (-1, 0, 1)) for x in range(4 * 22, 4 * 58)]
    assert max(dashed) > 230
    assert min(dashed) < 60


def centre(locator: Any) -> tuple[float, float]:
    """Of an element in the window."""
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_legend_and_the_switch_redraw(browser: "Browser", files: dict[str, Path]) -> None:
    """A style is switched off in every figure; another cost is another axis."""
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
    """It shows as typed in heading, table, figure and hover text, and nothing runs."""
    with Visit(browser, files["mini"]) as page:
        assert page.locator("h1").inner_text() == f"Where {EVIL} stands"
        assert EVIL in page.locator("#ranks tr.own th").inner_text()
        assert page.locator(".plot .label.own").first.text_content() == EVIL
        own = page.locator(".plot .mark.own").first
        own.scroll_into_view_if_needed()
        page.mouse.move(*centre(own))
        assert page.locator("#tip").inner_text().startswith(EVIL)
        assert EVIL in page.locator("#changes h2").inner_text()
        assert EVIL in page.locator("#unscored").inner_text()
        assert page.locator("script").count() == 2


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["paper", "mini", "trained"])
def test_nothing_runs_over_the_edge(browser: "Browser", files: dict[str, Path], name: str, width: int) -> None:
    """Tables scroll in their boxes, the page does not; no text is below 12 px, no label outside its figure."""
    with Visit(browser, files[name], width=width) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            "[...document.querySelectorAll('main *, .bar *')].filter(e => e.innerText && "
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
    """A contrast of 4.5 everywhere: running text, cells in every colour, tooltips' ground."""
    with Visit(browser, files[name], theme=theme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert page.locator("td.p1, td.p2").count()
        weak = page.evaluate(CONTRAST, ["main *:not(option), .bar *, footer *", 4.5])
        assert not weak, weak[:5]


def test_the_theme_can_be_changed(browser: "Browser", files: dict[str, Path]) -> None:
    """By one button, there and back, kept where the browser keeps anything."""
    with Visit(browser, files["paper"], theme="light") as page:
        ground = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(ground)
        button = page.get_by_role("button", name="Change to the dark theme")
        button.click()
        dark = page.evaluate(ground)
        assert dark != light
        page.reload()
        assert page.evaluate(ground) == dark
        page.get_by_role("button", name="Change to the light theme").click()
        assert page.evaluate(ground) == light


def test_the_theme_needs_no_storage(browser: "Browser", files: dict[str, Path]) -> None:
    """Where the browser refuses it, the button works all the same."""
    with Visit(browser, files["mini"], theme="dark") as page:
        page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } });")
        page.reload()
        page.wait_for_selector(".plot .mark")
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
