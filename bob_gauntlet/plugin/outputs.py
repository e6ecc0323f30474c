"""The files that a session writes at its end: --bob-json, --bob-report and --bob-save."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bob_gauntlet.errors import BobError
from bob_gauntlet.plugin.session import Session
from bob_gauntlet.ranking import selection
from bob_gauntlet.runtime.artifacts import write_atomically


def write_all(session: Session) -> list[str]:
    """Write the files that were asked for. Returns a line for each one that could not be written."""
    options = session.options
    problems = []
    writers: tuple[tuple[Any, Callable[[Session, Any], None]], ...] = (
        (options.json, _json),
        (options.report, _report),
        (options.save, _save),
    )
    for target, write in writers:
        if target:
            try:
                write(session, target)
            except (OSError, BobError) as error:
                problems.append(f"{target} is not written: {error}")
    return problems


def _json(session: Session, path: Path) -> None:
    """Write every score as a JSON list."""
    records = [score.to_dict() for score in session.scores]
    write_atomically(path, (json.dumps(records, indent=1, ensure_ascii=False) + "\n").encode())


def _report(session: Session, path: Path) -> None:
    """Write the report, with what changed since other weights of the same names were measured."""
    from bob_gauntlet.report.content import SettingOutcome, gather
    from bob_gauntlet.report.writing import write

    by_backbone = session.scores_by_backbone
    before = selection.select_previous(session.store, by_backbone)
    started = max((str(score.provenance.get("started", "")) for score in before), default="")
    report = gather(
        session.pool,
        by_backbone,
        only_measured=True,
        statistics=session.ranking_statistics,
        before=before,
        since=f"the last stored weights of that name, measured {started}" if before else "",
        outcomes=[SettingOutcome(o.backbone, o.setting, o.outcome, o.reason) for o in session.outcomes.values()],
        command=session.workspace.config.command,
        artifacts=session.workspace.artifacts,
    )
    write(path, report)


def _save(session: Session, name: str) -> None:
    """Save the scores as baselines of the user's own."""
    from bob_gauntlet.pools.saving import save

    save(session.options.home / "baselines" / name, session.specs, session.scores, session.workspace.artifacts)
