"""What is known of a dataset before it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bob_gauntlet.scores.score import Scale


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A dataset before it is loaded."""

    name: str
    about: str
    # images per role or in all, and classes, as its publisher states them
    size: str
    classes: str
    licence: str
    citation: str
    how_to_get: str
    scale: Scale = "paper"
    # "module:function" that returns the Dataset, from nothing at mini scale, else from the session's Places; "" where
    # this version has no reader
    loader: str = ""
    # whether its reader can fetch it, from where its publisher lets anybody fetch it
    downloadable: bool = False
    # the files that its publisher ships, as a small tree
    layout: str = ""
    # datasets of other names that its reader reads too
    needs: tuple[str, ...] = ()
    # whether it is made of those alone, and has no files of its own
    combined: bool = False
    # dataset whose train and val it shares, so that one trained head serves both; "" for itself
    trains_on: str = ""
    # protocol id -> field -> value: what the original did otherwise on this dataset
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # pool of images that it is made from: settings that share one are not independent
    source: str = ""
    # version of the recipe that makes it, and the packages whose versions may change its pixels
    version: int = 1
    packages: tuple[str, ...] = ()

    @property
    def trained_on(self) -> str:
        """The dataset that heads for this one are trained on."""
        return self.trains_on or self.name
