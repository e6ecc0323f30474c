"""The context of an evaluation: all that it may use besides its backbone and dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.progress import Progress
from bob_gauntlet.runtime.run_config import RunConfig


class UnreadableImages:
    """Counts of the images that an evaluation could not read and replaced by grey ones."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    @property
    def by_role(self) -> Mapping[str, int]:
        """Role -> number of images; a role whose images can all be read is absent."""
        return dict(self._counts)

    def note(self, role: str, count: int) -> None:
        """Take note of a role's count."""
        self._counts[role] = count


@dataclass(frozen=True)
class RunContext:
    """The surroundings of one evaluation, the same for every protocol."""

    artifacts: Artifacts
    # device, batch size, loader processes, step limit
    config: RunConfig = field(default_factory=RunConfig)
    # those of the configuration, or (0,) where the recipe has no seed
    seeds: tuple[int, ...] = (0,)
    progress: Progress = field(default_factory=Progress)
    unreadable: UnreadableImages = field(default_factory=UnreadableImages)
