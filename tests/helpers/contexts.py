"""Run contexts for tests of protocols."""

from pathlib import Path
from typing import Any

from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.progress import Progress
from bob_gauntlet.runtime.run_config import RunConfig


def context_in(
    folder: Path, seeds: tuple[int, ...] = (0,), progress: Progress | None = None, **config: Any
) -> RunContext:
    """Return a context that keeps its artefacts in `folder`; `config` holds fields of RunConfig."""
    return RunContext(Artifacts(folder), RunConfig(**config), seeds, progress or Progress())
