"""Errata: published scores that are wrong as printed, and what is believed to be right.

A row of baselines/paper/scores.csv holds the figure as printed. Its provenance says what is believed to be wrong
(`erratum`) and, where the figure belongs to another backbone, to which one (`becomes`; "none" if to no backbone).
Errata with numbers E1, E2, ... are certain: another table or a reproduced figure of the paper proves them. Those with
numbers S1, S2, ... are suspected; they are applied only in mode "all".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bob_gauntlet.errors import UsageError
from bob_gauntlet.scores.provenance import Provenance
from bob_gauntlet.scores.score import Score

ErrataMode = Literal["applied", "printed", "all"]
"""The errata that are applied: the certain ones (the default), none, or the suspected ones, too."""

CHOICES: tuple[ErrataMode, ...] = ("applied", "printed", "all")

NOWHERE = "none"
"""`becomes` of a figure that belongs to no backbone."""

_SEPARATOR = " | "


def apply(scores: Sequence[Score], mode: ErrataMode = "applied") -> list[Score]:
    """Return the scores under the backbones that they belong to.

    A figure that two rows then share becomes one score with both sources. Raises UsageError, naming both rows, where
    they share a measure but not the figure.

    >>> wrong = Score(setting="knn@photos", metric="top1", task="Cls", value=1.0, backbone="a",
    ...               provenance={"erratum": "E1: a slip", "becomes": "b"})
    >>> [score.backbone for score in apply([wrong])], [score.backbone for score in apply([wrong], "printed")]
    (['b'], ['a'])
    """
    corrected: dict[tuple[str, str, str], Score] = {}
    for score in scores:
        moved = _corrected(score, mode)
        if moved is None:
            continue
        key = (moved.backbone, *moved.measure)
        corrected[key] = _merged(corrected[key], moved) if key in corrected else moved
    return list(corrected.values())


@dataclass(frozen=True)
class ErratumNote:
    """One erratum as the notes under a table list it."""

    # such as "E2", or "S1" where it is only suspected
    number: str
    why: str
    # whether figures are listed under another backbone than printed because of it
    applied: bool
    # number of figures that it is about, and their settings
    figures: int
    settings: frozenset[str]

    def __str__(self) -> str:
        applied = ", applied" if self.applied else ""
        return f"erratum {self.number} ({self.figures} figure{'s' * (self.figures != 1)}{applied}): {self.why}"


def notes(scores: Sequence[Score], mode: ErrataMode = "applied") -> list[ErratumNote]:
    """Return a note on every erratum of these printed scores, by number."""
    by_number: dict[str, tuple[str, list[Score]]] = {}
    for score in scores:
        for text in filter(None, str(score.provenance.get("erratum", "")).split(_SEPARATOR)):
            number, _, why = text.partition(": ")
            by_number.setdefault(number, (why, []))[1].append(score)
    return [
        ErratumNote(
            number,
            why,
            applied=any(_is_moved(score, mode) for score in affected),
            figures=len(affected),
            settings=frozenset(score.setting for score in affected),
        )
        for number, (why, affected) in sorted(by_number.items())
    ]


def join(texts: Sequence[str]) -> str:
    """Return several errata of one score as the text of one cell."""
    return _SEPARATOR.join(dict.fromkeys(texts))


def _is_moved(score: Score, mode: ErrataMode) -> bool:
    """Return whether the score is listed under another backbone than printed."""
    if mode == "printed" or not score.provenance.get("becomes"):
        return False
    return mode == "all" or _is_certain(score)


def _is_certain(score: Score) -> bool:
    return str(score.provenance["erratum"]).startswith("E")


def _corrected(score: Score, mode: ErrataMode) -> Score | None:
    """Return the score under its backbone, None where it belongs to no backbone."""
    if not _is_moved(score, mode):
        return score
    becomes = score.provenance["becomes"]
    return None if becomes == NOWHERE else replace(score, backbone=becomes)


def _merged(a: Score, b: Score) -> Score:
    """Return one score for two that state the same figure."""
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
