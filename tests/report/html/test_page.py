"""The HTML page: what it says, what it leaves out, and that nothing in it is markup but ours."""

import base64
import hashlib
import itertools
import json
import re
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools.pool import Pool, load_pool
from bob_gauntlet.ranking.comparison import Comparison
from bob_gauntlet.ranking.ranking import rank
from bob_gauntlet.report.content import Report, SettingOutcome, gather
from bob_gauntlet.report.html.headline import cards
from bob_gauntlet.report.html.page import SECTIONS, page
from bob_gauntlet.report.html.profile import profile
from bob_gauntlet.report.html.provenance import origins
from bob_gauntlet.report.html.tables import heat, over_datasets, rank_table, unscored, verdicts
from bob_gauntlet.scores.score import Score
from tests.ranking.test_ranking import CLS, LATENCY, RET, pool, score
from tests.report.html.test_pictures import kept, picture

EVIL = "<script>alert(1)</script>"
CLIP = "vit_base_patch16_clip_224.laion2b"
VOID = {"meta", "input", "br", "link", "img", "hr"}


class Parsed(HTMLParser):
    """A page taken apart: elements with their attributes and texts; tags that do not match are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str]]] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        assert len(found) == len(attrs), f"an attribute twice in <{tag}>: {attrs}"
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        last, _ = self.open.pop()
        assert last == tag, f"</{tag}> closes <{last}>, line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        for tag in {tag for tag, _ in self.open}:
            self.texts.setdefault(tag, []).append(data)

    def ids(self) -> list[str]:
        """Every id."""
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def text(self, tag: str) -> str:
        """All text inside elements of that name, blanks made one."""
        return " ".join(" ".join(self.texts.get(tag, [])).split())


def mine(mini: Pool, name: str, member: str = "resnet-supervised") -> list[Score]:
    """Scores of a backbone of the user: a member's, under another name."""
    found = mini.scores[member].values()
    return [replace(s, backbone=name, backbone_fingerprint=f"fp-{name}") for s in found]


@pytest.fixture(scope="module")
def mini() -> Pool:
    """The bundled pool of measured scores."""
    return load_pool("mini", Path("no-such-folder"))


@pytest.fixture(scope="module")
def paper() -> Pool:
    """The bundled pool of published scores."""
    return load_pool("paper", Path("no-such-folder"))


@pytest.fixture(scope="module")
def whole(mini: Pool) -> Report:
    """A report with something in every section."""
    scores = [s for s in mine(mini, "mine") if s.task != "Cal"]
    before = [replace(s, value=s.value * 0.9) for s in scores]
    bins = {"confidence": [0.2, 0.9], "accuracy": [0.3, 0.8], "count": [10, 90]}
    scores.append(
        Score(
            setting="calibration-linear-probe@digits", metric="ece", task="Cal", value=0.1, backbone="mine",
            backbone_fingerprint="fp-mine", provenance={"reliability": bins},
        )
    )  # fmt: skip
    curve = {"epoch": [1, 2], "validation": [41.0, 57.3], "loss": [2.9, 1.8]}
    scores.append(
        Score(
            setting="finetune@photos", metric="top1", task="Cls", value=60.0, backbone="mine",
            backbone_fingerprint="fp-mine", provenance={"curve": curve},
        )
    )  # fmt: skip
    outcomes = [
        SettingOutcome("mine", "knn@photos", "measured"),
        SettingOutcome("mine", "finetune@eurosat", "skipped", "planned"),
    ]
    found = gather(mini, {"mine": scores}, before=before, since="main", outcomes=outcomes, command="pytest suites")
    return replace(found, pictures={("mine", "detection-frozen@photo-scenes"): kept(picture())})


@pytest.fixture
def four(tmp_path: Path) -> Pool:
    """a, b, c and the reference r: Cls 10, 20, 30 and 0; Ret 30, 20, 10 and 0."""
    values = {"a": (10.0, 30.0), "b": (20.0, 20.0), "c": (30.0, 10.0), "r": (0.0, 0.0)}
    scores = [score(n, m, v) for n, pair in values.items() for m, v in zip((CLS, RET), pair, strict=True)]
    return pool(tmp_path / "four", scores, references=("r",))


def embedded(text: str) -> Any:
    """The figures' data, NaN and infinity refused."""
    [found] = re.findall(r'<script type="application/json" id="figure-data">(.*?)</script>', text, re.S)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(found, parse_constant=refuse)


def test_sections_stand_in_order_and_the_navigation_leads_to_each(whole: Report) -> None:
    """Every part of the page is there once."""
    parsed = Parsed(page(whole))
    sections = [a["id"] for tag, a in parsed.elements if tag == "section" and "id" in a]
    assert sections == list(SECTIONS)
    links = [a["href"] for tag, a in parsed.elements if tag == "a"]
    assert {f"#{name}" for name in SECTIONS} <= set(links)
    assert {link[1:] for link in links} <= set(parsed.ids()), "a link that leads nowhere"


def test_a_section_that_has_nothing_is_left_out(mini: Pool) -> None:
    """No empty frame, and no link to it."""
    parsed = Parsed(page(gather(mini, {})))
    assert not {"versus", "reliability", "changes", "unscored", "origins"} & set(parsed.ids())
    assert {"ranking", "profile", "heat", "figures", "reading"} <= set(parsed.ids())
    alone = Parsed(page(gather(None, {"mine": mine(mini, "mine")})))
    assert [a["id"] for tag, a in alone.elements if tag == "section" and "id" in a] == [
        "convergence",
        "reliability",
        "origins",
    ]
    assert "No pool was named" in alone.text("main")
    nothing = Parsed(page(gather(None, {})))
    assert "Nothing was measured" in nothing.text("h1")


def test_a_pool_without_a_common_measure_ranks_nothing_and_says_why(four: Pool) -> None:
    """The notes tell what was left out."""
    other = replace(score("mine", CLS, 5.0), protocol_hash="p2")
    parsed = Parsed(page(gather(four, {"mine": [other]}, only_measured=True)))
    assert "ranking" not in parsed.ids()
    assert "None of what was measured is ranked" in parsed.text("main")
    assert any(tag == "ul" and a.get("class") == "notes" for tag, a in parsed.elements)
    assert "protocol_hash differs" in parsed.text("li")


def test_names_are_text_wherever_they_stand(mini: Pool) -> None:
    """A backbone, a setting's reason, a command, a fact: none becomes an element."""
    image = "<img src=x onerror=alert(2)>"
    scores = [
        replace(s, device=EVIL, transform=image, provenance={**s.provenance, "command": EVIL, EVIL: [EVIL]})
        for s in mine(mini, EVIL)
    ]
    report = gather(
        mini,
        {EVIL: scores, image: mine(mini, image)},
        before=scores,
        since=EVIL,
        outcomes=[SettingOutcome(EVIL, EVIL, "failed", EVIL)],
        command=EVIL,
    )
    text = page(report)
    assert "<script>alert" not in text
    assert "<img" not in text
    parsed = Parsed(text)
    assert [tag for tag, _ in parsed.elements].count("script") == 2
    for tag in ("h2", "th", "dd", "dt", "td", "footer", "li", "summary", "figure", "section"):
        assert tag == "figure" or EVIL in parsed.text(tag), tag
    assert any(EVIL in a.get("data-tip", "") for _, a in parsed.elements), "hover text"
    assert EVIL in {b["title"] for b in embedded(text)["backbones"]}
    assert EVIL in Parsed(page(gather(mini, {EVIL: scores}))).text("title")


def test_the_page_is_well_formed(whole: Report, paper: Pool) -> None:
    """Balanced, ids unique, headings in order, tables captioned; sections and scroll boxes have a name."""
    for report in (whole, gather(paper, {}, highlight=[CLIP]), gather(paper, {})):
        parsed = Parsed(page(report))
        assert len(parsed.ids()) == len(set(parsed.ids()))
        levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), levels
        tags = [tag for tag, _ in parsed.elements]
        assert tags.count("caption") == tags.count("table") > 0
        labels = [a["aria-labelledby"] for tag, a in parsed.elements if tag == "section"]
        assert set(labels) <= set(parsed.ids())
        assert ("html", {"lang": "en"}) in parsed.elements


def test_nothing_is_fetched(whole: Report) -> None:
    """No address in the page leads out of it, and the policy lets only our script run."""
    text = page(whole)
    parsed = Parsed(text)
    for tag, attributes in parsed.elements:
        assert "src" not in attributes, tag
        inside = ("#", "data:image/") if tag == "image" else "#"
        assert attributes.get("href", "#").startswith(inside), tag
    style = parsed.text("style")
    assert "url(" not in style
    assert "@import" not in style
    [policy] = [a["content"] for _, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy"]
    [script] = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy


def test_the_largest_page_is_small_and_quick(paper: Pool) -> None:
    """The published pool, all of its candidates highlighted."""
    report = gather(paper, {}, highlight=paper.candidates)
    started = time.perf_counter()
    text = page(report)
    assert time.perf_counter() - started < 3
    assert len(text.encode()) < 2_000_000


def test_a_backbone_without_a_score(mini: Pool) -> None:
    """It is named, and has no place."""
    report = gather(mini, {"mine": []})
    parsed = Parsed(page(report))
    assert "Where mine stands" in parsed.text("h1")
    assert "no score that this pool ranks" in parsed.text("article")
    [line] = rank_table(report.ranking, report.score_table).without  # type: ignore[arg-type]
    assert line.row.backbone == "mine"


def test_the_figures_data_is_plain_json(whole: Report, paper: Pool) -> None:
    """Numbers that JavaScript reads, and points that name a backbone."""
    for report in (whole, gather(paper, {}, highlight=[CLIP])):
        data = embedded(page(report))
        for panel in data["panels"].values():
            assert len(panel["points"]) >= 3
            assert all(0 <= p["b"] < len(data["backbones"]) for p in panel["points"])
    assert {"tasks-cls-det", "tasks-cls-ood-cls", "cost-params", "cost-gflops"} <= set(data["panels"])
    assert data["styles"] == ["supervised", "self-supervised", "vision-language", "none"]
    assert "cost-latency" not in data["panels"], "nobody printed a latency"
    [point] = [p for p in data["panels"]["tasks-cls-det"]["points"] if data["backbones"][p["b"]]["own"]]
    [row] = [row for row in report.ranking.rows if row.highlighted]  # type: ignore[union-attr]
    assert (point["x"], point["y"]) == (row.z["Cls"], row.z["Det"])


def test_the_headline_says_what_it_is_good_and_bad_at(tmp_path: Path) -> None:
    """Places are among those with a value."""
    values = {"a": (10.0, 30.0, 1.0), "b": (20.0, 20.0, 2.0), "c": (30.0, 10.0, 4.0)}
    scores = [score(n, m, v) for n, row in values.items() for m, v in zip((CLS, RET, LATENCY), row, strict=True)]
    own = [score("mine", CLS, 25.0), score("mine", LATENCY, 3.0)]
    report = gather(pool(tmp_path / "p", scores), {"mine": own})
    [card] = cards(report)
    assert card.strengths == "Best at classification (+0.61, 2nd of 4), weakest at efficiency (−0.53, 3rd of 4)."
    assert "Retrieval" not in card.strengths
    text = Parsed(page(report)).text("article")
    assert "of 4" in text
    assert "1 of 2 measures" in text


def test_who_cannot_be_told_apart_is_named() -> None:
    """From the first of the group, or that first itself."""
    from bob_gauntlet.report.html.headline import _ties

    rows = [_Row("a", 1), _Row("b", 1), _Row("c", 1), _Row("d", 2), _Row("e", 0)]
    ranking: Any = type("R", (), {"rows": rows})
    assert _ties(ranking, rows[0]) == "Not told apart from: b, c."  # type: ignore[arg-type]
    assert _ties(ranking, rows[1]) == "Not told apart from a, the first of its tie group; also in it: c."  # type: ignore[arg-type]
    assert "alone" in _ties(ranking, rows[3])  # type: ignore[arg-type]
    assert _ties(ranking, rows[4]) == ""  # type: ignore[arg-type]


class _Row:
    """As much of a row as ties need."""

    def __init__(self, title: str, group: int) -> None:
        self.title, self.group = title, group


def test_several_backbones_have_a_card_each_and_none_has_the_best_of_the_pool(mini: Pool) -> None:
    """In the order given; the pool's top three."""
    several = gather(mini, {"x": mine(mini, "x"), "w": mine(mini, "w", "vit-simclr")})
    assert [card.name for card in cards(several)] == ["x", "w"]
    assert "Where 2 backbones stand" in Parsed(page(several)).text("h1")
    none = gather(mini, {})
    assert [card.row.rank for card in cards(none) if card.row] == [1, 2, 3]
    assert not any(card.own for card in cards(none))


def test_mini_scale_is_no_verdict(mini: Pool, paper: Pool) -> None:
    """At the head and in how to read it; not for published scores."""
    assert Parsed(page(gather(mini, {}))).text("main").count("verdict on") == 2
    assert "verdict on" not in Parsed(page(gather(paper, {}))).text("main")


def test_ranked_apart_and_without_a_score_are_kept_apart(paper: Pool) -> None:
    """Each under its own heading, and filters only where there is a choice."""
    report = gather(paper, {"mine": []})
    table = rank_table(report.ranking, report.score_table)  # type: ignore[arg-type]
    assert [line.row.rank for line in table.ranked] == list(range(1, len(table.ranked) + 1))
    assert all(line.row.below_min_coverage for line in table.apart)
    assert set(table.filters) == {"Family", "Style", "Pretraining data"}
    assert len(table.filters["Style"][1]) > 1
    text = Parsed(page(report)).text("tbody")
    assert text.index("Listed apart") < text.index("No score that this pool ranks")


def test_a_bar_and_its_whisker_lie_inside_the_cell(paper: Pool) -> None:
    """From zero to the mean; the whisker holds the mean."""
    report = gather(paper, {})
    for line in rank_table(report.ranking, report.score_table).ranked:  # type: ignore[arg-type]
        assert line.bar is not None
        z = line.row.z["All"] or 0
        end = line.bar.left if z < 0 else line.bar.left + line.bar.width
        assert 0 <= line.bar.left <= line.bar.left + line.bar.width <= 100
        assert line.bar.whisker is not None
        assert 0 <= line.bar.whisker[0] <= end + 0.1 <= line.bar.whisker[1] + 0.2 <= 100.2


def test_the_profile_places_every_member(four: Pool) -> None:
    """Axis from below the worst to above the best; one's own is labelled, a reference is hollow."""
    report = gather(four, {}, highlight=["c"])
    assert report.ranking is not None
    assert report.score_table is not None
    found = profile(report.score_table, report.ranking, cards(report))
    strips = {strip.column: strip for strip in found.strips}
    assert list(strips) == ["All", "Cls", "Ret"]
    [focus] = [dot for dot in strips["Cls"].dots if dot.kind == "focus"]
    # (30 - 15) / 125 ** 0.5 = 1.34 on an axis from -1.5 to 1.5
    assert (focus.label, focus.left) == ("+1.34", pytest.approx(94.72))
    assert sorted(dot.kind for dot in strips["Cls"].dots) == ["focus", "ranked", "ranked", "reference"]
    assert [(told.z, told.place) for told in strips["Ret"].told] == [("−0.45", "3rd of 3")]
    assert dict(found.ticks[:1] + found.ticks[-1:]) == {16.67: "−1", 83.33: "+1"}


def test_the_heat_map_has_the_rankings_order_and_every_measure(four: Pool) -> None:
    """References last; a cell tells backbone, setting, value with unit, z and source."""
    lacking = replace(score("mine", CLS, 25.0), source="table16:17:instre")
    report = gather(four, {"mine": [lacking]})
    found = heat(report.score_table, report.ranking)  # type: ignore[arg-type]
    order = [row.backbone for row in rank(four, {"mine": [lacking]}).rows if row.rank]
    assert [row.backbone.name for row in found.ranked] == order
    assert [row.backbone.name for row in found.others] == ["r"]
    own = next(row for row in found.ranked if row.backbone.highlighted)
    assert [cell.tint for cell in own.cells] == ["p2", ""]
    assert own.cells[0].tip == f"mine\n{CLS[0]}, top1 25%\nz +0.89\nTable 16, row 17, column instre"
    assert found.tasks == (("Cls", "image classification", 1), ("Ret", "image retrieval", 1))


def test_few_datasets_give_no_p_value() -> None:
    """Below four there is nothing to draw."""
    duel = Comparison("b", measures=4, datasets=4, gap=0.1, wins=0.5, p_datasets=0.0123, p_examples=None)
    assert over_datasets(duel) == "0.012"
    assert over_datasets(replace(duel, datasets=3)) == "too few datasets"
    assert over_datasets(replace(duel, p_datasets=None)) == "too few datasets"


def test_changes_are_counted_and_told_in_words(four: Pool) -> None:
    """Better and worse by the metric's direction; what may not be compared says why."""
    before = [score("mine", CLS, 10.0), score("mine", LATENCY, 3.0), replace(score("mine", RET, 5.0), limit=9)]
    now = [score("mine", CLS, 12.5), score("mine", LATENCY, 4.0), score("mine", RET, 6.0)]
    report = gather(four, {"mine": now}, before=before, since="v1")
    assert verdicts(report.changes) == "1 better, 1 worse, 1 not compared"
    text = Parsed(page(report)).text("section")
    assert "What changed since v1" in text
    assert "+2.5 % better" in text
    assert "+1 ms worse" in text
    assert "not compared: limit differs" in text


def test_settings_without_a_score_are_grouped_by_reason(four: Pool) -> None:
    """Failures first, then what is most frequent."""
    outcomes = [
        SettingOutcome("a", "one", "skipped", "rare"),
        *(SettingOutcome("a", name, "skipped", "frequent") for name in ("two", "three")),
        SettingOutcome("a", "four", "failed", "boom"),
        SettingOutcome("a", "five", "measured"),
    ]
    assert [(g.outcome, g.reason, g.count) for g in unscored(outcomes)] == [
        ("failed", "boom", 1),
        ("skipped", "frequent", 2),
        ("skipped", "rare", 1),
    ]
    text = Parsed(page(gather(four, {}, outcomes=outcomes))).text("main")
    assert "Settings: 1 measured, 3 skipped, 1 failed." in text


def test_where_a_score_comes_from_is_told(mini: Pool, paper: Pool) -> None:
    """What every setting shares stands once; a published figure names its cell, a run how it was run."""
    [measured] = origins(gather(mini, {"mine": mine(mini, "mine")}))
    assert "precision" in measured.shared
    probe = measured.settings["linear-probe@photos"]
    # fine-tuning is at another input size
    assert {"protocol", "transform", "data, train", "data, test", "started"} <= set(probe)
    assert {"device", "versions", "command"} <= {*probe, *measured.shared}
    assert not set(measured.shared) & set(probe)
    [published] = origins(gather(paper, {}, highlight=[CLIP]))
    sources = {line.score.measure: line.source for line in published.lines}
    assert sources["retrieval@instre", "map"] == "Table 16, row 19, column instre"
    text = Parsed(page(gather(paper, {}, highlight=[CLIP]))).text("details")
    assert paper.hash in text
    assert "erratum E1" in text


def test_without_jinja2_the_remedy_is_named(whole: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to type."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match="pip install jinja2"):
        page(whole)
