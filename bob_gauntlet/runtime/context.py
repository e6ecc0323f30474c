"""What an evaluation may use besides its backbone and dataset."""

from dataclasses import dataclass, field

from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.progress import Progress


@dataclass(frozen=True)
class RunContext:
    """One evaluation's surroundings, the same for every protocol."""

    artifacts: Artifacts
    # "cpu" or "cuda:0"
    device: str = "cpu"
    # each seed is one repetition; (0,) is the data as given
    seeds: tuple[int, ...] = (0,)
    # images of one forward pass; no score depends on it
    batch_size: int = 32
    # processes that decode and augment training images; no score depends on it
    loaders: int = 0
    # threads that decode the images of one forward pass after the other
    readers: int = 2
    # optimiser steps of any training, where it is cut short
    max_steps: int | None = None
    # role -> images that could not be read and were grey instead
    unreadable: dict[str, int] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
