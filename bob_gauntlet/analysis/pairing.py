"""One architecture pretrained without labels and with: pairs whose difference is the pretraining's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bob_gauntlet.analysis.members import SELF_SUPERVISED, style
from bob_gauntlet.analysis.result import Table, table
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.ranking.score_table import ScoredBackbone


@dataclass(frozen=True)
class Pair:
    """A self-supervised (or vision-language) backbone and a supervised one of its architecture."""

    architecture: str
    learner: ScoredBackbone
    supervised: ScoredBackbone

    @property
    def data(self) -> str:
        """`equal` where both saw the same data, else what each saw."""
        a, b = self.learner.about.data, self.supervised.about.data
        return "equal" if a == b else f"{a} against {b}"


def pairs(backbones: Sequence[ScoredBackbone]) -> Iterator[Pair]:
    """Every self-supervised backbone with every supervised one of its architecture; those of equal data first."""
    found = [
        Pair(architecture(a.about), a, b)
        for a in backbones
        for b in backbones
        if style(a.about) == SELF_SUPERVISED and style(b.about) == "supervised"
        if architecture(a.about) == architecture(b.about) != ""
    ]
    yield from sorted(found, key=lambda pair: (pair.data != "equal", pair.architecture))


def architecture(about: BackboneRow) -> str:
    """What two backbones share that differ in their pretraining alone; family and size where no model is named."""
    return about.model or (f"{about.family}, {about.params} M" if about.family and about.params else "")


def differences(
    backbones: Sequence[ScoredBackbone], values: Mapping[str, np.ndarray], formats: Mapping[str, str]
) -> list[Table]:
    """A row a pair, self-supervised less supervised, in the columns of `formats`; no table where there is no pair.

    `values` holds an array by the name of the entrant; pairs of which a value is missing are left out.
    """
    gaps = [(pair, values[pair.learner.name] - values[pair.supervised.name]) for pair in pairs(backbones)]
    rows = [(p.learner.title, p.supervised.title, p.data, *gap) for p, gap in gaps if np.isfinite(gap).all()]
    columns = {SELF_SUPERVISED: "", "less supervised": "", "data": ""} | dict(formats)
    return [table("Same architecture", columns, rows, keys=2)] if rows else []
