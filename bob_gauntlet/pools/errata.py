"""What is believed of published rows that are wrong as printed: applied openly, or not at all.

A row of baselines/paper/scores.csv holds the figure as printed. Its provenance says what is believed (`erratum`) and,
where the figure belongs elsewhere, to which backbone (`becomes`; "none" for nowhere). Errata called E are certain:
another table or a reproduced figure of the paper shows them. Those called S are suspected, and left alone unless asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bob_gauntlet.errors import UsageError
from bob_gauntlet.scores.provenance import Provenance
from bob_gauntlet.scores.score import Score

ErrataMode = Literal["applied", "printed", "all"]

CHOICES: tuple[ErrataMode, ...] = ("applied", "printed", "all")
"""Certain errata applied (the default), none of them, suspected ones as well."""

NOWHERE = "none"
"""What a row becomes whose figure belongs to no backbone."""

_SEPARATOR = " | "


def apply(scores: Sequence[Score], errata: ErrataMode = "applied") -> list[Score]:
    """The scores under their believed backbones; a figure that two rows then share is one row with both sources.

    Raises UsageError, naming both rows, where they share a measure and not the figure.

    >>> wrong = Score(setting="knn@photos", metric="top1", task="Cls", value=1.0, backbone="a",
    ...               provenance={"erratum": "E1: a slip", "becomes": "b"})
    >>> [score.backbone for score in apply([wrong])], [score.backbone for score in apply([wrong], "printed")]
    (['b'], ['a'])
    """
    found: dict[tuple[str, str, str], Score] = {}
    for score in scores:
        moved = _moved(score, errata)
        if moved is None:
            continue
        key = (moved.backbone, *moved.measure)
        found[key] = _joined(found[key], moved) if key in found else moved
    return list(found.values())


@dataclass(frozen=True)
class ErratumNote:
    """One erratum as the foot of a table lists it."""

    # "E2", or "S1" where it is suspected only
    number: str
    why: str
    # whether figures stand elsewhere than printed because of it
    applied: bool
    figures: int
    # that it is about
    settings: frozenset[str]

    def __str__(self) -> str:
        applied = ", applied" if self.applied else ""
        return f"erratum {self.number} ({self.figures} figure{'s' * (self.figures != 1)}{applied}): {self.why}"


def notes(scores: Sequence[Score], errata: ErrataMode = "applied") -> list[ErratumNote]:
    """Every erratum that these printed scores carry."""
    reasons: dict[str, tuple[str, list[Score]]] = {}
    for score in scores:
        for text in filter(None, str(score.provenance.get("erratum", "")).split(_SEPARATOR)):
            number, _, why = text.partition(": ")
            reasons.setdefault(number, (why, []))[1].append(score)
    return [
        ErratumNote(
            number,
            why,
            applied=any(_moves(score, errata) for score in found),
            figures=len(found),
            settings=frozenset(score.setting for score in found),
        )
        for number, (why, found) in sorted(reasons.items())
    ]


def join(texts: Sequence[str]) -> str:
    """Several errata of one score as one cell."""
    return _SEPARATOR.join(dict.fromkeys(texts))


def _moves(score: Score, errata: ErrataMode) -> bool:
    """Whether the score is listed under another backbone than printed."""
    if errata == "printed" or not score.provenance.get("becomes"):
        return False
    return errata == "all" or _certain(score)


def _certain(score: Score) -> bool:
    return str(score.provenance["erratum"]).startswith("E")


def _moved(score: Score, errata: ErrataMode) -> Score | None:
    if not _moves(score, errata):
        return score
    becomes = score.provenance["becomes"]
    return None if becomes == NOWHERE else replace(score, backbone=becomes)


def _joined(a: Score, b: Score) -> Score:
    """One score of two that state the same figure."""
    if a.value != b.value:
        raise UsageError(
            f"{a.setting} {a.metric} of {a.backbone} is {a.value:g} in {a.source} and {b.value:g} in {b.source}; "
            "one of them needs an erratum"
        )
    texts = [text for s in (a, b) if (text := s.provenance.get("erratum"))]
    provenance: Provenance = {**b.provenance, **a.provenance}
    if texts:
        provenance["erratum"] = join(texts)
    return replace(a, source=f"{a.source}; {b.source}", provenance=provenance)
