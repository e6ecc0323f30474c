"""Contexts of evaluations in tests."""

from pathlib import Path
from typing import Any

from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.progress import Progress
from bob_gauntlet.runtime.run_config import RunConfig


def context_in(
    folder: Path, seeds: tuple[int, ...] = (0,), progress: Progress | None = None, **config: Any
) -> RunContext:
    """Return a context whose artefacts are kept in a folder; `config` are fields of RunConfig."""
    return RunContext(Artifacts(folder), RunConfig(**config), seeds, progress or Progress())
