"""A report as one HTML page: style, script and the figures' data are inside it, and nothing is fetched."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bob_gauntlet.errors import UsageError
from bob_gauntlet.ranking.score_table import ALL
from bob_gauntlet.report.content import Report
from bob_gauntlet.report.html import formatting
from bob_gauntlet.report.html.convergence import convergence
from bob_gauntlet.report.html.figures import figures_of
from bob_gauntlet.report.html.headline import cards, headline
from bob_gauntlet.report.html.pictures import sights
from bob_gauntlet.report.html.profile import profile
from bob_gauntlet.report.html.provenance import origins
from bob_gauntlet.report.html.reliability import reliability
from bob_gauntlet.report.html.tables import heat, over_datasets, rank_table, tally, unscored, verdict, verdicts
from bob_gauntlet.scores.score import METRICS

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parents[1] / "templates"
"""The template, its parts, the style and the script."""

SCRIPTS = ("marks.js", "figures.js", "report.js")
"""One script, in this order."""

SECTIONS = {
    "ranking": "Ranking",
    "profile": "Profile",
    "versus": "One against another",
    "heat": "Every setting",
    "figures": "Figures",
    "pictures": "Detections",
    "convergence": "Convergence",
    "reliability": "Reliability",
    "changes": "Changes",
    "unscored": "Without a score",
    "origins": "Scores",
    "reading": "How to read this",
}
"""Part of the page -> its name in the navigation, in order; one with nothing in it is left out."""

FILTERS: tuple[Callable[..., object], ...] = (
    *(formatting.signed, formatting.plain, formatting.change, formatting.error, formatting.with_unit),
    *(formatting.aligned, formatting.share, formatting.p_value, formatting.tint, formatting.leaning, formatting.column),
    *(over_datasets, verdict, verdicts),
)
"""How the templates write numbers and names."""


def page(report: Report) -> str:
    """The page. UsageError where jinja2 is missing."""
    template = _environment().get_template("report.html.jinja")
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    found = _content(report)
    return template.render(
        **found,
        sections={name: title for name, title in SECTIONS.items() if found[name]},
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _content(report: Report) -> dict[str, Any]:
    """What the template writes; a part that has nothing is None or empty."""
    shown = cards(report)
    ranking, score_table = report.ranking, report.score_table
    told: dict[str, Any] = dict.fromkeys(("ranking", "profile", "heat", "figures", "reading"))
    # a pool that shares no measure with what was measured ranks nothing
    if ranking is not None and score_table is not None and ranking.rows and ranking.measures:
        drawn = figures_of(score_table)
        told = {
            "ranking": rank_table(ranking, score_table),
            "profile": profile(score_table, ranking, shown),
            "heat": heat(score_table, ranking),
            "figures": drawn if drawn.any else None,
            "reading": True,
        }
    return {
        "report": report,
        "pool": ranking,
        "members": len(score_table.pool.members) if score_table else 0,
        "cards": shown,
        "headline": headline(report, shown),
        **told,
        "versus": [(card.title, found) for card in shown if (found := report.versus.get(card.name))],
        "pictures": sights(report),
        "convergence": convergence(report),
        "reliability": reliability(report),
        "changes": report.changes,
        "unscored": unscored(report.outcomes),
        "tally": tally(report.outcomes),
        "origins": origins(report),
    }


def _environment() -> "Environment":
    """jinja2 with the words of the house; everything is escaped, and what is not defined is an error."""
    try:
        import jinja2
    except ImportError as error:
        raise UsageError("the HTML page needs jinja2: pip install jinja2") from error
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
