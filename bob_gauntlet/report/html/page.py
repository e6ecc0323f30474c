"""A report as one HTML page that contains its style, script and data; it fetches nothing."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bob_gauntlet.errors import UsageError
from bob_gauntlet.ranking.score_table import ALL
from bob_gauntlet.report.content import Report
from bob_gauntlet.report.html import formatting
from bob_gauntlet.report.html.convergence import build_convergence
from bob_gauntlet.report.html.figures import build_figures
from bob_gauntlet.report.html.headline import build_cards, choose_headline
from bob_gauntlet.report.html.pictures import build_pictures
from bob_gauntlet.report.html.profile import build_profile
from bob_gauntlet.report.html.provenance import build_provenance
from bob_gauntlet.report.html.reliability import build_reliability_diagrams
from bob_gauntlet.report.html.tables import (
    build_heat_map,
    build_ranking_table,
    count_changes,
    count_outcomes,
    describe_change,
    format_dataset_p_value,
    group_unscored,
)
from bob_gauntlet.scores.score import METRICS

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parents[1] / "templates"
"""The template of the page and of its sections, the style and the scripts."""

SCRIPTS = ("marks.js", "figures.js", "report.js")
"""The parts of the page's script, in this order."""

SECTIONS = {
    "ranking": "Ranking",
    "profile": "Profile",
    "versus": "Comparison",
    "heatmap": "Every setting",
    "figures": "Figures",
    "pictures": "Detections",
    "convergence": "Convergence",
    "reliability": "Reliability",
    "changes": "Changes",
    "unscored": "Not scored",
    "provenance": "Scores",
    "reading": "How to read this",
}
"""Id of a section -> its name in the navigation, in order. A section without content is left out."""

FILTERS: tuple[Callable[..., object], ...] = (
    *(formatting.format_signed, formatting.format_number, formatting.format_change, formatting.format_error),
    *(formatting.format_with_unit, formatting.format_percent, formatting.format_p_value, formatting.align_decimals),
    *(formatting.tint_class, formatting.difference_class, formatting.describe_column),
    *(format_dataset_p_value, describe_change, count_changes),
)
"""Filters of the templates, by the functions' names."""


def render_html(report: Report) -> str:
    """Return the report as an HTML page. Raise a UsageError if jinja2 is missing."""
    template = _make_environment().get_template("report.html.jinja")
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    variables = _template_variables(report)
    return template.render(
        **variables,
        sections={name: title for name, title in SECTIONS.items() if variables[name]},
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _template_variables(report: Report) -> dict[str, Any]:
    """Return the variables of the template; those of a section without content are None or empty."""
    cards = build_cards(report)
    ranking, score_table = report.ranking, report.score_table
    ranking_sections: dict[str, Any] = dict.fromkeys(("ranking", "profile", "heatmap", "figures", "reading"))
    # without a measure that the pool and the report have in common, nothing is ranked
    if ranking is not None and score_table is not None and ranking.rows and ranking.measures:
        figures = build_figures(score_table)
        ranking_sections = {
            "ranking": build_ranking_table(ranking, score_table),
            "profile": build_profile(score_table, ranking, cards),
            "heatmap": build_heat_map(score_table, ranking),
            "figures": figures if figures.any else None,
            "reading": True,
        }
    return {
        "report": report,
        "pool": ranking,
        "members": len(score_table.pool.members) if score_table else 0,
        "cards": cards,
        "headline": choose_headline(report, cards),
        **ranking_sections,
        "versus": [(card.title, report.versus[card.name]) for card in cards if report.versus.get(card.name)],
        "pictures": build_pictures(report),
        "convergence": build_convergence(report),
        "reliability": build_reliability_diagrams(report),
        "changes": report.changes,
        "unscored": group_unscored(report.outcomes),
        "outcome_counts": count_outcomes(report.outcomes),
        "provenance": build_provenance(report),
    }


def _make_environment() -> "Environment":
    """Create the jinja2 environment: it escapes all text, and an undefined variable is an error."""
    try:
        import jinja2
    except ImportError as error:
        raise UsageError("an HTML report needs jinja2; type pip install jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {function.__name__: function for function in FILTERS}
    environment.globals |= {"ALL": ALL, "METRICS": METRICS}
    return environment
