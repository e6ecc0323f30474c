"""Every analysis under its name; `analyse` runs one over a standing and sets the paper's figures beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bob_gauntlet.analysis import costs
from bob_gauntlet.analysis.calibration import calibration, published_calibration
from bob_gauntlet.analysis.correlation import correlation, published_correlation, published_tasks, tasks
from bob_gauntlet.analysis.finetuning import fine_tuning, published_fine_tuning
from bob_gauntlet.analysis.result import Analysis, AnalysisOptions, Finding, Published
from bob_gauntlet.analysis.robustness import published_robustness, robustness
from bob_gauntlet.analysis.supervision import published_supervision, supervision
from bob_gauntlet.analysis.winners import published_small, published_winners, small, winners
from bob_gauntlet.config import bundled
from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.pools.errata import ErrataMode
from bob_gauntlet.pools.pool import Pool
from bob_gauntlet.ranking.score_table import ScoreTable

EVERY = "all"


@dataclass(frozen=True)
class AnalysisDefinition:
    """One analysis: what it asks, who is in it, the function, and the paper's figures for it."""

    title: str
    about: str
    make: Callable[[ScoreTable, AnalysisOptions], Finding]
    published: Callable[[ScoreTable], Iterator[Published]] | None = None
    # pools that the paper's figures are about
    pools: tuple[str, ...] = ("paper",)


ANALYSES: Mapping[str, AnalysisDefinition] = {
    "winners": AnalysisDefinition(
        "Which backbone should I choose?",
        "mean z of a task and of All, candidates that cover at least a third of its measures (paper, Tables 2 and 3)",
        winners,
        published_winners,
    ),
    "small": AnalysisDefinition(
        "Which small backbone should I choose?",
        "candidates of fewer than 30 million parameters (paper, section 5)",
        small,
        published_small,
        ("paper", "paper-small"),
    ),
    "correlation": AnalysisDefinition(
        "Does a backbone that is good at one task do well at another?",
        "Spearman's rho of mean z; members that have both tasks, random initialisations left out (paper, section 5)",
        correlation,
        published_correlation,
    ),
    "tasks": AnalysisDefinition(
        "Classification against detection, in and out of distribution",
        "mean z of every member that has both tasks (paper, Figure 1)",
        tasks,
        published_tasks,
    ),
    "scale": AnalysisDefinition(
        "Who gains more from size and data, transformers or CNNs?",
        "Spearman's rho of mean z over All; candidates (paper, section 5)",
        costs.scale,
        costs.published_scale,
    ),
    "supervision": AnalysisDefinition(
        "Supervised or not?",
        "mean z of candidates; self-supervised includes vision-language, as in the paper (section 5, Table 20)",
        supervision,
        published_supervision,
    ),
    "fine-tuning": AnalysisDefinition(
        "What does end-to-end fine-tuning add to a frozen backbone?",
        "z fine-tuned less z frozen, each of its own measure; random initialisations left out (paper, Figure 2)",
        fine_tuning,
        published_fine_tuning,
    ),
    "speed": AnalysisDefinition(
        "Does performance cost speed?",
        "mean z over All of candidates that cover at least a third, against throughput (paper, section 5)",
        costs.speed,
        costs.published_speed,
    ),
    "calibration": AnalysisDefinition(
        "Is a more accurate backbone better calibrated?",
        "in the paper fine-tuned on ImageNet-1k; random initialisations left out (Table 10 and section 5)",
        calibration,
        published_calibration,
    ),
    "robustness": AnalysisDefinition(
        "Who withstands adversarial attacks?",
        "in the paper fine-tuned on ImageNet-1k; random initialisations left out (Table 19 and section 5)",
        robustness,
        published_robustness,
    ),
    "budget": AnalysisDefinition(
        "What is the best backbone of each budget?",
        "candidates whose mean z no other reaches at the same or a lower cost; a figure stands where that holds",
        costs.budget,
    ),
}
"""Name -> analysis, in the order in which `all` runs them."""


def find(name: str, without: Sequence[str] = ()) -> list[str]:
    """The analyses that a user asked for: one, or `all`.

    UsageError with the nearest names for another, and for names to leave out where nothing leaves any out.
    """
    if name != EVERY and name not in ANALYSES:
        hint = nearest(name, [*ANALYSES, EVERY]) or f"; there are {', '.join(ANALYSES)}, {EVERY}"
        raise UsageError(f"unknown analysis {name!r}{hint}")
    if without and name not in ("correlation", EVERY):
        raise UsageError(f"--without is for `bob analyse correlation`, not for {name}")
    return list(ANALYSES) if name == EVERY else [name]


def analyse(name: str, score_table: ScoreTable, options: AnalysisOptions | None = None) -> Analysis:
    """Run one analysis over a standing that was made with `members=True`; `name` is one of ANALYSES.

    The paper's figures stand beside what its pool gives by itself: own backbones and options do not move them.
    """
    recipe, options = ANALYSES[name], options or AnalysisOptions()
    found = recipe.make(score_table, options)
    tables = tuple(t for t in found.tables if t.rows)
    nothing = (f"pool {score_table.pool.name} has no scores for this",) if not tables and not found.notes else ()
    return Analysis(
        name=name,
        title=recipe.title,
        about=recipe.about,
        tables=tables,
        published=tuple(_published(recipe, score_table.pool, options)),
        notes=found.notes or nothing,
        pool=score_table.pool.name,
        own=tuple(backbone.title for backbone in score_table.backbones if backbone.highlighted),
    )


ERRATA: Mapping[ErrataMode, str] = {
    "applied": "certain errata of the paper's tables are applied",
    "printed": "figures as printed, no errata applied; the paper's conclusions stand beside `--errata applied` alone",
    "all": "certain and suspected errata are applied; the paper's conclusions stand beside `--errata applied` alone",
}
"""What each choice means for a reader."""


def head(score_table: ScoreTable, options: AnalysisOptions) -> list[str]:
    """What a reader has to know before any of it: the pool, what z is, and what of his own is left out."""
    pool, count = score_table.pool, len(score_table.measures)
    lines = [f"pool {pool.name} ({pool.hash[:8]}), {pool.scale} scale, {count} ranked measures"]
    lines.append("z: standard deviations above the mean of the pool's members")
    if pool.scale == "mini":
        lines.append("mini scale: shows that things work and gates changes, no verdict on backbones")
    if pool.errata:
        lines.append(f"{ERRATA[options.errata]} (`bob rank --pool {pool.name} --errata {options.errata}` lists them)")
    if any(backbone.highlighted for backbone in score_table.backbones) and _of_paper(pool):
        lines.append("published: the paper's figures beside those of the pool alone, without own backbones")
    for name in dict.fromkeys(found.backbone for found in score_table.indicative):
        settings = len({found.score.setting for found in score_table.indicative if found.backbone == name})
        lines.append(
            f"{name}: {settings} setting{'s' * (settings != 1)} measured otherwise than the pool's and left out; "
            f"`bob rank --pool {pool.name} --backbone {name}` shows what differs"
        )
    return [*lines, *score_table.notes]


def _published(recipe: AnalysisDefinition, pool: Pool, options: AnalysisOptions) -> Iterator[Published]:
    """Comparisons for the pools that the paper's tables are in, with certain errata applied."""
    if _of_paper(pool) and pool.name in recipe.pools and options.errata == "applied" and recipe.published:
        yield from recipe.published(ScoreTable.from_pool(pool, members=True))


def _of_paper(pool: Pool) -> bool:
    """Whether a pool is made from the paper's tables, as they came with the tool."""
    return pool.folder.resolve() == (bundled("baselines") / "paper").resolve()
