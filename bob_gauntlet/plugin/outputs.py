"""The files that a session leaves: --bob-json, --bob-report and --bob-save."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bob_gauntlet.errors import BobError
from bob_gauntlet.plugin.session import Session
from bob_gauntlet.ranking import selection
from bob_gauntlet.runtime.artifacts import write_atomically


def write_all(session: Session) -> list[str]:
    """Write what was asked for; returns a line for each file that could not be written."""
    options = session.options
    problems = []
    wanted: tuple[tuple[Any, Callable[[Session, Any], None]], ...] = (
        (options.json, _json),
        (options.report, _report),
        (options.save, _save),
    )
    for target, write in wanted:
        if target:
            try:
                write(session, target)
            except (OSError, BobError) as error:
                problems.append(f"{target} is not written: {error}")
    return problems


def _json(session: Session, path: Path) -> None:
    records = [score.to_dict() for score in session.scores]
    write_atomically(path, (json.dumps(records, indent=1, ensure_ascii=False) + "\n").encode())


def _report(session: Session, path: Path) -> None:
    from bob_gauntlet.report.content import SettingOutcome, gather
    from bob_gauntlet.report.writing import write

    own = session.scores_by_backbone
    before = selection.select_previous(session.store, own)
    started = max((str(score.provenance.get("started", "")) for score in before), default="")
    report = gather(
        session.pool,
        own,
        only_measured=True,
        statistics=session.ranking_statistics,
        before=before,
        since=f"the last stored weights of that name, measured {started}" if before else "",
        outcomes=[SettingOutcome(e.backbone, e.setting, e.outcome, e.reason) for e in session.entries.values()],
        command=session.workspace.command,
        artifacts=session.workspace.artifacts,
    )
    write(path, report)


def _save(session: Session, name: str) -> None:
    from bob_gauntlet.pools.saving import save

    save(session.options.home / "baselines" / name, session.specs, session.scores, session.workspace.artifacts)
