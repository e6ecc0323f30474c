"""The table of all analyses; `analyse` runs one over a score table and compares it with the paper's figures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bob_gauntlet.analysis import costs
from bob_gauntlet.analysis.calibration import calibration, published_calibration
from bob_gauntlet.analysis.correlation import correlation, published_correlation, published_tasks, tasks
from bob_gauntlet.analysis.finetuning import fine_tuning, published_fine_tuning
from bob_gauntlet.analysis.result import Analysis, AnalysisOptions, Finding, PublishedFigure
from bob_gauntlet.analysis.robustness import published_robustness, robustness
from bob_gauntlet.analysis.supervision import published_supervision, supervision
from bob_gauntlet.analysis.winners import published_small, published_winners, small, winners
from bob_gauntlet.config import bundled
from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.pools.errata import ErrataMode
from bob_gauntlet.pools.pool import Pool
from bob_gauntlet.ranking.score_table import MINI_SCALE_NOTE, ScoreTable

RUN_ALL = "all"
"""The name by which a user asks for every analysis."""


@dataclass(frozen=True)
class AnalysisDefinition:
    """One analysis: its question, what it is based on, the function, and the comparison with the paper."""

    title: str
    about: str
    compute: Callable[[ScoreTable, AnalysisOptions], Finding]
    published: Callable[[ScoreTable], Iterator[PublishedFigure]] | None = None
    # pools to which the paper's figures refer
    pools: tuple[str, ...] = ("paper",)


ANALYSES: Mapping[str, AnalysisDefinition] = {
    "winners": AnalysisDefinition(
        "Which backbone should I choose?",
        "Mean z over each task and over All, of candidates that cover at least a third of the measures (paper, Tables "
        "2 and 3).",
        winners,
        published_winners,
    ),
    "small": AnalysisDefinition(
        "Which small backbone should I choose?",
        "Candidates with fewer than 30 million parameters (paper, section 5).",
        small,
        published_small,
        ("paper", "paper-small"),
    ),
    "correlation": AnalysisDefinition(
        "Does a backbone that is good at one task do well at another?",
        "Spearman's rho of mean z, over members that have both tasks. Random initialisations are left out (paper, "
        "section 5).",
        correlation,
        published_correlation,
    ),
    "tasks": AnalysisDefinition(
        "How does classification relate to detection and out-of-distribution classification?",
        "Mean z of every member that has both tasks (paper, Figure 1).",
        tasks,
        published_tasks,
    ),
    "scale": AnalysisDefinition(
        "Which gain more from size and data, transformers or CNNs?",
        "Spearman's rho of mean z over All with size and with data, over candidates (paper, section 5).",
        costs.scale,
        costs.published_scale,
    ),
    "supervision": AnalysisDefinition(
        "Is supervised or self-supervised pretraining better?",
        "Mean z of candidates. Self-supervised includes vision-language, as in the paper (section 5, Table 20).",
        supervision,
        published_supervision,
    ),
    "fine-tuning": AnalysisDefinition(
        "What does end-to-end fine-tuning add to a frozen backbone?",
        "Fine-tuned z minus frozen z; each z uses the mean and std of its own measure. Random initialisations are left "
        "out (paper, Figure 2).",
        fine_tuning,
        published_fine_tuning,
    ),
    "speed": AnalysisDefinition(
        "Are better backbones slower?",
        "Mean z over All against throughput, of candidates that cover at least a third of the measures (paper, section "
        "5).",
        costs.speed,
        costs.published_speed,
    ),
    "calibration": AnalysisDefinition(
        "Is a more accurate backbone better calibrated?",
        "The paper fine-tunes on ImageNet-1k. Random initialisations are left out (paper, Table 10 and section 5).",
        calibration,
        published_calibration,
    ),
    "robustness": AnalysisDefinition(
        "Which backbones withstand adversarial attacks?",
        "The paper fine-tunes on ImageNet-1k. Random initialisations are left out (paper, Table 19 and section 5).",
        robustness,
        published_robustness,
    ),
    "budget": AnalysisDefinition(
        "What is the best backbone for each budget?",
        "Candidates on the Pareto front: no other candidate reaches their mean z at the same or a lower cost. A column "
        "shows z only for the backbones on its own front.",
        costs.budget,
    ),
}
"""Name -> analysis, in the order in which `all` runs them."""


def resolve_names(name: str, without: Sequence[str] = ()) -> list[str]:
    """Return the names of the analyses that a user asked for: one, or those of `all`.

    Raises UsageError with the nearest names for an unknown name, and if `without` is given for an analysis that does
    not use it.
    """
    if name != RUN_ALL and name not in ANALYSES:
        hint = nearest(name, [*ANALYSES, RUN_ALL]) or f"; choose from {', '.join(ANALYSES)}, {RUN_ALL}"
        raise UsageError(f"unknown analysis {name!r}{hint}")
    if without and name not in ("correlation", RUN_ALL):
        raise UsageError(f"--without works with `bob analyse correlation` only, not with {name}")
    return list(ANALYSES) if name == RUN_ALL else [name]


def analyse(name: str, score_table: ScoreTable, options: AnalysisOptions | None = None) -> Analysis:
    """Run the analysis `name`, a key of ANALYSES, over a score table that was made with `members=True`.

    The paper's figures are compared with the pool alone: the user's own backbones and options do not change them.
    """
    definition, options = ANALYSES[name], options or AnalysisOptions()
    finding = definition.compute(score_table, options)
    tables = tuple(t for t in finding.tables if t.rows)
    nothing = (f"pool {score_table.pool.name} has no scores for this analysis",)
    return Analysis(
        name=name,
        title=definition.title,
        about=definition.about,
        tables=tables,
        published=tuple(_published_figures(definition, score_table.pool, options)),
        notes=finding.notes or (() if tables else nothing),
        pool=score_table.pool.name,
        highlighted_titles=tuple(backbone.title for backbone in score_table.backbones if backbone.highlighted),
    )


ERRATA: Mapping[ErrataMode, str] = {
    "applied": "confirmed errata of the paper's tables are applied",
    "printed": "figures are as printed, no errata are applied; the paper's conclusions need `--errata applied`",
    "all": "confirmed and suspected errata are applied; the paper's conclusions need `--errata applied`",
}
"""Choice of errata -> explanation for the reader."""


def header_lines(score_table: ScoreTable, options: AnalysisOptions) -> list[str]:
    """Return what a reader has to know first: the pool, the meaning of z, and which own scores are left out."""
    pool, count = score_table.pool, len(score_table.measures)
    lines = [f"pool {pool.name} ({pool.hash[:8]}), {pool.scale} scale, {count} ranked measures"]
    lines.append("z: standard deviations above the mean of the pool's members")
    if pool.scale == "mini":
        lines.append(MINI_SCALE_NOTE)
    if pool.errata:
        lines.append(f"{ERRATA[options.errata]} (`bob rank --pool {pool.name} --errata {options.errata}` lists them)")
    if any(backbone.highlighted for backbone in score_table.backbones) and _is_papers_pool(pool):
        lines.append("published: the paper's figures are compared with the pool alone, without your own backbones")
    for name in dict.fromkeys(entry.backbone for entry in score_table.indicative):
        settings = len({entry.score.setting for entry in score_table.indicative if entry.backbone == name})
        verb = "s are" if settings != 1 else " is"
        lines.append(
            f"{name}: {settings} setting{verb} left out, since measured in another way than the pool's; "
            f"`bob rank --pool {pool.name} --backbone {name}` shows what differs"
        )
    return [*lines, *score_table.notes]


def _published_figures(
    definition: AnalysisDefinition, pool: Pool, options: AnalysisOptions
) -> Iterator[PublishedFigure]:
    """Yield the comparisons with the paper, for the bundled pools of the paper with confirmed errata applied."""
    if _is_papers_pool(pool) and pool.name in definition.pools and options.errata == "applied" and definition.published:
        yield from definition.published(ScoreTable.from_pool(pool, members=True))


def _is_papers_pool(pool: Pool) -> bool:
    """Check that a pool is made from the paper's tables as they ship with bob-gauntlet."""
    return pool.folder.resolve() == (bundled("baselines") / "paper").resolve()
