"""Pairs of backbones of one architecture, one pretrained with labels and one without: only the pretraining differs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bob_gauntlet.analysis.members import SELF_SUPERVISED, pretraining_style
from bob_gauntlet.analysis.result import Table, table
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.ranking.score_table import ScoredBackbone


@dataclass(frozen=True)
class Pair:
    """A self-supervised (or vision-language) backbone and a supervised one of the same architecture."""

    architecture: str
    self_supervised: ScoredBackbone
    supervised: ScoredBackbone

    @property
    def data(self) -> str:
        """`equal` if both were pretrained on the same data, else the two datasets."""
        a, b = self.self_supervised.about.data, self.supervised.about.data
        return "equal" if a == b else f"{a} against {b}"


def pairs(backbones: Sequence[ScoredBackbone]) -> Iterator[Pair]:
    """Yield every self-supervised backbone with every supervised one of its architecture; equal data comes first."""
    unsorted_pairs = [
        Pair(architecture(a.about), a, b)
        for a in backbones
        for b in backbones
        if pretraining_style(a.about) == SELF_SUPERVISED and pretraining_style(b.about) == "supervised"
        if architecture(a.about) == architecture(b.about) != ""
    ]
    yield from sorted(unsorted_pairs, key=lambda pair: (pair.data != "equal", pair.architecture))


def architecture(about: BackboneRow) -> str:
    """Return the model name, or family and number of parameters if no model is named; "" if neither is known."""
    return about.model or (f"{about.family}, {about.params} M" if about.family and about.params else "")


def difference_tables(
    backbones: Sequence[ScoredBackbone], values: Mapping[str, np.ndarray], formats: Mapping[str, str]
) -> list[Table]:
    """Return a table of self-supervised minus supervised, one row for each pair; an empty list if there is no pair.

    `values` maps the name of a backbone to an array, with one value for each column of `formats`. Pairs with a missing
    value are left out.
    """
    gaps = [(pair, values[pair.self_supervised.name] - values[pair.supervised.name]) for pair in pairs(backbones)]
    rows = [(p.self_supervised.title, p.supervised.title, p.data, *gap) for p, gap in gaps if np.isfinite(gap).all()]
    columns = {SELF_SUPERVISED: "", "less supervised": "", "data": ""} | dict(formats)
    return [table("Same architecture", columns, rows, keys=2)] if rows else []
