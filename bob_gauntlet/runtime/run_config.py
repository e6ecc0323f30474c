"""The configuration of a run: one frozen value that options, workspace and evaluations share."""

from dataclasses import dataclass
from typing import Literal

from bob_gauntlet.scores.score import Fidelity, Scale

DeviceChoice = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The choices of a user for every setting of a run, and the device and threads of this process.

    The first group changes what is measured, and enters the identity of scores. The second changes how fast.
    """

    scale: Scale = "mini"
    # whose choices are followed where the original's are not sound
    fidelity: Fidelity = "sound"
    # examples of every split, from the first; None for all
    limit: int | None = None
    # optimiser steps after which every training is cut short; None for none
    max_steps: int | None = None
    # each seed is one repetition; 0 is the data as given
    seeds: tuple[int, ...] = (0,)
    # "cpu" or "cuda:0"
    device: str = "cpu"

    # measure again what is stored
    rerun: bool = False
    # images of one forward pass
    batch_size: int = 32
    # threads of torch on a CPU; None leaves torch's own choice
    threads: int | None = None
    # processes that decode and augment training images
    loader_processes: int = 0
    # threads that decode the images of forward passes
    reader_threads: int = 2
    # the command as typed, for the provenance of scores
    command: str = ""
