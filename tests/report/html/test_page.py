"""Tests of the HTML page: its sections and texts, and that names of users never become markup."""

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
from bob_gauntlet.report.html.headline import build_cards
from bob_gauntlet.report.html.page import SECTIONS, render_html
from bob_gauntlet.report.html.profile import build_profile
from bob_gauntlet.report.html.provenance import build_provenance
from bob_gauntlet.report.html.tables import (
    build_heat_map,
    build_ranking_table,
    count_changes,
    format_dataset_p_value,
    group_unscored,
)
from bob_gauntlet.scores.score import Score
from tests.helpers.report_pictures import stored_picture, stored_pictures
from tests.helpers.small_pools import CLS, LATENCY, RET, make_pool, make_pool_of_four, make_score

EVIL = "<script>alert(1)</script>"
CLIP = "vit_base_patch16_clip_224.laion2b"
VOID = {"meta", "input", "br", "link", "img", "hr"}


class Parsed(HTMLParser):
    """A parsed page: its elements with attributes, and its texts by tag. Unbalanced tags are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str]]] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        assert len(attributes) == len(attrs), f"an attribute twice in <{tag}>: {attrs}"
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        last, _ = self.open.pop()
        assert last == tag, f"</{tag}> closes <{last}>, line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        for tag in {tag for tag, _ in self.open}:
            self.texts.setdefault(tag, []).append(data)

    def ids(self) -> list[str]:
        """Return every id."""
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def text(self, tag: str) -> str:
        """Return all text inside elements with this tag; white space is reduced to single spaces."""
        return " ".join(" ".join(self.texts.get(tag, [])).split())


def scores_as(name: str, mini: Pool, member: str = "resnet-supervised") -> list[Score]:
    """Return the scores of a member under the name of a backbone of the user."""
    scores = mini.scores[member].values()
    return [replace(score, backbone=name, backbone_fingerprint=f"fp-{name}") for score in scores]


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
    """A report with content in every section."""
    scores = [score for score in scores_as("mine", mini) if score.task != "Cal"]
    before = [replace(score, value=score.value * 0.9) for score in scores]
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
    report = gather(mini, {"mine": scores}, before=before, since="main", outcomes=outcomes, command="pytest suites")
    return replace(report, pictures={("mine", "detection-frozen@photo-scenes"): stored_pictures(stored_picture())})


@pytest.fixture
def four(tmp_path: Path) -> Pool:
    """a, b, c and the reference r: Cls 10, 20, 30 and 0; Ret 30, 20, 10 and 0."""
    return make_pool_of_four(tmp_path / "four")


def embedded(text: str) -> Any:
    """Return the data of the figures; NaN and infinity are errors."""
    [text_of_data] = re.findall(r'<script type="application/json" id="figure-data">(.*?)</script>', text, re.S)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text_of_data, parse_constant=refuse)


def test_sections_are_in_order_and_the_navigation_links_to_each(whole: Report) -> None:
    """Every section of the page appears once."""
    parsed = Parsed(render_html(whole))
    sections = [a["id"] for tag, a in parsed.elements if tag == "section" and "id" in a]
    assert sections == list(SECTIONS)
    links = [a["href"] for tag, a in parsed.elements if tag == "a"]
    assert {f"#{name}" for name in SECTIONS} <= set(links)
    assert {link[1:] for link in links} <= set(parsed.ids()), "a link that leads nowhere"


def test_a_section_without_content_is_left_out(mini: Pool) -> None:
    """There is neither an empty section nor a link to it."""
    parsed = Parsed(render_html(gather(mini, {})))
    assert not {"versus", "reliability", "changes", "unscored", "provenance"} & set(parsed.ids())
    assert {"ranking", "profile", "heatmap", "figures", "reading"} <= set(parsed.ids())
    without_pool = Parsed(render_html(gather(None, {"mine": scores_as("mine", mini)})))
    assert [a["id"] for tag, a in without_pool.elements if tag == "section" and "id" in a] == [
        "convergence",
        "reliability",
        "provenance",
    ]
    assert "No pool was given" in without_pool.text("main")
    empty = Parsed(render_html(gather(None, {})))
    assert "Nothing was measured" in empty.text("h1")


def test_a_pool_without_a_common_measure_ranks_nothing_and_says_why(four: Pool) -> None:
    """The notes say which scores were left out."""
    other = replace(make_score("mine", CLS, 5.0), protocol_hash="p2")
    parsed = Parsed(render_html(gather(four, {"mine": [other]}, only_measured=True)))
    assert "ranking" not in parsed.ids()
    assert "None of the measured metrics is ranked" in parsed.text("main")
    assert any(tag == "ul" and a.get("class") == "notes" for tag, a in parsed.elements)
    assert "protocol_hash differs" in parsed.text("li")


def test_names_are_escaped_everywhere(mini: Pool) -> None:
    """The name of a backbone, a reason, a command and a fact never become elements."""
    image = "<img src=x onerror=alert(2)>"
    scores = [
        replace(s, device=EVIL, transform=image, provenance={**s.provenance, "command": EVIL, EVIL: [EVIL]})
        for s in scores_as(EVIL, mini)
    ]
    report = gather(
        mini,
        {EVIL: scores, image: scores_as(image, mini)},
        before=scores,
        since=EVIL,
        outcomes=[SettingOutcome(EVIL, EVIL, "failed", EVIL)],
        command=EVIL,
    )
    text = render_html(report)
    assert "<script>alert" not in text
    assert "<img" not in text
    parsed = Parsed(text)
    assert [tag for tag, _ in parsed.elements].count("script") == 2
    for tag in ("h2", "th", "dd", "dt", "td", "footer", "li", "summary", "figure", "section"):
        assert tag == "figure" or EVIL in parsed.text(tag), tag
    assert any(EVIL in a.get("data-tip", "") for _, a in parsed.elements), "hover text"
    assert EVIL in {b["title"] for b in embedded(text)["backbones"]}
    assert EVIL in Parsed(render_html(gather(mini, {EVIL: scores}))).text("title")


def test_the_page_is_well_formed(whole: Report, paper: Pool) -> None:
    """Tags are balanced, ids unique and headings in order; tables have captions and sections have names."""
    for report in (whole, gather(paper, {}, highlight=[CLIP]), gather(paper, {})):
        parsed = Parsed(render_html(report))
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
    """No address leads out of the page, and the policy allows only its own script."""
    text = render_html(whole)
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
    """The page on every candidate of the published pool is made in under 3 s and has less than 2 MB."""
    report = gather(paper, {}, highlight=paper.candidates)
    started = time.perf_counter()
    text = render_html(report)
    assert time.perf_counter() - started < 3
    assert len(text.encode()) < 2_000_000


def test_a_backbone_without_a_score(mini: Pool) -> None:
    """The backbone is named and has no rank."""
    report = gather(mini, {"mine": []})
    parsed = Parsed(render_html(report))
    assert "How mine ranks" in parsed.text("h1")
    assert "no score that this pool ranks" in parsed.text("article")
    [entry] = build_ranking_table(report.ranking, report.score_table).without_score  # type: ignore[arg-type]
    assert entry.row.backbone == "mine"


def test_the_figures_data_is_plain_json(whole: Report, paper: Pool) -> None:
    """It holds only numbers that JavaScript can read, and every point refers to a backbone."""
    for report in (whole, gather(paper, {}, highlight=[CLIP])):
        data = embedded(render_html(report))
        for panel in data["panels"].values():
            assert len(panel["points"]) >= 3
            assert all(0 <= p["backbone"] < len(data["backbones"]) for p in panel["points"])
    assert {"tasks-cls-det", "tasks-cls-ood-cls", "cost-params", "cost-gflops"} <= set(data["panels"])
    assert data["styles"] == ["supervised", "self-supervised", "vision-language", "none"]
    assert "cost-latency" not in data["panels"], "no latency is published"
    [point] = [p for p in data["panels"]["tasks-cls-det"]["points"] if data["backbones"][p["backbone"]]["own"]]
    [row] = [row for row in report.ranking.rows if row.highlighted]  # type: ignore[union-attr]
    assert (point["x"], point["y"]) == (row.z["Cls"], row.z["Det"])


def test_the_headline_names_the_best_and_the_weakest_task(tmp_path: Path) -> None:
    """Ranks in a task count the backbones with a value."""
    values = {"a": (10.0, 30.0, 1.0), "b": (20.0, 20.0, 2.0), "c": (30.0, 10.0, 4.0)}
    scores = [make_score(n, m, v) for n, row in values.items() for m, v in zip((CLS, RET, LATENCY), row, strict=True)]
    new_scores = [make_score("mine", CLS, 25.0), make_score("mine", LATENCY, 3.0)]
    report = gather(make_pool(tmp_path / "p", scores), {"mine": new_scores})
    [card] = build_cards(report)
    assert card.strengths == "Best at classification (+0.61, 2nd of 4), weakest at efficiency (−0.53, 3rd of 4)."
    assert "Retrieval" not in card.strengths
    text = Parsed(render_html(report)).text("article")
    assert "of 4" in text
    assert "1 of 2 measures" in text


def test_backbones_of_the_same_tie_group_are_named() -> None:
    """The text names the first of the group and the others."""
    from bob_gauntlet.report.html.headline import _describe_ties

    rows = [_Row("a", 1), _Row("b", 1), _Row("c", 1), _Row("d", 2), _Row("e", 0)]
    ranking: Any = type("R", (), {"rows": rows})
    assert _describe_ties(ranking, rows[0]) == "Not significantly better than: b, c."  # type: ignore[arg-type]
    assert (
        _describe_ties(ranking, rows[1])  # type: ignore[arg-type]
        == "Not significantly worse than a, the first of its tie group. Also in this group: c."
    )
    assert "No other backbone" in _describe_ties(ranking, rows[3])  # type: ignore[arg-type]
    assert _describe_ties(ranking, rows[4]) == ""  # type: ignore[arg-type]


class _Row:
    """A row of the ranking with only the fields that ties need."""

    def __init__(self, title: str, group: int) -> None:
        self.title, self.group = title, group


def test_each_backbone_has_a_card_and_without_any_the_best_of_the_pool_do(mini: Pool) -> None:
    """Cards are in the order given; without a backbone of the user they show the top three of the pool."""
    several = gather(mini, {"x": scores_as("x", mini), "w": scores_as("w", mini, "vit-simclr")})
    assert [card.name for card in build_cards(several)] == ["x", "w"]
    assert "How 2 backbones rank" in Parsed(render_html(several)).text("h1")
    pool_only = gather(mini, {})
    assert [card.row.rank for card in build_cards(pool_only) if card.row] == [1, 2, 3]
    assert not any(card.own for card in build_cards(pool_only))


def test_mini_scale_does_not_judge_backbones(mini: Pool, paper: Pool) -> None:
    """The head of the page and the section on reading say so; a page on published scores does not."""
    assert Parsed(render_html(gather(mini, {}))).text("main").count("not judge backbones") == 2
    assert "not judge backbones" not in Parsed(render_html(gather(paper, {}))).text("main")


def test_the_ranking_has_a_part_for_low_coverage_and_one_for_no_score(paper: Pool) -> None:
    """Each part has a heading; a filter appears only where there are several values."""
    report = gather(paper, {"mine": []})
    table = build_ranking_table(report.ranking, report.score_table)  # type: ignore[arg-type]
    assert [entry.row.rank for entry in table.ranked] == list(range(1, len(table.ranked) + 1))
    assert all(entry.row.below_min_coverage for entry in table.low_coverage)
    assert set(table.filters) == {"Family", "Style", "Pretraining data"}
    assert len(table.filters["Style"][1]) > 1
    text = Parsed(render_html(report)).text("tbody")
    assert text.index("Not ranked, because they cover too few measures") < text.index("No score that this pool ranks")


def test_a_bar_and_its_whisker_lie_inside_the_cell(paper: Pool) -> None:
    """The bar reaches from zero to the mean, and the whisker contains the mean."""
    report = gather(paper, {})
    for entry in build_ranking_table(report.ranking, report.score_table).ranked:  # type: ignore[arg-type]
        bar = entry.bar
        assert bar is not None
        end = bar.left if (entry.row.z["All"] or 0) < 0 else bar.left + bar.width
        assert 0 <= bar.left <= bar.left + bar.width <= 100
        assert bar.whisker is not None
        assert 0 <= bar.whisker[0] <= end + 0.1 <= bar.whisker[1] + 0.2 <= 100.2


def test_the_profile_places_every_member(four: Pool) -> None:
    """The axis encloses every z; the backbone of the report has a label, and a reference has its own kind."""
    report = gather(four, {}, highlight=["c"])
    assert report.ranking is not None
    assert report.score_table is not None
    profile = build_profile(report.score_table, report.ranking, build_cards(report))
    strips = {strip.column: strip for strip in profile.strips}
    assert list(strips) == ["All", "Cls", "Ret"]
    [focus] = [dot for dot in strips["Cls"].dots if dot.kind == "focus"]
    # (30 - 15) / 125 ** 0.5 = 1.34 on an axis from -1.5 to 1.5
    assert (focus.label, focus.left) == ("+1.34", pytest.approx(94.72))
    assert sorted(dot.kind for dot in strips["Cls"].dots) == ["focus", "ranked", "ranked", "reference"]
    assert [(text.z, text.rank) for text in strips["Ret"].texts] == [("−0.45", "3rd of 3")]
    assert dict(profile.ticks[:1] + profile.ticks[-1:]) == {16.67: "−1", 83.33: "+1"}


def test_the_heat_map_has_the_rankings_order_and_every_measure(four: Pool) -> None:
    """References come last; a cell names backbone, setting, value with unit, z and source."""
    incomplete = replace(make_score("mine", CLS, 25.0), source="table16:17:instre")
    report = gather(four, {"mine": [incomplete]})
    heat_map = build_heat_map(report.score_table, report.ranking)  # type: ignore[arg-type]
    order = [row.backbone for row in rank(four, {"mine": [incomplete]}).rows if row.rank]
    assert [row.backbone.name for row in heat_map.ranked] == order
    assert [row.backbone.name for row in heat_map.others] == ["r"]
    own_row = next(row for row in heat_map.ranked if row.backbone.highlighted)
    assert [cell.tint for cell in own_row.cells] == ["p2", ""]
    assert own_row.cells[0].tip == f"mine\n{CLS[0]}, top1 25%\nz +0.89\nTable 16, row 17, column instre"
    assert heat_map.tasks == (("Cls", "image classification", 1), ("Ret", "image retrieval", 1))


def test_few_datasets_give_no_p_value() -> None:
    """Fewer than four datasets cannot be resampled."""
    comparison = Comparison("b", measures=4, datasets=4, gap=0.1, wins=0.5, p_datasets=0.0123, p_examples=None)
    assert format_dataset_p_value(comparison) == "0.012"
    assert format_dataset_p_value(replace(comparison, datasets=3)) == "too few datasets"
    assert format_dataset_p_value(replace(comparison, p_datasets=None)) == "too few datasets"


def test_changes_are_counted_and_described(four: Pool) -> None:
    """The metric's direction decides what is better; a score that cannot be compared has the reason."""
    before = [
        make_score("mine", CLS, 10.0),
        make_score("mine", LATENCY, 3.0),
        replace(make_score("mine", RET, 5.0), limit=9),
    ]
    now = [make_score("mine", CLS, 12.5), make_score("mine", LATENCY, 4.0), make_score("mine", RET, 6.0)]
    report = gather(four, {"mine": now}, before=before, since="v1")
    assert count_changes(report.changes) == "1 better, 1 worse, 1 not compared"
    text = Parsed(render_html(report)).text("section")
    assert "What changed since v1" in text
    assert "+2.5 % better" in text
    assert "+1 x worse" in text
    assert "not compared: limit differs" in text


def test_settings_without_a_score_are_grouped_by_reason(four: Pool) -> None:
    """Failures come first, then the largest groups."""
    outcomes = [
        SettingOutcome("a", "one", "skipped", "rare"),
        *(SettingOutcome("a", name, "skipped", "frequent") for name in ("two", "three")),
        SettingOutcome("a", "four", "failed", "boom"),
        SettingOutcome("a", "five", "measured"),
    ]
    assert [(g.outcome, g.reason, g.count) for g in group_unscored(outcomes)] == [
        ("failed", "boom", 1),
        ("skipped", "frequent", 2),
        ("skipped", "rare", 1),
    ]
    text = Parsed(render_html(gather(four, {}, outcomes=outcomes))).text("main")
    assert "Settings: 1 measured, 3 skipped, 1 failed." in text


def test_the_provenance_of_a_score_is_shown(mini: Pool, paper: Pool) -> None:
    """Facts that every setting shares appear once; a published score names its table cell, a run how it was run."""
    [measured] = build_provenance(gather(mini, {"mine": scores_as("mine", mini)}))
    assert "precision" in measured.shared
    probe = measured.settings["linear-probe@photos"]
    # fine-tuning uses another input size, so the transform is not shared
    assert {"protocol", "transform", "data, train", "data, test", "started"} <= set(probe)
    assert {"device", "versions", "command"} <= {*probe, *measured.shared}
    assert not set(measured.shared) & set(probe)
    [published] = build_provenance(gather(paper, {}, highlight=[CLIP]))
    sources = {line.score.measure: line.source for line in published.lines}
    assert sources["retrieval@instre", "map"] == "Table 16, row 19, column instre"
    text = Parsed(render_html(gather(paper, {}, highlight=[CLIP]))).text("details")
    assert paper.hash in text
    assert "erratum E1" in text


def test_without_jinja2_the_message_says_what_to_install(whole: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is one line that says what to type."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match="pip install jinja2"):
        render_html(whole)
